"""Scanner sites: how the same heart looks through different machines and hands."""

from dataclasses import dataclass, fields

import numpy as np

from echosynth.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Site:
    """Imaging parameters of one site. Lengths in cm, angles in degrees, levels in dB."""

    fps: float
    half_angle: float  # of the sector
    depth_margin: float  # depth beyond what the view needs, cm
    axial: float  # Gaussian sigma of the point spread along the beam, cm
    lateral: float  # Gaussian sigma across the beam, degrees
    dynamic_range: float  # dB shown between black and white
    gain: float  # dB above the point where the brightest percentile is white
    gamma: float  # of the grey map
    attenuation: float  # residual, dB/cm, after time-gain compensation
    edge: float  # fall-off towards the sector's edges, dB
    haze: float  # near-field clutter, dB relative to the wall
    reverberation: float  # bands at fixed depths, dB relative to the wall
    noise: float  # electronic noise at full depth, dB relative to the wall
    surround: float  # tissue around the heart, dB
    fade: float  # of the surround with the distance from the heart, dB/cm
    dropout: float  # strength of shadows and of lateral-wall loss, 0-1
    persistence: float  # weight of the previous frame in the one shown, 0-1
    size: int = 112  # pixels along the picture's side
    quantiser: int = 2  # of the MJPEG encoder: 2 is the finest, 31 the coarsest
    overlays: tuple[str, ...] = ()  # of "ecg", "ruler", "text": burnt into the picture around the sector


SITES: dict[str, Site] = {
    "alder": Site(
        fps=50.0, half_angle=38.0, depth_margin=0.6, axial=0.115, lateral=0.90, dynamic_range=52.0, gain=2.0, gamma=1.30, attenuation=0.30, edge=6.0,
        haze=-7.0, reverberation=-12.0, noise=-49.0, surround=-19.0, fade=3.2, dropout=0.5, persistence=0.3,
    ),
    "birch": Site(
        fps=50.0, half_angle=41.0, depth_margin=1.2, axial=0.110, lateral=0.80, dynamic_range=52.0, gain=12.0, gamma=2.00, attenuation=0.22, edge=6.0,
        haze=-9.0, reverberation=-14.0, noise=-44.0, surround=-18.0, fade=2.8, dropout=0.3, persistence=0.0, overlays=("ruler",),
    ),
    "cedar": Site(
        fps=30.0, half_angle=36.0, depth_margin=0.3, axial=0.140, lateral=1.05, dynamic_range=47.0, gain=-0.5, gamma=0.95, attenuation=0.40, edge=5.0,
        haze=-5.0, reverberation=-9.0, noise=-50.0, surround=-20.0, fade=3.6, dropout=0.7, persistence=0.15, size=160, quantiser=5, overlays=("ecg", "ruler"),
    ),
    "dogwood": Site(
        fps=40.0, half_angle=44.0, depth_margin=0.9, axial=0.145, lateral=0.95, dynamic_range=60.0, gain=2.0, gamma=1.25, attenuation=0.35, edge=7.0,
        haze=-8.0, reverberation=-11.0, noise=-46.0, surround=-18.5, fade=2.6, dropout=0.6, persistence=0.35, size=128, quantiser=8, overlays=("ecg", "text"),
    ),
}  # fmt: skip

# Ranges that "many" draws from: wide enough that a site is an interpolation, never one of the presets above. Fields that are missing have their defaults.
_RANGES = {
    "fps": (50.0, 50.0),
    "half_angle": (35.0, 44.0),
    "depth_margin": (0.1, 1.8),
    "axial": (0.09, 0.15),
    "lateral": (0.75, 1.2),
    "dynamic_range": (45.0, 60.0),
    "gain": (-2.0, 7.0),
    "gamma": (0.9, 1.7),
    "attenuation": (0.15, 0.5),
    "edge": (3.0, 10.0),
    "haze": (-12.0, -4.0),
    "reverberation": (-18.0, -8.0),
    "noise": (-52.0, -42.0),
    "surround": (-23.0, -14.0),
    "fade": (2.0, 4.5),
    "dropout": (0.2, 0.9),
    "persistence": (0.0, 0.45),
}


def site(name: str, rng: np.random.Generator) -> Site:
    """The preset of that name, or a random site for "many". Raises InputError for an unknown name."""
    if name == "many":
        return Site(**{field.name: float(rng.uniform(*_RANGES[field.name])) for field in fields(Site) if field.name in _RANGES})
    if name not in SITES:
        raise InputError(f"unknown site {name!r}; choose one of {', '.join(SITES)}, or many")
    return SITES[name]
