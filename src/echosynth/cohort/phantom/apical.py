"""The apical four-chamber view: LV on the right of the picture, RV on the left, both atria below, the apex under the probe."""

import numpy as np

from echosynth.cohort.phantom.patient import Patient, smoothstep
from echosynth.cohort.phantom.sites import Site
from echosynth.cohort.phantom.tissue import Chamber, Placement, Surround, Visit, scatter, smooth_field
from echosynth.cohort.phantom.ventricle import LeftVentricle
from echosynth.randomness import numpy_rng

_LEAFLET = 170  # scatterers
_SEPTUM = 0.16  # half the thickness between the atria, cm


def _scale(patient: Patient) -> float:
    """Of what surrounds the LV: a large ventricle has less than its share of it."""
    return patient.size**0.7 * (patient.size if patient.age < 18 else 1.0) ** 0.3


def apical_depth(patient: Patient) -> float:
    """cm from the probe to behind the atria."""
    roof = max(2 * patient.chambers[0, 1], 1.9 * patient.chambers[2, 1])
    return patient.apex_depth + patient.length + (2.25 * roof + 0.6) * _scale(patient)


def chambers(patient: Patient, lv: LeftVentricle, outflow: bool = False) -> dict[str, Chamber]:
    """Left atrium, right ventricle and right atrium around the LV; the annuli pull the atrial floor and the RV base towards the apex."""
    rest, length, m, size = np.zeros(1), patient.length, patient.mapse, _scale(patient)
    (la, rv, ra), w, tapse = patient.chambers, patient.wobble, 1.25 * patient.mapse
    base = {side: float(lv.annulus_radius(side, rest)[0]) for side in (-1.0, 1.0)}
    between = -base[-1.0] - 0.4 * patient.wall * patient.septum  # where the septum goes on between the atria
    middle = float((lv.radius(np.array([0.55]), -1.0, rest) + lv.thickness(np.array([0.55]), -1.0))[0])
    thin = _SEPTUM * size
    la_a, la_b = 1.95 * la[0] * size, 2.35 * la[1] * size
    ra_a, ra_b = 1.75 * ra[0] * size, 2.2 * ra[1] * size
    rv_a, rv_b = 1.75 * rv[0] * size, 0.42 * length * rv[1] ** 0.5
    found = {
        "la": Chamber(between + thin + la_a, length + 0.86 * la_b, la_a, la_b, 0.0, -m / 2, 0.1 * la_a, m / 2, w[0], 2.8, 0.08),
        "rv": Chamber(
            -middle - 0.62 * rv_a, 1.03 * length - rv_b, rv_a, rv_b, 0.1 * rv_a, -tapse / 2,
            -0.2 * rv_a * patient.ef / 0.6, -tapse / 2, w[1], 2.2, 0.35, -0.12 * rv[2],
        ),
        "ra": Chamber(between - thin - ra_a, length - 0.35 * size + 0.86 * ra_b, ra_a, ra_b, 0.0, -tapse / 2, 0.08 * ra_a, tapse / 2, w[2], 2.6),
    }  # fmt: skip
    if outflow:
        a = 0.75 * size
        found["aorta"] = Chamber(between + 0.5 * a, length + 0.35 * size, a, 1.15 * a, 0.0, -m, 0.0, 0.0, 0.5 * w[0])
    return found


