"""Kernel distance between two sets of features: unbiased at any sample size, where the Frechet distance is not. On Inception features it is KID, on video features KVD."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from echosynth.metrics.floor import Distance, distance_with_floor, require_finite
from echosynth.randomness import numpy_rng

_BLOCK = 2**22  # entries of a kernel matrix held at a time


class Kid(NamedTuple):
    value: float
    standard_error: float


def kid(real: np.ndarray, synthetic: np.ndarray) -> Kid:
    """Squared maximum mean discrepancy of features `real` (n, D) and `synthetic` (m, D) under k(x, y) = (x.y / D + 1)^3, unbiased (Binkowski et al. 2018; Gretton et al. 2012, eq. 3).

        sum_{i != j} k(x_i, x_j) / (n (n - 1)) + sum_{i != j} k(y_i, y_j) / (m (m - 1)) - 2 sum_{ij} k(x_i, y_j) / (n m)

    Being unbiased it is negative half of the time where the two are alike. The standard error is the jackknife's, over clips of either set in turn; it supposes that clips are independent
    and is too large, never too small, where the distance is near 0 (there the statistic is degenerate). Needs n, m >= 3; memory is bounded. Raises InputError naming a feature that is not finite.
    """
    n, m = len(real), len(synthetic)
    assert min(n, m) >= 3 and real.shape[1] == synthetic.shape[1]
    require_finite(real=real, synthetic=synthetic)
    x, y = np.asarray(real, np.float64), np.asarray(synthetic, np.float64)
    across, along = np.zeros(n), np.zeros(m)
    for rows, block in _kernel(x, y):
        across[rows] = block.sum(1)
        along += block.sum(0)
    xx, yy, xy = _others(x), _others(y), across.sum()
    one, two = xx.sum() / (n * (n - 1)), yy.sum() / (m * (m - 1))
    without_x = (xx.sum() - 2 * xx) / ((n - 1) * (n - 2)) + two - 2 * (xy - across) / ((n - 1) * m)
    without_y = one + (yy.sum() - 2 * yy) / ((m - 1) * (m - 2)) - 2 * (xy - along) / (n * (m - 1))
    variance = without_x.var() * (n - 1) + without_y.var() * (m - 1)
    return Kid(float(one + two - 2 * xy / (n * m)), float(np.sqrt(variance)))


def kid_subsets(real: np.ndarray, synthetic: np.ndarray, seed: int, subsets: int = 100, size: int = 1000) -> Kid:
    """Mean of `kid` over random subsets of `size` features (as many as there are, if fewer), as Binkowski et al. (2018) and StyleGAN publish it (they multiply by 1000).

    The standard error, sd / sqrt(subsets), is only that of drawing subsets from the clips there are: subsets overlap. `kid` has the one that counts.
    """
    size = min(size, len(real), len(synthetic))
    values = np.empty(subsets)
    for k in range(subsets):
        rng = numpy_rng(seed, "kid", k)
        values[k] = kid(real[rng.permutation(len(real))[:size]], synthetic[rng.permutation(len(synthetic))[:size]]).value
    return Kid(float(values.mean()), float(values.std(ddof=1) / np.sqrt(subsets)))


def kid_with_floor(real: np.ndarray, patients: np.ndarray, synthetic: np.ndarray, seed: int, splits: int = 20) -> Distance:
    """`kid` of features `synthetic` (m, D) to `real` (n, D) of some `patients`, beside its floor, which scatters about 0. Refused under 50 clips a side."""
    return distance_with_floor(lambda one, other: kid(one, other).value, real, patients, synthetic, seed, "kid", splits=splits)


def _kernel(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The kernel matrix (len(x), len(y)) in blocks of rows."""
    step = max(1, _BLOCK // len(y))
    for first in range(0, len(x), step):
        rows = slice(first, first + step)
        yield rows, (x[rows] @ y.T / x.shape[1] + 1) ** 3


def _others(x: np.ndarray) -> np.ndarray:
    """sum over j != i of k(x_i, x_j), (n,)."""
    sums = np.concatenate([block.sum(1) for _, block in _kernel(x, x)])
    return sums - ((x * x).sum(1) / x.shape[1] + 1) ** 3
