"""What training on synthetic clips loses: intervals over patients, and no verdict at unequal numbers of clips."""

import numpy as np
import pytest

from echosynth.evaluation.trainings import Trained
from echosynth.evaluation.usefulness import _beside_trtr, _unequal, figures, slope
from echosynth.metrics.ejection import agreement, patient_weights
from echosynth.randomness import numpy_rng


@pytest.fixture
def read():
    """EFs of 80 clips of 40 patients, and what three regressors of either kind read; those of TSTR err more."""
    rng = np.random.default_rng(3)
    ef = rng.uniform(20, 75, 80)
    real, synthetic = (ef + rng.normal(0, spread, (3, 80)) for spread in (3, 8))
    return ef, real, synthetic, np.repeat(np.arange(40), 2)


def test_the_slope_is_that_of_agreement_and_counts_a_clip_as_often_as_its_weight(read):
    ef, _, synthetic, patients = read
    assert slope(ef, synthetic[0], np.ones(80)) == pytest.approx(agreement(ef, synthetic[0]).slope)
    weights = patient_weights(patients, 5, np.random.default_rng(0))
    again = [agreement(np.repeat(ef, row.astype(int)), np.repeat(synthetic[0], row.astype(int))).slope for row in weights]
    assert slope(ef, synthetic[0], weights) == pytest.approx(again)
    assert np.isnan(slope(np.full(80, 50.0), synthetic[0], weights)).all()


def test_slope_and_share_of_r2_have_intervals_over_patients(read):
    ef, real, synthetic, patients = read
    weights = patient_weights(patients, 400, numpy_rng(0, "test"))
    found = figures("tstr", ef, synthetic, weights) | _beside_trtr("tstr", ef, real, synthetic, weights, patients, 0)
    trtr = figures("trtr", ef, real, weights)
    assert found["tstr.r2_of_trtr"] == pytest.approx(found["tstr.r2"] / trtr["trtr.r2"])
    for key in ("tstr.slope", "tstr.r2_of_trtr"):
        assert found[f"{key}_low"] < found[key] < found[f"{key}_high"]
    same = _beside_trtr("tstr", ef, real, real, weights, patients, 0)  # paired: the same readings are the same on every draw
    assert same["tstr.r2_of_trtr_low"] == same["tstr.r2_of_trtr_high"] == same["tstr.r2_of_trtr"] == 1


def test_no_verdict_at_unequal_numbers_of_clips(read):
    ef, real, _, patients = read
    weights = patient_weights(patients, 100, numpy_rng(0, "test"))
    counts = dict(real=[], synthetic=[], unselected=[], mixed=[], relabelled=[], curve={}, judge=None, judge_is_held_out=True)
    few, equal = (Trained(**counts, clips=clips, real_clips=360) for clips in (100, 360))
    assert _beside_trtr("tstr", ef, real, real, weights, patients, 0, _unequal(equal))["tstr.verdict"] == "non-inferior"
    verdict = _beside_trtr("tstr", ef, real, real, weights, patients, 0, _unequal(few))["tstr.verdict"]
    assert verdict == "none: learns from 100 clips, TRTR from 360; equal numbers needed"
