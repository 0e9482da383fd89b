"""What turns clips into features for a distance: the one contract, and our own regressor under it. Files that the user supplies are in detectors.py."""

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from echosynth.networks.base import Network, NetworkConfig
from echosynth.networks.kinds import kind_of
from echosynth.networks.regressor import RegressorConfig


class Encoder(Protocol):
    """`sha256` is of the file with the weights: distances of different files cannot be compared, so it stands beside every figure."""

    name: str
    sha256: str
    dims: int

    def features(self, clips: np.ndarray, fps: float) -> np.ndarray:
        """Features (B, D) float64 of clips uint8 (B, T, H, W) at `fps`."""
        ...


class InDomain:
    """An EF regressor as an encoder: it knows hearts and needs no file from elsewhere. Features of what it reads at once of a clip, `frames` frames at `fps` (None: the clip's own)."""

    name = "in-domain"

    def __init__(self, regressor: Network, sha256: str):
        self.regressor, self.sha256 = regressor.eval(), sha256
        if isinstance(regressor.config, RegressorConfig):  # shorter clips are mirrored in time
            self.dims, self.frames, self.fps = regressor.config.features, regressor.config.frames, regressor.config.fps
        else:
            self.dims, self.frames, self.fps = regressor.model.fc.in_features, regressor.config.frames * regressor.config.period, None

    @classmethod
    def open(cls, folder: Path, network: NetworkConfig | None = None, device: str = "cpu") -> "InDomain":
        """Opens the regressor saved in `folder`, of the kind of `network` (None: the compact one). Raises InputError when there is none."""
        regressor = kind_of(network or RegressorConfig()).from_pretrained(folder).to(device)
        return cls(regressor, hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())

    @torch.inference_mode()
    def features(self, clips: np.ndarray, fps: float) -> np.ndarray:
        device = next(self.regressor.parameters()).device
        batch = torch.cat([self.regressor.windows(clip, fps, most=1) for clip in clips])
        return self.regressor.features(batch.to(device)).double().cpu().numpy()
