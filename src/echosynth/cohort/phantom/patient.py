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
    bulge: tuple[float, float]  # of the septum: share of its thickness, place along the axis
    akinetic: float  # share of its inward motion that the wall at `akinetic_wall` has lost
    akinetic_wall: float  # its angle in the short axis
    delay: float  # s by which the lateral wall follows the septum
    profile: np.ndarray  # (2, PROFILE) Fourier coefficients of the endocardium along the axis: septal, lateral side
    outline: np.ndarray  # (PROFILE,) and around it, in the short axis
    leaflets: float  # thickness over the usual
    muscle: tuple[float, float]  # papillary muscle in the apical plane: how far it reaches into the cavity (cm), place along the axis
    moderator: float  # dB of the moderator band
    effusion: float  # cm
    papillary: np.ndarray  # (2, 3) anterolateral, posteromedial: angle, angular half-width, height
    chambers: np.ndarray  # (3, 4) scale and place of LA, RV, RA, about 1
    wobble: np.ndarray  # (3, 2, 3) Fourier coefficients of the chambers' outlines: cosine and sine of orders 2 to 4
    flattening: float  # of the septum towards the right ventricle
    rotation: float  # of the apical view
    lateral_offset: float  # of the LV axis from the middle of the sector
    apex_depth: float
    rock: np.ndarray  # (3,) of the whole heart at end systole: angle, cm across, cm along (towards the probe)
    texture: int  # seed of what the tissue's brightness is like


def draw_patient(rng: np.random.Generator, population: str = "adult") -> Patient:
    """Draws a patient of a population; raises InputError for an unknown one.

    Adults: EF is a three-part mixture, EDV log-normal and loosely tied to EF, so that a still frame tells little of EF; dilated ventricles are large and round. The phenotype follows from
    EF and age. Children: age uniform, all lengths grow with it, hearts beat faster and fail more rarely.
    """
    if population not in POPULATIONS:
        raise InputError(f"unknown population {population!r}; choose one of {', '.join(POPULATIONS)}")
    age, ef, body, edv, heart_rate = _adult(rng) if population == "adult" else _child(rng)
    phenotype = _phenotype(ef, age, rng)
    edv, roundness, wall, septum, bulge = _shape(phenotype, edv, body, rng)
    length = 8.6 * (edv / 110) ** (1 / 3) * roundness * rng.normal(1, 0.035)
    regional = phenotype == "regional"
    slow = rng.random() < (0.2 if ef < 0.45 else 0.02)
    return Patient(
        phenotype=phenotype,
        age=float(age),
        size=float(length / 8.6),
        ef=ef,
        edv=float(edv),
        heart_rate=heart_rate,
        atrial_share=0.0 if phenotype == "fibrillation" else 0.15 if age < 25 else float(rng.choice([0.15, 0.25, 0.25, 0.35, 0.45])),
        rr_jitter=0.17 if phenotype == "fibrillation" else 0.02,
        length=float(length),
        mapse=float(np.clip(1.4 * body * (ef / 0.6) * rng.normal(1, 0.08), 0.1 * body, 0.25 * length)),
        twist=float(np.deg2rad(8) * ef / 0.6 * rng.normal(1, 0.2)),
        wall=float(wall),
        septum=float(septum),
        bulge=bulge,
        akinetic=float(rng.uniform(0.6, 1.0)) if regional else 0.0,
        akinetic_wall=float(rng.choice(list(WALLS.values()))) if regional else 0.0,
        delay=float(rng.uniform(0.06, 0.15)) if slow else 0.0,
        profile=rng.normal(0, 1, (2, PROFILE)),
        outline=rng.normal(0, 1, PROFILE),
        leaflets=float(np.exp(rng.normal(0, 0.3))),
        muscle=(float(rng.uniform(-0.6, 1.0) * body), float(rng.uniform(0.38, 0.62))),
        moderator=float(rng.uniform(-24, -9)),
        effusion=float(rng.uniform(0.4, 1.2) * body) if rng.random() < 0.05 else 0.0,
        papillary=np.stack([np.array([0.55, 2.3]) + rng.normal(0, 0.15, 2), np.clip(rng.normal(0.27, 0.05, 2), 0.16, 0.4), np.clip(rng.normal(0.36, 0.05, 2), 0.22, 0.5)], axis=1),
        chambers=_chambers(phenotype, rng),
        wobble=rng.normal(0, 0.035, (3, 2, 3)),
        flattening=float(np.clip(rng.normal(0.05, 0.12), 0, 0.4)),
        rotation=float(np.deg2rad(rng.normal(-5, 5))),
        lateral_offset=float(rng.normal(0.8, 0.4) * body),
        apex_depth=float(np.clip(rng.normal(1.7, 0.4), 0.9, 2.8) * body**0.5),
        rock=(0.4 + ef) * np.append(np.clip(rng.normal(0, 1, 2), -2, 2), -abs(rng.normal())) * (0.011, 0.2 * body, 0.16 * body),
        texture=int(rng.integers(2**31)),
    )


