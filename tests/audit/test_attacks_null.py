"""A release of hearts that nobody trained on: every attack has an AUC about a half, and its interval holds 0.5."""

import pytest
from benchmarks.attacks_null import null, summary, through_encoders


@pytest.fixture(scope="module")
def table():
    return null(patients=150, clips=200, seeds=20).set_index("attack")


def test_no_attack_accuses_a_release_of_fresh_hearts(table):
    every = table[~table.index.str.contains(":")]
    assert len(every) == 7 and (every["auc"] - 0.5).abs().max() < 0.05, every
    assert every["holds 0.5"].min() >= 0.8 and every["holds 0.5"].mean() >= 0.93, every


def test_nor_do_its_groups(table):
    groups = table[table.index.str.contains(":")]
    assert len(groups) >= 14 and groups["holds 0.5"].min() >= 0.75 and groups["holds 0.5"].mean() >= 0.92, groups


def test_an_encoder_taught_on_members_is_no_judge_and_the_untaught_one_is():
    found = summary([{name: result.auc for name, result in through_encoders(150, 200, seed).items()} for seed in range(8)]).set_index("attack")
    before, after = (found.loc[f"nearest sample, encoder {name}", "auc"] for name in ("before", "taught on the members"))
    assert abs(before - 0.5) < 0.04 < 0.05 < abs(after - 0.5), found
