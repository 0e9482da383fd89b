"""Scanner sites: how the same heart looks through different machines and hands.

All scanners are members of one family, `Site`: a field's metadata holds the range that the site "many" draws from.
"""

from dataclasses import dataclass, field, fields

import numpy as np

from echosynth.errors import InputError


def _drawn(low: float, high: float, usual: float) -> float:
    """A field of the family: the range of "many" and the value of a site that does not set it."""
    return field(default=usual, metadata={"range": (low, high)})


@dataclass(frozen=True, kw_only=True)
class Site:
    """Imaging parameters of one site. Lengths in cm, angles in degrees, levels in dB, shares of the picture or depth."""

    # Sector and picture
    fps: float = _drawn(15.0, 80.0, 50.0)
    half_angle: float = _drawn(30.0, 50.0, 38.0)  # of the sector
    depth_margin: float = _drawn(-1.0, 1.4, 0.0)  # depth beyond what the view needs
    footprint: float = _drawn(0.0, 0.07, 0.01)  # the probe's face, where the sector begins: share of the depth
    squeeze: float = _drawn(0.74, 1.0, 1.0)  # width of a pixel's square: 4:3 pictures made square have 0.75
    zoom: float = _drawn(0.93, 1.05, 1.01)  # cm that the picture shows, over those that it needs
    top: float = _drawn(0.0, 0.05, 0.0)  # black above the probe, share of the picture
    middle: float = _drawn(-0.04, 0.04, 0.0)  # of the sector, share of the picture right of its middle
    aim: float = _drawn(1.0, 2.6, 1.0)  # how far the hand strays from the standard view, 1 is little
    foreshortening: float = _drawn(0.0, 0.18, 0.0)  # the most of the axis that the plane can miss
    # Resolution and speckle
    axial: float = _drawn(0.045, 0.112, 0.09)  # Gaussian sigma of the point spread along the beam
    lateral: float = _drawn(0.5, 1.15, 0.85)  # across the beam at the focus, degrees
    focus: float = _drawn(0.35, 0.85, 0.6)  # its depth, share
    defocus: float = _drawn(0.2, 1.6, 0.5)  # widening at a whole depth's distance from the focus, share
    looks: float = _drawn(1.0, 4.5, 1.4)  # compounded in frequency and angle; speckle SNR is 1.91 sqrt(looks)
    memory: float = _drawn(0.02, 2.0, 0.5)  # s in which speckle that moves with the tissue decorrelates
    persistence: float = _drawn(0.0, 0.45, 0.2)  # weight of the previous frame in the one shown
    sharpening: float = _drawn(-0.6, 0.7, 0.0)  # edge enhancement; below 0 smoothing
    # Grey map
    dynamic_range: float = _drawn(40.0, 80.0, 55.0)  # between black and white
    gain: float = _drawn(-12.0, 9.0, -2.0)  # above the point where the brightest percentile is white
    gamma: float = _drawn(1.1, 2.4, 1.7)  # soft to hard; see `exponent`
    # Gain errors, loss and clutter; levels are relative to the wall
    attenuation: float = _drawn(0.1, 0.5, 0.3)  # residual, dB/cm, after time-gain compensation
    gain_error: float = _drawn(0.0, 3.5, 1.0)  # sd of what the hand's sliders leave, along the beam and across it
    edge: float = _drawn(2.0, 20.0, 8.0)  # fall-off towards the sector's edges
    dropout: float = _drawn(0.3, 1.3, 0.6)  # strength of shadows and of lateral-wall loss
    specular: float = _drawn(2.0, 10.0, 6.0)  # what a wall loses that lies along the beam
    haze: float = _drawn(-8.0, 8.0, 4.0)  # clutter under the probe
    haze_depth: float = _drawn(0.04, 0.13, 0.07)  # to which it falls by a factor e, share of the depth
    veil: float = _drawn(-56.0, -32.0, -46.0)  # clutter that lies over the whole sector and never stands still
    side_lobes: float = _drawn(-54.0, -30.0, -42.0)  # of bright echoes, spread across the sector
    reverberation: float = _drawn(-30.0, -12.0, -20.0)  # bands at fixed depths
    noise: float = _drawn(-50.0, -21.0, -40.0)  # electronic, at full depth
    # Tissue
    surround: float = _drawn(-24.0, -11.0, -17.0)  # around the heart
    fade: float = _drawn(3.0, 9.0, 6.0)  # of the surround with the distance from the heart, dB/cm
    pericardium: float = _drawn(1.0, 11.0, 5.0)  # behind the heart, and the grooves of the valves
    # Recording
    size: int = 112  # pixels along the picture's side
    quantiser: int = 2  # of the MJPEG encoder: 2 is the finest, 31 the coarsest
    overlays: tuple[str, ...] = ()  # burnt in around the sector (overlays.py)

    @property
    def exponent(self) -> float:
        """Of the grey map: grey = level ** exponent. A wide range of dB needs a steep map, or chambers would be grey."""
        return self.gamma * self.dynamic_range / 45


SITES: dict[str, Site] = {
    "alder": Site(),
    "birch": Site(
        half_angle=41.0, depth_margin=0.8, dynamic_range=58.0, gain=2.0, gamma=2.2, haze=2.0, noise=-36.0,
        squeeze=0.82, looks=1.0, persistence=0.0, sharpening=0.3, pericardium=8.0, dropout=0.3, overlays=("ruler",),
    ),
    "cedar": Site(
        fps=30.0, half_angle=36.0, depth_margin=-0.3, axial=0.11, lateral=1.0, dynamic_range=50.0, gain=-3.0, gamma=1.7,
        attenuation=0.4, haze=7.0, reverberation=-15.0, fade=7.5, dropout=0.8, persistence=0.15, footprint=0.04,
        size=160, quantiser=5, overlays=("ecg", "ruler"),
    ),
    "dogwood": Site(
        fps=40.0, half_angle=44.0, depth_margin=0.5, axial=0.11, lateral=0.95, dynamic_range=68.0, gain=-1.0, gamma=1.6,
        looks=3.0, attenuation=0.35, veil=-38.0, fade=4.5, persistence=0.35, squeeze=0.78, sharpening=-0.3,
        size=128, quantiser=8, overlays=("ecg", "text"),
    ),
}  # fmt: skip

_OVERLAYS = (("ecg", "ecg top"), ("ruler", "ruler left"), ("text", "text right", "text low"))


def site(name: str, rng: np.random.Generator) -> Site:
    """The preset of that name, or a random member of the family for "many". Raises InputError for an unknown name."""
    if name == "many":
        return _any_site(rng)
    if name not in SITES:
        raise InputError(f"unknown site {name!r}; choose one of {', '.join(SITES)}, or many")
    return SITES[name]


def _any_site(rng: np.random.Generator) -> Site:
    drawn = {f.name: float(rng.uniform(*f.metadata["range"])) for f in fields(Site) if f.metadata}
    overlays = tuple(str(rng.choice(places)) for places in _OVERLAYS if rng.random() < 0.15)
    return Site(**drawn, quantiser=int(rng.integers(2, 8)), overlays=overlays)
