"""The study folder: what has been done, with what, and what is to be done again.

A stage is done when its folder holds `stage.json`, written last and atomically, and the key in it is the key that the stage would have now:
a hash of its name, its configuration, the seed and the keys of the stages that it reads. `stage.json` is sealed (seals.py) and lists the
files that the stage has left, with their hashes: `Study.verified` gives the folder to whoever opens one of them, after it has checked them.

Everything is private (0600, 0700) but what a stage declares public. One command at a time works on a study (`Study.at_work`).
"""

import hashlib
import json
import os
import platform
import resource
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, reduce
from importlib.metadata import version
from operator import getitem
from pathlib import Path

import yaml

from echosynth import __version__, processes
from echosynth.config import StudyConfig, changes, parse, read_yaml
from echosynth.errors import InputError
from echosynth.files import PRIVATE_FILE, atomic_file, read_json, sweep
from echosynth.folders import BEGUN
from echosynth.folders import STUDY as CONFIG
from echosynth.manifest import difference_once, entry_of, manifest_of, root_hash
from echosynth.private import CLEARED, COHORT, FOLDERS, OPTIONS, README, can_start, set_modes, working, write_readme
from echosynth.progress import say
from echosynth.records import RECORD, Records
from echosynth.seals import KEY_FILE, make_key, read_sealed, write_sealed

FORMAT = 2  # raised when what a stage leaves in its folder changes its meaning
_CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class Stage:
    """One step of the way: `run(study)` fills `study.folder(name)` and returns a JSON-able summary."""

    name: str
    inputs: tuple[str, ...] | Callable[[StudyConfig], tuple[str, ...]]  # stages it reads, of every study or of one of that configuration; "cohort" is the source cohort
    sections: tuple[str, ...]  # parts of the configuration that its result depends on, such as video or video.fps
    run: Callable[["Study"], dict]
    shared: str | None = None  # where several cohorts share this stage's model: what of the other studies it learns from, "cohort" or a stage
    every_process: bool = False  # training runs on all processes of `accelerate launch`, the rest on the first
    holds: str = "Networks and tables that were made from patients"  # for the README of its folder
    public: tuple[str, ...] = ()  # patterns of the files in it that others may read
    scratch: tuple[str, ...] = ()  # files that only unfinished work needs

    def inputs_of(self, config: StudyConfig) -> tuple[str, ...]:
        return self.inputs(config) if callable(self.inputs) else self.inputs


def all_but(section: str, *left_out: str) -> tuple[str, ...]:
    """The options of a section but those that a result does not depend on, for `Stage.sections`: ("screen.alpha", ...). A new option counts until it is left out."""
    options = StudyConfig.model_fields[section].annotation.model_fields
    assert set(left_out) <= set(options)
    return tuple(f"{section}.{option}" for option in options if option not in left_out)


