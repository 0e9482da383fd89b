"""R(2+1)D-18 as the study's regressor: which clips it sees, and that it trains and starts as it should."""

import numpy as np
import pytest
import torch

from echosynth.cohort.video import write_clip
from echosynth.errors import InputError
from echosynth.networks.kinds import kind_of
from echosynth.networks.paper_config import PaperRegressorConfig
from echosynth.networks.regressor import predict_ef
from echosynth.networks.resnet import PaperRegressor, R2Plus1D18
from echosynth.training.fit import Training
from echosynth.training.paper_regressor import draw, standardise, start_from
from echosynth.training.regressor import train_regressor

TINY = PaperRegressorConfig(size=16, frames=4, period=2, pad=2)


def counting(frames: int) -> np.ndarray:
    """Frame k is grey k all over."""
    return np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None], (frames, 16, 16)).copy()


def grey(clips: torch.Tensor) -> list:
    return ((clips + 1) * 127.5).round()[..., 8, 8].tolist()


def test_every_clip_of_a_video_is_read_and_a_short_one_is_filled_up():
    model = PaperRegressor(TINY)
    assert grey(model.windows(counting(9), 50.0)) == [[0, 2, 4, 6], [1, 3, 5, 7], [2, 4, 6, 8]]
    assert grey(model.windows(counting(9), 50.0, most=2)) == [[0, 2, 4, 6], [2, 4, 6, 8]]
    model.mean.fill_(100 / 127.5 - 1)
    assert grey(model.windows(counting(5), 50.0)) == [[0, 2, 4, 100]]
    assert torch.equal(model._channels(model.windows(counting(5), 50.0))[:, :, 3], torch.zeros(1, 3, 16, 16))


def test_grey_levels_are_standardised_over_the_training_clips():
    model, videos = PaperRegressor(TINY), [np.full((6, 16, 16), 50, np.uint8), np.full((2, 16, 16), 150, np.uint8)]
    standardise(model, videos)
    pixels = np.concatenate([video.ravel() for video in videos]) / 127.5 - 1
    assert float(model.mean) == pytest.approx(pixels.mean()) and float(model.sd) == pytest.approx(pixels.std())


def test_a_training_clip_is_moved_and_nothing_else():
    model = PaperRegressor(TINY)
    model.mean.fill_(-1)
    video = np.zeros((12, 16, 16), np.uint8)
    video[:, 8, 8] = np.arange(101, 113)
    seen = set()
    for k in range(60):
        clip = ((draw(model, video, np.random.default_rng(k)) + 1) * 127.5).round()
        (row, column), values = divmod(int(clip[0].argmax()), 16), clip.flatten(1).amax(1)
        assert torch.equal(values, values[0] + torch.arange(0.0, 8, 2)) and abs(row - 8) <= 2 and abs(column - 8) <= 2
        seen.add((int(values[0]), row, column))
    assert len(seen) > 30 and {start for start, _, _ in seen} == set(range(101, 107))


def test_it_trains_with_sgd_and_goes_on_where_it_stopped(tmp_path):
    rng, videos = np.random.default_rng(0), []
    for k in range(4):
        write_clip(tmp_path / f"{k}.avi", rng.integers(0, 255, (10, 16, 16), dtype=np.uint8), 50.0)
        videos.append((tmp_path / f"{k}.avi", 30.0 + 10 * k))
    training = Training(steps=2, batch_size=2, learning_rate=1e-4, optimizer="sgd", ema=0.0)
    model = train_regressor(videos, TINY, training, tmp_path / "a", 0, "test")
    assert isinstance(model, kind_of(TINY)) and float(model.sd) > 0.1 and (tmp_path / "a" / "training.jsonl").read_text().count("mae") == 1
    again = train_regressor(videos, TINY, training, tmp_path / "a", 0, "test")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    assert 0 < predict_ef(again, rng.integers(0, 255, (20, 16, 16), dtype=np.uint8), 50.0) < 100


def test_it_starts_from_weights_of_another_task(tmp_path):
    model, other = PaperRegressor(TINY), R2Plus1D18(400)
    torch.save(other.state_dict(), tmp_path / "kinetics.pth")
    start_from(model, tmp_path / "kinetics.pth")
    assert torch.equal(model.model.stem[0].weight, other.stem[0].weight) and model.model.fc.bias.item() == pytest.approx(55.6)
    torch.save({"stem.0.weight": torch.zeros(1)}, tmp_path / "wrong.pth")
    with pytest.raises(InputError, match=r"wrong\.pth: weight 'stem.0.weight' is of another shape"):
        start_from(model, tmp_path / "wrong.pth")
