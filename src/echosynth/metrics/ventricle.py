"""The left ventricle over time, from the masks of a clip: area, long axis, volume, beats, ejection fraction, and how alike the beats are.

Lengths are pixels of the masks and volumes pixels^3. EF needs nothing else. Millilitres need the size of a pixel, which EchoNet does not tell: `ml_per_voxel` estimates one factor for a whole cohort
from clips that have both tracings and volumes. Where the depth of the picture was fitted to the heart, as is good practice, such a volume in mL says little of how large a heart is.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from echosynth.cohort.discs import SMALLEST, disc_volume, largest_part, trace
from echosynth.cohort.tracings import TracedClip
from echosynth.cohort.video import square_transform
from echosynth.metrics.temporal import CARDIAC_PERIODS
from echosynth.metrics.temporal import beat as dominant_beat

SMOOTHING = 0.03  # s, standard deviation: as much as the extremes of a volume curve bear (it takes 0.3 points of EF) for picking fewer peaks of noise
_DEPTH = 0.4  # of a curve's range: how deep a trough has to be to count as a systole
_CUT = 0.2  # and on a side that the clip's end cuts off
_SEEN = 0.5  # share of the frames that must show a ventricle


@dataclass(frozen=True)
class Ventricle:
    """A clip's left ventricle at each frame, smoothed over time; NaN throughout where more than half of the frames show none."""

    fps: float
    area: np.ndarray  # (T,) pixels^2
    length: np.ndarray  # (T,) pixels, the long axis
    volume: np.ndarray  # (T,) pixels^3, by discs
    lines: np.ndarray  # (T, 21, 4) tracings as in discs.py, not smoothed; NaN in frames that show none


@dataclass(frozen=True)
class HeartBeat:
    """End diastole and end systole: frames, and volumes in pixels^3."""

    ed: int
    es: int
    edv: float
    esv: float

    @property
    def ef(self) -> float:
        """Percent."""
        return 100 * (self.edv - self.esv) / self.edv


@dataclass(frozen=True)
class Measurement:
    """What is measured of a clip. NaN, and frames None, where no beat could be found.

    The volumes are means over the beats and `ef` follows from them, so that the three agree as labels must; it is the mean of the beats' EF weighted by EDV. The frames are of the beat whose EF is
    nearest to it (the next frame that shows a ventricle). Spreads are standard deviations over the beats, NaN where there are too few.
    """

    ef: float  # percent
    edv_voxels: float  # pixels^3
    esv_voxels: float
    ed_frame: int | None
    es_frame: int | None
    beats: int
    beat_seconds: float  # the period of the volume curve (temporal.py)
    edv_spread: float  # percent of the mean
    esv_spread: float  # percent of the mean
    ef_spread: float  # EF points
    beat_spread: float  # percent of the mean, of the times from systole to systole and diastole to diastole

    def as_dict(self) -> dict:
        return asdict(self)


def ventricle(masks: np.ndarray, fps: float) -> Ventricle:
    """The curves of a clip's masks (T, H, W), in [0, 1] or bool. Of each mask the largest part counts; a frame that shows none is bridged from its neighbours."""
    masks = np.stack([largest_part(mask) for mask in np.asarray(masks, np.float32)])
    lines, area = trace(masks), masks.sum((1, 2), dtype=np.float64)
    seen = area >= SMALLEST
    curves = (area, np.hypot(*(lines[:, 0, 2:] - lines[:, 0, :2]).T), disc_volume(lines))
    if seen.mean() < _SEEN:
        return Ventricle(fps, *(np.full(len(masks), np.nan) for _ in curves), lines)
    frame = np.arange(len(masks))
    return Ventricle(fps, *(smooth(np.interp(frame, frame[seen], curve[seen]), fps) for curve in curves), lines)


def smooth(curve: np.ndarray, fps: float) -> np.ndarray:
    """A curve (T,) under a Gaussian of `SMOOTHING` seconds."""
    return gaussian_filter1d(curve, SMOOTHING * fps, mode="nearest")