def _adult(rng: np.random.Generator) -> tuple[float, float, float, float, float]:
    """Age, EF, body size, EDV, heart rate."""
    age = rng.uniform(20, 90)
    mean, sd = ((61, 6), (44, 8), (27, 8))[rng.choice(3, p=(0.75, 0.16, 0.09))]
    ef = float(np.clip(rng.normal(mean, sd), 10, 82)) / 100
    edv = np.clip(np.exp(rng.normal(4.38 + 0.003 * (55 - 100 * ef), 0.38)), 35, 320)
    return age, ef, 1.0, edv, float(np.clip(rng.normal(70, 12), 48, 110))


def _child(rng: np.random.Generator) -> tuple[float, float, float, float, float]:
    age = rng.uniform(0.1, 18)
    mean, sd = ((62, 5), (42, 10))[rng.choice(2, p=(0.88, 0.12))]
    ef = float(np.clip(rng.normal(mean, sd), 10, 82)) / 100
    body = (0.42 + 0.58 * (age / 18) ** 0.7) * rng.normal(1, 0.05)
    edv = np.clip(105 * body**3 * np.exp(rng.normal(0.006 * (55 - 100 * ef), 0.22)), 5, 250)
    return age, ef, body, edv, float(np.clip(rng.normal(135 - 3.6 * age, 12), 55, 165))


def _shape(phenotype: str, edv: float, body: float, rng: np.random.Generator) -> tuple[float, float, float, float, tuple[float, float]]:
    """EDV, length over that of the volume, lateral wall (cm), septum over it, bulge of the septum."""
    roundness = 1.0
    wall = 0.92 * body * np.clip(rng.normal(1, 0.14), 0.65, 1.45)
    septum = np.clip(rng.normal(1.02, 0.14), 0.7, 1.45)
    bulge = (float(max(rng.normal(0.05, 0.2), 0)), float(rng.uniform(0.6, 0.9)))
    if phenotype == "hypertrophic":
        edv, wall, septum = 0.88 * edv, rng.uniform(1.0, 1.45) * wall, rng.uniform(1.15, 1.75) * septum
        bulge = (float(rng.uniform(0, 0.6)), float(rng.uniform(0.3, 0.8)))
    elif phenotype == "dilated":
        edv, roundness = min(edv * np.exp(rng.normal(0.5, 0.25)), 340 * body**3), rng.uniform(0.82, 0.98)
        wall = rng.uniform(0.7, 0.95) * wall
    return edv, roundness, wall, septum, bulge


def _chambers(phenotype: str, rng: np.random.Generator) -> np.ndarray:
    """(3, 4) scale and place of LA, RV, RA, about 1."""
    chambers = np.clip(rng.normal(1, (0.17, 0.15, 0.08, 0.08), (3, 4)), 0.6, 1.5)
    if phenotype in ("fibrillation", "dilated"):
        chambers[[0, 2], :2] *= rng.uniform(1, 1.25)
    if rng.random() < 0.08:  # a right heart under load
        chambers[1:, 0] *= rng.uniform(1.15, 1.5)
    return chambers


