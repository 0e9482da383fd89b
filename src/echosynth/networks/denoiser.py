"""The generators' network: a factorised space-time transformer on latent videos. With one frame it is the image model.

Space attention, time attention and MLP in turn (factorised attention: Arnab et al. 2021, ViViT), modulated per sample by the flow time and the labels
(adaLN-zero: Peebles & Xie 2023, DiT), with normalised queries and keys (Dehghani et al. 2023, ViT-22B).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import nn

from echosynth.networks.base import Network, NetworkConfig


class DenoiserConfig(NetworkConfig):
    channels: int = Field(4, gt=0, description="channels of the latents")
    size: int = Field(14, gt=0, description="height and width of the latents")
    frames: int = Field(64, gt=0, description="longest video, in frames; 1 is the image model")
    patch: int = Field(2, gt=0, description="latent pixels along the side of a token")
    tubelet: int = Field(4, gt=0, description="frames in a token")
    dim: int = Field(160, gt=0)
    depth: int = Field(6, gt=0)
    heads: int = Field(4, gt=0)
    labels: int = Field(1, ge=0, description="numbers in [0, 1] that describe a sample, such as the EF")
    time_shift: float = Field(6.0, gt=0, description="above 1, training and sampling spend more of the path near the noise, where a video's motion is decided")

    @model_validator(mode="after")
    def _fits(self) -> "DenoiserConfig":
        if self.size % self.patch or self.frames % self.tubelet or self.dim % self.heads:
            raise ValueError("patch must divide size, tubelet must divide frames and heads must divide dim")
        return self


@dataclass
class Condition:
    """What a sample is to agree with. B samples of T frames, L labels, latents of shape (C, h, w)."""

    labels: torch.Tensor  # (B, L) in [0, 1]; NaN = not told
    anchor: torch.Tensor | None = None  # (B, C, h, w): a frame of the same clip, at no particular time
    known: torch.Tensor | None = None  # (B, T, C, h, w): frames at their place, counted where `mask` says so
    mask: torch.Tensor | None = None  # (B, T) bool: the frame is known


class Denoiser(Network):
    """Predicts the velocity of a rectified flow (generative/flow.py)."""

    Config: ClassVar[type[NetworkConfig]] = DenoiserConfig
    config: DenoiserConfig

    def __init__(self, config: DenoiserConfig):
        super().__init__(config)
        c, d, area = config, config.dim, config.patch**2
        times = c.frames // c.tubelet
        self.embed = nn.Linear(c.tubelet * area * (2 * c.channels + 1), d)  # noisy frame, known frame, mask
        self.embed_anchor = nn.Linear(area * c.channels, d)  # the same for every frame, so it is embedded once and added
        self.space_position = nn.Parameter(0.02 * torch.randn((c.size // c.patch) ** 2, d))
        self.time_position = nn.Parameter(0.02 * torch.randn(times, d))
        self.embed_time = nn.Sequential(Fourier(64, 16.0), nn.Linear(64, d), nn.SiLU(), nn.Linear(d, d))
        self.embed_labels = Labels(c.labels, d) if c.labels else None
        self.blocks = nn.ModuleList(Block(d, c.heads, times > 1) for _ in range(c.depth))
        self.modulation = nn.Linear(d, (len(self.blocks[0].layers) * 3 * c.depth + 2) * d)  # of all blocks and of the output, in one product
        self.output = nn.Linear(d, c.tubelet * area * c.channels)
        for layer in (self.modulation, self.output):  # adaLN-zero: every block starts as the identity
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        """x (B, T, C, h, w) noisy latents, t (B,) in [0, 1] -> (B, T, C, h, w) float32. T is a multiple of the tubelet, up to `frames`.

        Known frames are not looked at in x, and what is predicted for them means nothing.
        """
        c = self.config
        batch, frames = x.shape[:2]
        assert frames % c.tubelet == 0 and 0 < frames <= c.frames, f"{frames} frames: want a multiple of {c.tubelet}, at most {c.frames}"
        if condition.known is None:
            known, mask = torch.zeros_like(x), x.new_zeros(batch, frames, 1, *x.shape[3:])
        else:
            told = condition.mask[:, :, None, None, None]
            known, x, mask = torch.where(told, condition.known, 0.0), torch.where(told, 0.0, x), told.to(x.dtype).expand(-1, -1, 1, *x.shape[3:])
        tokens = self.embed(_patches(torch.cat((x, known, mask), 2), c.patch, c.tubelet))
        position = self.space_position + self.time_position[: frames // c.tubelet, None]
        if condition.anchor is not None:
            position = position + self.embed_anchor(_patches(condition.anchor[:, None], c.patch, 1))
        tokens = tokens + position

        about = self.embed_time(t)
        if self.embed_labels is not None:
            about = about + self.embed_labels(condition.labels)
        modulation = self.modulation(F.silu(about))[:, None, None].to(tokens.dtype).chunk(len(self.blocks[0].layers) * 3 * c.depth + 2, -1)
        *blocks, shift, scale = modulation
        each = len(blocks) // c.depth
        for i, block in enumerate(self.blocks):
            tokens = block(tokens, blocks[i * each : (i + 1) * each])
        return _velocity(x, t, _frames(self.output(_modulated_norm(tokens, shift, scale)), c).float())


class Block(nn.Module):
    """Space attention, time attention (where there is more than one time) and MLP, each behind a modulated norm and a gate."""

    def __init__(self, dim: int, heads: int, time: bool):
        super().__init__()
        layers: dict[str, nn.Module] = {"space": Attention(dim, heads, along_time=False)}
        if time:
            layers["time"] = Attention(dim, heads, along_time=True)
        layers["mlp"] = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.layers = nn.ModuleDict(layers)

    def forward(self, x: torch.Tensor, modulation: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """x (B, T', N, D), modulation: shift, scale and gate (B, 1, 1, D) of each layer."""
        for i, layer in enumerate(self.layers.values()):
            shift, scale, gate = modulation[3 * i : 3 * i + 3]
            x = torch.addcmul(x, gate, layer(_modulated_norm(x, shift, scale)).to(x.dtype))
        return x


class Attention(nn.Module):
    """Self-attention of (B, T', N, D) tokens, among the N of one time or among the T' of one place.

    Queries, keys and values have a matrix each: Muon orthogonalises a matrix at a time.
    """

    def __init__(self, dim: int, heads: int, along_time: bool):
        super().__init__()
        self.heads, self.along_time = heads, along_time
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.out = nn.Linear(dim, dim)
        # LayerNorm, not RMSNorm: it is one fused operation on the CPU.
        self.query_norm, self.key_norm = (nn.LayerNorm(dim // heads, bias=False) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, times, places, _ = x.shape
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))  # once for all three
        # Along time the places count as further heads: a view of the same memory, without a copy.
        shape = (batch, times, places * self.heads, -1) if self.along_time else (batch * times, places, self.heads, -1)
        q, k, v = (layer(x).view(shape) for layer in (self.query, self.key, self.value))
        q, k = self.query_norm(q), self.key_norm(k)
        mixed = _attend(*(part.transpose(1, 2) for part in (q, k, v)), single=self.along_time)
        return self.out(mixed.transpose(1, 2).reshape(x.shape))


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, single: bool) -> torch.Tensor:
    """softmax(q k' / sqrt(d)) v for (..., n, d), in float32 where `single`.

    Written out on a CPU, whose fused attention takes four to seven times as long in bfloat16 for sequences as short as ours, because of its backward pass (docs/decisions.md).
    Along time they are so short that bfloat16 costs more than it saves.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v)
    with torch.autocast("cpu", enabled=torch.is_autocast_enabled("cpu") and not single):
        if single:
            q, k, v = q.float(), k.float(), v.float()
        return torch.softmax(q * q.shape[-1] ** -0.5 @ k.mT, -1) @ v


class Fourier(nn.Module):
    """Numbers (...,) -> (..., width): cosines and sines of 1/4 to `cycles` cycles over the unit interval."""

    def __init__(self, width: int, cycles: float):
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * torch.logspace(-2, math.log2(cycles), width // 2, base=2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        phase = x[..., None].float() * self.frequencies
        return torch.cat((phase.cos(), phase.sin()), -1)


class Labels(nn.Module):
    """Labels (B, L), NaN = not told -> (B, D). What is not told has features of its own, which are learned."""

    def __init__(self, labels: int, dim: int, width: int = 32):
        super().__init__()
        self.fourier = Fourier(width, 4.0)
        self.null = nn.Parameter(torch.zeros(labels, width))
        self.mlp = nn.Sequential(nn.Linear(labels * width, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        told = ~labels.isnan()
        features = torch.where(told[..., None], self.fourier(labels.nan_to_num()), self.null)
        return self.mlp(features.flatten(1))


def _velocity(x: torch.Tensor, t: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """The velocity from the network's output: what is linear in x is given, the rest has unit variance.

    The preconditioning of Karras et al. 2022 (arXiv 2206.00364), worked out for x = (1 - t) data + t noise and data of unit variance: v = ((2t - 1) x + sqrt(d) output) / d with d = (1 - t)^2 + t^2. So at t = 1 the network tells the data, and need
    not carry the noise through its tokens.
    """
    t = t.view(-1, 1, 1, 1, 1)
    d = (1 - t).square() + t.square()
    return ((2 * t - 1) * x + d.sqrt() * output) / d


def _modulated_norm(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)


def _patches(x: torch.Tensor, patch: int, tubelet: int) -> torch.Tensor:
    """(B, T, C, h, w) -> (B, T / tubelet, h w / patch^2, tubelet C patch^2)."""
    b, t, c, h, w = x.shape
    x = x.view(b, t // tubelet, tubelet, c, h // patch, patch, w // patch, patch)
    return x.permute(0, 1, 4, 6, 2, 3, 5, 7).reshape(b, t // tubelet, (h // patch) * (w // patch), -1)


def _frames(tokens: torch.Tensor, config: DenoiserConfig) -> torch.Tensor:
    """The inverse of `_patches` for `config.channels` channels: (B, T', N, tubelet C patch^2) -> (B, T, C, h, w)."""
    p, side = config.patch, config.size // config.patch
    x = tokens.view(*tokens.shape[:2], side, side, config.tubelet, config.channels, p, p)
    return x.permute(0, 1, 4, 5, 2, 6, 3, 7).reshape(tokens.shape[0], -1, config.channels, config.size, config.size)
