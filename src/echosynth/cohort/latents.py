"""The store of latents: every clip encoded once, read in windows without opening a video.

shard-00000.safetensors and on hold one float16 tensor (T, C, h, w) a clip; index.parquet says which clip is where. The index appears last.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from echosynth.errors import InputError
from echosynth.files import atomic_file
from echosynth.progress import progress

_SHARD = 256  # clips in a file
UNFINISHED = "unfinished.safetensors"
_COLUMNS = ["name", "patient", "split", "ef", "fps", "frames", "shard"]


class LatentStore:
    """The latents of a cohort on disk.

    `index` has one row a clip, 0..n-1 in the cohort's order: name, patient, split, ef (percent), fps, frames, shard. `shape` is (C, h, w).
    """

    def __init__(self, index: pd.DataFrame, shards: dict[int, "_Shard"], shape: tuple[int, int, int]):
        self.index, self.shape, self._shards = index, shape, shards
        self._where = list(zip(index["shard"], index["name"], strict=True))

    @classmethod
    def open(cls, folder: Path, check: Callable[[Path], None] | None = None) -> "LatentStore":
        """Opens what `write_latents` left. `check` is called with the path of a shard before the first latents of it are read.

        Raises InputError when a file is missing, broken, or does not agree with the index.
        """
        try:
            index = pd.read_parquet(folder / "index.parquet")[_COLUMNS]
            shards = {int(number): _Shard(shard_path(folder, number), check) for number in index["shard"].unique()}
            views = [shards[shard].file.get_slice(name) for shard, name in zip(index["shard"], index["name"], strict=True)]
            shapes = {tuple(view.get_shape()[1:]) for view in views}
            if len(shapes) != 1 or len(next(iter(shapes))) != 3 or any(view.get_dtype() != "F16" for view in views):
                raise ValueError("its clips have different shapes")
            if [view.get_shape()[0] for view in views] != index["frames"].tolist():
                raise ValueError("index and shards disagree about the number of frames")
        except (OSError, SafetensorError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
            for path in sorted(folder.glob("shard-*")) if check is not None else ():
                check(path)  # which of them is damaged
            raise InputError(f"{folder}: not a readable store of latents ({str(error).splitlines()[0]}); delete the folder and run the stage again") from error
        return cls(index, shards, shapes.pop())

    @classmethod
    def join(cls, stores: list["LatentStore"]) -> "LatentStore":
        """The clips of several stores, one after the other. All must have one shape."""
        assert len({store.shape for store in stores}) == 1
        indices, shards, offset = [], {}, 0
        for store in stores:
            indices.append(store.index.assign(shard=store.index["shard"] + offset))
            shards |= {number + offset: file for number, file in store._shards.items()}
            offset += max(store._shards) + 1
        return cls(pd.concat(indices, ignore_index=True), shards, stores[0].shape)

    def window(self, row: int, frames: np.ndarray) -> torch.Tensor:
        """The frames (indices, in any order) of the clip in that row of the index: float32 (len(frames), C, h, w)."""
        shard, name = self._where[row]
        first, last = int(frames.min()), int(frames.max())
        part = self._shards[shard].checked().get_slice(name)[first : last + 1]
        return part[torch.from_numpy(frames - first)].float()


class _Shard:
    """One file of the store, whose bytes are checked when the first of them are used."""

    def __init__(self, path: Path, check: Callable[[Path], None] | None):
        self.path, self.file, self._check = path, safe_open(path, "pt"), check

    def checked(self) -> safe_open:
        if self._check is not None:
            self._check(self.path)
            self._check = None
        return self.file


def write_latents(folder: Path, clips: pd.DataFrame, encode: Callable[[str], torch.Tensor], over: Callable = map, title: str = "latents", shard_size: int = _SHARD) -> None:
    """Writes the store of `clips` (the columns of `Cohort.clips`); `encode(name)` gives (T, C, h, w), and `over(encode, names)` encodes all of them.

    What an interrupted run has encoded is kept: its whole shards, and the clips of the one that it was at (`unfinished.safetensors`).

    Raises:
        InputError: Naming a clip whose latents are not finite.
    """
    parts = [clips[first : first + shard_size] for first in range(0, len(clips), shard_size)]
    kept = [number for number in range(len(parts)) if shard_path(folder, number).exists()]
    with progress(title, len(clips), sum(len(parts[number]) for number in kept)) as advance:
        for number, part in enumerate(parts):
            if number in kept:
                continue
            latents = _unfinished(folder, part["name"])
            advance(len(latents))
            left = [name for name in part["name"] if name not in latents]
            try:
                for name, encoded in zip(left, over(encode, left), strict=True):
                    if not encoded.isfinite().all():
                        raise InputError(f"{folder}: the latents of clip {name} are not finite; look at the clip, or make the stage autoencoder again")
                    latents[name] = encoded.to(torch.float16).contiguous()
                    advance()
            except BaseException:
                if latents:
                    with atomic_file(folder / UNFINISHED) as path:
                        save_file(latents, path)
                raise
            with atomic_file(shard_path(folder, number)) as path:
                save_file({name: latents[name] for name in part["name"]}, path)
            (folder / UNFINISHED).unlink(missing_ok=True)
    index = clips.reset_index(drop=True).assign(shard=np.arange(len(clips)) // shard_size)
    lengths = []
    for number, part in enumerate(parts):
        with safe_open(shard_path(folder, number), "pt") as file:
            lengths += [file.get_slice(name).get_shape()[0] for name in part["name"]]
    with atomic_file(folder / "index.parquet") as path:
        index.assign(frames=lengths)[_COLUMNS].to_parquet(path, index=False)


def _unfinished(folder: Path, names: pd.Series) -> dict[str, torch.Tensor]:
    """Those of the clips that an interrupted run has encoded."""
    try:
        with safe_open(folder / UNFINISHED, "pt") as file:
            return {name: file.get_tensor(name) for name in names if name in set(file.keys())}
    except (OSError, SafetensorError):  # none there, or cut off: they are encoded again
        return {}


def frame_indices(start: float, count: int, source_fps: float, fps: float, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """The frames of a clip (`frames` frames at `source_fps`) that are nearest to `count` moments at `fps`, the first at `start` seconds.

    Returns indices (count,), those past the end clamped to the last frame, and a mask (count,) that is False for them.
    """
    moments = start + np.arange(count) / fps
    indices = np.floor(moments * source_fps + 0.5).astype(np.int64)
    return np.clip(indices, 0, frames - 1), (indices >= 0) & (indices < frames)


def shard_path(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05d}.safetensors"