class Study(Records):
    """A study folder and its configuration."""

    def __init__(self, root: Path, config: StudyConfig):
        super().__init__(root)
        self.config = config

    @classmethod
    def create(cls, root: Path, config: StudyConfig, cohort: Path, fingerprint: str, skip_bad: bool = False) -> "Study":
        """Starts a study, or opens it again when it was started with the same configuration and cohort.

        Raises InputError when the folder holds something else, or a study with another configuration.
        """
        described = {"format": FORMAT, "path": str(cohort.resolve()), "fingerprint": fingerprint, "skip_bad": skip_bad}
        if (root / CONFIG).exists():
            study = cls.reopen(root, config)
            if study.source["fingerprint"] != fingerprint:
                raise InputError(f"{root}: the cohort {cohort} is not the one this study was started with; give a new folder")
            return study
        if not can_start(root):
            raise InputError(f"{root}: not a study and not empty; give a new folder")
        root.mkdir(parents=True, exist_ok=True)
        study = cls(root, config)
        sweep(root)
        write_sealed(root / COHORT, described, make_key(root))
        study._note_options()
        with atomic_file(root / CONFIG, PRIVATE_FILE) as partial:
            partial.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
        return study

    @classmethod
    def open(cls, root: Path) -> "Study":
        """Opens a study; raises InputError when the folder is none, or one of an earlier format."""
        try:
            values = read_yaml(root / CONFIG)
        except OSError as error:
            remedy = "restore it" if (root / KEY_FILE).exists() else f"start one with: echosynth run {root} --cohort DIR"
            raise InputError(f"{root}: not a study (no readable {root / CONFIG}); {remedy}") from error
        if not (root / KEY_FILE).exists() and _is_old(root):
            raise InputError(f"{root}: a study of an earlier echosynth (format 1), without hashes of its files; start a new one on its cohort, in a new folder")
        return cls(root, parse(values, str(root / CONFIG)))

    @classmethod
    def reopen(cls, root: Path, config: StudyConfig) -> "Study":
        """Opens a study that must have been started with `config`; raises InputError naming the first option that differs."""
        study = cls.open(root)
        if study.config != config:
            change = next(changes(_dumped(study.config), _dumped(config)))
            raise InputError(f"{root}: the study was started with other options ({change}); give a new folder, leave the options out, or change them in {root / CONFIG}")
        return study

    @contextmanager
    def at_work(self, command: str) -> Iterator["Study"]:
        """The study for one command alone (`working`), after a line for every option of study.yaml that was edited since the last one."""
        with working(self.root, command):
            processes.on_first(self.report_edits)
            yield self

    def report_edits(self) -> None:
        """Prints what was edited in study.yaml since the last command, so that no change of it goes unnoticed."""
        path = self.root / CONFIG
        try:
            known = self.sealed(OPTIONS, f"delete it if {path} is as it should be")["options"]
            lines = [f"{path}: {edit} (edited since the last command)" for edit in changes(known, _dumped(self.config))]
        except FileNotFoundError:
            lines = [f"{self.root / OPTIONS}: missing, so edits of {path} since the last command are not known"]
        for line in lines:
            say(line)
        if lines:
            self._note_options()

    def _note_options(self) -> None:
        write_sealed(self.root / OPTIONS, {"options": _dumped(self.config)}, self.seal_key)

    @cached_property
    def source(self) -> dict:
        """The source cohort: path, fingerprint, skip_bad; once it is registered, the hash of its table."""
        try:
            return self.sealed(COHORT, "restore it, or start a new study")
        except FileNotFoundError:
            raise InputError(f"{self.root / COHORT}: missing; restore it, or start a new study") from None

    @property
    def cohort_path(self) -> Path:
        return Path(self.source["path"])

    @property
    def skip_bad(self) -> bool:
        return self.source["skip_bad"]

    @property
    def fingerprint(self) -> str:
        """Of the source cohort."""
        return self.source["fingerprint"]

    def register_cohort(self, table: Path) -> None:
        """Notes the table of the cohort (a file of the study), which is checked whenever it is read."""
        described = {**self.source, "table": entry_of(table)}
        write_sealed(self.root / COHORT, described, self.seal_key)
        self.__dict__["source"] = described

    def check_table(self, table: Path) -> None:
        """Raises InputError when the table of the cohort is not the one that was registered."""
        entry = self.source.get("table")
        remedy = f"delete {table.parent} and run: echosynth run {self.root}"
        if entry is None:
            raise InputError(f"{table}: not registered by this study; {remedy}")
        if what := difference_once(table, entry):
            raise InputError(f"{table}: {what} since the study was started; {remedy}")

    def others(self) -> list["Study"]:
        """The studies whose cohorts this one's shared models learn from too."""
        return [Study.open(self.root.parent / name) for name in self.config.joint.others]

    def lead(self) -> "Study | None":
        """The study that this one takes its shared models from."""
        return Study.open(self.root.parent / self.config.joint.lead) if self.config.joint.lead else None

    def private_folder(self, name: str) -> Path:
        """A folder of the study that is no stage's (one of `FOLDERS`), made with its README."""
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / README).exists():
            write_readme(folder, FOLDERS[name])
        return folder

    def key(self, stage: Stage) -> str:
        """What the result of `stage` depends on, hashed. Raises InputError when an input is not done."""
        return hashlib.sha256(json.dumps(self._depends_on(stage), sort_keys=True).encode()).hexdigest()

    def _depends_on(self, stage: Stage) -> dict:
        inputs = {name: self._input(name) for name in stage.inputs_of(self.config)}
        if stage.shared and (lead := self.lead()):
            inputs["lead"] = lead.summary(stage.name)["key"]
        elif stage.shared:
            inputs |= {f"of {other.root.name}": other._input(stage.shared) for other in self.others()}
        dumped = _dumped(self.config)
        config = {section: reduce(getitem, section.split("."), dumped) for section in stage.sections}
        return {"format": FORMAT, "stage": stage.name, "inputs": inputs, "seed": self.config.seed, "config": config}

    def _input(self, name: str) -> str:
        if name != "cohort":
            return self.summary(name)["key"]
        return f"{self.fingerprint} less canaries of {self.config.audit.canaries}" if self.config.audit.canaries else self.fingerprint

    def _bytes_of_inputs(self, stage: Stage) -> dict[str, str]:
        """The root hash of what each input of a stage has left."""
        return {name: self.summary(name)["root"] for name in stage.inputs_of(self.config) if name != "cohort"}

    def why(self, stage: Stage) -> str:
        """Why a stage has to be carried out, in words; empty where it is done. Raises InputError when an input is not done."""
        if not (self.folder(stage.name) / RECORD).exists():
            self.check_record(stage.name)
            return "not done yet"
        record, now = self.summary(stage.name), self._depends_on(stage)
        if record["key"] != self.key(stage):
            edits = changes(record["depends_on"]["config"], now["config"])
            return next(edits, "what it depends on is another now")
        anew = [name for name, root in self._bytes_of_inputs(stage).items() if record["inputs"].get(name) != root]
        return f"{', '.join(anew)} was made anew, with other bytes" if anew else ""

    def done(self, stage: Stage) -> bool:
        """Whether a stage is done and its files are there. Raises InputError naming a file that is missing or changed, and the remedy."""
        if self.why(stage):
            return False
        for line in self.look_over(stage.name):
            raise InputError(line)
        return True

    def prepare(self, stage: Stage) -> str:
        """Makes the stage's folder ready and returns the key. Unfinished work with this very key, of inputs with these very bytes, is kept; other work of the stage is cleared.

        Raises InputError naming a file there that is not the stage's: nothing of the user's is deleted.
        """
        folder, key = self.folder(stage.name), self.key(stage)
        if folder.exists() and not self._unfinished(stage, folder, key):
            self._clear(stage, folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).unlink(missing_ok=True)
        write_sealed(folder / BEGUN, {"key": key, "inputs": self._bytes_of_inputs(stage)}, self.seal_key)
        if README not in stage.public:
            write_readme(folder, stage.holds)
        return key

    def _unfinished(self, stage: Stage, folder: Path, key: str) -> bool:
        try:
            begun = read_sealed(folder / BEGUN, self.seal_key, "unfinished work is done again")
            return begun["key"] == key and begun.get("inputs") == self._bytes_of_inputs(stage)
        except FileNotFoundError:
            return False
        except InputError as error:  # nobody can say what the work was for
            say(str(error))
            return False

    def _clear(self, stage: Stage, folder: Path) -> None:
        self.check_record(stage.name)
        strange = [name for name in self.unlisted(stage.name) if name not in stage.scratch] if (folder / RECORD).exists() else []
        if strange:
            raise InputError(f"{folder / strange[0]}: not of the stage {stage.name}, whose folder is to be cleared; move it out of the study")
        doomed = folder.with_name(CLEARED.format(secrets.token_hex(8)))
        os.replace(folder, doomed)  # a kill in the middle leaves no half of it under its name
        shutil.rmtree(doomed)

    def finish(self, stage: Stage, key: str, summary: dict, seconds: float) -> None:
        """Declares the stage done. `memory_mb` is the peak of this process so far (MB, resident)."""
        folder = self.folder(stage.name)
        shutil.rmtree(folder / _CHECKPOINT, ignore_errors=True)
        for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            sweep(inner)
        artefacts = manifest_of(folder, without=(BEGUN, RECORD, *stage.scratch))
        versions = {"echosynth": __version__} | {name: version(name) for name in ("torch", "numpy", "av")} | {"python": platform.python_version()}
        record = {
            "stage": stage.name,
            "key": key,
            "depends_on": self._depends_on(stage),
            "inputs": self._bytes_of_inputs(stage),
            "seed": self.config.seed,
            "seconds": round(seconds, 2),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "memory_mb": peak_memory_mb(),
            "versions": versions,
            "summary": summary,
            "root": root_hash({name: entry for name, entry in artefacts.items() if not name.endswith(".jsonl")}),  # logs have times
            "artefacts": artefacts,
        }
        set_modes(folder, stage.public)
        write_sealed(folder / RECORD, record, self.seal_key)
        for name in (BEGUN, *stage.scratch):
            (folder / name).unlink(missing_ok=True)

    def record_folder(self, name: str, holds: str) -> None:
        """Records the files of a folder that no stage has made, such as imported weights, so that `verified` checks them."""
        stage = Stage(name, inputs=(), sections=(), run=lambda study: {}, holds=holds)
        write_readme(self.folder(name), holds)
        self.finish(stage, self.key(stage), {}, 0.0)

    def carry_out(self, stage: Stage) -> bool:
        """Runs a stage unless it is done; True when it ran.

        On several processes the first prepares and finishes the folder; the others join in where the stage wants every process and wait elsewhere.
        """
        start = time.monotonic()
        key = processes.on_first(lambda: None if self.done(stage) else self._begin(stage))
        if key is None:
            return False
        summary = stage.run(self) if stage.every_process else processes.on_first(lambda: stage.run(self))
        processes.on_first(lambda: self.finish(stage, key, summary, time.monotonic() - start))
        return True

    def _begin(self, stage: Stage) -> str:
        reason, again = self.why(stage), (self.folder(stage.name) / RECORD).exists()
        key = self.prepare(stage)
        if again:
            say(f"{stage.name}: is made again, because {reason}")
        return key


def peak_memory_mb() -> float:
    """The most resident memory that this process has held so far, in MB (getrusage counts in kB on Linux, in bytes on macOS)."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024), 1)


def _is_old(root: Path) -> bool:
    try:
        return "seal" not in read_json(root / COHORT)
    except (OSError, InputError, TypeError):
        return False


def _dumped(config: StudyConfig) -> dict:
    return config.model_dump(mode="json")
