"""KID against its definition, and its bias and error against simulation."""

import numpy as np
import pytest

from echosynth.metrics import kernel
from echosynth.metrics.kernel import kid, kid_subsets, kid_with_floor


def by_definition(x, y):
    def k(a, b):
        return (a @ b / len(a) + 1) ** 3

    n, m = len(x), len(y)
    xx = np.mean([k(x[i], x[j]) for i in range(n) for j in range(n) if i != j])
    yy = np.mean([k(y[i], y[j]) for i in range(m) for j in range(m) if i != j])
    return xx + yy - 2 * np.mean([k(a, b) for a in x for b in y])


def test_by_definition():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 3)), rng.standard_normal((5, 3)) + 1
    assert kid(x, y).value == pytest.approx(by_definition(x, y), abs=1e-12)
    leave_x = [by_definition(np.delete(x, i, 0), y) for i in range(7)]
    leave_y = [by_definition(x, np.delete(y, i, 0)) for i in range(5)]
    assert kid(x, y).standard_error == pytest.approx(np.sqrt(6 / 7 * np.sum((leave_x - np.mean(leave_x)) ** 2) + 4 / 5 * np.sum((leave_y - np.mean(leave_y)) ** 2)))


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((50, 6)).astype(np.float32), rng.standard_normal((33, 6))
    whole = kid(x, y)
    monkeypatch.setattr(kernel, "_BLOCK", 100)
    assert kid(x, y) == pytest.approx(whole, abs=1e-12)


def test_unbiased_at_a_small_sample():
    """Draws of one distribution: the mean is within 2 standard errors of 0, with 20 clips as with 80."""
    for count in (20, 80):
        values = np.array([kid(*np.random.default_rng((count, draw)).standard_normal((2, count, 5))).value for draw in range(200)])
        assert abs(values.mean()) < 2 * values.std(ddof=1) / np.sqrt(200)
        assert (values < 0).mean() > 0.3


def test_the_standard_error_is_the_spread_over_new_samples():
    found = []
    for draw in range(200):
        rng = np.random.default_rng(draw)
        found.append(kid(rng.standard_normal((80, 4)), rng.standard_normal((60, 4)) + 0.8))
    values, errors = np.array(found).T
    assert np.median(errors) == pytest.approx(values.std(ddof=1), rel=0.2)


def test_subsets_agree_with_the_whole():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((300, 4)), rng.standard_normal((300, 4)) + 0.5
    parts = kid_subsets(x, y, seed=0, subsets=60, size=100)
    assert abs(parts.value - kid(x, y).value) < 3 * parts.standard_error
    assert kid_subsets(x, y, seed=0, subsets=3, size=1000).value == pytest.approx(kid(x, y).value, abs=1e-12)


def test_the_floor_scatters_about_zero():
    rng = np.random.default_rng(4)
    found = kid_with_floor(rng.standard_normal((200, 4)), np.repeat(np.arange(100), 2), rng.standard_normal((200, 4)) + 0.7, seed=0)
    assert abs(found.floor) < found.floor_sd and found.distance > 10 * found.floor_sd and found.samples == 100
