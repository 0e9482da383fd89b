"""Small audited studies to attack, and quick commands on copies: what damage.py, smuggling.py, contention.py share.

A command is `echosynth` as on the command line, in a child that is forked from a process which has imported
everything already: the imports would take longer than the work. No thread pool may be started in the parent, so the
environment is set before anything is imported.
"""

import os

os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")})
os.environ.update(CUDA_VISIBLE_DEVICES="", COLUMNS="500")

import ctypes
import hashlib
import json
import multiprocessing
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import echosynth.audit.examine
import echosynth.audit.release
import echosynth.bench
import echosynth.cohort.phantom
import echosynth.joint
import echosynth.stages.screening  # noqa: F401
from echosynth import cli

PATIENTS, LIMIT = 10, 600.0  # seconds that a command may take before it counts as hanging
OVERRIDE = ("--override", "a measurement")
OPTIONS = (
    *(
        "evaluation.seeds=1",
        "evaluation.judge=trtr",
        "evaluation.trainings=[]",
        "evaluation.curve=[]",
        "evaluation.clips=8",
    ),
    *("synthesis.videos=8", "audit.planted=2", "audit.pixel_steps=2", "screen.planted_images=4"),
)
MADE = ("--videos", 2, "--frames", 32, "--seed", 5)
VERBS = ("run", "synthesize", "screen", "audit", "release", "report", "latents", "verify")
SAMPLE = "synthetic/Videos/"
TIMES = {"made", "finished", "date", "start", "began", "begun", "mtime_ns"}
VOLATILE = TIMES | {
    "seal",
    "size",
    "sha256",
    "root",
    "inputs",
    "bytes",
    "out",
    "earlier_releases",
}  # of a page, and of metrics.json, size and hash depend on times
_TIMES = re.compile(r"\d{4}-\d\d-\d\d(T[\d:+.]+)?|\d[\d,.]*\s(s|min|h|MB|GB)\b")


class Outcome(NamedTuple):
    """What a command did. `code` is None where it was ended for taking too long, negative where a signal ended it."""

    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> str:
        return self.out + self.err

    @property
    def crashed(self) -> bool:
        """It neither worked nor ended with a message for the user."""
        return self.code not in (0, 2, None) or "Traceback (most recent call last)" in self.err

    @property
    def line(self) -> str:
        """Its error message, or the last line that it wrote."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return next((line for line in lines if line.startswith("echosynth: error:")), lines[-1] if lines else "")


class Running:
    """A command at work. `log` is a path of no file yet; what it prints goes to files of that name."""

    def __init__(self, arguments: Sequence, log: Path):
        self.files = [log.with_name(f"{log.name}.{name}") for name in ("out", "err")]
        self.start, self.ended = time.monotonic(), None
        sys.stdout.flush(), sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            _be_the_command([str(word) for word in arguments], self.files)

    def poll(self) -> bool:
        """Whether it has ended."""
        if self.ended is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.ended = os.waitstatus_to_exitcode(status), time.monotonic() - self.start
        return self.ended is not None

    def send(self, number: signal.Signals) -> None:
        if not self.poll():
            os.kill(self.pid, number)

    def wait(self, limit: float = LIMIT) -> Outcome:
        deadline, pause = time.monotonic() + limit, 0.002
        while not self.poll() and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        late = not self.poll()
        if late:
            self.send(signal.SIGKILL)
            while not self.poll():
                time.sleep(0.01)
        out, err = (path.read_text(errors="replace") if path.exists() else "" for path in self.files)
        return Outcome(None if late else self.ended[0], out, err, self.ended[1])


def _end_with_the_parent() -> None:
    """An interrupted measurement leaves nothing at work behind (Linux; elsewhere it may)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _be_the_command(arguments: list[str], files: list[Path]) -> None:
    """Never returns."""
    code = 1
    _end_with_the_parent()
    try:
        os.setsid()
        for number, path in enumerate(["/dev/null", *files]):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY, 0o600)
            os.dup2(handle, number)
            os.close(handle)
        sys.argv = ["echosynth", *arguments]
        cli.main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def command(arguments: Sequence, folder: Path, limit: float = LIMIT) -> Outcome:
    """Carries out one command; `folder` is for what it prints."""
    return Running(arguments, folder / ".printed").wait(limit)


def words_of(verb: str, study: Path, folder: Path) -> list:
    """The arguments of a verb on a study; what is handed out goes into `folder`."""
    more = {
        "synthesize": [*MADE, "--out", folder / "made"],
        "screen": ["--out", folder / "verdicts.parquet"],
        "release": [folder / "released", *OVERRIDE],
    }
    return [verb, study, *more.get(verb, [])]


