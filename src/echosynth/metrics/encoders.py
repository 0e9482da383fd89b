"""What turns clips into features for a distance: the one contract, and our own regressor under it. Files that the user supplies are in detectors.py."""

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from echosynth.networks.regressor import Regressor, windows


class Encoder(Protocol):
    """`sha256` is of the file with the weights: distances of different files cannot be compared, so it stands beside every figure."""

    name: str
    sha256: str
    dims: int

    def features(self, clips: np.ndarray, fps: float) -> np.ndarray:
        """Features (B, D) float64 of clips uint8 (B, T, H, W) at `fps`."""
        ...


class InDomain:
    """The EF regressor of a study as an encoder: it knows hearts and needs no file from elsewhere. Features of the first two seconds of a clip; a shorter one is mirrored in time."""

    name = "in-domain"

    def __init__(self, regressor: Regressor, sha256: str):
        self.regressor, self.sha256, self.dims = regressor.eval(), sha256, regressor.config.features

    @classmethod
    def open(cls, folder: Path, device: str = "cpu") -> "InDomain":
        """Opens the regressor saved in `folder`. Raises InputError when there is none."""
        regressor = Regressor.from_pretrained(folder).to(device)
        return cls(regressor, hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())

    @torch.inference_mode()
    def features(self, clips: np.ndarray, fps: float) -> np.ndarray:
        device = next(self.regressor.parameters()).device
        batch = torch.cat([windows(clip, fps, self.regressor.config, most=1) for clip in clips])
        return self.regressor.features(batch.to(device)).double().cpu().numpy()
