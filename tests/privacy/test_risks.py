"""Risks of a release: hand-worked, by simulation, and on a pool that copies beside one that does not."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from torch.nn import functional as F

from echosynth.privacy.risks import (
    adversarial_accuracy,
    authenticity,
    data_copying,
    inference,
    linkability,
    none_seen,
    privacy_loss,
    risk,
    risk_of,
    singled_out,
    singling_out,
    wilson,
)
from echosynth.privacy.screen import rate


def rows_of(rng, count, dimensions=16):
    return F.normalize(torch.from_numpy(rng.standard_normal((count, dimensions), dtype=np.float32)), dim=1)


def noisy(rng, rows, level=0.05):
    return F.normalize(rows + level * torch.from_numpy(rng.standard_normal(rows.shape, dtype=np.float32)), dim=1)


def on_circle(*degrees):
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angle.cos(), angle.sin()], 1).float()


# --- rates ---


def test_wilson_by_hand():
    # 5 of 10, z = 1.96: centre 1/2, half z sqrt(1/40 + z^2/400) / (1 + z^2/10).
    z = 1.959964
    half = z * math.sqrt(1 / 40 + z**2 / 400) / (1 + z**2 / 10)
    assert wilson(5, 10) == pytest.approx((0.5, 0.5 - half, 0.5 + half, 10), abs=1e-6)
    assert wilson(0, 20).low == 0 and wilson(0, 20).high == pytest.approx(z**2 / (20 + z**2), abs=1e-6) and wilson(20, 20).high == 1


def test_risk_by_hand():
    found = risk(np.arange(100) < 30, np.arange(200) < 20)
    assert found.risk == pytest.approx(0.2 / 0.9) and found.train == wilson(30, 100) and found.control == wilson(20, 200)
    da, dc = ((r.high - r.low) / 2 for r in (found.train, found.control))
    assert found.high - found.risk == pytest.approx(math.hypot(da / 0.9, dc * 0.7 / 0.81))
    assert risk(np.ones(50), np.zeros(50)).risk == 1 and risk(np.zeros(50), np.ones(50) > 2).risk == 0 and risk(np.zeros(4), np.arange(4) < 2).risk == -1
    assert risk_of(0.3, 100, 0.1, 200) == found and risk_of(0.3, 100, 0.1, 200, 0.99).low < found.low
    hopeless = risk(np.ones(5), np.ones(5))
    assert math.isnan(hopeless.risk) and json.loads(json.dumps(hopeless.as_dict(), allow_nan=False))["risk"] is None
    assert json.loads(json.dumps(found.as_dict()))["train"]["count"] == 100


@pytest.mark.parametrize(("a", "c"), [(0.1, 0.1), (0.3, 0.1), (0.8, 0.3)])
def test_the_interval_of_a_risk_covers_it(a, c):
    rng, trials, truth = np.random.default_rng(0), 800, (a - c) / (1 - c)
    found = [risk(rng.random(150) < a, rng.random(100) < c) for _ in range(trials)]
    assert np.mean([one.low <= truth <= one.high for one in found]) > 0.95 - 4 * math.sqrt(0.95 * 0.05 / trials)


def test_none_seen():
    assert none_seen(300).rule == pytest.approx(3 / 300, rel=2e-3) and none_seen(300).exact == pytest.approx(1 - 0.05 ** (1 / 300))
    assert none_seen(1).exact == pytest.approx(0.95) and none_seen(1).rule == 1
    assert (1 - none_seen(40, 0.99).exact) ** 40 == pytest.approx(0.01)  # at the bound none would be seen once in a hundred


# --- the three dangers ---


def test_singling_out_takes_exactly_one_patient():
    real, patients = on_circle(0, 2, 50, 55, 120), np.array(["a", "a", "b", "c", "d"])
    # Within 10 degrees: of 1 two rows of a; of 52 one of b, one of c; of 115 d alone; of 80 nobody.
    assert singling_out(on_circle(1, 52, 115, 80), real, patients, math.cos(math.radians(10))).tolist() == [True, False, True, False]


def test_a_patient_is_singled_out_once_however_many_samples_do_it():
    real, patients = on_circle(0, 2, 50, 55, 120), np.array(["a", "a", "b", "c", "d"])
    samples = on_circle(1, 2, 3, 115, 52)
    assert singling_out(samples, real, patients, math.cos(math.radians(10))).sum() == 4
    assert singled_out(samples, real, patients, math.cos(math.radians(10))).tolist() == [True, False, False, True]
    assert not singled_out(on_circle(200), real, patients, math.cos(math.radians(10))).any()


def test_linkability_takes_a_common_neighbour():
    synthetic_one, synthetic_other = on_circle(0, 90, 180), on_circle(10, 100, 190)
    one, other = on_circle(5, 85, 20), on_circle(12, 195, 99)
    # Nearest by one: 0, 1, 0; by the other: 0, 2, 1. The two nearest: {0, 1} and {0, 1}; {1, 0} and {2, 1}; {0, 1} and {1, 0}.
    assert linkability(one, other, synthetic_one, synthetic_other).tolist() == [True, False, False]
    assert linkability(one, other, synthetic_one, synthetic_other, k=2).tolist() == [True, True, True]


def test_inference_takes_the_secret_of_the_nearest():
    real, synthetic = on_circle(0, 90, 180), on_circle(3, 92, 170)
    assert inference(real, np.array(["x", "y", "x"]), synthetic, np.array(["x", "x", "x"])).tolist() == [True, False, True]
    assert inference(real, np.array([60.0, 30, 50]), synthetic, np.array([64.9, 35.1, 45]), tolerance=5).tolist() == [True, False, True]


@pytest.fixture(scope="module")
def pools():
    """Training set, control and secrets, and two releases: training rows with noise and their secrets, and fresh rows with fresh ones."""
    rng, count = np.random.default_rng(1), 300
    classes = [rng.choice([-1.0, 1.0], count) for _ in range(3)]
    axis = 3 * torch.eye(16)[0]
    train, control, fresh = (F.normalize(torch.from_numpy(rng.standard_normal((count, 16)) + side[:, None] * axis.numpy()).float(), dim=1) for side in classes)
    secrets = [np.where((side > 0) ^ (rng.random(count) < 0.2), "p", "q") for side in classes]  # a label that the picture shows, four times out of five
    copied = noisy(rng, train)
    return {"train": train, "control": control, "copied": (copied, secrets[0]), "fresh": (fresh, secrets[2]), "secrets": secrets}


def dangers(pools, release):
    synthetic, labels = pools[release]
    sides, secrets, names = (pools["train"], pools["control"]), pools["secrets"][:2], np.arange(300)
    halves = [(F.normalize(side[:, :8], dim=1), F.normalize(side[:, 8:], dim=1)) for side in (*sides, synthetic)]
    return {
        "singling out": risk(*(singled_out(synthetic, side, names, 0.9) for side in sides)),
        "linkability": risk(*(linkability(*half, *halves[2]) for half in halves[:2])),
        "inference": risk(*(inference(side, secret, synthetic, labels) for side, secret in zip(sides, secrets, strict=True))),
    }


def test_copies_are_a_danger(pools):
    for name, found in dangers(pools, "copied").items():
        assert found.risk > 0.8 and found.low > 0.6, name


def test_fresh_samples_are_none_though_they_teach_something(pools):
    found = dangers(pools, "fresh")
    for name, one in found.items():
        assert one.low < 0 < one.high and abs(one.risk) < 0.2, name
    assert found["inference"].control.low > 0.5  # what the cohort teaches about everybody: better than a coin, and no danger to anybody


# --- copying ---


def test_adversarial_accuracy_by_hand():
    # Real 0, 10, 90 and synthetic 1, 60, 100. Real: d_TS 1, 9, 10; d_TT 10, 10, 80: never farther. Synthetic: d_ST 1, 30, 10; d_SS 59, 40, 40: never.
    assert adversarial_accuracy(on_circle(0, 10, 90), on_circle(1, 60, 100)) == 0
    # Real 0, 10, 90 and synthetic 40, 45, 95: d_TS 40, 30, 5; d_TT 10, 10, 80: two of three. d_ST 30, 35, 5; d_SS 5, 5, 50: two of three.
    assert adversarial_accuracy(on_circle(0, 10, 90), on_circle(40, 45, 95)) == pytest.approx(2 / 3)
    assert adversarial_accuracy(on_circle(0, 10, 20), on_circle(180, 190, 200)) == 1
    same = on_circle(0, 0, 0)
    assert adversarial_accuracy(same, same) == 0.5  # all tie


def test_privacy_loss_shows_what_lies_nearer_to_the_training_set(pools):
    copied, fresh = (privacy_loss(pools["train"], pools["control"], pools[name][0], seed=0, draws=3) for name in ("copied", "fresh"))
    assert copied.train < 0.05 and copied.loss > 0.4 and copied.loss == pytest.approx(copied.held_out - copied.train)
    assert abs(fresh.loss) < 0.08 and abs(fresh.train - 0.5) < 0.08


def test_privacy_loss_takes_as_many_of_each(pools):
    found = privacy_loss(pools["train"], pools["control"][:60], pools["fresh"][0], seed=0)
    assert abs(found.loss) < 0.15 and found == privacy_loss(pools["train"], pools["control"][:60], pools["fresh"][0], seed=0)


def test_data_copying_is_the_mann_whitney_z(pools):
    synthetic = pools["fresh"][0]
    found = data_copying(pools["train"], pools["control"], synthetic, seed=0)
    far = [(1 - side.double() @ pools["train"].double().T).amin(1).numpy() for side in (synthetic, pools["control"])]
    u = mannwhitneyu(*far).statistic
    assert found.z == pytest.approx((u - 300 * 300 / 2) / math.sqrt(300 * 300 * 601 / 12), abs=0.01) and abs(found.z) < 3 and found.covered == 1


def test_data_copying_finds_copies_and_strays(pools):
    rng = np.random.default_rng(2)
    assert data_copying(pools["train"], pools["control"], pools["copied"][0], seed=0).z < -15
    assert data_copying(pools["train"], pools["control"], F.normalize(rows_of(rng, 300).abs() * torch.tensor([1.0, -1] * 8), dim=1), seed=0).z > 3


def test_cells_find_copies_that_strays_make_up_for():
    """Around one pole the generator copies, around the other it strays: over both the ranks balance, in the cell of the copies they do not."""
    rng, poles = np.random.default_rng(3), torch.eye(16)[:1] * torch.tensor([[1.0], [-1.0]])
    train, control = (F.normalize(2 * poles.repeat(200, 1) + rows_of(rng, 400), dim=1) for _ in range(2))
    copied, strays = noisy(rng, train[:300:2], 0.02), F.normalize(2 * poles[1] + 3 * rows_of(rng, 150), dim=1)
    strays = strays[strays[:, 0] < 0]
    synthetic = torch.cat([copied, strays])
    whole, parted = (data_copying(train, control, synthetic, seed=0, cells=cells) for cells in (1, 2))
    assert abs(whole.z) < 3 and whole.lowest == whole.z
    # The cells are the poles; the same figures by scipy, pole by pole.
    far = [(1 - side.double() @ train.double().T).amin(1).numpy() for side in (copied, control[::2], strays, control[1::2])]
    by_hand = [(mannwhitneyu(a, b).statistic - len(a) * len(b) / 2) / math.sqrt(len(a) * len(b) * (len(a) + len(b) + 1) / 12) for a, b in (far[:2], far[2:])]
    assert parted.cells == 2 and parted.covered == 1
    assert parted.lowest == pytest.approx(by_hand[0], abs=0.01) and parted.lowest < -10 and parted.z == pytest.approx(np.mean(by_hand), abs=0.01)


def test_a_cell_with_too_few_rows_is_left_out_and_said():
    rng, poles = np.random.default_rng(3), torch.eye(16)[:1] * torch.tensor([[1.0], [-1.0]])
    train, control = (F.normalize(2 * poles.repeat(200, 1) + rows_of(rng, 400), dim=1) for _ in range(2))
    copied = noisy(rng, train[:300:2], 0.02)
    lopsided = data_copying(train, control, copied, seed=0, cells=2)
    assert lopsided.cells == 1 and lopsided.covered == pytest.approx(0.5) and lopsided.z < -10
    nothing = data_copying(train, control, copied[:5], seed=0)
    assert math.isnan(nothing.z) and nothing.cells == 0 and nothing.covered == 0


def test_authenticity_by_hand():
    # Training rows at 0, 10, 30: nearest others at 10, 10, 20. Samples at 3 (3 < 10), 45 (15 < 20), 55 (25 > 20), 195 (165 > 20).
    assert authenticity(on_circle(3, 45, 55, 195), on_circle(0, 10, 30)) == rate(2, 4)


def test_authenticity_of_copies_and_of_fresh_patients(pools):
    assert authenticity(pools["copied"][0], pools["train"]).share < 0.01
    fresh, control = (authenticity(side, pools["train"]) for side in (pools["fresh"][0], pools["control"]))
    assert 0.4 < fresh.share < 0.7 and fresh.low < control.share < fresh.high
