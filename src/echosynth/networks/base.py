"""What every network of ours is: a folder with config.json and model.safetensors, never a pickle."""

import json
from pathlib import Path
from typing import ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from echosynth.errors import InputError
from echosynth.files import atomic_file


class NetworkConfig(BaseModel):
    """Base of the configurations that stand beside the networks: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Network(nn.Module):
    """A module built from one `NetworkConfig` (`self.config`), with its `Config` class on the type."""

    Config: ClassVar[type[NetworkConfig]]

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config

    def save_pretrained(self, folder: Path, dtype: torch.dtype | None = None) -> None:
        """Writes config.json and model.safetensors into `folder`; `dtype` stores floating weights in another precision."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: (v.to(dtype) if dtype and v.is_floating_point() else v).detach().cpu().contiguous() for k, v in self.state_dict().items()}
        with atomic_file(folder / "model.safetensors") as path:
            save_file(state, path)
        with atomic_file(folder / "config.json") as path:
            path.write_text(self.config.model_dump_json(indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Opens what `save_pretrained` wrote, in float32 and evaluation mode.

        Raises InputError when a file is missing, broken, or does not fit this network.
        """
        try:
            network = cls(cls.Config(**json.loads((folder / "config.json").read_text())))
            state = load_file(folder / "model.safetensors")
        except (OSError, json.JSONDecodeError, ValidationError, SafetensorError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{folder}: not a saved {cls.__name__} ({reason}); give a folder with config.json and model.safetensors") from error
        network.load_weights(state, str(folder))
        return network.eval()

    def load_weights(self, state: dict[str, torch.Tensor], source: str) -> None:
        """Copies `state` into this network; raises InputError naming the first key that is unknown, missing or misshapen."""
        own = self.state_dict()
        for key in sorted(own.keys() ^ state.keys()):
            raise InputError(f"{source}: weight {key!r} is {'missing' if key in own else 'unknown'} for {type(self).__name__}")
        for key, value in state.items():
            if value.shape != own[key].shape:
                raise InputError(f"{source}: weight {key!r} has shape {tuple(value.shape)}, {type(self).__name__} wants {tuple(own[key].shape)}")
        self.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()})
