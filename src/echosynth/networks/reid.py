"""The re-identification encoder: a latent frame becomes a point on a sphere, near the points of the other frames of the same patient.

A compact residual network on latents. Group normalisation (Wu & He 2018) keeps every frame apart from the others in its batch, so a frame has one embedding and no other.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from echosynth.networks.base import Network, NetworkConfig


class ReidConfig(NetworkConfig):
    """`widths` are the channels at each resolution, halved from one to the next; `blocks` the residual blocks at each."""

    kind: Literal["compact"] = "compact"
    channels: int = Field(4, gt=0, le=1024, description="of the latents")
    size: int = Field(14, ge=2, le=512, description="of the latents, height = width")
    widths: tuple[Annotated[int, Field(gt=0, le=4096, multiple_of=8)], ...] = Field((64, 128), min_length=1, max_length=16)
    blocks: tuple[Annotated[int, Field(gt=0, le=128)], ...] = (2, 2)
    embedding: int = Field(128, gt=0, le=65_536, description="dimensions of the sphere's space")

    @model_validator(mode="after")
    def _as_many(self) -> "ReidConfig":
        if len(self.widths) != len(self.blocks):
            raise ValueError(f"blocks: {len(self.blocks)} numbers for {len(self.widths)} widths; give one for each")
        return self


class Block(nn.Module):
    """Pre-activation residual block (He et al. 2016); `stride` 2 halves the resolution."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, inputs), nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm2, self.conv2 = nn.GroupNorm(8, outputs), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shrink = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.widen = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.relu(self.norm1(x)))
        return self.widen(self.shrink(x)) + self.conv2(F.relu(self.norm2(h)))


class ReidEncoder(Network):
    """Latent frames (N, channels, size, size) to unit vectors (N, embedding)."""

    Config: ClassVar[type[NetworkConfig]] = ReidConfig
    config: ReidConfig

    def __init__(self, config: ReidConfig):
        super().__init__(config)
        self.stem = nn.Conv2d(config.channels, config.widths[0], 4, 2, 1)
        blocks, width, side = [], config.widths[0], config.size // 2
        for level, (wider, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for number in range(count):
                stride = 2 if level and not number else 1
                blocks.append(Block(width, wider, stride))
                width, side = wider, -(-side // stride)
        self.body = nn.Sequential(*blocks)
        self.norm = nn.GroupNorm(8, width)
        # Not pooled away: where a wall stands is part of who it is.
        self.head = nn.Linear(width * side * side, config.embedding)
        self.to(memory_format=torch.channels_last)

    def forward(self, latents: Tensor) -> Tensor:
        h = self.body(self.stem(latents.contiguous(memory_format=torch.channels_last)))
        return F.normalize(self.head(F.relu(self.norm(h)).flatten(1)).float(), dim=1)

    def embed(self, latents: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, D), unit length, on the device of the network. Always in float32: a verdict hangs on it, and a CPU is no quicker in bfloat16 here."""
        with torch.autocast(latents.device.type, enabled=False):
            return self(latents.float())
