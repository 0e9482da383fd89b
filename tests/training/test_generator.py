"""The generators' samples, and that a tiny generator learns."""

import numpy as np
import pandas as pd
import pytest
import torch

from echosynth.cohort.latents import LatentStore, write_latents
from echosynth.generative.samplers import euler
from echosynth.networks.denoiser import Condition, Denoiser, DenoiserConfig
from echosynth.training.fit import Training
from echosynth.training.generator import Windows, balancing_weights, held_out_loss, measure_spread, train_generator

VIDEO = DenoiserConfig(channels=2, size=4, bands=(1, 1, 2, 4, 24), dim=16, depth=1, heads=1)
IMAGE = VIDEO.model_copy(update={"bands": (1,), "labels": 0})


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> LatentStore:
    """Latents that tell which clip (channel 0) and which frame (channel 1) they are. Clip 2 is shorter than the window, clip 3 has no EF."""
    folder = tmp_path_factory.mktemp("latents")
    frames = [150, 120, 20, 90, 100, 80]
    clips = pd.DataFrame(
        {
            "name": [f"clip{k}" for k in range(6)],
            "patient": list("abcdef"),
            "split": ["TRAIN"] * 4 + ["VAL"] * 2,
            "ef": [60.0, 30, 55, np.nan, 62, 41],
            "fps": 50.0,
            "frames": frames,
        }
    )

    def encode(name: str) -> torch.Tensor:
        k = int(name[-1])
        return torch.stack([torch.full((frames[k], 4, 4), float(k)), torch.arange(frames[k]).float()[:, None, None].expand(-1, 4, 4)], 1)

    write_latents(folder, clips, encode)
    return LatentStore.open(folder)


def test_batches_are_a_function_of_the_counter(store):
    windows = Windows(store, np.arange(4), VIDEO, seed=3)
    whole = windows.batch(range(10, 30))
    parts = [windows.batch(range(start, start + 5)) for start in (25, 20, 15, 10)][::-1]
    for key, value in whole.items():
        assert torch.equal(torch.nan_to_num(value, -1), torch.nan_to_num(torch.cat([part[key] for part in parts]), -1))
    assert not torch.equal(Windows(store, np.arange(4), VIDEO, seed=4).batch(range(10, 30))["data"], whole["data"])


def test_windows_hold_what_they_say(store):
    batch = Windows(store, np.arange(4), VIDEO, seed=0, fps=25.0).batch(range(600))
    clip, frame, known, weight = batch["data"][:, :, 0, 0, 0], batch["data"][:, :, 1, 0, 0], batch["mask"], batch["weight"]
    assert (clip == clip[:, :1]).all() and set(clip[:, 0].tolist()) == {0, 1, 2, 3}
    assert torch.equal(batch["anchor"][:, 0, 0, 0], clip[:, 0])
    # 50 fps at 25 fps: every second frame; clip 2 ends after ten of them and stands still.
    whole = clip[:, 0] != 2
    assert (frame[whole].diff(dim=1) == 2).all() and (weight[whole].bool() ^ known[whole]).all()
    assert (frame[~whole] == torch.arange(0, 64, 2).clamp(max=19)).all()
    assert not weight[~whole][:, 10:].any() and not known[~whole][:, 10:].any()
    assert (weight.sum(1) > 0).all() and not (weight.bool() & known).any()
    # Every label is the clip's own, or dropped.
    ef = torch.tensor([0.6, 0.3, 0.55, torch.nan])[clip[:, 0].long()]
    told = ~batch["labels"][:, 0].isnan()
    assert torch.equal(batch["labels"][told, 0], ef[told]) and 0.03 < 1 - told[clip[:, 0] != 3].float().mean() < 0.2
    # Starts and anchors range over the clip.
    assert frame[clip[:, 0] == 0][:, 0].max() > 80 and batch["anchor"][clip[:, 0] == 0][:, 1].max() > 140


