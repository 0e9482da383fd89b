"""The filter of EchoNet-Synthetic as published: a threshold on Pearson correlations, beside the calibrated screen (screen.py).

tau is the 95th percentile, over the training samples, of each one's highest correlation with a held-out sample; a synthetic sample is kept when its highest correlation with a training sample is below tau.
Its two sides search galleries of different sizes, so its false-rejection rate is not 5 %: of n training and m held-out samples about 1 - 0.95^(n/m) of a perfect generator's samples are rejected.
"""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from echosynth.errors import InputError
from echosynth.files import atomic_file
from echosynth.privacy.neighbours import nearest, unit
from echosynth.privacy.screen import check_unit_rows

PERCENTILE = 95.0


class Published(NamedTuple):
    """tau, and of each synthetic sample the highest correlation with a training sample, that sample's row, and whether the filter keeps it."""

    tau: float
    similarity: np.ndarray  # (N,)
    nearest: np.ndarray  # (N,)
    kept: np.ndarray  # (N,) bool


class PublishedScreen:
    """The filter, fitted: `gallery` float32 (N, D) of the training samples, standardised; tau; and how many held-out samples it came from."""

    def __init__(self, gallery: np.ndarray, tau: float, held_out: int):
        self.gallery, self.tau, self.held_out = gallery, tau, held_out

    @classmethod
    def fit(cls, train: np.ndarray, held_out: np.ndarray) -> Self:
        """From features (rows, D) of training and of held-out samples."""
        gallery = _standardised(train)
        closeness, _ = _nearest(gallery, _standardised(held_out))
        return cls(gallery, float(np.percentile(closeness, PERCENTILE)), len(held_out))

    @property
    def expected_false_rejection(self) -> float:
        """The share of a perfect generator's samples that the filter rejects, by the sizes of its two sides."""
        return expected_false_rejection(len(self.gallery), self.held_out)

    def screen(self, samples: np.ndarray) -> Published:
        """The verdicts on features (rows, D)."""
        similarity, nearest = _nearest(_standardised(samples), self.gallery)
        return Published(self.tau, similarity, nearest, similarity < self.tau)

    def save(self, folder: Path) -> None:
        """Writes published.safetensors. It holds embeddings of patients: it never leaves the study."""
        with atomic_file(folder / "published.safetensors") as path:
            save_file({"gallery": self.gallery, "tau": np.array([self.tau]), "held_out": np.array([self.held_out])}, path)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Opens what `save` wrote; raises InputError when it is not there or broken."""
        path = folder / "published.safetensors"
        try:
            with safe_open(path, "np") as file:
                gallery, tau, held_out = (file.get_tensor(name) for name in ("gallery", "tau", "held_out"))
            if gallery.ndim != 2 or not gallery.size or len(tau) != 1 or len(held_out) != 1:
                raise ValueError("no gallery in it")
            if not (np.isfinite(tau[0]) and abs(tau[0]) <= 1.001 and held_out[0] > 0):
                raise ValueError("tau is out of range")
            check_unit_rows(torch.from_numpy(gallery))
            return cls(gallery, float(tau[0]), int(held_out[0]))
        except (OSError, SafetensorError, ValueError, IndexError) as error:
            raise InputError(f"{path}: no readable calibration of the published filter ({str(error).splitlines()[0]}); run the stage reid again") from error


def published_filter(train: np.ndarray, held_out: np.ndarray, synthetic: np.ndarray) -> Published:
    """The published protocol on features (rows, D) of training, held-out and synthetic samples."""
    return PublishedScreen.fit(train, held_out).screen(synthetic)


def expected_false_rejection(train: int, held_out: int) -> float:
    """The share of a perfect generator's samples that the filter rejects, for so many training and held-out samples."""
    return 1 - (PERCENTILE / 100) ** (train / held_out)


def _standardised(features: np.ndarray) -> np.ndarray:
    """Rows of mean 0 and length 1, float32: their products are Pearson's correlations."""
    features = features.astype(np.float64) - features.mean(1, keepdims=True, dtype=np.float64)
    return unit(torch.from_numpy(features)).numpy()


def _nearest(rows: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row the highest product with the gallery and where it is."""
    found = nearest(torch.from_numpy(rows), torch.from_numpy(gallery))
    return found.scores[:, 0].numpy().astype(np.float64), found.rows[:, 0].numpy()
