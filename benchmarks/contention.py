"""Do commands that meet on one study leave it as single ones do?

python -m benchmarks.contention OUT [--workers 2]   every meeting: about 20 minutes on two idle cores
python -m benchmarks.contention OUT --only WORDS    meetings whose names have these words; studies stay
python -m benchmarks.contention OUT --list          only names the meetings

OUT gets a small study first, and one that was killed halfway (a few minutes; delete it after a change of echosynth).
Every meeting is on a copy.

    held      the first command is stopped (SIGSTOP) as soon as it has the lock; the others start and have to end with
              exit code 2 and one line that names its process and host, leaving nothing; then it continues, and has to
              end well
    storm     all start at once; at least one works, and whoever does not names one of the others
    killed    the first is killed (SIGKILL) while it has the lock; the next takes the lock over, and works
    abroad    the lock is of another machine: fresh, it is respected; without a sign of life for ten minutes it is
              taken over

Afterwards every file of the study (without times; pages left out) has to be as one of the commands that worked
leaves it when it is alone, what they hand out is the same as then, and the ledger has one entry a release. A meeting
that never happened, because the first was too quick, is repeated.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations_with_replacement, product
from pathlib import Path
from typing import NamedTuple

from benchmarks.small_study import (
    LIMIT,
    VERBS,
    Outcome,
    Running,
    cohort_of,
    command,
    copy,
    digests,
    make_study,
    print_table,
    results_of,
    run_words,
    spread,
    words_of,
)

LOCK, LEDGER, HALFWAY = ".lock", "audit/releases.json", "image/stage.json"
REPEATS, CROWDS = 5, 8  # of a meeting that did not happen; storms of three and of four
WORKED, REFUSED = 0, 2
LONG = 600.0  # seconds without a sign of life
DONE, HALF = "finished", "unfinished"


class Meeting(NamedTuple):
    """Which commands meet how, on a finished or an unfinished study."""

    how: str
    verbs: tuple[str, ...]
    study: str = DONE

    def __str__(self) -> str:
        return f"{self.how} {' + '.join(self.verbs)}" + (f" on an {HALF} study" if self.study == HALF else "")


class Ground(NamedTuple):
    """A study to copy, and what every verb alone makes of it: the files of the study, and its results."""

    study: Path
    whole: dict[str, str]
    after: dict[str, dict[str, str]]
    results: dict[str, dict[str, str]]


class Group:
    """A copy of a study and commands at work on it, each with a folder of its own for what it hands out."""

    def __init__(self, ground: Ground, folder: Path, repeat: int):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder, self.ground, self.repeat = folder, ground, repeat
        self.study = copy(ground.study, folder / "study")
        self.members, self.verbs = [], []

    def start(self, verb: str) -> Running:
        place = self.place(len(self.members))
        place.mkdir()
        running = Running(words_of(verb, self.study, place), self.folder / f".printed{len(self.members)}")
        self.members.append(running)
        self.verbs.append(verb)
        return running

    def place(self, number: int) -> Path:
        return self.folder / f"hand{number}"

    def owner(self) -> dict:
        """Who has the lock now, as the lock's file has it."""
        try:
            found = json.loads((self.study / LOCK).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def until_locked(self, running: Running) -> bool:
        """Waits until a command has the lock; False where it has ended before anybody saw that."""
        while self.owner().get("pid") != running.pid:
            if running.poll():
                return False
            time.sleep(0.0005)
        return True

    def end(self) -> list[Outcome]:
        return [member.wait(LIMIT) for member in self.members]


# --- The ways to meet ------------------------------------------------------------------------------------------------


def held(group: Group, verbs: Sequence[str]) -> list[str] | None:
    """What went wrong, in words; None where the commands did not meet."""
    first = group.start(verbs[0])
    if not group.until_locked(first):
        first.wait()
        return None if (group.study / LOCK).exists() else ["the first takes no lock"]
    first.send(signal.SIGSTOP)
    try:
        if group.owner().get("pid") != first.pid:
            return None
        others = [group.start(verb) for verb in verbs[1:]]
        outcomes = [other.wait(LIMIT) for other in others]
    finally:
        first.send(signal.SIGCONT)
    problems = [
        problem
        for number, outcome in enumerate(outcomes, 1)
        for problem in refusal(group, number, outcome, [first.pid])
    ]
    outcome = first.wait(LIMIT)
    return problems + ([] if outcome.code == WORKED else [f"{verbs[0]}: exit {outcome.code}: {outcome.line}"])


def storm(group: Group, verbs: Sequence[str]) -> list[str] | None:
    for verb in verbs:
        group.start(verb)
    outcomes, pids = group.end(), [member.pid for member in group.members]
    if len(verbs) > 1 and not any(outcome.code == WORKED for outcome in outcomes):
        return [f"nobody worked: {'; '.join(outcome.line for outcome in outcomes)}"]
    return [
        problem
        for number, outcome in enumerate(outcomes)
        if outcome.code != WORKED
        for problem in refusal(group, number, outcome, [pid for pid in pids if pid != pids[number]])
    ]


def killed(group: Group, verbs: Sequence[str]) -> list[str] | None:
    first = group.start(verbs[0])
    if not group.until_locked(first):
        first.wait()
        return None if (group.study / LOCK).exists() else ["the first takes no lock"]
    pause = random.Random(str(group.folder)).random() / 10**group.repeat  # the quicker the verb is, the sooner
    time.sleep(pause)
    first.send(signal.SIGKILL)
    if first.wait().code != -signal.SIGKILL:
        return None
    outcomes = [group.start(verb).wait(LIMIT) for verb in verbs[1:]]
    return [
        f"{verb}: exit {one.code}: {one.line}"
        for verb, one in zip(verbs[1:], outcomes, strict=True)
        if one.code != WORKED
    ]


def abroad(group: Group, verbs: Sequence[str]) -> list[str] | None:
    owner = {"host": "elsewhere", "pid": 4711, "start": "2026-01-01T00:00:00+00:00", "command": "run"}
    lock = group.study / LOCK
    lock.write_text(json.dumps(owner))
    outcome, problems = group.start(verbs[0]).wait(LIMIT), []
    if outcome.code != REFUSED or "4711 on elsewhere" not in outcome.err:
        problems.append(f"{verbs[0]} does not respect the lock of another machine: exit {outcome.code}: {outcome.line}")
    lock.write_text(json.dumps(owner))
    os.utime(lock, (time.time() - LONG,) * 2)
    outcome = group.start(verbs[0]).wait(LIMIT)
    return problems + ([] if outcome.code == WORKED else [f"a dead lock is not taken over: {outcome.line}"])


WAYS: dict[str, Callable[[Group, Sequence[str]], list[str] | None]] = {
    "held": held,
    "storm": storm,
    "killed": killed,
    "abroad": abroad,
}


def refusal(group: Group, number: int, outcome: Outcome, owners: list[int]) -> list[str]:
    """What is wrong with the end of a command that met another: nothing where it is exit code 2, one line that names an
    owner, and nothing left behind.
    """
    verb, host, line = group.verbs[number], socket.gethostname(), outcome.err.strip()
    if outcome.code is None:
        return [f"{verb} hangs"]
    if outcome.code != REFUSED or outcome.crashed:
        return [f"{verb}: exit {outcome.code} and not 2: {outcome.line}"]
    found = []
    if "\n" in line or not any(re.search(rf"\b{pid}\b", line) for pid in owners) or host not in line:
        found.append(f"{verb} does not name the process at work in one line: {line}")
    if litter := sorted(os.listdir(group.place(number))):
        found.append(f"{verb} was refused and has left {', '.join(litter)}")
    return found


# --- What is left ----------------------------------------------------------------------------------------------------


def files_of(study: Path) -> dict[str, str]:
    return {name: value for name, value in digests(study).items() if not name.endswith(".html") and name != LEDGER}


def results_alone(verb: str, study: Path, place: Path, outcome: Outcome) -> dict[str, str]:
    """As `results_of`, without pages and without what was printed: a study that is resumed prints other memory and
    times.
    """
    found = results_of(verb, study, place, outcome)
    return {name: value for name, value in found.items() if not name.endswith(".html") and name != "printed"}


def changed(group: Group) -> list[str]:
    """Files that are not as a single command leaves them; results that are not those of the verb alone; a ledger that
    has lost or gained an entry.
    """
    ground, outcomes = group.ground, [member.wait() for member in group.members]
    winners = [number for number, outcome in enumerate(outcomes) if outcome.code == WORKED]
    allowed = [ground.after[group.verbs[number]] for number in winners] or [ground.whole]
    now = files_of(group.study)
    names = sorted(now.keys() | set().union(*allowed))
    problems = [f"{name} is changed" for name in names if now.get(name) not in [one.get(name) for one in allowed]]
    for number in winners:
        verb = group.verbs[number]
        if results_alone(verb, group.study, group.place(number), outcomes[number]) != ground.results[verb]:
            problems.append(f"{verb} has other results than alone")
    released = sum(group.verbs[number] == "release" for number in winners)
    ledger = group.study / LEDGER
    entries = len(json.loads(ledger.read_text())["releases"]) if ledger.exists() else 0
    if entries != released:
        problems.append(f"{released} releases, {entries} in the ledger")
    return problems


def meet(meeting: Meeting, grounds: dict[str, Ground], folder: Path, keep: bool) -> dict:
    """Carries out a meeting, again where it did not happen."""
    for repeat in range(REPEATS):
        group = Group(grounds[meeting.study], folder / re.sub(r"\W+", "-", str(meeting)), repeat)
        problems = WAYS[meeting.how](group, meeting.verbs)
        if problems is not None:
            break
    codes = [member.wait().code for member in group.members]
    problems = ["never met: the first was too quick"] if problems is None else problems + changed(group)
    if not keep:
        shutil.rmtree(group.folder)
    return {"meeting": str(meeting), "codes": codes, "problems": problems}


def alone(study: Path, verbs: Sequence[str], folder: Path) -> Ground:
    """Every verb alone on a copy of a study."""
    after, results = {}, {}
    for verb in verbs:
        work = folder / "alone" / verb
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        target = copy(study, work / "study")
        outcome = command(words_of(verb, target, work), work)
        if outcome.code != 0:
            print(f"{verb} does not work on the {study.name} study: {outcome.line}")
        after[verb], results[verb] = files_of(target), results_alone(verb, target, work, outcome)
        shutil.rmtree(work)
    return Ground(study, files_of(study), after, results)


def half_a_study(out: Path) -> Path:
    """A study that was killed after the image model."""
    study = out / HALF
    if not (study / HALFWAY).exists():
        running = Running(run_words(study, cohort_of(out / "study-0"), 0), out / ".printed")
        while not (study / HALFWAY).exists() and not running.poll():
            time.sleep(0.01)
        running.send(signal.SIGKILL)
        running.wait()
    return study


def all_meetings(seed: int) -> list[Meeting]:
    """All pairs of verbs held and free; crowds of three and four drawn at random; `run` with itself on an unfinished
    study.
    """
    rng = random.Random(seed)
    crowds = [tuple(rng.choices(VERBS, k=size)) for size in (3, 4) for _ in range(CROWDS)]
    runs = [("run",) * size for size in (2, 3, 4)]
    return [
        *(Meeting("held", verbs) for verbs in [*product(VERBS, repeat=2), *crowds]),
        *(Meeting("storm", verbs) for verbs in [*combinations_with_replacement(VERBS, 2), *crowds]),
        *(Meeting(how, verbs, HALF) for how in ("held", "storm") for verbs in runs),
        *(Meeting("killed", (verb, verb)) for verb in VERBS),
        Meeting("killed", ("run", "run"), HALF),
        *(Meeting("abroad", (verb,)) for verb in VERBS),
    ]


def tell(results: list[dict]) -> int:
    """Prints the table and what failed; returns how many meetings did."""
    rows = [
        [result["meeting"], " ".join(map(str, result["codes"])), "; ".join(result["problems"])[:300] or "well"]
        for result in results
    ]
    print_table(["meeting", "exit codes", "outcome"], rows)
    failed = sum(bool(result["problems"]) for result in results)
    print(f"\n{failed} of {len(results)} meetings FAIL")
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    meetings = [meeting for meeting in all_meetings(options.seed) if options.only in str(meeting)]
    if options.list:
        return print("\n".join(map(str, meetings)))
    out = options.out.resolve()
    study, folder = make_study(out, 0), out / "contention"
    shutil.rmtree(folder, ignore_errors=True)
    grounds = {
        DONE: alone(study, sorted({verb for one in meetings if one.study == DONE for verb in one.verbs}), folder),
        HALF: alone(half_a_study(out), ["run"] if any(one.study == HALF for one in meetings) else [], folder),
    }
    carry_out = partial(meet, grounds=grounds, folder=folder, keep=bool(options.only))
    sys.exit(1 if tell(spread(carry_out, meetings, options.workers, folder / "meetings.jsonl")) else 0)


if __name__ == "__main__":
    main()