def results_of(verb: str, study: Path, folder: Path, outcome: Outcome) -> dict[str, str]:
    """Digests of what a verb leaves behind, without times and paths; for the verbs that print figures these too."""
    if verb == "synthesize":
        return digests(folder / "made") | digests(folder, only="made.screening.parquet")
    if verb == "screen":
        return digests(folder, only="verdicts.parquet")
    if verb == "release":
        return digests(folder / "released")
    if verb in ("run", "report"):
        printed = _TIMES.sub("", re.sub(r"\s+", " ", outcome.out.replace(str(study), "STUDY")))
        return {f"report/{name}": value for name, value in digests(study / "report").items()} | {
            "printed": _digest(printed.encode())
        }
    if verb in ("audit", "latents"):
        return {f"{verb}/{name}": value for name, value in digests(study / verb).items() if name != "releases.json"}
    return {}


def digests(folder: Path, only: str = "*") -> dict[str, str]:
    """Digests of all files of a folder by their paths in it; JSON and pages without times, seals and memory."""
    paths = sorted(path for path in folder.rglob(only) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): _digest(lasting(path)) for path in paths}


def lasting(path: Path) -> bytes:
    """The bytes of a file, of a text without what differs from one run to the next."""
    data = path.read_bytes()
    try:
        if path.suffix == ".json":
            return json.dumps(_without_times(json.loads(data)), sort_keys=True).encode()
        if path.suffix == ".jsonl":
            return json.dumps([_without_times(json.loads(line)) for line in data.splitlines()]).encode()
        if path.suffix == ".html":
            return _TIMES.sub("", data.decode()).encode()
    except ValueError:
        pass  # damaged: then its bytes are what it is
    return data


def _without_times(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_times(item)
        for key, item in value.items()
        if key not in VOLATILE and not key.startswith(("seconds", "memory", "samples"))
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def cohort_of(study: Path) -> Path:
    """The cohort of a study that `make_study` made."""
    return study.with_name(study.name.replace("study", "cohort"))


def run_words(study: Path, cohort: Path, seed: int) -> list:
    """The arguments that start a small study."""
    given = [word for option in OPTIONS for word in ("--set", option)]
    return ["run", study, "--cohort", cohort, "--preset", "smoke", "--seed", seed, *given]


def make_study(out: Path, seed: int = 0) -> Path:
    """OUT/study-SEED, finished and audited, on OUT/cohort-SEED; what is there already is left as it is. Exits where a
    command fails.
    """
    out.mkdir(parents=True, exist_ok=True)
    study, out = out.resolve() / f"study-{seed}", out.resolve()
    cohort = cohort_of(study)
    steps = (
        (cohort / "FileList.csv", ["phantom", cohort, "--patients", PATIENTS, "--seed", 3 + seed, "--workers", 1]),
        (study / "report" / "stage.json", run_words(study, cohort, seed)),
        (study / "audit" / "audit.json", ["audit", study]),
    )
    for result, words in steps:
        if not result.exists():
            done = command(words, out)
            if done.code != 0:
                sys.exit(f"echosynth {words[0]} failed on {study}:\n{done.err}")
    return study


def copy(study: Path, target: Path) -> Path:
    """A copy of a study, with the times of its files."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(study, target, symlinks=True)
    return target


def spread(work: Callable[[Any], dict], items: Iterable, workers: int, found: Path) -> list[dict]:
    """`work` of all items on some forked workers, in the order of the items.

    Its results are JSON-able; `found` keeps them, a JSON line each.
    """
    context = multiprocessing.get_context("fork")
    items, queue = list(items), context.SimpleQueue()
    found.unlink(missing_ok=True)
    processes = [context.Process(target=_work, args=(work, items, queue, found)) for _ in range(workers)]
    for process in processes:
        process.start()
    for number in [*range(len(items)), *[None] * workers]:
        queue.put(number)
    for process in processes:
        process.join()
    results = (
        {line["number"]: line["result"] for line in map(json.loads, found.read_text().splitlines())}
        if found.exists()
        else {}
    )
    if len(results) < len(items):
        sys.exit(f"the measurement itself failed in {len(items) - len(results)} of {len(items)} cases, see above")
    return [results[number] for number in range(len(items))]


def _work(work: Callable[[Any], dict], items: list, queue: Any, found: Path) -> None:
    _end_with_the_parent()
    while (number := queue.get()) is not None:
        try:
            result = work(items[number])
        except Exception:
            traceback.print_exc()
            continue
        with found.open("a") as file:
            file.write(json.dumps({"number": number, "result": result}) + "\n")


def print_table(header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Columns as wide as their longest cell."""
    lines = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
