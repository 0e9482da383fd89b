"""How far apart two distributions of one figure are, figure by figure: for features that are read one at a time, where a Frechet distance would only see their Gaussian."""

import numpy as np
from scipy.stats import wasserstein_distance


def wasserstein(real: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1-Wasserstein distance (D,) of each column of `other` (m, D) to that of `real` (n, D), in the column's unit: the area between the two cumulative distributions (Villani 2009, remark 2.19)."""
    return np.array([wasserstein_distance(a, b) for a, b in zip(real.T, other.T, strict=True)])


def mean_wasserstein(real: np.ndarray, other: np.ndarray) -> float:
    """`wasserstein`, averaged over columns of one unit."""
    return float(wasserstein(real, other).mean())


def standardised_wasserstein(real: np.ndarray, other: np.ndarray) -> float:
    """`wasserstein` in standard deviations of `real`, averaged over the columns; those that are constant over `real` are left out, NaN where all are."""
    spread = real.std(0, ddof=1)
    varied = spread > 1e-12 * np.maximum(np.abs(real).max(0), 1e-300)
    return float((wasserstein(real, other)[varied] / spread[varied]).mean()) if varied.any() else float("nan")
