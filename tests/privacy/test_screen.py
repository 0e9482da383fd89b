"""Conformal screening: hand-worked p-values, validity on exchangeable patients, exactness of the search."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch.nn import functional as F

from echosynth.errors import InputError
from echosynth.privacy.screen import Screen, draws, rate, similarity


def unit(rng, *shape):
    return F.normalize(torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)), dim=-1)


def screen_of(held_out, patients, alpha=0.05):
    """A screen with these scores (clips, F) of held-out frames; the gallery is one axis, so that a cosine can be chosen."""
    return Screen(torch.tensor([[1.0, 0.0]]), torch.tensor(held_out), torch.tensor(patients), alpha)


def at(*cosines):
    """Embeddings with these cosines to the gallery of `screen_of`."""
    return torch.tensor([[c, np.sqrt(1 - c * c)] for c in cosines], dtype=torch.float32)


def test_p_is_vovks_where_each_patient_has_one_draw():
    screen = screen_of([[0.1], [0.3], [0.5], [0.7]], [0, 1, 2, 3])
    assert screen.p_value(np.array([0.9, 0.6, 0.5, 0.2, 0.0]), 1) == pytest.approx([1 / 5, 2 / 5, 3 / 5, 4 / 5, 5 / 5])  # a tie counts against keeping nobody


def test_each_patient_has_one_vote():
    # Patient 0 has two clips of two frames, patient 1 one of one frame.
    screen = screen_of([[0.1, 0.4], [0.6, 0.8], [0.5, np.nan]], [0, 0, 1])
    assert screen.p_value(0.55, 1) == pytest.approx((1 + 2 / 4) / 3)
    assert screen.p_value(0.45, 1) == pytest.approx((1 + 2 / 4 + 1) / 3)
    # Windows of two frames: maxima 0.4, 0.8; the clip of one frame counts whole.
    assert screen.p_value(0.45, 2) == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert screen.p_value(0.45, 50) == screen.p_value(0.45, 2)


def test_p_is_never_above_one():
    # Shares of a seventh that add up to a little more than sixty.
    screen = screen_of([[0.5] * 7] * 60, list(range(60)))
    assert screen._law(1)[1][0] > 60 and screen.p_value(-1.0, 1) == 1.0


def test_windows_slide():
    scores, weights = draws([np.array([1.0, 5.0, 2.0, 3.0]), np.array([4.0])], np.array([0, 1]), 2)
    assert scores.tolist() == [5, 5, 3, 4]
    assert weights == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])


def test_a_screen_looks_at_every_kth_frame_of_held_out_clips_and_of_samples():
    screen = Screen(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.1, 0.4, 0.2], [0.3, 0.2, 0.5]]), torch.tensor([0, 1]), 0.05, every=4)
    frames = np.arange(10)
    assert screen.looked_at(frames).tolist() == [0, 4, 8] and screen.looked_at(frames[:1]).tolist() == [0]
    assert screen.looked_at(torch.arange(8)).tolist() == [0, 4]


def test_two_halves_of_a_calibration_agree_on_what_is_clear():
    rng = np.random.default_rng(0)
    screen = screen_of(rng.normal(0.4, 0.1, (80, 1)).astype(np.float32).clip(-1, 1), range(80), alpha=0.05)
    line = screen.threshold(1)
    agreed = screen.agreement(np.array([0.0, line, 0.99]), 1, seed=0)
    assert agreed[0] == agreed[2] == 1 and 0.3 < agreed[1] < 1
    assert np.array_equal(agreed, screen.agreement(np.array([0.0, line, 0.99]), 1, seed=0))


def test_halves_of_a_calibration_are_of_patients():
    # Two patients with two clips each: a half is one patient with both clips, so of the three scores one half rejects what is above its own patient's.
    screen = screen_of([[0.1], [0.2], [0.6], [0.7]], [0, 0, 1, 1], alpha=0.5)
    assert screen.agreement(np.array([0.05, 0.4, 0.9]), 1, seed=0) == pytest.approx([1, 0, 1])
    with pytest.raises(ValueError, match="one held-out patient"):
        screen_of([[0.1]], [0]).agreement(np.array([0.5]), 1, seed=0)


def test_a_verdict_takes_the_nearest_frame():
    screen = screen_of(np.linspace(0, 0.6, 39, dtype=np.float32)[:, None], range(39))
    stranger, copy = screen.verdict(at(0.1, 0.3, 0.2)), screen.verdict(at(0.1, 0.95, 0.2))
    assert stranger.score == pytest.approx(0.3) and stranger.kept
    assert copy.score == pytest.approx(0.95) and copy.p == pytest.approx(1 / 40) and not copy.kept
    assert screen.verdict(at(0.3), "image").p == screen.p_value(np.float32(0.3), 1)


def test_what_is_rejected_is_what_lies_above_the_threshold():
    rng = np.random.default_rng(0)
    held_out = np.round(rng.random((60, 8)), 1).astype(np.float32)  # many ties
    for alpha in (0.02, 0.05, 0.3):
        screen = screen_of(held_out, np.arange(60) // 2, alpha)
        for frames in (1, 3, 20):
            scores = np.append(rng.random(300), np.arange(0, 1.1, 0.1)).astype(np.float32)
            assert (screen.rejects(screen.p_value(scores, frames)) == (scores > screen.threshold(frames))).all()


def test_alpha_that_is_just_reached_rejects():
    held_out = np.arange(39, dtype=np.float32)[:, None] / 100
    assert not screen_of(held_out, range(39)).verdict(at(0.375)).kept  # p = 2 / 40 = 0.05


def test_too_few_patients_reject_above_all_of_them():
    few = screen_of([[0.1], [0.3], [0.5]], [0, 1, 2])
    assert not few.enough and few.level == 1 / 4
    assert few.verdict(at(0.4)).kept and not few.verdict(at(0.6)).kept
    assert screen_of(np.zeros((19, 1), np.float32), range(19)).enough  # 1 / 20 = alpha
    assert not screen_of(np.zeros((18, 1), np.float32), range(18)).enough


@pytest.mark.parametrize("frames", [1, 4])
def test_false_rejections_stay_within_alpha_on_exchangeable_patients(frames):
    """Frames of a patient go together, clips differ in number and length: over many calibrations a new patient's draw is rejected with probability at most alpha, and not far below."""
    rng, trials, alpha, patients = np.random.default_rng(1), 1500, 0.1, 40
    rejected = 0
    for _ in range(trials):
        level, clips = rng.standard_normal(patients + 1), rng.integers(1, 3, patients + 1)
        owner = np.repeat(np.arange(patients + 1), clips)
        scores = level[owner, None] + 0.3 * rng.standard_normal((len(owner), 6))
        own = scores[owner == patients]
        start = rng.integers(6 - frames + 1)
        score = own[rng.integers(len(own)), start : start + frames].max()
        held = owner < patients
        screen = Screen(torch.zeros(1, 2), torch.from_numpy(scores[held].astype(np.float32)), torch.from_numpy(owner[held]), alpha)
        rejected += bool(screen.rejects(screen.p_value(score, frames)))
    assert binom.cdf(rejected, trials, alpha) < 0.999  # not more than alpha
    assert rejected / trials > 0.6 * alpha


