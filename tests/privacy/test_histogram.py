"""A histogram with noise: what a patient can change of it, its noise, and the law that is drawn by it."""

import numpy as np
import pytest

from echosynth.privacy.budget import Spent, epsilon
from echosynth.privacy.histogram import law_of_counts, noisy_counts

EDGES = np.arange(10.0, 91.0, 10.0)


def counts(values, patients, noise=0.0, seed=0):
    return noisy_counts(np.array(values, float), np.array(patients), EDGES, noise, np.random.default_rng(seed))


def test_every_patient_adds_one_however_many_clips_and_wherever_they_lie():
    assert counts([15, 25, 25, 95, np.nan], ["a", "b", "b", "c", "d"]).tolist() == [1, 1, 0, 0, 0, 0, 0, 1]
    assert counts([15, 25, 35, 45], ["a"] * 4).tolist() == [0.25] * 4 + [0] * 4


def test_a_patient_moves_the_counts_by_at_most_one():
    rng = np.random.default_rng(3)
    for _ in range(50):
        values, patients = rng.uniform(0, 100, 40), rng.integers(8, size=40)
        without = patients != 0
        assert np.linalg.norm(counts(values, patients) - counts(values[without], patients[without])) <= 1 + 1e-12


def test_the_noise_has_the_standard_deviation_that_the_accountant_counts():
    noise = np.concatenate([counts([55], ["a"], 4.0, seed) - counts([55], ["a"]) for seed in range(500)])
    assert noise.std() == pytest.approx(4.0, rel=0.05) and abs(noise.mean()) < 0.3
    # the Gaussian mechanism of sensitivity 1: rho = 1 / (2 sd^2), and epsilon at most rho + 2 sqrt(rho log(1 / delta))
    rho = 1 / (2 * 4.0**2)
    assert 0.5 < epsilon([Spent(4.0, 1.0, 1)], 1e-3) <= rho + 2 * np.sqrt(rho * np.log(1e3)) + 1e-6


def test_half_of_the_draws_follow_the_counts_and_half_are_even():
    law = law_of_counts(np.array([0.5, -3, 30, 0, 0, 90, 1.9, 0]), EDGES, 1.0, (30.0, 70.0))
    rng = np.random.default_rng(0)
    drawn = np.array([law(rng) for _ in range(20_000)])
    shares = np.histogram(drawn, EDGES)[0] / len(drawn)
    assert drawn.min() >= 30 and drawn.max() <= 70
    assert shares == pytest.approx([0, 0, 0.25, 0.125, 0.125, 0.5, 0, 0], abs=0.015)


def test_counts_that_are_noise_alone_give_an_even_law():
    law = law_of_counts(np.array([1.0, -1, 0, 2, 1, 0, -2, 1]), EDGES, 3.0, (10.0, 90.0))
    drawn = [law(np.random.default_rng(k)) for k in range(2000)]
    assert np.histogram(drawn, EDGES)[0] / 2000 == pytest.approx(np.full(8, 1 / 8), abs=0.03)
