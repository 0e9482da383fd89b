"""Planted copies are what they say they are."""

import numpy as np
import pytest
import torch

from echosynth.networks.autoencoder import Autoencoder, AutoencoderConfig, decode_clip, encode_clip
from echosynth.privacy.planted import KINDS, NEAR, Kind, changed, copies, shift, zoom


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(0)
    return Autoencoder(AutoencoderConfig(widths=(8, 8), blocks=(1, 1), decoder_blocks=(1, 1))).eval()


@pytest.fixture
def clip():
    return np.random.default_rng(0).integers(30, 200, (3, 32, 32), dtype=np.uint8)


def test_every_kind_changes_the_clip_and_keeps_its_shape(clip, autoencoder):
    made = list(copies([clip], [np.random.default_rng(1)], autoencoder))
    assert [kind for kind, _ in made] == list(KINDS) and {kind.name for kind in NEAR} == {"round trip", "noise", "gain", "shift"}
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
