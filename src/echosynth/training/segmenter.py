"""Training the segmentation of the left ventricle from the frames that a cohort's readers traced, two a clip and nothing else; and measuring clips with it."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from echosynth import processes
from echosynth.cohort.tracings import TracedClip, traced_mask, tracing_rows
from echosynth.cohort.video import read_clip, read_frames, square_transform, to_square
from echosynth.cores import each
from echosynth.files import atomic_file, read_json, write_json
from echosynth.metrics.ventricle import Measurement, Ventricle, measure, ventricle
from echosynth.networks.segmenter import Segmenter, SegmenterConfig, segment
from echosynth.progress import progress
from echosynth.randomness import numpy_rng
from echosynth.training.fit import Training, fit

TRAINING = Training(steps=500, batch_size=32, learning_rate=3e-3, ema=0.99)
_PAIRS, _ABOUT = "traced.u8", "traced.json"


@dataclass(frozen=True)
class TracedFrames:
    """Traced frames shrunk to S x S and their masks, in one memory-mapped file."""

    pairs: np.ndarray  # uint8 (N, 2, S, S): grey level, mask (share of the pixel times 255)

    @staticmethod
    def write(clips: Sequence[tuple[Path, TracedClip]], size: int, folder: Path, title: str) -> None:
        """Shrinks the end-systolic and the end-diastolic frame of each video into `folder`, unless an interrupted run left them there. Raises InputError when a video cannot be read."""
        if (folder / _ABOUT).exists():
            return
        with atomic_file(folder / _PAIRS) as partial, partial.open("wb") as file, progress(title, len(clips)) as advance:
            for path, clip in clips:
                traced = (clip.es, clip.ed)
                for frame, one in zip(to_square(read_frames(path, [one.frame for one in traced]), size), traced, strict=True):
                    file.write(frame.tobytes())
                    file.write(np.rint(255 * traced_mask(one, clip.height, clip.width, size)).astype(np.uint8).tobytes())
                advance()
        write_json(folder / _ABOUT, {"size": size, "frames": 2 * len(clips)})

    @classmethod
    def open(cls, folder: Path) -> "TracedFrames":
        """What `write` left in `folder`."""
        about = read_json(folder / _ABOUT)
        return cls(np.memmap(folder / _PAIRS, np.uint8, "r", shape=(about["frames"], 2, about["size"], about["size"])))


def tidy(folder: Path) -> None:
    """Removes what only a training that is not done needs: shrunken frames and checkpoints."""
    for name in (_ABOUT, _PAIRS):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def train_segmenter(clips: Sequence[tuple[Path, TracedClip]], network: SegmenterConfig, training: Training, folder: Path, seed: int, title: str) -> Segmenter:
    """A segmenter trained on the two traced frames of each of `clips`, (video, tracing), saved in `folder` (config.json, model.safetensors, training.jsonl).

    A second call returns the saved segmenter; after an interruption it goes on from the last checkpoint. Raises InputError when a video cannot be read.
    """
    assert clips
    if (folder / "config.json").exists():  # written last
        return Segmenter.from_pretrained(folder)
    processes.on_first(lambda: TracedFrames.write(clips, network.size, folder, f"{title}: reading traced frames"))
    pairs = TracedFrames.open(folder).pairs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Segmenter(network)
    fit(model, _loss, lambda samples: _batch(pairs, seed, samples), training, folder, seed, title)
    processes.on_first(lambda: model.save_pretrained(folder))
    return model


def _batch(pairs: np.ndarray, seed: int, samples: range) -> dict[str, Tensor]:
    """The samples of these numbers: frames (B, 1, S, S) in [-1, 1] and masks (B, S, S), drawn from `pairs` (N, 2, S, S) and varied."""
    drawn = [_draw(len(pairs), seed, sample) for sample in samples]
    warps = torch.from_numpy(np.stack([warp for _, warp, _ in drawn]))
    chosen = torch.from_numpy(pairs[[pair for pair, _, _ in drawn]]).float() / 255
    moved = F.grid_sample(chosen, F.affine_grid(warps, list(chosen.shape), align_corners=False), padding_mode="zeros", align_corners=False)
    gain, gamma = torch.from_numpy(np.array([light for _, _, light in drawn], np.float32)).T[..., None, None, None]
    return {"frames": (moved[:, :1].pow(gamma) * gain).clamp(max=1) * 2 - 1, "masks": moved[:, 1]}


def _loss(model: Segmenter, batch: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """Cross-entropy a pixel plus one minus soft Dice a frame (Milletari et al. 2016, in its form without squares); masks are shares, so both take soft truths."""
    logits = model(batch["frames"])
    entropy = F.binary_cross_entropy_with_logits(logits, batch["masks"])
    overlap = soft_dice(logits.sigmoid(), batch["masks"]).mean()
    return {"loss": entropy + 1 - overlap, "cross_entropy": entropy, "dice": overlap}


def soft_dice(one: Tensor, other: Tensor) -> Tensor:
    """Dice (N,) = 2 sum(p q) / sum(p + q) of masks (N, S, S) in [0, 1]."""
    return (2 * (one * other).sum((1, 2)) + 1) / ((one + other).sum((1, 2)) + 1)


def _draw(count: int, seed: int, sample: int) -> tuple[int, np.ndarray, tuple[float, float]]:
    """Sample number `sample` of a training on `count` frames: the frame, its 2x3 warp and its (gain, gamma). Each epoch shows every frame once, in an order of its own.

    What is varied: position, size, proportions, tilt, brightness, contrast.
    """
    epoch, place = divmod(sample, count)
    pair = int(numpy_rng(seed, "segmenter order", epoch).permutation(count)[place])
    rng = numpy_rng(seed, "segmenter sample", sample)
    shift = rng.uniform(-0.15, 0.15, 2)  # in units of half the picture
    angle, zoom, stretch = rng.uniform(-0.25, 0.25), np.exp(rng.uniform(-0.2, 0.2)), np.exp(rng.uniform(-0.08, 0.08))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    warp = np.concatenate([zoom * turn @ np.diag([stretch, 1 / stretch]), shift[:, None]], 1).astype(np.float32)
    return pair, warp, (float(np.exp(rng.uniform(-0.3, 0.3))), float(np.exp(rng.uniform(-0.25, 0.25))))


@dataclass(frozen=True)
class Measured:
    """What a segmenter measures on clips.

    `clips` has one row a clip: name, edv, esv (mL; NaN where the size of a pixel is unknown), and the columns of `Measurement`, its voxels being pixels^3 at the segmenter's size. `tracings` is what
    `write_tracings` wants: end diastole and end systole of each clip in pixels of its video; a clip without a beat is not in it.
    """

    clips: pd.DataFrame
    tracings: pd.DataFrame


def measure_clip(segmenter: Segmenter, clip: np.ndarray, fps: float) -> tuple[Measurement, Ventricle]:
    """The measurement and the curves of a clip uint8 (T, H, W), lengths in pixels at the segmenter's size."""
    curves = ventricle(segment(segmenter, clip), fps)
    return measure(curves), curves


