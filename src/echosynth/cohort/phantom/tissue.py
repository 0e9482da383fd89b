"""What both views are made of: point scatterers with a level each, cavities between them, and how the heart lies under the probe.

View coordinates are in cm and in the plane of the view; `Placement` takes them to world coordinates, where the probe is at (0, 0) and y runs down.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from echosynth.cohort.phantom.patient import Patient
from echosynth.cohort.phantom.sites import Site

SCATTERERS = 25_000  # in a sector: more than ten in a resolution cell, so that speckle is fully developed (Wagner et al. 1983)
_MARGIN = 0.15  # of the sector beyond its edges that is filled too, so that what enters at the edge is there


class View(Protocol):
    """One view of one patient at one visit: its scatterers, and the truth about the left ventricle in its plane."""

    db: np.ndarray  # (N,) level of each scatterer
    place: "Placement"

    def positions(self, c: float, opening: float, flash: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """View coordinates (N,) of every scatterer at contraction c, mitral opening, both in [0, 1], and septal flash."""

    def tracing(self, c: float, flash: float = 0.0) -> np.ndarray:
        """(21, 4) x1, y1, x2, y2 in view coordinates: the long axis (in the short-axis view: the height), then 20 chords."""

    def contour(self, c: float, flash: float = 0.0) -> np.ndarray:
        """(P, 2) endocardial contour of the left ventricle in view coordinates."""


@dataclass(frozen=True)
class Visit:
    """What differs between two clips of one patient: probe, gain, noise, breathing."""

    tilt: float  # rad
    shift: float  # cm across
    lift: float  # cm along
    gain: float  # dB
    depth: float  # cm
    breathing: float  # cm
    drift: np.ndarray  # (2, 3) of angle (rad) and place (cm): amplitude, cycles/s, phase
    breathing_phase: float
    foreshortening: float  # share of the long axis that the apical plane misses
    outflow: bool  # the apical plane shows the outflow tract
    seed: int


def draw_visit(patient: Patient, site: Site, depth: float, rng: np.random.Generator) -> Visit:
    """A new probe position; `depth` (cm) is what the view needs, so that the heart fills the sector as a sonographer would have it."""
    size = patient.size
    angle, place = (
        np.array([rng.uniform(0, reach), rng.uniform(0.15, 0.5), rng.uniform(0, 2 * np.pi)])
        for reach in (np.deg2rad(1.5), 0.08 * size)
    )
    foreshortening = float(rng.uniform(0, site.foreshortening))
    return Visit(
        tilt=float(np.deg2rad(rng.normal(0, 2.2 * site.aim))),
        shift=float(rng.normal(0, 0.2 * site.aim) * size),
        lift=float(rng.normal(0, 0.1) * size),
        gain=float(rng.normal(0, 1.5)),
        depth=float(np.clip((depth + site.depth_margin * size) * rng.normal(1, 0.025), 3.5, 24)),
        breathing=float(rng.uniform(0.02, 0.18) * size),
        drift=np.stack([angle, place]),
        breathing_phase=float(rng.uniform(0, 2 * np.pi)),
        foreshortening=foreshortening,
        outflow=bool(rng.random() < 0.12),
        seed=int(rng.integers(2**31)),
    )


class Placement:
    """View to world: the axis foreshortened, rotation, then shift. The heart rocks as it contracts, breathing moves it, the hand turns and slides the probe."""

    def __init__(self, angle: float, x: float, y: float, visit: Visit, rock: np.ndarray, axis: float = 1.0):
        self.angle, self.x, self.y, self.visit = angle + visit.tilt, x + visit.shift, y + visit.lift, visit
        self.rock = rock  # at end systole: angle (rad), cm across, cm along
        self.axis = axis  # length that is seen of a centimetre along z

    def world(self, x: np.ndarray, z: np.ndarray, time: float | None = None, c: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """World coordinates at `time` (s) and contraction c, by default as if nothing moved."""
        turned, sideways, down = (0.0, 0.0, 0.0) if time is None else self._moved(time) + c * self.rock
        cos, sin = np.float32(np.cos(self.angle + turned)), np.float32(np.sin(self.angle + turned))
        z = np.float32(self.axis) * z
        return np.float32(self.x + sideways) + cos * x - sin * z, np.float32(self.y + down) + sin * x + cos * z

    def view(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `world` where nothing moves."""
        u, v, cos, sin = x - self.x, y - self.y, np.cos(self.angle), np.sin(self.angle)
        return cos * u + sin * v, (-sin * u + cos * v) / self.axis

    def facing(self, x: np.ndarray, z: np.ndarray, normal_x: np.ndarray, normal_z: np.ndarray) -> np.ndarray:
        """Cosine of the angle between a surface's normal and the beam: 1 behind what the beam has passed, 0 along it."""
        wx, wy = self.world(x, z)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        nx, ny = cos * normal_x - sin * normal_z, sin * normal_x + cos * normal_z
        return (nx * wx + ny * wy) / (np.hypot(wx, wy) * np.hypot(nx, ny) + 1e-9)

    def _moved(self, time: float) -> np.ndarray:
        v = self.visit
        turned, slid = (amplitude * np.sin(2 * np.pi * rate * time + phase) for amplitude, rate, phase in v.drift)
        breath = v.breathing * np.sin(2 * np.pi * time / 4.0 + v.breathing_phase)
        return np.array([turned, slid + 0.4 * breath, breath])


