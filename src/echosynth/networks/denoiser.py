"""The generators' network: a transformer on the temporal frequencies of latent videos. With one frame it is the image model.

A token is a band of frequencies at one place (networks/bands.py). Attention among the places of a band, attention among the bands of a place and MLP in turn (factorised
attention: Arnab et al. 2021, ViViT), modulated per sample by the flow time and the labels (adaLN-zero: Peebles & Xie 2023, DiT), with normalised queries and keys
(Dehghani et al. 2023, ViT-22B).
"""

import math
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from echosynth.networks.bands import Bands, patches
from echosynth.networks.base import Network, NetworkConfig, drawn

MAX_FRAMES = 1024  # of a window


class DenoiserConfig(NetworkConfig):
    taught: ClassVar[frozenset[str]] = frozenset({"guidance", "margin"})
    kind: Literal["compact"] = "compact"
    channels: int = Field(4, gt=0, le=1024, description="channels of the latents")
    size: int = Field(14, gt=0, le=512, description="height and width of the latents")
    bands: tuple[PositiveInt, ...] = Field(
        (1, 1, 1, 1, 1, 1, 2, 3, 5, 10, 38),
        min_length=1,
        max_length=MAX_FRAMES,
        description="temporal frequencies in each token, slowest first; as many in all as a window has frames, (1,) is the image model",
    )
    margin: int = Field(
        0, ge=0, le=MAX_FRAMES, description="frames at either end of a window that are drawn and thrown away: errors of the slow frequencies add up there"
    )
    patch: int = Field(2, gt=0, le=512, description="latent pixels along the side of a token")
    dim: int = Field(160, gt=0, le=8192)
    depth: int = Field(6, gt=0, le=128)
    heads: int = Field(4, gt=0, le=512)
    labels: int = Field(1, ge=0, le=1024, description="numbers in [0, 1] that describe a sample, such as the EF")
    guidance: float = Field(1.0, ge=1, le=1000, description="weight of classifier-free guidance that training folds into the forward pass; 1 = none")
    time_shift: float = Field(6.0, gt=0, le=1000, description="above 1, training and sampling spend more of the path near the noise, where a video's motion is decided")

    @model_validator(mode="after")
    def _fits(self) -> "DenoiserConfig":
        if self.size % self.patch or self.dim % self.heads:
            raise ValueError("patch must divide size and heads must divide dim")
        if self.frames > MAX_FRAMES:
            raise ValueError(f"bands: a window of {self.frames} frames, where at most {MAX_FRAMES} are possible")
        if 2 * self.margin >= self.frames:
            raise ValueError(f"margin: of a window of {self.frames} frames some must be left between the two margins of {self.margin}")
        return self

    @property
    def frames(self) -> int:
        """Length of a window."""
        return sum(self.bands)


