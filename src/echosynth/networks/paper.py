"""The networks of EchoNet-Synthetic (Reynaud et al. 2024, arXiv 2406.00808), on diffusers, behind the contracts of ours.

Every one is a diffusers folder: config.json and diffusion_pytorch_model.safetensors, which `from_pretrained` of diffusers opens too.
"""

from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, ModelMixin, UNet2DModel, UNetSpatioTemporalConditionModel
from torch import Tensor, nn

from echosynth.errors import InputError
from echosynth.networks.denoiser import Condition

WIDTHS = (128, 256, 256, 512)
SMALL = (32, 64, 64, 128)
FRAMES = 64


def image_unet(widths: tuple[int, ...] = WIDTHS) -> UNet2DModel:
    """The latent image model: unconditional, 70.4 M parameters at full width."""
    return UNet2DModel(
        sample_size=14,
        in_channels=4,
        out_channels=4,
        layers_per_block=2,
        block_out_channels=widths,
        down_block_types=("AttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("AttnUpBlock2D",) * 3,
    )


def video_unet(widths: tuple[int, ...] = WIDTHS) -> UNetSpatioTemporalConditionModel:
    """The latent video model, 143.8 M parameters at full width: noisy and anchor latents on the channels, the EF as a token of width 1 to attend to."""
    return UNetSpatioTemporalConditionModel(
        sample_size=14,
        in_channels=8,
        out_channels=4,
        down_block_types=("CrossAttnDownBlockSpatioTemporal",) * 3 + ("DownBlockSpatioTemporal",),
        up_block_types=("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * 3,
        block_out_channels=widths,
        layers_per_block=2,
        transformer_layers_per_block=1,
        num_attention_heads=tuple(width // 16 for width in widths),
        cross_attention_dim=1,
        addition_time_embed_dim=1,
        projection_class_embeddings_input_dim=1,
        num_frames=FRAMES,
    )


def autoencoder_kl(widths: tuple[int, ...] = WIDTHS) -> AutoencoderKL:
    """The per-frame autoencoder: 3x112x112 to 4x14x14, 62.4 M parameters at full width."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        layers_per_block=2,
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=112,
    )


class DiffusersNetwork(nn.Module):
    """A network of diffusers as one of ours: a folder that is opened and saved."""

    kind: type[ModelMixin]

    def __init__(self, unet: ModelMixin):
        super().__init__()
        self.network = unet

    def save_pretrained(self, folder: Path) -> None:
        """Writes config.json and diffusion_pytorch_model.safetensors into `folder`."""
        self.network.save_pretrained(folder, safe_serialization=True)

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Opens a diffusers folder, in float32 and evaluation mode; never a pickle, nothing is downloaded. Raises InputError when it is none, or of another network."""
        try:
            network, info = cls.kind.from_pretrained(str(folder), use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False, output_loading_info=True)
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise InputError(f"{folder}: not a {cls.kind.__name__} of diffusers ({str(error).splitlines()[0]}); give a folder with config.json and safetensors") from error
        for reason in ("missing_keys", "unexpected_keys"):
            if info[reason]:
                raise InputError(f"{folder}: weight {sorted(info[reason])[0]!r} is {'missing' if reason == 'missing_keys' else 'unknown'} for {cls.kind.__name__}")
        return cls(network.float()).eval()


class PaperImageModel(DiffusersNetwork):
    """Predicts v of a noisy latent frame: x (B, 1, 4, 14, 14), t (B,) integer steps -> the same shape."""

    kind = UNet2DModel

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return _padded(self.network, x[:, 0], t)[:, None]


class PaperVideoModel(DiffusersNetwork):
    """Predicts v of a noisy latent video of 64 frames: x (B, T, 4, 14, 14), t (B,) integer steps; EF = condition.labels (B, 1) in [0, 1], NaN = not told (-1, as the published training has it)."""

    kind = UNetSpatioTemporalConditionModel

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
