"""Configurations of the paper's networks (paper.py), apart from them so that reading a study does not import diffusers."""

from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from echosynth.networks.base import NetworkConfig

FULL, SMALL = (128, 256, 256, 512), (32, 64, 64, 128)  # channels at each resolution: as published, and for a laptop
FRAMES = 64


class PaperConfig(NetworkConfig):
    """Stands where ours have their configuration; all else is as published."""

    kind: Literal["paper"] = "paper"
    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = Field(FULL, description="channels at each resolution, multiples of 32")
    layers: int = Field(2, gt=0, description="residual blocks at each resolution")


class PaperReidConfig(NetworkConfig):
    kind: Literal["paper"] = "paper"
    channels: int = 4
    size: int = 14
    embedding: int = 128


class PaperRegressorConfig(NetworkConfig):
    """R(2+1)D-18 as EchoNet-Dynamic trains it (Ouyang et al. 2020): clips of `frames` frames, every `period`-th of the video."""

    kind: Literal["paper"] = "paper"
    size: int = Field(112, ge=16)
    frames: int = Field(32, ge=4)
    period: int = Field(2, ge=1)
    pad: int = Field(12, ge=0, description="pixels by which a training clip may be moved")
    test_clips: int = Field(0, ge=0, description="clips of a video, evenly spread, whose mean is its EF; 0 = every one there is, as published")


class PaperGeneratorConfig(PaperConfig):
    frames: Literal[1, 64] = Field(FRAMES, description="1 is the image model")
    margin: ClassVar[int] = 0  # every frame of a window is shown
    channels: int = 4
    size: int = 14

    @property
    def labels(self) -> int:
        """The video model is told an EF, the image model nothing."""
        return int(self.frames > 1)
