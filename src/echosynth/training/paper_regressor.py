"""Training R(2+1)D-18 as EchoNet-Dynamic does (Ouyang et al. 2020): a clip at any start, moved by a few pixels, squared error of EF in percent."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from echosynth.errors import InputError
from echosynth.networks.base import load_weights, read_state
from echosynth.networks.resnet import PaperRegressor
from echosynth.randomness import numpy_rng

_MEASURED = 128  # clips from which the grey levels' mean and standard deviation come


def start_from(model: PaperRegressor, path: Path) -> None:
    """Takes over the weights of R(2+1)D-18 from a file with torchvision's names, such as those of Kinetics; the last layer only where it has one output. Raises InputError when they do not fit."""
    own, state = model.model.state_dict(), read_state(path)
    for name, value in own.items():
        if not name.startswith("fc.") and (name not in state or state[name].shape != value.shape):
            raise InputError(f"{path}: weight {name!r} is {'of another shape' if name in state else 'missing'}; give the weights of torchvision's r2plus1d_18")
    head = {name: value for name, value in state.items() if name.startswith("fc.") and value.shape == own[name].shape}
    load_weights(model.model, own | {name: state[name] for name in own if not name.startswith("fc.")} | head, str(path))


def standardise(model: PaperRegressor, videos: list[np.ndarray]) -> None:
    """Measures mean and standard deviation of the grey levels over some training videos, uint8 (T, S, S)."""
    chosen = [videos[i] for i in np.unique(np.linspace(0, len(videos) - 1, _MEASURED).astype(int))]
    counts = sum(np.bincount(video.ravel(), minlength=256) for video in chosen)
    levels = np.arange(256) / 127.5 - 1
    mean = float(counts @ levels / counts.sum())
    model.mean.fill_(mean)
    model.sd.fill_(max(float(counts @ (levels - mean) ** 2 / counts.sum()) ** 0.5, 1e-3))


def draw(model: PaperRegressor, video: np.ndarray, rng: np.random.Generator) -> Tensor:
    """A training clip (T, S, S) in [-1, 1] of a video uint8 (T', S, S): a random start, then moved by up to `pad` pixels; what comes in has the mean grey level, which is 0 to the network, as published."""
    c = model.config
    starts = max(len(video) - (c.frames - 1) * c.period, 1)
    start, (down, right) = int(rng.integers(starts)), rng.integers(0, 2 * c.pad + 1, 2)
    clip = model.clip_at(torch.from_numpy(np.array(video)).float() / 127.5 - 1, start)
    moved = F.pad(clip, (c.pad,) * 4, value=float(model.mean))
    return moved[:, down : down + c.size, right : right + c.size]


def batch_of(model: PaperRegressor, videos: list[np.ndarray], ef: np.ndarray, seed: int, samples: range) -> dict[str, Tensor]:
    """Samples with these counters: clips (B, T, S, S) and ef (B,) in [0, 1]. Each epoch shows every video once, in an order of its own."""
    clips, labels = [], []
    for sample in samples:
        epoch, place = divmod(sample, len(videos))
        video = int(numpy_rng(seed, "regressor order", epoch).permutation(len(videos))[place])
        clips.append(draw(model, videos[video], numpy_rng(seed, "regressor sample", sample)))
        labels.append(ef[video])
    return {"clips": torch.stack(clips), "ef": torch.tensor(labels)}


def paper_loss(model: PaperRegressor, batch: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """Mean squared error in percent."""
    error = 100 * (model(batch["clips"]) - batch["ef"])
    return {"loss": error.square().mean(), "mae": error.detach().abs().mean()}
