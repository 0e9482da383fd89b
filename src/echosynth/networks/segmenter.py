"""A compact segmentation of the left ventricle, frame by frame.

A small U-Net (Ronneberger et al. 2015) on patches of 4 x 4 pixels: what is seen at once is the picture at a quarter of its size and below, where the ventricle's shape lies, and the finest layer
gives each patch its 16 pixels back.
"""

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from echosynth.cohort.video import to_square
from echosynth.networks.base import Network, NetworkConfig

_BATCH = 64  # frames at a time


class SegmenterConfig(NetworkConfig):
    """Pictures of `size` x `size` pixels; `width` channels at a quarter of the size, twice as many at each of the two halvings below."""

    size: int = Field(112, ge=32, le=4096, multiple_of=16)
    width: int = Field(32, ge=8, le=4096, multiple_of=8)


class Segmenter(Network):
    """Frames (N, 1, S, S) in [-1, 1] -> logits (N, S, S) of the ventricle."""

    Config: ClassVar = SegmenterConfig

    def __init__(self, config: SegmenterConfig):
        super().__init__(config)
        w = config.width
        self.into = nn.Sequential(nn.PixelUnshuffle(4), _block(16, w))
        self.down = nn.ModuleList([_block(w, 2 * w, stride=2), _block(2 * w, 4 * w, stride=2)])
        self.up = nn.ModuleList([_block(6 * w, 2 * w), _block(3 * w, w)])
        self.out = nn.Sequential(nn.Conv2d(w, 16, 3, padding=1), nn.PixelShuffle(4))

    def forward(self, frames: Tensor) -> Tensor:
        fine = self.into(frames)
        middle = self.down[0](fine)
        x = self.down[1](middle)
        for up, skipped in zip(self.up, (middle, fine), strict=True):
            x = up(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skipped], 1))
        return self.out(x).squeeze(1).float()


def _block(into: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(into, out, 3, stride, padding=1, bias=False),
        nn.GroupNorm(8, out),
        nn.SiLU(),
        nn.Conv2d(out, out, 3, padding=1, bias=False),
        nn.GroupNorm(8, out),
        nn.SiLU(),
    )


@torch.inference_mode()
def segment(segmenter: Segmenter, clip: np.ndarray) -> np.ndarray:
    """Probabilities float32 (T, S, S) of the ventricle in a clip uint8 (T, H, W), where `to_square` puts it at size S."""
    device = next(segmenter.parameters()).device
    small = torch.from_numpy(to_square(clip, segmenter.config.size))
    batches = [segmenter(part[:, None].to(device).float() / 127.5 - 1).sigmoid().cpu() for part in small.split(_BATCH)]
    return torch.cat(batches).numpy()
