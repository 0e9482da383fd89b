"""From moving scatterers to what the probe receives: point spread, compounding, clutter, noise."""

from collections.abc import Iterator

import numpy as np
import torch

from echosynth.cohort.phantom.patient import Patient, Rhythm
from echosynth.cohort.phantom.screen import ANGLES, RADII
from echosynth.cohort.phantom.sites import Site
from echosynth.cohort.phantom.tissue import View, Visit
from echosynth.randomness import numpy_rng

WAVELENGTH = 0.0616  # cm, 2.5 MHz, for an adult; smaller hearts are seen with higher frequencies
_ZONES = 8  # depths of a lateral point spread of their own
_LOOKS = ((0.0, 0.0), (1.9, 0.0), (-1.9, 0.0), (0.0, 1.9), (0.0, -1.9))  # shifts of spectrum, over the point spread's sigma
_RENEWED = 0.4  # of the clutter's amplitude, in every frame
_SIDE_LOBES = 0.2  # sigma of their spread, of the sector


def envelopes(patient: Patient, view: View, site: Site, visit: Visit, time: np.ndarray, rhythm: Rhythm) -> Iterator[np.ndarray]:
    """The squared envelope (RADII, ANGLES) of each frame at the times (s): what the probe receives, before gain and grey map.

    Every scatterer's echo has the phase exp(i 2 k r) of its distance and is spread by a separable Gaussian.
    """
    beam, rng = _Beam(patient, site, visit), numpy_rng(visit.seed, "image")
    level = (np.float32(10) ** (view.db / 20)).astype(np.float32)
    rho = np.linspace(0, 1, RADII, dtype=np.float32)[:, None]
    noise_level = (10 ** ((site.noise + 10 * (rho - 1)) / 20) + 10 ** (site.veil / 20)).astype(np.float32)
    noise_level = noise_level * _uneven(rho, rng)
    clutter_level = _clutter(site, rho, rng)
    clutter, noise_level = clutter_level * _complex_normal(rng, (RADII, ANGLES)), noise_level + _RENEWED * clutter_level
    wave_number = np.float32(4 * np.pi / (WAVELENGTH * patient.size**0.7))
    per_cm, per_rad = np.float32((RADII - 1) / visit.depth), np.float32((ANGLES - 1) / 2 / np.deg2rad(site.half_angle))

    # Fresh noise is a slice of a pool at a random offset: as good to the eye and the statistics, and a tenth of the time.
    pool = _complex_normal(rng, max(4 * RADII * ANGLES, 2 * len(level)))
    amplitude = _complex_normal(rng, len(level))
    keep = np.exp(-1 / (site.memory * site.fps))  # of the scatterers' amplitudes from frame to frame
    step = np.float32(np.sqrt(1 - keep**2))
    for t in range(len(time)):
        if t:
            start = rng.integers(len(pool) - len(level))
            amplitude = np.float32(keep) * amplitude + step * pool[start : start + len(level)]
        moved = view.positions(rhythm.contraction[t], rhythm.opening[t], rhythm.flash[t])
        x, y = view.place.world(*moved, time[t], rhythm.contraction[t])
        radius = np.sqrt(x * x + y * y)
        phase = radius * wave_number
        value = level * amplitude * (np.cos(phase) + 1j * np.sin(phase))
        angle = torch.atan2(torch.from_numpy(x), torch.from_numpy(y)).numpy()  # numpy's takes ten times as long
        field = _splat(radius * per_cm, angle * per_rad + np.float32((ANGLES - 1) / 2), value)
        start = rng.integers(len(pool) - RADII * ANGLES)
        field += noise_level * pool[start : start + RADII * ANGLES].reshape(RADII, ANGLES) + clutter
        yield beam.receive(field)


class _Beam:
    """The point spread of a site, as banded matrices of unit energy: along the beam, and across it by depth."""

    def __init__(self, patient: Patient, site: Site, visit: Visit):
        axial = site.axial * patient.size**0.7 / (visit.depth / (RADII - 1))
        lateral = site.lateral / (2 * site.half_angle / (ANGLES - 1))
        depths = (np.arange(_ZONES) + 0.5) / _ZONES
        widths = lateral * (1 + site.defocus * np.abs(depths - site.focus))
        self._axial = _blur(axial, RADII).T
        self._lateral = np.stack([_blur(width, ANGLES) for width in widths])
        self._weights = _weights(site.looks)
        self._ramps = [_ramp(a / max(axial, 1.0), b / max(lateral, 1.0)) for a, b in _LOOKS[: len(self._weights)]]
        self._lobes = np.float32(10 ** (site.side_lobes / 10)) * _spread(_SIDE_LOBES * ANGLES / 2, ANGLES)

    def receive(self, field: np.ndarray) -> np.ndarray:
        """The squared envelope of the echoes (RADII, ANGLES), the mean of the looks.

        A look at another frequency or angle takes its echoes from another part of the spectrum: the field is shifted
        there before the blur, which leaves independent speckle on the same tissue.
        """
        power = np.zeros((RADII, ANGLES), np.float32)
        for weight, ramp in zip(self._weights, self._ramps, strict=True):
            look = field if ramp is None else field * ramp
            for part in (look.real, look.imag):
                zones = np.ascontiguousarray(part).reshape(_ZONES, -1, ANGLES)
                across = np.matmul(zones, self._lateral).reshape(RADII, ANGLES)
                blurred = self._axial @ across
                power += weight * blurred * blurred
        return power + power @ self._lobes


