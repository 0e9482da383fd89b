"""Which frames of which video a distance is taken on: the rules of StyleGAN-V (Skorokhodov et al. 2022, the code of its metrics), by counter instead of by order."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from echosynth.randomness import numpy_rng


class Window(NamedTuple):
    """`frames` (T,) of the video in row `clip`, that stand for a clip at `fps` frames a second."""

    clip: int
    frames: np.ndarray
    fps: float


def video_windows(
    names: Sequence[str],
    lengths: np.ndarray,
    rates: np.ndarray,
    frames: int = 16,
    every: int = 1,
    clips: int = 2048,
    fps: float | None = None,
    seed: int = 0,
    random_start: bool = True,
) -> list[Window]:
    """One window of `frames` frames from each of the first `clips` videos in the order of their names; `lengths` in frames and `rates` in frames a second, (n,).

    fvd2048_16f is `frames=16`, fvd2048_128f `frames=128`, fvd2048_128f_subsample8f `frames=16, every=8`. Videos with fewer than frames x every frames are left out; where fewer than `clips` are left there
    are fewer windows, none twice. Real videos start at a random frame, synthetic ones at the first (`random_start=False`). At `fps` (None: as they are) videos are taken at that rate by nearest
    frame, never faster than their own: cohorts of two frame rates differ in speed for the detector before they differ in anything else.
    """
    found: list[Window] = []
    for place, row in enumerate(sorted(range(len(names)), key=names.__getitem__)):
        step = 1.0 if fps is None else max(rates[row] / fps, 1.0)
        length = int((lengths[row] - 1) / step + 1e-6) + 1
        if length < frames * every or len(found) == clips:
            continue
        # the last start as in the original: every - 1 frames later than a whole stride after the last frame would allow
        start = int(numpy_rng(seed, "video window", place).integers(length - frames * every + every)) if random_start else 0
        indices = np.round((start + np.arange(frames) * every) * step).astype(int)
        found.append(Window(row, np.minimum(indices, lengths[row] - 1), float(rates[row] / step / every)))
    return found


def opening_windows(names: Sequence[str], lengths: np.ndarray, rates: np.ndarray, frames: int, fps: float | None, clips: int = 2048) -> list[Window]:
    """The first `frames` frames at `fps`, as many as there are, of each of the first `clips` videos in the order of their names: for an encoder that knows what to do with a short clip."""
    found = []
    for row in sorted(range(len(names)), key=names.__getitem__)[:clips]:
        step = 1.0 if fps is None else max(rates[row] / fps, 1.0)
        count = min(frames, int((lengths[row] - 1) / step + 1e-6) + 1)
        found.append(Window(row, np.minimum(np.round(np.arange(count) * step).astype(int), lengths[row] - 1), float(rates[row] / step)))
    return found


def image_windows(lengths: np.ndarray, rates: np.ndarray, images: int, seed: int = 0) -> list[Window]:
    """`images` single frames, drawn from all frames of all videos without repetition (all of them, if there are fewer), by video and frame. StyleGAN-V takes all frames of the real videos and 50,000 synthetic ones."""
    firsts = np.cumsum(lengths) - lengths
    total = int(np.sum(lengths))
    drawn = np.sort(numpy_rng(seed, "image windows").permutation(total)[:images])
    rows = np.searchsorted(firsts, drawn, side="right") - 1
    return [Window(int(row), np.array([frame - firsts[row]]), float(rates[row])) for row, frame in zip(rows, drawn, strict=True)]
