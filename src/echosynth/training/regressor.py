"""Training an EF regressor: the same budget whether the clips are real or synthetic."""

import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from echosynth import processes
from echosynth.cohort.video import read_clip, to_square
from echosynth.cores import each
from echosynth.files import atomic_file, read_json, write_json
from echosynth.networks.base import Network
from echosynth.networks.kinds import kind_of
from echosynth.networks.paper_config import PaperRegressorConfig
from echosynth.networks.regressor import Regressor, RegressorConfig, predict_ef, window_indices
from echosynth.progress import progress
from echosynth.randomness import numpy_rng
from echosynth.training import paper_regressor
from echosynth.training.fit import Loss, Training, fit

_FRAMES, _CLIPS = "clips.u8", "clips.json"
_SHRINKING = threading.Lock()  # trainings on the same clips wait for the first to shrink them
_FIRST_WEIGHTS = threading.Lock()  # torch has one generator for first weights, whatever the thread


@dataclass(frozen=True)
class SmallClips:
    """Clips shrunk to S x S, end to end in one memory-mapped file, so that a cohort of any size trains without opening a video twice."""

    frames: np.ndarray  # uint8 (sum of T, S, S)
    firsts: np.ndarray  # first frame of each clip
    lengths: np.ndarray
    fps: np.ndarray

    @staticmethod
    def write(paths: Sequence[Path], size: int, folder: Path, title: str) -> None:
        """Shrinks the videos into `folder`, unless an interrupted run left them there. Raises InputError when a video cannot be read."""
        with _SHRINKING:
            if (folder / _CLIPS).exists():
                return
            lengths, fps = [], []
            with atomic_file(folder / _FRAMES) as partial, partial.open("wb") as file, progress(title, len(paths)) as advance:
                for path in paths:
                    clip, rate = read_clip(path)
                    file.write(to_square(clip, size).tobytes())
                    lengths.append(len(clip))
                    fps.append(rate)
                    advance()
            write_json(folder / _CLIPS, {"size": size, "lengths": lengths, "fps": fps})

    @classmethod
    def open(cls, folder: Path) -> "SmallClips":
        """What `write` left in `folder`."""
        about = read_json(folder / _CLIPS)
        lengths = np.array(about["lengths"])
        frames = np.memmap(folder / _FRAMES, np.uint8, "r", shape=(int(lengths.sum()), about["size"], about["size"]))
        return cls(frames, np.cumsum(lengths) - lengths, lengths, np.array(about["fps"], np.float64))


def tidy(folder: Path) -> None:
    """Removes what only a training that is not done needs: shrunken clips and checkpoints."""
    for name in (_CLIPS, _FRAMES):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def train_regressor(
    videos: Sequence[tuple[Path, float]],
    network: RegressorConfig | PaperRegressorConfig,
    training: Training,
    folder: Path,
    seed: int,
    title: str,
    pretrained: str = "",
    clips: Path | None = None,
) -> Network:
    """A regressor trained on `videos`, (path, EF in percent), saved in `folder` (config.json, model.safetensors, training.jsonl).

    Called with the same network, training and seed it spends the same budget from the same first weights, whatever the videos: this is what makes TRTR and TSTR comparable. `pretrained` names
    a file of weights that R(2+1)D-18 starts from. `clips`: where the shrunken clips are kept, by default in `folder`; trainings on the same videos can share them.
    A second call returns the saved regressor; after an interruption it goes on from the last checkpoint. Raises InputError when a video cannot be read.
    """
    assert videos
    if (folder / "config.json").exists():  # written last
        return kind_of(network).from_pretrained(folder)
    processes.on_first(lambda: SmallClips.write([path for path, _ in videos], network.size, clips or folder, f"{title}: reading clips"))
    shrunken = SmallClips.open(clips or folder)
    ef = np.array([value for _, value in videos], np.float32) / 100

    with _FIRST_WEIGHTS, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind_of(network)(network)
    batch, loss = _compact(model, shrunken, ef, seed) if isinstance(network, RegressorConfig) else _paper(model, shrunken, ef, seed, pretrained)
    # So small a network is no faster in bfloat16, and EF is a small difference of large numbers.
    fit(model, loss, batch, training.model_copy(update={"precision": "fp32"}), folder, seed, title)
    processes.on_first(lambda: model.save_pretrained(folder))
    return model


