"""Faults that a reviewer might plant in what is measured, one at a time: does a test of the same room notice?

    python -m benchmarks.mutants [--only NAME]

Each is one edit in a copy of the tree, whose tests then run; it dies when one of them fails. Every test file runs once without an edit first, and must pass: a test that fails anyway would kill whatever is planted.
Prints a line a mutant, and ends with code 1 where one survives.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("src", "tests", "benchmarks", "docs", "pyproject.toml", "README.md", "Makefile")


class Mutant(NamedTuple):
    """One edit: `old` stands once in `file` (under src/echosynth) and becomes `new`; `tests` (under tests) have to notice."""

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = (
    # privacy
    Mutant("EFs with the jitter of a point", "privacy/ef_law.py", "width = max(LEAST_WIDTH, sd * u / np.hypot(1, u))", "width = 1.0", "privacy/test_ef_law.py"),
    Mutant("p-value without the one", "privacy/screen.py", 'p = (1 + tail[np.searchsorted(values, np.asarray(scores, np.float32), side="left")])', 'p = (tail[np.searchsorted(values, np.asarray(scores, np.float32), side="left")])', "privacy/test_screen.py"),
    Mutant("ties count as strangers", "privacy/screen.py", 'np.asarray(scores, np.float32), side="left")', 'np.asarray(scores, np.float32), side="right")', "privacy/test_screen.py"),
    Mutant("a vote a clip, not a patient", "privacy/screen.py", "return np.concatenate(maxima), 1 / np.bincount(owner)[owner]", "return np.concatenate(maxima), np.full(len(owner), len(np.unique(owner)) / len(owner))", "privacy/test_screen.py"),
    Mutant("binomial counts of one calibration", "privacy/multiple.py", "return float(betabinom.sf(count - 1, samples, rank, patients + 1 - rank))", "return float(binom.sf(count - 1, samples, rank / (patients + 1)))", "privacy/test_multiple.py"),
    Mutant("a line on too few patients", "privacy/multiple.py", "strict=True)), min(ranks) >= 1", "strict=True)), min(ranks) >= 0", "privacy/test_multiple.py"),
    Mutant("the published filter at 90 %", "privacy/published.py", "PERCENTILE = 95.0", "PERCENTILE = 90.0", "privacy/test_published.py"),
    Mutant("risk against the wrong control", "privacy/risks.py", "value = (a.share - c.share) / (1 - c.share)", "value = a.share - c.share", "privacy/test_risks.py"),
    # audit
    Mutant("C_T of the wrong sign", "privacy/risks.py", "(mann_whitney(-made, -fresh) - 0.5)", "(mann_whitney(made, fresh) - 0.5)", "privacy/test_risks.py"),
    Mutant("members and strangers exchanged", "audit/membership.py", '["patient"].astype(str)[inside == member])', '["patient"].astype(str)[inside != member])', "audit/test_membership.py"),
    Mutant("the judge calibrated on TEST", "audit/suspects.py", 'np.flatnonzero(split == "VAL") if len(real.of(draws, row))]', 'np.flatnonzero(split == "TEST") if len(real.of(draws, row))]', "audit/test_null.py"),
    Mutant("a check passes by the lower end", "audit/gate.py", "return FAILED if shown_low > limit else PASSED if high <= limit else UNCLEAR", "return FAILED if shown_low > limit else PASSED if low <= limit else UNCLEAR", "audit/test_membership.py"),
    Mutant("a check fails by the higher end", "audit/gate.py", "return FAILED if shown_low > limit else PASSED", "return FAILED if high > limit else PASSED", "audit/test_membership.py"),
    Mutant("attacks that repel pass", "audit/gate.py", "outcome = _worst(above, below)", "outcome = above", "audit/test_membership.py"),
    Mutant("a duplicate leaves no law", "privacy/tails.py", "return np.sort(_distance(strangers))[nearest_stranger(strangers).duplicates :]", "return np.sort(_distance(strangers))", "privacy/test_tails.py"),
    Mutant("copies judge the line that they drew", "audit/suspects.py", "others = [np.delete(values, row, axis=0) for row in range(len(values))]", "others = [values for row in range(len(values))]", "audit/test_null.py"),
    Mutant("a quick audit releases", "audit/examine.py", 'if found["form"] not in forms:', "if False:", "audit/test_chain.py"),
    Mutant("planted copies by a part of their kinds", "audit/suspects.py", "named.all(1).sum()", "named.any(1).sum()", "audit/test_null.py"),
    # metrics
    Mutant("patients in both halves of a floor", "metrics/floor.py", "return np.flatnonzero(first[codes]), np.flatnonzero(~first[codes])", "return np.arange(len(codes))[::2], np.arange(len(codes))[1::2]", "metrics/test_floor.py"),
    Mutant("patients in both folds", "metrics/detectability.py", 'codes = np.unique(np.concatenate([np.asarray(one), np.asarray(other)]).astype(str), return_inverse=True)[1]', "codes = np.arange(len(one) + len(other))", "metrics/test_detectability.py"),
    Mutant("folds as if they were independent", "metrics/detectability.py", "EXCESS = 2.0", "EXCESS = 1.0", "metrics/test_detectability.py"),
    Mutant("a bootstrap of clips", "metrics/ejection.py", "_, codes = np.unique(np.asarray(patients), return_inverse=True)\n    count = codes.max() + 1", "codes = np.arange(len(patients))\n    count = codes.max() + 1", "metrics/test_ejection.py"),
    Mutant("a difference of the wrong sign", "metrics/utility.py", "difference, count = float(errors[1].mean() - errors[0].mean())", "difference, count = float(errors[0].mean() - errors[1].mean())", "metrics/test_utility.py"),
    Mutant("any peak is a dominant period", "metrics/temporal.py", "CARDIAC_PERIODS[1] and self.share > self.line", "CARDIAC_PERIODS[1] and self.share > 0.3", "metrics/test_temporal.py"),
    # evaluation and stages
    Mutant("a judge that knows the training patients", "evaluation/trainings.py", 'train("judge", videos(real, HELD_OUT), "EF judge", seeds=1)', 'train("judge", videos(real, ("TRAIN",)), "EF judge", seeds=1)', "evaluation/test_trainings.py"),
    Mutant("TSTR on more clips than TRTR", "evaluation/trainings.py", "as_many = of_synthetic[: len(of_real)]", "as_many = of_synthetic", "evaluation/test_trainings.py"),
    Mutant("TSTR read on VAL", "evaluation/usefulness.py", 'test = real.split("TEST")', 'test = real.split("VAL")', "stages/test_evaluation.py"),
    Mutant("recall over copies, not patients", "stages/reid.py", 'caught = planted.groupby("patient")["flagged"].all()', 'caught = planted["flagged"]', "stages/test_reid.py"),
    Mutant("the last candidate in the place of the first", "stages/unselected.py", '["missed_ef"].first().astype(bool)', '["missed_ef"].last().astype(bool)', "stages/test_unselected.py"),
)  # fmt: skip


def die(mutant: Mutant, folder: Path) -> bool:
    """Whether a test notices the mutant, in a copy of the tree in `folder`."""
    path = folder / "src" / "echosynth" / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise SystemExit(f"mutants: {mutant.name}: its line stands {text.count(mutant.old)} times in {mutant.file}; edit the mutant")
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        return tried(mutant.tests, folder) == 1
    finally:
        path.write_text(text)


def tried(tests: str, folder: Path) -> int:
    """The code that pytest ends with: 0 where all tests pass, 1 where one fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/{tests}"]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a part of the names of those to plant")
    chosen, survived = [one for one in MUTANTS if parser.parse_args().only in one.name], []
    with tempfile.TemporaryDirectory() as name:
        for part in COPIED:
            source, target = ROOT / part, Path(name) / part
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__")) if source.is_dir() else shutil.copyfile(source, target)
        for tests in dict.fromkeys(mutant.tests for mutant in chosen):
            if code := tried(tests, Path(name)):
                raise SystemExit(f"mutants: {tests} ends with code {code} without any edit; mend it first")
        for mutant in chosen:
            start = time.monotonic()
            dead = die(mutant, Path(name))
            survived += [] if dead else [mutant.name]
            print(f"{'dies' if dead else 'SURVIVES':<9} {time.monotonic() - start:5.0f} s  {mutant.file}: {mutant.name} ({mutant.tests})", flush=True)
    print(f"{len(chosen) - len(survived)} of {len(chosen)} die")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
