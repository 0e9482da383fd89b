"""What every network of ours is: a folder with config.json and model.safetensors, never a pickle. And how weights from outside are read."""

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
    taught: ClassVar[frozenset[str]] = frozenset()  # options that change what is learnt and not what the weights look like

    def fits(self, other: "NetworkConfig") -> bool:
        """Can a network of one configuration start from the weights of the other?"""
        return type(self) is type(other) and self.model_dump(exclude=self.taught) == other.model_dump(exclude=self.taught)


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
        load_weights(self, state, source)


def load_weights(network: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Copies `state` into any network; raises InputError naming the first key that is unknown, missing or misshapen."""
    own, name = network.state_dict(), type(network).__name__
    for key in sorted(own.keys() ^ state.keys()):
        raise InputError(f"{source}: weight {key!r} is {'missing' if key in own else 'unknown'} for {name}")
    for key, value in state.items():
        if value.shape != own[key].shape:
            raise InputError(f"{source}: weight {key!r} has shape {tuple(value.shape)}, {name} wants {tuple(own[key].shape)}")
    network.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()})


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a state dict, from safetensors or from a file of torch. Raises InputError when it holds anything but tensors, such as code."""
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch lets through whatever its restricted reader meets in a hostile file
        if type(error).__name__ == "UnpicklingError":
            raise InputError(f"{path}: a pickle that wants to run code or holds more than tensors; convert it to safetensors where you trust it") from error
        raise InputError(f"{path}: not a file of weights ({str(error).splitlines()[0]}); give safetensors or a state dict") from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path}: not a state dict (names and tensors); give safetensors or a state dict")
    return {name.removeprefix("module."): value for name, value in state.items()}