def test_p_values_are_uniform_where_each_patient_has_one_draw():
    rng, trials, patients = np.random.default_rng(2), 2000, 19
    scores = rng.random((trials, patients + 1)).astype(np.float32)
    p = [screen_of(row[1:, None], range(patients)).p_value(row[0], 1) for row in scores]
    counts = np.bincount(np.rint(np.array(p) * 20).astype(int), minlength=21)[1:]
    low, high = binom.ppf([1e-5, 1 - 1e-5], trials, 1 / 20)
    assert ((low <= counts) & (counts <= high)).all()


def test_the_search_is_exact_for_any_block():
    rng = np.random.default_rng(3)
    gallery, queries = unit(rng, 700, 128), unit(rng, 90, 128)
    queries[::9] = gallery[::70]  # copies
    direct = (queries.numpy().astype(np.float64)[:, None] * gallery.numpy().astype(np.float64)[None]).sum(2).max(1).astype(np.float32)
    for block in (5, 7, 64, 10_000):
        assert np.array_equal(similarity(queries, gallery, block).numpy(), direct)


def test_verdicts_do_not_depend_on_the_company():
    rng = np.random.default_rng(4)
    screen = Screen.fit(unit(rng, 300, 128), [unit(rng, 5, 128) for _ in range(40)], range(40), 0.05)
    sample = unit(rng, 12, 128)
    assert screen.score(sample) == max(screen.verdict(frame[None], "image").score for frame in sample)


