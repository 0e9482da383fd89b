"""Ctrl-C at random moments: how soon the prompt is back, what is kept, whether the same command ends in the same bytes.

python -m benchmarks.interrupts OUT [--times 30] [--seed 0]          about two minutes each on two cores

Each trial starts a command as a shell does, in a process group of its own, sends SIGINT to the group at a random
moment, counts what is finished before and after, and gives the same command again. The prompt has to be back within
two seconds; a training may end its running step first. What the trials saw goes to OUT/interrupts.json too.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from echosynth.interrupts import LINE
from echosynth.randomness import numpy_rng

SOON = 2.0  # seconds
START = 0.5  # seconds in which Python itself starts
COHORT = ["--patients", "10", "--clips-per-patient", "2", "--seed", "3"]
QUICK = ["seeds=1", "judge=trtr", "trainings=[]", "curve=[]"]
STUDY = ["--preset", "smoke", *[word for option in QUICK for word in ("--set", f"evaluation.{option}")]]
CLIPS = ["--videos", "24", "--frames", "64", "--steps", "4", "--ef", "uniform", "--seed", "5", "--batch-size", "2"]
TRAININGS = ("autoencoder", "image", "reid", "video", "regressor", "segmentation", "evaluation")
TURNS = (
    "phantom",
    "run latents",
    "synthesize",
    "run synthetic",
    "check",
    "run autoencoder",
    "run evaluation",
    "run video",
    "run regressor",
)
RESULTS = (".avi", ".csv", ".parquet", ".safetensors")
FINISHED = re.compile(r"[^.].*\.avi|shard-.*\.safetensors|stage\.json")
TIMED = ("second", "memory")  # in the names of figures that differ from run to run


@dataclass
class Trial:
    """What one interruption did. Counts are of files; `again` are finished clips that were made once more."""

    what: str
    moment: float  # s after the command, or the stage, began
    seconds: float = 0.0  # to the end of the last process
    code: int = 0
    clean: bool = True  # one line, no traceback
    clips: int = 0
    journal: int = 0
    stages: int = 0
    lost: int = 0
    again: int = 0
    same: bool = False
    ended_before: bool = False

    @property
    def good(self) -> bool:
        soon = self.seconds <= SOON or self.what.split()[-1] in TRAININGS
        kept = not self.lost + self.again
        return self.same and (self.ended_before or (soon and kept and self.clean and self.code == 130))

    def __str__(self) -> str:
        how = f"prompt after {self.seconds:.2f} s, code {self.code}{'' if self.clean else ', with a traceback'}"
        how = "ended before" if self.ended_before else how
        kept = f"kept {self.clips} clips, {self.journal} lines, {self.stages} stages"
        kept += f", lost {self.lost}, made again {self.again}"
        good, same = "ok " if self.good else "BAD", "same" if self.same else "OTHER"
        return f"{good} {self.what:<16} at {self.moment:6.2f} s: {how}; {kept}; {same} bytes"


class Command:
    """A running command with its output in files."""

    def __init__(self, arguments: list, log: Path):
        log.parent.mkdir(parents=True, exist_ok=True)
        self.out, self.err, self.since = log.with_suffix(".out"), log.with_suffix(".err"), time.monotonic()
        with self.out.open("w") as out, self.err.open("w") as err:
            words = [sys.executable, "-m", "echosynth", *map(str, arguments)]
            self.process = subprocess.Popen(words, stdout=out, stderr=err, start_new_session=True)

    def seconds(self) -> float:
        return time.monotonic() - self.since

    def ends(self) -> "Command":
        if self.process.wait():
            verb, said = " ".join(self.process.args[2:]), self.err.read_text()
            raise SystemExit(f"{verb}: exit code {self.process.returncode}\n{said}")
        return self

    def lines(self) -> list[str]:
        """The stages that are done, as far as they were reported."""
        return re.findall(r"^\[\d+/\d+\] (\w+): ", self.err.read_text(), re.MULTILINE)

    def running(self) -> bool:
        """Whether any process of the group is."""
        for process in psutil.process_iter():
            try:
                if os.getpgid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    return True
            except (ProcessLookupError, psutil.NoSuchProcess):
                pass
        return False


class Bench:
    """An undisturbed cohort, study and release in `out`, the seconds that each took, and trials compared with them."""

    def __init__(self, out: Path):
        self.whole, self.trials = out / "whole", out / "trials"
        self.took: dict[str, tuple[float, float]] = {}  # moments between which a thing is at work
        self.order: list[str] = []
        self.checked = ""

    def arguments(self, what: str, folder: Path) -> list:
        return {
            "phantom": ["phantom", folder / "cohort", *COHORT],
            "check": ["check", self.whole / "cohort"],
            "run": ["run", folder / "study", "--cohort", self.whole / "cohort", *STUDY],
            "synthesize": ["synthesize", self.whole / "study", *CLIPS, "--out", folder / "clips"],
        }[what.split()[0]]

    def undisturbed(self) -> None:
        """What the trials are compared with."""
        shutil.rmtree(self.whole, ignore_errors=True)
        for verb in ("phantom", "check", "run", "synthesize"):
            command = Command(self.arguments(verb, self.whole), self.whole / verb)
            last = 0.0
            while command.process.poll() is None:
                for stage in command.lines()[len(self.order) :] if verb == "run" else ():
                    self.order.append(stage)
                    self.took[f"run {stage}"] = (0.0 if last else START, command.seconds() - last)
                    last = command.seconds()
                time.sleep(0.02)
            self.took[verb] = (START, command.seconds())
            command.ends()
            print(f"{verb}: {command.seconds():.1f} s undisturbed", flush=True)
        self.checked = (self.whole / "check.out").read_text()

    def prepare(self, what: str, folder: Path) -> None:
        """A study in which everything before the stage is done."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if what.startswith("run "):
            shutil.copytree(self.whole / "study", folder / "study")
            for stage in self.order[self.order.index(what.split()[1]) :]:
                shutil.rmtree(folder / "study" / stage)

    def trial(self, number: int, what: str, rng: np.random.Generator) -> Trial:
        folder = self.trials / f"{number:03d}"
        self.prepare(what, folder)
        trial = Trial(what, float(rng.uniform(*self.took[what])))
        command = Command(self.arguments(what, folder), folder / "first")
        before = self.order.index(what.split()[1]) if " " in what else 0
        while command.process.poll() is None and len(command.lines()) < before:
            time.sleep(0.005)
        begun = command.seconds() if before else 0.0
        while command.process.poll() is None and command.seconds() - begun < trial.moment:
            time.sleep(0.005)
        finished, noted = self.finished(folder), self.journal(folder)
        trial.ended_before = command.process.poll() is not None
        if not trial.ended_before:
            self.interrupt(command, trial)
        left = self.finished(folder)
        trial.lost = len(finished.items() - left.items()) + len(noted - self.journal(folder))
        trial.clips, trial.stages = (sum(name.endswith(end) for name in left) for end in (".avi", "stage.json"))
        trial.journal = len(self.journal(folder))
        if not trial.ended_before:
            again = Command(self.arguments(what, folder), folder / "second")
            again.ends()
        now = self.finished(folder)
        trial.again = sum(now.get(name) != about for name, about in left.items())
        trial.same = self.same(what, folder)
        if trial.good:
            shutil.rmtree(folder)
        return trial

    def interrupt(self, command: Command, trial: Trial) -> None:
        since = time.monotonic()
        try:
            os.killpg(command.process.pid, signal.SIGINT)
        except ProcessLookupError:
            trial.ended_before = True
            return
        trial.code = command.process.wait()
        while command.running():
            time.sleep(0.005)
        trial.seconds = time.monotonic() - since
        said = command.err.read_text()
        trial.clean = "Traceback" not in said and said.count(LINE) == 1
        trial.ended_before = trial.code == 0

    def finished(self, folder: Path) -> dict[str, tuple]:
        """Finished clips, shards and stages: their names, and what changes when they are written anew.

        Work in progress may lie under another name beside its goal, so the folder at the top does not count.
        """
        found = {}
        for at, _, names in os.walk(folder):
            for path in (Path(at, name) for name in names if FINISHED.fullmatch(name)):
                try:
                    about = path.stat()
                except FileNotFoundError:  # its folder has taken another name meanwhile
                    continue
                found["/".join(path.relative_to(folder).parts[1:])] = (about.st_mtime_ns, about.st_size)
        return found

    def journal(self, folder: Path) -> set[str]:
        """The lines of all journals of clips, where there are any: one names a place in the release."""
        found = set()
        for at, _, names in os.walk(folder):
            for path in (Path(at, name) for name in names if name.endswith(".jsonl")):
                if path.exists():
                    found |= {line for line in path.read_text(errors="replace").splitlines() if '"slot"' in line}
        return found

    def same(self, what: str, folder: Path) -> bool:
        """Whether the result of a trial is that of the undisturbed run."""
        if what == "check":
            return self.checked in [path.read_text() for path in folder.glob("*.out")]
        top = {"phantom": "cohort", "run": "study", "synthesize": "clips"}[what.split()[0]]
        found, wanted = digests(folder, top), digests(self.whole, top)
        for name in sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)):
            print(f"    differs: {name}")
        return found == wanted


