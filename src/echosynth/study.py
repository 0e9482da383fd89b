"""The study folder: what has been done, with what, and what is to be done again.

A stage is done when its folder holds `stage.json`, written last and atomically, and the key in it is the key that the stage would have now:
a hash of its name, its configuration, the seed and the keys of the stages that it reads.
"""

import hashlib
import json
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from importlib.metadata import version
from operator import getitem
from pathlib import Path

import yaml

from echosynth import __version__, processes
from echosynth.config import StudyConfig, parse
from echosynth.errors import InputError
from echosynth.files import atomic_file, read_json, write_json

FORMAT = 1  # raised when what a stage leaves in its folder changes its meaning


@dataclass(frozen=True)
class Stage:
    """One step of the way: `run(study)` fills `study.folder(name)` and returns a JSON-able summary."""

    name: str
    inputs: tuple[str, ...] | Callable[[StudyConfig], tuple[str, ...]]  # stages it reads, of every study or of one of that configuration; "cohort" is the source cohort
    sections: tuple[str, ...]  # parts of the configuration that its result depends on, such as video or video.fps
    run: Callable[["Study"], dict]
    shared: str | None = None  # where several cohorts share this stage's model: what of the other studies it learns from, "cohort" or a stage
    every_process: bool = False  # training runs on all processes of `accelerate launch`, the rest on the first

    def inputs_of(self, config: StudyConfig) -> tuple[str, ...]:
        return self.inputs(config) if callable(self.inputs) else self.inputs


