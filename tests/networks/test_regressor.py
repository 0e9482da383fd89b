"""The EF regressor: shapes, windows over clips of any length, files."""

import numpy as np
import pytest
import torch

from echosynth.networks.regressor import Regressor, RegressorConfig, _plateau, predict_ef, window_indices, window_starts, windows
from toy_hearts import beating_ellipse

SMALL = RegressorConfig(size=32, width=8, features=6)


@pytest.fixture
def regressor():
    torch.manual_seed(0)
    return Regressor(SMALL).eval()


def test_shapes_and_range(regressor):
    clips = torch.rand(3, 32, 32, 32) * 2 - 1
    ef = regressor(clips)
    assert ef.shape == (3,) and ((ef > 0) & (ef < 1)).all()
    assert regressor.features(clips).shape == (3, 6)
    assert Regressor(RegressorConfig()).features(torch.zeros(1, 32, 56, 56)).shape == (1, 32)


def test_a_clip_reads_the_same_alone_and_in_a_batch(regressor):
    clips = torch.rand(4, 32, 32, 32) * 2 - 1
    torch.testing.assert_close(regressor(clips)[2:3], regressor(clips[2:3]), rtol=1e-5, atol=1e-5)


def test_every_weight_learns(regressor):
    regressor.train()(torch.rand(2, 32, 32, 32)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in regressor.parameters())


def test_a_frame_that_stands_out_is_no_end_diastole():
    beat = torch.cos(torch.linspace(0, 4 * torch.pi, 32)).view(1, 1, 32)
    stray = beat.clone()
    stray[..., 5] = 3.0
    assert _plateau(beat) > 0.9 and _plateau(stray) - _plateau(beat) < 0.6  # of the highest frame, 2
    assert _plateau(-beat) > 0.9 and torch.allclose(_plateau(-stray), _plateau(-beat), atol=0.05)


def test_window_indices():
    config = RegressorConfig(frames=4, fps=16.0)
    assert window_indices(0.0, config, 32.0, 100).tolist() == [0, 2, 4, 6]
    assert window_indices(0.5, config, 50.0, 100).tolist() == [25, 28, 31, 34]
    assert window_indices(0.0, config, 32.0, 4).tolist() == [0, 2, 2, 0]  # 0 1 2 3 2 1 0: past the end, back again
    assert window_indices(0.0, config, 16.0, 3).tolist() == [0, 1, 2, 1]
    assert window_indices(0.0, config, 16.0, 1).tolist() == [0, 0, 0, 0]
    assert window_indices(0.0, config, 16.0, 100, speed=2.0).tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize(("frames", "fps"), [(1, 30.0), (20, 50.0), (64, 32.0), (100, 50.0), (400, 50.0), (7, 15.5)])
def test_windows_cover_the_clip_and_stay_inside(frames, fps):
    config = RegressorConfig()
    starts = window_starts(config, fps, frames, most=9)
    seen = np.stack([window_indices(start, config, fps, frames) for start in starts])
    assert seen.min() == 0 and seen.max() <= frames - 1
    if frames / fps > 2:
        last = seen[:, -1].max()
        assert (frames - 1 - last) / fps < 1 / fps + 1e-9
        edges = starts[1:] - starts[:-1]
        assert (edges <= config.frames / config.fps + 1e-9).all()


def test_windows_are_the_frames_shrunk():
    clip = np.random.default_rng(0).integers(0, 256, (66, 64, 64), dtype=np.uint8)
    found = windows(clip, 32.0, SMALL)
    assert found.shape == (2, 32, 32, 32) and windows(clip[:64], 32.0, SMALL).shape == (1, 32, 32, 32)
    assert found[0, 3] == pytest.approx(np.rint(clip[6].reshape(32, 2, 32, 2).mean((1, 3))) / 127.5 - 1, abs=0.01)


@pytest.mark.parametrize("shape", [(1, 112, 112), (5, 112, 112), (64, 112, 112), (40, 90, 120)])
def test_any_clip_is_read_in_percent_and_always_the_same(regressor, shape):
    clip = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    ef = predict_ef(regressor, clip, 32.0)
    assert 0 < ef < 100 and predict_ef(regressor, clip, 32.0) == ef


def test_saved_and_opened_it_reads_the_same(regressor, tmp_path):
    clip = beating_ellipse(60, np.random.default_rng(0))
    regressor.save_pretrained(tmp_path)
    assert predict_ef(Regressor.from_pretrained(tmp_path), clip, 32.0) == predict_ef(regressor, clip, 32.0)