def test_fit_scores_the_held_out_clips():
    rng = np.random.default_rng(5)
    gallery, clips = unit(rng, 50, 16), [unit(rng, 3, 16), unit(rng, 1, 16)]
    screen = Screen.fit(gallery, clips, ["b", "a"], 0.05)
    assert torch.allclose(screen.held_out[0], (clips[0] @ gallery.T).amax(1)) and screen.held_out[1, 1:].isnan().all()
    assert screen.n_patients == 2


def test_false_rejection_is_a_mean_over_patients():
    screen = screen_of(np.linspace(0, 0.5, 39, dtype=np.float32)[:, None], range(39))
    # Patient a: all four frames rejected; patient b: one of two; c and d: none.
    measured = screen.false_rejection([at(0.9, 0.9), at(0.8, 0.7), at(0.9, 0.1), at(0.1), at(0.2)], ["a", "a", "b", "c", "d"], 1)
    assert measured.share == pytest.approx(1.5 / 4) and measured.count == 4
    assert measured.low < measured.share < measured.high


def test_clopper_pearson():
    # Closed forms at the ends (rule of three), and the classical 5 of 10.
    assert rate(0, 20).high == pytest.approx(1 - 0.025 ** (1 / 20)) and rate(0, 20).low == 0
    assert rate(20, 20).low == pytest.approx(0.025 ** (1 / 20)) and rate(20, 20).high == 1
    assert rate(5, 10)[1:3] == pytest.approx((0.187086, 0.812914), abs=1e-6)


def test_save_and_load(tmp_path):
    rng = np.random.default_rng(6)
    screen = Screen.fit(unit(rng, 30, 8), [unit(rng, 4, 8), unit(rng, 2, 8), unit(rng, 3, 8)], ["x", "y", "x"], 0.2, 3)
    screen.save(tmp_path)
    again, sample = Screen.load(tmp_path), unit(rng, 3, 8)
    assert again.every == 3 and again.verdict(sample) == screen.verdict(sample) and again.level == screen.level and again.n_patients == 2
    assert json.loads((tmp_path / "calibration.json").read_text()) == {"alpha": 0.2, "every": 3}


def test_a_broken_calibration_is_the_users_to_know(tmp_path):
    with pytest.raises(InputError, match="run the stage reid again"):
        Screen.load(tmp_path)
    screen_of([[0.1]], [0]).save(tmp_path)
    (tmp_path / "calibration.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0nonsense")
    with pytest.raises(InputError, match="calibration"):
        Screen.load(tmp_path)


def test_one_draw_of_each_patient_is_one_of_the_patient_s_own_windows():
    held_out = torch.tensor([[0.1, 0.2, 0.3], [0.9, torch.nan, torch.nan], [0.5, 0.6, torch.nan]])
    screen = Screen(torch.zeros(1, 2), held_out, torch.tensor([0, 0, 1]), 0.05)
    drawn = np.array([screen.one_draw_each(2, np.random.default_rng(seed)) for seed in range(60)])
    assert drawn.shape == (60, 2) and {round(float(value), 4) for value in drawn[:, 0]} == {0.2, 0.3, 0.9} and np.allclose(drawn[:, 1], 0.6)
