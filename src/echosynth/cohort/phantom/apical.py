"""The apical four-chamber view: LV on the right of the picture, RV on the left, both atria below, the apex under the probe."""

import numpy as np

from echosynth.cohort.phantom.patient import Patient, smoothstep
from echosynth.cohort.phantom.sites import Site
from echosynth.cohort.phantom.tissue import Chamber, Placement, Surround, Visit, scatter, smooth_field
from echosynth.cohort.phantom.ventricle import LeftVentricle
from echosynth.randomness import numpy_rng

_LEAFLET = 170  # scatterers


def apical_depth(patient: Patient) -> float:
    """cm from the probe to the roof of the atria."""
    return patient.apex_depth + patient.length + 3.8 * patient.size**0.7


def chambers(patient: Patient, lv: LeftVentricle) -> dict[str, Chamber]:
    """Left atrium, right ventricle and right atrium around the LV; the annuli pull the atrial floor and the RV base towards the apex."""
    b = float(lv.radius(np.array([0.55]), -1.0, np.zeros(1))[0])
    h, length, m = patient.wall * patient.septum, patient.length, patient.mapse
    (la, rv, ra), size = patient.chambers, patient.size**0.7 * (patient.size if patient.age < 18 else 1.0) ** 0.3
    if patient.phenotype in ("fibrillation", "dilated"):
        la, ra = la * (1.15, 1.1, 1, 1), ra * (1.1, 1.05, 1, 1)
    tapse = 1.25 * m
    rv_a, rv_b = 1.65 * rv[0] * size, 0.43 * length * rv[1]
    ra_a, ra_b = 1.75 * ra[0] * size, 1.85 * ra[1] * size
    la_a, la_b = 1.8 * la[0] * size, 1.95 * la[1] * size
    w = patient.wobble
    return {
        "la": Chamber(0.1 * la[2], length + 0.76 * la_b, la_a, la_b, 0.0, -m / 2, 0.12 * la_a, m / 2, w[0]),
        "rv": Chamber(-b - h - 0.80 * rv_a, 0.60 * length * rv[2], rv_a, rv_b, 0.12 * rv_a, -tapse / 2, -0.22 * rv_a * patient.ef / 0.6, -tapse / 2, w[1]),
        "ra": Chamber(-b - h - 0.55 * ra_a, length + 0.62 * ra_b, ra_a, ra_b, 0.0, -tapse / 2, 0.10 * ra_a, tapse / 2, w[2]),
    }


