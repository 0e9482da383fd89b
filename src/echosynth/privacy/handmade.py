"""Embeddings that nobody trained: a judge that never took part in the filtering, and one of motion apart from anatomy.

What screened the synthetic samples has made them look harmless to itself, so an audit needs eyes of its own. These are fixed statistics of the pixels: cruder than a trained encoder,
but what they see cannot have been optimised away. Both give unit vectors, to be compared by cosine (neighbours.py, screen.py).
"""

import numpy as np
import torch
from scipy.fft import dct
from scipy.ndimage import uniform_filter
from torch import Tensor

from echosynth.metrics.motion import GRID
from echosynth.metrics.temporal import box_means, motion_trace
from echosynth.privacy.neighbours import unit

CELLS, LEVELS, LAGS = 14, 16, (1, 2, 3, 4)
WINDOW, STRIDE = 2.0, 0.04  # s: two beats, so that their rate counts; a beat found at most half a stride off its phase
BAND = 0.7, 12.0  # Hz: above breathing and the drift of the hand; early relaxation takes a twentieth of a second
SLOWEST = 8.0  # Hz that a clip's frame rate has to show; what it cannot show above that counts as 0
_WINDOW = 5  # of GRID cells a side, over which motion is taken to be the same
_MOTION_CELLS = 7  # a side: fine enough for the walls' inward motion, coarse enough to even out speckle


class NoMotion(ValueError):
    """A clip too short, or too slow, for its motion to be compared; the message says which."""


def embed_handmade(frames: np.ndarray) -> Tensor:
    """Frames uint8 (T, H, W) -> float32 (T, D), each of unit length (zero for a black frame). H and W at least 28, and the same on both sides of a comparison.

    Four parts of equal weight, each without its mean and of unit length: grey levels on a grid of 14 x 14 cells (where tissue lies in the sector); the logarithm of the speckle's
    strength in each (sd of what a box mean leaves); the speckle's correlation 1 to 4 pixels down and across; quantiles of the grey levels. Gain changes none by much.
    """
    assert frames.ndim == 3 and min(frames.shape[1:]) >= 2 * CELLS
    grey = frames.astype(np.float32)
    box = max(3, round(grey.shape[1] / 12) | 1)  # pixels; 9 of 112
    texture = grey - uniform_filter(grey, size=(0, box, box))
    quantiles = np.quantile(grey.reshape(len(grey), -1), np.linspace(0.02, 0.98, LEVELS), axis=1).T
    speckle = np.log(np.sqrt(np.maximum(_cells(texture**2), 0)) + 1)
    parts = (_cells(grey), speckle, _correlations(texture), quantiles)
    return unit(torch.from_numpy(np.concatenate([_scaled(part) for part in parts], 1)))


def embed_motion(clip: np.ndarray, fps: float) -> Tensor:
    """How a clip uint8 (T, H, W) moves, whoever it is: float32 (windows, D) of unit length, a row for each window of 2 s every 0.04 s. Raises NoMotion for a shorter or slower one.

    A window's row is the course in time of the clip's strongest pattern of optical flow (`flow_trace`): its DCT from 0.7 to 12 Hz, times frequency (an acceleration: how walls set off and stop
    tells beats apart better than where they are). The pattern itself, the anatomy, is not in it, nor is the amplitude. A beat copied to another heart has a cosine near 1 with the
    original in some pair of windows, at any phase; so the windows that fit best are what counts, and the others of a clip say nothing. Strangers who beat alike at the same rate are near
    as well: what counts is the comparison with held-out patients, as in screen.py, where the windows take the place of frames. A still clip gives zeros.

    Copies of motion apart from content as a danger of their own, and optical flow to see them: Chen et al. 2024, arXiv 2410.21669, who compare the fields place by place; Rahman et al. 2024,
    arXiv 2403.19593. Hearts differ in place and size, so here the courses are compared.
    """
    length, stride = round(WINDOW * fps) - 1, max(round(STRIDE * fps), 1)  # changes from frame to frame; frames
    if len(clip) <= length:
        raise NoMotion(f"the clip lasts {len(clip) / fps:.2f} s; its motion takes {WINDOW:g} s to tell")
    lowest, highest, needed = (round(2 * WINDOW * rate) for rate in (*BAND, SLOWEST))  # coefficient k of the DCT is at k / (2 WINDOW) Hz
    if needed > length:
        raise NoMotion(f"{fps:g} frames a second show no motion up to {SLOWEST:g} Hz")
    windows = np.lib.stride_tricks.sliding_window_view(flow_trace(clip), length)[::stride]
    frequency = np.arange(lowest, highest + 1)
    course = np.zeros((len(windows), len(frequency)))
    known = dct(windows, norm="ortho", axis=1)[:, lowest : highest + 1]
    course[:, : known.shape[1]] = known * frequency[: known.shape[1]]
    course[np.linalg.norm(course, axis=1) < 1e-6] = 0.0  # rounding of a trace that stands still
    return unit(torch.from_numpy(course))


