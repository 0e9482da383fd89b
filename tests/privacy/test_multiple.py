"""Benjamini-Hochberg on conformal p-values and the choice of a line: hand-worked, and by simulation."""

import numpy as np
import pytest
import torch
from scipy.stats import betabinom, binom

from echosynth.privacy.multiple import adjusted, benjamini_hochberg, excess, excess_p, fewest, operating_point
from echosynth.privacy.screen import Screen, rate


def test_hand_worked():
    p = np.array([0.041, 0.001, 0.039, 0.8, 0.008])
    # N p / j in order of p: .005, .02, .065, .05125, .8; the running minimum from the right makes .065 to .05125.
    assert adjusted(p) == pytest.approx([0.05125, 0.005, 0.05125, 0.8, 0.02])
    assert benjamini_hochberg(p, 0.05).tolist() == [False, True, False, False, True]
    assert benjamini_hochberg(p, 0.05125).tolist() == [True, True, True, False, True]


def test_alone_it_is_p_itself():
    assert adjusted(np.array([0.3])) == pytest.approx([0.3])
    assert benjamini_hochberg(np.array([0.05]), 0.05).all()


def test_adjusted_p_never_exceeds_one_and_keeps_the_order():
    p = np.sort(np.random.default_rng(0).uniform(1e-6, 1, 200))
    found = adjusted(p)
    assert (found >= p).all() and found.max() <= 1 and (np.diff(found) >= 0).all()


def test_false_alarms_stay_below_the_level_on_conformal_p_values():
    """30 calibration patients, 40 samples of which 8 are copies: the mean share of strangers among the flagged is at most the level, and in fact about level x 32 / 40."""
    rng, level, shares, caught = np.random.default_rng(1), 0.3, [], []
    copy = np.arange(40) < 8
    for _ in range(600):
        screen = Screen(torch.zeros(1, 2), torch.from_numpy(rng.standard_normal((30, 1), dtype=np.float32)), torch.arange(30), 0.05)
        flagged = benjamini_hochberg(screen.p_value(rng.standard_normal(40) + 4 * copy, 1), level)
        shares.append((flagged & ~copy).sum() / max(flagged.sum(), 1))
        caught.append(flagged[copy].mean())
    error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) < level * 0.8 + 4 * error and np.mean(shares) > level * 0.4 and np.mean(caught) > 0.8


@pytest.mark.parametrize(("samples", "patients", "level"), [(100, 99, 0.05), (1000, 100, 0.1), (50, 999, 0.05), (7, 30, 0.3)])
def test_how_many_copies_it_takes(samples, patients, level):
    needed = fewest(samples, patients, level)
    for copies, found in ((needed, True), (needed - 1, False)):
        p = np.ones(samples)
        p[:copies] = 1 / (patients + 1)
        assert benjamini_hochberg(p, level).any() == (found and copies > 0)


def test_an_operating_point_by_hand():
    # 59 copies are the fewest that assure 95 %: the threshold is the lowest of them.
    copies, strangers = np.arange(59) / 100 + 0.3, np.array([0.1, 0.35, 0.5, 0.2])
    point = operating_point([copies], strangers, np.array([0.5, 0.5, 1, 1]), 0.95)
    assert point.assured and point.threshold == 0.3 and point.recall == rate(59, 59)
    assert point.false_rejection == rate(1.5, 3)  # half of the first patient's draws, the second's one
    assert not operating_point([copies[:58]], strangers, np.ones(4), 0.95).assured
    assert operating_point([copies[:58]], strangers, np.ones(4), 0.95).threshold == 0.3


def test_the_kind_that_is_hardest_to_catch_decides():
    easy, hard = np.linspace(0.8, 0.9, 300), np.linspace(0.5, 0.9, 300)
    alone, both = operating_point([hard], np.ones(1), np.ones(1), 0.9), operating_point([easy, hard], np.ones(1), np.ones(1), 0.9)
    assert both == alone and operating_point([easy], np.ones(1), np.ones(1), 0.9).threshold > alone.threshold


def test_the_recall_promised_is_kept_as_often_as_promised():
    """The true recall of the threshold is known for uniform scores: 1 - threshold. It falls short in at most 1 - confidence of the trials, and not far less often."""
    rng, trials, wanted = np.random.default_rng(2), 2000, 0.9
    short = sum(1 - operating_point([rng.random(100)], np.ones(1), np.ones(1), wanted).threshold < wanted for _ in range(trials))
    level = binom.cdf(4, 100, 0.1)  # of the fifth lowest: cdf(4) = 2.4 %, cdf(5) = 5.8 %
    assert abs(short - trials * level) < 4 * np.sqrt(trials * level) and level < 0.05


