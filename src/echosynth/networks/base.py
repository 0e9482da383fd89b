"""What every network of ours is: a folder with config.json and model.safetensors, never a pickle. And how weights from
outside are read: as hostile.

Sizes in a configuration are compared with limits, and names, shapes and types of the weights with those of the network,
before any memory is taken for them.
"""

import math
import pickletools
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple, Self

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from echosynth.errors import InputError
from echosynth.files import atomic_file, open_regular, read_json

MAX_PARAMETERS = 2**29  # of one network; the largest published one has 144 million
MAX_CONFIG = 2**20  # bytes of config.json
MAX_HEADER = 8 * 2**20  # bytes of the table of names and shapes before the weights
MAX_WEIGHTS = 8 * MAX_PARAMETERS + MAX_HEADER  # bytes of a file: all parameters in float64
_MAX_PICKLE, _MAX_TUPLES = 4 * 2**20, 50_000  # bytes that describe a state dict of torch; tuples in them, five a tensor
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_NAMES = ("F16", "BF16", "F32", "F64", "U8", "I8", "I16", "I32", "I64", "BOOL")  # in safetensors
_NAMED = dict(zip(_NAMES, (*_FLOATS, *_INTEGERS, torch.bool), strict=True))


class NetworkConfig(BaseModel):
    """Base of the configurations that stand beside the networks: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    taught: ClassVar[frozenset[str]] = frozenset()  # options that change what is learnt, not how the weights look

    def fits(self, other: "NetworkConfig") -> bool:
        """Can a network of one configuration start from the weights of the other?"""
        return type(self) is type(other) and self.model_dump(exclude=self.taught) == other.model_dump(
            exclude=self.taught
        )


class Network(nn.Module):
    """A module built from one `NetworkConfig` (`self.config`), with its `Config` class on the type."""

    Config: ClassVar[type[NetworkConfig]]

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config

    def save_pretrained(self, folder: Path, dtype: torch.dtype | None = None) -> None:
        """Writes config.json and model.safetensors into `folder`; `dtype` stores floats in another precision."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            k: (v.to(dtype) if dtype and v.is_floating_point() else v).detach().cpu().contiguous()
            for k, v in self.state_dict().items()
        }
        with atomic_file(folder / "model.safetensors") as path:
            save_file(state, path)
        with atomic_file(folder / "config.json") as path:
            path.write_text(self.config.model_dump_json(indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Opens what `save_pretrained` wrote, in float32 and evaluation mode.

        Raises InputError when a file is missing, broken, too large, or does not fit this network, and when a weight is
        not finite.
        """
        try:
            config = cls.Config.model_validate(read_json(folder / "config.json", MAX_CONFIG))
            compare(_blank(cls, config), described(folder / "model.safetensors"), str(folder), cls.__name__)
            state = load_file(folder / "model.safetensors")
        except InputError:
            raise
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(
                f"{folder}: not a saved {cls.__name__} ({reason(error)}); "
                "give a folder with config.json and model.safetensors"
            ) from error
        network = cls(config)
        network.load_weights(state, str(folder))
        return network.eval()

    def load_weights(self, state: dict[str, torch.Tensor], source: str) -> None:
        """Copies `state` into this network. Raises InputError as the function of that name."""
        load_weights(self, state, source)


class Described(NamedTuple):
    """What is known of a weight before it is read; `dtype` None is one that no network has."""

    shape: tuple[int, ...]
    dtype: torch.dtype | None


def load_weights(network: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Copies `state` into any network.

    Raises InputError naming the first weight that is unknown, missing, misshapen, of another kind of numbers, or not
    finite.
    """
    own = network.state_dict()
    compare(network, {key: Described(tuple(value.shape), value.dtype) for key, value in state.items()}, source)
    converted = {key: value.to(own[key].dtype) for key, value in state.items()}
    refuse_not_finite(converted, source)
    network.load_state_dict(converted)


def compare(network: nn.Module, given: dict[str, Described], source: str, name: str = "") -> None:
    """Raises InputError naming the first weight that is unknown, missing, misshapen, or of another kind of numbers than
    `network` (called `name`) has.
    """
    own, name = network.state_dict(), name or type(network).__name__
    for key in sorted(own.keys() ^ given.keys()):
        raise InputError(
            f"{source}: weight {_short(key)} is {'missing' if key in own else 'unknown'} for {name}; "
            "give the weights of this network"
        )
    for key, (shape, dtype) in given.items():
        if shape != own[key].shape:
            raise InputError(
                f"{source}: weight {_short(key)} has shape {shape}, {name} wants {tuple(own[key].shape)}; "
                "give the weights of this network"
            )
        if _numbers(dtype) != _numbers(own[key].dtype):
            raise InputError(
                f"{source}: weight {_short(key)} holds {_numbers(dtype)}, {name} wants {_numbers(own[key].dtype)}; "
                "give the weights of this network"
            )


def refuse_not_finite(state: dict[str, torch.Tensor], source: str) -> None:
    """Raises InputError naming the first weight that holds NaN or infinity."""
    for key, value in state.items():
        if value.is_floating_point() and value.numel() and not all(math.isfinite(end) for end in value.aminmax()):
            raise InputError(
                f"{source}: weight {_short(key)} holds numbers that are not finite; give undamaged weights"
            )


def described(path: Path) -> dict[str, Described]:
    """Names, shapes and types of the tensors in a safetensors file, of which only the header is read.

    Raises InputError for a file that is none or too large, OSError for one that is missing.
    """
    with open_regular(path, MAX_WEIGHTS) as file:
        if (length := int.from_bytes(file.read(8), "little")) > MAX_HEADER:
            raise InputError(f"{path}: not safetensors (a header of {length:,} bytes); give the right file")
    try:
        with safe_open(path, "pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: Described(tuple(part.get_shape()), _NAMED.get(part.get_dtype())) for name, part in parts.items()
            }
    except SafetensorError as error:
        raise InputError(
            f"{path}: damaged, not safetensors ({reason(error)}); restore it, or give the right file"
        ) from error


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a state dict, from safetensors or from a file of torch.

    Raises InputError when it holds anything but tensors, such as code, when it is too large, and when a tensor is not
    finite.
    """
    try:
        state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
    except InputError:
        raise
    except Exception as error:  # torch lets through whatever its restricted reader meets in a hostile file
        if type(error).__name__ == "UnpicklingError":
            raise InputError(
                f"{path}: a pickle that wants to run code or holds more than tensors; "
                "convert it to safetensors where you trust it"
            ) from error
        raise InputError(
            f"{path}: not a file of weights ({reason(error)}); give safetensors or a state dict"
        ) from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and type(value) in (torch.Tensor, nn.Parameter) for name, value in state.items()
    ):
        raise InputError(f"{path}: not a state dict (names and tensors); give safetensors or a state dict")
    _refuse_odd(state, path)
    refuse_not_finite(state, str(path))
    return {name.removeprefix("module."): value for name, value in state.items()}


def drawn(scale: float, *shape: int) -> torch.Tensor:
    """`scale` * torch.randn(*shape).

    On the meta device, where random numbers would cost seconds of imports, a tensor without content.
    """
    empty = torch.empty(*shape)
    return empty if empty.is_meta else scale * torch.randn(*shape)


def reason(error: Exception) -> str:
    """What an exception says, as a part of one line; of a configuration, which option is wrong."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return clean(f"{where}: {first['msg']}" if where else first["msg"])
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return clean(lines[0] if lines else type(error).__name__)


def clean(text: str, longest: int = 300) -> str:
    """Printable, and no longer than a line may be."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _short(name: str) -> str:
    return repr(name if len(name) <= 200 else name[:197] + "...")


def _numbers(dtype: torch.dtype | None) -> str:
    return (
        "floats"
        if dtype in _FLOATS
        else "integers"
        if dtype in _INTEGERS
        else "truth values"
        if dtype == torch.bool
        else "numbers of a kind that no network has"
    )


def _blank(cls: type[Network], config: NetworkConfig) -> Network:
    """The network without memory for its weights. Raises ValueError when it would have too many."""
    with torch.device("meta"):
        network = cls(config)
    refuse_large(network)
    return network


def refuse_large(network: nn.Module) -> None:
    """Raises ValueError when a network has more parameters than any is allowed to have."""
    count = sum(value.numel() for value in network.state_dict().values())
    if count > MAX_PARAMETERS:
        raise ValueError(f"a network of {count:,} parameters, where at most {MAX_PARAMETERS:,} are read")


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    described(path)
    return load_file(path)


def _read_pickled(path: Path) -> Any:
    """What torch's restricted reader makes of a file.

    Before it starts, what would exhaust memory or the stack is refused: packed bytes, and tuples within tuples.
    """
    with open_regular(path, MAX_WEIGHTS) as file:
        if file.read(4) == b"PK\x03\x04":
            _refuse_packed(file, path)
        else:
            file.seek(0)
            _refuse_deep(file, path, 5)  # before torch 1.6: five pickles, then the numbers
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def _refuse_packed(file: BinaryIO, path: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        if min((entry.header_offset for entry in archive.infolist()), default=0):
            raise InputError(f"{path}: an archive that begins within the file; give the file as torch.save wrote it")
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise InputError(
                    f"{path}: compressed, which torch.save does not do; give the file as torch.save wrote it"
                )
            if entry.filename.lower().endswith("/data.pkl"):
                if entry.file_size > _MAX_PICKLE:
                    raise InputError(
                        f"{path}: a description of {entry.file_size:,} bytes, at most {_MAX_PICKLE:,} are read; "
                        "give a state dict"
                    )
                with archive.open(entry) as pickled:
                    _refuse_deep(pickled, path, 1)


def _refuse_deep(file: BinaryIO, path: Path, pickles: int) -> None:
    """Tuples within tuples without end would overflow the stack of Python, which kills the process: so many are refused
    that they could.
    """
    tuples = 0
    for _ in range(pickles):
        for operation, _, position in pickletools.genops(file):
            tuples += operation.name.startswith("TUPLE")
            if tuples > _MAX_TUPLES or (position or 0) > _MAX_PICKLE:
                raise InputError(
                    f"{path}: a description of more than {_MAX_TUPLES:,} tuples or {_MAX_PICKLE:,} bytes; "
                    "give a state dict"
                )


def _refuse_odd(state: dict[str, torch.Tensor], path: Path) -> None:
    """Raises InputError naming the first tensor that is not plain numbers in the memory that the file has for them."""
    left, seen = path.stat().st_size, set()
    for name, value in state.items():
        plain = (
            value.layout is torch.strided
            and value.device.type == "cpu"
            and not value.is_quantized
            and not value.is_nested
        )
        if not plain or _numbers(value.dtype) == _numbers(None):
            raise InputError(
                f"{path}: weight {_short(name)} holds {_numbers(None)} ({clean(str(value.dtype))}); "
                "give a state dict of plain tensors"
            )
        memory = value.untyped_storage()
        left -= 0 if memory.data_ptr() in seen else memory.nbytes()
        seen.add(memory.data_ptr())
        if value.numel() * value.element_size() > memory.nbytes() or left < 0:
            raise InputError(
                f"{path}: weight {_short(name)} is larger than the file has numbers for; give undamaged weights"
            )
