"""Training the segmentation on a few phantom frames, and measuring toy hearts with one that needs none."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from echosynth.cohort.discs import disc_volume
from echosynth.cohort.echonet import read_cohort, write_filelist, write_tracings
from echosynth.cohort.phantom import simulate_clip
from echosynth.cohort.tracings import TracedClip, TracedFrame, read_tracings, traced_mask
from echosynth.cohort.video import read_clip, write_clip
from echosynth.errors import InputError
from echosynth.metrics.ventricle import dice
from echosynth.networks.segmenter import Segmenter, SegmenterConfig, segment
from echosynth.training import segmenter as training_module
from echosynth.training.fit import Training
from echosynth.training.segmenter import TracedFrames, _batch, _draw, measure_clips, tidy, train_segmenter
from toy_hearts import beating_ellipse

SMALL = SegmenterConfig(size=64, width=16)
SHORT = Training(steps=6, batch_size=4, learning_rate=1e-3, checkpoint_every=3, log_every=1)


@pytest.fixture(scope="module")
def traced(tmp_path_factory) -> list[tuple[Path, TracedClip]]:
    """Clips of two frames, each with the outline of the heart in it."""
    folder, found = tmp_path_factory.mktemp("traced"), []
    for patient in range(24):
        clip = simulate_clip(12, patient, 0, "alder", frames=2)
        path = folder / f"{patient}.avi"
        write_clip(path, clip.frames(), clip.site.fps)
        es, ed = (TracedFrame(frame, contour, None) for frame, contour in enumerate(clip.contours()))
        found.append((path, TracedClip(path.stem, 112, 112, es, ed)))
    return found


def mean_dice(segmenter: Segmenter, clips: list[tuple[Path, TracedClip]]) -> float:
    size = segmenter.config.size
    return float(np.mean([dice(segment(segmenter, read_clip(path)[0])[clip.ed.frame], traced_mask(clip.ed, 112, 112, size)) for path, clip in clips]))


def test_it_learns_to_find_ventricles_that_it_never_saw(traced, tmp_path):
    train, test = traced[:18], traced[18:]
    untrained = train_segmenter(train, SMALL, Training(steps=0, batch_size=8, learning_rate=1e-3), tmp_path / "untrained", 0, "test")
    trained = train_segmenter(train, SMALL, Training(steps=100, batch_size=8, learning_rate=4e-3, ema=0.9), tmp_path / "trained", 0, "test")
    assert mean_dice(untrained, test) < 0.4 and mean_dice(trained, test) > 0.8
    rows = [json.loads(line) for line in (tmp_path / "trained" / "training.jsonl").read_text().splitlines()]
    assert rows[-1]["dice"] > rows[0]["dice"] + 0.3 and rows[-1]["cross_entropy"] < rows[0]["cross_entropy"]


def test_an_interrupted_training_ends_in_the_same_bytes(traced, tmp_path, monkeypatch):
    def weights(name: str) -> bytes:
        return (tmp_path / name / "model.safetensors").read_bytes()

    train_segmenter(traced[:4], SMALL, SHORT, tmp_path / "whole", 0, "test")
    train_segmenter(traced[:4], SMALL, SHORT, tmp_path / "other", 1, "test")
    with monkeypatch.context() as patch:
        loss, calls = training_module._loss, iter(range(5))

        def broken(*arguments) -> dict[str, Tensor]:
            if next(calls, None) is None:
                raise ZeroDivisionError
            return loss(*arguments)

        patch.setattr(training_module, "_loss", broken)
        with pytest.raises(ZeroDivisionError):
            train_segmenter(traced[:4], SMALL, SHORT, tmp_path / "parts", 0, "test")
    train_segmenter(traced[:4], SMALL, SHORT, tmp_path / "parts", 0, "test")
    assert weights("parts") == weights("whole") != weights("other")


def test_a_finished_training_is_not_repeated_and_tidied(traced, tmp_path):
    one = train_segmenter(traced[:3], SMALL, SHORT, tmp_path, 0, "test").state_dict()
    log = (tmp_path / "training.jsonl").read_text()
    again = train_segmenter([(tmp_path / "none.avi", traced[0][1])], SMALL, SHORT, tmp_path, 0, "test").state_dict()
    assert all(torch.equal(value, again[key]) for key, value in one.items()) and (tmp_path / "training.jsonl").read_text() == log
    tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors", "training.jsonl"]


def test_frames_are_shrunk_once(traced, tmp_path):
    TracedFrames.write(traced[:3], 56, tmp_path, "test")
    pairs = TracedFrames.open(tmp_path).pairs
    assert pairs.shape == (6, 2, 56, 56)
    frames, clip = read_clip(traced[1][0])[0], traced[1][1]
    assert (pairs[2, 0] == np.rint(frames[clip.es.frame].reshape(56, 2, 56, 2).astype(float).mean((1, 3)))).mean() > 0.99
    assert np.abs(pairs[3, 1] / 255 - traced_mask(clip.ed, 112, 112, 56)).max() < 0.002
    missing = [(tmp_path / "none.avi", clip)]
    TracedFrames.write(missing, 56, tmp_path, "test")  # already there: no video is opened
    tidy(tmp_path)
    with pytest.raises(InputError, match=r"none\.avi"):
        TracedFrames.write(missing, 56, tmp_path, "test")
    assert not list(tmp_path.iterdir())


def test_an_epoch_shows_every_frame_once_and_a_sample_depends_on_its_number_alone():
    drawn = [_draw(6, 0, sample) for sample in range(12)]
    assert sorted(pair for pair, *_ in drawn[:6]) == sorted(pair for pair, *_ in drawn[6:]) == list(range(6))
    pair, warp, light = _draw(6, 0, 7)
    assert pair == drawn[7][0] and (warp == drawn[7][1]).all() and light == drawn[7][2] and light != drawn[8][2]
    pairs = np.random.default_rng(0).integers(0, 256, (6, 2, 32, 32), dtype=np.uint8)
    whole, part = _batch(pairs, 0, range(4, 12)), _batch(pairs, 0, range(6, 9))
    assert all(torch.equal(whole[key][2:5], part[key]) for key in ("frames", "masks"))


def test_a_mask_moves_with_its_frame(traced, tmp_path):
    TracedFrames.write(traced[:4], 64, tmp_path, "test")
    pairs = TracedFrames.open(tmp_path).pairs.copy()
    pairs[:, 0] = pairs[:, 1]
    found = _batch(pairs, 3, range(8))
    frames = (found["frames"][:, 0] + 1) / 2
    assert frames.shape == found["masks"].shape == (8, 64, 64) and found["frames"].min() >= -1 and found["frames"].max() <= 1
    assert ((frames > 1e-6) == (found["masks"] > 1e-6)).float().mean() > 0.999
    still = torch.from_numpy(pairs[[_draw(8, 3, sample)[0] for sample in range(8)], 1]).float() / 255
    assert (found["masks"] - still).abs().mean((1, 2)).min() > 0.005  # and it does move
    assert 0.7 < (found["masks"].sum() / still.sum()) < 1.4


class DarkInside(nn.Module):
    """Finds what is darker than 80 grey levels: the toy hearts' cavity."""

    config = SegmenterConfig(size=112)

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(80 / 127.5 - 1))

    def forward(self, frames: Tensor) -> Tensor:
        return 30 * (self.level - frames[:, 0])


