"""What both views are made of: point scatterers with a level each, cavities between them, and how the heart lies under the probe.

View coordinates are in cm and in the plane of the view; `Placement` takes them to world coordinates, where the probe is at (0, 0) and y runs down.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from echosynth.cohort.phantom.patient import Patient
from echosynth.cohort.phantom.sites import Site

DENSITY = 170.0  # scatterers per cm^2 of an adult: more than ten in a resolution cell, so that speckle is fully developed (Wagner et al. 1983)
SECTOR = np.deg2rad(46.0)  # half-angle that is filled with scatterers: wider than any site's, so that what enters at the edge is there


class View(Protocol):
    """One view of one patient at one visit: its scatterers, and the truth about the left ventricle in its plane."""

    db: np.ndarray  # (N,) level of each scatterer
    place: "Placement"

    def positions(self, c: float, opening: float) -> tuple[np.ndarray, np.ndarray]:
        """View coordinates (N,) of every scatterer at contraction c and mitral opening, both in [0, 1]."""

    def tracing(self, c: float) -> np.ndarray:
        """(21, 4) x1, y1, x2, y2 in view coordinates: the long axis (in the short-axis view: the height), then 20 chords."""

    def contour(self, c: float) -> np.ndarray:
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
    seed: int


class Placement:
    """View to world: rotation, then shift. Breathing moves the heart, the hand turns and slides the probe, both slowly."""

    def __init__(self, angle: float, x: float, y: float, visit: Visit):
        self.angle, self.x, self.y, self.visit = angle + visit.tilt, x + visit.shift, y + visit.lift, visit

    def world(self, x: np.ndarray, z: np.ndarray, time: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """World coordinates at `time` (s), by default as if nothing moved."""
        turned, sideways, down = (0.0, 0.0, 0.0) if time is None else self._moved(time)
        cos, sin = np.float32(np.cos(self.angle + turned)), np.float32(np.sin(self.angle + turned))
        return np.float32(self.x + sideways) + cos * x - sin * z, np.float32(self.y + down) + sin * x + cos * z

    def view(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `world` where nothing moves."""
        u, v, cos, sin = x - self.x, y - self.y, np.cos(self.angle), np.sin(self.angle)
        return cos * u + sin * v, -sin * u + cos * v

    def _moved(self, time: float) -> tuple[float, float, float]:
        v = self.visit
        turned, slid = (amplitude * np.sin(2 * np.pi * rate * time + phase) for amplitude, rate, phase in v.drift)
        breath = v.breathing * np.sin(2 * np.pi * time / 4.0 + v.breathing_phase)
        return turned, slid + 0.4 * breath, breath


def scatter(visit: Visit, size: float, place: Placement, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """View coordinates of scatterers that are uniform over the sector's area; `size` is the patient's, whose probe resolves as much finer."""
    count = int(DENSITY / size**2 * SECTOR * visit.depth**2)
    r, theta = 1.02 * visit.depth * np.sqrt(rng.random(count)), SECTOR * rng.uniform(-1, 1, count)
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
    """A cavity: an ellipse with a wavy outline, whose centre and semi-axes follow the contraction linearly: value(c) = rest + c x change. Lengths in cm."""

    x: float
    z: float
    a: float  # semi-axis across
    b: float  # semi-axis along
    dx: float
    dz: float
    da: float
    db: float
    wobble: np.ndarray  # (2, 3) cosine and sine coefficients of orders 2 to 4

    def level(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Radius at rest, over that of the outline: below 1 is inside."""
        u, v = (x - self.x) / self.a, (z - self.z) / self.b
        angle = np.arctan2(v, u)
        return np.hypot(u, v) / (1 + sum(self.wobble[0, n] * np.cos((n + 2) * angle) + self.wobble[1, n] * np.sin((n + 2) * angle) for n in range(3)))


class Surround:
    """Tissue outside the LV wall: it moves with the nearest boundaries, less and less with distance, and is brightest at the boundaries that face the beam."""

    def __init__(self, x: np.ndarray, z: np.ndarray, lv_distance: np.ndarray, lv_move: tuple[np.ndarray, np.ndarray], cavities: dict[str, Chamber], size: float):
        self.x, self.z = x, z
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
            norm = np.hypot(cosine / chamber.a, sine / chamber.b) + 1e-9
            self.normal_x = np.where(nearer, cosine / chamber.a / norm, self.normal_x)
            self.normal_z = np.where(nearer, sine / chamber.b / norm, self.normal_z)
            self.cavity_distance = np.minimum(self.cavity_distance, distance)
        total = np.maximum(total, 1.0)
        self.move_x, self.move_z = move_x / total, move_z / total
        self.distance = np.minimum(self.lv_distance, self.cavity_distance)

    def facing(self, place: Placement) -> np.ndarray:
        """|cos| of the angle between the nearest cavity's wall normal and the beam: walls along the beam send little back."""
        wx, wz = place.world(self.x, self.z)
        nx, nz = place.world(self.x + self.normal_x, self.z + self.normal_z)
        return np.abs((nx - wx) * wx + (nz - wz) * wz) / (np.hypot(wx, wz) + 1e-9)

    def level(self, patient: Patient, site: Site, place: Placement, fields: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
        """dB of each point: parenchyma that fades with distance and is patchy from visit to visit, and the cavities' walls, of the patient."""
        size = patient.size
        fade = np.clip((self.distance - 0.35 * size) / size, 0, 6)
        patchy = 4.5 * smooth_field(self.x, self.z, 4.5 * size, rng) + 3.5 * smooth_field(self.x, self.z, 1.6 * size, rng)
        db = site.surround - site.fade * fade + patchy
        rim = np.exp(-((self.cavity_distance / (0.3 * size)) ** 2))
        wall = -7.0 - 11.0 * (1 - self.facing(place)) + 3.0 * smooth_field(self.x, self.z, 1.8 * size, fields)
        return np.maximum(db, wall - 30 * (1 - rim))
