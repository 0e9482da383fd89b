"""Motion over time: does a clip beat, how regularly, and does it flicker? No segmentation, no network: plain statistics of the pixels."""

from dataclasses import dataclass

import numpy as np

CARDIAC_PERIODS = (0.3, 1.5)  # seconds: 200 to 40 beats a minute
BEAT_SHARE = 0.3  # share of the trace's power from which a beat counts as present; white noise of 64 frames stays under 0.2


def box_means(clip: np.ndarray, cells: int) -> np.ndarray:
    """Means (T, cells, cells) of a clip (T, H, W) over a grid of boxes; no more boxes than pixels a side."""
    _, height, width = clip.shape
    rows, columns = (np.linspace(0, side, min(cells, side) + 1).astype(int) for side in (height, width))
    sums = np.add.reduceat(np.add.reduceat(clip.astype(np.float64), rows[:-1], axis=1), columns[:-1], axis=2)
    return sums / (np.diff(rows)[:, None] * np.diff(columns)[None])


def motion_trace(clip: np.ndarray, cells: int = 14) -> np.ndarray:
    """The strongest motion pattern's course over time, (T,), in grey levels (RMS over the cells), of a clip uint8 (T, H, W).

    Temporal principal component of box means on a `cells` x `cells` grid (as in image-based cardiac gating): leading eigenvector of the frames' Gram matrix. Its sign is chosen
    so that more tissue in view (systole, when the wall closes in on the dark cavity) is up.
    """
    grid = box_means(clip, cells).reshape(len(clip), -1)
    brightness = grid.mean(1) - grid.mean()
    grid = grid - grid.mean(0)
    values, vectors = np.linalg.eigh(grid @ grid.T / grid.shape[1])
    trace = vectors[:, -1] * np.sqrt(max(values[-1], 0.0))
    return -trace if trace @ brightness < 0 else trace


@dataclass(frozen=True)
class Beat:
    """Dominant `period` in seconds (NaN for a still trace) and the `share` of the trace's variance that a sinusoid of that period explains."""

    period: float
    share: float

    @property
    def present(self) -> bool:
        """A cardiac period that carries enough of the motion."""
        return CARDIAC_PERIODS[0] <= self.period <= CARDIAC_PERIODS[1] and self.share >= BEAT_SHARE


def periodogram(trace: np.ndarray, fps: float, frequencies: np.ndarray) -> np.ndarray:
    """Generalised Lomb-Scargle periodogram (Zechmeister & Kuerster 2009): the share in [0, 1] of the variance of `trace` (T,) explained by a constant and one sinusoid at each of `frequencies` (F,), Hz.

    Least squares instead of a Fourier transform, because a clip holds two or three beats, never a whole number of them.
    """
    time = np.arange(len(trace)) / fps
    centred = trace - trace.mean()
    total = centred @ centred
    if total <= 1e-12 * max(trace @ trace, 1e-300):
        return np.zeros(len(frequencies))
    angle = 2 * np.pi * frequencies[:, None] * time
    basis = np.stack([np.cos(angle), np.sin(angle)], -1)  # (F, T, 2)
    basis -= basis.mean(1, keepdims=True)
    projection = np.linalg.qr(basis).Q.transpose(0, 2, 1) @ centred
    return (projection**2).sum(-1) / total


def beat(trace: np.ndarray, fps: float) -> Beat:
    """The dominant beat of a motion trace (T,): the highest peak of its periodogram between one cycle in the clip's length and half the frame rate (10 Hz at most).

    Periods longer than cardiac ones are searched too, so that a drift is seen as a drift.
    """
    slowest, fastest = fps / len(trace), min(fps / 2.2, 10.0)
    if len(trace) < 8 or fastest <= slowest:
        return Beat(float("nan"), 0.0)
    frequencies = np.linspace(slowest, fastest, 8 * len(trace))
    power = periodogram(trace, fps, frequencies)
    best = int(power.argmax())
    return Beat(float(1 / frequencies[best]) if power[best] > 0 else float("nan"), float(power[best]))


def flicker(clip: np.ndarray) -> float:
    """Mean absolute difference of successive frames, grey levels; depends on the frame rate, so compare clips at the same one. NaN for a single frame."""
    if len(clip) < 2:
        return float("nan")
    return float(np.abs(np.diff(clip.astype(np.int16), axis=0)).mean())


def high_frequency_share(clip: np.ndarray) -> float:
    """Share of the pixels' power over time (without their mean) above a quarter of the frame rate, in [0, 1]: 0.5 for noise redrawn every frame, near 0 for smooth motion. NaN for a still clip."""
    frames = len(clip)
    power = np.zeros(frames // 2 + 1)
    for row in range(clip.shape[1]):  # a row at a time keeps the memory small
        pixels = clip[:, row].astype(np.float64)
        power += (np.abs(np.fft.rfft(pixels - pixels.mean(0), axis=0)) ** 2).sum(1)
    power[1 : (frames + 1) // 2] *= 2  # both signs of the frequency
    total = power.sum()
    return float(power[np.fft.rfftfreq(frames) > 0.25].sum() / total) if total > 0 else float("nan")


def resample(clip: np.ndarray, fps: float, target: float) -> np.ndarray:
    """The clip at `target` frames a second by nearest frame (never faster than its own rate)."""
    if target >= fps:
        return clip
    count = int((len(clip) - 1) / fps * target + 1e-6) + 1
    return clip[np.round(np.arange(count) * fps / target).astype(int).clip(max=len(clip) - 1)]