def _phenotype(ef: float, age: float, rng: np.random.Generator) -> str:
    """A phenotype that such an EF can have."""
    chance = rng.random()
    if age > 45 and chance > 0.9:
        return "fibrillation"
    if ef < 0.45:
        return "dilated" if chance < 0.5 or age < 35 else "regional"
    if ef < 0.55:
        return "regional" if age > 35 and chance < 0.4 else "normal"
    return "hypertrophic" if chance < 0.12 else "normal"


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
    flash: np.ndarray  # contraction of the septum minus that of the lateral wall


class _Beat:
    """One beat of `rr` seconds; p is the time since its R wave (s).

    Systolic time intervals after Weissler (1968): LVET = 413 - 1.7 HR ms, IVCT = 76 - 0.4 HR ms; IVRT 75 ms; early filling 220 ms; the atrial kick of 120 ms ends 20 ms before the next R.
    Fast hearts shorten all of it in proportion.
    """

    def __init__(self, rr: float, atrial_share: float):
        rate = 60 / rr
        ivct, ejection, relaxation = (76 - 0.4 * rate) / 1000, (413 - 1.7 * rate) / 1000, 0.075
        short = min(1.0, 0.62 * rr / (ivct + ejection + relaxation))  # leaves room to fill
        self.ivct, self.ejection, self.opens = ivct * short, ejection * short, (ivct + ejection + relaxation) * short
        self.early = min(0.22, 0.6 * (rr - self.opens))
        self.kick = min(0.12, 0.3 * (rr - self.opens))
        self.atrial, self.atrial_share = rr - min(0.02, 0.03 * rr) - self.kick, atrial_share

    def contraction(self, p: np.ndarray) -> np.ndarray:
        a = self.atrial_share
        filled = (1 - a) * smoothstep((p - self.opens) / self.early) + a * smoothstep((p - self.atrial) / self.kick)
        return smoothstep((p - self.ivct) / self.ejection) - filled

    def opening(self, p: np.ndarray) -> np.ndarray:
        diastasis = 0.3 * ((p > self.opens + 0.8 * self.early) & (p < self.atrial))
        atrial_wave = 0.75 * (self.atrial_share > 0) * _bump((p - self.atrial + 0.01) / (1.2 * self.kick))
        return np.maximum.reduce([_bump((p - self.opens + 0.02) / (1.35 * self.early)), atrial_wave, diastasis])


def beat(time: np.ndarray, heart_rate: float, atrial_share: float, rng: np.random.Generator, jitter: float = 0.02, delay: float = 0.0) -> Rhythm:
    """The beats at `time` (s), of a random phase and of lengths that vary by the relative sd `jitter`; the lateral wall follows the septum by `delay` (s)."""
    c, opening, since, length, flash = (np.zeros_like(time) for _ in range(5))
    start = -rng.uniform(0, 60 / heart_rate)
    while start <= time[-1]:
        rr = 60 / heart_rate * max(rng.normal(1, jitter), 0.55)
        this = _Beat(rr, atrial_share)
        now = (time >= start) & (time < start + rr)
        p = time[now] - start
        c[now], opening[now], since[now], length[now] = this.contraction(p), this.opening(p), p, rr
        if delay:
            flash[now] = this.contraction(np.minimum(p + delay / 2, rr)) - this.contraction(np.maximum(p - delay / 2, 0))
        start += rr
    return Rhythm(np.clip(c, 0, 1), opening, since, length, flash)


def _bump(u: np.ndarray) -> np.ndarray:
    return np.where((u > 0) & (u < 1), np.sin(np.pi * np.clip(u, 0, 1)) ** 0.7, 0.0)
