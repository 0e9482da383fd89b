"""MAE, PSNR and SSIM against closed forms."""

import numpy as np
import pytest

from echosynth.metrics.images import mae, psnr, ssim, texture_sd


def frames(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((3, 24, 20))


def test_equal_frames():
    x = frames()
    assert (mae(x, x) == 0).all() and np.isinf(psnr(x, x)).all()
    assert ssim(x, x) == pytest.approx(np.ones(3))


def test_constant_error():
    x = frames()
    assert mae(x, x - 0.1) == pytest.approx([0.1] * 3)
    assert psnr(x, x - 0.1) == pytest.approx([20.0] * 3)
    assert psnr(255 * x, 255 * x - 25.5, data_range=255) == pytest.approx([20.0] * 3)


def test_ssim_of_constant_frames_is_the_luminance_term():
    """With no variance SSIM = (2 a b + C1) / (a^2 + b^2 + C1), C1 = 1e-4."""
    a, b = np.full((1, 16, 16), 0.3), np.full((1, 16, 16), 0.6)
    assert ssim(a, b)[0] == pytest.approx((2 * 0.18 + 1e-4) / (0.09 + 0.36 + 1e-4))


def test_ssim_of_an_inverted_checkerboard():
    """One window: x = m + s q, y = m - s q with q = +-1, whose weighted mean is e = (sum of g (-1)^k)^2 with g the window's one-dimensional weights."""
    k = np.arange(11) - 5
    g = np.exp(-(k**2) / (2 * 1.5**2))
    g /= g.sum()
    q = np.where((k[:, None] + k) % 2, -1.0, 1.0)
    m, s, e = 0.5, 0.2, (g * (-1.0) ** k).sum() ** 2
    mean_x, mean_y, variance = m + s * e, m - s * e, s * s * (1 - e * e)
    expected = (2 * mean_x * mean_y + 1e-4) * (-2 * variance + 9e-4) / ((mean_x**2 + mean_y**2 + 1e-4) * (2 * variance + 9e-4))
    assert ssim((m + s * q)[None], (m - s * q)[None])[0] == pytest.approx(expected)


def test_ssim_is_symmetric_and_falls_with_noise():
    x, noise = frames(), np.random.default_rng(1).normal(size=(3, 24, 20))
    figures = [ssim(x, x + level * noise).mean() for level in (0.05, 0.2, 0.8)]
    assert 1 > figures[0] > figures[1] > figures[2]
    assert ssim(x, x + 0.2 * noise) == pytest.approx(ssim(x + 0.2 * noise, x))


def test_integer_frames_do_not_wrap_around():
    black, white = np.zeros((1, 16, 16), np.uint8), np.full((1, 16, 16), 255, np.uint8)
    assert mae(black, white)[0] == 255 and psnr(black, white, 255)[0] == pytest.approx(0.0)
    assert ssim(black, white, 255)[0] == pytest.approx(ssim(black / 255, white / 255)[0])


def test_texture_is_what_a_box_mean_takes_away():
    white = np.random.default_rng(0).normal(0, 10, (2, 200, 200))
    assert texture_sd(white) == pytest.approx(np.full(2, 10 * np.sqrt(1 - 1 / 81)), rel=0.02)
    assert texture_sd(np.full((1, 30, 30), 7.0))[0] == 0
