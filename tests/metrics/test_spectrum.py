"""Spectra of noise whose power is known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from echosynth.metrics.spectrum import SEGMENT, TILE, speckle_spectrum, spectrum_distance, temporal_spectrum
from echosynth.metrics.wasserstein import standardised_wasserstein, wasserstein


def noise(sd=20.0, frames=32, size=64, seed=0):
    return (128 + np.random.default_rng(seed).normal(0, sd, (frames, size, size))).clip(0, 255).round().astype(np.uint8)


def test_white_noise_is_flat_at_its_variance():
    level = 10 * np.log10(400 + 2 / 12)
    clip = noise(frames=64, size=128)
    assert speckle_spectrum(clip)[1:] == pytest.approx(np.full(TILE // 2 - 1, level), abs=0.15)
    assert temporal_spectrum(clip)[1:] == pytest.approx(np.full(SEGMENT // 2 - 1, level), abs=0.15)


def test_filtered_noise_has_the_response_of_its_filter():
    """A Gaussian of sd s takes 10 log10(exp(-(2 pi f s)^2)) dB at f cycles a pixel."""
    field = np.stack([gaussian_filter(frame, 0.8, mode="wrap") for frame in np.random.default_rng(1).normal(0, 40, (40, 96, 96))])
    found = speckle_spectrum((128 + field).clip(0, 255).round().astype(np.uint8))
    frequency = np.arange(2, 9) / TILE
    expected = 10 * np.log10(1600) - 10 * np.log10(np.e) * (2 * np.pi * frequency * 0.8) ** 2
    assert found[1:8] == pytest.approx(expected, abs=0.5)


def test_a_slow_wave_is_in_its_bin_and_a_still_clip_in_none():
    time = np.arange(32)[:, None, None]
    wave = np.broadcast_to(128 + 60 * np.sin(2 * np.pi * 3 * time / SEGMENT), (32, 40, 40)).round().astype(np.uint8)
    assert temporal_spectrum(wave).argmax() == 2
    still = np.repeat(noise(frames=1), 32, 0)
    assert temporal_spectrum(still) == pytest.approx(np.full(SEGMENT // 2, 10 * np.log10(1 / 12)))


def test_the_order_of_frames_does_not_matter_in_space_and_does_in_time():
    clip = np.cumsum(np.random.default_rng(2).integers(-3, 4, (32, 48, 48)), 0).__add__(128).clip(0, 255).astype(np.uint8)
    shuffled = clip[np.random.default_rng(0).permutation(32)]
    assert speckle_spectrum(shuffled) == pytest.approx(speckle_spectrum(clip))
    assert temporal_spectrum(shuffled)[-1] > temporal_spectrum(clip)[-1] + 3


def test_a_gain_in_decibels_is_the_distance():
    rng = np.random.default_rng(3)
    spectra = rng.normal(20, 3, (30, 16))
    assert spectrum_distance(spectra, spectra + 2.5) == pytest.approx(2.5)
    assert spectrum_distance(spectra, spectra[rng.permutation(30)]) == pytest.approx(0, abs=1e-12)


def test_wasserstein_of_clips_that_lost_their_variety_by_hand():
    """From {0, 10} to {5, 5} every clip moves by 5; in sd of the first, sqrt(50), and with a constant column left out."""
    real, other = np.array([[0.0, 3], [10, 3]]), np.array([[5.0, 4], [5, 4]])
    assert wasserstein(real, other) == pytest.approx([5, 1])
    assert standardised_wasserstein(real, other) == pytest.approx(5 / np.sqrt(50))
    assert np.isnan(standardised_wasserstein(real[:, 1:], other[:, 1:]))


def test_only_lit_tiles_count():
    """Noise in the left half on black: as if the black half were not there."""
    half = noise(size=64)
    wide = np.concatenate([half, np.zeros((32, 64, 96), np.uint8)], 2)
    assert speckle_spectrum(wide)[3:] == pytest.approx(speckle_spectrum(half)[3:], abs=0.3)
