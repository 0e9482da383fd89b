"""The filter of EchoNet-Synthetic as published: a threshold on Pearson correlations, for comparison with the calibrated screen (screen.py).

tau is the 95th percentile, over the training samples, of each one's highest correlation with a held-out sample; a synthetic sample is kept when its highest correlation with a training sample is below tau.
Its two sides search galleries of different sizes, so its false-rejection rate is not 5 %: of n training and m held-out samples about 1 - 0.95^(n/m) of a perfect generator's samples are rejected.
"""

from typing import NamedTuple

import numpy as np

PERCENTILE = 95.0
_ROWS = 4096  # at a time


class Published(NamedTuple):
    """tau, and of each synthetic sample the highest correlation with a training sample, that sample's row, and whether the filter keeps it."""

    tau: float
    similarity: np.ndarray  # (N,)
    nearest: np.ndarray  # (N,)
    kept: np.ndarray  # (N,) bool


def published_filter(train: np.ndarray, held_out: np.ndarray, synthetic: np.ndarray) -> Published:
    """The published protocol on features (rows, D) of training, held-out and synthetic samples."""
    train, held_out, synthetic = (_standardised(features) for features in (train, held_out, synthetic))
    closeness, _ = _nearest(train, held_out)
    similarity, nearest = _nearest(synthetic, train)
    tau = float(np.percentile(closeness, PERCENTILE))
    return Published(tau, similarity, nearest, similarity < tau)


def expected_false_rejection(train: int, held_out: int) -> float:
    """The share of a perfect generator's samples that the filter rejects, for so many training and held-out samples."""
    return 1 - (PERCENTILE / 100) ** (train / held_out)


def _standardised(features: np.ndarray) -> np.ndarray:
    """Rows of mean 0 and length 1: their products are Pearson's correlations."""
    features = features.astype(np.float64) - features.mean(1, keepdims=True, dtype=np.float64)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _nearest(rows: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row the highest product with the gallery and where it is; memory does not grow with the number of rows."""
    highest, where = np.empty(len(rows)), np.empty(len(rows), int)
    for first in range(0, len(rows), _ROWS):
        part = slice(first, first + _ROWS)
        products = rows[part] @ gallery.T
        where[part] = products.argmax(1)
        highest[part] = products.max(1)
    return highest, where
