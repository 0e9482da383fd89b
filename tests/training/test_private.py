"""Differentially private steps: what is clipped, what the noise is, and that nothing is spent twice."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from echosynth.training.fit import Training, fit
from echosynth.training.private import Private

PRIVATE = Private(noise=0.7, clip=0.5, patients=400, batch_size=40, secret=99, name="a")


class Slope(nn.Module):
    def __init__(self, size: int = 3):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))

    def forward(self, batch, rng):
        return {"loss": (self.weight * batch).sum()}  # the gradient of a patient is what the patient brings


def test_patients_take_part_by_coins_of_their_own():
    drawn = [PRIVATE.drawn(step) for step in range(300)]
    counts = np.array([len(one) for one in drawn])
    assert 38 < counts.mean() < 42 and 30 < counts.var() < 42  # binomial: 40 and 36
    assert np.array_equal(drawn[7], PRIVATE.drawn(7)) and not np.array_equal(drawn[7], drawn[8])
    assert all(len(np.unique(one)) == len(one) for one in drawn)


def test_each_gradient_is_clipped_and_the_sum_gets_the_noise():
    silent = Private(noise=0.0, clip=0.5, patients=400, batch_size=40, secret=99, name="a")
    module, batch = Slope(), [(0, torch.tensor([3.0, 0.0, 0.0])), (1, torch.tensor([0.0, 0.1, 0.0]))]
    told = silent.backward(module, batch, torch.Generator(), 0)
    assert torch.allclose(module.weight.grad, torch.tensor([0.5, 0.1, 0.0]) / 40, atol=1e-6)  # the large one is cut to 0.5, the small one stays
    assert told["patients"] == 2
    module = Slope(20_000)
    PRIVATE.backward(module, [], torch.Generator(), 0)  # nobody came: noise all the same
    assert module.weight.grad.std().item() * 40 == pytest.approx(0.7 * 0.5, rel=0.02)


def test_noise_is_new_in_every_step_and_training_and_the_same_when_a_step_is_done_again():
    def noise(step: int, name: str = "a") -> torch.Tensor:
        module = Slope()
        Private(0.7, 0.5, 400, 40, 99, name).backward(module, [], torch.Generator(), step)
        return module.weight.grad

    assert torch.equal(noise(3), noise(3))
    assert not torch.equal(noise(3), noise(4)) and not torch.equal(noise(3), noise(3, "b"))


class Drawn(nn.Module):
    """Its gradient of a patient is what the patient's own random draws are."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, batch, rng):
        return {"loss": (self.weight * torch.stack([torch.rand((), generator=rng), torch.rand(())])).sum()}


def test_who_else_takes_part_changes_nothing_of_a_patients_gradient():
    def summed(*patients: int) -> torch.Tensor:
        module = Drawn()
        Private(0.0, 10.0, 400, 40, 99, "a").backward(module, [(patient, None) for patient in patients], torch.Generator(), 0)
        return module.weight.grad

    assert torch.allclose(summed(3, 5, 8), summed(3) + summed(5) + summed(8))
    assert not torch.allclose(summed(3), summed(5))


def test_the_draws_of_a_patient_come_from_the_secret():
    def first_draws(secret: int) -> list[float]:
        private = Private(0.7, 0.5, 400, 400, secret, "a")
        return [sample for _, sample in private.batch(lambda patient, rng: rng.random())(range(0, 400))]

    assert first_draws(1) == first_draws(1) and not set(first_draws(1)) & set(first_draws(2))
    assert len(set(first_draws(1))) == 400


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))


def _train(folder, private, stop_after=None, monkeypatch=None):
    data = torch.linspace(1, 3, private.patients)

    def loss(model, batch, rng):
        return {"loss": (model.value - batch).square().mean()}

    calls = []

    def sample(patient, rng):
        calls.append(patient)
        if stop_after is not None and len(calls) > stop_after * private.batch_size:
            raise KeyboardInterrupt
        return data[patient : patient + 1]

    model = Mean()
    training = Training(steps=60, batch_size=40, learning_rate=0.1, precision="fp32", checkpoint_every=10, ema=0.9)
    fit(model, loss, private.batch(sample), training, folder, 0, "mean", private)
    return model.value.item()


def test_a_private_training_learns_and_goes_on_to_the_same_weights(tmp_path):
    whole = _train(tmp_path / "whole", PRIVATE)
    assert whole == pytest.approx(2.0, abs=0.4)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "cut", PRIVATE, stop_after=33)
    assert _train(tmp_path / "cut", PRIVATE) == whole


def test_steps_in_which_nobody_takes_part_are_logged_and_learn_noise_alone(tmp_path):
    lonely = Private(noise=1.0, clip=0.5, patients=10**9, batch_size=1, secret=5, name="a")
    lonely.__dict__["drawn"] = lambda step: np.arange(0)  # as a rate of one in a thousand millions gives

    def loss(model, batch, rng):
        raise AssertionError("nobody takes part")

    model = Mean()
    fit(model, loss, lonely.batch(lambda patient, rng: None), Training(steps=20, batch_size=1, learning_rate=0.1, precision="fp32"), tmp_path, 0, "mean", lonely)
    rows = [json.loads(line) for line in (tmp_path / "training.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20] and all(row["patients"] == 0 and "loss" not in row for row in rows)
    assert model.value.item() != 0
