"""Synthesis: what each place of the cohort is to hold, and how an interrupted one goes on. The drawing itself is in tests/end_to_end."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from echosynth.cohort.echonet import Cohort
from echosynth.seals import make_key
from echosynth.stages.candidates import GPU_GROUP, _groups
from echosynth.stages.journal import Journal
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
    return Cohort(Path("nowhere"), pd.DataFrame({"name": [f"c{i}" for i in range(500)], "ef": ef, "split": split}), "f")


def test_a_place_is_the_same_however_many_there_are(cohort):
    few, many = make_plan(cohort, 5, "cohort", 3), make_plan(cohort, 50, "cohort", 3)
    assert few.names == many.names[:5] and (few.ef == many.ef[:5]).all()
    assert len(set(many.names)) == 50 and all(name.startswith("0X") and len(name) == 18 and int(name, 16) for name in many.names)
    assert not set(many.names) & set(make_plan(cohort, 50, "cohort", 4).names)


def test_efs_follow_the_training_histogram_and_are_nobodys(cohort):
    ef = make_plan(cohort, 2000, "cohort", 0).ef
    assert abs((ef < 40).mean() - 0.25) < 0.03 and abs(np.median(ef[ef > 40]) - 60) < 1
    assert ef.max() < 90  # of the 99s in VAL and TEST nothing is drawn
    assert not set(ef) & set(cohort.clips["ef"])
    assert (ef == ef.round(2)).all()


def test_balanced_efs_lie_evenly_within_the_histogram(cohort):
    ef, train = make_plan(cohort, 2000, "balanced", 0).ef, cohort.split("TRAIN")["ef"]
    low, high = np.percentile(train, [1, 99])
    assert train.min() < low - 0.1 < ef.min() < low + 1 and high - 1 < ef.max() <= high + 0.01
    assert abs((ef < (low + high) / 2).mean() - 0.5) < 0.03


def test_mixed_efs_follow_the_histogram_half_of_the_time(cohort):
    low = {law: (make_plan(cohort, 4000, law, 0).ef < 40).mean() for law in ("cohort", "balanced", "mixed")}
    assert abs(low["balanced"] - low["cohort"]) > 0.1 and low["mixed"] == pytest.approx((low["cohort"] + low["balanced"]) / 2, abs=0.03)


def test_uniform_and_fixed_efs(cohort):
    ef = make_plan(cohort, 2000, "uniform", 0).ef
    assert 10 <= ef.min() < 11 and 89 < ef.max() <= 90 and abs(ef.mean() - 50) < 2
    assert set(make_plan(cohort, 9, "37.5", 0).ef) == {37.5}


@pytest.mark.parametrize("size", [1, GPU_GROUP])
def test_a_place_has_one_row_whoever_shares_its_call(size):
    for slots in ([0, 1, 2, 9, 17], [17], [9, 1]):
        calls = _groups(slots, size)
        assert all(len(members) == size for members, _ in calls)
        assert sorted(slot for _, row in calls for slot in row) == sorted(slots)
        for members, row in calls:
            assert all(members[i] == slot and i == slot % size for slot, i in row.items())
            assert sum(member != -1 for member in members) == len(row)


def test_a_journal_counts_what_is_whole(tmp_path):
    def clip(slot):
        return tmp_path / f"{slot}.avi"

    key = make_key(tmp_path)
    journal = Journal(tmp_path / "screening.jsonl", clip, key)
    for slot in (4, 2, 7):
        clip(slot).write_bytes(b"frames of %d" % slot)
        journal.finish(slot, 0.5, [{"slot": slot}])
    clip(2).unlink()
    with journal.path.open("a") as file:
        file.write('{"slot": 9, "ro')  # killed in the middle of a line
    clip(9).touch()
    assert list(Journal(journal.path, clip, key).done) == [4, 7]
    assert [json.loads(line)["slot"] for line in journal.path.read_text().splitlines()] == [4, 7]


@pytest.mark.parametrize("damage", ["clip", "row", "line"])
def test_a_journal_names_what_is_damaged_and_does_not_count_it(tmp_path, capsys, damage):
    def clip(slot):
        return tmp_path / f"{slot}.avi"

    key = make_key(tmp_path)
    journal = Journal(tmp_path / "screening.jsonl", clip, key)
    for slot in (0, 1, 2):
        clip(slot).write_bytes(b"frames of %d" % slot)
        journal.finish(slot, 0.5, [{"slot": slot, "score": 0.25}])
    lines = journal.path.read_text().splitlines(keepends=True)
    if damage == "clip":
        clip(1).write_bytes(b"frames of 9")
    elif damage == "row":
        journal.path.write_text(lines[0] + lines[1].replace("0.25", "0.35") + lines[2])
    else:
        journal.path.write_text(lines[0] + lines[1][:-20] + "\n" + lines[2])
    assert list(Journal(journal.path, clip, key).done) == [0, 2]
    said = capsys.readouterr().err.replace("\n", "")
    assert ("1.avi: changed" if damage == "clip" else "line 2: ") in said and "made again" in said