def measure_clips(segmenter: Segmenter, paths: Sequence[Path], title: str, ml: float = float("nan")) -> Measured:
    """Measures videos, on a GPU where there is one. `ml` is what `ml_per_voxel` found for the segmenter's size. Raises InputError when a video cannot be read."""
    segmenter.to("cuda" if torch.cuda.is_available() else "cpu")
    rows, traced = [], []

    def measured(path: Path) -> tuple[Measurement, dict[int, np.ndarray]]:
        clip, fps = read_clip(path)
        found, curves = measure_clip(segmenter, clip, fps)
        scale, shift = (np.tile(values, 2) for values in square_transform(*clip.shape[1:], segmenter.config.size))
        return found, {frame: (curves.lines[frame] - shift) / scale for frame in (found.ed_frame, found.es_frame) if found.ed_frame != found.es_frame}

    with progress(title, len(paths)) as advance:
        for path, (found, lines) in zip(paths, each(measured, paths, segmenter), strict=True):
            rows.append({"name": path.stem, "edv": ml * found.edv_voxels, "esv": ml * found.esv_voxels} | found.as_dict())
            if lines:
                traced.append((path.stem, lines))
            advance()
    columns = ["name", "edv", "esv", *(field.name for field in fields(Measurement))]
    return Measured(pd.DataFrame(rows, columns=columns).astype({"ed_frame": "Int64", "es_frame": "Int64"}), tracing_rows(traced))