def flow_trace(clip: np.ndarray) -> np.ndarray:
    """The course (T - 1,) of the strongest pattern of optical flow of a clip uint8 (T, H, W), T > 1: the leading principal component over time, with the sign that makes it rise where the motion
    trace (metrics/temporal.py) does.

    The flow is weighted by what there is to see it by: on box means, -sum g d over a window, the right-hand side of Lucas & Kanade (1981), with the gradient g of the mean of two frames and
    their difference d. That is the velocity times the window's sum of g g': noise in flat regions, where a velocity is all noise, weighs nothing.
    """
    grid = box_means(clip, GRID)
    change = np.diff(grid, axis=0)
    gradient = np.gradient((grid[1:] + grid[:-1]) / 2, axis=(1, 2))
    weighted = np.stack([-uniform_filter(part * change, (0, _WINDOW, _WINDOW)) for part in gradient], -1)
    side = GRID // _MOTION_CELLS
    field = weighted.reshape(len(change), _MOTION_CELLS, side, _MOTION_CELLS, side, 2).mean((2, 4)).reshape(len(change), -1)
    field = field - field.mean(0)
    values, vectors = np.linalg.eigh(field @ field.T)
    trace = vectors[:, -1] * np.sqrt(max(values[-1], 0.0))
    return -trace if trace @ np.diff(motion_trace(clip, _MOTION_CELLS)) < 0 else trace


def _cells(pictures: np.ndarray) -> np.ndarray:
    """Means over a grid of CELLS x CELLS boxes, (T, CELLS^2)."""
    rows, columns = (np.linspace(0, side, CELLS + 1).astype(int) for side in pictures.shape[1:])
    sums = np.add.reduceat(np.add.reduceat(pictures.astype(np.float64), rows[:-1], axis=1), columns[:-1], axis=2)
    return (sums / (np.diff(rows)[:, None] * np.diff(columns))).reshape(len(pictures), -1)


def _correlations(texture: np.ndarray) -> np.ndarray:
    """(T, 2 * lags) correlation of the texture with itself moved down and across; 0 where there is none."""
    found = []
    for axis in (1, 2):
        for lag in LAGS:
            x, y = np.take(texture, range(lag, texture.shape[axis]), axis), np.take(texture, range(texture.shape[axis] - lag), axis)
            scale = np.sqrt((x**2).sum((1, 2), dtype=np.float64) * (y**2).sum((1, 2), dtype=np.float64))
            found.append((x * y).sum((1, 2), dtype=np.float64) / np.maximum(scale, 1e-6))
    return np.stack(found, 1)


def _scaled(part: np.ndarray) -> np.ndarray:
    """Rows without their mean, of unit length; a constant row becomes zero."""
    part = part - part.mean(1, keepdims=True)
    length = np.linalg.norm(part, axis=1, keepdims=True)
    return np.where(length > 1e-6, part / np.maximum(length, 1e-6), 0.0)
