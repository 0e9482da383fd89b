"""How close a picture is to its original: MAE, PSNR, SSIM, and how much of its texture is left. Frames are (N, H, W); each function gives one figure a frame."""

import numpy as np
from scipy.ndimage import correlate1d, uniform_filter

_RADIUS, _SIGMA = 5, 1.5  # of the window of SSIM


def mae(original: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean absolute error (N,) of frames (N, H, W)."""
    return np.abs(original.astype(np.float64) - other).mean((1, 2))


def psnr(original: np.ndarray, other: np.ndarray, data_range: float = 1.0) -> np.ndarray:
    """Peak signal-to-noise ratio (N,) in dB, 10 log10(data_range^2 / MSE) over the whole frame; infinite where the frames are equal."""
    error = np.square(original.astype(np.float64) - other).mean((1, 2))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(data_range**2 / error)


def ssim(original: np.ndarray, other: np.ndarray, data_range: float = 1.0) -> np.ndarray:
    """Structural similarity (N,): mean over the places where the 11 x 11 Gaussian window (sd 1.5) fits in, K1 = 0.01, K2 = 0.03 (Wang et al. 2004)."""
    assert min(original.shape[1:]) > 2 * _RADIUS
    x, y = original.astype(np.float64), other.astype(np.float64)
    kernel = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    kernel /= kernel.sum()
    inside = (slice(None), slice(_RADIUS, -_RADIUS), slice(_RADIUS, -_RADIUS))

    def blur(image: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(image, kernel, 1), kernel, 2)[inside]

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, covariance = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    return ((2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean((1, 2))


def texture_sd(frames: np.ndarray) -> np.ndarray:
    """Standard deviation (N,) of frames (N, H, W) minus their 9 x 9 box mean: what is left of it in a reconstruction tells speckle from a smoothed picture."""
    grey = frames.astype(np.float64)
    return (grey - uniform_filter(grey, size=(1, 9, 9))).std((1, 2))
