"""What each place of a synthetic cohort is to hold."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from echosynth.cohort.echonet import Cohort
from echosynth.stages.plan import make_plan, split_labels


def counts(labels):
    return {split: int((labels == split).sum()) for split in ("TRAIN", "VAL", "TEST")}


def test_splits_are_in_the_proportions_of_the_source():
    assert counts(split_labels({"TRAIN": 7465, "VAL": 1288, "TEST": 1277}, 10030, 0)) == {"TRAIN": 7465, "VAL": 1288, "TEST": 1277}
    # 12 of (.6, .2, .2) is 7.2, 2.4, 2.4: the remainders .4 are the largest, and the first of them takes the place that is left.
    assert counts(split_labels({"TRAIN": 60, "VAL": 20, "TEST": 20}, 12, 0)) == {"TRAIN": 7, "VAL": 3, "TEST": 2}


def test_no_split_is_left_empty_where_there_is_room():
    assert counts(split_labels({"TRAIN": 98, "VAL": 1, "TEST": 1}, 3, 0)) == {"TRAIN": 1, "VAL": 1, "TEST": 1}
    assert len(split_labels({"TRAIN": 98, "VAL": 1, "TEST": 1}, 1, 0)) == 1


def test_splits_are_shuffled_by_the_seed():
    source = {"TRAIN": 60, "VAL": 20, "TEST": 20}
    assert list(split_labels(source, 50, 0)) == list(split_labels(source, 50, 0)) != list(split_labels(source, 50, 1))


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    ef = np.concatenate([rng.normal(60, 5, 300), rng.normal(25, 3, 100), np.full(100, 99.0)])
    split = np.array(["TRAIN"] * 400 + ["VAL"] * 50 + ["TEST"] * 50)
    return Cohort(Path("nowhere"), pd.DataFrame({"name": [f"c{i}" for i in range(500)], "patient": np.arange(500) // 2, "ef": ef, "split": split}), "f")


def test_a_place_is_the_same_however_many_there_are(cohort):
    few, many = make_plan(cohort, 5, "cohort", 3), make_plan(cohort, 50, "cohort", 3)
    assert few.names == many.names[:5] and (few.ef == many.ef[:5]).all()
    assert len(set(many.names)) == 50 and all(name.startswith("0X") and len(name) == 18 and int(name, 16) for name in many.names)
    assert not set(many.names) & set(make_plan(cohort, 50, "cohort", 4).names)


def test_efs_follow_the_law_of_the_training_patients(cohort):
    ef, train = make_plan(cohort, 2000, "cohort", 0).ef, cohort.split("TRAIN")["ef"]
    assert abs((ef < 40).mean() - 0.25) < 0.05 and ef.mean() == pytest.approx(train.mean(), abs=2) and ef.std() == pytest.approx(train.std(), abs=2)
    assert ef.max() < 90  # of the 99s in VAL and TEST nothing is drawn
    assert (ef == ef.round(2)).all()


def test_balanced_efs_lie_evenly_within_a_range_of_whole_five_points(cohort):
    ef = make_plan(cohort, 2000, "balanced", 0).ef
    low, high = 5 * round(ef.min() / 5), 5 * round(ef.max() / 5)
    assert (low, high) == (15, 75) and low <= ef.min() < low + 0.2 and high - 0.2 < ef.max() <= high
    assert abs((ef < (low + high) / 2).mean() - 0.5) < 0.03


def test_mixed_efs_follow_the_law_half_of_the_time(cohort):
    low = {law: (make_plan(cohort, 4000, law, 0).ef < 40).mean() for law in ("cohort", "balanced", "mixed")}
    assert abs(low["balanced"] - low["cohort"]) > 0.1 and low["mixed"] == pytest.approx((low["cohort"] + low["balanced"]) / 2, abs=0.03)


def test_uniform_and_fixed_efs(cohort):
    ef = make_plan(cohort, 2000, "uniform", 0).ef
    assert 10 <= ef.min() < 11 and 89 < ef.max() <= 90 and abs(ef.mean() - 50) < 2
    assert set(make_plan(cohort, 9, "37.5", 0).ef) == {37.5}
