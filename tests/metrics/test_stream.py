"""Features of videos on disk, a batch at a time, and our own regressor as an encoder."""

import hashlib

import numpy as np
import pytest
import torch

from echosynth.cohort.video import read_clip, write_clip
from echosynth.errors import InputError
from echosynth.metrics.encoders import InDomain
from echosynth.metrics.frechet import moments
from echosynth.metrics.sampling import Window, image_windows, video_windows
from echosynth.metrics.stream import BATCH_FRAMES, RunningMoments, feature_batches, feature_matrix
from echosynth.networks.regressor import Regressor, RegressorConfig
from toy_hearts import beating_ellipse


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    paths = [folder / f"{k}.avi" for k in range(5)]
    for k, path in enumerate(paths):
        write_clip(path, beating_ellipse(50, np.random.default_rng(k), frames=20 + 4 * k, size=64), 32.0 if k < 3 else 25.0)
    return paths


def windows_of(paths, frames=16, **options):
    clips = [read_clip(path) for path in paths]
    return video_windows([path.name for path in paths], np.array([len(clip) for clip, _ in clips]), np.array([fps for _, fps in clips]), frames, **options)


class Means:
    """Mean grey and frame rate; remembers the shapes that it was given."""

    name, sha256, dims = "means", "", 2

    def __init__(self):
        self.shapes = []

    def features(self, clips, fps):
        self.shapes.append(clips.shape)
        return np.stack([clips.mean((1, 2, 3)), np.full(len(clips), fps)], 1)


def test_features_are_those_of_the_windows(videos):
    windows, encoder = [*windows_of(videos, seed=2)][::-1], Means()  # the two frame rates in turn
    windows = [windows[k] for k in (0, 4, 1, 3, 2)]
    found = feature_matrix(encoder, videos, windows, "test", size=64)
    expected = [read_clip(videos[window.clip])[0][window.frames].mean() for window in windows]
    assert found[:, 0] == pytest.approx(expected) and found[:, 1].tolist() == [window.fps for window in windows] == [25, 32, 25, 32, 32]
    assert encoder.shapes == [(2, 16, 64, 64), (3, 16, 64, 64)]


def test_a_batch_is_all_there_is_in_memory(videos):
    windows, encoder = windows_of(videos[:1]) * 40, Means()
    assert sum(len(batch) for _, batch in feature_batches(encoder.features, videos, windows, "test", size=64)) == 40
    assert max(shape[0] * shape[1] for shape in encoder.shapes) == BATCH_FRAMES


def test_single_frames(videos):
    lengths = np.array([len(read_clip(path)[0]) for path in videos])
    windows = image_windows(lengths, np.full(5, 32.0), 50)
    found = feature_matrix(Means(), videos, windows, "test", size=64)[:, 0]
    assert found == pytest.approx([read_clip(videos[window.clip])[0][window.frames[0]].mean() for window in windows])


def test_a_missing_video_is_named(videos):
    with pytest.raises(InputError, match=r"absent\.avi"):
        feature_matrix(Means(), [videos[0].parent / "absent.avi"], [Window(0, np.arange(4), 32.0)], "test")


def test_running_moments_are_the_moments_of_the_whole():
    rng = np.random.default_rng(0)
    features = 1000 + rng.standard_normal((101, 7)) @ rng.standard_normal((7, 7))
    running = RunningMoments()
    for batch in np.split(features, [1, 30, 31, 90]):
        running.add(batch)
    mean, covariance = running.mean_and_covariance()
    expected = moments(features)
    assert running.count == 101 and mean == pytest.approx(expected[0], rel=1e-13) and np.abs(covariance - expected[1]).max() < 1e-9


def test_our_regressor_is_an_encoder(tmp_path, videos):
    torch.manual_seed(0)
    regressor = Regressor(RegressorConfig(size=32, width=8, features=6)).eval()
    regressor.save_pretrained(tmp_path)
    encoder = InDomain.open(tmp_path)
    windows = windows_of(videos)
    found = feature_matrix(encoder, videos, windows, "test", size=64)
    assert found.shape == (5, encoder.dims) == (5, 6) and found.dtype == np.float64

    @torch.inference_mode()
    def own(clip, fps):
        return regressor.features(regressor.windows(clip, fps, most=1))[0].numpy()

    for row, window in zip(found, windows, strict=True):
        assert row == pytest.approx(own(read_clip(videos[window.clip])[0][window.frames], window.fps), abs=1e-5)
    assert encoder.features(np.zeros((2, 16, 64, 64), np.uint8), 32.0).dtype == np.float64
    assert encoder.sha256 == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
