"""Agreement of ejection fractions against hand-worked cases."""

from functools import partial

import numpy as np
import pytest

from echosynth.metrics.ejection import agreement, auc, bootstrap_interval, calibration, ef_strata, mae, patient_weights, r2, rmse, strata_mae


def test_by_hand():
    """Differences 2, -2, 3, 1: squares sum to 18; truths 50, 60, 40, 70 scatter 500 about 55."""
    found = agreement(np.array([50.0, 60, 40, 70]), np.array([52.0, 58, 43, 71]))
    assert found.r2 == pytest.approx(1 - 18 / 500)
    assert found.mae == pytest.approx(2) and found.rmse == pytest.approx(np.sqrt(4.5)) and found.bias == pytest.approx(1)
    assert found.slope == pytest.approx(450 / 500) and found.intercept == pytest.approx(56 - 0.9 * 55)
    sd = np.sqrt((1 + 9 + 4 + 0) / 3)
    assert (found.limits_low, found.limits_high) == (pytest.approx(1 - 1.96 * sd), pytest.approx(1 + 1.96 * sd))
    assert found.clips == 4


def test_r2_is_not_the_squared_correlation():
    truth = np.array([30.0, 50, 70])
    assert r2(truth, truth) == 1
    assert r2(truth, np.full(3, 50.0)) == pytest.approx(0)
    assert r2(truth, truth + 40) == pytest.approx(1 - 3 * 1600 / 800)


def test_no_spread_has_no_r2():
    found = agreement(np.full(5, 55.0), np.array([54.0, 55, 56, 57, 58]))
    assert np.isnan(found.r2) and np.isnan(found.slope) and found.mae == pytest.approx(1.4)
    assert agreement(np.array([50.0]), np.array([53.0])).mae == 3


@pytest.mark.parametrize("metric", [r2, mae, rmse])
def test_a_weight_is_a_repetition(metric):
    rng = np.random.default_rng(0)
    truth, predicted, weights = rng.uniform(20, 80, 12), rng.uniform(20, 80, 12), rng.integers(0, 4, (3, 12)).astype(float)
    for row, value in zip(weights, metric(truth, predicted, weights), strict=True):
        times = row.astype(int)
        assert value == pytest.approx(float(metric(np.repeat(truth, times), np.repeat(predicted, times))))


def test_a_patient_comes_whole_and_as_many_come_as_there_are():
    patients = np.array(["b", "a", "b", "c", "a", "b"])
    weights = patient_weights(patients, 200, np.random.default_rng(0))
    assert weights.shape == (200, 6)
    for patient in "abc":
        columns = weights[:, patients == patient]
        assert (columns == columns[:, :1]).all()
    assert (weights[:, [1, 0, 3]].sum(1) == 3).all()


def test_interval_of_a_mean_is_the_normal_one():
    """The MAE of constant-sign errors is a mean: its interval is mean -+ 1.96 sd / sqrt(n), wider by sqrt(clips a patient) when a patient's clips say the same."""
    rng = np.random.default_rng(1)
    truth = rng.uniform(30, 70, 200)
    error = 5 + rng.standard_normal(200)
    weights = patient_weights(np.arange(200), 4000, rng)
    low, high = bootstrap_interval(mae, truth, truth + error, weights)
    assert high - low == pytest.approx(2 * 1.96 * error.std() / np.sqrt(200), rel=0.1)
    four = np.repeat(np.arange(200), 4)
    low4, high4 = bootstrap_interval(mae, truth[four], truth[four] + error[four], patient_weights(four, 4000, rng))
    assert high4 - low4 == pytest.approx(high - low, rel=0.1)


def test_undefined_draws_are_left_out():
    truth, predicted = np.array([50.0, 60]), np.array([51.0, 59])
    low, high = bootstrap_interval(r2, truth, predicted, np.array([[2.0, 0], [1, 1], [0, 2]]))
    assert low == high == pytest.approx(1 - 2 / 50)
    assert np.isnan(bootstrap_interval(r2, truth, predicted, np.array([[2.0, 0]]))).all()


def test_auc_by_hand():
    """Under 40: predicted 35 and 50; the others 45, 50, 60. Right pairs: 35 with three, 50 with 60 and half with 50: 4.5 of 6."""
    truth, predicted = np.array([30.0, 39, 40, 55, 65]), np.array([35.0, 50, 45, 50, 60])
    assert auc(truth, predicted, below=40.0) == pytest.approx(4.5 / 6)
    assert auc(truth, truth, below=40.0) == 1 and auc(truth, -truth, below=40.0) == 0
    assert np.isnan(auc(truth, predicted, below=20.0))


def test_auc_weights_are_repetitions():
    rng = np.random.default_rng(0)
    truth, predicted = rng.uniform(20, 80, 15), rng.uniform(20, 80, 15).round(-1)
    weights = rng.integers(0, 4, (5, 15)).astype(float)
    weights[4] = truth > 45  # none is under 45 in this draw
    found = auc(truth, predicted, weights, below=45.0)
    for row, value in zip(weights[:4], found, strict=False):
        times = row.astype(int)
        assert value == pytest.approx(float(auc(np.repeat(truth, times), np.repeat(predicted, times), below=45.0)))
    assert np.isnan(found[4])
    low, high = bootstrap_interval(partial(auc, below=45.0), truth, predicted, weights)
    assert low == pytest.approx(found[:4].min(), abs=0.05) and high == pytest.approx(found[:4].max(), abs=0.05)


def test_calibration_is_the_line_of_the_truth():
    """Truth = x + noise of one's own, predicted = x: no predictor is better, calibration is 1 and 0; the line of the agreement has the slope 1 / (1 + noise) of regression to the mean."""
    rng = np.random.default_rng(0)
    known = 55 + 10 * rng.standard_normal(100_000)
    truth = known + 5 * rng.standard_normal(100_000)
    assert calibration(truth, known) == pytest.approx((1, 0), abs=0.3) and calibration(truth, known).slope == pytest.approx(1, abs=0.01)
    assert agreement(truth, known).slope == pytest.approx(100 / 125, abs=0.01)
    assert calibration(truth, 55 + 2 * (known - 55)).slope == pytest.approx(0.5, abs=0.01)
    assert np.isnan(calibration(truth, np.full(len(truth), 50.0))).all()


def test_worst_stratum_by_hand():
    truth = np.array([39.9, 40, 49.9, 50, 80, 20])
    strata = ef_strata(truth)
    assert strata.tolist() == ["EF < 40", "EF 40-50", "EF 40-50", "EF >= 50", "EF >= 50", "EF < 40"]
    found = strata_mae(truth, truth + np.array([1, 2, 4, 5, 5, 1]), strata, fewest=2)
    assert [(s.name, s.clips) for s in found] == [("EF >= 50", 2), ("EF 40-50", 2), ("EF < 40", 2)]
    assert [s.mae for s in found] == pytest.approx([5, 3, 1])
    assert strata_mae(truth, truth, strata, fewest=3) == []