def _weights(looks: float) -> np.ndarray:
    """Shares of whole looks and a last one in part, so that 1 / sum of squares is about `looks`."""
    whole, part = int(looks), looks - int(looks)
    shares = np.array([1.0] * whole + [part] * (part > 0.02 and whole < len(_LOOKS)), np.float32)
    return shares / shares.sum()


def _ramp(axial: float, lateral: float) -> np.ndarray | None:
    """Phase (RADII, ANGLES) that shifts the spectrum by so many radians a cell; None for no shift."""
    if not axial and not lateral:
        return None
    return np.exp(1j * (axial * np.arange(RADII)[:, None] + lateral * np.arange(ANGLES))).astype(np.complex64)


def _blur(sigma: float, size: int) -> np.ndarray:
    """Gaussian point spread as a banded matrix of unit energy; sigma in cells."""
    kernel = _gaussian(max(sigma, 0.35), size)
    return (kernel / np.sqrt((kernel**2).sum(0, keepdims=True))).astype(np.float32)


def _spread(sigma: float, size: int) -> np.ndarray:
    """The same of unit sum."""
    kernel = _gaussian(sigma, size)
    return (kernel / kernel.sum(0, keepdims=True)).astype(np.float32)


def _gaussian(sigma: float, size: int) -> np.ndarray:
    offsets = (np.arange(size)[:, None] - np.arange(size)[None]) / sigma
    return np.where(np.abs(offsets) < 5, np.exp(-0.5 * offsets**2), 0.0)  # the far tail would be denormal numbers, and slow


def _uneven(rho: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gain (RADII, ANGLES) that varies slowly over the sector: what fills the chambers is never even."""
    angle = np.linspace(-1, 1, ANGLES, dtype=np.float32)[None]
    waves = [np.sin(rng.uniform(2, 10) * rho + rng.uniform(-6, 6) * angle + rng.uniform(0, 6.3)) for _ in range(3)]
    return (10 ** (0.13 * sum(waves))).astype(np.float32)


def _clutter(site: Site, rho: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Level (RADII, ANGLES) of echoes that hardly move: haze under the probe, rings of the probe, and reverberations at multiples of a depth, each over part of the sector."""
    angle = np.linspace(-1, 1, ANGLES, dtype=np.float32)[None]
    wide = 1 + 0.5 * rng.uniform(-1, 1) * angle
    level = 10 ** (site.haze / 20) * np.exp(-rho / site.haze_depth) * wide
    rings = rng.uniform(0, 3) * np.exp(-rho / 0.025) * np.cos(2 * np.pi * rho / rng.uniform(0.012, 0.02)) ** 2
    level = level + rings * np.ones_like(angle)
    first = rng.uniform(0.06, 0.13)
    for n in range(1, int(rng.integers(1, 4))):
        middle, width = rng.uniform(-0.6, 0.6), rng.uniform(0.25, 0.7)
        band = np.exp(-0.5 * ((rho - n * first) / 0.012) ** 2) * np.exp(-0.5 * ((angle - middle) / width) ** 2)
        level = level + 10 ** ((site.reverberation - 4 * n + rng.normal(0, 2)) / 20) * band
    return level.astype(np.float32)


def _complex_normal(rng: np.random.Generator, shape: int | tuple[int, ...]) -> np.ndarray:
    shape = (shape,) if isinstance(shape, int) else shape
    return rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]


def _splat(i: np.ndarray, j: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Adds complex values (N,) at fractional cells of the polar grid, bilinearly."""
    keep = np.flatnonzero((i >= 0) & (i < RADII - 1) & (j >= 0) & (j < ANGLES - 1))
    i, j, value = i[keep], j[keep], value[keep]
    i0, j0 = i.astype(np.int32), j.astype(np.int32)
    cell = i0 * ANGLES + j0
    below = value * (i - i0.astype(np.float32))
    above, right = value - below, j - j0.astype(np.float32)
    grid = np.zeros(RADII * ANGLES, np.complex64)
    for offset, row in ((0, above), (ANGLES, below)):
        on_the_right = row * right
        np.add.at(grid, cell + offset, row - on_the_right)
        np.add.at(grid, cell + offset + 1, on_the_right)
    return grid.reshape(RADII, ANGLES)
