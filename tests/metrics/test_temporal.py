"""Dominant period, regularity and flicker of clips whose motion is known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from echosynth.cohort.phantom.patient import beat as phantom_beat
from echosynth.metrics.temporal import Beat, beat, flicker, high_frequency_share, motion_trace, peaks, periodogram, regularity, resample
from toy_hearts import beating_ellipse


@pytest.mark.parametrize(("heart_rate", "fps"), [(50, 32.0), (75, 50.0), (110, 32.0)])
def test_the_period_is_that_of_the_beat(heart_rate, fps):
    clip = beating_ellipse(60, np.random.default_rng(heart_rate), frames=round(2 * fps), fps=fps, heart_rate=heart_rate)
    found = beat(motion_trace(clip), fps)
    assert found.period == pytest.approx(60 / heart_rate, rel=0.07)
    assert found.share > 0.8 and found.dominant


def hearts(seconds, jitter, count=200, rates=(55, 95)):
    """Contraction of simulated hearts at 32 frames a second, with noise: (count, T). Beats vary by the relative sd `jitter`."""
    time, rng = np.arange(round(32 * seconds)) / 32, np.random.default_rng(4)
    return np.array([phantom_beat(time, rng.uniform(*rates), 0.2, rng, jitter).contraction + 0.05 * rng.standard_normal(len(time)) for _ in range(count)])


def irregular(seconds, spread, count=200):
    """Beats that follow each other at times of 0.8 s in the mean whose relative sd is `spread` (gamma), each a smooth swing of 0.35 s: (count, T)."""
    time, rng, shape = np.arange(round(32 * seconds)) / 32, np.random.default_rng(5), spread**-2
    traces = []
    for _ in range(count):
        starts = np.cumsum(np.maximum(rng.gamma(shape, 0.8 / shape, 40), 0.3)) - 2
        traces.append(sum(np.where(abs(time - start) < 0.175, np.cos(np.pi * (time - start) / 0.35) ** 2, 0) for start in starts))
    return np.array(traces) + 0.02 * rng.standard_normal((count, len(time)))


def dominant(traces):
    return np.mean([Beat(*found, traces.shape[1] / 32).dominant for found in zip(*peaks(traces, 32.0), strict=True)])


@pytest.mark.parametrize("seconds", [2.0, 2.6, 5.0])
def test_coloured_noise_and_random_walks_have_no_dominant_period(seconds):
    """The first version's rule, a sinusoid that explains 30 % of the variance, let 49 % of the noise with a = 0.8 pass and 25 % of the walks."""
    noise = np.random.default_rng(6).standard_normal((400, round(32 * seconds) + 300))
    made = {a: lfilter([1.0], [1.0, -a], noise, axis=1)[:, 300:] for a in (0.5, 0.8, 0.9, 0.97, 1.0)}
    frames = noise.shape[1]
    pink = np.fft.irfft(np.fft.rfft(noise) / np.sqrt(np.maximum(np.fft.rfftfreq(frames), 1 / frames)), frames)[:, 300:]
    shares = {colour: dominant(traces) for colour, traces in (made | {"pink": pink}).items()}
    assert max(shares.values()) <= 0.05, shares


@pytest.mark.parametrize("seconds", [2.0, 2.6])
def test_regular_hearts_have_a_dominant_period_and_are_regular(seconds):
    traces = hearts(seconds, jitter=0.02)
    assert dominant(traces) >= 0.95
    found = np.array([regularity(trace, 32.0) for trace in traces])
    assert np.isnan(found).mean() < 0.6 and np.nanquantile(found, 0.05) > 0.9 and np.nanmean(found) > 0.95


def test_beating_ellipses_of_pixels_have_a_dominant_period():
    traces = np.array([motion_trace(beating_ellipse(55, np.random.default_rng(k), size=56)) for k in range(40)])
    assert dominant(traces) >= 0.95


def test_irregular_rhythms_are_not_regular():
    """Beats whose times vary by 50 % may have a dominant period in two seconds; the second figure says what they are."""
    spreads = {spread: np.nanmean([regularity(trace, 32.0) for trace in irregular(6.0, spread)]) for spread in (0.02, 0.17, 0.5)}
    assert spreads[0.02] > 0.95 and 0.78 < spreads[0.17] < 0.9 and spreads[0.5] < 0.65, spreads


def test_regularity_by_hand():
    time = np.arange(128) / 32
    assert regularity(np.cos(2 * np.pi * time), 32.0) == pytest.approx(1, abs=1e-9)
    phase = np.interp(time, [0, 0.8, 2.0, 2.8, 4.0], [0, 1, 2, 3, 4])  # beats of 0.8 and 1.2 s in turn
    # upstrokes, at phase 3/4, lie 1.1, 0.9 and 1.1 s apart, downstrokes, at phase 1/4, 0.9, 1.1 and 0.9 s: mean 1 s, sd 0.1 sqrt(6/5)
    assert regularity(np.cos(2 * np.pi * phase), 32.0) == pytest.approx(1 - 0.1 * np.sqrt(6 / 5), abs=0.01)
    assert np.isnan(regularity(np.cos(2 * np.pi * time[:45]), 32.0))  # 1.4 beats
    assert np.isnan(regularity(np.full(64, 3.0), 32.0))


def test_systole_is_up():
    """The cavity is smallest, so the picture brightest, where the volume is: the trace follows the mean brightness."""
    clip = beating_ellipse(60, np.random.default_rng(3), noise=10)
    assert np.corrcoef(motion_trace(clip), clip.mean((1, 2)))[0, 1] > 0.95


def test_noise_still_pictures_and_drifts_do_not_beat():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (64, 112, 112), dtype=np.uint8)
    assert not beat(motion_trace(noise), 32.0).dominant
    still = beat(motion_trace(np.repeat(noise[:1], 64, 0)), 32.0)
    assert still.share == 0 and not still.dominant
    assert not beat(np.linspace(0, 1, 64), 32.0).dominant
    assert not beat(np.array([1.0, 2.0, 1.0]), 32.0).dominant
    assert not any(beat(rng.standard_normal(64), 32.0).dominant for _ in range(100))


def test_periodogram_of_a_sinusoid_on_an_offset():
    time = np.arange(64) / 32
    trace = 7 + 3 * np.sin(2 * np.pi * 1.3 * time + 0.4)
    assert periodogram(trace, 32.0, np.array([1.3])) == pytest.approx([1.0])
    mixed = np.sin(2 * np.pi * 2 * time) + np.sin(2 * np.pi * 5 * time)  # whole cycles: orthogonal, half of the power each
    assert periodogram(mixed, 32.0, np.array([2.0, 5.0, 8.0])) == pytest.approx([0.5, 0.5, 0.0], abs=1e-9)
    chord = np.stack([np.sin(2 * np.pi * 2 * time) + np.sin(2 * np.pi * 4 * time), trace])
    assert periodogram(chord, 32.0, np.array([2.0]), harmonics=2)[0] == pytest.approx([1.0])
    assert periodogram(chord, 32.0, np.array([2.0, 1.3]))[:, 1][1] == pytest.approx(1.0)


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
