"""Optical flow of pictures that move by a known amount, seams by hand, beats of known areas."""

import numpy as np
import pytest
from scipy.ndimage import fourier_shift, gaussian_filter

from echosynth.metrics.motion import FLOW, GRID, consistency, flow_statistics, optical_flow, seams

SIZE = 112


def moving(down, right, frames=6, seed=0):
    """A random pattern of some 10 pixels that moves by (down, right) pixels a frame, around the edges."""
    pattern = gaussian_filter(np.random.default_rng(seed).standard_normal((SIZE, SIZE)), 6, mode="wrap")
    pattern = 128 + 40 * pattern / pattern.std()
    clip = [np.fft.ifft2(fourier_shift(np.fft.fft2(pattern), (down * t, right * t))).real for t in range(frames)]
    return np.stack(clip).clip(0, 255).round().astype(np.uint8)


@pytest.mark.parametrize(("down", "right"), [(0.5, 0.0), (0.0, -1.0), (1.0, 0.7), (2.0, -1.5)])
def test_the_flow_is_the_motion(down, right):
    fps = 50.0
    inner = optical_flow(moving(down, right), fps)[:, 4:-4, 4:-4]
    found = np.median(inner, axis=(0, 1, 2)) * SIZE / fps  # pixels a frame
    assert found == pytest.approx([down, right], abs=0.15 * np.hypot(down, right))
    assert optical_flow(moving(down, right), fps).shape == (5, GRID, GRID, 2)


def test_statistics_of_a_steady_motion():
    found = dict(zip(FLOW, flow_statistics(moving(0, 1.0), 50.0), strict=True))
    assert found["p50"] == pytest.approx(50 / SIZE, rel=0.15)
    assert found["p50"] < found["p90"] < found["p99"] and found["pulsation"] < 0.1 * found["mean"]
    twice = dict(zip(FLOW, flow_statistics(moving(0, 1.0), 100.0), strict=True))
    assert twice["mean"] == pytest.approx(2 * found["mean"])


def test_nothing_moves_in_a_still_or_black_clip():
    assert flow_statistics(np.repeat(moving(0, 0, frames=1), 5, 0), 50.0) == pytest.approx(np.zeros(6))
    assert flow_statistics(np.zeros((5, SIZE, SIZE), np.uint8), 50.0) == pytest.approx(np.zeros(6))


def test_motion_that_comes_and_goes_pulsates():
    go = moving(0, 1.5, frames=7)
    clip = go[[0, 1, 2, 3, 3, 3, 3, 4, 5, 6]]
    found = dict(zip(FLOW, flow_statistics(clip, 50.0), strict=True))
    assert found["pulsation"] == pytest.approx(found["mean"] / np.sqrt(2), rel=0.15)  # 6 of 9 steps move: sd / mean of a share p is sqrt((1 - p) / p)


def test_seams_by_hand():
    """Greys 0 1 3 4 8 10 9: changes 1 2 1 4 2 1. Joined before frames 4 (a change of 4) and 2 (of 2); the others are 1 1 2 1, median 1."""
    clip = np.array([0, 1, 3, 4, 8, 10, 9], np.uint8)[:, None, None]
    found = seams(clip, np.array([4, 2]))
    assert found.quantiles.tolist() == [1.0, 0.875] and found.ratios.tolist() == [4, 2]


def test_seams_that_are_none_are_uniform_and_a_jump_is_at_the_top():
    rng = np.random.default_rng(0)
    quantiles = []
    for _ in range(300):
        clip = rng.integers(0, 256, (30, 6, 6), dtype=np.uint8)
        quantiles.append(seams(clip, np.array([15])).quantiles[0])
    assert np.mean(quantiles) == pytest.approx(0.5, abs=0.05) and np.std(quantiles) == pytest.approx(1 / np.sqrt(12), abs=0.03)
    jump = np.concatenate([rng.integers(0, 100, (10, 6, 6)), rng.integers(155, 255, (10, 6, 6))]).astype(np.uint8)
    assert seams(jump, np.array([10])).quantiles[0] == 1


def test_equal_beats_are_consistent():
    time = np.arange(200) / 50
    found = consistency(20 + 6 * np.cos(2 * np.pi * 1.25 * time), 50.0)
    assert found.beats == 5 and found.ed < 0.01 and found.es < 0.01 and found.interval < 0.03


def test_beats_of_known_spread():
    """Five beats of 0.8 s whose smallest areas are 10 and 14 in turn, the largest 26."""
    fps, beats = 50.0, 5
    phase = np.linspace(0, 2 * np.pi * beats, round(beats * 0.8 * fps), endpoint=False)
    smallest = np.where((phase // (2 * np.pi)) % 2 == 0, 10.0, 14.0)
    found = consistency(smallest + (26 - smallest) * (0.5 + 0.5 * np.cos(phase)), fps)
    expected = np.array([10, 14, 10, 14, 10.0])
    assert found.beats == 5 and found.ed == pytest.approx(0, abs=0.01)
    assert found.es == pytest.approx(expected.std(ddof=1) / expected.mean(), rel=0.02)
    assert found.interval == pytest.approx(0, abs=0.03)


def test_no_beat_no_figure():
    for area in (np.full(100, 20.0), np.linspace(10, 20, 100)):
        found = consistency(area, 50.0)
        assert found.beats == 0 and np.isnan([found.ed, found.es, found.interval]).all()
