"""The halving by patient that every floor stands on."""

import numpy as np
import pytest

from echosynth.errors import InputError
from echosynth.metrics.coverage import patient_coverage
from echosynth.metrics.floor import FEWEST, compare_halves, distance_with_floor, not_finite
from echosynth.metrics.frechet import frechet, frechet_infinity, frechet_with_floor
from echosynth.metrics.kernel import kid, kid_with_floor
from echosynth.metrics.manifold import prdc, prdc_with_floor


def test_both_comparisons_have_one_size_and_the_floor_shares_no_patient():
    patients = np.repeat(np.arange(70), 2)
    real, synthetic = np.stack([patients, np.arange(140.0)], 1), np.full((90, 2), -1.0)
    seen = []
    found = compare_halves(lambda one, other: seen.append((one, other)) or 0.0, real, patients, synthetic, seed=3, stream="test", splits=4)
    assert found.samples == 70 and len(seen) == 8
    for (one, other), (again, drawn) in zip(seen[::2], seen[1::2], strict=True):
        assert not set(one[:, 0]) & set(other[:, 0]) and (again == one).all() and (drawn == -1).all()
        assert len(one) == len(other) == len(drawn) == 70 and len(np.unique(one[:, 1])) == 70


def test_several_figures_at_once():
    found = compare_halves(lambda one, other: (len(one), 2.0), np.zeros((200, 1)), np.arange(200), np.zeros((60, 1)), 0, "test", splits=3)
    assert found.found.tolist() == found.floor.tolist() == [[60, 2]] * 3


def test_floor_sd_is_the_spread_that_a_perfect_generator_has():
    """Difference of two means of 100 clips with sd 1: its sd is sqrt(2 / 100)."""
    rng = np.random.default_rng(0)
    found = distance_with_floor(
        lambda one, other: float(one.mean() - other.mean()), rng.standard_normal((200, 1)), np.arange(200), rng.standard_normal((100, 1)), 0, "test", splits=200
    )
    assert found.floor_sd == pytest.approx(np.sqrt(2 / 100), rel=0.15)


def test_refusals():
    few = distance_with_floor(lambda one, other: 0.0, np.zeros((2 * FEWEST - 2, 1)), np.arange(2 * FEWEST - 2), np.zeros((200, 1)), 0, "test")
    assert few.distance is None and few.reason == f"{FEWEST - 1} clips a side, {FEWEST} needed"
    assert distance_with_floor(lambda one, other: 0.0, np.zeros((200, 1)), np.zeros(200), np.zeros((200, 1)), 0, "test").reason == "fewer than two held-out patients"


def test_a_feature_that_is_not_finite_is_named():
    """Neither a traceback of the linear algebra nor a figure that is silently nan."""
    rng = np.random.default_rng(0)
    real, synthetic = rng.standard_normal((120, 3)), rng.standard_normal((60, 3))
    broken = synthetic.copy()
    broken[[4, 9], 2] = np.nan
    patients = np.arange(120)
    named = "feature 3 of synthetic clip 5 of 60 is not a finite number, and 1 more clips have such features"
    for found in (
        frechet_with_floor(real, patients, broken, 0),
        frechet_with_floor(real, patients, broken, 0, standardise=True),
        frechet_infinity(real, patients, broken, 0),
        kid_with_floor(real, patients, broken, 0),
        prdc_with_floor(real, patients, broken, 0),
        patient_coverage(real, patients, broken, rng),
    ):
        assert found.reason == named
    for measure in (frechet, kid, prdc):
        with pytest.raises(InputError, match=r"feature 3 of .* clip 5 of 60 is not a finite number"):
            measure(real, broken)
    assert not_finite("real", np.array([[1.0, np.inf]]), ("mean", "sd"), ("0X1",)) == "feature sd of real clip 0X1 is not a finite number"
    assert not_finite("real", real) is None
