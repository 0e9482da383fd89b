"""The parasternal short axis at the papillary muscles: the LV as a ring, the RV as a crescent on its left, the chest wall above."""

import numpy as np

from echosynth.cohort.phantom.patient import Patient
from echosynth.cohort.phantom.sites import Site
from echosynth.cohort.phantom.tissue import Chamber, Placement, Surround, Visit, scatter, smooth_field
from echosynth.cohort.phantom.ventricle import PAPILLARY_LEVEL, LeftVentricle
from echosynth.randomness import numpy_rng

_TURN = np.deg2rad(15)  # of the septum towards the probe: the heart lies slanted in the chest


def short_axis_depth(patient: Patient) -> float:
    """cm from the probe to behind the LV."""
    return _centre_depth(patient) + _epicardium(patient) + 1.6 * patient.size


def _epicardium(patient: Patient) -> float:
    lv = LeftVentricle(patient)
    return float(lv.section_radius(np.array([np.pi / 2]), np.zeros(1))[0] + patient.wall)


def _centre_depth(patient: Patient) -> float:
    """cm from the probe to the LV's axis: chest wall and RV outflow tract lie between."""
    return 1.9 * patient.size**0.5 + 1.3 * patient.size + _epicardium(patient)


class ShortAxisView:
    """Scatterers of one visit and where they go through the beat (tissue.View). View coordinates: x, y of the heart (ventricle.py)."""

    def __init__(self, patient: Patient, lv: LeftVentricle, site: Site, visit: Visit):
        self.lv, self.patient = lv, patient
        self.place = Placement(_TURN + 0.5 * patient.rotation, 0.6 * patient.lateral_offset, _centre_depth(patient), visit, patient.rock)
        fields, rng = numpy_rng(patient.texture, "short axis"), numpy_rng(visit.seed, "tissue")
        x, y = scatter(visit, site, self.place, rng)
        rest, level = np.zeros(1), np.array([PAPILLARY_LEVEL])
        phi, r = np.arctan2(y, x), np.hypot(x, y)
        endo = lv.section_radius(phi, rest)
        epi = endo + lv.thickness(level, np.cos(phi))
        wall, blood = (r >= endo) & (r < epi), r < endo
        muscle = blood & (r > endo - self._papillary(phi) - self._trabeculae(phi, fields))
        self.cavities = {"rv": self._right_ventricle(float(np.max(epi)))}
        outside = ~wall & ~blood
        blood |= outside & (self.cavities["rv"].level(x, y) < 1)
        self.db = np.concatenate([self._wall(site, phi, r, endo, epi, wall, muscle, fields, rng), self._others(site, x, y, phi, r, epi, ~wall & ~blood, fields, rng)])

    def _papillary(self, phi: np.ndarray) -> np.ndarray:
        """How far (cm) the papillary muscles reach into the cavity in direction phi."""
        reach = np.zeros_like(phi)
        for angle, width, height in self.patient.papillary:
            away = (phi - angle + np.pi) % (2 * np.pi) - np.pi
            m = float(self.lv.section_radius(np.array([angle]), np.zeros(1))[0])
            reach = np.maximum(reach, height * m * np.sqrt(np.clip(1 - (away / width) ** 2, 0, None)))
        return reach

    def _trabeculae(self, phi: np.ndarray, fields: np.random.Generator) -> np.ndarray:
        return 0.12 * self.patient.size * np.clip(smooth_field(4 * np.cos(phi), 4 * np.sin(phi), 1.6, fields), 0, 1.5)

    def _right_ventricle(self, epicardium: float) -> Chamber:
        """A cavity to the left of and above the LV, of which the LV's wall cuts out a crescent; its free wall comes nearer as it contracts."""
        p, rv = self.patient, self.patient.chambers[1]
        a, b = 1.05 * epicardium * rv[0], 1.15 * epicardium * rv[1]
        x = -epicardium * 0.62 - 0.42 * a * rv[2]
        return Chamber(x, -0.28 * epicardium * rv[3], a, b, 0.18 * a * p.ef / 0.6, 0.05 * b, -0.1 * a, -0.08 * b, p.wobble[1])

    def _wall(self, site: Site, phi, r, endo, epi, wall, muscle, fields: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
        """Material coordinates (phi, w) that carry the wall's points through the beat; papillary muscles and trabeculae keep their distance from the endocardium."""
        p, chosen = self.patient, wall | muscle
        phi, e = phi[chosen], endo[chosen]
        w = np.where(muscle[chosen], (r[chosen] - e) / p.wall, (r[chosen] ** 2 - e**2) / (epi[chosen] ** 2 - e**2))
        self.wall_phi, self.wall_w = phi.astype(np.float32), w.astype(np.float32)
        self._annulus = (np.maximum(w, 0) * (epi[chosen] ** 2 - e**2)).astype(np.float32)
        self._inward = (np.minimum(w, 0) * p.wall).astype(np.float32)
        u, v = np.cos(phi), np.sin(phi)
        texture = 2.4 * smooth_field(2.5 * u, 2.5 * v, 3.0, fields) + 1.8 * smooth_field(3 * u + w, 3 * v, 0.9, fields)
        along_beam = np.abs(np.cos(phi + self.place.angle)) ** 2  # the lateral wall and the septum's edge send little back
        drop = (phi - rng.uniform(-np.pi, np.pi) + np.pi) % (2 * np.pi) - np.pi
        loss = site.dropout * (9 * along_beam * np.where(u > 0, 1.0, 0.6) + 10 * rng.uniform(0.2, 1) * np.exp(-((drop / 0.5) ** 2)))
        border = 2.5 * np.exp(-((w / 0.12) ** 2)) + 3.0 * np.exp(-(((1 - w) / 0.12) ** 2)) * np.abs(v)
        return -4.5 + np.where(w < 0, 1.0, border) + texture - loss

    def _others(self, site: Site, x, y, phi, r, epi, other, fields: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
        """Tissue around: the RV's free wall, the pericardium behind the LV, lung at the sides."""
        p, lv = self.patient, self.lv
        x, y, phi, r, epi = x[other], y[other], phi[other], r[other], epi[other]
        thickening = lv.section_wall(phi, np.ones_like(phi), np.ones(1)) - epi
        around = Surround(x, y, r - epi, (np.cos(phi) * thickening, np.sin(phi) * thickening), self.cavities, p.size)
        self.other_x, self.other_y, self.move_x, self.move_y = (values.astype(np.float32) for values in (x, y, around.move_x, around.move_z))
        db = around.level(site, self.place, fields, rng)
        behind = np.clip(np.sin(phi + self.place.angle), 0, 1) ** 1.5
        line = np.exp(-(((around.lv_distance - 0.3 * p.size) / (0.2 * p.size)) ** 2)) * behind
        return np.maximum(db, -26 + (22 + site.pericardium) * np.clip(line * (1 + 0.2 * smooth_field(x, y, 2.5 * p.size, rng)), 0, 1.05))

    def positions(self, c: float, opening: float, flash: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        lv, now = self.lv, np.array([c])
        endo = np.interp(self.wall_phi, _CIRCLE, lv.section_radius(_CIRCLE, now, flash), period=2 * np.pi)
        radius = np.sqrt(endo**2 + lv.patient.length / lv.length(now)[0] * self._annulus) + self._inward
        phi = self.wall_phi - np.float32(lv.patient.twist * c)
        x = np.concatenate([radius * np.cos(phi), self.other_x + np.float32(c) * self.move_x])
        y = np.concatenate([radius * np.sin(phi), self.other_y + np.float32(c) * self.move_y])
        return x.astype(np.float32), y.astype(np.float32)

    def tracing(self, c: float, flash: float = 0.0) -> np.ndarray:
        return self.lv.section_tracing(c, flash)

    def contour(self, c: float, flash: float = 0.0) -> np.ndarray:
        """(40, 2) around the cavity."""
        return self.lv.section(c, 40, flash)


_CIRCLE = np.linspace(-np.pi, np.pi, 721)
