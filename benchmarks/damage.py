"""Does any damage to a study's files pass silently?

python -m benchmarks.damage OUT [--count 300] [--seed 0] [--workers 2]   random damage, one file a case: 25 minutes
python -m benchmarks.damage OUT --case N [--seed 0]                      one case again; its study stays in OUT/damage

OUT gets two small studies first (a few minutes; delete it after a change of echosynth). A case is a copy of the
first, one damaged file in it (in half of the cases with its old time), then either screen, synthesize, audit and
release in turn until one of them says or does something else than on the whole study, or one verb at random; and
verify last. What may happen:

    named     exit 2, or for study.yaml any end, and the message has the path of the damaged file
    no matter the verb does and leaves, byte for byte but for times, what it does and leaves on the whole study
    mended    the same, and the damaged file was made again
    vague     exit 2, and the message does not name the file: not silent, but of little help
    FAIL      silent (another result), crash (a traceback), hang (over ten minutes), or verify does not name the file
              afterwards

Verify need not name what is in UNCHECKED.
"""

import argparse
import os
import random
import shutil
import sys
from collections import Counter
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from benchmarks.small_study import (
    SAMPLE,
    VERBS,
    Outcome,
    command,
    copy,
    digests,
    make_study,
    print_table,
    results_of,
    spread,
    words_of,
)

WAYS = ("bit flip", "zeroed", "truncated", "emptied", "{}", "swapped", "deleted")
CHAIN, CHAINED = ("screen", "synthesize", "audit", "release"), 0.4  # share of the cases with the whole chain
ALONE = tuple(verb for verb in VERBS if verb != "verify")
UNCHECKED = ("study.yaml", ".lock")  # the user's to edit; what a command that works now has written
TEXT = (".json", ".yaml", ".csv", ".md", ".key", ".jsonl")
GOOD, FAILURES = (
    ("named", "no matter", "mended", "vague"),
    ("silent", "crash", "hang", "unseen by verify", "alarm without damage"),
)


class Case(NamedTuple):
    """What is done to which file, and which verbs follow."""

    number: int
    name: str
    way: str
    keep_time: bool
    verbs: tuple[str, ...]
    rng: random.Random


def kind_of(name: str) -> str:
    """What a file is, for the table and for drawing every kind alike."""
    path = PurePosixPath(name)
    if name.startswith(SAMPLE) or path.name.startswith("shard-"):
        return str(path.parent / f"*{path.suffix}")
    return name


def draw(number: int, seed: int, names: list[str]) -> Case:
    """The case of that number, by seed and number alone: every kind of file comes round in turn."""
    kinds = sorted({kind_of(name) for name in names})
    rng = random.Random(f"{seed} {number}")
    turn, place = divmod(number, len(kinds))
    kind = random.Random(f"{seed} kinds {turn}").sample(kinds, len(kinds))[place]
    name = rng.choice(sorted(name for name in names if kind_of(name) == kind))
    verbs = CHAIN if rng.random() < CHAINED else (rng.choice(ALONE),)
    return Case(number, name, rng.choice(WAYS), rng.random() < 0.5, verbs, rng)


def damaged(case: Case, data: bytes, other: bytes | None) -> tuple[str, bytes | None]:
    """How the file was damaged at last, and its bytes then; None where it is deleted. Damage that changes nothing is
    drawn anew as another.
    """
    rng, way = case.rng, case.way
    while True:
        if way == "bit flip" and data:
            place = rng.randrange(len(data))
            made = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
        elif way == "zeroed" and data:
            start, length = rng.randrange(len(data)), rng.randint(1, 4096)
            made = data[:start] + bytes(len(data[start : start + length])) + data[start + length :]
        elif way == "truncated" and data:
            made = data[: rng.randrange(len(data))]
        else:
            made = {"emptied": b"", "{}": b"{}", "swapped": other, "deleted": None}.get(way, data)
        if way == "deleted" or (made is not None and _meaning(case.name, made) != _meaning(case.name, data)):
            return way, made
        way = rng.choice(WAYS)


def _meaning(name: str, data: bytes) -> bytes:
    """A text without the white space at its ends: without its last newline it is no other text."""
    return data.strip() if name.endswith(TEXT) else data


def same_file(other: Path, name: str, rng: random.Random) -> bytes | None:
    """The bytes of the file of that name in another study; of a clip, those of any clip."""
    if name.startswith(SAMPLE):
        return rng.choice(sorted((other / SAMPLE).glob("*.avi"))).read_bytes()
    return (other / name).read_bytes() if (other / name).exists() else None


def apply(case: Case, study: Path, other: Path) -> tuple[str, bytes | None]:
    """Damages the file in `study`; returns the way and the new bytes."""
    path = study / case.name
    about, data = path.stat(), path.read_bytes()
    way, made = damaged(case, data, same_file(other, case.name, case.rng))
    if made is None:
        path.unlink()
    else:
        path.write_bytes(made)
        if case.keep_time:
            os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    return way, made


