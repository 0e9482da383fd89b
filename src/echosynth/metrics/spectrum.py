"""Speckle as a spectrum: how much power a clip's texture has at each spatial and each temporal frequency, where the scanner shows something. No network."""

import numpy as np

from echosynth.metrics.texture import lit_region
from echosynth.metrics.wasserstein import mean_wasserstein

TILE = 32  # pixels, of the pieces whose spatial spectrum is taken; half of it is the number of annuli
SEGMENT = 16  # frames, of the pieces whose temporal spectrum is taken
_ROUNDING = 1 / 12  # variance that rounding to whole grey levels adds to every pixel: the least power there can be


def speckle_spectrum(clip: np.ndarray) -> np.ndarray:
    """Radially averaged power (16,) in dB re 1 grey level^2 of a clip uint8 (T, H, W), at 1/32 ... 16/32 cycles a pixel.

    Mean of the periodograms (Welch 1967) of tiles of 32 x 32 pixels, half overlapping, that are lit to nine tenths (of all tiles, where none is): minus its mean, under a Hann window.
    White noise of variance v has 10 log10(v + 1/12) at all frequencies but the lowest, from which the mean is taken.
    """
    _, height, width = clip.shape
    assert min(height, width) >= TILE
    region = lit_region(clip)
    corners = [(top, left) for top in range(0, height - TILE + 1, TILE // 2) for left in range(0, width - TILE + 1, TILE // 2)]
    lit = [(top, left) for top, left in corners if region[top : top + TILE, left : left + TILE].mean() >= 0.9] or corners
    hann = np.hanning(TILE + 1)[:-1]
    window = (hann[:, None] * hann).astype(np.float32)
    power = np.zeros((TILE, TILE))
    for top, left in lit:
        tile = clip[:, top : top + TILE, left : left + TILE].astype(np.float32)
        power += (np.abs(np.fft.fft2((tile - tile.mean((1, 2), keepdims=True)) * window)) ** 2).mean(0)
    power /= len(lit) * np.square(window, dtype=np.float64).sum()
    frequency = np.fft.fftfreq(TILE, 1 / TILE)
    ring = np.hypot(frequency[:, None], frequency).round().astype(int).ravel()
    inside = (ring >= 1) & (ring <= TILE // 2)
    rings = np.bincount(ring[inside], power.ravel()[inside])[1:] / np.bincount(ring[inside])[1:]
    return _decibel(rings)


def temporal_spectrum(clip: np.ndarray) -> np.ndarray:
    """Power over time (8,) in dB re 1 grey level^2 of the lit pixels of a clip uint8 (T, H, W) of at least 16 frames, at 1/16 ... 8/16 of its frame rate: compare clips of one rate.

    Mean of the periodograms of pieces of 16 frames, half overlapping: minus each pixel's mean, under a Hann window.
    """
    assert len(clip) >= SEGMENT
    pixels = clip[:, lit_region(clip)].astype(np.float32)
    window = np.hanning(SEGMENT + 1)[:-1, None].astype(np.float32)
    starts = range(0, len(clip) - SEGMENT + 1, SEGMENT // 2)
    power = np.zeros(SEGMENT // 2 + 1)
    for start in starts:
        piece = pixels[start : start + SEGMENT]
        power += (np.abs(np.fft.rfft((piece - piece.mean(0)) * window, axis=0)) ** 2).mean(1, dtype=np.float64)
    return _decibel(power[1:] / (len(starts) * np.square(window).sum()))


def spectrum_distance(real: np.ndarray, other: np.ndarray) -> float:
    """Between the spectra (n, K) and (m, K) of two sets of clips, in dB: the Wasserstein distance of the clips' power at each frequency, averaged over the frequencies. A gain of g dB in all clips is g."""
    return mean_wasserstein(real, other)


def _decibel(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power + _ROUNDING)
