"""Which clips each regressor of an evaluation is trained on."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from echosynth.cohort.echonet import Cohort
from echosynth.config import preset
from echosynth.evaluation import trainings
from echosynth.networks.kinds import kind_of
from toy_study import make_clips

FIRST = torch.nn.Linear(1, 1)  # stands for the first regressor of TRTR


def cohort(name: str, **splits: int) -> Cohort:
    split = np.repeat(list(splits), list(splits.values()))
    clips = pd.DataFrame({"name": [f"{name}{i}" for i in range(len(split))], "split": split, "ef": 50.0, "patient": np.arange(len(split))})
    return Cohort(Path(name), clips, "f")


@pytest.fixture
def taught(monkeypatch):
    """The clips that each training was given, by the name of its folder."""
    found = {}
    monkeypatch.setattr(trainings, "train_regressor", lambda clips, network, training, folder, *rest: found.setdefault(folder.name, [path.stem for path, _ in clips]))
    monkeypatch.setattr(trainings, "tidy", lambda folder: None)
    return found


def test_tstr_has_as_many_clips_as_trtr_and_the_judge_nobody_of_training(taught, tmp_path):
    section = preset("demo").evaluation.model_copy(update={"seeds": 2, "trainings": ("mixed",), "curve": (0.5, 2.0), "judge": "held-out"})
    real, made, first = cohort("R", TRAIN=6, VAL=2, TEST=2), cohort("S", TRAIN=9, VAL=3), cohort("U", TRAIN=9, VAL=3)
    found = trainings.train_all(real, made, section, tmp_path, 0, FIRST, first)
    assert taught["trtr-2"] == [f"R{i}" for i in range(6)]
    assert taught["tstr"] == taught["tstr-2"] == [f"S{i}" for i in range(6)] and found.clips == 6
    assert taught["tstr-unselected"] == [f"U{i}" for i in range(6)]
    assert taught["judge"] == ["R6", "R7", "R8", "R9"] and found.judge_is_held_out
    assert len(taught["mixed"]) == 15 and taught["curve-3"] == ["S0", "S1", "S2"] and found.curve[12] is None


def test_a_small_synthetic_cohort_is_taken_whole(taught, tmp_path):
    section = preset("demo").evaluation.model_copy(update={"seeds": 1, "trainings": (), "curve": (), "judge": "trtr"})
    found = trainings.train_all(cohort("R", TRAIN=6), cohort("S", TRAIN=4), section, tmp_path, 0, FIRST)
    assert taught == {"tstr": ["S0", "S1", "S2", "S3"]} and (found.clips, found.real_clips) == (4, 6) and not found.unselected and found.judge is FIRST


def test_regressors_that_train_side_by_side_are_those_that_train_alone(tmp_path):
    """First weights and dropout come from generators of their own: with the global one, two threads would take turns at random."""
    for name in "RS":
        make_clips(tmp_path / name, [f"{name}{i}" for i in range(6)], np.linspace(30, 60, 6), fps=16.0, frames=12)
    real, made = (Cohort(tmp_path / name, cohort(name, TRAIN=6).clips, "f") for name in "RS")
    evaluation = preset("smoke").evaluation
    section = evaluation.model_copy(update={"seeds": 3, "curve": (), "trainings": (), "judge": "trtr", "training": evaluation.training.model_copy(update={"steps": 4})})
    threads, weights = torch.get_num_threads(), []
    for count in (3, 1):
        torch.set_num_threads(count)
        try:
            found = trainings.train_all(real, made, section, tmp_path / f"threads-{count}", 0, kind_of(section.network)(section.network))
        finally:
            torch.set_num_threads(threads)
        weights.append([parameter for network in found.real[1:] + found.synthetic for parameter in network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
