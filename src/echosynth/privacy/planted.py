"""Planted copies: training clips changed as a copier would change them, in pixels, to measure how many of them the screening catches.

A kind comes in strengths. The mildest of five kinds (autoencoder round trip, noise, gain, a shift of one pixel, a crop by about two) are the near-copies: whoever releases one has released the patient.
The same patient is also in a frame that was moved, turned, enlarged, smoothed or amplified a little more: these kinds are `required` (`MOVED`, and reversal of a clip in time). The gate holds the
screening to them too, with a limit of their own (`audit.min_moved`, the worst kind decides); the line from which single clips are named copies is set by the near-copies alone. The others draw the power curve: at some strength a copy is no copy any more, and where that is cannot be said by the screening.

Videos can be copied in ways of their own (`VIDEO_KINDS`, and `OTHER_EF` where there is a video model to make them). Reversed or out of phase, every frame is still the patient's.
A transplant is the beat of one patient on the anatomy of another: no frame of it is the copied patient's, and only its motion can tell (handmade.embed_motion).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from echosynth.metrics.temporal import beat, motion_trace
from echosynth.networks.autoencoder import Autoencoder, decode_clip, encode_clip
from echosynth.privacy.screen import Rate, rate

OtherEf = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]  # a clip, by how many points of EF to miss its own -> a clip of the same anatomy


class Kind(NamedTuple):
    """A way to make a copy.

    Units of `strength`: noise, sd in grey levels; gain, zoom, crop and speed, ratio; shift, pixels; rotation, degrees; smooth, sd of the Gaussian in pixels; round trip, how often;
    phase, beats; mix, weight of the copied patient; part, share of the frames that is copied; other EF, percent points; reversal and transplant have but one.
    """

    name: str
    strength: float
    near: bool
    required: bool = False  # to be caught too, though it is no near-copy; audit/gate.py has the limits


KINDS = (
    Kind("round trip", 1, True),
    Kind("noise", 4, True),
    Kind("gain", 1.1, True),
    Kind("shift", 1, True),
    Kind("crop", 1.02, True),
    Kind("noise", 10, False),
    Kind("noise", 20, False),
    Kind("gain", 1.3, False, True),
    Kind("gain", 1.6, False),
    Kind("shift", 3, False, True),
    Kind("shift", 6, False, True),
    Kind("zoom", 1.05, False, True),
    Kind("zoom", 1.15, False, True),
    Kind("rotation", 2, False, True),
    Kind("rotation", 5, False, True),
    Kind("rotation", 10, False),
    Kind("smooth", 1, False, True),
    Kind("smooth", 2, False),
)
NEAR = tuple(kind for kind in KINDS if kind.near)
MOVED = tuple(kind for kind in KINDS if kind.required)
VIDEO_KINDS = (
    Kind("reversal", 1, False, True),
    Kind("phase", 0.25, False),
    Kind("phase", 0.5, False),
    Kind("speed", 1.1, False),
    Kind("speed", 1.25, False),
    Kind("speed", 1.5, False),
    Kind("crop", 1.1, False),
    Kind("crop", 1.25, False),
    Kind("mix", 0.9, False),
    Kind("mix", 0.75, False),
    Kind("mix", 0.5, False),
    Kind("part", 0.25, False),
    Kind("transplant", 1, False),
)
VIDEOS = (*(kind for kind in KINDS if kind.near or kind.required), *(kind for kind in VIDEO_KINDS if kind.required))  # of videos, to be caught
OTHER_EF = (Kind("other EF", 10, False), Kind("other EF", 25, False))


def copies(
    clips: Sequence[np.ndarray],
    rngs: Sequence[np.random.Generator],
    autoencoder: Autoencoder,
    kinds: Sequence[Kind] = KINDS,
    others: Sequence[np.ndarray] = (),
    other_ef: OtherEf | None = None,
) -> Iterator[tuple[Kind, list[np.ndarray]]]:
    """Clips uint8 (T, H, W), T may differ -> for each kind one planted copy of each, uint8 (T, H, W), as it would be found in a file; a clip played faster is shorter.

    Signs and directions of a clip's copies are drawn from its own generator. Clips are taken together because the autoencoder works in batches. others: for "mix", "part" and "transplant", a
    clip of another patient and of the same size for each. other_ef: for "other EF", what makes such a copy; here nothing is known of video models.
    """
    for kind in kinds:
        if kind.name == "round trip":
            frames = np.concatenate(list(clips))
            for _ in range(int(kind.strength)):
                frames = decode_clip(autoencoder, encode_clip(autoencoder, frames))
            yield kind, np.split(frames, np.cumsum([len(clip) for clip in clips])[:-1])
        elif kind.name == "mix":
            yield kind, [mix(clip, other, kind.strength) for clip, other in zip(clips, others, strict=True)]
        elif kind.name == "part":
            yield kind, [part(clip, other, kind.strength) for clip, other in zip(clips, others, strict=True)]
        elif kind.name == "transplant":
            yield kind, [transplant(clip, other) for clip, other in zip(clips, others, strict=True)]
        elif kind.name == "other EF":
            assert other_ef is not None
            yield kind, [other_ef(clip, kind.strength, rng) for clip, rng in zip(clips, rngs, strict=True)]
        else:
            yield kind, [changed(clip, kind, rng) for clip, rng in zip(clips, rngs, strict=True)]


def power_curve(verdicts: Iterable[tuple[Kind, bool]]) -> dict[Kind, Rate]:
    """From (kind, flagged) of every planted copy the share that is flagged, by kind and strength in the order they come, with the interval of Clopper & Pearson.

    The copies of one kind have to be of different patients: then they are independent.
    """
    counts: dict[Kind, list[int]] = {}
    for kind, flagged in verdicts:
        count = counts.setdefault(kind, [0, 0])
        count[0] += bool(flagged)
        count[1] += 1
    return {kind: rate(hits, made) for kind, (hits, made) in counts.items()}


def changed(clip: np.ndarray, kind: Kind, rng: np.random.Generator) -> np.ndarray:
    """A copy of uint8 (T, H, W) changed in its pixels."""
    match kind.name:
        case "noise":
            return _to_uint8(clip + kind.strength * rng.standard_normal(clip.shape, dtype=np.float32))
        case "gain":
            return _to_uint8(clip * np.float32(kind.strength ** float(rng.choice([-1, 1]))))
        case "shift":
            return shift(clip, *(int(kind.strength) * d for d in _DIRECTIONS[rng.integers(len(_DIRECTIONS))]))
        case "zoom":
            return zoom(clip, kind.strength)
        case "rotation":
            return rotate(clip, kind.strength * float(rng.choice([-1, 1])))
        case "smooth":
            return smooth(clip, kind.strength)
        case "crop":
            return crop(clip, kind.strength, *rng.uniform(-1, 1, 2))
        case "speed":
            return speed(clip, kind.strength ** float(rng.choice([-1, 1])))
        case "reversal":
            return clip[::-1].copy()
        case "phase":
            return phase(clip, kind.strength)
    raise AssertionError(kind.name)


def shift(clip: np.ndarray, down: int, right: int) -> np.ndarray:
    """Moves the picture by whole pixels; black comes in."""
    _, height, width = clip.shape
    moved = np.zeros_like(clip)
    moved[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = clip[:, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)]
    return moved


def zoom(clip: np.ndarray, ratio: float) -> np.ndarray:
    """Crops the middle, 1 / ratio of the height and the width, and stretches it over the picture (bilinear)."""
    return crop(clip, ratio, 0, 0)


def crop(clip: np.ndarray, ratio: float, down: float, right: float) -> np.ndarray:
    """Like `zoom`, but the window lies off the middle: at -1 at the upper or left edge, at 1 at the lower or right one."""
    rest = 1 - 1 / ratio
    warp = torch.tensor([[[1 / ratio, 0, rest * right], [0, 1 / ratio, rest * down]]], dtype=torch.float32)
    frames = torch.from_numpy(clip)[None].float()
    return _to_uint8(F.grid_sample(frames, F.affine_grid(warp, list(frames.shape), align_corners=False), padding_mode="border", align_corners=False)[0].numpy())


def rotate(clip: np.ndarray, degrees: float) -> np.ndarray:
    """Turns the picture about its middle, clockwise where `degrees` is positive (bilinear); black comes in."""
    angle = np.deg2rad(degrees)
    height, width = clip.shape[1:]
    cosine, sine = np.cos(angle), np.sin(angle)
    warp = torch.tensor([[[cosine, sine * height / width, 0], [-sine * width / height, cosine, 0]]], dtype=torch.float32)
    frames = torch.from_numpy(clip)[None].float()
    grid = F.affine_grid(warp, list(frames.shape), align_corners=False)
    return _to_uint8(F.grid_sample(frames, grid, padding_mode="zeros", align_corners=False)[0].numpy())


def smooth(clip: np.ndarray, sd: float) -> np.ndarray:
    """Blurs every frame with a Gaussian of `sd` pixels."""
    return _to_uint8(gaussian_filter(clip.astype(np.float32), (0, sd, sd)))


def speed(clip: np.ndarray, ratio: float) -> np.ndarray:
    """Plays the clip `ratio` times as fast, frames in between blended from their neighbours; T frames at most, fewer where it ends before."""
    return blend(clip, np.arange(min(len(clip), int((len(clip) - 1) / ratio + 1e-9) + 1)) * ratio)


def blend(clip: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """The clip at `moments` (in frames, from 0 on), what lies between two frames blended of both; uint8 (len(moments), H, W)."""
    before = np.minimum(moments.astype(int), len(clip) - 1)
    after, part = np.minimum(before + 1, len(clip) - 1), (moments - before).astype(np.float32)[:, None, None]
    return _to_uint8((1 - part) * clip[before] + part * clip[after])


def phase(clip: np.ndarray, part: float) -> np.ndarray:
    """Begins `part` of a beat later, what was before goes to the end. The beat is the clip's own (metrics/temporal.py); where none is found, the clip counts as one."""
    period = beat(motion_trace(clip), fps=1.0).period  # frames
    return np.roll(clip, -max(round(part * (len(clip) if np.isnan(period) else period)), 1), axis=0)


