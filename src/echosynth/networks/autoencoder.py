"""The autoencoder of single frames: 8 x 8 pixels become one latent pixel of a few channels.

Pixel-unshuffle instead of high-resolution convolutions, and residual blocks without normalisation, make it quick on a CPU (bfloat16, channels last). The latents have
unit variance by construction: the encoder ends in a batch normalisation without gain. In training the decoder sees noisy latents, so that it forgives small errors of
the generators and has to invent the texture that the latents have no room for.
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from echosynth.networks.base import Network, NetworkConfig
from echosynth.networks.precision import Precision, precision_context

_FRAMES = 32  # frames in a batch of encode_clip and decode_clip: fixed, so that a frame's bytes do not depend on the length of its clip

_Width, _Blocks = Annotated[int, Field(gt=0, le=4096)], Annotated[int, Field(ge=0, le=128)]


class AutoencoderConfig(NetworkConfig):
    kind: Literal["compact"] = "compact"
    latent_channels: int = Field(4, gt=0, le=1024)
    widths: tuple[_Width, _Width] = Field((48, 96), description="channels at 1/4 and at 1/8 of the resolution")
    blocks: tuple[_Blocks, _Blocks] = Field((2, 3), description="residual blocks of the encoder at 1/4 and at 1/8")
    decoder_blocks: tuple[_Blocks, _Blocks] = Field((3, 4), description="residual blocks of the decoder at 1/4 and at 1/8")
    noise: float = Field(0.1, ge=0, le=100, description="largest sd of the noise on the latents that the decoder is trained on")


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity; the second starts at zero, which makes up for the missing normalisation (Fixup: Zhang et al. 2019)."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class Autoencoder(Network):
    """Frames (N, 1, H, W) in [-1, 1], H and W multiples of 8, to latents (N, C, H/8, W/8) and back."""

    Config: ClassVar[type[NetworkConfig]] = AutoencoderConfig
    config: AutoencoderConfig

    def __init__(self, config: AutoencoderConfig):
        super().__init__(config)
        wide, deep = config.widths
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(16, wide, 3, padding=1),
            *(ResidualBlock(wide) for _ in range(config.blocks[0])),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * wide, deep, 1),
            *(ResidualBlock(deep) for _ in range(config.blocks[1])),
            nn.SiLU(),
            nn.Conv2d(deep, config.latent_channels, 1),
        )
        self.standardise = nn.BatchNorm2d(config.latent_channels, eps=1e-8, affine=False, momentum=0.02)
        self.decoder = nn.Sequential(
            nn.Conv2d(config.latent_channels, deep, 3, padding=1),
            *(ResidualBlock(deep) for _ in range(config.decoder_blocks[1])),
            nn.Conv2d(deep, 4 * wide, 1),
            nn.PixelShuffle(2),
            *(ResidualBlock(wide) for _ in range(config.decoder_blocks[0])),
            nn.SiLU(),
            nn.Conv2d(wide, 16, 3, padding=1),
            nn.PixelShuffle(4),
        )
        self.to(memory_format=torch.channels_last)

    def encode(self, clips: Tensor) -> Tensor:
        """(N, 1, H, W) in [-1, 1] -> float32 (N, C, H/8, W/8), unit variance per channel over the data it was trained on."""
        return self.standardise(self.encoder(clips.contiguous(memory_format=torch.channels_last)).float())

    def decode(self, latents: Tensor) -> Tensor:
        """(N, C, h, w) -> float32 (N, 1, 8h, 8w), about [-1, 1] and not clipped."""
        return self.decoder(latents.contiguous(memory_format=torch.channels_last)).float()


def to_unit(frames: Tensor) -> Tensor:
    """uint8 (N, H, W) -> float32 (N, 1, H, W) in [-1, 1]."""
    return frames[:, None].float() / 127.5 - 1


def to_grey(frames: Tensor) -> Tensor:
    """(N, 1, H, W) about [-1, 1] -> uint8 (N, H, W), rounded and clipped."""
    return ((frames[:, 0].float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@torch.inference_mode()
def encode_clip(autoencoder: Autoencoder, clip: np.ndarray, precision: Precision = "auto") -> Tensor:
    """uint8 (T, H, W) -> float32 (T, C, H/8, W/8) on the CPU. The autoencoder must be in evaluation mode."""
    return _by_batches(lambda frames: autoencoder.encode(to_unit(frames)), torch.from_numpy(np.ascontiguousarray(clip)), autoencoder, precision)


@torch.inference_mode()
def decode_clip(autoencoder: Autoencoder, latents: Tensor, precision: Precision = "auto") -> np.ndarray:
    """(T, C, h, w) -> uint8 (T, 8h, 8w). The autoencoder must be in evaluation mode."""
    return _by_batches(lambda z: to_grey(autoencoder.decode(z.float())), latents, autoencoder, precision).numpy()


def _by_batches(function, frames: Tensor, autoencoder: Autoencoder, precision: Precision) -> Tensor:
    """`function` over `frames` in batches of one size, the last one padded."""
    assert not autoencoder.training
    device, count = next(autoencoder.parameters()).device, len(frames)
    padded = torch.cat([frames, frames[-1:].expand(-count % _FRAMES, *frames.shape[1:])])
    with precision_context(device, precision):
        return torch.cat([function(part.to(device)).cpu() for part in padded.split(_FRAMES)])[:count]
