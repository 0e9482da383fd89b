"""What the classifiers of `appearance.detectability*` see: other real clips (they must not: 0.5), and other real clips with a difference planted in them.

python -m benchmarks.detectability COHORT                   held-out against other clips of a cohort, minutes on two cores
python -m benchmarks.detectability COHORT --null 20         floors alone: as many pairs of sets, each drawn anew, and how many intervals hold 0.5

A difference is planted before the frames are coded: blur (sd in pixels of 112), noise (sd in grey levels), gain (a factor), or an earlier coding by the same codec (its quantiser; 2 is what the product writes with, so
that such a clip was written once more than the others).
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from echosynth.cohort.echonet import Cohort, read_cohort
from echosynth.cohort.video import through_codec
from echosynth.evaluation.appearance import spread
from echosynth.evaluation.detectability import VIEWS, look, separate
from echosynth.metrics.detectability import matched
from echosynth.metrics.ranking import Auc
from echosynth.randomness import numpy_rng


def blurred(frames: np.ndarray, sd: float) -> np.ndarray:
    return _grey(gaussian_filter(frames.astype(np.float32), (0, sd, sd)))


def noisy(frames: np.ndarray, sd: float) -> np.ndarray:
    """Noise of its own in every frame and clip, where there is tissue: a surround that is not black would be seen by anyone."""
    rng = numpy_rng(int(frames.sum()), "planted noise")
    return _grey(frames + sd * rng.standard_normal(frames.shape, np.float32) * (frames > 0))


def brighter(frames: np.ndarray, gain: float) -> np.ndarray:
    return _grey(frames * np.float32(gain))


def coded_before(frames: np.ndarray, quantiser: float) -> np.ndarray:
    return through_codec(frames, int(quantiser))


def _grey(frames: np.ndarray) -> np.ndarray:
    return frames.round().clip(0, 255).astype(np.uint8)


PLANTED: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], tuple[float, ...]]] = {
    "blur": (blurred, (0.3, 0.4, 0.5, 0.8)),
    "noise": (noisy, (2, 5, 10)),
    "gain": (brighter, (1.02, 1.05, 1.1, 1.3)),
    "coded before": (coded_before, (2, 5)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--clips", type=int, default=240, help="a side")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--fps", type=float, default=32.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--null", type=int, default=0, help="pairs of sets for floors alone")
    options = parser.parse_args()
    cohort = read_cohort(options.cohort)
    if options.null:
        floors(cohort, options)
    else:
        power(cohort, options)


def power(cohort: Cohort, options: argparse.Namespace) -> None:
    """A row a planted difference, a column a view."""
    held_out = spread(cohort.held_out(), options.clips)
    train = cohort.split("TRAIN")
    others = train.iloc[matched(held_out["ef"].to_numpy(), train["ef"].to_numpy())]
    real = look(cohort, held_out, options.fps, options.seed)
    print(f"{len(real.patients)} clips a side, {options.steps} steps\n\n| planted | {' | '.join(view.name for view in VIEWS)} | s |\n|---|{'---|' * len(VIEWS)}---|", flush=True)
    rows = [("nothing", None, None)] + [(f"{name} {strength:g}", function, strength) for name, (function, strengths) in PLANTED.items() for strength in strengths]
    for name, function, strength in rows:
        other = look(cohort, others, options.fps, options.seed, None if function is None else lambda frames, f=function, s=strength: f(frames, s))
        start = time.monotonic()
        found = separate({name: (real, other)}, options.steps, options.seed)
        cells = [_cell(found[name, view.name]) for view in VIEWS]
        print(f"| {name} | {' | '.join(cells)} | {time.monotonic() - start:.0f} |", flush=True)


def floors(cohort: Cohort, options: argparse.Namespace) -> None:
    """Real against other real clips, patients apart, from the whole cohort."""
    found: dict[str, list[Auc]] = {view.name: [] for view in VIEWS}
    for draw in range(options.null):
        sides = [look(cohort, rows, options.fps, options.seed + draw) for rows in _halves(cohort.clips, options.clips, options.seed, draw)]
        for (_, view), auc in separate({"": (sides[0], sides[1])}, options.steps, options.seed + draw).items():
            found[view].append(auc)
    print(f"{options.null} pairs of sets\n\n| view | mean | sd | intervals that hold 0.5 |\n|---|---|---|---|")
    for view, aucs in found.items():
        values = np.array([auc.value for auc in aucs])
        held = sum(auc.low <= 0.5 <= auc.high for auc in aucs)
        print(f"| {view} | {values.mean():.3f} | {values.std(ddof=1) if len(values) > 1 else float('nan'):.3f} | {held}/{len(aucs)} |")


def _halves(clips: pd.DataFrame, count: int, seed: int, draw: int) -> list[pd.DataFrame]:
    """Two sets of at most `count` clips of different patients, drawn from all clips of either half of the patients."""
    rng = numpy_rng(seed, "null", draw)
    sides = [clips[clips["patient"].isin(part)] for part in np.array_split(rng.permutation(clips["patient"].unique()), 2)]
    return [side.iloc[np.sort(rng.permutation(len(side))[:count])] for side in sides]


def _cell(auc: Auc) -> str:
    return f"{auc.value:.3f} ({auc.low:.2f}-{auc.high:.2f})"


if __name__ == "__main__":
    main()