def digests(folder: Path, top: str) -> dict[str, str]:
    """The results in `folder/top` and beside it under the same name, hashed. Times and memory are left out."""
    found = {}
    for path in sorted(path for root in folder.glob(f"{top}*") for path in (root, *root.rglob("*")) if path.is_file()):
        if path.suffix in RESULTS:
            data = path.read_bytes()
        elif path.name == "metrics.json":
            read = json.loads(path.read_text())
            figures = {key: read[key] for key in read if not any(word in key for word in TIMED)}
            data = json.dumps(figures, sort_keys=True).encode()
        else:
            continue
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a command would inherit that it is ignored
    bench = Bench(options.out.resolve())
    bench.undisturbed()
    trials = []
    for number in range(options.times):
        trials.append(bench.trial(number, TURNS[number % len(TURNS)], numpy_rng(options.seed, "interrupt", number)))
        print(trials[-1], flush=True)
        (options.out / "interrupts.json").write_text(json.dumps([asdict(trial) for trial in trials], indent=2) + "\n")
    bad = sum(not trial.good for trial in trials)
    slowest = max((trial.seconds for trial in trials if not trial.ended_before), default=0.0)
    print(f"{len(trials)} interruptions, {bad} bad; the slowest prompt after {slowest:.2f} s")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