def scatter(visit: Visit, site: Site, place: Placement, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """View coordinates of scatterers, as many in every cell of the polar grid: resolution widens with depth as the grid does."""
    count = int(SCATTERERS * (1 + _MARGIN))
    r = 1.02 * visit.depth * rng.random(count)
    theta = (1 + _MARGIN) * np.deg2rad(site.half_angle) * rng.uniform(-1, 1, count)
    return place.view(r * np.sin(theta), r * np.cos(theta))


def smooth_field(x: np.ndarray, z: np.ndarray, wavelength: float, rng: np.random.Generator, terms: int = 12) -> np.ndarray:
    """A Gaussian-like random field of unit variance at the points, from plane waves of about the given wavelength (cm)."""
    k = 2 * np.pi / wavelength * rng.uniform(0.5, 1.3, terms)
    direction, phase = rng.uniform(0, np.pi, terms), rng.uniform(0, 2 * np.pi, terms)
    x, z = np.float32(x), np.float32(z)  # whose cosines take a tenth of the time
    kx, kz, phase = (np.float32(values) for values in (k * np.cos(direction), k * np.sin(direction), phase))
    return sum(np.cos(kx[i] * x + kz[i] * z + phase[i]) for i in range(terms)) * np.float32(np.sqrt(2 / terms))


@dataclass(frozen=True)
class Chamber:
    """A cavity: a superellipse with a wavy outline, whose centre and semi-axes follow the contraction linearly: value(c) = rest + c x change. Lengths in cm."""

    x: float
    z: float
    a: float  # semi-axis across
    b: float  # semi-axis along
    dx: float
    dz: float
    da: float
    db: float
    wobble: np.ndarray  # (2, 3) cosine and sine coefficients of orders 2 to 4
    power: float = 2.0  # of the superellipse; above 2 is boxy
    taper: float = 0.0  # growth of the width per semi-axis along
    lean: float = 0.0  # of the axis, cm across per cm along

    def unit(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates in which the outline is a unit superellipse."""
        v = (z - self.z) / self.b
        width = self.a * (1 + self.taper * np.clip(v, -1, 1))
        return (x - self.x - self.lean * (z - self.z)) / width, v

    def level(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Radius at rest, over that of the outline: below 1 is inside."""
        u, v = self.unit(x, z)
        angle = np.arctan2(np.float32(v), np.float32(u))
        radius = np.hypot(u, v) if self.power == 2 else (np.abs(u) ** self.power + np.abs(v) ** self.power) ** (1 / self.power)
        return radius / (1 + sum(self.wobble[0, n] * np.cos((n + 2) * angle) + self.wobble[1, n] * np.sin((n + 2) * angle) for n in range(3)))

    def normal(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit normal of the outline that passes the points, outward."""
        u, v = self.unit(x, z)
        nx = np.sign(u) * np.abs(u) ** (self.power - 1) / self.a
        nz = np.sign(v) * np.abs(v) ** (self.power - 1) / self.b - self.lean * nx
        norm = np.hypot(nx, nz) + 1e-9
        return nx / norm, nz / norm


class Surround:
    """Tissue outside the LV wall: it moves with the nearest boundaries, less and less with distance, and is brightest at the boundaries that face the beam."""

    def __init__(self, x: np.ndarray, z: np.ndarray, lv_distance: np.ndarray, lv_move: tuple[np.ndarray, np.ndarray], cavities: dict[str, Chamber], size: float):
        self.x, self.z, self.size = x, z, size
        weight = np.exp(-lv_distance / (1.2 * size))
        move_x, move_z, total = weight * lv_move[0], weight * lv_move[1], weight
        self.lv_distance, self.cavity_distance = lv_distance, np.full_like(x, np.inf)
        self.normal_x, self.normal_z = np.zeros_like(x), np.zeros_like(x)  # of the nearest cavity's wall
        for chamber in cavities.values():
            level = chamber.level(x, z)
            distance = (level - 1) * np.sqrt(chamber.a * chamber.b)
            cosine, sine = (x - chamber.x) / (chamber.a * level), (z - chamber.z) / (chamber.b * level)
            weight = np.exp(-distance / (0.9 * size))
            move_x = move_x + weight * (chamber.dx + chamber.da * cosine)
            move_z = move_z + weight * (chamber.dz + chamber.db * sine)
            total = total + weight
            nearer = distance < self.cavity_distance
            nx, nz = chamber.normal(x, z)
            self.normal_x, self.normal_z = np.where(nearer, nx, self.normal_x), np.where(nearer, nz, self.normal_z)
            self.cavity_distance = np.minimum(self.cavity_distance, distance)
        total = np.maximum(total, 1.0)
        self.move_x, self.move_z = move_x / total, move_z / total
        self.distance = np.minimum(self.lv_distance, self.cavity_distance)

    def level(self, site: Site, place: Placement, fields: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
        """dB of each point: parenchyma that fades with distance and is patchy from visit to visit, the cavities' walls, of the patient, and what lies behind the heart."""
        size = self.size
        fade = np.clip((self.distance - 0.3 * size) / size, 0, 8)
        patchy = 4.5 * smooth_field(self.x, self.z, 4.5 * size, rng) + 3.0 * smooth_field(self.x, self.z, 1.4 * size, rng)
        db = site.surround - site.fade * fade + patchy
        facing = place.facing(self.x, self.z, self.normal_x, self.normal_z)
        rim = (self.cavity_distance / (0.22 * size)) ** 2
        thin = 3.5 * smooth_field(self.x, self.z, 1.8 * size, fields) + 3.0 * smooth_field(self.x, self.z, 2.5 * size, rng)
        wall = -7.0 - 1.3 * site.specular * (1 - np.abs(facing)) + thin
        return np.maximum(np.maximum(db, wall - 9 * rim), self._behind(site, facing, rng))

    def _behind(self, site: Site, facing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The pericardium and what lies at the back of the heart: a bright band in layers, where the boundary faces the beam."""
        size, depth = self.size, self.cavity_distance
        width = rng.uniform(0.5, 1.5) * size
        layers = 3.0 * smooth_field(0.35 * self.x, 3.5 * depth, 2.2 * size, rng) + 2.5 * smooth_field(self.x, depth, 2.6 * size, rng)
        band = site.pericardium - 10.0 * (np.clip(depth - 0.5 * width, 0, None) / width) ** 2 + layers
        return band - 26.0 * (1 - np.clip(facing, 0, 1) ** 1.5)
