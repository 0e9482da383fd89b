"""Contrastive training: the loss by hand, batches as pure functions of their counters, and patients that were never seen told apart."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from echosynth.cohort.latents import LatentStore, write_latents
from echosynth.cohort.video import write_clip
from echosynth.networks.autoencoder import Autoencoder, AutoencoderConfig
from echosynth.networks.reid import ReidConfig, ReidEncoder
from echosynth.privacy.pairs import pair_auc
from echosynth.training.fit import Training
from echosynth.training.reid import (
    PatientViews,
    augment,
    contrastive_loss,
    embed_frames,
    move,
    moved_views,
    supervised_contrastive,
    train_reid,
)

FRAMES = 6


def latents_of(patient, visit):
    """A patient is a smooth random field; a visit shifts its channels a little, and it moves over the frames."""
    rng = np.random.default_rng([patient, 0])
    field = F.interpolate(torch.from_numpy(rng.standard_normal((1, 4, 5, 5), dtype=np.float32)), (14, 14), mode="bicubic")[0] * 1.3
    rng = np.random.default_rng([patient, 1 + visit])
    offset, phase = torch.from_numpy(rng.normal(0, 0.15, (4, 1, 1)).astype(np.float32)), rng.uniform(0, 6)
    frames = [field + offset + 0.3 * math.sin(phase + t) * field.roll(1, dims=1) + torch.from_numpy(rng.normal(0, 0.3, (4, 14, 14)).astype(np.float32)) for t in range(FRAMES)]
    return torch.stack(frames)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """30 TRAIN patients with one, two or three clips, 20 TEST patients with two."""
    plan = [(p, v, "TRAIN") for p in range(30) for v in range(1 + p % 3)] + [(p, v, "TEST") for p in range(30, 50) for v in range(2)]
    clips = pd.DataFrame(
        [
            {"name": f"{p}-{v}", "patient": f"P{p}", "split": split, "ef": 50.0, "esv": 1.0, "edv": 2.0, "fps": 50.0, "frames": FRAMES, "height": 112, "width": 112}
            for p, v, split in plan
        ]
    )
    folder = tmp_path_factory.mktemp("latents")
    write_latents(folder, clips, lambda name: latents_of(*map(int, name.split("-"))))
    return LatentStore.open(folder)


def train_rows(store):
    return np.flatnonzero((store.index["split"] == "TRAIN").to_numpy())


def test_loss_by_hand():
    # Two patients on two axes, both views the same: log(e^(1/t) + 2) - 1/t for every view.
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    loss = supervised_contrastive(z, torch.tensor([7, 7, 9, 9]), temperature=0.5)
    assert loss.item() == pytest.approx(math.log(math.exp(2) + 2) - 2, rel=1e-6)


def test_loss_of_no_knowledge_is_log_of_the_choices():
    z = F.normalize(torch.ones(8, 3), dim=1)
    assert supervised_contrastive(z, torch.arange(8) // 2).item() == pytest.approx(math.log(7), rel=1e-6)


def test_a_patient_who_comes_twice_is_no_negative_of_his_own():
    alike = torch.tensor([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 2)
    assert supervised_contrastive(alike, torch.tensor([0, 0, 0, 0, 1, 1]), 0.1).item() == pytest.approx(4 / 6 * math.log(3), abs=1e-2)
    z = F.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True), dim=1)
    pull = torch.autograd.grad(supervised_contrastive(z, torch.tensor([0, 0, 0, 0, 1, 1])), z, retain_graph=True)[0]
    push = torch.autograd.grad(supervised_contrastive(z, torch.tensor([0, 0, 2, 2, 1, 1])), z)[0]
    assert (pull[0] @ z[2] - push[0] @ z[2]) < 0  # descent draws views 0 and 2 together instead of apart


def test_batches_are_pure_functions_of_their_counters(store):
    batch = PatientViews(store, train_rows(store), seed=3).batch
    whole, again = batch(range(4, 16)), PatientViews(store, train_rows(store), seed=3).batch(range(10, 16))
    assert whole["views"].shape == (12, 2, 4, 14, 14) and whole["views"].dtype == torch.float32
    assert torch.equal(whole["patient"][6:], again["patient"]) and torch.allclose(whole["views"][6:], again["views"], atol=1e-6)
    assert not torch.equal(whole["views"], PatientViews(store, train_rows(store), seed=4).batch(range(4, 16))["views"])


def test_an_epoch_holds_each_patient_once(store):
    batch = PatientViews(store, train_rows(store), seed=0).batch
    first, second = batch(range(30))["patient"], batch(range(30, 60))["patient"]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(30)) and first.tolist() != second.tolist()


def test_views_are_of_one_patient_and_mostly_of_two_clips(store, monkeypatch):
    views = PatientViews(store, train_rows(store), seed=0)
    rows, window = [], store.window
    monkeypatch.setattr(store, "window", lambda row, frames: rows.append(row) or window(row, frames))
    views.batch(range(600))
    patient, name = store.index["patient"].to_numpy(), store.index["name"].to_numpy()
    first, second = np.array(rows[::2]), np.array(rows[1::2])
    assert (patient[first] == patient[second]).all() and (store.index["split"].to_numpy()[rows] == "TRAIN").all()
    several = np.array([patient[train_rows(store)].tolist().count(p) > 1 for p in patient[first]])
    assert (name[first] == name[second])[~several].all()
    assert 0.62 < (name[first] != name[second])[several].mean() < 0.78


def test_augmentation_is_mild_and_never_the_same():
    frames = latents_of(0, 0)[:1].expand(400, -1, -1, -1)
    views = augment(frames, [np.random.default_rng(k) for k in range(200)])
    assert views.shape == frames.shape and not torch.equal(views[0], views[1])
    correlation = [np.corrcoef(view.flatten(), frames[0].flatten())[0, 1] for view in views.numpy()]
    assert 0.75 < np.mean(correlation) < 0.99


def test_most_views_are_moved_ones_of_the_same_clip(store):
    rows = train_rows(store)
    moved = torch.full((len(rows), 3, 4, 14, 14), 1000.0) + torch.arange(len(rows))[:, None, None, None, None]
    views = PatientViews(store, rows, seed=0, moved=moved.half())
    patient = store.index["patient"].to_numpy()[rows]
    names = np.unique(patient.astype(str))
    came = 0
    for sample in range(200):
        number, pair, _ = views._draw(sample)
        for view in pair:
            if view.mean() > 900:
                came += 1
                assert patient[round(float(view.mean()) - 1000)] == names[number]
    assert 250 < came < 310  # 0.7 of 400
    assert np.array_equal(views.batch(range(4))["views"], views.batch(range(4))["views"])


def test_moves_stay_within_their_bounds():
    y, x = np.mgrid[:112, :112] - 55.5
    disc = np.where(np.hypot(y, x) < 10, 120, 0).astype(np.uint8)
    made = move(np.repeat(disc[None], 60, 0), [np.random.default_rng(k) for k in range(60)]).astype(float)
    made = np.where(made > 40, made, 0)  # noise apart
    weight = made.sum((1, 2))
    centres = np.stack([(made * y).sum((1, 2)) / weight, (made * x).sum((1, 2)) / weight], 1)
    assert 8 < np.abs(centres).max() < 13 and np.abs(centres.mean(0)).max() < 2.5  # 10 pixels, zoomed by up to 1.25
    area = (made > 0).sum((1, 2)) / np.pi / 100
    assert 0.5 < area.min() < 0.9 and 1.2 < area.max() < 2.2


def test_moved_views_are_of_the_clip_and_do_not_depend_on_the_others(tmp_path):
    torch.manual_seed(0)
    autoencoder = Autoencoder(AutoencoderConfig(widths=(8, 8), blocks=(1, 1), decoder_blocks=(1, 1))).eval()
    rng, paths = np.random.default_rng(0), [tmp_path / f"{k}.avi" for k in range(2)]
    for path in paths:
        write_clip(path, rng.integers(0, 256, (5, 32, 32), dtype=np.uint8), 50.0)
    both = moved_views(paths, [5, 5], autoencoder, 3, 32, seed=1)
    assert both.shape == (2, 3, *both.shape[2:]) and both.dtype == torch.float16 and both.isfinite().all() and both.is_contiguous()
    assert torch.equal(moved_views(paths[:1], [5], autoencoder, 3, 32, seed=1)[0], both[0]) and not torch.equal(both[0], both[1])


def test_the_loss_logs_how_often_the_nearest_is_the_patients(store):
    torch.manual_seed(0)
    encoder = ReidEncoder(ReidConfig(widths=(8,), blocks=(1,)))
    values = contrastive_loss(encoder, PatientViews(store, train_rows(store), 0).batch(range(8)), torch.Generator())
    assert set(values) == {"loss", "nearest"} and 0 <= values["nearest"] <= 1 and values["loss"].requires_grad


def test_embedding_does_not_depend_on_the_company(store):
    encoder, frames = ReidEncoder(ReidConfig()).eval(), torch.randn(21, 4, 14, 14)
    together = embed_frames(encoder, frames, batch_size=8)
    assert together.shape == (21, 128) and torch.equal(embed_frames(encoder, frames[:5], batch_size=8), together[:5])


def test_unseen_patients_are_told_apart(store, tmp_path):
    torch.manual_seed(0)
    encoder = ReidEncoder(ReidConfig(widths=(32, 32), blocks=(1, 1), embedding=32))
    rows = np.flatnonzero((store.index["split"] == "TEST").to_numpy())

    def visits_auc():
        embeddings = embed_frames(encoder, torch.cat([store.window(int(row), np.array([0, 3])) for row in rows]), batch_size=32)
        owner = np.repeat(rows, 2)
        return pair_auc(embeddings, store.index["patient"].to_numpy()[owner], owner).visits

    before = visits_auc()
    train_reid(encoder, store, Training(steps=60, batch_size=30, learning_rate=2e-3, precision="fp32"), tmp_path, seed=0)
    assert not encoder.training and visits_auc() > max(0.97, before)