def heart_beats(volume: np.ndarray, fps: float) -> list[HeartBeat]:
    """The beats of a smooth volume curve (T,): each systole, a trough of 0.4 of the curve's range (0.2 towards an end of the clip), with the diastole before it; where the clip begins within the
    ejection, with the fuller of those before and after. In a curve without such a trough the smallest volume is the one systole. Empty when a volume is unknown, or all are equal.
    """
    if not np.isfinite(volume).all() or np.ptp(volume) == 0:
        return []
    low, high = np.quantile(volume, [0.02, 0.98])
    walled = np.pad(volume, 1, constant_values=volume.max())
    troughs = find_peaks(-walled, distance=max(1.0, CARDIAC_PERIODS[0] * fps), prominence=_DEPTH * (high - low))[0] - 1
    systoles = [t for t in troughs if min(np.ptp(volume[: t + 1]), np.ptp(volume[t:])) >= _CUT * (high - low)] or [int(volume.argmin())]
    edges = [0, *systoles, len(volume) - 1]
    found = []
    for before, es, after in zip(edges, systoles, edges[2:], strict=False):
        ed = before + int(volume[before : es + 1].argmax())
        if ed == 0:
            later = es + int(volume[es : after + 1].argmax())
            ed = later if volume[later] > volume[ed] else ed
        found.append(HeartBeat(int(ed), int(es), float(volume[ed]), float(volume[es])))
    return found


def measure(curves: Ventricle) -> Measurement:
    """EF, volumes and their spread over the beats of a clip."""
    beats, nan = heart_beats(curves.volume, curves.fps), float("nan")
    if not beats:
        return Measurement(nan, nan, nan, None, None, 0, nan, nan, nan, nan, nan)
    edv, esv, efs = np.array([(beat.edv, beat.esv, beat.ef) for beat in beats]).T
    ef = 100 * (edv.mean() - esv.mean()) / edv.mean()
    chosen = beats[int(np.abs(efs - ef).argmin())]
    seen = np.flatnonzero(np.isfinite(curves.lines[:, 0, 0]))
    diastoles = {beat.ed: beat.edv for beat in beats}  # two systoles may share one, where the clip begins with an ejection
    seconds = np.concatenate([np.diff([beat.es for beat in beats]), np.diff(sorted(diastoles))]) / curves.fps
    return Measurement(
        ef=float(ef),
        edv_voxels=float(edv.mean()),
        esv_voxels=float(esv.mean()),
        ed_frame=int(seen[np.abs(seen - chosen.ed).argmin()]),
        es_frame=int(seen[np.abs(seen - chosen.es).argmin()]),
        beats=len(beats),
        beat_seconds=dominant_beat(curves.volume, curves.fps).period,
        edv_spread=100 * _spread(np.array(list(diastoles.values()))) / edv.mean(),
        esv_spread=100 * _spread(esv) / esv.mean(),
        ef_spread=_spread(efs),
        beat_spread=100 * _spread(seconds) / seconds.mean() if len(seconds) else nan,
    )


def _spread(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice (1945), 2 |A and B| / (|A| + |B|), of two masks of one shape, a pixel being in where its share is over one half; NaN when both are empty."""
    one, other = one > 0.5, other > 0.5
    total = one.sum() + other.sum()
    return float(2 * (one & other).sum() / total) if total else float("nan")


def ml_per_voxel(traced: Iterable[TracedClip], clips: pd.DataFrame, size: int) -> float:
    """mL of a cube whose side is a pixel, in pictures of `size` x `size`: the least-squares factor k of EDV = k V_ED and ESV = k V_ES over the traced clips whose volumes `clips` (as `Cohort.clips`) has.

    NaN where there are none. The cube root of k times `size` is the mean side of a picture in cm.
    """
    labels = {row.name: (row.edv, row.esv) for row in clips.itertuples()}
    pairs = []
    for clip in traced:
        scale, _ = square_transform(clip.height, clip.width, size)
        for one, ml in zip((clip.ed, clip.es), labels.get(clip.name, (np.nan, np.nan)), strict=True):
            if one.lines is not None and np.isfinite(ml):
                pairs.append((disc_volume(one.lines * np.tile(scale, 2)), ml))
    if not pairs:
        return float("nan")
    voxels, ml = np.array(pairs).T
    return float(voxels @ ml / (voxels @ voxels))
