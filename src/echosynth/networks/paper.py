"""The networks of EchoNet-Synthetic (Reynaud et al. 2024, arXiv 2406.00808), on diffusers, behind the contracts of
ours.

Every one is a diffusers folder: config.json and diffusion_pytorch_model.safetensors, which `from_pretrained` of
diffusers opens too.
"""

import inspect
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, ModelMixin, UNet2DModel, UNetSpatioTemporalConditionModel
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from echosynth.errors import InputError
from echosynth.files import read_json
from echosynth.networks.base import (
    MAX_CONFIG,
    Described,
    compare,
    described,
    load_weights,
    read_state,
    reason,
    refuse_large,
)
from echosynth.networks.denoiser import Condition
from echosynth.networks.paper_config import FRAMES, PaperConfig, PaperGeneratorConfig

_LAYERS, _NUMBER, _ITEMS = 32, 8192, 16  # the largest layers, other numbers and lists in a configuration of diffusers
_CONTRACT = (
    "in_channels",
    "out_channels",
    "latent_channels",
    "cross_attention_dim",
    "addition_time_embed_dim",
    "projection_class_embeddings_input_dim",
)
# What old diffusers called the parts of an attention.
_BEFORE = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class DiffusersNetwork(nn.Module):
    """A network of diffusers as one of ours: built from a configuration, opened from a folder and saved to one, as
    diffusers would.
    """

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
    def from_pretrained(cls, folder: Path, weights: Path | None = None) -> Self:
        """Opens a diffusers folder, in float32 and evaluation mode; no pickle, and nothing is downloaded. `weights` is
        the file of weights (`read_state`) where it is not safetensors in that folder.

        Raises InputError when it is no such folder, or of another network, and as `Network.from_pretrained`.
        """
        path = weights or folder / "diffusion_pytorch_model.safetensors"
        try:
            about = _options(cls.kind, read_json(folder / "config.json", MAX_CONFIG))
            network = cls._filled(about, path, read_state(path) if weights else None)
            return cls.of(network).eval()
        except InputError:
            raise
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(
                f"{folder}: not a {cls.kind.__name__} of diffusers ({reason(error)}); "
                "give a folder with config.json and safetensors"
            ) from error

    @classmethod
    def _filled(cls, about: dict, path: Path, state: dict[str, Tensor] | None) -> ModelMixin:
        """The network of diffusers with the weights of `path`, compared before there is memory for them; random numbers
        that others wait for are left as they are.
        """
        try:
            with torch.device("meta"):
                blank = cls.kind.from_config(about)
        except Exception as error:  # diffusers lets through whatever its layers make of odd options
            raise ValueError(f"config.json: {reason(error)}") from error
        refuse_large(blank)
        cls.of(blank)
        compare(
            blank,
            _renamed(
                {name: Described(tuple(value.shape), value.dtype) for name, value in state.items()}
                if state is not None
                else described(path)
            ),
            str(path),
            cls.kind.__name__,
        )
        with torch.random.fork_rng(devices=[]):
            network = cls.kind.from_config(about)
        load_weights(network, _renamed(load_file(path) if state is None else state), str(path))
        return network

    @classmethod
    def of(cls, network: ModelMixin) -> Self:
        """One of ours around a network of diffusers.

        Raises ValueError when it takes or gives something else than the published one.
        """
        config = cls.Config(
            widths=network.config.block_out_channels, layers=network.config.layers_per_block, **cls.shape
        )
        for name, value in cls.published(config).items():
            if name in _CONTRACT and network.config[name] != value:
                raise ValueError(f"config.json: {name} is {network.config[name]}, the published network has {value}")
        return cls(config, network)


class PaperAutoencoder(DiffusersNetwork):
    """Frames (N, 1, 112, 112) in [-1, 1] to latents (N, 4, 14, 14) and back: the mean of the posterior, scaled to about
    unit variance. 62.4 M parameters.
    """

    Config, kind = PaperConfig, AutoencoderKL

    @staticmethod
    def published(config: PaperConfig) -> dict:
        blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
        return {
            "in_channels": 3,
            "out_channels": 3,
            "latent_channels": 4,
            "layers_per_block": config.layers,
            "block_out_channels": config.widths,
            "sample_size": 112,
        } | blocks

    def posterior(self, clips: Tensor) -> DiagonalGaussianDistribution:
        """(N, 1, H, W) -> the distribution of latents, not scaled."""
        return self.network.encode(clips.expand(-1, 3, -1, -1)).latent_dist

    def encode(self, clips: Tensor) -> Tensor:
        return self.posterior(clips).mean.float() * self.network.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        return self.network.decode(latents / self.network.config.scaling_factor).sample.float().mean(1, keepdim=True)


