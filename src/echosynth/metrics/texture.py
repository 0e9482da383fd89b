"""Grey levels and speckle: what an apical view measures, whether real, simulated or synthetic."""

import numpy as np
from scipy.ndimage import binary_fill_holes, uniform_filter

ROWS, COLUMNS = slice(40, 90), slice(30, 82)  # of a 112 x 112 apical view: inside the sector, on the heart


def grey_levels(clip: np.ndarray) -> dict[str, float]:
    """Mean, sd and dark share (< 10) of a clip uint8 (T, H, W), and median and 90th percentile of its pixels of 10 and over (NaN where there are none)."""
    lit = clip[clip >= 10]
    median, high = np.percentile(lit, [50, 90]) if len(lit) else (np.nan, np.nan)
    return {"mean": float(clip.mean()), "sd": float(clip.std()), "dark_share": 1 - lit.size / clip.size, "lit_median": float(median), "lit_p90": float(high)}


def lit_region(clip: np.ndarray) -> np.ndarray:
    """Where the scanner shows something: bool (H, W), the pixels of a clip uint8 (T, H, W) whose mean over time and 5 x 5 neighbours is 10 or more, with the dark cavities they enclose; the whole frame where there are none."""
    lit = binary_fill_holes(uniform_filter(clip.mean(0), 5) >= 10)
    return lit if lit.any() else np.ones_like(lit)


def speckle_autocorrelation(clip: np.ndarray, lags: tuple[int, ...] = (1, 2, 3, 4), frame_lags: tuple[int, ...] = (1, 2, 5)) -> dict[str, float]:
    """Autocorrelation of the high-pass texture (minus a 9 x 9 box mean) of a clip uint8 (T, 112, 112) in the middle of the sector.

    Keys `down_k` and `across_k` for lags in pixels, `time_k` for lags in frames. The texture of a frame has zero mean by construction; the correlation of lag k is
    sum x y / sqrt(sum x^2 sum y^2) over the pairs that exist. NaN where there is no texture or the clip is too short.
    """
    assert clip.shape[1:] == (112, 112)
    grey = clip.astype(np.float32)
    texture = (grey - uniform_filter(grey, size=(0, 9, 9)))[:, ROWS, COLUMNS]

    def correlation(axis: int, lag: int) -> float:
        if texture.shape[axis] <= lag:
            return float("nan")
        x = np.take(texture, range(lag, texture.shape[axis]), axis)
        y = np.take(texture, range(texture.shape[axis] - lag), axis)
        scale = np.sqrt(np.square(x, dtype=np.float64).sum() * np.square(y, dtype=np.float64).sum())
        return float((x * y).sum(dtype=np.float64) / scale) if scale > 1e-6 * x.size else float("nan")  # below: rounding of the box mean

    found = {f"down_{lag}": correlation(1, lag) for lag in lags} | {f"across_{lag}": correlation(2, lag) for lag in lags}
    return found | {f"time_{lag}": correlation(0, lag) for lag in frame_lags}
