"""Frechet distance between two sets of features, and its real-against-real floor at the same sample size.

The distance is that of Dowson & Landau (1982), used on network features by Heusel et al. (2017, "FID") and Unterthiner et al. (2018, "FVD"). Everything is float64.
"""

from dataclasses import dataclass

import numpy as np

from echosynth.randomness import numpy_rng


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


@dataclass(frozen=True)
class Frechet:
    """`distance` synthetic against real, `floor` real against real, both between sets of `samples`; None, with the `reason`, where they mean nothing."""

    distance: float | None
    floor: float | None
    samples: int
    reason: str | None = None


def frechet_with_floor(real: np.ndarray, patients: np.ndarray, synthetic: np.ndarray, seed: int, splits: int = 20) -> Frechet:
    """Frechet distance of features `synthetic` (m, D) to `real` (n, D), with the floor that a perfect generator would have.

    The distance is biased upwards by about 1/n, so a figure means something only beside another one of the same n. The real clips are halved at random by patient
    (a patient's clips resemble each other: in both halves they would flatter the floor). The floor is the distance between k clips of one half and k of the other, the distance that
    between k synthetic clips and k of a half, k the same in all; both are averaged over the halvings. With k < D + 1 a covariance is singular and both are refused.
    """
    assert len(real) == len(patients)
    needed = real.shape[1] + 1
    _, codes = np.unique(np.asarray(patients), return_inverse=True)
    if codes.max(initial=-1) < 1:
        return Frechet(None, None, 0, "fewer than two held-out patients")
    distances, floors, smallest = [], [], len(real)
    for split in range(splits):
        rng = numpy_rng(seed, "frechet", split)
        sides = _halves(codes, rng)
        count = min(len(sides[0]), len(sides[1]), len(synthetic))
        smallest = min(smallest, count)
        if count < needed:
            return Frechet(None, None, count, f"{count} clips a side, {needed} needed for {needed - 1} features")
        one, other, drawn = (moments(features[rng.permutation(len(features))[:count]]) for features in (real[sides[0]], real[sides[1]], synthetic))
        floors.append(frechet_distance(*one, *other))
        distances.append(frechet_distance(*one, *drawn))
    return Frechet(float(np.mean(distances)), float(np.mean(floors)), smallest)


def _halves(codes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the clips in two halves that share no patient and hold nearly as many clips; `codes` (n,) numbers the patients from 0."""
    sizes = np.bincount(codes)
    order = rng.permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    first = np.zeros(len(sizes), bool)
    first[order] = before + sizes[order] / 2 <= len(codes) / 2
    return np.flatnonzero(first[codes]), np.flatnonzero(~first[codes])
