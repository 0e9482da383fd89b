"""Who is examined: the heart that a patient keeps from visit to visit, drawn from a population, and how it beats.

Volumes mL, lengths cm, times s, rates 1/min, angles rad. EF is a fraction here.
"""

from dataclasses import dataclass

import numpy as np

from echosynth.errors import InputError

PHENOTYPES = ("normal", "dilated", "hypertrophic", "regional", "fibrillation")
POPULATIONS = ("adult", "paediatric")
PROFILE = 7  # Fourier orders of an outline
WALLS = {"lateral": 0.0, "inferior": np.pi / 2, "septal": np.pi, "anterior": -np.pi / 2}  # angles in the short axis, seen from the apex, probe above


@dataclass(frozen=True)
class Patient:
    """What stays the same from visit to visit: the identity."""

    phenotype: str
    age: float  # years
    size: float  # of the body, 1 is an adult of 8.6 cm LV length
    ef: float
    edv: float
    heart_rate: float
    atrial_share: float  # of the filling
    rr_jitter: float  # relative sd of the beat's length
    length: float  # LV long axis at end diastole
    mapse: float  # mitral annular plane excursion
    twist: float  # of the papillary level at end systole
    wall: float  # lateral wall thickness at end diastole
    septum: float  # septal thickness over lateral
    akinetic: float  # share of its inward motion that the wall at `akinetic_wall` has lost
    akinetic_wall: float  # its angle in the short axis
    profile: np.ndarray  # (2, PROFILE) Fourier coefficients of the endocardium along the axis: septal, lateral side
    outline: np.ndarray  # (PROFILE,) and around it, in the short axis
    papillary: np.ndarray  # (2, 3) anterolateral, posteromedial: angle, angular half-width, height
    chambers: np.ndarray  # (3, 4) scale and place of LA, RV, RA, about 1
    wobble: np.ndarray  # (3, 2, 3) Fourier coefficients of the chambers' outlines: cosine and sine of orders 2 to 4
    flattening: float  # of the septum towards the right ventricle
    rotation: float  # of the apical view
    lateral_offset: float  # of the LV axis from the middle of the sector
    apex_depth: float
    texture: int  # seed of what the tissue's brightness is like


def draw_patient(rng: np.random.Generator, population: str = "adult") -> Patient:
    """Draws a patient of a population; raises InputError for an unknown one.

    Adults: EF is a three-part mixture, EDV log-normal and only weakly tied to EF, so that a still frame hardly tells EF. The phenotype follows from both. Children: age uniform, all
    lengths grow with it, hearts beat faster and fail more rarely.
    """
    if population not in POPULATIONS:
        raise InputError(f"unknown population {population!r}; choose one of {', '.join(POPULATIONS)}")
    if population == "adult":
        age = rng.uniform(20, 90)
        mean, sd = ((61, 6), (44, 8), (27, 8))[rng.choice(3, p=(0.75, 0.16, 0.09))]
        ef = float(np.clip(rng.normal(mean, sd), 10, 85)) / 100
        edv = float(np.clip(np.exp(rng.normal(4.42 + 0.011 * (55 - 100 * ef), 0.38)), 35, 320))
        heart_rate = float(np.clip(rng.normal(70, 12), 48, 110))
        body = 1.0
    else:
        age = rng.uniform(0.1, 18)
        mean, sd = ((62, 5), (42, 10))[rng.choice(2, p=(0.88, 0.12))]
        ef = float(np.clip(rng.normal(mean, sd), 10, 85)) / 100
        body = (0.42 + 0.58 * (age / 18) ** 0.7) * rng.normal(1, 0.05)
        edv = float(np.clip(105 * body**3 * np.exp(rng.normal(0.011 * (55 - 100 * ef), 0.22)), 5, 250))
        heart_rate = float(np.clip(rng.normal(135 - 3.6 * age, 12), 55, 165))
    phenotype = _phenotype(ef, edv / body**3, age, rng)
    roundness = 0.94 if phenotype == "dilated" else 1.0  # of the length for a volume
    length = 8.6 * (edv / 110) ** (1 / 3) * roundness * rng.normal(1, 0.03)
    size = float(length / 8.6)
    wall = 0.95 * body * np.clip(rng.normal(1, 0.12), 0.65, 1.45)
    septum = np.clip(rng.normal(1.02, 0.14), 0.7, 1.45)
    if phenotype == "hypertrophic":
        wall, septum = 1.3 * wall, 1.35 * septum
    elif phenotype == "dilated":
        wall = 0.88 * wall
    regional = phenotype == "regional"
    return Patient(
        phenotype=phenotype,
        age=float(age),
        size=size,
        ef=ef,
        edv=edv,
        heart_rate=heart_rate,
        atrial_share=0.0 if phenotype == "fibrillation" else 0.15 if age < 25 else float(rng.choice([0.15, 0.25, 0.25, 0.35, 0.45])),
        rr_jitter=0.17 if phenotype == "fibrillation" else 0.02,
        length=float(length),
        mapse=float(np.clip(1.4 * body * (ef / 0.6) * rng.normal(1, 0.08), 0.1 * body, 0.25 * length)),
        twist=float(np.deg2rad(8) * ef / 0.6 * rng.normal(1, 0.2)),
        wall=float(wall),
        septum=float(septum),
        akinetic=float(rng.uniform(0.6, 1.0)) if regional else 0.0,
        akinetic_wall=float(rng.choice(list(WALLS.values()))) if regional else 0.0,
        profile=rng.normal(0, 1, (2, PROFILE)),
        outline=rng.normal(0, 1, PROFILE),
        papillary=np.stack([np.array([0.55, 2.3]) + rng.normal(0, 0.15, 2), np.clip(rng.normal(0.27, 0.05, 2), 0.16, 0.4), np.clip(rng.normal(0.36, 0.05, 2), 0.22, 0.5)], axis=1),
        chambers=np.clip(rng.normal(1, (0.16, 0.16, 0.08, 0.08), (3, 4)), 0.65, 1.45),
        wobble=rng.normal(0, 0.035, (3, 2, 3)),
        flattening=float(np.clip(rng.normal(0.05, 0.12), 0, 0.4)),
        rotation=float(np.deg2rad(rng.normal(-6, 5))),
        lateral_offset=float(rng.normal(0.7, 0.3) * body),
        apex_depth=float(np.clip(rng.normal(1.8, 0.3), 1.1, 2.8) * body**0.5),
        texture=int(rng.integers(2**31)),
    )


