"""The law of the nearest distances: exact on a power law, careful elsewhere, and quick to name a copy."""

import numpy as np
import pytest

from echosynth.privacy.tails import DUPLICATE_ERROR, LEAST, count_p, nearest_p, nearest_stranger


def cosines(distances):
    return 1 - np.asarray(distances) ** 2 / 2


def power_law(rng, count, dimension=6, scale=0.6):
    """Distances to the nearest: P(d <= x) = (x / scale)^dimension."""
    return scale * rng.random(count) ** (1 / dimension)


def test_by_hand():
    """20 strangers at 0.4 e^(-i/4): the edge is the eleventh nearest, the ten below it are 1/4, 1/2, ... 5/2 in logarithms: mean 1.375."""
    strangers = cosines(0.4 * np.exp(-np.arange(20) / 4))
    edge = 0.4 * np.exp(-9 / 4)
    found = nearest_p(cosines([edge * np.exp(-5.5), edge * np.exp(-1.375), 0.39]), strangers)
    assert found == pytest.approx([11 / 21 * (1 + 5.5 / 13.75) ** -10, 11 / 21 * 1.1**-10, 20 / 21], rel=2e-3)
    assert count_p(1, 1, float(cosines(edge * np.exp(-1.375))), strangers) == pytest.approx(found[1], rel=0.02)


def test_too_few_strangers_say_nothing():
    rng = np.random.default_rng(0)
    few = cosines(power_law(rng, LEAST - 1))
    assert (nearest_p(np.array([0.99999, 0.5]), few) == 1).all() and count_p(5, 10, 0.999, few) == 1
    assert (nearest_p(np.array([0.9]), np.full(40, 0.9)) == 1).all()


@pytest.mark.parametrize("dimension", [3, 8])
def test_a_perfect_generator_is_seldom_named(dimension):
    """60 strangers, 700 fresh clips: the nearest of them, paid for, and the count above the nearest stranger, each at its level."""
    rng, trials = np.random.default_rng(1), 400
    single = many = 0
    for _ in range(trials):
        strangers, made = cosines(power_law(rng, 60, dimension)), cosines(power_law(rng, 700, dimension))
        single += nearest_p(made, strangers).min() * 700 < 0.05
        many += count_p(int((made >= strangers.max()).sum()), 700, float(strangers.max()), strangers) < 0.05
    bound = 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
    assert single / trials <= bound and 0.01 < many / trials <= bound


def test_copies_among_fresh_clips_stand_out():
    """One copy at a tenth of the nearest stranger's distance, and fourteen just beyond the nearest stranger: neither is explained by strangers."""
    rng = np.random.default_rng(2)
    strangers, made = cosines(power_law(rng, 120)), power_law(rng, 700)
    assert nearest_p(cosines([made.min() / 10]), strangers)[0] * 700 < 0.003
    line = float(cosines(0.5 * np.sqrt(2 - 2 * strangers.max())))
    assert count_p(14, 700, line, strangers) < 0.001 < count_p(1, 700, line, strangers)


@pytest.mark.parametrize("duplicates", [[1.0], [0.999999, 0.99999], [1.0, 1.0, 0.9999]])
def test_held_out_duplicates_of_training_clips_do_not_switch_the_search_off(duplicates):
    """With one at cosine 1, 210 copies of 700 at cosine 0.999 had p = 1, and without it 5e-18."""
    strangers = cosines(power_law(np.random.default_rng(3), 60))
    both = np.append(strangers, duplicates)
    assert count_p(210, 700, 0.999, strangers) < 1e-6 and nearest_p(np.array([0.99999]), strangers)[0] < 1e-3
    assert count_p(210, 700, 0.999, both) == count_p(210, 700, 0.999, strangers)
    assert nearest_p(np.array([0.99999]), both) == nearest_p(np.array([0.99999]), strangers)
    found = nearest_stranger(both)
    assert found.duplicates == len(duplicates) and found.known and strangers.max() < found.limit <= min(duplicates)


def test_strangers_are_seldom_taken_for_duplicates():
    rng, trials = np.random.default_rng(4), 2000
    found = [nearest_stranger(cosines(power_law(rng, 60, dimension))) for dimension in (2, 6) for _ in range(trials // 2)]
    assert sum(one.duplicates > 0 for one in found) <= trials * DUPLICATE_ERROR + 3 * np.sqrt(trials * DUPLICATE_ERROR)
    assert all(one.known for one in found)


def test_strangers_without_a_law_are_said_to_have_none():
    assert not nearest_stranger(np.full(40, 0.9)).known and not nearest_stranger(np.ones(40)).known
    assert nearest_stranger(np.ones(40)).duplicates == 40 and nearest_stranger(np.array([0.3, 0.5])) == (np.inf, 0, False)
