"""What the benchmark of differential privacy says that it costs: paired over patients and seeds."""

import numpy as np
from benchmarks.private_demo import cost


def readings(rng, truth, patients, noise, seeds=3):
    """Regressors that err on the same patients alike, and by `noise` besides."""
    hard = 6 * rng.standard_normal(patients.max() + 1)[patients]
    return [(truth, truth + hard + one * rng.standard_normal((seeds, len(truth))), patients.astype(str)) for one in noise]


def test_the_cost_has_an_interval_that_is_narrower_than_the_two_it_is_between():
    rng, patients = np.random.default_rng(0), np.repeat(np.arange(60), 2)
    truth = rng.uniform(20, 75, 120)
    alike, _ = readings(rng, truth, patients, (1, 1))
    value, low, high = cost(alike, (truth, alike[1] + 0.5, alike[2]))
    assert 0 < value < 0.02 and high - low < 0.03  # paired: the patients that are hard are hard for both
    value, low, high = cost(*readings(rng, truth, patients, (1, 12)))
    assert 0.2 < low < value < high


def test_the_interval_holds_no_cost_where_there_is_none():
    rng, patients, held = np.random.default_rng(1), np.repeat(np.arange(60), 2), 0
    for _ in range(60):
        truth = rng.uniform(20, 75, 120)
        _, low, high = cost(*readings(rng, truth, patients, (4, 4)), draws=400)
        held += low <= 0 <= high
    assert held >= 52