def mix(clip: np.ndarray, other: np.ndarray, weight: float) -> np.ndarray:
    """`weight` of the clip and the rest of another one of the same size, repeated as often as it takes."""
    return _to_uint8(np.float32(weight) * clip + np.float32(1 - weight) * other[np.arange(len(clip)) % len(other)])


def part(clip: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """Another clip of the same size, repeated as often as it takes, whose middle frames, `share` of them, are the clip's; (T, H, W)."""
    made = other[np.arange(len(clip)) % len(other)]
    count = max(round(share * len(clip)), 1)
    first = (len(clip) - count) // 2
    made[first : first + count] = clip[first : first + count]
    return made


def transplant(clip: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The beat of `clip` (T, H, W) on the anatomy of `other` (S, H, W): its frames, blended, in the order that the clip's motion asks for; (T, H, W).

    Both motion traces (metrics/temporal.py) are scaled from their 2nd to their 98th percentile. A frame of the clip takes the moment of the other whose trace stands as high, on the
    way up where the clip's rises and on the way down where it falls, in the other's steepest such run.
    """
    course, there = (_scaled_trace(one) for one in (clip, other))
    moments = np.empty(len(clip))
    for sign in (1, -1):
        run = _longest_run(sign * there)
        level = np.maximum.accumulate(sign * there[run])
        moving = sign * np.gradient(course) >= 0
        moments[moving] = np.interp(sign * course[moving], level + 1e-6 * np.arange(len(level)), run)
    return blend(other, moments)


def _scaled_trace(clip: np.ndarray) -> np.ndarray:
    trace = motion_trace(clip)
    low, high = np.percentile(trace, (2, 98))
    return (trace - low) / max(high - low, 1e-6)


def _longest_run(trace: np.ndarray) -> np.ndarray:
    """The frames from a minimum of the trace to the maximum after it, of the two between which it rises most."""
    lowest = np.minimum.accumulate(trace)
    end = int((trace - lowest).argmax())
    start = int(trace[: end + 1].argmin())
    return np.arange(start, end + 1)


_DIRECTIONS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def _to_uint8(clip: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(clip), 0, 255).astype(np.uint8)
