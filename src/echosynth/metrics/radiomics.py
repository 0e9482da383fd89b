"""Hand-made features of a clip's grey levels and texture, for a Frechet distance that needs no network (Osuala et al. 2024; Konz et al. 2024).

Definitions of the features: Image Biomarker Standardisation Initiative (Zwanenburg et al. 2020); grey-level co-occurrence: Haralick et al. (1973).
"""

import numpy as np
from scipy.ndimage import correlate1d

from echosynth.metrics.texture import lit_region

LEVELS = 32  # of the co-occurrence matrices: fixed bins of 8 grey levels
OFFSETS = {"across_1": (0, 1), "across_3": (0, 3), "down_1": (1, 0), "down_3": (3, 0)}  # speckle is longer across the beam than along it
_FIRST_ORDER = ("mean", "sd", "skewness", "kurtosis", "entropy", "p10", "p90", "lit_share")
_TEXTURE = ("contrast", "correlation", "homogeneity", "joint_entropy")
_GRADIENT = ("gradient_mean", "gradient_sd")
FEATURES = (*_FIRST_ORDER, *_GRADIENT, *(f"{name}_{offset}" for offset in OFFSETS for name in _TEXTURE))


def radiomic_features(clip: np.ndarray, frames: int = 8) -> np.ndarray:
    """`FEATURES` (26,) of a clip uint8 (T, H, W): the mean over at most `frames` frames, evenly spread, of each frame's features within the lit region of the clip.

    Grey levels and gradients in grey levels, entropies in bits; skewness, excess kurtosis and correlation are 0 where nothing varies.
    """
    region = lit_region(clip)
    chosen = clip[np.unique(np.linspace(0, len(clip) - 1, frames).round().astype(int))]
    return np.concatenate([_first_order(chosen[:, region], region.mean()), _gradient(chosen, region), *(_texture(chosen, region, offset) for offset in OFFSETS.values())], 1).mean(
        0
    )


def _first_order(lit: np.ndarray, share: float) -> np.ndarray:
    """(F, 8) of the lit pixels uint8 (F, N) of each frame."""
    grey = lit.astype(np.float64)
    mean = grey.mean(1, keepdims=True)
    second, third, fourth = (((grey - mean) ** power).mean(1) for power in (2, 3, 4))
    varied = second > 1e-9
    safe = np.where(varied, second, 1.0)
    counts = np.stack([np.bincount(row // (256 // LEVELS), minlength=LEVELS) for row in lit])
    low, high = np.percentile(grey, [10, 90], axis=1)
    skewness, kurtosis = np.where(varied, third / safe**1.5, 0), np.where(varied, fourth / safe**2 - 3, 0)
    return np.stack([mean[:, 0], np.sqrt(second), skewness, kurtosis, _entropy(counts / lit.shape[1]), low, high, np.full(len(lit), share)], 1)


def _gradient(frames: np.ndarray, region: np.ndarray) -> np.ndarray:
    """(F, 2): mean and sd of the gradient's magnitude (Sobel, in grey levels a pixel)."""
    grey = frames.astype(np.float32)
    # scipy's own Sobel would also smooth over the third axis, the frames
    down, across = (correlate1d(correlate1d(grey, [-1, 0, 1], axis), [1, 2, 1], 3 - axis) / 8 for axis in (1, 2))
    magnitude = np.hypot(down, across)[:, region]
    return np.stack([magnitude.mean(1), magnitude.std(1)], 1).astype(np.float64)


def _texture(frames: np.ndarray, region: np.ndarray, offset: tuple[int, int]) -> np.ndarray:
    """(F, 4) of the symmetric co-occurrence matrix of pixels `offset` (down, right) apart, both in the region; 0 where there are no such pairs."""
    down, right = offset
    height, width = region.shape
    here, there = (slice(0, height - down), slice(0, width - right)), (slice(down, None), slice(right, None))
    pairs = region[here] & region[there]
    grey = (frames // (256 // LEVELS)).astype(np.int64)
    codes = (grey[:, *here] * LEVELS + grey[:, *there])[:, pairs]
    counts = np.stack([np.bincount(row, minlength=LEVELS**2) for row in codes]).reshape(-1, LEVELS, LEVELS).astype(np.float64)
    matrix = (counts + counts.transpose(0, 2, 1)) / max(2 * pairs.sum(), 1)
    i, j = np.mgrid[:LEVELS, :LEVELS]
    squares = np.square(i - j)
    mean = (matrix * i).sum((1, 2))
    variance = (matrix * i**2).sum((1, 2)) - mean**2
    covariance = (matrix * (i * j)).sum((1, 2)) - mean**2
    correlation = np.where(variance > 1e-9, covariance / np.maximum(variance, 1e-9), 0)
    return np.stack([(matrix * squares).sum((1, 2)), correlation, (matrix / (1 + squares)).sum((1, 2)), _entropy(matrix.reshape(len(matrix), -1))], 1)


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """Bits (F,) of distributions (F, N)."""
    return -(probabilities * np.log2(np.where(probabilities > 0, probabilities, 1))).sum(1)