class ApicalView:
    """Scatterers of one visit and where they go through the beat (tissue.View). View coordinates: x, z of the heart (ventricle.py)."""

    def __init__(self, patient: Patient, lv: LeftVentricle, site: Site, visit: Visit):
        self.lv, self.cavities = lv, chambers(patient, lv)
        self.place = Placement(patient.rotation, patient.lateral_offset, patient.apex_depth, visit)
        fields, rng = numpy_rng(patient.texture, "apical"), numpy_rng(visit.seed, "tissue")  # what the patient keeps, and what is new with every visit
        x, z = scatter(visit, patient.size, self.place, rng)
        rest, length = np.zeros(1), patient.length
        s, side, r = z / length, np.where(x < 0, -1.0, 1.0), np.abs(x)
        endo, thick = lv.radius(s, side, rest), lv.thickness(s, side)
        epi = endo + thick
        within = (s >= 0) & (s <= 1)
        wall = within & (r >= endo) & (r < epi)
        blood = within & (r < endo)
        for chamber in self.cavities.values():
            blood |= ~wall & (chamber.level(x, z) < 1)
        trabeculae = blood & within & (r >= endo - self._trabeculae(s, side, fields) * patient.size) & (r < endo)
        wall_db = self._wall(patient, site, s, side, r, endo, epi, wall, trabeculae, fields, rng)
        other_db = self._others(patient, site, x, z, s, side, epi, ~wall & ~blood, fields, rng)
        leaflet_db = self._leaflets(rng, patient.size)
        self.db = np.concatenate([wall_db, other_db, leaflet_db])

    def _trabeculae(self, s: np.ndarray, side: np.ndarray, fields: np.random.Generator) -> np.ndarray:
        """How far (cm) trabeculae reach into the cavity: furthest towards the apex and along the lateral wall, in ridges, none at the base."""
        ridges = np.clip(smooth_field(s * 12, side * 7, 1.6, fields) - 0.1, 0, 1.6)
        return 0.32 * ridges * np.where(side < 0, 0.45, 1.0) * (1 - smoothstep((s - 0.55) / 0.3))

    def _wall(self, patient: Patient, site: Site, s, side, r, endo, epi, wall, trabeculae, fields: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
        """Material coordinates (s, side, w) that carry the wall's points through the beat, and their levels. Trabeculae have w < 0."""
        lv, chosen = self.lv, wall | trabeculae
        s, side, e = s[chosen], side[chosen], endo[chosen]
        w = np.where(trabeculae[chosen], (r[chosen] - e) / patient.wall, (r[chosen] ** 2 - e**2) / (epi[chosen] ** 2 - e**2))
        self.wall_s, self.wall_side, self.wall_w = (values.astype(np.float32) for values in (s, side, w))
        self._endo = e.astype(np.float32)
        self._annulus = (np.maximum(w, 0) * (epi[chosen] ** 2 - e**2)).astype(np.float32)  # times L0 / L, as LeftVentricle.wall_radius
        self._inward = (np.minimum(w, 0) * patient.wall).astype(np.float32)
        self._lag = (side * np.cos(patient.akinetic_wall) * lv.lag_shape(s)).astype(np.float32)
        septal = side < 0
        along = s * patient.length
        layers = 2.5 * smooth_field(0.3 * along, side * 9 + 1.5 * w, 1.2, fields)  # of fibres, parallel to the wall
        texture = 3.0 * smooth_field(along, side * 3 + w, 3.0, fields) + 1.4 * smooth_field(along, side * 5 + 1.2 * w, 0.9, fields) + layers
        dropout = np.exp(-(((s - rng.uniform(0.2, 0.9)) / rng.uniform(0.12, 0.32)) ** 2)) * rng.uniform(0.2, 1)
        apex = np.exp(-((s / 0.16) ** 2))
        loss = np.where(septal, 0.2, 1.0) * site.dropout * (15 * dropout + 9 * apex)
        border = 3.0 * np.exp(-((w / 0.12) ** 2)) + 3.0 * np.exp(-(((1 - w) / 0.12) ** 2))
        return np.where(septal, -3.5, -7.5) + np.where(w < 0, -4.0, border) + texture - loss

    def _others(self, patient: Patient, site: Site, x, z, s, side, epi, other, fields: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
        """The tissue around, with the bright crux, annuli and the pericardium behind the atria."""
        lv, size, length = self.lv, patient.size, patient.length
        x, z, s, side, epi = x[other], z[other], s[other], side[other], epi[other]
        distance = np.hypot(np.clip(np.abs(x) - epi, 0, None), np.clip(np.maximum(-z, z - length), 0, None))
        thickening = lv.wall_radius(s, side, np.ones_like(s), np.ones(1)) - epi
        around = Surround(x, z, distance, (side * thickening, -patient.mapse * np.clip(s, 0, 1)), self.cavities, size)
        self.other_x, self.other_z, self.move_x, self.move_z = (values.astype(np.float32) for values in (x, z, around.move_x, around.move_z))
        db = around.level(patient, site, self.place, fields, rng)
        # Pericardium: behind the atria it faces the beam; beside the ventricles hardly.
        line = np.exp(-(((around.distance - 0.45 * size) / (0.22 * size)) ** 2)) * np.where(z > length + 0.5 * size, around.facing(self.place) ** 2, 0.25)
        db = np.maximum(db, -26 + 28 * np.clip(line * (1 + 0.2 * smooth_field(x, z, 2.5 * size, rng)), 0, 1.05))
        base = {side: float(lv.annulus_radius(side, np.zeros(1))[0]) for side in (-1.0, 1.0)}
        for hinge_x, strength in ((-base[-1.0] - 0.3 * size, 4.0), (base[1.0] + 0.25 * size, 1.0)):  # crux, lateral annulus
            db = np.maximum(db, strength - 13 * ((x - hinge_x) ** 2 + (z - length - 0.1) ** 2) / (0.5 * size) ** 2)
        return db

    def _leaflets(self, rng: np.random.Generator, size: float) -> np.ndarray:
        """Mitral and tricuspid leaflets: two each, hinged at the annulus; a point is (fraction of the length, offset across)."""
        self.leaf_along = rng.random((4, _LEAFLET)).astype(np.float32)
        self.leaf_across = rng.normal(0, 0.05 * size, (4, _LEAFLET)).astype(np.float32)
        return np.repeat([-2.0, -4.0, -6.0, -8.0], _LEAFLET) - 3 * self.leaf_along.ravel()

    def positions(self, c: float, opening: float) -> tuple[np.ndarray, np.ndarray]:
        lv, now, rest = self.lv, np.array([c]), np.zeros(1)
        ratio = np.float32((lv.scale(now) / lv.scale(rest))[0])  # the outline keeps its shape
        endo = ratio * self._endo + np.float32((lv.scale(rest) - lv.scale(now))[0]) * self._lag
        radius = np.sqrt(endo**2 + np.float32(lv.patient.length / lv.length(now)[0]) * self._annulus) + self._inward
        leaf_x, leaf_z = self._leaflet_positions(now, opening)
        x = np.concatenate([self.wall_side * np.abs(radius), self.other_x + np.float32(c) * self.move_x, leaf_x])
        z = np.concatenate([self.wall_s * np.float32(lv.length(now)[0]), self.other_z + np.float32(c) * self.move_z, leaf_z])
        return x, z

    def _leaflet_positions(self, c: np.ndarray, opening: float) -> tuple[np.ndarray, np.ndarray]:
        """Leaflets swing from 15 to 75 degrees against the annular plane."""
        lv, one, rest, length = self.lv, np.ones(1), np.zeros(1), self.lv.length(c)
        angle = np.float32(np.deg2rad(15 + 60 * opening))
        base = {side: lv.annulus_radius(side, c) for side in (-1.0, 1.0)}
        septal_epi = base[-1.0] + lv.thickness(one, -1.0)
        rv: Chamber = self.cavities["rv"]
        free_wall = -(rv.x + c * rv.dx) + 0.8 * (rv.a + c * rv.da)
        reach = 0.5 * (free_wall - septal_epi)
        tricuspid_z = length - 0.5 * lv.patient.size
        hinges = (  # x, z, direction towards the middle of the valve, leaflet length
            (-base[-1.0], length, 1.0, 1.15 * lv.annulus_radius(-1.0, rest)),
            (base[1.0], length, -1.0, 0.85 * lv.annulus_radius(1.0, rest)),
            (-septal_epi, tricuspid_z, -1.0, 0.95 * reach),
            (-free_wall, tricuspid_z, 1.0, reach),
        )
        x, z, direction, size = (np.array([float(np.squeeze(h[i])) for h in hinges], np.float32)[:, None] for i in range(4))
        along, across = size * self.leaf_along, self.leaf_across
        px = x + direction * along * np.cos(angle) + across * np.sin(angle)
        pz = z - along * np.sin(angle) + direction * across * np.cos(angle)
        return px.ravel(), pz.ravel()

    def tracing(self, c: float) -> np.ndarray:
        return self.lv.tracing(c)

    def contour(self, c: float) -> np.ndarray:
        """(41, 2): from the septal end of the mitral plane over the apex to the lateral end."""
        now, s = np.array([c]), np.linspace(1, 0, 21)
        length = float(self.lv.length(now)[0])
        septal = np.stack([-self.lv.radius(s, -1.0, now), s * length], 1)
        lateral = np.stack([self.lv.radius(s, 1.0, now), s * length], 1)[::-1][1:]
        return np.concatenate([septal, lateral])
