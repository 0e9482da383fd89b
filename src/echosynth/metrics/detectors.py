"""Detectors that the user supplies as TorchScript files: the networks on which the field's FVD, FID and Inception score
are defined. They are not shipped: their licences are not ours to pass on.

The calls are those of StyleGAN-V (Skorokhodov et al. 2022) and StyleGAN3 (Karras et al. 2021), for whose files
`i3d_torchscript.pt` and `inception-2015-12-05.pt` these classes are made.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from echosynth.errors import InputError
from echosynth.files import hash_file, open_regular
from echosynth.randomness import numpy_rng

UNTRUSTED = (
    "a TorchScript file can run any code of its author, and read and write files; "
    "if you trust who made it, say so with --trust-detector (echosynth metrics) "
    "or evaluation.trust_detectors=true (a study)"
)
MAX_BYTES = 4 * 2**30  # of a file


class Detector(ABC):
    """A TorchScript file as an encoder; `open` one of the subclasses. `dims` features a clip."""

    name: ClassVar[str]
    dims: ClassVar[int]
    probe: ClassVar[tuple[int, ...]]  # clips of this shape try a new file
    call: ClassVar[dict[str, bool]]

    def __init__(self, module: torch.jit.ScriptModule, path: Path, sha256: str, device: str):
        self.module, self.path, self.sha256, self.device = module, path, sha256, device

    @classmethod
    def open(cls, path: Path, trusted: bool, device: str = "cpu") -> Self:
        """Opens the file, which may run any code of its author, and tries it on noise.

        Raises InputError when it is not `trusted`, missing, no TorchScript, does not take what this detector is called
        with, or gives anything but finite features (B, dims).
        """
        if not trusted:
            raise InputError(f"{path}: {UNTRUSTED}")
        try:
            with open_regular(path, MAX_BYTES):
                sha256 = hash_file(path)
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file; give the TorchScript file of the {cls.name} detector") from error
        try:
            module = torch.jit.load(str(path), map_location=device).eval()
        except Exception as error:  # the reader lets through whatever it meets in a broken archive
            raise InputError(
                f"{path}: not a TorchScript file ({_line(error)}); "
                f"give the {cls.name} detector as torch.jit.save writes it"
            ) from error
        detector = cls(module, path, sha256, device)
        detector.features(numpy_rng(0, "probe").integers(0, 256, cls.probe, dtype=np.uint8), 32.0)
        return detector

    @staticmethod
    @abstractmethod
    def prepare(clips: np.ndarray) -> Tensor:
        """What the file is called with, from clips uint8 (B, T, S, S)."""

    def features(self, clips: np.ndarray, fps: float) -> np.ndarray:
        """Features (B, D) float64 of clips uint8 (B, T, S, S); these networks look at frames, whatever their rate.

        Raises InputError when the file gives something else.
        """
        return self._ask(clips, self.dims, self.call)

    @torch.no_grad()
    def _ask(self, clips: np.ndarray, width: int, call: dict[str, bool]) -> np.ndarray:
        assert clips.dtype == np.uint8 and clips.ndim == 4 and clips.shape[2] == clips.shape[3]
        try:
            with torch.backends.cudnn.flags(
                allow_tf32=False
            ):  # as StyleGAN-V has it: features in full float32 on every GPU
                found = self.module(self.prepare(clips).to(self.device), **call)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise InputError(
                f"{self.path}: cannot be called as the {self.name} detector with {', '.join(call)} ({_line(error)}); "
                "give the file that StyleGAN-V uses"
            ) from error
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        if shape != (len(clips), width):
            raise InputError(
                f"{self.path}: gives {shape} where the {self.name} detector gives {(len(clips), width)}; "
                "give the file that StyleGAN-V uses"
            )
        features = found.double().cpu().numpy()
        if not np.isfinite(features).all():
            raise InputError(
                f"{self.path}: gives values that are not finite; replace the file of the {self.name} detector"
            )
        return features


class I3D(Detector):
    """I3D trained on Kinetics-400 (Carreira & Zisserman 2017), for FVD: 400 logits of a clip of at least 16 frames."""

    name, dims, probe = "i3d", 400, (2, 16, 112, 112)
    call: ClassVar = {"rescale": True, "resize": True, "return_features": True}

    @staticmethod
    def prepare(clips: np.ndarray) -> Tensor:
        """float32 (B, 3, T, 224, 224) in [0, 255] from uint8 (B, T, S, S):

        `rescale` brings them to [-1, 1], `resize` finds nothing left to do. Enlarged bilinearly, made smaller with
        antialiasing.
        """
        b, t = clips.shape[:2]
        frames = resize(torch.from_numpy(clips).float(), 224)
        return frames.view(b, 1, t, 224, 224).expand(-1, 3, -1, -1, -1)


class Inception(Detector):
    """Inception-v3 of 2015 (Szegedy et al. 2016), for FID and KID (2,048 features) and the Inception score (1,008
    probabilities).

    A clip is one frame.
    """

    name, dims, probe = "inception", 2048, (2, 1, 112, 112)
    classes: ClassVar[int] = 1008
    call: ClassVar = {"return_features": True}

    @staticmethod
    def prepare(clips: np.ndarray) -> Tensor:
        """uint8 (B, 3, S', S') from uint8 (B, 1, S, S).

        The file itself brings them to 299 pixels, but without antialiasing (Parmar et al. 2022), so larger ones are
        made 299 here; smaller ones are left to it.
        """
        assert clips.shape[1] == 1
        frames = torch.from_numpy(clips)
        if clips.shape[2] > 299:
            frames = resize(frames.float(), 299).round().clamp(0, 255).to(torch.uint8)
        return frames.expand(-1, 3, -1, -1)

    def probabilities(self, clips: np.ndarray) -> np.ndarray:
        """Class probabilities (B, 1008) float64 of frames uint8 (B, 1, S, S), without the bias of the last layer, as
        the original score has them.
        """
        return self._ask(clips, self.classes, {"no_output_bias": True})


def resize(frames: Tensor, size: int) -> Tensor:
    """float (B, T, S, S) -> (B, T, size, size), bilinear, with antialiasing where it gets smaller."""
    return F.interpolate(frames, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def open_detector(option: str, trusted: bool, device: str = "cpu") -> Detector:
    """The detector of an option `i3d=FILE` or `inception=FILE`, of which the user has said whether it is `trusted`.

    Raises InputError for another name, and as `Detector.open`.
    """
    name, _, path = option.partition("=")
    kinds = {kind.name: kind for kind in (I3D, Inception)}
    if name not in kinds or not path:
        raise InputError(f"--detector {option}: give one of {', '.join(f'{kind}=FILE' for kind in kinds)}")
    return kinds[name].open(Path(path), trusted, device)


def _line(error: Exception) -> str:
    """The first sentence of the last line with something in it:

    TorchScript puts its own traceback before what it says, and advice after.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].partition(". ")[0] if lines else type(error).__name__