def test_clips_are_measured_and_their_tracings_are_a_cohorts(tmp_path):
    rng, efs = np.random.default_rng(0), [25.0, 55.0, 70.0]
    for number, ef in enumerate(efs):
        clip = beating_ellipse(ef, rng, frames=80, fps=40.0, size=112, noise=10, heart_rate=70)
        wide = np.pad(clip, ((0, 0), (56, 56), (20, 92)), constant_values=200)  # 224 x 224: shrunk to half its size
        write_clip(tmp_path / "Videos" / f"{number}.avi", np.maximum(wide, 25), 40.0)
    write_clip(tmp_path / "Videos" / "white.avi", np.full((20, 112, 112), 255, np.uint8), 40.0)
    names = ["0", "1", "2", "white"]
    found = measure_clips(DarkInside(), [tmp_path / "Videos" / f"{name}.avi" for name in names], "test", ml=0.002)
    table = found.clips
    assert list(table["name"]) == names and str(table["es_frame"].dtype) == "Int64"
    assert table["ef"][:3].to_numpy() == pytest.approx(efs, abs=3.5)  # of hearts of 20 pixels with blurred edges
    assert (100 * (1 - table["esv"] / table["edv"]))[:3].to_numpy() == pytest.approx(table["ef"][:3])
    assert table["edv"][:3].to_numpy() == pytest.approx(0.002 * table["edv_voxels"][:3])
    assert table["beat_seconds"][:3].to_numpy() == pytest.approx([60 / 70] * 3, rel=0.05)
    assert table.iloc[3][["ef", "edv", "ed_frame"]].isna().all() and table["beats"][3] == 0

    size = dict.fromkeys(("height", "width"), 224)
    clips = table[:3].assign(split="TRAIN", fps=40.0, frames=80, **size)
    write_filelist(tmp_path, clips)
    write_tracings(tmp_path, found.tracings)
    tracings = read_tracings(read_cohort(tmp_path, splits=False))
    assert [clip.name for clip in tracings.clips] == names[:3]
    for clip, row in zip(tracings.clips, table.itertuples(), strict=False):
        assert (clip.ed.frame, clip.es.frame) == (row.ed_frame, row.es_frame)
        assert disc_volume(clip.ed.lines) == pytest.approx(8 * row.edv_voxels, rel=0.05)  # pixels of the video are half as wide as the segmenter's
        inside = traced_mask(clip.ed, 224, 224, 224) > 0.5
        assert read_clip(tmp_path / "Videos" / f"{clip.name}.avi")[0][clip.ed.frame][inside].mean() < 50
    assert pd.isna(measure_clips(DarkInside(), [tmp_path / "Videos" / "0.avi"], "test").clips["edv"][0])
    assert len(measure_clips(DarkInside(), [], "test").clips) == 0
