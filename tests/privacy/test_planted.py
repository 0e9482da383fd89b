"""Planted copies are what they say they are."""

import numpy as np
import pytest
import torch

from echosynth.metrics.temporal import beat, motion_trace
from echosynth.networks.autoencoder import Autoencoder, AutoencoderConfig, decode_clip, encode_clip
from echosynth.privacy.planted import (
    KINDS,
    MOVED,
    NEAR,
    OTHER_EF,
    VIDEO_KINDS,
    VIDEOS,
    Kind,
    changed,
    copies,
    crop,
    mix,
    part,
    phase,
    power_curve,
    rotate,
    shift,
    smooth,
    speed,
    transplant,
    zoom,
)
from echosynth.privacy.screen import rate
from toy_hearts import beating_ellipse


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(0)
    return Autoencoder(AutoencoderConfig(widths=(8, 8), blocks=(1, 1), decoder_blocks=(1, 1))).eval()


@pytest.fixture
def clip():
    return np.random.default_rng(0).integers(30, 200, (3, 32, 32), dtype=np.uint8)


def test_every_kind_changes_the_clip_and_keeps_its_shape(clip, autoencoder):
    made = list(copies([clip], [np.random.default_rng(1)], autoencoder))
    assert [kind for kind, _ in made] == list(KINDS) and {kind.name for kind in NEAR} == {"round trip", "noise", "gain", "shift", "crop"}
    for _, (planted,) in made:
        assert planted.dtype == np.uint8 and planted.shape == clip.shape and not np.array_equal(planted, clip)


def test_noise_has_its_strength():
    grey = np.full((20, 64, 64), 128, np.uint8)
    planted = changed(grey, Kind("noise", 10, False), np.random.default_rng(0)).astype(float)
    assert abs(planted.std() - 10) < 0.1 and abs(planted.mean() - 128) < 0.1


def test_gain_goes_either_way(clip):
    ratios = {round(float(np.mean(changed(clip, Kind("gain", 1.1, True), np.random.default_rng(seed)) / clip)), 2) for seed in range(12)}
    assert ratios == {1.1, 0.91}


def test_gain_saturates():
    bright = np.full((1, 8, 8), 250, np.uint8)
    assert {int(changed(bright, Kind("gain", 2, False), np.random.default_rng(seed)).max()) for seed in range(8)} == {255, 125}


def test_shift_moves_by_whole_pixels(clip):
    moved = shift(clip, 1, -2)
    assert np.array_equal(moved[:, 1:, :-2], clip[:, :-1, 2:]) and not moved[:, 0].any() and not moved[:, :, -2:].any()


def test_zoom_keeps_the_middle_and_a_linear_ramp():
    ramp = np.broadcast_to(np.arange(0, 160, 2, dtype=np.uint8), (2, 80, 80)).copy()
    zoomed = zoom(ramp, 1.25).astype(float)
    expected = 79 + (np.arange(80) - 39.5) * 2 / 1.25
    assert np.abs(zoomed - expected).max() <= 0.51


def test_what_has_to_be_caught():
    moved = {(kind.name, kind.strength) for kind in MOVED}
    assert {("shift", 3), ("shift", 6), ("zoom", 1.15), ("rotation", 5), ("gain", 1.3), ("smooth", 1)} <= moved
    assert {kind.name for kind in VIDEOS} == {"round trip", "noise", "gain", "shift", "crop", "zoom", "rotation", "smooth", "reversal"}
    assert set(NEAR) < set(VIDEOS) and not any(kind.near for kind in MOVED)


def test_a_rotation_turns_about_the_middle_and_black_comes_in():
    picture = np.zeros((1, 81, 81), np.uint8)
    picture[0, 40, 60:65] = 200  # to the right of the middle, 22 pixels off
    turned = rotate(picture, 90)[0].astype(int)
    assert turned[60:65, 40].tolist() == [200] * 5 and turned.sum() == 1000  # clockwise: it now lies below
    y, x = np.mgrid[:81, :81] - 40.0
    half = rotate(np.where(np.hypot(y, x - 20) < 6, 200, 0).astype(np.uint8)[None], 5)[0].astype(float)
    assert (half * y).sum() / half.sum() == pytest.approx(20 * np.sin(np.deg2rad(5)), abs=0.1)
    assert rotate(np.full((1, 40, 40), 200, np.uint8), 45)[0, 0, 0] == 0


