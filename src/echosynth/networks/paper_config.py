"""Configurations of the paper's networks (paper.py), apart from them so that reading a study does not import diffusers."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from echosynth.networks.base import NetworkConfig

FULL, SMALL = (128, 256, 256, 512), (32, 64, 64, 128)  # channels at each resolution: as published, and for a laptop
FRAMES = 64
_Width = Annotated[int, Field(gt=0, le=4096, multiple_of=32)]


class PaperConfig(NetworkConfig):
    """Stands where ours have their configuration; all else is as published."""

    kind: Literal["paper"] = "paper"
    widths: tuple[_Width, _Width, _Width, _Width] = Field(FULL, description="channels at each resolution, multiples of 32")
    layers: int = Field(2, gt=0, le=32, description="residual blocks at each resolution")


class PaperReidConfig(NetworkConfig):
    kind: Literal["paper"] = "paper"
    channels: int = Field(4, gt=0, le=1024)
    size: int = Field(14, gt=0, le=512)
    embedding: int = Field(128, gt=0, le=65_536)


class PaperRegressorConfig(NetworkConfig):
    """R(2+1)D-18 as EchoNet-Dynamic trains it (Ouyang et al. 2020): clips of `frames` frames, every `period`-th of the video."""

    kind: Literal["paper"] = "paper"
    size: int = Field(112, ge=16, le=4096)
    frames: int = Field(32, ge=4, le=4096)
    period: int = Field(2, ge=1, le=1024)
    pad: int = Field(12, ge=0, le=4096, description="pixels by which a training clip may be moved")
    test_clips: int = Field(0, ge=0, le=100_000, description="clips of a video, evenly spread, whose mean is its EF; 0 = every one there is, as published")


class PaperGeneratorConfig(PaperConfig):
    frames: Literal[1, 64] = Field(FRAMES, description="1 is the image model")
    margin: ClassVar[int] = 0  # every frame of a window is shown
    channels: int = Field(4, gt=0, le=1024)
    size: int = Field(14, gt=0, le=512)

    @property
    def labels(self) -> int:
        """The video model is told an EF, the image model nothing."""
        return int(self.frames > 1)