def _paper(model: paper_regressor.PaperRegressor, clips: SmallClips, ef: np.ndarray, seed: int, pretrained: str) -> tuple[Callable[[range], dict], Loss]:
    videos = [clips.frames[first : first + length] for first, length in zip(clips.firsts, clips.lengths, strict=True)]
    if pretrained:
        paper_regressor.start_from(model, Path(pretrained))
    paper_regressor.standardise(model, videos)
    return partial(paper_regressor.batch_of, model, videos, ef, seed), paper_regressor.paper_loss


def _compact(model: Regressor, clips: SmallClips, ef: np.ndarray, seed: int) -> tuple[Callable[[range], dict], Loss]:
    network = model.config
    with torch.no_grad():  # starts from the mean EF
        model.head[-1].bias.fill_(float(np.log(ef.mean().clip(0.05, 0.95)) - np.log1p(-ef.mean().clip(0.05, 0.95))))

    def batch(samples: range) -> dict[str, Tensor]:
        drawn = [_draw(clips, network, seed, sample) for sample in samples]
        warps = torch.from_numpy(np.stack([warp for _, _, warp, _ in drawn]))
        frames = torch.from_numpy(np.stack([frames for _, frames, _, _ in drawn])).float()
        grid = F.affine_grid(warps, list(frames.shape), align_corners=False)
        moved = F.grid_sample(frames, grid, padding_mode="zeros", align_corners=False)
        gain, gamma = torch.from_numpy(np.array([light for _, _, _, light in drawn], np.float32)).T[..., None, None, None]
        return {"clips": ((moved / 255).pow(gamma) * gain).clamp(max=1) * 2 - 1, "ef": torch.from_numpy(ef[[clip for clip, _, _, _ in drawn]])}

    return batch, _loss


def _loss(model: Regressor, batch: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """Squared error of EF in [0, 1], scaled so that 10 points make 1; Huber beyond."""
    model.dropout.rng = rng
    predicted = model(batch["clips"])
    return {"loss": F.huber_loss(10 * predicted, 10 * batch["ef"]), "mae": (predicted - batch["ef"]).abs().mean() * 100}


def _draw(clips: SmallClips, network: RegressorConfig, seed: int, sample: int) -> tuple[int, np.ndarray, np.ndarray, tuple[float, float]]:
    """Sample number `sample`: the clip, a window of it (T, S, S), its 2x3 warp and its (gain, gamma). Each epoch shows every clip once, in an order of its own.

    What is varied leaves EF alone: position, size, tilt, brightness, contrast, heart rate (the speed) and the direction of time.
    """
    count = len(clips.lengths)
    epoch, place = divmod(sample, count)
    clip = int(numpy_rng(seed, "regressor order", epoch).permutation(count)[place])
    rng = numpy_rng(seed, "regressor sample", sample)
    length, fps = int(clips.lengths[clip]), float(clips.fps[clip])
    speed = float(np.exp(rng.uniform(-0.2, 0.2)))
    room = max((length - 1) / fps - (network.frames - 1) / network.fps * speed, 0.0)
    frames = window_indices(rng.uniform(0, room) if room else 0.0, network, fps, length, speed)
    if rng.random() < 0.5:
        frames = frames[::-1]
    shift = rng.uniform(-8, 8, 2) / network.size  # +-4 pixels of S, in units of half the picture
    angle, zoom = rng.uniform(-0.12, 0.12), np.exp(rng.uniform(-0.1, 0.1))
    warp = np.array([[zoom * np.cos(angle), -zoom * np.sin(angle), shift[0]], [zoom * np.sin(angle), zoom * np.cos(angle), shift[1]]], np.float32)
    light = (float(np.exp(rng.uniform(-0.25, 0.25))), float(np.exp(rng.uniform(-0.15, 0.15))))
    return clip, clips.frames[clips.firsts[clip] + frames], warp, light


def read_ef(regressor: Network, paths: Sequence[Path], title: str) -> np.ndarray:
    """EF in percent (n,) that a regressor reads from some videos, on a GPU where there is one. Raises InputError when a video cannot be read."""
    return readings([regressor], paths, title)[0]


def readings(regressors: Sequence[Network], paths: Sequence[Path], title: str) -> np.ndarray:
    """EF in percent (R, n) that each of some regressors reads from some videos: each video is decoded once. As `read_ef`."""
    for regressor in regressors:
        regressor.to("cuda" if torch.cuda.is_available() else "cpu")

    def of_clip(path: Path) -> list[float]:
        clip, fps = read_clip(path)
        return [predict_ef(regressor, clip, fps) for regressor in regressors]

    found = []
    with progress(title, len(paths)) as advance:
        for values in each(of_clip, paths, *regressors):
            found.append(values)
            advance()
    return np.array(found, float).reshape(len(paths), len(regressors)).T.copy()
