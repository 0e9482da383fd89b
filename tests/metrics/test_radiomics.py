"""Radiomic features of pictures whose features are known."""

import numpy as np
import pytest

from echosynth.metrics.radiomics import FEATURES, radiomic_features


def features(clip):
    return dict(zip(FEATURES, radiomic_features(clip), strict=True))


def test_stripes_by_hand():
    """Columns of 64 and 128, levels 8 and 16: neighbours across differ by 8 levels, those below by none. Sobel sees no difference between the columns on either side, but 32 a pixel at the two borders."""
    clip = np.tile(np.where(np.arange(40) % 2, 128, 64).astype(np.uint8), (2, 40, 1))
    found = features(clip)
    assert (found["mean"], found["sd"], found["skewness"], found["kurtosis"]) == pytest.approx((96, 32, 0, -2))
    assert (found["entropy"], found["p10"], found["p90"], found["lit_share"]) == pytest.approx((1, 64, 128, 1))
    for offset in ("across_1", "across_3"):
        assert [found[f"{name}_{offset}"] for name in ("contrast", "correlation", "homogeneity", "joint_entropy")] == pytest.approx([64, -1, 1 / 65, 1])
    for offset in ("down_1", "down_3"):
        assert [found[f"{name}_{offset}"] for name in ("contrast", "correlation", "homogeneity", "joint_entropy")] == pytest.approx([0, 1, 1, 1])
    assert found["gradient_mean"] == pytest.approx(32 * 2 / 40, rel=1e-4) and found["gradient_sd"] == pytest.approx(32 * np.sqrt(0.05 * 0.95), rel=1e-4)


def test_a_ramp_has_its_slope():
    ramp = np.tile((50 + 3 * np.arange(40)).astype(np.uint8), (3, 40, 1))
    inner = features(ramp)
    assert inner["gradient_mean"] == pytest.approx(3 * 39 / 40, rel=0.03)  # half of it at either border
    assert inner["contrast_down_1"] == 0 and 0 < inner["contrast_across_1"] < inner["contrast_across_3"]


def test_only_what_is_lit_counts():
    """A grey disc on black and on a black ground four times as large has the same texture; only the lit share differs."""
    y, x = np.mgrid[:60, :60]
    disc = np.where((y - 30) ** 2 + (x - 30) ** 2 < 400, 100, 0)
    disc = np.where(disc > 0, disc + np.random.default_rng(0).integers(-20, 20, disc.shape), 0).astype(np.uint8)[None]
    small, large = features(disc), features(np.pad(disc, ((0, 0), (30, 30), (30, 30))))
    assert large["lit_share"] == pytest.approx(small["lit_share"] / 4)
    assert {k: v for k, v in small.items() if k != "lit_share"} == pytest.approx({k: v for k, v in large.items() if k != "lit_share"})


def test_black_and_constant_clips_have_finite_features():
    for grey in (0, 77):
        found = radiomic_features(np.full((1, 40, 40), grey, np.uint8))
        assert np.isfinite(found).all() and found[0] == grey


def test_frames_are_averaged():
    clip = np.stack([np.full((20, 20), grey, np.uint8) for grey in (40, 80, 120)])
    assert features(clip)["mean"] == pytest.approx(80) and features(clip)["sd"] == 0
