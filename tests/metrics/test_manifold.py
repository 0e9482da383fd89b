"""Precision, recall, density and coverage on a hand-worked case and against the plain definition."""

import numpy as np
import pytest

from echosynth.metrics import manifold
from echosynth.metrics.manifold import prdc, prdc_with_floor


def test_by_hand():
    """On a line: real -9, 0, 1, 3 with r_1 = 9, 1, 1, 2 and r_2 = 10, 3, 2, 3; synthetic 2, 4, 12 with r_1 = 2, 2, 8.

    precision: 2 (one from 1) and 4 (one from 3), not 12. recall: 0 (two from 2, on the border), 1, 3, not -9. density: 2 lies in the balls of 0, 1, 3; 4 in that of 3; 12 in none: 4 / (2 x 3). coverage: 0, 1, 3.
    """
    real, synthetic = np.array([[-9.0], [0], [1], [3]]), np.array([[2.0], [4], [12]])
    assert prdc(real, synthetic, manifold_k=1, coverage_k=2) == pytest.approx((2 / 3, 3 / 4, 2 / 3, 3 / 4))


def test_a_ball_holds_its_border():
    """0 and 1 have balls of radius 1: 2 is on the border of one of them, 50 in none; 0 and 1 are in the balls of radius 48 about 2 and, at 49, not of that about 50."""
    assert prdc(np.array([[0.0], [1]]), np.array([[2.0], [50]]), manifold_k=1, coverage_k=1) == pytest.approx((1 / 2, 1, 1 / 2, 1 / 2))


def by_definition(real, synthetic, k3, k5):
    def radius(x, k):
        return np.array([np.sort(np.linalg.norm(x - a, axis=1))[k] for a in x])  # [0] is the point itself

    distance = np.linalg.norm(real[:, None] - synthetic, axis=2)
    of_real, of_synthetic, wide = radius(real, k3), radius(synthetic, k3), radius(real, k5)
    precision = (distance <= of_real[:, None]).any(0).mean()
    recall = (distance <= of_synthetic).any(1).mean()
    within = distance <= wide[:, None]
    return precision, recall, within.sum(0).mean() / k5, within.any(1).mean()


def test_the_definition_and_the_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    real, synthetic = rng.standard_normal((70, 5)) + 100, 0.8 * rng.standard_normal((50, 5)) + 100.3
    expected = by_definition(real, synthetic, 3, 5)
    assert min(expected) < 0.95
    assert prdc(real, synthetic) == pytest.approx(expected)
    monkeypatch.setattr(manifold, "_BLOCK", 300)
    assert prdc(real, synthetic) == pytest.approx(expected)


def test_one_mode_of_two():
    """A generator that makes one of two modes is precise and covers half; one that makes a third besides covers all and is half precise."""
    rng = np.random.default_rng(1)
    a, b, c = (rng.standard_normal((200, 3)) + shift for shift in (0, 20, 40))
    dropped = prdc(np.concatenate([a[:100], b]), a[100:])
    assert dropped.precision > 0.9 and dropped.coverage < 0.4 and dropped.recall < 0.4
    added = prdc(a[:100], np.concatenate([a[100:], c[:100]]))
    assert added.precision == pytest.approx(0.5, abs=0.07) and added.coverage > 0.9 and added.density == pytest.approx(0.5, abs=0.12)


def test_the_floor_and_too_few():
    rng = np.random.default_rng(2)
    real = rng.standard_normal((240, 4))
    found = prdc_with_floor(real, np.repeat(np.arange(120), 2), 3 + rng.standard_normal((150, 4)), seed=0, splits=5)
    assert found.samples == 120 and found.floor.density == pytest.approx(1, abs=0.1) and found.floor.coverage > 0.9
    assert found.found.precision < 0.2 and found.found.coverage < 0.2
    assert prdc_with_floor(real[:60], np.arange(60), real, seed=0).found is None
