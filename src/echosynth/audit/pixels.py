"""The eye of an attacker who holds the release alone: an encoder of pixels that teaches itself on the released clips (self-supervised, SimCLR; Chen et al. 2020, arXiv 2002.05709).

Two frames of one synthetic clip, changed a little, are to lie together and apart from other clips'. It has seen no patient, so it is as much a stranger to members as to held-out patients;
it took no part in the filtering.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from echosynth.cohort.video import read_clip, to_square
from echosynth.networks.reid import ReidConfig, ReidEncoder
from echosynth.progress import progress
from echosynth.training.fit import Training, fit
from echosynth.training.reid import PatientViews, contrastive_loss, embed_frames

FRAMES = 8  # of a clip, evenly spread, that an eye for stills looks at
SIZE = 56  # pixels a side
NETWORK = ReidConfig(channels=1, size=SIZE, widths=(32, 64, 128), blocks=(1, 1, 1))


def evenly(clip: np.ndarray) -> np.ndarray:
    """`FRAMES` frames of a clip (T, H, W), evenly spread, or all of a shorter one."""
    count = min(FRAMES, len(clip))
    return clip[((np.arange(count) + 0.5) * len(clip) / count).astype(int)]


class Stills:
    """Frames of clips in memory, with what `PatientViews` asks of a store: every clip is somebody of its own."""

    def __init__(self, clips: list[Tensor]):
        self.clips = clips
        self.index = pd.DataFrame({"patient": np.arange(len(clips)), "frames": [len(clip) for clip in clips]})

    def window(self, row: int, frames: np.ndarray) -> Tensor:
        return self.clips[row][torch.from_numpy(np.asarray(frames))]


def learn_pixels(paths: Sequence[Path], folder: Path, steps: int, seed: int) -> ReidEncoder:
    """An encoder that has taught itself on these clips; trained anew whatever lies in `folder`, which keeps it. Raises InputError when a clip cannot be read."""
    shutil.rmtree(folder, ignore_errors=True)
    stills = []
    with progress("pixels of the release", len(paths)) as advance:
        for path in paths:
            stills.append(as_pixels(evenly(to_square(read_clip(path)[0], SIZE))))
            advance()
    torch.manual_seed(seed)
    encoder = ReidEncoder(NETWORK)
    training = Training(steps=steps, batch_size=64, learning_rate=2e-3, precision="fp32")
    fit(encoder, contrastive_loss, PatientViews(Stills(stills), np.arange(len(stills)), seed).batch, training, folder, seed, "encoder of pixels")
    encoder.save_pretrained(folder)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    return encoder


def as_pixels(frames: np.ndarray) -> Tensor:
    """uint8 (T, H, W), square -> float32 (T, 1, SIZE, SIZE) of unit scale; gain and offset of a frame taken out."""
    grey = F.interpolate(torch.from_numpy(frames)[:, None].float(), (SIZE, SIZE), mode="area")
    return (grey - grey.mean((1, 2, 3), keepdim=True)) / grey.std((1, 2, 3), keepdim=True).clamp(min=1.0)


def embed_pixels(encoder: ReidEncoder, frames: np.ndarray) -> Tensor:
    """Frames uint8 (T, H, W) -> float32 (T, D) of unit length."""
    return embed_frames(encoder, as_pixels(frames), batch_size=8)