def test_a_rotation_of_a_wide_picture_keeps_its_shapes():
    y, x = np.mgrid[:60, :120] - np.array([29.5, 59.5])[:, None, None]
    turned = rotate(np.where(np.abs(x) < 3, 200, 0).astype(np.uint8)[None], 30)[0, 10:-10].astype(float)
    column = (turned * x[10:-10]).sum(1) / turned.sum(1)  # where the bar stands in each row
    assert np.polyfit(y[10:-10, 0], column, 1)[0] == pytest.approx(-np.tan(np.deg2rad(30)), rel=0.03)


def test_smoothing_has_its_width():
    point = np.zeros((2, 41, 41), np.uint8)
    point[0, 20, 20] = 250
    spread = smooth(np.repeat(point, 5, 1), 2)[0].astype(float)  # a line of five pixels, blurred across
    row = spread[102] / spread[102].sum()
    assert np.sqrt((row * (np.arange(41) - 20.0) ** 2).sum()) == pytest.approx(2, abs=0.15)
    assert not smooth(point, 2)[1].any()  # frames stay apart


def test_round_trip_is_the_autoencoders(clip, autoencoder):
    ((_, made),) = copies([clip, clip[:1]], [np.random.default_rng(0)] * 2, autoencoder, [Kind("round trip", 2, True)])
    for original, planted in zip((clip, clip[:1]), made, strict=True):
        for _ in range(2):
            original = decode_clip(autoencoder, encode_clip(autoencoder, original))
        assert np.array_equal(planted, original)


