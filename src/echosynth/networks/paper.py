"""The networks of EchoNet-Synthetic (Reynaud et al. 2024, arXiv 2406.00808), on diffusers, behind the contracts of ours.

Every one is a diffusers folder: config.json and diffusion_pytorch_model.safetensors, which `from_pretrained` of diffusers opens too.
"""

import json
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, ModelMixin, UNet2DModel, UNetSpatioTemporalConditionModel
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from safetensors import SafetensorError
from torch import Tensor, nn

from echosynth.errors import InputError
from echosynth.networks.denoiser import Condition
from echosynth.networks.paper_config import FRAMES, PaperConfig, PaperGeneratorConfig


class DiffusersNetwork(nn.Module):
    """A network of diffusers as one of ours: built from a configuration, opened from a folder and saved to one, as diffusers would."""

    Config: ClassVar[type[PaperConfig]]
    kind: ClassVar[type[ModelMixin]]
    shape: ClassVar[dict] = {}

    def __init__(self, config: PaperConfig, network: ModelMixin | None = None):
        super().__init__()
        self.config = config
        self.network = network if network is not None else self.kind(**self.published(config))

    @staticmethod
    @abstractmethod
    def published(config: PaperConfig) -> dict:
        """diffusers' arguments for the published network of these widths."""

    def save_pretrained(self, folder: Path) -> None:
        """Writes config.json and diffusion_pytorch_model.safetensors into `folder`."""
        self.network.save_pretrained(folder, safe_serialization=True)

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Opens a diffusers folder, in float32 and evaluation mode; no pickle, and nothing is downloaded. Raises InputError when it is none, or of another network."""
        try:
            about = json.loads((folder / "config.json").read_text())
            if about.get("_class_name") != cls.kind.__name__:
                raise ValueError(f"it holds a {about.get('_class_name')}")
            network, info = cls.kind.from_pretrained(str(folder), use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False, output_loading_info=True)
        except (OSError, ValueError, RuntimeError, TypeError, AttributeError, SafetensorError) as error:
            raise InputError(f"{folder}: not a {cls.kind.__name__} of diffusers ({str(error).splitlines()[0]}); give a folder with config.json and safetensors") from error
        for reason in ("missing_keys", "unexpected_keys"):
            if info[reason]:
                raise InputError(f"{folder}: weight {sorted(info[reason])[0]!r} is {'missing' if reason == 'missing_keys' else 'unknown'} for {cls.kind.__name__}")
        return cls.of(network.float()).eval()

    @classmethod
    def of(cls, network: ModelMixin) -> Self:
        """One of ours around a network of diffusers."""
        return cls(cls.Config(widths=tuple(network.config.block_out_channels), layers=network.config.layers_per_block, **cls.shape), network)


class PaperAutoencoder(DiffusersNetwork):
    """Frames (N, 1, 112, 112) in [-1, 1] to latents (N, 4, 14, 14) and back: the mean of the posterior, scaled to about unit variance. 62.4 M parameters."""

    Config, kind = PaperConfig, AutoencoderKL

    @staticmethod
    def published(config: PaperConfig) -> dict:
        blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
        return {"in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": config.layers, "block_out_channels": config.widths, "sample_size": 112} | blocks

    def posterior(self, clips: Tensor) -> DiagonalGaussianDistribution:
        """(N, 1, H, W) -> the distribution of latents, not scaled."""
        return self.network.encode(clips.expand(-1, 3, -1, -1)).latent_dist

    def encode(self, clips: Tensor) -> Tensor:
        return self.posterior(clips).mean.float() * self.network.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        return self.network.decode(latents / self.network.config.scaling_factor).sample.float().mean(1, keepdim=True)


class PaperImageModel(DiffusersNetwork):
    """Predicts v of a noisy latent frame: x (B, 1, 4, 14, 14), t (B,) steps of 1,000 -> the same shape. 70.4 M parameters."""

    Config, kind, shape = PaperGeneratorConfig, UNet2DModel, {"frames": 1}

    @staticmethod
    def published(config: PaperConfig) -> dict:
        blocks = {"down_block_types": ("AttnDownBlock2D",) * 3 + ("DownBlock2D",), "up_block_types": ("UpBlock2D",) + ("AttnUpBlock2D",) * 3}
        return {"sample_size": 14, "in_channels": 4, "out_channels": 4, "layers_per_block": config.layers, "block_out_channels": config.widths} | blocks

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return _padded(self.network, x[:, 0], t)[:, None]


class PaperVideoModel(DiffusersNetwork):
    """Predicts v of a noisy latent video of 64 frames: x (B, T, 4, 14, 14), t (B,) steps of 1,000 -> the same shape. 143.8 M parameters.

    The anchor stands beside every noisy frame on the channels; the EF, condition.labels (B, 1) in [0, 1], is a token of width 1 to attend to, and -1 where it is not told (NaN).
    """

    Config, kind = PaperGeneratorConfig, UNetSpatioTemporalConditionModel

    @staticmethod
    def published(config: PaperConfig) -> dict:
        blocks = {
            "down_block_types": ("CrossAttnDownBlockSpatioTemporal",) * 3 + ("DownBlockSpatioTemporal",),
            "up_block_types": ("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * 3,
            "num_attention_heads": tuple(width // 16 for width in config.widths),
        }
        told = {"cross_attention_dim": 1, "addition_time_embed_dim": 1, "projection_class_embeddings_input_dim": 1}
        return (
            {"sample_size": 14, "in_channels": 8, "out_channels": 4, "layers_per_block": config.layers, "block_out_channels": config.widths, "num_frames": FRAMES} | blocks | told
        )

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        anchor = condition.anchor[:, None].expand(-1, x.shape[1], -1, -1, -1)
        ef = condition.labels.nan_to_num(nan=-1.0)[:, :, None]
        return _padded(self.network, torch.cat((x, anchor), 2), t, encoder_hidden_states=ef, added_time_ids=torch.zeros_like(condition.labels))


def _padded(network: nn.Module, x: Tensor, t: Tensor, **told: Tensor) -> Tensor:
    """Latents of 14 pixels a side go through a network that halves them three times: padded to 16 by replication, cut back after it."""
    size = x.shape[-1]
    margin = -size % 8
    low, high = margin // 2, margin - margin // 2
    padded = F.pad(x.flatten(0, -4), (low, high, low, high), mode="replicate")
    out = network(padded.view(*x.shape[:-2], *padded.shape[-2:]), t, **told).sample
    return out[..., low : low + size, low : low + size]
