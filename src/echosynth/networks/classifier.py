"""A small network that says which of two sets a frame, or a few frames of a clip, came from."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from echosynth.networks.base import Network, NetworkConfig


class ClassifierConfig(NetworkConfig):
    """Pictures of `size` x `size` pixels, `frames` of a clip at a time; `width` channels in the first convolution."""

    size: int = Field(56, ge=8, le=4096)
    frames: int = Field(1, ge=1, le=4096)
    width: int = Field(24, ge=1, le=4096)


class Classifier(Network):
    """Grey levels (N, frames, S, S), 0 to 255 -> logits (N,). Four convolutions; then mean and maximum over the picture.

    Of several frames it sees the changes from one to the next as well.
    """

    Config: ClassVar = ClassifierConfig
    config: ClassifierConfig

    def __init__(self, config: ClassifierConfig):
        super().__init__(config)
        w = config.width
        # Small pictures are halved later, so that about as much is computed on each of them.
        plan = ((w, 3, 1), (2 * w, 3, 2), (2 * w, 3, 2), (2 * w, 3, 1)) if config.size <= 28 else ((w, 5, 2), (2 * w, 3, 2), (2 * w, 3, 2), (2 * w, 3, 1))
        layers, into = [], 2 * config.frames - 1
        for out, kernel, stride in plan:
            layers += [nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out), nn.SiLU()]
            into = out
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(2 * into, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, frames: Tensor) -> Tensor:
        x = frames / 64 - 1
        x = torch.cat([x, 4 * x.diff(dim=1)], 1).contiguous(memory_format=torch.channels_last)
        x = self.layers(x)
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)).squeeze(1)