class ApicalView:
    """Scatterers of one visit and where they go through the beat (tissue.View). View coordinates: x, z of the heart (ventricle.py)."""

    def __init__(self, patient: Patient, lv: LeftVentricle, site: Site, visit: Visit):
        self.lv, self.cavities = lv, chambers(patient, lv, visit.outflow)
        axis = 1 - visit.foreshortening
        self.place = Placement(patient.rotation, patient.lateral_offset, patient.apex_depth, visit, patient.rock, axis)
        fields, rng = numpy_rng(patient.texture, "apical"), numpy_rng(visit.seed, "tissue")  # what the patient keeps, and what is new with every visit
        x, z = scatter(visit, site, self.place, rng)
        rest, length = np.zeros(1), patient.length
        s, side, r = z / length, np.where(x < 0, -1.0, 1.0), np.abs(x)
        endo, thick = lv.radius(s, side, rest), lv.thickness(s, side)
        epi = endo + thick
        within = (s >= 0) & (s <= 1)
        wall = within & (r >= endo) & (r < epi)
        blood = within & (r < endo)
        reach = self._reach(patient, s, side, fields)
        trabeculae = blood & (r >= endo - reach)
        near_x, near_z = self._ragged(patient, x, z, fields)
        for chamber in self.cavities.values():
            blood |= ~wall & (chamber.level(near_x, near_z) < 1)
        blood &= ~self._moderator(patient, x, z)
        wall_db = self._wall(patient, site, s, side, r, endo, epi, wall, trabeculae, fields, rng)
        other_db = self._others(patient, site, x, z, s, side, epi, ~wall & ~blood, fields, rng)
        self.db = np.concatenate([wall_db, other_db, self._leaflets(patient, rng)])

    def _ragged(self, patient: Patient, x: np.ndarray, z: np.ndarray, fields: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Places beside the points, so that chambers have ragged outlines."""
        wavelength, far = 1.3 * patient.size, 0.09 * patient.size
        return x + far * smooth_field(x, z, wavelength, fields), z + far * smooth_field(x, z, wavelength, fields)

    def _reach(self, patient: Patient, s: np.ndarray, side: np.ndarray, fields: np.random.Generator) -> np.ndarray:
        """How far (cm) trabeculae and the papillary muscle reach into the cavity: furthest towards the apex and along the lateral wall, in ridges, none at the base."""
        ridges = np.clip(smooth_field(s * 12, side * 7, 1.6, fields) - 0.1, 0, 1.6)
        trabeculae = 0.3 * patient.size * ridges * np.where(side < 0, 0.35, 1.0) * (1 - smoothstep((s - 0.5) / 0.3))
        height, place = patient.muscle
        muscle = max(height, 0) * np.clip(1 - ((s - place) / 0.13) ** 2, 0, None) ** 0.7 * (side > 0)
        return np.maximum(trabeculae, muscle)

    def _moderator(self, patient: Patient, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Where the moderator band crosses the RV, from the septum towards the apex of its free wall."""
        u, v = self.cavities["rv"].unit(x, z)
        return (np.abs(v + 0.35 + 0.35 * u) < 0.07) & (np.abs(u) < 1) & (patient.moderator > -12)

    def _wall(self, patient: Patient, site: Site, s, side, r, endo, epi, wall, trabeculae, fields: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
        """Material coordinates (s, side, w) that carry the wall's points through the beat, and their levels. Trabeculae have w < 0."""
        lv, chosen = self.lv, wall | trabeculae
        s, side, e = s[chosen], side[chosen], endo[chosen]
        w = np.where(trabeculae[chosen], (r[chosen] - e) / patient.wall, (r[chosen] ** 2 - e**2) / (epi[chosen] ** 2 - e**2))
        self.wall_s, self.wall_side, self.wall_w = (values.astype(np.float32) for values in (s, side, w))
        self._endo = e.astype(np.float32)
        self._annulus = (np.maximum(w, 0) * (epi[chosen] ** 2 - e**2)).astype(np.float32)  # times L0 / L, as LeftVentricle.wall_radius
        self._inward = (np.minimum(w, 0) * patient.wall).astype(np.float32)
        self._aside = lv.aside(s, side).astype(np.float32)
        self._swing = (side * lv.swing(s)).astype(np.float32)
        return self._wall_level(patient, site, s, side, w, fields, rng)

    def _wall_level(self, patient: Patient, site: Site, s, side, w, fields: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
        """dB: brightest in the septum, more so towards the crux; the lateral wall and the apex drop out in places."""
        septal, along = side < 0, s * patient.length
        layers = 3.5 * smooth_field(0.3 * along, side * 9 + 1.8 * w, 1.2, fields)  # of fibres, parallel to the wall
        texture = 4.0 * smooth_field(along, side * 3 + w, 3.0, fields) + 2.5 * smooth_field(along, side * 5 + 1.2 * w, 0.9, fields) + layers
        dropout = np.exp(-(((s - rng.uniform(0.2, 0.9)) / rng.uniform(0.12, 0.32)) ** 2)) * rng.uniform(0.2, 1)
        apex = np.exp(-((s / 0.16) ** 2))
        loss = np.where(septal, 0.4, 1.0) * site.dropout * (15 * dropout + 8 * apex)
        facing = np.sqrt(np.clip(1 - 2 * s, 0, 1))  # of a half ellipsoid about the apex
        septum = -4.5 + 3.5 * smoothstep((s - 0.45) / 0.55)
        lateral = -7.5 - 0.5 * site.specular * (1 - facing) * (s < 0.8)
        border = 2.5 * np.exp(-((w / 0.15) ** 2)) + 2.0 * np.exp(-(((1 - w) / 0.15) ** 2))
        return np.where(septal, septum, lateral) + np.where(w < 0, -3.0, border) + texture - loss

    def _others(self, patient: Patient, site: Site, x, z, s, side, epi, other, fields: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
        """The tissue around, with the bright crux and annuli, an effusion and the moderator band."""
        lv, size, length = self.lv, patient.size, patient.length
        x, z, s, side, epi = x[other], z[other], s[other], side[other], epi[other]
        distance = np.hypot(np.clip(np.abs(x) - epi, 0, None), np.clip(np.maximum(-z, z - length), 0, None))
        thickening = lv.wall_radius(s, side, np.ones_like(s), np.ones(1)) - epi
        around = Surround(x, z, distance, (side * thickening, -patient.mapse * np.clip(s, 0, 1)), self.cavities, size)
        self.other_x, self.other_z, self.move_x, self.move_z = (values.astype(np.float32) for values in (x, z, around.move_x, around.move_z))
        db = np.maximum(around.level(site, self.place, fields, rng), self._grooves(patient, site, x, z, rng))
        if patient.effusion:
            lies = (side > 0) & (distance < patient.effusion * smoothstep(s / 0.3)) & (s < 1.05)
            db = np.where(lies, -40.0, np.where((side > 0) & (distance < patient.effusion + 0.4) & (s < 1.05), -3.0, db))
        db = db - 7 * site.dropout * np.clip(smooth_field(x, z, 3.2 * size, rng) - 0.4, 0, 2)  # echoes are lost in places
        return np.where(around.cavity_distance < -0.25, patient.moderator, db)

    def _grooves(self, patient: Patient, site: Site, x, z, rng: np.random.Generator) -> np.ndarray:
        """dB of the crux with the septum between the atria, and of the fat in the grooves outside both annuli."""
        lv, size, length, rv = self.lv, patient.size, patient.length, self.cavities["rv"]
        base = {side: float(lv.annulus_radius(side, np.zeros(1))[0]) for side in (-1.0, 1.0)}
        crux = -base[-1.0] - 0.4 * patient.wall * patient.septum
        free_wall = rv.x + rv.lean * (length - rv.z) - rv.a * (1 + rv.taper)
        bright, patch = site.pericardium, 2.5 * smooth_field(x, z, 1.6 * size, rng)
        spots = (  # x, z, half-width, half-height, dB
            (crux, length + 0.1, 0.35, 0.6, 1.0 + 0.3 * bright),
            (crux, length + 1.4 * size, 0.3, rng.uniform(1.0, 1.8), -5.0 + 0.3 * bright),
            (base[1.0] + 0.7 * size, length + 0.2, rng.uniform(0.45, 0.9), rng.uniform(0.8, 1.5), -5.0 + 0.7 * bright),
            (base[1.0] + 1.2 * size, length - 1.8 * size, rng.uniform(0.4, 0.9), 1.8, rng.uniform(-16, -6) + 0.5 * bright),
            (free_wall - 0.4 * size, length - 0.3, rng.uniform(0.4, 0.9), rng.uniform(0.8, 1.5), -6.0 + 0.5 * bright),
            (free_wall - 0.3 * size, length - 2.5 * size, rng.uniform(0.3, 0.7), 2.0, rng.uniform(-15, -6) + 0.4 * bright),
        )
        db = np.full_like(x, -60.0)
        for at_x, at_z, width, height, level in spots:
            far = ((x - at_x) / (width * size)) ** 2 + ((z - at_z) / (height * size)) ** 2
            db = np.maximum(db, level + patch - 5 * far)
        return db

    def _leaflets(self, patient: Patient, rng: np.random.Generator) -> np.ndarray:
        """Mitral and tricuspid leaflets: two each, hinged at the annulus; a point is (fraction of the length, offset across)."""
        self.leaf_along = rng.random((4, _LEAFLET)).astype(np.float32)
        self.leaf_across = rng.normal(0, 0.035 * patient.size * patient.leaflets, (4, _LEAFLET)).astype(np.float32)
        patchy = 5 * np.sin(rng.uniform(5, 12, (4, 1)) * self.leaf_along + rng.uniform(0, 6, (4, 1)))
        levels = np.array([-9.0, -11.0, -14.0, -16.0])[:, None] + 4 * np.log2(patient.leaflets)
        return (levels + patchy + rng.normal(0, 2, (4, 1))).ravel()

    def positions(self, c: float, opening: float, flash: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        lv, now, rest = self.lv, np.array([c]), np.zeros(1)
        ratio = np.float32((lv.scale(now) / lv.scale(rest))[0])  # the outline keeps its shape
        endo = ratio * self._endo + np.float32((lv.scale(rest) - lv.scale(now))[0]) * self._aside
        if flash:
            endo = endo + np.float32(flash) * self._swing
        radius = np.sqrt(endo**2 + np.float32(lv.patient.length / lv.length(now)[0]) * self._annulus) + self._inward
        leaf_x, leaf_z = self._leaflet_positions(now, opening)
        x = np.concatenate([self.wall_side * np.abs(radius), self.other_x + np.float32(c) * self.move_x, leaf_x])
        z = np.concatenate([self.wall_s * np.float32(lv.length(now)[0]), self.other_z + np.float32(c) * self.move_z, leaf_z])
        return x, z

    def _leaflet_positions(self, c: np.ndarray, opening: float) -> tuple[np.ndarray, np.ndarray]:
        """Leaflets swing from 12 to 77 degrees against the annular plane and bend towards the ventricle."""
        lv, one, rest, length = self.lv, np.ones(1), np.zeros(1), self.lv.length(c)
        angle = np.float32(np.deg2rad(12 + 65 * opening))
        base = {side: lv.annulus_radius(side, c) for side in (-1.0, 1.0)}
        septal_epi = base[-1.0] + lv.thickness(one, -1.0)
        rv: Chamber = self.cavities["rv"]
        tricuspid_z = length - 0.45 * lv.patient.size
        free_wall = -(rv.x + c * rv.dx + rv.lean * (tricuspid_z - rv.z)) + (1 + 0.8 * rv.taper) * (rv.a + c * rv.da)
        reach = 0.5 * np.maximum(free_wall - septal_epi, 0.4)
        hinges = (  # x, z, direction towards the middle of the valve, leaflet length
            (-base[-1.0], length, 1.0, 1.15 * lv.annulus_radius(-1.0, rest)),
            (base[1.0], length, -1.0, 0.85 * lv.annulus_radius(1.0, rest)),
            (-septal_epi, tricuspid_z, -1.0, 0.95 * reach),
            (-free_wall, tricuspid_z, 1.0, reach),
        )
        x, z, direction, size = (np.array([float(np.squeeze(h[i])) for h in hinges], np.float32)[:, None] for i in range(4))
        along = size * self.leaf_along
        across = self.leaf_across + direction * 0.16 * size * np.sin(np.pi * self.leaf_along)  # the belly
        px = x + direction * along * np.cos(angle) + across * np.sin(angle)
        pz = z - along * np.sin(angle) - direction * across * np.cos(angle)
        return px.ravel(), pz.ravel()

    def tracing(self, c: float, flash: float = 0.0) -> np.ndarray:
        return self.lv.tracing(c, flash)

    def contour(self, c: float, flash: float = 0.0) -> np.ndarray:
        """(41, 2): from the septal end of the mitral plane over the apex to the lateral end."""
        now, s = np.array([c]), np.linspace(1, 0, 21)
        length = float(self.lv.length(now)[0])
        septal = np.stack([-self.lv.radius(s, -1.0, now, flash), s * length], 1)
        lateral = np.stack([self.lv.radius(s, 1.0, now, flash), s * length], 1)[::-1][1:]
        return np.concatenate([septal, lateral])