def test_the_three_settings(store):
    batch = Windows(store, np.arange(2), VIDEO, seed=1).batch(range(1000))
    known = batch["mask"].sum(1)
    prefix = batch["mask"][:, 0] & (known > 1)
    placed = known == 1
    for share, part in ((0.65, known == 0), (0.1, placed), (0.25, prefix)):
        assert abs(part.float().mean() - share) < 0.05
    assert set(known[prefix].tolist()) == {4, 8, 12, 16}
    assert all(batch["mask"][i, : known[i]].all() for i in prefix.nonzero().flatten())
    where = batch["mask"][placed].float().argmax(1)
    assert torch.equal(batch["data"][placed][torch.arange(len(where)), where], batch["anchor"][placed])


def test_images_are_single_frames(store):
    batch = Windows(store, np.arange(4), IMAGE, seed=0, balance=0.0).batch(range(400))
    assert batch["data"].shape == (400, 1, 2, 4, 4) and batch["labels"].shape == (400, 0) and "anchor" not in batch
    assert np.allclose(np.bincount(batch["data"][:, 0, 0, 0, 0].int().numpy()) / 400, 0.25, atol=0.08)


def test_balancing_favours_rare_efs():
    ef = np.array([60.0] * 90 + [20.0] * 10 + [np.nan])
    assert np.allclose(balancing_weights(ef, 0.0), 1)
    half, whole = balancing_weights(ef, 0.5), balancing_weights(ef, 1.0)
    assert np.isclose(half[90] / half[0], 3) and half[-1] == 1 and np.isclose(half[:-1].mean(), 1)
    assert np.isclose(whole[90:100].sum(), whole[:90].sum())
    assert np.allclose(balancing_weights(np.array([np.nan, np.nan]), 0.5), 1)


def test_a_new_model_measures_how_strong_each_frequency_is(store):
    model = Denoiser(IMAGE)
    measure_spread(model, Windows(store, np.arange(4), IMAGE, seed=0))
    data = Windows(store, np.arange(4), IMAGE, seed=0).batch(range(128))["data"]
    torch.testing.assert_close(model.bands.spread, data.square().mean().sqrt()[None])
    model = Denoiser(VIDEO)
    measure_spread(model, Windows(store, np.array([0]), VIDEO, seed=0, fps=50.0))
    # A ramp over frames: strong at zero, then weaker and weaker, and nothing at even frequencies.
    assert model.bands.spread[0] > model.bands.spread[1] > 5 * model.bands.spread[3] and model.bands.spread[2::2].max() < 0.01


def test_a_tiny_generator_learns_a_video_and_obeys_its_label(tmp_path):
    """Two clips of the same still anchor frame, that drift up at EF 80 and down at EF 20."""
    clips = pd.DataFrame({"name": ["up", "down"], "patient": ["a", "b"], "split": ["TRAIN", "VAL"], "ef": [80.0, 20.0], "fps": 32.0, "frames": 8})
    ramp = torch.linspace(-1, 1, 8)[:, None, None, None].expand(8, 1, 2, 2)
    write_latents(tmp_path, clips, lambda name: ramp if name == "up" else -ramp)
    store = LatentStore.open(tmp_path)
    config = DenoiserConfig(channels=1, size=2, bands=(1, 1, 2, 4), patch=2, dim=32, depth=2, heads=1, time_shift=2.0)  # so few numbers drown late
    torch.manual_seed(0)
    windows = Windows(store, np.array([0, 1]), config, seed=0)
    model = Denoiser(config)
    measure_spread(model, windows)
    training = Training(steps=250, batch_size=16, learning_rate=3e-3, muon_learning_rate=0.02, precision="fp32", ema=0.98)
    train_generator(model, windows, training, tmp_path / "video", 0, "toy")
    losses = held_out_loss(model, store, 0, training, "toy", most=32)
    assert losses["loss_train"] < 0.35 and losses["loss_val"] < 0.35  # 2 for a velocity of zero

    anchor = torch.zeros(2, 1, 2, 2)
    noise = torch.randn(2, 8, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    drawn = euler(model, noise, Condition(torch.tensor([[0.8], [0.2]]), anchor), 16).mean((2, 3, 4))
    want = torch.linspace(-1, 1, 8)
    assert (drawn[0] - want).abs().max() < 0.5 and (drawn[1] + want).abs().max() < 0.5
