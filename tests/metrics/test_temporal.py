"""Beat and flicker of clips whose motion is known."""

import numpy as np
import pytest

from echosynth.metrics.temporal import beat, flicker, high_frequency_share, motion_trace, periodogram, resample
from toy_hearts import beating_ellipse


@pytest.mark.parametrize(("heart_rate", "fps"), [(50, 32.0), (75, 50.0), (110, 32.0)])
def test_the_beat_is_found(heart_rate, fps):
    clip = beating_ellipse(60, np.random.default_rng(heart_rate), frames=round(2 * fps), fps=fps, heart_rate=heart_rate)
    found = beat(motion_trace(clip), fps)
    assert found.period == pytest.approx(60 / heart_rate, rel=0.07)
    assert found.share > 0.8 and found.present


def test_systole_is_up():
    """The cavity is smallest, so the picture brightest, where the volume is: the trace follows the mean brightness."""
    clip = beating_ellipse(60, np.random.default_rng(3), noise=10)
    assert np.corrcoef(motion_trace(clip), clip.mean((1, 2)))[0, 1] > 0.95


def test_noise_still_pictures_and_drifts_do_not_beat():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (64, 112, 112), dtype=np.uint8)
    assert not beat(motion_trace(noise), 32.0).present
    still = beat(motion_trace(np.repeat(noise[:1], 64, 0)), 32.0)
    assert still.share == 0 and not still.present
    assert not beat(np.linspace(0, 1, 64), 32.0).present
    assert not beat(np.array([1.0, 2.0, 1.0]), 32.0).present
    assert not any(beat(rng.standard_normal(64), 32.0).present for _ in range(100))


def test_periodogram_of_a_sinusoid_on_an_offset():
    time = np.arange(64) / 32
    trace = 7 + 3 * np.sin(2 * np.pi * 1.3 * time + 0.4)
    assert periodogram(trace, 32.0, np.array([1.3])) == pytest.approx([1.0])
    mixed = np.sin(2 * np.pi * 2 * time) + np.sin(2 * np.pi * 5 * time)  # whole cycles: orthogonal, half of the power each
    assert periodogram(mixed, 32.0, np.array([2.0, 5.0, 8.0])) == pytest.approx([0.5, 0.5, 0.0], abs=1e-9)


def test_flicker_by_hand():
    clip = np.zeros((3, 2, 2), np.uint8)
    clip[1] = 255
    assert flicker(clip) == 255
    assert flicker(np.array([[[10]], [[14]], [[13]]], np.uint8)) == 2.5
    assert np.isnan(flicker(clip[:1]))


@pytest.mark.parametrize("frames", [63, 64])
def test_high_frequency_share(frames):
    rng = np.random.default_rng(0)
    assert high_frequency_share(rng.integers(0, 255, (frames, 20, 20), dtype=np.uint8)) == pytest.approx(0.5, abs=0.03)
    time = np.arange(64)[:, None, None]
    slow, fast = 128 + 100 * np.sin(2 * np.pi * 4 * time / 64), 128 + 100 * np.cos(np.pi * time)
    assert high_frequency_share(np.tile(slow, (1, 4, 4)).astype(np.uint8)) < 0.001
    assert high_frequency_share(np.tile(fast, (1, 4, 4)).astype(np.uint8)) == pytest.approx(1)
    assert np.isnan(high_frequency_share(np.full((8, 4, 4), 9, np.uint8)))


def test_resampling_keeps_the_time():
    clip = np.arange(100, dtype=np.uint8)[:, None, None]
    slow = resample(clip, 50.0, 25.0)[:, 0, 0]
    assert slow.tolist() == list(range(0, 100, 2))
    thirty_two = resample(clip, 50.0, 32.0)[:, 0, 0]
    assert len(thirty_two) == 64 and np.abs(thirty_two / 50 - np.arange(64) / 32).max() <= 0.5 / 50 + 1e-9
    assert resample(clip, 20.0, 32.0) is clip
