"""From moving scatterers to ultrasound frames: point spread, envelope, log compression, scan conversion.

The polar grid is in fractions of the depth and of the sector's angle.
"""

from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse

from echosynth.cohort.phantom.patient import Patient, Rhythm
from echosynth.cohort.phantom.sites import Site
from echosynth.cohort.phantom.tissue import View, Visit
from echosynth.randomness import numpy_rng

RADII, ANGLES = 224, 128
WAVELENGTH = 0.0616  # cm, 2.5 MHz, for an adult; smaller hearts are seen with higher frequencies
FRAME_CORRELATION = 0.985  # of the scatterers' amplitudes from frame to frame
_LEAD = 4  # frames that a running mean remembers, about


def draw_visit(patient: Patient, site: Site, depth: float, rng: np.random.Generator) -> Visit:
    """A new probe position; `depth` (cm) is what the view needs, so that the heart fills the sector as a sonographer would have it."""
    size = patient.size
    angle, place = (np.array([rng.uniform(0, reach), rng.uniform(0.15, 0.5), rng.uniform(0, 2 * np.pi)]) for reach in (np.deg2rad(1.5), 0.08 * size))
    return Visit(
        tilt=float(np.deg2rad(rng.normal(0, 2.2))),
        shift=float(rng.normal(0, 0.2) * size),
        lift=float(rng.normal(0, 0.1) * size),
        gain=float(rng.normal(0, 1.5)),
        depth=float(np.clip((depth + site.depth_margin * size) * rng.normal(1, 0.025), 3.5, 24)),
        breathing=float(rng.uniform(0.02, 0.18) * size),
        drift=np.stack([angle, place]),
        breathing_phase=float(rng.uniform(0, 2 * np.pi)),
        seed=int(rng.integers(2**31)),
    )


def envelopes(patient: Patient, view: View, site: Site, visit: Visit, time: np.ndarray, rhythm: Rhythm) -> Iterator[np.ndarray]:
    """The squared envelope (RADII, ANGLES) of each frame at the times (s): what the probe receives, before gain and grey map.

    Every scatterer's echo has the phase exp(i 2 k r) of its distance and is spread by a separable Gaussian.
    """
    size, half = patient.size, np.float32(np.deg2rad(site.half_angle))
    rng = numpy_rng(visit.seed, "image")
    level = (np.float32(10) ** (view.db / 20)).astype(np.float32) * np.float32(size)  # fewer scatterers a cm^2 in a large heart, but as bright
    rho = np.linspace(0, 1, RADII, dtype=np.float32)[:, None]
    # Scatterers are uniform over the area, so a cell near the probe holds fewer: even out, as time-gain compensation would.
    density = np.sqrt(1 / np.maximum(rho, 0.04))
    noise_level = (10 ** ((site.noise + 10 * (rho - 1) + 14) / 20)).astype(np.float32)
    clutter = _clutter(site, rho, rng)
    axial = _blur(site.axial * size**0.7 / (visit.depth / (RADII - 1)), RADII).T
    lateral = _blur(site.lateral / (2 * site.half_angle / (ANGLES - 1)), ANGLES)
    wave_number = np.float32(4 * np.pi / (WAVELENGTH * size**0.7))

    # Fresh noise is a slice of a pool at a random offset: as good to the eye and the statistics, and a tenth of the time.
    pool = _complex_normal(rng, max(4 * RADII * ANGLES, 2 * len(level)))
    amplitude = _complex_normal(rng, len(level))
    step = np.float32(np.sqrt(1 - FRAME_CORRELATION**2))
    for t in range(len(time)):
        if t:
            start = rng.integers(len(pool) - len(level))
            amplitude = np.float32(FRAME_CORRELATION) * amplitude + step * pool[start : start + len(level)]
        x, y = view.place.world(*view.positions(rhythm.contraction[t], rhythm.opening[t]), time[t])
        radius = np.sqrt(x * x + y * y)
        phase = radius * wave_number
        value = level * amplitude * (np.cos(phase) + 1j * np.sin(phase))
        angle = torch.atan2(torch.from_numpy(x), torch.from_numpy(y)).numpy()  # numpy's takes ten times as long
        field = _splat(radius * np.float32((RADII - 1) / visit.depth), (angle / half + 1) * np.float32((ANGLES - 1) / 2), value)
        start = rng.integers(len(pool) - RADII * ANGLES)
        field = density * field + noise_level * pool[start : start + RADII * ANGLES].reshape(RADII, ANGLES) + clutter
        re, im = (axial @ np.ascontiguousarray(part) @ lateral for part in (field.real, field.imag))
        yield re * re + im * im


