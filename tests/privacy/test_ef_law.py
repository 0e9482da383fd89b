"""The law of the EFs: smooth whoever is in the cohort, faithful to mean and spread, and no help to an attacker."""

import numpy as np
import pytest
from benchmarks.ef_column import tried

from echosynth.metrics.ranking import mann_whitney
from echosynth.privacy.ef_law import SmoothLaw, ef_score, reflected


def mean_auc(members, clips, smooth, repeats):
    found = [tried(members, clips, smooth, seed) for seed in range(repeats)]
    return {name: np.mean([one[name] for one in found]) for name in found[0]}


@pytest.mark.parametrize(("members", "clips", "repeats"), [(60, 86, 60), (60, 700, 60), (180, 700, 40), (1000, 1430, 12), (7465, 10030, 3)])
def test_the_column_gives_no_member_away(members, clips, repeats):
    found = mean_auc(members, clips, True, repeats)
    assert max(found.values()) <= 0.53, found


def test_the_attack_sees_what_a_training_ef_with_noise_gives_away():
    assert mean_auc(60, 700, False, 40)["all widths, as it is"] > 0.57 and mean_auc(180, 700, False, 30)["all widths, as it is"] > 0.53


def efs(count, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(count) < 0.8, rng.normal(60, 6, count), rng.normal(38, 10, count))


@pytest.mark.parametrize("count", [60, 300, 5000])
def test_mean_and_spread_are_kept(count):
    ef = efs(count)
    drawn = SmoothLaw.fit(ef).draw(np.random.default_rng(1), 40_000)
    assert drawn.mean() == pytest.approx(ef.mean(), abs=0.8) and drawn.std() == pytest.approx(ef.std(), rel=0.1)


def test_the_width_by_hand():
    ef = np.repeat([45.0, 65.0], 50)  # mean 55, sd 10
    law = SmoothLaw.fit(ef)
    assert law.width == pytest.approx(10 * 2 / np.sqrt(5))  # u = 200 / 100
    assert np.unique(law.centres) == pytest.approx([55 - 10 / np.sqrt(5), 55 + 10 / np.sqrt(5)])  # 1 - w^2 / s^2 = 1/5
    many = SmoothLaw.fit(np.repeat([45.0, 65.0], 5000))
    assert many.width == 4.0 and np.unique(many.centres) == pytest.approx([55 - np.sqrt(84), 55 + np.sqrt(84)])
    assert SmoothLaw.fit([50.0, 50.0]).width == 4.0
    with pytest.raises(ValueError, match="no EF"):
        SmoothLaw.fit([])


def test_a_patient_counts_once():
    ef, patients = np.array([30.0] * 8 + [50.0, 60.0, 70.0]), ["a"] * 8 + ["b", "c", "d"]
    once = SmoothLaw.fit([30.0, 50.0, 60.0, 70.0])
    law = SmoothLaw.fit(ef, patients)
    assert law.centres == pytest.approx(once.centres) and law.width == once.width and law.range == once.range


def test_the_range_is_no_patients_ef():
    """Its ends are whole 5 points, and in most cohorts one outlier more moves neither."""
    ef = efs(2000)
    ends = SmoothLaw.fit(ef).range
    assert all(end % 5 == 0 for end in ends) and 5 <= ends[0] < ends[1] <= 95
    assert sum(SmoothLaw.fit(efs(2000, seed)).range != SmoothLaw.fit(np.append(efs(2000, seed), 8.3)).range for seed in range(30)) <= 8
    drawn = SmoothLaw.fit(ef).draw(np.random.default_rng(1), 20_000)
    assert ends[0] <= drawn.min() and drawn.max() <= ends[1]


def test_nothing_piles_up_at_the_ends():
    assert reflected(np.array([12.0, 8.0, 27.0, -15.0, 20.0]), 10, 20).tolist() == [12, 12, 13, 15, 20]
    rng = np.random.default_rng(2)
    law = SmoothLaw.fit(rng.uniform(5, 95, 4000))  # as many below the lower end of the range as could be
    drawn = law.draw(rng, 200_000)
    low, high = law.range
    edges = [((drawn >= low) & (drawn < low + 1)).mean(), ((drawn > high - 1) & (drawn <= high)).mean()]
    assert max(edges) < 2.2 * ((drawn >= 49) & (drawn < 51)).mean() / 2


def test_the_score_by_hand():
    released = np.array([40.0] * 5 + [60.0] * 5)
    score = ef_score(np.array([40.0, 50.0, 60.04]), released, (1.0,))
    assert score[0] == pytest.approx(score[2], abs=1e-6) and score[0] > 1 > score[1]
    # Half of the mass lies at 40: 0.5 N(0; 1) against 0.5 (N(0; 15) + N(20; 15))
    narrow, wide = 0.5 * 0.39894, 0.5 * 0.39894 / 15 * (1 + np.exp(-((20 / 15) ** 2) / 2))
    assert score[0] == pytest.approx(np.log(narrow / wide), abs=0.01)
    assert mann_whitney(ef_score(released, released), ef_score(np.linspace(20, 90, 40), released)) > 0.9