def _phenotype(ef: float, indexed_edv: float, age: float, rng: np.random.Generator) -> str:
    """A phenotype that such an EF and EDV (mL, for an adult's size) can have."""
    chance = rng.random()
    if age > 45 and chance > 0.9:
        return "fibrillation"
    if ef < 0.45:
        return "dilated" if indexed_edv > 115 and chance < 0.55 else "regional" if age > 35 else "dilated"
    if ef < 0.55:
        return "regional" if age > 35 and chance < 0.4 else "normal"
    return "hypertrophic" if chance < 0.1 else "normal"


def smoothstep(x: np.ndarray) -> np.ndarray:
    """S(x) = x^2 (3 - 2x), clipped to [0, 1]."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


@dataclass(frozen=True)
class Rhythm:
    """A recording's beats at its frames, all (T,)."""

    contraction: np.ndarray  # c in [0, 1]: V = EDV (1 - EF c)
    opening: np.ndarray  # of the mitral valve, 0 to 1
    since_r: np.ndarray  # s since the R wave
    rr: np.ndarray  # s, length of the beat


def beat(time: np.ndarray, heart_rate: float, atrial_share: float, rng: np.random.Generator, jitter: float = 0.02) -> Rhythm:
    """The beats at `time` (s), of a random phase and of lengths that vary by the relative sd `jitter`.

    Systolic time intervals after Weissler (1968): LVET = 413 - 1.7 HR ms, IVCT = 76 - 0.4 HR ms; IVRT 75 ms; early filling 220 ms; the atrial kick of 120 ms ends 20 ms before the next R.
    Fast hearts shorten all of it in proportion.
    """
    c, opening, since, length = (np.zeros_like(time) for _ in range(4))
    start = -rng.uniform(0, 60 / heart_rate)
    while start <= time[-1]:
        rr = 60 / heart_rate * max(rng.normal(1, jitter), 0.55)
        rate = 60 / rr
        ivct, ejection, relaxation = (76 - 0.4 * rate) / 1000, (413 - 1.7 * rate) / 1000, 0.075
        short = min(1.0, 0.62 * rr / (ivct + ejection + relaxation))  # leaves room to fill
        ivct, ejection, relaxation = ivct * short, ejection * short, relaxation * short
        opens = ivct + ejection + relaxation
        early = min(0.22, 0.6 * (rr - opens))
        kick = min(0.12, 0.3 * (rr - opens))
        atrial = rr - min(0.02, 0.03 * rr) - kick
        now = (time >= start) & (time < start + rr)
        p = time[now] - start
        a = atrial_share
        c[now] = smoothstep((p - ivct) / ejection) - (1 - a) * smoothstep((p - opens) / early) - a * smoothstep((p - atrial) / kick)
        diastasis = 0.3 * ((p > opens + 0.8 * early) & (p < atrial))
        atrial_wave = 0.75 * (a > 0) * _bump((p - atrial + 0.01) / (1.2 * kick))
        opening[now] = np.maximum.reduce([_bump((p - opens + 0.02) / (1.35 * early)), atrial_wave, diastasis])
        since[now], length[now] = p, rr
        start += rr
    return Rhythm(np.clip(c, 0, 1), opening, since, length)


def _bump(u: np.ndarray) -> np.ndarray:
    return np.where((u > 0) & (u < 1), np.sin(np.pi * np.clip(u, 0, 1)) ** 0.7, 0.0)
