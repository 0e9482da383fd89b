"""Grey levels and speckle statistics against fields whose statistics are known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from echosynth.metrics.texture import grey_levels, speckle_autocorrelation


def test_grey_levels_by_hand():
    clip = np.array([[[0, 5, 10, 20]], [[30, 40, 50, 60]]], np.uint8)
    found = grey_levels(clip)
    assert found["mean"] == pytest.approx(215 / 8) and found["dark_share"] == pytest.approx(0.25)
    assert found["lit_median"] == 35 and found["lit_p90"] == 55
    assert np.isnan(grey_levels(np.zeros((2, 4, 4), np.uint8))["lit_median"])


def expected(sigma):
    """Autocorrelation (lags down, lags across) of white noise after a Gaussian filter and the high-pass: that of the impulse response."""
    impulse = np.zeros((65, 65))
    impulse[32, 32] = 1
    response = gaussian_filter(impulse, sigma)
    response -= uniform_filter(response, 9)
    power = np.fft.ifft2(np.abs(np.fft.fft2(response, (128, 128))) ** 2).real
    return power / power[0, 0]


@pytest.mark.parametrize("sigma", [(0.0, 0.0), (0.7, 1.2)])
def test_filtered_noise_has_the_autocorrelation_of_its_filter(sigma):
    rng = np.random.default_rng(1)
    field = np.stack([gaussian_filter(rng.standard_normal((112, 112)), sigma) for _ in range(20)])
    found = speckle_autocorrelation((128 + 30 * field / field.std()).clip(0, 255).astype(np.uint8))
    for lag in (1, 2, 3, 4):
        assert found[f"down_{lag}"] == pytest.approx(expected(sigma)[lag, 0], abs=0.03)
        assert found[f"across_{lag}"] == pytest.approx(expected(sigma)[0, lag], abs=0.03)
    assert abs(found["time_1"]) < 0.03


def test_a_still_picture_keeps_its_speckle():
    still = speckle_autocorrelation(np.repeat(np.random.default_rng(0).integers(0, 256, (1, 112, 112), dtype=np.uint8), 4, 0))
    assert [still["time_1"], still["time_2"]] == pytest.approx([1, 1])
    assert np.isnan(still["time_5"]) and np.isnan(speckle_autocorrelation(np.full((6, 112, 112), 80, np.uint8))["down_1"])
