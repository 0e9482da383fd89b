"""From squared envelopes to the clip on the screen: gain and its errors, log compression, grey map, persistence, sharpening."""

from collections.abc import Iterable

import numpy as np
from scipy.ndimage import uniform_filter

from echosynth.cohort.phantom.screen import ANGLES, RADII, Screen
from echosynth.cohort.phantom.sites import Site
from echosynth.cohort.phantom.tissue import Visit
from echosynth.randomness import numpy_rng

_LEAD = 4  # frames that a running mean remembers, about


def picture(powers: Iterable[np.ndarray], screen: Screen, visit: Visit) -> np.ndarray:
    """uint8 (T, size, size): B-mode frames of the squared envelopes (RADII, ANGLES). Outside the cone exactly 0; overlays are not in it (overlays.py)."""
    site = screen.site
    grey = _compressed(powers, site, visit)
    _persist(grey, np.float32(site.persistence))
    matrix, cone = screen.converter()
    shown = (matrix @ np.ascontiguousarray(grey.reshape(len(grey), -1).T)).T.reshape(-1, site.size, site.size)
    if abs(site.sharpening) > 0.02:
        shown = (shown + np.float32(site.sharpening) * (shown - uniform_filter(shown, (0, 3, 3)))) * cone
    return np.clip(np.rint(shown * 255), 0, 255).astype(np.uint8)


def _compressed(powers: Iterable[np.ndarray], site: Site, visit: Visit) -> np.ndarray:
    """Grey (T, RADII, ANGLES) in [0, 1]: white is a bright percentile of the first frame, not of what lies under the probe."""
    loss = _loss(site, visit)
    db = np.stack([np.float32(10 / np.log(10)) * np.log(power + np.float32(1e-12)) - loss for power in powers])
    reference = np.percentile(db[0, RADII // 6 :], 99.0)
    level = np.clip(1 + (db - np.float32(reference - site.gain - visit.gain)) / np.float32(site.dynamic_range), 0, 1)
    with np.errstate(divide="ignore"):
        return np.exp(np.float32(site.exponent) * np.log(level))  # as level ** gamma, in half the time


def _loss(site: Site, visit: Visit) -> np.ndarray:
    """dB (RADII, ANGLES) that are missing: attenuation, gain that the hand set badly, the sector's edges, shadows."""
    rng = numpy_rng(visit.seed, "shadows")
    rho = np.linspace(0, 1, RADII, dtype=np.float32)[:, None]
    angle = np.linspace(-1, 1, ANGLES, dtype=np.float32)[None]
    loss = site.attenuation * visit.depth * rho * 0.5 + site.edge * np.abs(angle) ** 4 + _shadows(rho, angle, site, rng)
    along = rng.normal(0, site.gain_error, 6)  # a slider each
    across = rng.normal(0, 0.7 * site.gain_error, 4)
    loss += np.interp(rho, np.linspace(0, 1, 6), along) + np.interp(angle, np.linspace(-1, 1, 4), across)
    return loss.astype(np.float32)


def _shadows(rho: np.ndarray, angle: np.ndarray, site: Site, rng: np.random.Generator) -> np.ndarray:
    """Loss in dB (RADII, ANGLES): up to three dark sectors behind ribs and lung, the widest at the sector's edges."""
    loss = np.zeros((RADII, ANGLES), np.float32)
    for _ in range(rng.integers(0, 4)):
        centre, width, start = rng.uniform(-1, 1), rng.uniform(0.04, 0.14), rng.uniform(0, 0.5)
        depth = rng.uniform(4, 14) * site.dropout
        loss += depth * np.exp(-0.5 * ((angle - centre) / width) ** 2) / (1 + np.exp(-(rho - start) / 0.03))
    for side in (-1, 1):
        depth, begins, start = rng.uniform(0, 24) * site.dropout, rng.uniform(0.45, 0.85), rng.uniform(0.1, 0.6)
        loss += depth / (1 + np.exp(-(side * angle - begins) / 0.07)) / (1 + np.exp(-(rho - start) / 0.05))
    return loss


def _persist(grey: np.ndarray, weight: np.float32) -> None:
    """What scanners show is a running mean of the frames (T, ...), in place. It began before the clip: mirrored frames stand for those, or the first would be the only one with all its noise."""
    lead = min(_LEAD, len(grey) - 1)
    mean = grey[lead].copy()
    for frame in grey[1:lead][::-1]:
        mean = frame + weight * (mean - frame)
    for frame in grey:
        frame += weight * (mean - frame)
        mean = frame
