"""Planted copies are counted by patients: what is caught of a patient is caught only if all of it is."""

import numpy as np
import pandas as pd
import pytest
import torch

from echosynth.privacy.screen import Screen, rate
from echosynth.stages.reid import _filter_quality, _patients_first, _recall, _worst, _worst_copy


def copies(caught: dict[tuple[int, str], bool]) -> pd.DataFrame:
    rows = [("video", patient, kind, 1.0, flagged) for (patient, kind), flagged in caught.items()]
    return pd.DataFrame(rows, columns=["sample", "patient", "kind", "strength", "flagged"])


def test_five_kinds_of_a_patient_are_one_patient():
    """Of 100 copies 98 are caught, of 20 patients 18: the interval is that of 20, not of 100."""
    table = copies({(patient, kind): (patient, kind) not in ((3, "crop"), (7, "noise")) for patient in range(20) for kind in ("crop", "noise", "gain", "shift", "round trip")})
    assert table["flagged"].mean() == 0.98
    assert _recall(table) == rate(18, 20) and _recall(table).low < 0.7
    assert _worst(table) == {"sample": "video", "kind": "crop 1", "recall": 0.95, "low": rate(19, 20).low, "high": rate(19, 20).high}


def test_the_worst_kind_is_named_and_not_hidden_in_a_mean():
    """Of thirteen kinds twelve are caught of every patient, one of 8 in 20: a mean would be 95 %."""
    kinds = [f"kind {k}" for k in range(12)]
    table = copies({(patient, kind): kind != "shift" or patient < 8 for patient in range(20) for kind in (*kinds, "shift")})
    assert table["flagged"].mean() > 0.95
    assert _worst_copy(table) == {"worst_copy": 0.4, "worst_copy_low": rate(8, 20).low, "worst_copy_high": rate(8, 20).high, "worst_copy_kind": "shift 1, videos"}


def test_two_clips_of_a_patient_are_one_patient():
    table = pd.concat([copies({(0, "crop"): True, (1, "crop"): True}), copies({(0, "crop"): False, (1, "crop"): True})])
    assert _recall(table) == rate(1, 2)


def test_every_patient_comes_once_before_any_comes_twice():
    patients = np.array(["a", "a", "b", "b", "b", "c"])
    rows, number = _patients_first(np.array([1, 0, 3, 2, 5, 4]), patients)
    assert patients[rows].tolist() == ["a", "b", "c", "a", "b", "b"] and rows[:3].tolist() == [1, 3, 5]
    assert number == {1: 0, 3: 1, 5: 2, 0: 0, 2: 1, 4: 1}


def at(*cosines):
    """Embeddings with these cosines to a gallery of one axis."""
    return torch.tensor([[c, np.sqrt(1 - c * c)] for c in cosines], dtype=torch.float32)


def test_sensitivity_specificity_and_consistency_are_of_patients():
    """One patient in ten calibrates above 0.5, so at alpha 0.2 a score above 0.5 is rejected. Two TEST patients, two copied ones."""
    calibrating = np.array([0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6], np.float32)
    screen = Screen(torch.tensor([[1.0, 0.0]]), torch.from_numpy(calibrating)[:, None], torch.arange(10), 0.2)
    assert 0.5 <= screen.threshold(1) < 0.6
    strangers = [at(0.0, 0.9), at(0.0, 0.0, 0.0, 0.9), at(0.0)]  # clips of the patients x, x, y
    copied = [(0, True, False, 0.95, True), (0, False, True, 0.95, True), (0, False, False, 0.0, False), (1, False, True, 0.0, False)]
    planted = pd.DataFrame(
        [("image", *row) for row in copied] + [("video", *row) for row in copied[:2]],
        columns=["sample", "patient", "near", "required", "score", "flagged"],
    )
    told = _filter_quality(screen, planted, strangers, np.array(["x", "x", "y"]), {"image": 1, "video": 4}, seed=0)
    # Patient 0: both copies that count; the one that need not be caught does not count. Patient 1: none of one.
    assert told["sensitivity_image"] == 0.5 and told["sensitivity_image_low"] == rate(1, 2).low
    assert told["sensitivity_video"] == 1.0 and told["sensitivity_video_low"] == rate(1, 1).low and told["sensitivity"] == 0.5
    # Frames: 2 of x's 6 are rejected, none of y's. Videos of four frames: both of x's clips (the shorter one counts whole).
    assert told["specificity_image"] == pytest.approx(1 - (2 / 6) / 2) and told["specificity_video"] == pytest.approx(0.5)
    assert told["specificity"] == told["specificity_video"]
    # Scores of 0, 0.9 and 0.95 are clear whoever calibrates.
    assert told["consistency"] == pytest.approx(1) and told["consistency_image_low"] == pytest.approx(rate(4, 4).low)
