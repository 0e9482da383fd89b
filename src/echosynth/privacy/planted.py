"""Planted copies: training clips changed as a copier would change them, in pixels, to measure how many of them the screening catches.

A kind comes in strengths. The mildest of four kinds (autoencoder round trip, noise, gain, a shift of one pixel) are the near-copies: whoever releases one has released the patient.
The others draw the power curve: at some strength a copy is no copy any more, and where that is cannot be said by the screening.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from echosynth.networks.autoencoder import Autoencoder, decode_clip, encode_clip


class Kind(NamedTuple):
    """A way to make a copy. Units of `strength`: noise, sd in grey levels; gain, ratio; shift, pixels; zoom, ratio; round trip, how often."""

    name: str
    strength: float
    near: bool


KINDS = (
    Kind("round trip", 1, True),
    Kind("noise", 4, True),
    Kind("gain", 1.1, True),
    Kind("shift", 1, True),
    Kind("noise", 10, False),
    Kind("noise", 20, False),
    Kind("gain", 1.3, False),
    Kind("gain", 1.6, False),
    Kind("shift", 3, False),
    Kind("shift", 6, False),
    Kind("zoom", 1.05, False),
    Kind("zoom", 1.15, False),
)
NEAR = tuple(kind for kind in KINDS if kind.near)


def copies(clips: Sequence[np.ndarray], rngs: Sequence[np.random.Generator], autoencoder: Autoencoder, kinds: Sequence[Kind] = KINDS) -> Iterator[tuple[Kind, list[np.ndarray]]]:
    """Clips uint8 (T, H, W), T may differ -> for each kind one planted copy of each, uint8 (T, H, W), as it would be found in a file.

    Signs and directions of a clip's copies are drawn from its own generator. Clips are taken together because the autoencoder works in batches.
    """
    for kind in kinds:
        if kind.name == "round trip":
            frames = np.concatenate(list(clips))
            for _ in range(int(kind.strength)):
                frames = decode_clip(autoencoder, encode_clip(autoencoder, frames))
            yield kind, np.split(frames, np.cumsum([len(clip) for clip in clips])[:-1])
        else:
            yield kind, [changed(clip, kind, rng) for clip, rng in zip(clips, rngs, strict=True)]


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
    raise AssertionError(kind.name)


def shift(clip: np.ndarray, down: int, right: int) -> np.ndarray:
    """Moves the picture by whole pixels; black comes in."""
    _, height, width = clip.shape
    moved = np.zeros_like(clip)
    moved[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = clip[:, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)]
    return moved


def zoom(clip: np.ndarray, ratio: float) -> np.ndarray:
    """Crops the middle, 1 / ratio of the height and the width, and stretches it over the picture (bilinear)."""
    warp = torch.tensor([[[1 / ratio, 0, 0], [0, 1 / ratio, 0]]], dtype=torch.float32)
    frames = torch.from_numpy(clip)[None].float()
    return _to_uint8(F.grid_sample(frames, F.affine_grid(warp, list(frames.shape), align_corners=False), padding_mode="border", align_corners=False)[0].numpy())


_DIRECTIONS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def _to_uint8(clip: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(clip), 0, 255).astype(np.uint8)
