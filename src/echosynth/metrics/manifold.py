"""How far two sets of features lie in each other's neighbourhoods: precision, recall, density and coverage. Memory is bounded: neighbours are searched exactly, block by block."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from echosynth.metrics.floor import compare_halves, require_finite

_BLOCK = 2**22  # distances held at a time


class Prdc(NamedTuple):
    """Shares in [0, 1], except density, which is 1 on average for two equal distributions and may exceed it."""

    precision: float
    recall: float
    density: float
    coverage: float


class PrdcWithFloor(NamedTuple):
    """`found` synthetic against real, `floor` what real reaches against real, both between sets of `samples`; None, with the `reason`, where they mean nothing."""

    found: Prdc | None
    floor: Prdc | None
    samples: int
    reason: str | None = None


def prdc(real: np.ndarray, synthetic: np.ndarray, manifold_k: int = 3, coverage_k: int = 5) -> Prdc:
    """Precision and recall (Kynkaanniemi et al. 2019, k = 3), density and coverage (Naeem et al. 2020, k = 5) of features `synthetic` (m, D) against `real` (n, D).

    r_k(x) is the distance of x to its k-th nearest other of its own set; a ball holds its border.

        precision  share of synthetic y with |y - x| <= r_3(x) for some real x         recall  the same with the two sets exchanged
        density    sum over x, y of [|y - x| <= r_5(x)] / (5 m)                        coverage  share of real x with |y - x| <= r_5(x) for some synthetic y

    Needs more than max(k) of either. Raises InputError naming a feature that is not finite.
    """
    require_finite(real=real, synthetic=synthetic)
    assert min(len(real), len(synthetic)) > max(manifold_k, coverage_k)
    centre = np.asarray(real, np.float64).mean(0)  # distances come from a product: less to cancel
    x, y = np.asarray(real, np.float64) - centre, np.asarray(synthetic, np.float64) - centre
    of_x, of_y = _radii(x, (manifold_k, coverage_k)), _radii(y, (manifold_k,))
    precise, recalled, covered, inside = np.zeros(len(y), bool), np.zeros(len(x), bool), np.zeros(len(x), bool), 0
    for rows, squares in _squares(x, y):
        precise |= (squares <= of_x[0][rows, None]).any(0)
        recalled[rows] = (squares <= of_y[0]).any(1)
        within = squares <= of_x[1][rows, None]
        covered[rows] = within.any(1)
        inside += within.sum()
    return Prdc(float(precise.mean()), float(recalled.mean()), float(inside / (coverage_k * len(y))), float(covered.mean()))


def prdc_with_floor(real: np.ndarray, patients: np.ndarray, synthetic: np.ndarray, seed: int, splits: int = 20) -> PrdcWithFloor:
    """`prdc` of features `synthetic` (m, D) against `real` (n, D) of some `patients`, beside what real clips reach against real ones at the same size. Refused under 50 clips a side."""
    found, floor, samples, reason = compare_halves(prdc, real, patients, synthetic, seed, "prdc", splits=splits)
    if found is None:
        return PrdcWithFloor(None, None, samples, reason)
    return PrdcWithFloor(Prdc(*map(float, found.mean(0))), Prdc(*map(float, floor.mean(0))), samples)


def _radii(x: np.ndarray, ks: tuple[int, ...]) -> list[np.ndarray]:
    """Squared distance (n,) of each of `x` (n, D) to its k-th nearest other, for each k."""
    found = np.empty((len(ks), len(x)))
    for rows, squares in _squares(x, x):
        here = np.arange(squares.shape[0])
        squares[here, rows.start + here] = np.inf  # not its own neighbour
        found[:, rows] = np.partition(squares, [k - 1 for k in ks], axis=1)[:, [k - 1 for k in ks]].T
    return list(found)


def _squares(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances (len(x), len(y)) in blocks of rows."""
    of_x, of_y = (x * x).sum(1), (y * y).sum(1)
    step = max(1, _BLOCK // len(y))
    for first in range(0, len(x), step):
        rows = slice(first, first + step)
        yield rows, of_x[rows, None] + of_y - 2 * x[rows] @ y.T
