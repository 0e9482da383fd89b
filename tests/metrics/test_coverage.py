"""Coverage a patient: who is reached, and by as fair a measure as for real clips."""

import numpy as np
import pytest

from echosynth.metrics.coverage import patient_coverage


def clips(patients, each, rng, dims=3):
    """Clips of patients, those of one close together."""
    return np.repeat(rng.standard_normal((patients, dims)), each, 0) + 0.05 * rng.standard_normal((patients * each, dims)), np.repeat(np.arange(patients), each)


def test_a_perfect_generator_reaches_as_many_as_real_clips_do():
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        real, patients = clips(80, 2, rng)
        synthetic, _ = clips(200, 1, rng)
        found.append(patient_coverage(real, patients, synthetic, rng))
    share, floor = (np.mean([getattr(one, name) for one in found]) for name in ("share", "floor"))
    assert share > 0.9 and floor > 0.9 and abs(share - floor) < 0.05


def test_patients_of_a_kind_that_is_not_made_are_not_reached():
    rng = np.random.default_rng(0)
    real, patients = clips(80, 2, rng)
    rare = patients >= 60
    real[rare] += 12
    found = patient_coverage(real, patients, clips(120, 1, rng)[0], rng)
    assert not found.covered[rare].any() and found.covered[~rare].mean() > 0.85 and found.by_real[rare].mean() > 0.6
    assert found.share == pytest.approx(np.mean([found.covered[patients == p].any() for p in range(80)]))


def test_patients_of_many_clips_make_no_difference():
    """Six clips of each patient lie on each other; were they neighbours, the balls would be too small for anybody else to hit."""
    rng = np.random.default_rng(0)
    real, patients = clips(100, 6, rng)
    found = patient_coverage(real, patients, clips(400, 1, rng)[0], rng)
    assert found.share > 0.9 and found.floor > 0.9


def test_too_few_are_refused():
    rng = np.random.default_rng(0)
    real, patients = clips(30, 4, rng)
    found = patient_coverage(real, patients, real, rng)
    assert found.share is None and not found.covered.any() and "30 patients or synthetic clips, 50 needed" in found.reason
