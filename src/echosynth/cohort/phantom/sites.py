"""Scanner sites: how the same heart looks through different machines and hands."""

from dataclasses import dataclass

import numpy as np

from echosynth.errors import InputError


@dataclass(frozen=True)
class Site:
    """Imaging parameters of one site. Lengths in cm, angles in degrees, levels in dB."""

    fps: float
    half_angle: float  # of the sector
    depth_margin: float  # depth beyond the atrial roof, cm
    axial: float  # Gaussian sigma of the point spread along the beam, cm
    lateral: float  # Gaussian sigma across the beam, degrees
    dynamic_range: float  # dB shown between black and white
    gain: float  # dB above the point where the brightest percentile is white
    gamma: float  # of the grey map
    attenuation: float  # residual, dB/cm, after time-gain compensation
    edge: float  # fall-off towards the sector's edges, dB
    haze: float  # near-field clutter, dB relative to the wall
    noise: float  # electronic noise at full depth, dB relative to the wall
    surround: float  # tissue around the heart, dB
    dropout: float  # strength of shadows and of lateral-wall loss, 0-1


SITES: dict[str, Site] = {
    "alder": Site(50.0, 38.0, 0.6, 0.105, 1.15, 52.0, 0.0, 1.10, 0.30, 6.0, -7.0, -49.0, -18.0, 0.5),
    "birch": Site(50.0, 41.0, 1.2, 0.085, 0.95, 57.0, 0.5, 1.25, 0.25, 9.0, -9.0, -46.0, -17.0, 0.4),
    "cedar": Site(50.0, 36.0, 0.3, 0.125, 1.35, 48.0, -1.5, 0.95, 0.45, 5.0, -5.0, -50.0, -20.0, 0.7),
    "dogwood": Site(40.0, 39.0, 0.9, 0.135, 1.45, 54.0, 0.0, 1.25, 0.35, 7.0, -8.0, -44.0, -19.0, 0.6),
}

# Ranges that "many" draws from: wide enough that a site is an interpolation, never one of the presets above.
_RANGES = {
    "fps": (50.0, 50.0),
    "half_angle": (35.0, 43.0),
    "depth_margin": (0.1, 1.8),
    "axial": (0.075, 0.145),
    "lateral": (0.85, 1.55),
    "dynamic_range": (45.0, 60.0),
    "gain": (-3.0, 2.0),
    "gamma": (0.9, 1.4),
    "attenuation": (0.15, 0.5),
    "edge": (3.0, 10.0),
    "haze": (-12.0, -4.0),
    "noise": (-52.0, -42.0),
    "surround": (-23.0, -14.0),
    "dropout": (0.2, 0.9),
}


def site(name: str, rng: np.random.Generator) -> Site:
    """The preset of that name, or a random site for "many". Raises InputError for an unknown name."""
    if name == "many":
        return Site(**{key: float(rng.uniform(low, high)) for key, (low, high) in _RANGES.items()})
    if name not in SITES:
        raise InputError(f"unknown site {name!r}; choose one of {', '.join(SITES)}, or many")
    return SITES[name]
