"""From a moving heart to ultrasound frames: scatterers, point spread, envelope, log compression, scan conversion.

World coordinates in cm: the probe is at (0, 0), y runs down. The polar grid is in fractions of the depth and of the sector's angle.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from echosynth.cohort.phantom.heart import Chamber, LeftVentricle, Patient, chambers
from echosynth.cohort.phantom.sites import Site
from echosynth.randomness import numpy_rng

RADII, ANGLES = 224, 128
WAVELENGTH = 0.0616  # cm, 2.5 MHz
DENSITY = 170.0  # scatterers per cm^2: more than ten in a resolution cell, so that speckle is fully developed (Wagner 1983)
FRAME_CORRELATION = 0.985  # of the scatterers' amplitudes from frame to frame


@dataclass(frozen=True)
class Visit:
    """What differs between two clips of one patient: probe, gain, noise, breathing."""

    tilt: float  # rad
    shift: float  # cm across
    gain: float  # dB
    depth: float  # cm
    breathing: float  # cm
    breathing_phase: float
    seed: int

    def breath(self, time: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Shift of the whole heart by breathing at `time` (s): (across, down) in cm."""
        down = self.breathing * np.sin(2 * np.pi * time / 4.0 + self.breathing_phase)
        return 0.4 * down, down


def draw_visit(patient: Patient, site: Site, rng: np.random.Generator) -> Visit:
    """A new probe position; the depth is set so that the heart fills the sector, as a sonographer would."""
    needed = patient.apex_depth + patient.length + 3.8 * (patient.length / 8.6) ** 0.7
    return Visit(
        tilt=float(np.deg2rad(rng.normal(0, 2.2))),
        shift=float(rng.normal(0, 0.2)),
        gain=float(rng.normal(0, 1.5)),
        depth=float(np.clip((needed + site.depth_margin) * rng.normal(1, 0.025), 11.5, 24)),
        breathing=float(rng.uniform(0.02, 0.18)),
        breathing_phase=float(rng.uniform(0, 2 * np.pi)),
        seed=int(rng.integers(2**31)),
    )


