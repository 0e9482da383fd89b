"""Frechet distance between two sets of features, its real-against-real floor at the same sample size, and its value at infinitely many samples.

The distance is that of Dowson & Landau (1982), used on network features by Heusel et al. (2017, "FID") and Unterthiner et al. (2018, "FVD"). Everything is float64.
"""

from dataclasses import dataclass

import numpy as np

from echosynth.metrics.floor import Distance, distance_with_floor, not_finite, require_finite
from echosynth.randomness import numpy_rng

PARTS = 4  # frechet_infinity looks at n, n/2, n/3 and n/4 clips


def frechet_distance(mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2) for means (D,) and covariances (D, D).

    The product under the root is symmetric and positive, so its eigenvalues are real and the trace of the root is the sum of their roots:
    no matrix square root with an imaginary part to throw away.
    """
    values, vectors = np.linalg.eigh(np.asarray(covariance_a, np.float64))
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    product = root @ np.asarray(covariance_b, np.float64) @ root
    trace_of_root = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(min=0)).sum()
    difference = np.asarray(mean_a, np.float64) - np.asarray(mean_b, np.float64)
    return float(max(difference @ difference + np.trace(covariance_a) + np.trace(covariance_b) - 2 * trace_of_root, 0.0))


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and unbiased covariance (D, D) of features (n, D), in float64."""
    features = np.asarray(features, np.float64)
    return features.mean(0), np.atleast_2d(np.cov(features, rowvar=False))


def frechet(real: np.ndarray, other: np.ndarray) -> float:
    """Frechet distance of features `other` (m, D) to `real` (n, D). Raises InputError naming a feature that is not finite."""
    require_finite(real=real, other=other)
    return frechet_distance(*moments(real), *moments(other))


def standardised_frechet(real: np.ndarray, other: np.ndarray) -> float:
    """Frechet distance after every feature was brought to mean 0 and sd 1 over `real` (n, D): for features that are measured in different units. One that is constant over `real` keeps its unit."""
    real, other = np.asarray(real, np.float64), np.asarray(other, np.float64)
    centre, spread = real.mean(0), real.std(0, ddof=1)
    spread = np.where(spread > 1e-12 * np.maximum(np.abs(centre), 1e-300), spread, 1.0)
    return frechet((real - centre) / spread, (other - centre) / spread)


def frechet_with_floor(real: np.ndarray, patients: np.ndarray, synthetic: np.ndarray, seed: int, splits: int = 20, standardise: bool = False) -> Distance:
    """Frechet distance of features `synthetic` (m, D) to `real` (n, D), with the floor that a perfect generator would have (`floor.compare_halves`); `standardise` as in `standardised_frechet`.

    The distance is biased upwards by about 1/n, so a figure means something only beside another one of the same n. With k < D + 1 a covariance is singular and both are refused.
    """
    dims = real.shape[1]
    measure = standardised_frechet if standardise else frechet
    return distance_with_floor(measure, real, patients, synthetic, seed, "frechet", dims + 1, f" for {dims} features", splits)


@dataclass(frozen=True)
class FrechetInfinity:
    """`distance` extrapolated to infinitely many samples and its `standard_error`; at the n there are it is more by `bias`. None, with the `reason`, where there are too few."""

    distance: float | None
    standard_error: float | None
    bias: float | None
    samples: int
    reason: str | None = None


def frechet_infinity(real: np.ndarray, patients: np.ndarray, synthetic: np.ndarray, seed: int, groups: int = 10) -> FrechetInfinity:
    """Frechet distance of `synthetic` (m, D) to `real` (n, D) without its bias (Chong & Forsyth 2020): linear in 1/n, so a line through several n is read off at 1/n = 0.

    At n = N/j, N the size of the smaller set and j = 1 ... 4, the distance is the mean over j pairs of parts that share no clip (and a patient at most at their borders): parts that together are the whole have nearly the
    same sampling error as the whole, which keeps the line steady; it is also why the scatter about the line says nothing of that error. The standard error is that of a delete-a-group jackknife (Kott 2001):
    `groups` groups of patients and of synthetic clips, one left out at a time. It may be a little below 0. With fewer than 4 (D + 1) clips of either kind, a group left out, it is refused.
    """
    assert len(real) == len(patients) and groups > 1
    if reason := not_finite("real", real) or not_finite("synthetic", synthetic):
        return FrechetInfinity(None, None, None, 0, reason)
    _, codes = np.unique(np.asarray(patients), return_inverse=True)
    rank = numpy_rng(seed, "frechet infinity", 0).permutation(codes.max(initial=-1) + 1)[codes]
    order = np.argsort(rank, kind="stable")  # a patient's clips stay together: scattered over the parts they would count as more patients than there are
    real, group = real[order], rank[order] % groups
    synthetic = synthetic[numpy_rng(seed, "frechet infinity", 1).permutation(len(synthetic))]
    left = [(real[group != g], synthetic[np.arange(len(synthetic)) % groups != g]) for g in range(groups)]
    samples, needed = min(len(real), len(synthetic)), PARTS * (real.shape[1] + 1)
    fewest = min(min(len(a), len(b)) for a, b in left)
    if fewest < needed:
        return FrechetInfinity(None, None, None, samples, f"{fewest} clips with a group left out, {needed} needed for {real.shape[1]} features")
    distance, bias = _extrapolate(real, synthetic)
    without = np.array([_extrapolate(*pair)[0] for pair in left])
    return FrechetInfinity(distance, float(np.sqrt((groups - 1) / groups * np.square(without - without.mean()).sum())), bias, samples)


def _extrapolate(real: np.ndarray, synthetic: np.ndarray) -> tuple[float, float]:
    """Intercept of the line through the distances over 1/n, and what it adds at n = N."""
    size = min(len(real), len(synthetic))
    shares, distances = np.arange(1, PARTS + 1), []  # N/n
    for parts in shares:
        step = size // parts
        distances.append(np.mean([frechet(real[k * step : (k + 1) * step], synthetic[k * step : (k + 1) * step]) for k in range(parts)]))
    slope, intercept = np.polyfit(shares, distances, 1)
    return float(intercept), float(slope)