@dataclass
class Condition:
    """What a sample is to agree with. B samples of T frames, L labels, latents of shape (C, h, w)."""

    labels: torch.Tensor  # (B, L) in [0, 1]; NaN = not told
    anchor: torch.Tensor | None = None  # (B, C, h, w): a frame of the same clip, at no particular time
    known: torch.Tensor | None = None  # (B, T, C, h, w): frames at their place, counted where `mask` says so
    mask: torch.Tensor | None = None  # (B, T) bool: the frame is known

    @property
    def told(self) -> torch.Tensor:
        """`mask` as (B, T, 1, 1, 1)."""
        return self.mask[:, :, None, None, None]

    def shown(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x (B, T, C, h, w) at times t (B,), its known frames as noisy ones whose noise is zero."""
        return x if self.known is None else torch.where(self.told, (1 - t).view(-1, 1, 1, 1, 1) * self.known, x)

    def untold(self) -> "Condition":
        """The same without labels: the null of classifier-free guidance."""
        return replace(self, labels=torch.full_like(self.labels, torch.nan))

    def beside(self, other: "Condition") -> "Condition":
        """That of a batch of these samples and then of those of `other`."""
        pairs = ((getattr(self, part.name), getattr(other, part.name)) for part in fields(self))
        return Condition(*(None if mine is None else torch.cat((mine, theirs)) for mine, theirs in pairs))

    def of(self, rows: slice) -> "Condition":
        """That of some of the samples."""
        return Condition(*(None if part is None else part[rows] for part in (getattr(self, one.name) for one in fields(self))))


class Denoiser(Network):
    """Predicts the velocity of a rectified flow (generative/flow.py)."""

    Config: ClassVar[type[NetworkConfig]] = DenoiserConfig
    config: DenoiserConfig

    def __init__(self, config: DenoiserConfig):
        super().__init__(config)
        c, d = config, config.dim
        self.bands = Bands(c.bands, c.channels, c.patch, d)
        self.embed_anchor = nn.Linear(c.patch**2 * c.channels, d)  # the same for every band, so it is embedded once and added
        self.space_position = nn.Parameter(drawn(0.02, (c.size // c.patch) ** 2, d))
        self.band_position = nn.Parameter(drawn(0.02, len(c.bands), d))
        self.embed_time = nn.Sequential(Fourier(64, 16.0), nn.Linear(64, d), nn.SiLU(), nn.Linear(d, d))
        self.embed_span = nn.Sequential(Fourier(64, 4.0), nn.Linear(64, d), nn.SiLU(), nn.Linear(d, d))
        for parameter in self.embed_span[-1].parameters():  # a network that knows no spans becomes one that does, unchanged
            nn.init.zeros_(parameter)
        self.embed_labels = Labels(c.labels, d) if c.labels else None
        self.blocks = nn.ModuleList(Block(d, c.heads, len(c.bands) > 1) for _ in range(c.depth))
        self.modulation = nn.Linear(d, (len(self.blocks[0].layers) * 3 * c.depth + 2) * d)  # of all blocks and of the output, in one product
        nn.init.zeros_(self.modulation.weight)  # adaLN-zero: every block starts as the identity
        nn.init.zeros_(self.modulation.bias)

    def fitted(self, config: NetworkConfig) -> Self | None:
        """This network where its weights are of `config`; where only the length of a window differs, and bands are as many, a new one that goes on from them; None elsewhere."""
        if self.config.fits(config):
            return self
        if not isinstance(config, DenoiserConfig) or len(config.bands) != len(self.config.bands) or not self.config.model_copy(update={"bands": config.bands}).fits(config):
            return None
        other = type(self)(config)
        for name, weight in other.state_dict().items():
            if not name.startswith("bands."):
                weight.copy_(self.state_dict()[name])
        other.bands.start_from(self.bands)
        return other

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: Condition, until: torch.Tensor | None = None) -> torch.Tensor:
        """x (B, T, C, h, w) noisy latents, t (B,) in [0, 1] -> (B, T, C, h, w) float32. T is `config.frames`.

        The velocity at t or, where a time `until` (B,) < t is told (`until` = t is as none), the one that takes x there in one step (`Bands.advance`; generative/shortcut.py).

        Known frames are not looked at in x, where (1 - t) known takes their place, and what is predicted for them is not trained.
        """
        c = self.config
        assert x.shape[1] == c.frames, f"{x.shape[1]} frames: want {c.frames}"
        known, mask = torch.zeros_like(x), x.new_zeros(x.shape[:2])
        if condition.known is not None:
            known, mask = torch.where(condition.told, condition.known, 0.0), condition.mask.to(x.dtype)
            x = condition.shown(x, t)
        tokens, spectrum = self.bands.tokens(x, t, known, mask)
        position = self.space_position + self.band_position[:, None]
        if condition.anchor is not None:
            position = position + self.embed_anchor(patches(condition.anchor[:, None], c.patch))[:, None]
        tokens = tokens + position

        about = self.embed_time(t)
        if until is not None:
            span = (t - until)[:, None]
            about = about + torch.where(span > 0, self.embed_span(t - until), 0.0)
        if self.embed_labels is not None:
            about = about + self.embed_labels(condition.labels)
        modulation = self.modulation(F.silu(about))[:, None, None].to(tokens.dtype).chunk(len(self.blocks[0].layers) * 3 * c.depth + 2, -1)
        *blocks, shift, scale = modulation
        each = len(blocks) // c.depth
        for i, block in enumerate(self.blocks):
            tokens = block(tokens, blocks[i * each : (i + 1) * each])
        return self.bands.velocity(_modulated_norm(tokens, shift, scale), spectrum, t)


class Block(nn.Module):
    """Attention in space, attention among bands (where there is more than one) and MLP, each behind a modulated norm and a gate."""

    def __init__(self, dim: int, heads: int, bands: bool):
        super().__init__()
        layers: dict[str, nn.Module] = {"space": Attention(dim, heads, along_bands=False)}
        if bands:
            layers["bands"] = Attention(dim, heads, along_bands=True)
        layers["mlp"] = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.layers = nn.ModuleDict(layers)

    def forward(self, x: torch.Tensor, modulation: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """x (B, K, N, D), modulation: shift, scale and gate (B, 1, 1, D) of each layer."""
        for i, layer in enumerate(self.layers.values()):
            shift, scale, gate = modulation[3 * i : 3 * i + 3]
            x = torch.addcmul(x, gate, layer(_modulated_norm(x, shift, scale)).to(x.dtype))
        return x


class Attention(nn.Module):
    """Self-attention of (B, K, N, D) tokens, among the N places of one band or among the K bands of one place.

    Queries, keys and values have a matrix each: Muon orthogonalises a matrix at a time.
    """

    def __init__(self, dim: int, heads: int, along_bands: bool):
        super().__init__()
        self.heads, self.along_bands = heads, along_bands
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.out = nn.Linear(dim, dim)
        # LayerNorm, not RMSNorm: it is one fused operation on the CPU.
        self.query_norm, self.key_norm = (nn.LayerNorm(dim // heads, bias=False) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, bands, places, _ = x.shape
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))  # once for all three
        # Among bands the places count as further heads: a view of the same memory, without a copy.
        shape = (batch, bands, places * self.heads, -1) if self.along_bands else (batch * bands, places, self.heads, -1)
        q, k, v = (layer(x).view(shape) for layer in (self.query, self.key, self.value))
        q, k = self.query_norm(q), self.key_norm(k)
        mixed = _attend(*(part.transpose(1, 2) for part in (q, k, v)), single=self.along_bands)
        return self.out(mixed.transpose(1, 2).reshape(x.shape))


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, single: bool) -> torch.Tensor:
    """softmax(q k' / sqrt(d)) v for (..., n, d), in float32 where `single`.

    Written out on a CPU, whose fused attention is slow in bfloat16 for sequences as short as ours, because of its backward pass.
    Among bands they are so short that bfloat16 costs more than it saves.
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
        self.register_buffer("frequencies", 2 * math.pi * torch.logspace(-2, math.log2(cycles), width // 2, base=2, device="cpu"), persistent=False)

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


def _modulated_norm(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)
