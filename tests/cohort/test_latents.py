"""The store of latents and the resampling of frames in time."""

import numpy as np
import pandas as pd
import pytest
import torch

from echosynth.cohort.latents import LatentStore, frame_indices, write_latents
from echosynth.errors import InputError

LENGTHS = {"a": 5, "b": 9, "c": 1, "d": 4, "e": 7}


def clips() -> pd.DataFrame:
    names = list(LENGTHS)
    return pd.DataFrame(
        {
            "name": names,
            "patient": names,
            "split": "TRAIN",
            "ef": [50.0, 60, 70, 20, 30],
            "esv": np.nan,
            "edv": np.nan,
            "fps": 50.0,
            "frames": list(LENGTHS.values()),
            "height": 8,
            "width": 8,
        }
    )


def latents(name: str) -> torch.Tensor:
    """Element (t, c, y, x) of clip k is k + t / 16 + c / 64: exact in float16."""
    k = list(LENGTHS).index(name)
    t, c = torch.arange(LENGTHS[name])[:, None], torch.arange(2)
    return (k + t / 16 + c / 64)[..., None, None].expand(-1, -1, 3, 3)


def test_windows_are_what_was_written(tmp_path):
    write_latents(tmp_path, clips(), latents, shard_size=2)
    store = LatentStore.open(tmp_path)
    assert store.shape == (2, 3, 3) and len(store.index) == 5
    assert store.index["shard"].tolist() == [0, 0, 1, 1, 2] and store.index["frames"].tolist() == list(LENGTHS.values())
    assert list(store.index.columns) == ["name", "patient", "split", "ef", "fps", "frames", "shard"]
    window = store.window(1, np.array([3, 4, 8, 4]))
    assert window.dtype == torch.float32 and torch.equal(window, latents("b")[[3, 4, 8, 4]].float())
    assert torch.equal(store.window(2, np.zeros(3, int)), latents("c").expand(3, -1, -1, -1))


def test_interrupted_writing_resumes_with_the_next_clip(tmp_path):
    asked = []

    def encode(name: str) -> torch.Tensor:
        asked.append(name)
        if name == "d" and asked.count("d") == 1:
            raise ZeroDivisionError
        return latents(name)

    with pytest.raises(ZeroDivisionError):
        write_latents(tmp_path, clips(), encode, shard_size=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shard-00000.safetensors", "unfinished.safetensors"]
    with pytest.raises(InputError, match="not a readable store of latents"):
        LatentStore.open(tmp_path)
    write_latents(tmp_path, clips(), encode, shard_size=2)
    assert asked == ["a", "b", "c", "d", "d", "e"] and not (tmp_path / "unfinished.safetensors").exists()
    write_latents(tmp_path / "whole", clips(), latents, shard_size=2)
    for path in tmp_path.glob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()


@pytest.mark.parametrize("spoil", ["missing shard", "cut shard", "bytes", "lengths", "columns"])
def test_a_store_that_was_tampered_with(tmp_path, spoil):
    write_latents(tmp_path, clips(), latents, shard_size=2)
    shard, index = tmp_path / "shard-00001.safetensors", tmp_path / "index.parquet"
    if spoil == "missing shard":
        shard.unlink()
    elif spoil == "cut shard":
        shard.write_bytes(shard.read_bytes()[:-10])
    elif spoil == "bytes":
        index.write_bytes(b"not a table")
    else:
        table = pd.read_parquet(index)
        (table.assign(frames=3) if spoil == "lengths" else table.drop(columns="fps")).to_parquet(index)
    with pytest.raises(InputError, match=r"not a readable store of latents .*delete the folder and run the stage again"):
        LatentStore.open(tmp_path)


def test_frame_indices_by_hand():
    """At 50 fps the moments 0, 1/32, 2/32, 3/32, 4/32 s are frames 0, 1.5625, 3.125, 4.6875, 6.25."""
    indices, valid = frame_indices(0.0, 5, 50, 32, 6)
    assert indices.tolist() == [0, 2, 3, 5, 5] and valid.tolist() == [True, True, True, True, False]
    indices, valid = frame_indices(1.0, 3, 30, 30, 100)
    assert indices.tolist() == [30, 31, 32] and valid.all()
    indices, _ = frame_indices(0.1, 4, 25, 50, 100)  # 2.5, 3, 3.5, 4
    assert indices.tolist() == [3, 3, 4, 4]


def test_frame_indices_of_equal_rates_leave_out_no_frame():
    for fps in (24, 29.97, 32, 50, 59.94):
        for first in (0, 1, 7, 333):
            indices, valid = frame_indices(first / fps, 500, fps, fps, 1000)
            assert np.array_equal(indices, np.arange(first, first + 500)) and valid.all()


def test_joined_stores_are_read_one_after_the_other(tmp_path):
    for name in ("one", "two"):
        write_latents(tmp_path / name, clips(), latents if name == "one" else lambda clip: -latents(clip), shard_size=2)
    joined = LatentStore.join([LatentStore.open(tmp_path / name) for name in ("one", "two")])
    assert len(joined.index) == 10 and joined.index["name"].tolist() == 2 * list(LENGTHS) and joined.index.index.tolist() == list(range(10))
    for row in range(5):
        frames = np.arange(list(LENGTHS.values())[row])
        assert torch.equal(joined.window(row, frames), -joined.window(row + 5, frames)) and torch.equal(joined.window(row, frames), latents(list(LENGTHS)[row]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_latents_that_are_not_finite_are_refused_by_the_name_of_the_clip(tmp_path, value):
    second = list(LENGTHS)[1]
    with pytest.raises(InputError, match=f"latents of clip {second} are not finite"):
        write_latents(tmp_path, clips(), lambda name: latents(name) * (value if name == second else 1))
    assert not (tmp_path / "index.parquet").exists()


def test_a_shard_is_checked_when_its_first_latents_are_read(tmp_path):
    write_latents(tmp_path, clips(), latents, shard_size=2)
    checked = []
    store = LatentStore.open(tmp_path, lambda path: checked.append(path.name))
    assert checked == []
    for row in (3, 2, 3, 0):
        store.window(row, np.arange(1))
    assert checked == ["shard-00001.safetensors", "shard-00000.safetensors"]