class PaperImageModel(DiffusersNetwork):
    """Predicts v of a noisy latent frame: x (B, 1, 4, 14, 14), t (B,) steps of 1,000 -> the same shape. 70.4 M
    parameters.
    """

    Config, kind, shape = PaperGeneratorConfig, UNet2DModel, {"frames": 1}

    @staticmethod
    def published(config: PaperConfig) -> dict:
        blocks = {
            "down_block_types": ("AttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("AttnUpBlock2D",) * 3,
        }
        return {
            "sample_size": 14,
            "in_channels": 4,
            "out_channels": 4,
            "layers_per_block": config.layers,
            "block_out_channels": config.widths,
        } | blocks

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return _padded(self.network, x[:, 0], t)[:, None]


class PaperVideoModel(DiffusersNetwork):
    """Predicts v of a noisy latent video of 64 frames: x (B, T, 4, 14, 14), t (B,) steps of 1,000 -> the same shape.
    143.8 M parameters.

    The anchor stands beside every noisy frame on the channels; the EF, condition.labels (B, 1) in [0, 1], is a token of
    width 1 to attend to, and -1 where it is not told (NaN).
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
            {
                "sample_size": 14,
                "in_channels": 8,
                "out_channels": 4,
                "layers_per_block": config.layers,
                "block_out_channels": config.widths,
                "num_frames": FRAMES,
            }
            | blocks
            | told
        )

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        anchor = condition.anchor[:, None].expand(-1, x.shape[1], -1, -1, -1)
        ef = condition.labels.nan_to_num(nan=-1.0)[:, :, None]
        return _padded(
            self.network,
            torch.cat((x, anchor), 2),
            t,
            encoder_hidden_states=ef,
            added_time_ids=torch.zeros_like(condition.labels),
        )


def _options(kind: type[ModelMixin], about: object) -> dict:
    """The options of a network of `kind` in the content of a config.json.

    Raises ValueError for another kind, and for sizes that no network has.
    """
    held = about.get("_class_name") if isinstance(about, dict) else None
    if held != kind.__name__:
        raise ValueError(f"it holds a {held if isinstance(held, str) else 'network without a name'}")
    known = inspect.signature(kind.__init__).parameters
    options = {name: about[name] for name in known if name in about}
    for name, value in options.items():
        default, positive = known[name].default, name == "scaling_factor"  # latents are divided by it
        number = not isinstance(default, bool) and isinstance(default, (int, float))
        if (
            not _sane(value, _LAYERS if "layers" in name else _NUMBER)
            or (number and isinstance(value, (bool, str)))
            or (isinstance(default, bool) and not isinstance(value, bool))
            or (positive and not (isinstance(value, (int, float)) and value > 0))
        ):
            raise ValueError(f"config.json: {name} is nothing that a network can be built with")
    return {"_class_name": kind.__name__} | options


def _sane(value: object, largest: int, lists: int = 2) -> bool:
    """Whether an option is text, a number within a limit, or a short list (of lists) of such."""
    if isinstance(value, list):
        return lists > 0 and len(value) <= _ITEMS and all(_sane(item, largest, lists - 1) for item in value)
    if isinstance(value, (int, float)):
        return abs(value) <= largest  # NaN is not
    return value is None or (isinstance(value, str) and len(value) <= 200)


def _renamed(state: dict) -> dict:
    """Weights under the names of today."""
    parts = {name: name.split(".") for name in state}
    return {
        ".".join((*part[:-2], _BEFORE.get(part[-2], part[-2]), part[-1])) if len(part) > 1 else name: state[name]
        for name, part in parts.items()
    }


def _padded(network: nn.Module, x: Tensor, t: Tensor, **told: Tensor) -> Tensor:
    """Latents of 14 pixels a side go through a network that halves them three times: padded to 16 by replication, cut
    back after it.
    """
    size = x.shape[-1]
    margin = -size % 8
    low, high = margin // 2, margin - margin // 2
    padded = F.pad(x.flatten(0, -4), (low, high, low, high), mode="replicate")
    out = network(padded.view(*x.shape[:-2], *padded.shape[-2:]), t, **told).sample
    return out[..., low : low + size, low : low + size]
