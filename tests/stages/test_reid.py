"""Planted copies are counted by patients: what is caught of a patient is caught only if all of it is."""

import numpy as np
import pandas as pd

from echosynth.privacy.screen import rate
from echosynth.stages.reid import _patients_first, _recall, _worst


def copies(caught: dict[tuple[int, str], bool]) -> pd.DataFrame:
    rows = [("video", patient, kind, 1.0, flagged) for (patient, kind), flagged in caught.items()]
    return pd.DataFrame(rows, columns=["sample", "patient", "kind", "strength", "flagged"])


def test_five_kinds_of_a_patient_are_one_patient():
    """Of 100 copies 98 are caught, of 20 patients 18: the interval is that of 20, not of 100."""
    table = copies({(patient, kind): (patient, kind) not in ((3, "crop"), (7, "noise")) for patient in range(20) for kind in ("crop", "noise", "gain", "shift", "round trip")})
    assert table["flagged"].mean() == 0.98
    assert _recall(table) == rate(18, 20) and _recall(table).low < 0.7
    assert _worst(table) == {"sample": "video", "kind": "crop 1", "recall": 0.95, "low": rate(19, 20).low, "high": rate(19, 20).high}


def test_two_clips_of_a_patient_are_one_patient():
    table = pd.concat([copies({(0, "crop"): True, (1, "crop"): True}), copies({(0, "crop"): False, (1, "crop"): True})])
    assert _recall(table) == rate(1, 2)


def test_every_patient_comes_once_before_any_comes_twice():
    patients = np.array(["a", "a", "b", "b", "b", "c"])
    rows, number = _patients_first(np.array([1, 0, 3, 2, 5, 4]), patients)
    assert patients[rows].tolist() == ["a", "b", "c", "a", "b", "b"] and rows[:3].tolist() == [1, 3, 5]
    assert number == {1: 0, 3: 1, 5: 2, 0: 0, 2: 1, 4: 1}
