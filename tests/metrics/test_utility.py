"""The comparison of two ways of training: its interval holds the truth as often as it says, over patients and over seeds."""

import numpy as np
import pytest

from echosynth.metrics.utility import FEWEST, compare_training


def readings(rng, patients=80, clips=1, seeds=3, patient_sd=2.0, seed_sd=0.1, worse=0.4):
    """Truth, and what `seeds` regressors of either kind say of it. Errors are 6 to 20 points, to either side; TSTR's are larger by `worse` points, by a patient's own amount, and every seed has its luck."""
    patient = np.repeat(np.arange(patients), clips)
    base, more, side = 8 + rng.gamma(4, 1, patients), patient_sd * rng.standard_normal(patients), rng.choice([-1, 1], patients * clips)
    truth = rng.uniform(20, 75, patients * clips)

    def predicted(error):
        luck = seed_sd * rng.standard_normal((seeds, 1)) + rng.standard_normal((seeds, patients * clips))
        return truth + side * np.abs(error[patient] + luck)

    return truth, predicted(base), predicted(base + more + worse), patient


@pytest.mark.parametrize("options", [{}, {"seeds": 5, "seed_sd": 0.0, "clips": 2}, {"seed_sd": 0.5}])
def test_the_interval_covers_the_truth_in_93_to_97_of_100(options):
    """The third case is one where the seeds, three of them, scatter more than the patients do."""
    found = [compare_training(*readings(np.random.default_rng(draw), **options), seed=draw, draws=300) for draw in range(500)]
    covered = np.mean([each.low <= 0.4 <= each.high for each in found])
    assert 0.93 <= covered <= 0.97


def test_no_difference_by_construction():
    truth, of_real, _, patient = readings(np.random.default_rng(0))
    found = compare_training(truth, of_real, of_real, patient, seed=0)
    assert found.difference == 0 and found.low < 0 < found.high and found.verdict == "non-inferior" and (found.seeds, found.patients) == (3, 80)


def test_by_hand():
    truth = np.array([50.0, 60])
    found = compare_training(truth, np.array([[52.0, 61], [52, 61]]), np.array([[54.0, 62], [55, 65]]), np.array(["a", "b"]), seed=0)
    assert found.difference == pytest.approx((4 + 2 + 5 + 5) / 4 - 1.5)


@pytest.mark.parametrize(("worse", "verdict"), [(0.0, "non-inferior"), (3.0, "inferior"), (1.0, "inconclusive")])
def test_verdicts(worse, verdict):
    found = compare_training(*readings(np.random.default_rng(1), patients=200, worse=worse), seed=0)
    assert found.verdict == verdict and found.margin == 1.0


def test_one_seed_is_no_verdict():
    truth, of_real, of_synthetic, patient = readings(np.random.default_rng(2), worse=0.0)
    found = compare_training(truth, of_real[:1], of_synthetic, patient, seed=0)
    assert found.verdict is None and found.seeds == 1 and found.low < found.difference < found.high


def test_too_few_patients_are_no_verdict():
    """However clear the figures look: with one patient fewer than needed there is no verdict, and the reason says how many it takes; clips of a patient do not help."""
    truth, of_real, of_synthetic, patient = readings(np.random.default_rng(2), patients=FEWEST, clips=2, worse=0.0, patient_sd=0.1)
    assert compare_training(truth, of_real, of_synthetic, patient, seed=0).verdict == "non-inferior"
    few = patient < FEWEST - 1
    found = compare_training(truth[few], of_real[:, few], of_synthetic[:, few], patient[few], seed=0)
    assert found.high < 1 and found.verdict is None and found.reason == f"{FEWEST - 1} patients, {FEWEST} needed"


def losing(rng, patients, share=0.1, lost=10.0):
    """One patient in ten loses 10 points, the others nothing: 1 point on average, the margin itself."""
    error, truth, side = 6 + rng.gamma(2, 1, patients), rng.uniform(25, 70, patients), rng.choice([-1, 1], patients)
    more = np.where(rng.random(patients) < share, lost, 0.0) + rng.standard_normal(patients)
    of_real, of_synthetic = (truth + side * np.abs(mean + 0.5 * rng.standard_normal((3, patients))) for mean in (error, error + more))
    return truth, of_real, of_synthetic, np.arange(patients)


@pytest.mark.parametrize(("patients", "low", "high"), [(10, 0.15, 0.35), (FEWEST, 0.0, 0.12)])
def test_how_often_a_loss_of_the_margin_passes(patients, low, high):
    """Why few patients are refused: nominal are 2.5 %, and what `FEWEST` still leaves is told in its comment."""
    passed = np.mean([compare_training(*losing(np.random.default_rng(draw), patients), seed=draw, draws=200).high < 1 for draw in range(300)])
    assert low <= passed <= high


def test_a_patient_is_one_patient_however_many_clips():
    """Ten copies of every clip leave the interval as wide as it was."""
    truth, of_real, of_synthetic, patient = readings(np.random.default_rng(3))
    once = compare_training(truth, of_real, of_synthetic, patient, seed=0)
    ten = compare_training(*(np.repeat(values, 10, -1) for values in (truth, of_real, of_synthetic, patient)), seed=0)
    assert ten.high - ten.low == pytest.approx(once.high - once.low, rel=0.01)


def test_few_seeds_widen_the_interval():
    """The same spread of seeds, six of them instead of two: less than 1/3 of the width, since two also leave the spread itself unknown."""
    truth, of_real, of_synthetic, patient = readings(np.random.default_rng(4), patient_sd=0.0, seed_sd=1.0, seeds=2)
    two = compare_training(truth, of_real, of_synthetic, patient, seed=0)
    six = compare_training(truth, np.tile(of_real, (3, 1)), np.tile(of_synthetic, (3, 1)), patient, seed=0)
    assert six.high - six.low < (two.high - two.low) / 3