def test_a_copy_does_not_depend_on_the_company(clip, autoencoder):
    rng = np.random.default_rng
    together = dict(copies([clip, clip[:2] // 2], [rng(5), rng(6)], autoencoder))
    for kind, (alone,) in copies([clip[:2] // 2], [rng(6)], autoencoder):
        assert np.array_equal(alone, together[kind][1])


# --- videos ---


@pytest.fixture(scope="module")
def heart():
    """64 frames at 32 fps, 75 beats a minute: a beat is 25.6 frames."""
    return beating_ellipse(60, np.random.default_rng(2), size=48, heart_rate=75, noise=5)


def test_every_video_kind_changes_the_clip(heart, autoencoder):
    other = beating_ellipse(40, np.random.default_rng(3), frames=50, size=48)
    made = list(copies([heart], [np.random.default_rng(1)], autoencoder, VIDEO_KINDS, others=[other]))
    assert [kind for kind, _ in made] == list(VIDEO_KINDS) and {kind.name for kind in VIDEO_KINDS} == {
        "reversal",
        "phase",
        "speed",
        "crop",
        "mix",
        "part",
        "transplant",
    }
    for kind, (planted,) in made:
        assert planted.dtype == np.uint8 and planted.shape[1:] == heart.shape[1:] and not np.array_equal(planted, heart[: len(planted)])
        assert len(planted) == 64 or kind.name == "speed"


def test_reversed_twice_is_the_clip(heart):
    kind, rng = Kind("reversal", 1, False), np.random.default_rng(0)
    assert np.array_equal(changed(changed(heart, kind, rng), kind, rng), heart)


def test_a_phase_is_part_of_the_clips_own_beat(heart):
    for share, frames in ((0.25, 6), (0.5, 13)):
        assert np.array_equal(phase(heart, share), np.roll(heart, -frames, axis=0))
    still = np.arange(8, dtype=np.uint8)[:, None, None] * np.zeros((1, 4, 4), np.uint8)
    still[0] = 1  # a flash is no beat of its own: too short to look for one
    assert np.array_equal(phase(still[:4], 0.5), still[[2, 3, 0, 1]])


def test_speed_changes_the_beat_by_its_ratio(heart):
    period = beat(motion_trace(heart), 32).period
    for ratio in (1 / 1.25, 1.25):
        played = speed(heart, ratio)
        assert len(played) == (64 if ratio < 1 else 51)
        assert beat(motion_trace(played), 32).period == pytest.approx(period / ratio, rel=0.03)


def test_speed_blends_frames():
    ramp = np.arange(0, 100, 10, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    assert speed(ramp, 1.5)[:, 0, 0].tolist() == [0, 15, 30, 45, 60, 75, 90]
    assert speed(ramp, 0.5)[:, 0, 0].tolist() == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]
    assert np.array_equal(speed(ramp, 1.0), ramp)


def test_speed_and_crop_go_either_way(heart):
    assert {len(changed(heart, Kind("speed", 1.25, False), np.random.default_rng(seed))) for seed in range(8)} == {64, 51}
    crops = {changed(heart[:1], Kind("crop", 1.25, False), np.random.default_rng(seed)).tobytes() for seed in range(8)}
    assert len(crops) == 8


def test_a_crop_reaches_the_edges():
    ramp = np.broadcast_to(np.arange(0, 160, 2, dtype=np.uint8), (1, 80, 80)).copy()
    left, right = crop(ramp, 1.25, 0, -1).astype(float), crop(ramp, 1.25, 0, 1).astype(float)
    assert abs(left[0, 0, 0] - 0) <= 1 and abs(left[0, 0, -1] - 0.8 * 158) <= 1 and abs(right[0, 0, -1] - 158) <= 1
    assert np.array_equal(crop(ramp.transpose(0, 2, 1), 1.25, 1, 0), crop(ramp, 1.25, 0, 1).transpose(0, 2, 1))


def test_a_mix_is_weighted_and_the_other_clip_goes_round():
    clip, other = np.full((5, 2, 2), 100, np.uint8), np.array([0, 200], np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    assert mix(clip, other, 0.75)[:, 0, 0].tolist() == [75, 125, 75, 125, 75]


def test_a_part_is_in_the_middle_of_another_clip():
    clip, other = np.full((8, 2, 2), 100, np.uint8), np.array([0, 200, 50], np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    assert part(clip, other, 0.25)[:, 0, 0].tolist() == [0, 200, 50, 100, 100, 50, 0, 200]
    assert part(clip, other, 0.01)[:, 0, 0].tolist().count(100) == 1 and other[:, 0, 0].tolist() == [0, 200, 50]


def test_a_transplant_beats_like_the_one_and_looks_like_the_other(heart):
    other = beating_ellipse(45, np.random.default_rng(3), size=48, heart_rate=55, noise=5)
    made = transplant(heart, other)
    assert made.shape == heart.shape
    assert beat(motion_trace(made), 32).period == pytest.approx(beat(motion_trace(heart), 32).period, rel=0.03)
    assert np.corrcoef(motion_trace(made), motion_trace(heart))[0, 1] > 0.9
    distance = [np.abs(made.mean(0) - clip.mean(0)).mean() for clip in (other, heart)]
    assert distance[0] < 0.3 * distance[1]


def test_another_ef_is_made_by_who_can(heart, autoencoder):
    asked = []

    def animate(clip, points, rng):
        asked.append((points, rng.random()))
        return clip[:3]

    made = list(copies([heart], [np.random.default_rng(4)], autoencoder, OTHER_EF, other_ef=animate))
    rng = np.random.default_rng(4)
    assert asked == [(kind.strength, rng.random()) for kind in OTHER_EF] and all(np.array_equal(planted, heart[:3]) for _, (planted,) in made)


def test_power_curve_counts_by_kind_and_strength():
    mild, strong = Kind("noise", 4, True), Kind("noise", 20, False)
    curve = power_curve([(mild, True), (strong, False), (mild, True), (strong, True), (mild, False)])
    assert curve == {mild: rate(2, 3), strong: rate(1, 2)} and list(curve) == [mild, strong]
