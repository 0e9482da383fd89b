"""Features of many clips, a batch at a time: only the frames that are wanted are decoded, and no more than a batch of them is in memory."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from echosynth.cohort.video import read_frames, to_square
from echosynth.metrics.encoders import Encoder
from echosynth.metrics.sampling import Window
from echosynth.progress import progress

BATCH_FRAMES = 128  # frames a batch, as StyleGAN-V has them at this size
Features = Callable[[np.ndarray, float], np.ndarray]
"""(clips uint8 (B, T, H, W), fps) -> (B, D)."""


def feature_batches(features: Features, paths: Sequence[Path], windows: Sequence[Window], title: str, size: int = 112) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of places (B,) in `windows` and features (B, D) of the windows there, on frames of `size` x `size` pixels.

    `features` is that of an `Encoder`, `Inception.probabilities`, or statistics of the pixels. A batch has one length and one frame rate, so windows do not come in their order. Raises InputError when
    a video cannot be read.
    """

    def kind(place: int) -> tuple[int, float]:
        return len(windows[place].frames), windows[place].fps

    with progress(title, len(windows)) as advance:
        for (frames, fps), alike in groupby(sorted(range(len(windows)), key=kind), kind):
            places, step = np.array(list(alike)), max(1, BATCH_FRAMES // frames)
            for first in range(0, len(places), step):
                batch = places[first : first + step]
                yield batch, features(np.concatenate(list(_clips(paths, [windows[place] for place in batch], size))), fps)
                advance(len(batch))


def feature_matrix(encoder: Encoder, paths: Sequence[Path], windows: Sequence[Window], title: str, size: int = 112) -> np.ndarray:
    """All features (N, D) float64, a row a window: N x D numbers in memory, no video."""
    found = np.empty((len(windows), encoder.dims))
    for places, features in feature_batches(encoder.features, paths, windows, title, size):
        found[places] = features
    return found


class RunningMoments:
    """Mean and covariance of features that come in batches, for a Frechet distance of more clips than a matrix could hold (Chan, Golub & LeVeque 1983). Everything is float64.

    moments = RunningMoments()
    for _, features in feature_batches(...):
        moments.add(features)
    frechet_distance(*moments.mean_and_covariance(), *others.mean_and_covariance())
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: np.ndarray | float = 0.0
        self._scatter: np.ndarray | float = 0.0

    def add(self, batch: np.ndarray) -> None:
        """Takes in features (B, D)."""
        batch = np.asarray(batch, np.float64)
        mean, total = batch.mean(0), self.count + len(batch)
        centred, shift = batch - mean, mean - self._mean
        self._scatter = self._scatter + centred.T @ centred + np.outer(shift, shift) * (self.count * len(batch) / total)
        self._mean = self._mean + shift * (len(batch) / total)
        self.count = total

    def mean_and_covariance(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (D,) and unbiased covariance (D, D) of what was added: what `frechet.moments` says of the whole matrix. Needs more than D features to be of use."""
        assert self.count > 1
        return np.asarray(self._mean), self._scatter / (self.count - 1)


def _clips(paths: Sequence[Path], batch: Sequence[Window], size: int) -> Iterator[np.ndarray]:
    """The windows as clips (k, T, size, size); a video that has several in a row is opened once."""
    for row, windows in groupby(batch, lambda window: window.clip):
        group = list(windows)
        frames = read_frames(paths[row], np.concatenate([window.frames for window in group]))
        yield to_square(frames, size).reshape(len(group), -1, size, size)
