"""Motion over time: has a clip a dominant period, how regular is it from beat to beat, and does it flicker? No segmentation, no network: plain statistics of the pixels."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.signal import lfilter

from echosynth.randomness import numpy_rng

CARDIAC_PERIODS = (0.3, 1.5)  # seconds: 200 to 40 beats a minute
RED_NOISE = 0.03  # how often red noise may have a dominant period
STEADY = (0.0, 0.3, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)  # AR(1) coefficients of red noise from one sixteenth of a second to the next; 1 is a random walk
_TRIALS, _STEP, _LONGEST, _RATE = 1000, 0.25, 5.0, 16.0  # draws of red noise; its lengths, s; its frames a second
_SWING = 0.15  # of the trace's range, beyond the middle, that a stroke has to reach


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
    """Dominant `period` in seconds (NaN for a still trace), the `share` of the trace's variance that a wave of that period (sinusoid and first harmonic) explains; `seconds`, the length of the
    trace."""

    period: float
    share: float
    seconds: float

    @property
    def line(self) -> float:
        """The share that red noise of the same length reaches at a cardiac period in `RED_NOISE` of all cases."""
        return red_noise_line(min(self.seconds, _LONGEST) // _STEP * _STEP)

    @property
    def dominant(self) -> bool:
        """A cardiac period that carries more of the motion than red noise would. It says nothing of how regular the beats are."""
        return CARDIAC_PERIODS[0] <= self.period <= CARDIAC_PERIODS[1] and self.share > self.line


def periodogram(trace: np.ndarray, fps: float, frequencies: np.ndarray, harmonics: int = 1) -> np.ndarray:
    """Generalised Lomb-Scargle periodogram (Zechmeister & Kuerster 2009): the share in [0, 1] of the variance of `trace` (T,) or traces (N, T) explained by a constant and a wave of `harmonics`
    sinusoids at each of `frequencies` (F,), Hz: (F,) or (N, F).

    Least squares instead of a Fourier transform, because a clip holds two or three beats, never a whole number of them.
    """
    centred = trace - trace.mean(-1, keepdims=True)
    total = (centred**2).sum(-1, keepdims=True)
    still = total <= 1e-12 * np.maximum((trace**2).sum(-1, keepdims=True), 1e-300)
    waves = _waves(trace.shape[-1], fps, np.asarray(frequencies, float), harmonics)
    explained = ((centred @ waves.transpose(0, 2, 1).reshape(-1, waves.shape[1]).T) ** 2).reshape(*trace.shape[:-1], len(waves), -1).sum(-1)
    return np.where(still, 0.0, explained / np.where(still, 1.0, total))


def _waves(frames: int, fps: float, frequencies: np.ndarray, harmonics: int) -> np.ndarray:
    """(F, T, 2 harmonics): orthonormal in time, and to a constant."""
    angle = 2 * np.pi * frequencies[:, None] * np.arange(frames) / fps
    basis = np.stack([wave(k * angle) for k in range(1, harmonics + 1) for wave in (np.cos, np.sin)], -1)
    return np.linalg.qr(basis - basis.mean(1, keepdims=True)).Q


def beat(trace: np.ndarray, fps: float) -> Beat:
    """The dominant period of a motion trace (T,): the highest peak of its periodogram between one cycle in the clip's length and half the frame rate (10 Hz at most).

    Periods longer than cardiac ones are searched too, so that a drift is seen as a drift.
    """
    slowest, fastest = fps / len(trace), min(fps / 2.2, 10.0)
    if len(trace) < 8 or fastest <= slowest:
        return Beat(float("nan"), 0.0, len(trace) / fps)
    periods, shares = peaks(trace[None], fps)
    return Beat(float(periods[0]), float(shares[0]), len(trace) / fps)


def peaks(traces: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Of traces (N, T), the periods (N,) of the highest peaks of the periodogram, NaN for a still trace, and the shares of the variance that waves of these periods explain."""
    fastest = min(fps / 2.2, 10.0)
    frequencies = np.linspace(fps / traces.shape[1], fastest, 8 * traces.shape[1])
    power = periodogram(traces, fps, frequencies)
    best, row = power.argmax(1), np.arange(len(traces))
    shares, harmonic = power[row, best], 2 * frequencies <= fastest
    doubled = periodogram(traces, fps, frequencies[harmonic], 2)
    shares = np.where(harmonic[best], doubled[row, np.minimum(best, harmonic.sum() - 1)], shares)
    return np.where(power.max(1) > 0, 1 / frequencies[best], np.nan), shares


@lru_cache(maxsize=64)
def red_noise_line(seconds: float) -> float:
    """The share of its variance that red noise, of whatever AR(1) coefficient, a random walk too, has at a dominant cardiac period in at most `RED_NOISE` of all cases: the largest of these quantiles over
    the coefficients `STEADY`, by simulation. 1 for clips so short that the noise cannot be simulated.

    Motion and drift are red: a test against white noise would call a random walk a beat, and a coefficient fitted to a trace that does beat would take the beat for noise (Schulz & Mudelsee 2002,
    on red-noise spectra). So the line is that of the worst coefficient. Shorter clips have a higher line; those longer than 5 s have that of 5 s.
    """
    frames = int(seconds * _RATE)
    if frames < 8:
        return 1.0
    noise = numpy_rng(0, "red noise", frames).standard_normal((_TRIALS, frames + 200))
    lines = []
    for steady in STEADY:
        periods, shares = peaks(lfilter([1.0], [1.0, -steady], noise, axis=1)[:, -frames:], _RATE)
        cardiac = (CARDIAC_PERIODS[0] <= periods) & (periods <= CARDIAC_PERIODS[1])
        lines.append(np.quantile(np.where(cardiac, shares, 0.0), 1 - RED_NOISE))
    return float(max(lines))


def regularity(trace: np.ndarray, fps: float) -> float:
    """How regular a motion trace (T,) is from beat to beat: 1 - sd / mean of the times between successive upstrokes and between successive downstrokes; 1 is a metronome, atrial fibrillation with RR
    intervals that vary by 17 % about 0.85 (the trace has few beats, so this is noisy, and a little high). NaN where fewer than three beats of a kind are seen.

    A stroke crosses the middle of the trace's range (5th to 95th percentile); it counts where the trace has been `_SWING` of the range beyond it on either side.
    """
    low, high = np.percentile(trace, [5, 95])
    if len(trace) < 2 or high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        return float("nan")
    level = (trace - low) / (high - low) - 0.5
    intervals = [np.diff(_strokes(sign * level)) / fps for sign in (1, -1)]
    if max(map(len, intervals)) < 2:
        return float("nan")
    times = np.concatenate(intervals)
    return float(max(1 - times.std(ddof=1) / times.mean(), 0.0))


def _strokes(level: np.ndarray) -> np.ndarray:
    """Places, in frames, where `level` (T,) last rises through 0 on its way from under -_SWING to over _SWING."""
    found, down = [], False
    for t, value in enumerate(level):
        if value < -_SWING:
            down = True
        elif value > _SWING and down:
            before = t - 1 - int(np.argmax(level[:t][::-1] <= 0))
            found.append(before - level[before] / (level[before + 1] - level[before]))
            down = False
    return np.array(found)


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
