"""Training the EF regressor on toy hearts."""

import json

import numpy as np
import pytest
import torch

from echosynth.cohort.video import write_clip
from echosynth.errors import InputError
from echosynth.metrics.ejection import agreement
from echosynth.networks.regressor import RegressorConfig
from echosynth.training.fit import Training
from echosynth.training.regressor import SmallClips, _draw, read_ef, tidy, train_regressor
from toy_hearts import beating_ellipse

SMALL = RegressorConfig(size=32, width=16, features=16, dropout=0.0)


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("hearts"), np.random.default_rng(0)
    videos = []
    for number, ef in enumerate(np.linspace(15, 80, 60)):
        fps = 32.0 if number % 2 else 50.0
        write_clip(folder / f"{number}.avi", beating_ellipse(ef, rng, frames=int(2 * fps), fps=fps, size=64, noise=20), fps)
        videos.append((folder / f"{number}.avi", float(ef)))
    return videos


def test_it_learns_to_read_hearts_that_it_never_saw(hearts, tmp_path):
    order = np.random.default_rng(1).permutation(len(hearts))
    train, test = [hearts[i] for i in order[:48]], [hearts[i] for i in order[48:]]
    regressor = train_regressor(train, SMALL, Training(steps=120, batch_size=8, learning_rate=4e-3), tmp_path, 0, "test")
    assert agreement([ef for _, ef in test], read_ef(regressor, [path for path, _ in test], "test")).r2 > 0.7


def test_same_seed_same_weights_and_a_finished_training_is_not_repeated(hearts, tmp_path):
    training = Training(steps=3, batch_size=4, learning_rate=1e-3)
    one, again, other = (train_regressor(hearts[:8], SMALL, training, tmp_path / name, seed, "test").state_dict() for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert all(torch.equal(value, again[key]) for key, value in one.items())
    assert not all(torch.equal(value, other[key]) for key, value in one.items())
    log = (tmp_path / "a" / "training.jsonl").read_text()
    opened = train_regressor(hearts[:8], SMALL, training, tmp_path / "a", 0, "test").state_dict()
    assert all(torch.equal(value, opened[key]) for key, value in one.items()) and (tmp_path / "a" / "training.jsonl").read_text() == log
    assert json.loads(log.splitlines()[-1])["step"] == 3
    tidy(tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["config.json", "model.safetensors", "training.jsonl"]


def test_clips_are_shrunk_once(hearts, tmp_path):
    paths = [path for path, _ in hearts[:3]]
    SmallClips.write(paths, 32, tmp_path, "test")
    clips = SmallClips.open(tmp_path)
    assert clips.lengths.tolist() == [100, 64, 100] and clips.firsts.tolist() == [0, 100, 164] and clips.fps.tolist() == [50, 32, 50]
    assert clips.frames.shape == (264, 32, 32)
    SmallClips.write([tmp_path / "none.avi"], 32, tmp_path, "test")  # already there: no video is opened
    tidy(tmp_path)
    with pytest.raises(InputError, match=r"none\.avi"):
        SmallClips.write([tmp_path / "none.avi"], 32, tmp_path, "test")
    assert not list(tmp_path.iterdir())


def test_an_epoch_shows_every_clip_once_and_a_sample_depends_on_its_number_alone(hearts, tmp_path):
    SmallClips.write([path for path, _ in hearts[:6]], 32, tmp_path, "test")
    clips = SmallClips.open(tmp_path)
    drawn = [_draw(clips, SMALL, 0, sample) for sample in range(12)]
    assert sorted(clip for clip, *_ in drawn[:6]) == sorted(clip for clip, *_ in drawn[6:]) == list(range(6))
    clip, frames, warp, light = _draw(clips, SMALL, 0, 7)
    assert clip == drawn[7][0] and light == drawn[7][3] and (warp == drawn[7][2]).all() and (frames == drawn[7][1]).all()
    assert frames.shape == (32, 32, 32)
