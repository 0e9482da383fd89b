"""Motion by optical flow, the seams of videos made in pieces, and whether the beats of one clip are alike. No network."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.signal import find_peaks

from echosynth.metrics.temporal import CARDIAC_PERIODS, beat, box_means
from echosynth.metrics.texture import lit_region

GRID = 28  # cells a side: a wall that moves at 10 cm/s crosses less than half of one between two frames
_WINDOW = 5  # cells a side, over which motion is taken to be the same
_NOISE = 1.0  # grey levels^2: gradients weaker than this say nothing of motion, and the flow there is 0
FLOW = ("mean", "sd", "p50", "p90", "p99", "pulsation")
"""Of a clip's speeds: mean, standard deviation, percentiles over places and times; standard deviation over time of the frames' mean speeds."""


def optical_flow(clip: np.ndarray, fps: float) -> np.ndarray:
    """Velocities (T - 1, 28, 28, 2), down and right, in frame heights and widths a second, of a clip uint8 (T, H, W) at `fps`.

    Least squares of Lucas & Kanade (1981) on box means: in a window w, v = -(sum g g' + noise)^-1 sum g d with the gradient g of the mean of two frames and their difference d. Motion by more than about a cell is underestimated.
    """
    grid = box_means(clip, GRID)
    middle, change = (grid[1:] + grid[:-1]) / 2, np.diff(grid, axis=0)
    down, right = np.gradient(middle, axis=(1, 2))

    def over_window(values: np.ndarray) -> np.ndarray:
        return uniform_filter(values, (0, _WINDOW, _WINDOW))

    a, b, c = over_window(down * down) + _NOISE, over_window(down * right), over_window(right * right) + _NOISE
    d, r = over_window(down * change), over_window(right * change)
    determinant = a * c - b * b
    return np.stack([-(c * d - b * r) / determinant / grid.shape[1], -(a * r - b * d) / determinant / grid.shape[2]], -1) * fps


def flow_statistics(clip: np.ndarray, fps: float) -> np.ndarray:
    """`FLOW` (6,) of the speeds in the lit region of a clip uint8 (T, H, W), T > 1, in frame sides a second."""
    speeds = np.linalg.norm(optical_flow(clip, fps), axis=-1)
    places = box_means(lit_region(clip)[None], GRID)[0] >= 0.5
    lit = speeds[:, places if places.any() else np.ones_like(places)]
    return np.array([lit.mean(), lit.std(), *np.percentile(lit, [50, 90, 99]), lit.mean(1).std()])


@dataclass(frozen=True)
class Seams:
    """Of each join (J,): the `quantile` of the change there among the clip's other changes, and its `ratio` to their median."""

    quantiles: np.ndarray
    ratios: np.ndarray


def seams(clip: np.ndarray, joins: np.ndarray) -> Seams:
    """Whether a clip uint8 (T, H, W) jumps where it was joined: `joins` (J,) are the frames whose difference from the one before a join has touched: the first of a piece at least.

    A change is the mean absolute difference of two successive frames. Over many clips without seams the quantiles are uniform in [0, 1] with mean 0.5 (ties count half); all near 1 is a seam that can be seen.
    """
    joins = np.asarray(joins, int)
    assert len(joins) and joins.min() > 0 and joins.max() < len(clip) and len(set(joins.tolist())) < len(clip) - 1
    changes = np.abs(np.diff(clip.astype(np.int16), axis=0)).mean((1, 2))
    at = changes[joins - 1]
    others = np.delete(changes, joins - 1)
    quantiles = (others < at[:, None]).mean(1) + (others == at[:, None]).mean(1) / 2
    return Seams(quantiles, at / max(float(np.median(others)), 1e-9))


@dataclass(frozen=True)
class Consistency:
    """How alike the beats of one clip are: standard deviation over mean, of the largest areas (`ed`), of the smallest (`es`), of the times between smallest ones (`interval`); NaN with fewer than two of them."""

    beats: int
    ed: float
    es: float
    interval: float


def consistency(area: np.ndarray, fps: float) -> Consistency:
    """ED and ES of each beat of an area curve (T,) of the left ventricle at `fps`: extremes half a beat or more apart that stand out by 30 % of the curve's range. No extreme is looked for in the first and last frame.

    A regular rhythm has figures near 0; atrial fibrillation does not, so compare with real clips of the same labels.
    """
    area = np.asarray(area, np.float64)
    period = beat(area, fps).period
    if not CARDIAC_PERIODS[0] <= period <= CARDIAC_PERIODS[1]:
        return Consistency(0, np.nan, np.nan, np.nan)
    apart, prominence = max(1, round(period * fps / 2)), 0.3 * np.ptp(area)
    largest, smallest = (find_peaks(sign * area, distance=apart, prominence=prominence)[0] for sign in (1, -1))
    return Consistency(len(smallest), _variation(area[largest]), _variation(area[smallest]), _variation(np.diff(smallest) / fps))


def _variation(values: np.ndarray) -> float:
    """Standard deviation over mean; NaN for fewer than two values."""
    return float(np.std(values, ddof=1) / np.mean(values)) if len(values) > 1 else float("nan")