class Study:
    """A study folder and its configuration."""

    def __init__(self, root: Path, config: StudyConfig):
        self.root, self.config = root, config

    @classmethod
    def create(cls, root: Path, config: StudyConfig, cohort: Path, fingerprint: str, skip_bad: bool = False) -> "Study":
        """Starts a study, or opens it again when it was started with the same configuration and cohort.

        Raises InputError when the folder holds something else, or a study with another configuration.
        """
        described = {"path": str(cohort.resolve()), "fingerprint": fingerprint, "skip_bad": skip_bad}
        if (root / "study.yaml").exists():
            study = cls.reopen(root, config)
            if read_json(root / "cohort.json")["fingerprint"] != fingerprint:
                raise InputError(f"{root}: the cohort {cohort} is not the one this study was started with; give a new folder")
            return study
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise InputError(f"{root}: not a study and not empty; give a new folder")
        root.mkdir(parents=True, exist_ok=True)
        write_json(root / "cohort.json", described)
        with atomic_file(root / "study.yaml") as partial:
            partial.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        return cls(root, config)

    @classmethod
    def open(cls, root: Path) -> "Study":
        """Opens a study; raises InputError when the folder is none."""
        try:
            values = yaml.safe_load((root / "study.yaml").read_text())
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{root}: not a study (no readable study.yaml); start one with: echosynth run {root} --cohort DIR") from error
        if not isinstance(values, dict):
            raise InputError(f"{root / 'study.yaml'}: not a mapping of options; restore it or start a new study")
        return cls(root, parse(values, str(root / "study.yaml")))

    @classmethod
    def reopen(cls, root: Path, config: StudyConfig) -> "Study":
        """Opens a study that must have been started with `config`; raises InputError naming the first option that differs."""
        study = cls.open(root)
        if study.config != config:
            difference = _first_difference(study.config, config)
            raise InputError(f"{root}: the study was started with other options ({difference}); give a new folder, leave the options out, or change them in {root / 'study.yaml'}")
        return study

    @property
    def cohort_path(self) -> Path:
        return Path(read_json(self.root / "cohort.json")["path"])

    @property
    def skip_bad(self) -> bool:
        return read_json(self.root / "cohort.json")["skip_bad"]

    def others(self) -> list["Study"]:
        """The studies whose cohorts this one's shared models learn from too."""
        return [Study.open(self.root.parent / name) for name in self.config.joint.others]

    def lead(self) -> "Study | None":
        """The study that this one takes its shared models from."""
        return Study.open(self.root.parent / self.config.joint.lead) if self.config.joint.lead else None

    @property
    def fingerprint(self) -> str:
        """Of the source cohort."""
        return read_json(self.root / "cohort.json")["fingerprint"]

    def folder(self, stage: str) -> Path:
        return self.root / stage

    def summary(self, stage: str) -> dict:
        """What a finished stage said of itself (`stage.json`); raises InputError when it is not done."""
        try:
            return read_json(self.folder(stage) / "stage.json")
        except FileNotFoundError:
            raise InputError(f"{self.root}: stage {stage!r} is not done yet; run: echosynth run {self.root}") from None

    def key(self, stage: Stage) -> str:
        """What the result of `stage` depends on, hashed. Raises InputError when an input is not done."""
        inputs = {name: self._input(name) for name in stage.inputs_of(self.config)}
        if stage.shared and (lead := self.lead()):
            inputs["lead"] = lead.summary(stage.name)["key"]
        elif stage.shared:
            inputs |= {f"of {other.root.name}": other._input(stage.shared) for other in self.others()}
        dumped = self.config.model_dump(mode="json")
        parts = {"format": FORMAT, "stage": stage.name, "inputs": inputs, "seed": self.config.seed, "config": {s: reduce(getitem, s.split("."), dumped) for s in stage.sections}}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _input(self, name: str) -> str:
        if name != "cohort":
            return self.summary(name)["key"]
        return f"{self.fingerprint} less canaries of {self.config.audit.canaries}" if self.config.audit.canaries else self.fingerprint

    def done(self, stage: Stage) -> bool:
        path = self.folder(stage.name) / "stage.json"
        return path.exists() and read_json(path)["key"] == self.key(stage)

    def prepare(self, stage: Stage) -> str:
        """Makes the stage's folder ready and returns the key. Unfinished work with this very key is kept, anything else is cleared."""
        folder, key = self.folder(stage.name), self.key(stage)
        begun = folder / "begun.json"
        if folder.exists() and not (begun.exists() and read_json(begun)["key"] == key):
            shutil.rmtree(folder)
        (folder / "stage.json").unlink(missing_ok=True)
        write_json(begun, {"key": key})
        return key

    def finish(self, stage: Stage, key: str, summary: dict, seconds: float) -> None:
        """Declares the stage done. `memory_mb` is the peak of this process so far (MB, resident)."""
        versions = {"echosynth": __version__} | {name: version(name) for name in ("torch", "numpy", "av")} | {"python": platform.python_version()}
        about = {"stage": stage.name, "key": key, "seed": self.config.seed, "seconds": round(seconds, 2), "finished": datetime.now(UTC).isoformat(timespec="seconds")}
        write_json(self.folder(stage.name) / "stage.json", about | {"memory_mb": peak_memory_mb(), "versions": versions, "summary": summary})
        (self.folder(stage.name) / "begun.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder(stage.name) / "checkpoint", ignore_errors=True)

    def carry_out(self, stage: Stage) -> bool:
        """Runs a stage unless it is done; True when it ran.

        On several processes the folder is in the hands of the first; the others join in where the stage wants every process and wait elsewhere.
        """
        start = time.monotonic()
        key = processes.on_first(lambda: None if self.done(stage) else self.prepare(stage))
        if key is None:
            return False
        summary = stage.run(self) if stage.every_process else processes.on_first(lambda: stage.run(self))
        processes.on_first(lambda: self.finish(stage, key, summary, time.monotonic() - start))
        return True


def peak_memory_mb() -> float:
    """The most resident memory that this process has held so far, in MB (getrusage counts in kB on Linux, in bytes on macOS)."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024), 1)


def _first_difference(a: StudyConfig, b: StudyConfig) -> str:
    """The first option in which two configurations differ, in words."""

    def walk(x: dict, y: dict, path: str) -> str:
        for name in x:
            if x[name] != y.get(name):
                where = f"{path}{name}"
                return walk(x[name], y[name], f"{where}.") if isinstance(x[name], dict) and isinstance(y.get(name), dict) else f"{where} was {x[name]}, now {y.get(name)}"
        return "no difference"

    return walk(a.model_dump(mode="json"), b.model_dump(mode="json"), "")