class Placement:
    """Heart to world: rotation about the apex, then shift; breathing moves everything slowly."""

    def __init__(self, patient: Patient, visit: Visit):
        angle = patient.rotation + visit.tilt
        self._cos, self._sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        self._x, self._y = np.float32(patient.lateral_offset + visit.shift), np.float32(patient.apex_depth)

    def world(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._x + self._cos * x - self._sin * z, self._y + self._sin * x + self._cos * z

    def heart(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = x - self._x, y - self._y
        return self._cos * u + self._sin * v, -self._sin * u + self._cos * v


def _smooth_field(x: np.ndarray, z: np.ndarray, wavelength: float, rng: np.random.Generator, terms: int = 12) -> np.ndarray:
    """A Gaussian-like random field of unit variance at the points, from plane waves of about the given wavelength (cm)."""
    k = 2 * np.pi / wavelength * rng.uniform(0.5, 1.3, terms)
    direction, phase = rng.uniform(0, np.pi, terms), rng.uniform(0, 2 * np.pi, terms)
    waves = sum(np.cos(k[i] * (np.cos(direction[i]) * x + np.sin(direction[i]) * z) + phase[i]) for i in range(terms))
    return waves * np.sqrt(2 / terms)


class Tissue:
    """Point scatterers of one visit and where they go through the beat."""

    def __init__(self, patient: Patient, lv: LeftVentricle, site: Site, visit: Visit):
        self.lv, self.cavities = lv, chambers(patient, lv)
        self.place = Placement(patient, visit)
        rng = numpy_rng(patient.texture, "tissue")
        half = np.deg2rad(46.0)  # wider than any sector, so that what enters at the edge is there
        count = int(DENSITY * half * visit.depth**2)
        r, theta = 1.02 * visit.depth * np.sqrt(rng.random(count)), half * rng.uniform(-1, 1, count)
        x, z = self.place.heart(r * np.sin(theta), r * np.cos(theta))
        self._classify(x, z, site, rng)
        self._leaflets(rng)

    def _classify(self, x: np.ndarray, z: np.ndarray, site: Site, rng: np.random.Generator) -> None:
        """Splits the points into LV wall, other tissue and blood (dropped), and gives each tissue its level in dB."""
        lv, rest = self.lv, np.zeros(1)
        length = float(lv.length(rest)[0])
        s, side, r = z / length, np.where(x < 0, -1.0, 1.0), np.abs(x)
        endo, thick = lv.radius(s, side, rest), lv.thickness(s, side)
        epi = endo + thick
        within = (s >= 0) & (s <= 1)
        wall = within & (r >= endo) & (r < epi)
        blood = within & (r < endo)
        for chamber in self.cavities.values():
            blood |= ~wall & (chamber.level(x, z) < 1)
        texture = 2.6 * _smooth_field(x, z, 3.5, rng) + 1.6 * _smooth_field(x, z, 0.9, rng)

        # The wall: material coordinates (s, side, w) carry it through the beat.
        self.wall_s, self.wall_side = s[wall].astype(np.float32), side[wall].astype(np.float32)
        e = endo[wall]
        self.wall_w = ((r[wall] ** 2 - e**2) / (epi[wall] ** 2 - e**2)).astype(np.float32)
        self._endo_squared = (e**2).astype(np.float32)
        self._annulus = (self.wall_w * (epi[wall] ** 2 - e**2)).astype(np.float32)  # times L0 / L, as LeftVentricle.wall_radius
        septal = self.wall_side < 0
        patch = _smooth_patch(self.wall_s, rng)
        trabeculae = np.where(self.wall_w < 0.3, 2.5 * _smooth_field(self.wall_s * 30, self.wall_side * 4, 3.0, rng), 0.0)
        loss = np.where(septal, 0.25, 1.0) * site.dropout * (11 * patch + 7 * np.exp(-((self.wall_s / 0.12) ** 2)))
        border = 3.0 * np.exp(-((self.wall_w / 0.12) ** 2)) + 4.0 * np.exp(-(((1 - self.wall_w) / 0.12) ** 2))
        wall_db = np.where(septal, -4.0, -6.5) + border + trabeculae + texture[wall] - loss

        # Everything else moves with the nearest boundaries, less and less with distance.
        other = ~wall & ~blood
        ox, oz, os_, oside = x[other], z[other], s[other], side[other]
        lateral = np.clip(np.abs(ox) - epi[other], 0, None)
        past = np.clip(np.maximum(-oz, oz - length), 0, None)
        lv_distance = np.hypot(lateral, past)
        one = np.ones(1)
        thickening = lv.wall_radius(os_, oside, np.ones_like(os_), one) - epi[other]
        weight = np.exp(-lv_distance / 1.2)
        move_x, move_z, total = weight * oside * thickening, -weight * lv.patient.mapse * np.clip(os_, 0, 1), weight
        nearest = lv_distance
        chamber_distance = np.full_like(ox, np.inf)
        for chamber in self.cavities.values():
            level = chamber.level(ox, oz)
            distance = (level - 1) * np.sqrt(chamber.a * chamber.b)
            cosine, sine = (ox - chamber.x) / (chamber.a * level), (oz - chamber.z) / (chamber.b * level)
            weight = np.exp(-distance / 0.9)
            move_x += weight * (chamber.dx + chamber.da * cosine)
            move_z += weight * (chamber.dz + chamber.db * sine)
            total += weight
            chamber_distance = np.minimum(chamber_distance, distance)
        nearest = np.minimum(nearest, chamber_distance)
        total = np.maximum(total, 1.0)
        self.other_x, self.other_z = ox.astype(np.float32), oz.astype(np.float32)
        self.move_x, self.move_z = (move_x / total).astype(np.float32), (move_z / total).astype(np.float32)
        other_db = site.surround - 3.2 * np.clip(nearest - 0.4, 0, 6) + 4.5 * _smooth_field(ox, oz, 2.0, rng)
        other_db = np.where(chamber_distance < 0.38, np.maximum(other_db, -9.5), other_db)
        pericardium = np.exp(-(((nearest - 0.42) / 0.13) ** 2)) * np.where(oz > length, 1.0, 0.55)
        other_db = np.maximum(other_db, -22 + 23 * pericardium * (1 + 0.25 * _smooth_field(ox, oz, 2.5, rng)))
        base = self.lv.radius(np.ones(1), np.array([1.0]), rest)[0]
        for hinge_x in (-base - 0.25, base + 0.25):
            other_db = np.maximum(other_db, 5.0 - 26 * ((ox - hinge_x) ** 2 + (oz - length - 0.1) ** 2) / 0.55**2 * 0.5)
        self.db = np.concatenate([wall_db, other_db + texture[other]])

    def _leaflets(self, rng: np.random.Generator) -> None:
        """Mitral and tricuspid leaflets: two each, hinged at the annulus; a point is (fraction of the length, offset across)."""
        per_leaflet = 170
        self.leaf_along = rng.random((4, per_leaflet)).astype(np.float32)
        self.leaf_across = rng.normal(0, 0.05, (4, per_leaflet)).astype(np.float32)
        self.db = np.concatenate([self.db, np.repeat([-2.0, -3.0, -5.0, -6.0], per_leaflet) - 3 * self.leaf_along.ravel()])

    def positions(self, c: float, opening: float) -> tuple[np.ndarray, np.ndarray]:
        """Heart coordinates (N,) of every scatterer at contraction c and valve opening, both in [0, 1]."""
        lv, now, rest = self.lv, np.array([c]), np.zeros(1)
        half = np.array([0.5])
        narrowing = np.float32((lv.radius(half, 1.0, now) / lv.radius(half, 1.0, rest))[0] ** 2)  # (B(t) / B(0))^2: the outline keeps its shape
        radius = np.sqrt(narrowing * self._endo_squared + np.float32(lv.patient.length / lv.length(now)[0]) * self._annulus)
        leaf_x, leaf_z = self._leaflet_positions(now, opening)
        x = np.concatenate([self.wall_side * radius, self.other_x + np.float32(c) * self.move_x, leaf_x])
        z = np.concatenate([self.wall_s * np.float32(lv.length(now)[0]), self.other_z + np.float32(c) * self.move_z, leaf_z])
        return x, z

    def _leaflet_positions(self, c: np.ndarray, opening: float) -> tuple[np.ndarray, np.ndarray]:
        """Leaflets swing from 15 to 75 degrees against the annular plane."""
        lv, one, rest, length = self.lv, np.ones(1), np.zeros(1), self.lv.length(c)
        angle = np.float32(np.deg2rad(15 + 60 * opening))
        base = {side: lv.radius(one, side, c) for side in (-1.0, 1.0)}
        septal_epi = base[-1.0] + lv.thickness(one, -1.0)
        rv: Chamber = self.cavities["rv"]
        free_wall = -(rv.x + c * rv.dx) + 0.8 * (rv.a + c * rv.da)
        reach = 0.5 * (free_wall - septal_epi)
        tricuspid_z = length - 0.5
        hinges = (  # x, z, direction towards the middle of the valve, leaflet length
            (-base[-1.0], length, 1.0, 1.15 * lv.radius(one, -1.0, rest)),
            (base[1.0], length, -1.0, 0.85 * lv.radius(one, 1.0, rest)),
            (-septal_epi, tricuspid_z, -1.0, 0.95 * reach),
            (-free_wall, tricuspid_z, 1.0, reach),
        )
        x, z, direction, size = (np.array([float(np.squeeze(h[i])) for h in hinges], np.float32)[:, None] for i in range(4))
        along, across = size * self.leaf_along, self.leaf_across
        px = x + direction * along * np.cos(angle) + across * np.sin(angle)
        pz = z - along * np.sin(angle) + direction * across * np.cos(angle)
        return px.ravel(), pz.ravel()


def _smooth_patch(s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A dropout of random place and width along the wall, 0 to 1."""
    return np.exp(-(((s - rng.uniform(0.25, 0.9)) / rng.uniform(0.1, 0.3)) ** 2)) * rng.uniform(0, 1)


def _blur(sigma: float, size: int) -> np.ndarray:
    """Gaussian point spread as a banded matrix of unit energy; sigma in cells."""
    offsets = np.arange(size)[:, None] - np.arange(size)[None]
    offsets = offsets / max(sigma, 0.35)
    kernel = np.where(np.abs(offsets) < 5, np.exp(-0.5 * offsets**2), 0.0)  # the far tail would be denormal numbers, and slow
    return (kernel / np.sqrt((kernel**2).sum(0, keepdims=True))).astype(np.float32)


def scan_converter(half_angle: float, size: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """(size^2, RADII * ANGLES) matrix that averages the polar image over each pixel's area, and the cone's mask (size, size).

    The picture is as wide as the sector or as high as the depth, whichever is more, with the probe at the top.
    """
    extent = scale_of(half_angle)
    sub = 3
    grid = (np.arange(size * sub) + 0.5) / (size * sub) * extent
    y, x = np.meshgrid(grid, grid - extent / 2, indexing="ij")
    rho, theta = np.hypot(x, y), np.arctan2(x, y) / half_angle
    inside = (rho < 1) & (np.abs(theta) < 1)
    i, j = rho[inside] * (RADII - 1), (theta[inside] + 1) / 2 * (ANGLES - 1)
    rows, cols = np.nonzero(inside)
    pixel = (rows // sub) * size + cols // sub
    i0, j0 = np.minimum(i.astype(int), RADII - 2), np.minimum(j.astype(int), ANGLES - 2)
    fi, fj = i - i0, j - j0
    corners = [(i0, j0, (1 - fi) * (1 - fj)), (i0 + 1, j0, fi * (1 - fj)), (i0, j0 + 1, (1 - fi) * fj), (i0 + 1, j0 + 1, fi * fj)]
    data = np.concatenate([w for _, _, w in corners]) / sub**2
    columns = np.concatenate([a * ANGLES + b for a, b, _ in corners])
    matrix = sparse.csr_matrix((data.astype(np.float32), (np.tile(pixel, 4), columns)), shape=(size * size, RADII * ANGLES))
    centre = np.asarray(inside.reshape(size, sub, size, sub).sum((1, 3)) == sub * sub)
    return sparse.diags(centre.ravel().astype(np.float32)) @ matrix, centre


def scale_of(half_angle: float) -> float:
    """Side of the square picture in units of the depth; the sector's lower corners may be cut a little, as scanners do."""
    return max(1.0, 2 * np.sin(half_angle) * 0.93) * 1.01


def render(patient: Patient, lv: LeftVentricle, site: Site, visit: Visit, time: np.ndarray, c: np.ndarray, opening: np.ndarray, size: int = 112) -> np.ndarray:
    """uint8 (T, size, size): B-mode frames at the given times (s), contractions and valve openings (T,). Outside the cone exactly 0."""
    tissue, half = Tissue(patient, lv, site, visit), np.float32(np.deg2rad(site.half_angle))
    rng = numpy_rng(visit.seed, "image")
    breath_x, breath_y = (b.astype(np.float32) for b in visit.breath(time))
    level = (np.float32(10) ** (tissue.db / 20)).astype(np.float32)
    rho = np.linspace(0, 1, RADII, dtype=np.float32)[:, None]
    angle = np.linspace(-1, 1, ANGLES, dtype=np.float32)[None]
    # Scatterers are uniform over the area, so a cell near the probe holds fewer: even out, as time-gain compensation would.
    density = np.sqrt(1 / np.maximum(rho, 0.04))
    noise_level = (10 ** ((site.noise + 10 * (rho - 1) + 14) / 20)).astype(np.float32)
    clutter = 8 * 10 ** (site.haze / 20) * np.exp(-rho / 0.075) * _complex_normal(numpy_rng(patient.texture + visit.seed, "clutter"), (RADII, ANGLES))
    axial = _blur(site.axial / (visit.depth / (RADII - 1)), RADII).T
    lateral = _blur(site.lateral / (2 * site.half_angle / (ANGLES - 1)), ANGLES)
    loss = site.attenuation * visit.depth * rho * 0.5 + site.edge * np.abs(angle) ** 4 + _shadows(rho, angle, site, rng)

    # Fresh noise is a slice of a pool at a random offset: as good to the eye and the statistics, and a tenth of the time.
    pool = _complex_normal(rng, 4 * RADII * ANGLES)
    amplitude = _complex_normal(rng, len(level))
    step = np.float32(np.sqrt(1 - FRAME_CORRELATION**2))
    db = np.empty((len(time), RADII, ANGLES), np.float32)
    for t in range(len(time)):
        if t:
            start = rng.integers(len(pool) - len(level))
            amplitude = np.float32(FRAME_CORRELATION) * amplitude + step * pool[start : start + len(level)]
        x, y = tissue.place.world(*tissue.positions(c[t], opening[t]))
        x, y = x + breath_x[t], y + breath_y[t]
        radius = np.sqrt(x * x + y * y)
        phase = radius * np.float32(4 * np.pi / WAVELENGTH)
        value = level * amplitude * (np.cos(phase) + 1j * np.sin(phase))
        field = _splat(radius * np.float32((RADII - 1) / visit.depth), (np.arctan2(x, y) / half + 1) * np.float32((ANGLES - 1) / 2), value)
        start = rng.integers(3 * RADII * ANGLES)
        field = density * field + noise_level * pool[start : start + RADII * ANGLES].reshape(RADII, ANGLES) + clutter
        re, im = (axial @ np.ascontiguousarray(part) @ lateral for part in (field.real, field.imag))
        db[t] = 10 * np.log10(re * re + im * im + 1e-12) - loss

    reference = np.percentile(db[0], 99.3)
    grey = np.clip(1 + (db - reference + site.gain + visit.gain) / site.dynamic_range, 0, 1) ** np.float32(site.gamma * 1.25)
    matrix, _ = scan_converter(float(half), size)
    picture = matrix @ np.ascontiguousarray(grey.reshape(len(time), -1).T)
    return np.clip(np.rint(picture.T * 255), 0, 255).astype(np.uint8).reshape(len(time), size, size)


def _complex_normal(rng: np.random.Generator, shape: int | tuple[int, ...]) -> np.ndarray:
    shape = (shape,) if isinstance(shape, int) else shape
    return rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]


def _splat(i: np.ndarray, j: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Adds complex values (N,) at fractional cells of the polar grid, bilinearly."""
    keep = (i >= 0) & (i < RADII - 1) & (j >= 0) & (j < ANGLES - 1)
    i, j, value = i[keep], j[keep], value[keep]
    i0, j0 = i.astype(np.int32), j.astype(np.int32)
    fi, fj = i - i0, j - j0
    cell = i0 * ANGLES + j0
    cells = np.concatenate([cell, cell + ANGLES, cell + 1, cell + ANGLES + 1])
    weights = np.concatenate([(1 - fi) * (1 - fj), fi * (1 - fj), (1 - fi) * fj, fi * fj])
    values = np.tile(value, 4) * weights
    total = RADII * ANGLES
    grid = np.empty(total, np.complex64)
    grid.real, grid.imag = np.bincount(cells, values.real, total), np.bincount(cells, values.imag, total)
    return grid.reshape(RADII, ANGLES)


def _shadows(rho: np.ndarray, angle: np.ndarray, site: Site, rng: np.random.Generator) -> np.ndarray:
    """Loss in dB (RADII, ANGLES): up to three dark sectors behind ribs and lung."""
    loss = np.zeros((RADII, ANGLES), np.float32)
    for _ in range(rng.integers(0, 4)):
        centre, width, start = rng.uniform(-1, 1), rng.uniform(0.04, 0.14), rng.uniform(0, 0.5)
        depth = rng.uniform(4, 14) * site.dropout
        loss += depth * np.exp(-0.5 * ((angle - centre) / width) ** 2) / (1 + np.exp(-(rho - start) / 0.03))
    return loss