def attempt(case: Case, whole: dict[str, dict], study: Path, other: Path, folder: Path, keep: bool = False) -> dict:
    """Carries out one case in a folder of its own."""
    work = folder / str(case.number)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    victim = copy(study, work / "study")
    way, made = apply(case, victim, other)
    said = {}

    def still() -> bool:
        path = victim / case.name
        return (path.read_bytes() if path.exists() else None) == made

    reported = False  # an edited study.yaml is named by the first command after the edit, and by no later one

    def judged(verb: str) -> str:
        nonlocal reported
        outcome = command(words_of(verb, victim, work), work)
        reported = reported or (case.name == "study.yaml" and named(case.name, outcome))
        said[verb] = f"exit {outcome.code}: {outcome.line}" + (f"\n{outcome.said}" if keep else "")
        results = results_of(verb, victim, work, outcome)
        verdict = judge(case.name, outcome, results, whole[verb], still())
        return "named" if verdict == "silent" and reported else verdict

    for verb in case.verbs:
        verdict = judged(verb)
        if verdict != "no matter":
            break
    intact = not still() and (victim / case.name).exists()
    by_verify = judge_verify(case.name, command(["verify", victim], work), intact, said)
    result = {"number": case.number, "file": case.name, "way": way, "time kept": case.keep_time, "verb": verb}
    if not keep:
        shutil.rmtree(work)
    return result | {"verdict": verdict, "verify": by_verify, "said": said}


def named(name: str, outcome: Outcome) -> bool:
    """Whether a message has the path of a file in the study, in one piece or as a cohort's folder and a file in it."""
    folder, _, rest = name.partition("/")
    return name in outcome.said or bool(rest and f"/{folder}: " in outcome.said and rest in outcome.said)


def judge(name: str, outcome: Outcome, results: dict, whole: dict, still: bool) -> str:
    """One verb on the damaged study against the same on the whole one."""
    if outcome.code is None:
        return "hang"
    if outcome.crashed:
        return "crash"
    if outcome.code == 2:
        return "named" if named(name, outcome) else "vague"
    # A verb answers for what it makes, not for what it leaves as it lies.
    names = (results.keys() | whole["results"].keys()) - ({name} if still else set())
    if all(results.get(key) == whole["results"].get(key) for key in names):
        return "no matter" if still else "mended"
    return "silent"


def judge_verify(name: str, outcome: Outcome, intact: bool, said: dict) -> str:
    """Whether verify, last of all, says what is true of the file."""
    said["verify"] = f"exit {outcome.code}: {outcome.line}"
    if outcome.code is None or outcome.crashed:
        return "hang" if outcome.code is None else "crash"
    if name in UNCHECKED:
        return "unchecked"
    if intact:
        return "clean" if outcome.code == 0 else "alarm without damage"
    return "named" if outcome.code == 2 and named(name, outcome) else "unseen by verify"


def on_the_whole(study: Path, folder: Path) -> dict[str, dict]:
    """What every verb leaves on the undamaged study.

    All have to work there, or the measurement ends; a verify that does not is only reported.
    """
    found = {}
    for verb in VERBS:
        work = folder / "whole" / verb
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        target = copy(study, work / "study")
        outcome = command(words_of(verb, target, work), work)
        if outcome.code != 0:
            print(f"{verb} does not work on the undamaged study: {outcome.said}")
        if outcome.code != 0 and verb != "verify":
            sys.exit(1)
        found[verb] = {"results": results_of(verb, target, work, outcome)}
        shutil.rmtree(work)
    return found


def failures_of(result: dict) -> list[str]:
    return [verdict for verdict in (result["verdict"], result["verify"]) if verdict in FAILURES]


def tell(results: list[dict], seed: int) -> int:
    """Prints the table and what failed; returns how many cases did."""
    columns = [*GOOD, *FAILURES]
    counts: dict[str, Counter] = {}
    for result in results:
        verdicts = [result["verdict"], *([result["verify"]] if result["verify"] in FAILURES else [])]
        counts.setdefault(kind_of(result["file"]), Counter()).update(verdicts)
    total = sum(counts.values(), Counter())
    rows = [[kind, *(count[column] or "" for column in columns)] for kind, count in sorted(counts.items())]
    print_table(["file", *columns], [*rows, ["all", *(total[column] for column in columns)]])
    for title, chosen in (
        ("FAIL", [result for result in results if failures_of(result)]),
        ("vague", [result for result in results if result["verdict"] == "vague" and not failures_of(result)]),
    ):
        for result in chosen:
            about = (
                f"{result['way']}{', old time' if result['time kept'] else ''}; {result['verb']}: {result['verdict']}"
            )
            print(
                f"\n{title} --seed {seed} --case {result['number']}: {result['file']}: {about}; "
                f"verify: {result['verify']}"
            )
            print("\n".join(f"    {verb}: {said[:300]}" for verb, said in result["said"].items()))
    failed = sum(bool(failures_of(result)) for result in results)
    print(f"\n{failed} of {len(results)} cases FAIL; not checked by verify: {', '.join(UNCHECKED)}")
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    study, other = make_study(options.out, 0), make_study(options.out, 1)
    folder = options.out.resolve() / "damage"
    names = [name for name in digests(study) if (study / name).stat().st_size]
    whole = on_the_whole(study, folder)
    carry_out = partial(attempt, whole=whole, study=study, other=other, folder=folder)
    if options.case is not None:
        result = carry_out(draw(options.case, options.seed, names), keep=True)
        print("\n".join(f"{verb}: {said}" for verb, said in result["said"].items()))
        results = [result]
    else:
        cases = [draw(number, options.seed, names) for number in range(options.count)]
        results = spread(carry_out, cases, options.workers, folder / "cases.jsonl")
    sys.exit(1 if tell(results, options.seed) else 0)


if __name__ == "__main__":
    main()