# --- counts that share one calibration ---


def rejected(rng, patients, level, samples, trials):
    """How many of `samples` strangers a screen rejects whose calibration is one draw of each of `patients`: uniform scores, the r-th highest of the calibration is the line."""
    rank = int(level * (patients + 1) + 1e-9)
    line = np.array([np.sort(rng.random(patients))[-rank] for _ in range(trials)])
    return rng.binomial(samples, 1 - line)


@pytest.mark.parametrize(("patients", "level", "samples", "binomial"), [(60, 0.03, 700, 0.03), (1288, 0.05, 10030, 0.1)])
def test_strangers_are_no_excess_though_they_share_one_calibration(patients, level, samples, binomial):
    """At 0.001 the binomial test, as it was, calls 4 and 14 % of perfect releases copies; the beta-binomial one in a thousand."""
    counts = rejected(np.random.default_rng(0), patients, level, samples, 4000)
    found = np.array([excess_p(int(count), samples, patients, level) for count in np.unique(counts)])
    p = found[np.searchsorted(np.unique(counts), counts)]
    assert (p < 0.001).mean() < 0.0035 and abs((p < 0.05).mean() - 0.05) < 0.015
    assert (binom.sf(counts - 1, samples, level) < 0.001).mean() > binomial


def test_an_excess_by_hand():
    assert excess_p(40, 700, 60, 0.03) == pytest.approx(betabinom.sf(39, 700, 1, 60))
    assert excess_p(700, 10030, 1288, 0.05) == pytest.approx(betabinom.sf(699, 10030, 64, 1225))
    assert excess_p(40, 700, 60, 0.03, copied=1e-9) == pytest.approx(betabinom.sf(39, 700, 1, 60), rel=1e-3)
    assert excess_p(3, 10, 9, 0.01) == pytest.approx(betabinom.sf(2, 10, 1, 9))  # no p-value is below 1 / 10
    assert excess_p(0, 10, 9, 0.3) == 1 and excess_p(10, 10, 9, 0.3) < excess_p(9, 10, 9, 0.3)


@pytest.mark.parametrize("copied", [0.0, 0.05, 0.3])
def test_the_interval_of_an_excess_covers_it(copied):
    rng, patients, samples, level = np.random.default_rng(1), 200, 500, 0.05
    hits = 0
    for _ in range(400):
        line = np.sort(rng.random(patients))[-int(level * (patients + 1))]
        count = rng.binomial(samples, copied + (1 - copied) * (1 - line))
        found = excess(int(count), samples, patients, level)
        hits += found.low <= copied <= found.high
    assert hits / 400 > 0.92
    assert excess(150, 500, 200, 0.05).low > 0.15 and excess(25, 500, 200, 0.05).low == 0 and excess(0, 500, 200, 0.05).high == rate(0, 500).high


@pytest.mark.parametrize("spread", [(1.0, 0.0, 0.0), (0.5, 0.25, 0.25), (0.8, 0.1, 0.1)])
def test_the_error_holds_with_two_clips_a_patient_and_windows_of_frames(spread):
    """The screen itself, hierarchical: scores of frames vary by patient, by clip and from frame to frame; half of the patients have one clip. The test is conservative, never lenient."""
    rng, patients, frames, length, trials = np.random.default_rng(2), 40, 12, 4, 250
    of_patient, of_clip, of_frame = np.sqrt(spread)

    def clips(count):
        return of_patient * rng.standard_normal((count, 1)) + of_clip * rng.standard_normal((count, 1)) + of_frame * rng.standard_normal((count, frames))

    owner = np.concatenate([np.arange(patients), np.arange(patients // 2)])
    low = 0
    for _ in range(trials):
        heart = of_patient * rng.standard_normal((patients, 1))
        held_out = heart[owner] + of_clip * rng.standard_normal((len(owner), 1)) + of_frame * rng.standard_normal((len(owner), frames))
        screen = Screen(torch.zeros(1, 2), torch.from_numpy(held_out.astype(np.float32)), torch.from_numpy(owner), 0.06)
        made = clips(300)[:, :length].max(1)
        low += excess_p(int(screen.rejects(screen.p_value(made, length)).sum()), 300, patients, screen.level, several=True) < 0.05
    assert low / trials <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
