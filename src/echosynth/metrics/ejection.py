"""Agreement of ejection fractions, with intervals that respect patients.

Every figure takes optional weights (..., n), one a clip: an integer weight counts a clip that often, so a bootstrap draw is a row of weights and all draws are done at once.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

Metric = Callable[..., np.ndarray]


def _mean(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return values.mean(-1) if weights is None else (weights * values).sum(-1) / weights.sum(-1)


def r2(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Coefficient of determination 1 - sum (y - p)^2 / sum (y - mean y)^2: 0 for the mean of the truth, negative for worse; not the squared correlation. NaN when all truths are equal."""
    variance = _mean(truth**2, weights) - _mean(truth, weights) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 1e-12 * np.maximum(_mean(truth**2, weights), 1e-300), 1 - _mean((truth - predicted) ** 2, weights) / variance, np.nan)


def mae(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean absolute error, in EF points when EF is in percent."""
    return _mean(np.abs(predicted - truth), weights)


def rmse(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Root of the mean squared error."""
    return np.sqrt(_mean((predicted - truth) ** 2, weights))


def auc(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None, *, below: float) -> np.ndarray:
    """Area under the ROC curve for finding clips with an EF under `below`: the chance that one of them is given a lower EF than another clip, ties half (Hanley & McNeil 1982). NaN where one kind is missing."""
    low = np.asarray(truth) < below
    right = (predicted[low][:, None] < predicted[~low]) + 0.5 * (predicted[low][:, None] == predicted[~low])
    weights = np.ones(len(low)) if weights is None else weights
    pairs = weights[..., low].sum(-1) * weights[..., ~low].sum(-1)
    hits = ((weights[..., low] @ right) * weights[..., ~low]).sum(-1)
    return np.where(pairs > 0, hits / np.where(pairs > 0, pairs, 1), np.nan)


class Calibration(NamedTuple):
    """Of the least-squares line truth = slope predicted + intercept."""

    slope: float
    intercept: float


def calibration(truth: np.ndarray, predicted: np.ndarray) -> Calibration:
    """What the truth is, on average, where a certain EF is predicted: slope 1 and intercept 0 are right, a slope under 1 means predictions too extreme (Van Calster et al. 2019). NaN where all predictions are equal.

    The line of `Agreement` is the other one, predicted on truth: its slope is under 1 for the best of predictors, because what cannot be known is drawn to the mean.
    """
    centred = predicted - predicted.mean()
    squares = centred @ centred
    slope = centred @ truth / squares if squares > 1e-12 * max(predicted @ predicted, 1e-300) else np.nan
    return Calibration(float(slope), float(truth.mean() - slope * predicted.mean()))


class Stratum(NamedTuple):
    name: str
    mae: float
    clips: int


def ef_strata(truth: np.ndarray, edges: tuple[float, ...] = (40.0, 50.0)) -> np.ndarray:
    """The stratum of each EF (n,) in percent, as text; by default reduced, mildly reduced and preserved ejection fraction (Bozkurt et al. 2021)."""
    names = [f"EF < {edges[0]:g}", *(f"EF {low:g}-{high:g}" for low, high in pairwise(edges)), f"EF >= {edges[-1]:g}"]
    return np.array(names)[np.searchsorted(edges, truth, side="right")]


def strata_mae(truth: np.ndarray, predicted: np.ndarray, strata: np.ndarray, fewest: int = 10) -> list[Stratum]:
    """Mean absolute error in each of the `strata` (n,), the worst first; strata of fewer than `fewest` clips are left out: their figure would be chance."""
    found = [Stratum(str(name), float(mae(truth[strata == name], predicted[strata == name])), int((strata == name).sum())) for name in np.unique(strata)]
    return sorted((stratum for stratum in found if stratum.clips >= fewest), key=lambda stratum: -stratum.mae)


@dataclass(frozen=True)
class Agreement:
    """How predictions agree with the truth. `slope` and `intercept` are of the least-squares line predicted = slope truth + intercept;
    the limits of agreement are bias -+ 1.96 standard deviations of the differences (Bland & Altman 1986)."""

    r2: float
    mae: float
    rmse: float
    bias: float
    slope: float
    intercept: float
    limits_low: float
    limits_high: float
    clips: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def agreement(truth: np.ndarray, predicted: np.ndarray) -> Agreement:
    """All figures of agreement between `truth` (n,) and `predicted` (n,), n >= 1; NaN where a figure needs more samples or spread than there is."""
    truth, predicted = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    assert truth.shape == predicted.shape and truth.ndim == 1 and len(truth)
    difference = predicted - truth
    bias, spread = difference.mean(), difference.std(ddof=1) if len(truth) > 1 else np.nan
    centred = truth - truth.mean()
    squares = centred @ centred
    slope = centred @ predicted / squares if squares > 1e-12 * max(truth @ truth, 1e-300) else np.nan
    return Agreement(
        r2=float(r2(truth, predicted)),
        mae=float(mae(truth, predicted)),
        rmse=float(rmse(truth, predicted)),
        bias=float(bias),
        slope=float(slope),
        intercept=float(predicted.mean() - slope * truth.mean()),
        limits_low=float(bias - 1.96 * spread),
        limits_high=float(bias + 1.96 * spread),
        clips=len(truth),
    )


def patient_weights(patients: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Weights (draws, n) of a cluster bootstrap (Field & Welsh 2007): as many patients as there are, drawn with replacement, each with all the patient's clips."""
    _, codes = np.unique(np.asarray(patients), return_inverse=True)
    count = codes.max() + 1
    return rng.multinomial(count, np.full(count, 1 / count), size=draws)[:, codes].astype(np.float64)


def bootstrap_interval(metric: Metric, truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval (Efron 1979) of `metric` over bootstrap `weights` (draws, n); draws where the metric is undefined are left out, NaN when all are."""
    values = np.asarray(metric(np.asarray(truth, np.float64), np.asarray(predicted, np.float64), weights))
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