def render(patient: Patient, view: View, site: Site, visit: Visit, time: np.ndarray, rhythm: Rhythm) -> np.ndarray:
    """uint8 (T, size, size): B-mode frames at the given times (s). Outside the cone exactly 0; overlays are not in it (overlays.py)."""
    rho = np.linspace(0, 1, RADII, dtype=np.float32)[:, None]
    angle = np.linspace(-1, 1, ANGLES, dtype=np.float32)[None]
    loss = site.attenuation * visit.depth * rho * 0.5 + site.edge * np.abs(angle) ** 4 + _shadows(rho, angle, site, numpy_rng(visit.seed, "shadows"))
    db = np.empty((len(time), RADII, ANGLES), np.float32)
    for t, power in enumerate(envelopes(patient, view, site, visit, time, rhythm)):
        db[t] = np.float32(10 / np.log(10)) * np.log(power + np.float32(1e-12)) - loss
    reference = np.percentile(db[0], 99.3)
    level = np.clip(1 + (db - np.float32(reference - site.gain - visit.gain)) / np.float32(site.dynamic_range), 0, 1)
    with np.errstate(divide="ignore"):
        grey = np.exp(np.float32(site.gamma * 1.25) * np.log(level))  # as level ** gamma, in half the time
    _persist(grey, np.float32(site.persistence))
    matrix, _ = scan_converter(float(np.float32(np.deg2rad(site.half_angle))), site.size)
    picture = matrix @ np.ascontiguousarray(grey.reshape(len(time), -1).T)
    return np.clip(np.rint(picture.T * 255), 0, 255).astype(np.uint8).reshape(len(time), site.size, site.size)


def _persist(grey: np.ndarray, weight: np.float32) -> None:
    """What scanners show is a running mean of the frames (T, ...), in place. It began before the clip: mirrored frames stand for those, or the first would be the only one with all its noise."""
    lead = min(_LEAD, len(grey) - 1)
    mean = grey[lead].copy()
    for frame in grey[1:lead][::-1]:
        mean = frame + weight * (mean - frame)
    for frame in grey:
        frame += weight * (mean - frame)
        mean = frame


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


def _blur(sigma: float, size: int) -> np.ndarray:
    """Gaussian point spread as a banded matrix of unit energy; sigma in cells."""
    offsets = np.arange(size)[:, None] - np.arange(size)[None]
    offsets = offsets / max(sigma, 0.35)
    kernel = np.where(np.abs(offsets) < 5, np.exp(-0.5 * offsets**2), 0.0)  # the far tail would be denormal numbers, and slow
    return (kernel / np.sqrt((kernel**2).sum(0, keepdims=True))).astype(np.float32)


def _clutter(site: Site, rho: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Echoes (RADII, ANGLES) that stand still: haze under the probe, and reverberations at multiples of a depth, each over part of the sector."""
    angle = np.linspace(-1, 1, ANGLES, dtype=np.float32)[None]
    level = 8 * 10 ** (site.haze / 20) * np.exp(-rho / 0.075)
    first = rng.uniform(0.06, 0.13)
    for n in range(1, int(rng.integers(2, 5))):
        middle, width = rng.uniform(-0.6, 0.6), rng.uniform(0.25, 0.7)
        band = np.exp(-0.5 * ((rho - n * first) / 0.012) ** 2) * np.exp(-0.5 * ((angle - middle) / width) ** 2)
        level = level + 8 * 10 ** ((site.reverberation - 4 * n + rng.normal(0, 2)) / 20) * band
    return level * _complex_normal(rng, (RADII, ANGLES))


def _shadows(rho: np.ndarray, angle: np.ndarray, site: Site, rng: np.random.Generator) -> np.ndarray:
    """Loss in dB (RADII, ANGLES): up to three dark sectors behind ribs and lung."""
    loss = np.zeros((RADII, ANGLES), np.float32)
    for _ in range(rng.integers(0, 4)):
        centre, width, start = rng.uniform(-1, 1), rng.uniform(0.04, 0.14), rng.uniform(0, 0.5)
        depth = rng.uniform(4, 14) * site.dropout
        loss += depth * np.exp(-0.5 * ((angle - centre) / width) ** 2) / (1 + np.exp(-(rho - start) / 0.03))
    return loss


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
