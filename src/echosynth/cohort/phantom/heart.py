"""The beating heart: volumes over time, a left ventricle of incompressible wall, and the chambers around it.

Heart coordinates in cm: z runs along the LV axis from the apex (0) to the base (L), x across it with the septum at negative x.
"""

from dataclasses import dataclass

import numpy as np

F = 0.45  # the ellipsoid is cut at +F semi-axes beyond its centre
CHORDS = 20
_APEX_THINNING = 0.4


def smoothstep(x: np.ndarray) -> np.ndarray:
    """S(x) = x^2 (3 - 2x), clipped to [0, 1]."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


@dataclass(frozen=True)
class Patient:
    """What stays the same from visit to visit: the identity. Volumes mL, lengths cm, rates 1/min, angles rad."""

    ef: float  # fraction
    edv: float
    heart_rate: float
    atrial_share: float  # of the filling
    length: float  # LV long axis at end diastole
    mapse: float  # mitral annular plane excursion
    wall: float  # lateral wall thickness at end diastole
    septum: float  # septal thickness over lateral
    profile: np.ndarray  # (2, K) Fourier coefficients of the endocardial outline: septal, lateral side
    chambers: np.ndarray  # (3, 4) scale and place of LA, RV, RA, about 1
    rotation: float
    lateral_offset: float  # of the LV axis from the middle of the sector
    apex_depth: float
    texture: int  # seed of the tissue


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draws a patient; EF is a three-part mixture, EDV log-normal and only weakly tied to EF, so that a still frame hardly tells EF."""
    mean, sd = ((61, 6), (44, 8), (27, 8))[rng.choice(3, p=(0.75, 0.16, 0.09))]
    ef = float(np.clip(rng.normal(mean, sd), 10, 85)) / 100
    edv = float(np.clip(np.exp(rng.normal(4.42 + 0.011 * (55 - 100 * ef), 0.38)), 35, 320))
    length = 8.6 * (edv / 110) ** (1 / 3) * rng.normal(1, 0.03)
    return Patient(
        ef=ef,
        edv=edv,
        heart_rate=float(np.clip(rng.normal(70, 12), 48, 110)),
        atrial_share=float(rng.choice([0.15, 0.25, 0.25, 0.35, 0.45])),
        length=float(length),
        mapse=float(np.clip(1.4 * (ef / 0.6) * rng.normal(1, 0.08), 0.15, 0.25 * length)),
        wall=float(0.95 * np.clip(rng.normal(1, 0.1), 0.7, 1.4)),
        septum=float(np.clip(rng.normal(1.02, 0.12), 0.75, 1.4)),
        profile=rng.normal(0, 1, (2, 6)),
        chambers=np.clip(rng.normal(1, (0.12, 0.12, 0.07, 0.07), (3, 4)), 0.7, 1.35),
        rotation=float(np.deg2rad(rng.normal(-6, 4))),
        lateral_offset=float(rng.normal(0.7, 0.3)),
        apex_depth=float(np.clip(rng.normal(1.8, 0.3), 1.1, 2.8)),
        texture=int(rng.integers(2**31)),
    )


def contraction(time: np.ndarray, heart_rate: float, atrial_share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Contraction c(t) in [0, 1] (V = EDV (1 - EF c)) and mitral opening in [0, 1], both of the shape of `time` (s).

    Systolic time intervals after Weissler (1968): LVET = 413 - 1.7 HR ms, IVCT = 76 - 0.4 HR ms; IVRT 75 ms. Beats vary by 2 %.
    """
    c, opening = np.zeros_like(time), np.zeros_like(time)
    start = -rng.uniform(0, 60 / heart_rate)
    while start < time[-1]:
        rr = 60 / heart_rate * rng.normal(1, 0.02)
        rate = 60 / rr
        ivct, ejection = (76 - 0.4 * rate) / 1000, (413 - 1.7 * rate) / 1000
        opens = ivct + ejection + 0.075
        early = min(0.22, 0.6 * (rr - opens))
        kick = min(0.12, 0.3 * (rr - opens))
        atrial = rr - 0.02 - kick
        beat = (time >= start) & (time < start + rr)
        p = time[beat] - start
        a = atrial_share
        c[beat] = smoothstep((p - ivct) / ejection) - (1 - a) * smoothstep((p - opens) / early) - a * smoothstep((p - atrial) / kick)
        bump = lambda u: np.where((u > 0) & (u < 1), np.sin(np.pi * np.clip(u, 0, 1)) ** 0.7, 0.0)  # noqa: E731
        diastasis = 0.3 * ((p > opens + 0.8 * early) & (p < atrial))
        opening[beat] = np.maximum.reduce([bump((p - opens + 0.02) / (1.35 * early)), 0.75 * bump((p - atrial + 0.01) / (1.2 * kick)), diastasis])
        start += rr
    return np.clip(c, 0, 1), opening


class LeftVentricle:
    """A truncated ellipsoid with an individual outline: r(s, t) = B(t) g(s) p(s), where s = z / L in [0, 1].

    B follows from the volume in closed form, because Simpson's rule over the 20 chords is quadratic in B: the tracings give the label back.
    """

    def __init__(self, patient: Patient):
        self.patient = patient
        chord = (np.arange(CHORDS) + 0.5) / CHORDS
        self._integral = float(np.mean(((self._shape(chord, -1.0) + self._shape(chord, 1.0)) / 2) ** 2))

    def _shape(self, s: np.ndarray, side: np.ndarray | float) -> np.ndarray:
        """g(s) p(s): unit ellipsoid times the individual outline of the septal (-1) or lateral (+1) side."""
        s = np.clip(s, 0.0, 1.0)
        ellipsoid = np.sqrt(np.clip(1 - (s * (1 + F) - 1) ** 2, 0, None))
        orders = np.arange(1, self.patient.profile.shape[1] + 1)
        waves = np.sin(np.pi * np.asarray(s)[..., None] * orders + 0.7 * orders) / orders
        septal, lateral = (waves @ coefficients for coefficients in self.patient.profile)
        return ellipsoid * (1 + 0.05 * np.where(np.asarray(side) < 0, septal, lateral))

    def length(self, c: np.ndarray) -> np.ndarray:
        return self.patient.length - self.patient.mapse * c

    def volume(self, c: np.ndarray) -> np.ndarray:
        """mL at contraction c."""
        return self.patient.edv * (1 - self.patient.ef * c)

    def radius(self, s: np.ndarray, side: np.ndarray | float, c: np.ndarray) -> np.ndarray:
        """Endocardial radius at axis fraction s and contraction c, from V = pi B^2 L integral(p^2 g^2)."""
        b = np.sqrt(self.volume(c) / (np.pi * self.length(c) * self._integral))
        return b * self._shape(s, side)

    def thickness(self, s: np.ndarray, side: np.ndarray | float) -> np.ndarray:
        """Wall thickness at end diastole, thinning towards the apex."""
        p = self.patient
        at_base = p.wall * np.where(np.asarray(side) < 0, p.septum, 1.0)
        return at_base * (_APEX_THINNING + (1 - _APEX_THINNING) * smoothstep(np.asarray(s) / 0.45))

    def wall_radius(self, s: np.ndarray, side: np.ndarray | float, w: np.ndarray, c: np.ndarray) -> np.ndarray:
        """Radius of the material point at wall fraction w (0 endocardium, 1 epicardium): r^2 = r_endo^2 + w (r_epi0^2 - r_endo0^2) L0 / L.

        Wall area times length is constant, so that thickening follows from shortening and narrowing.
        """
        endo = self.radius(s, side, np.zeros(1))
        annulus = (endo + self.thickness(s, side)) ** 2 - endo**2
        return np.sqrt(self.radius(s, side, c) ** 2 + w * annulus * self.patient.length / self.length(c))

    def tracing(self, c: float) -> np.ndarray:
        """(1 + 20, 4) rows x1, z1, x2, z2 in heart coordinates: the long axis, then the chords from apex to base."""
        contraction_ = np.array([c])
        length = float(self.length(contraction_)[0])
        s = (np.arange(CHORDS) + 0.5) / CHORDS
        left, right = self.radius(s, -1.0, contraction_), self.radius(s, 1.0, contraction_)
        chords = np.stack([-left, s * length, right, s * length], axis=1)
        return np.vstack([[0.0, 0.0, 0.0, length], chords])


@dataclass(frozen=True)
class Chamber:
    """An ellipse whose centre and semi-axes follow the contraction linearly: value(c) = rest + c x change."""

    x: float
    z: float
    a: float  # semi-axis across
    b: float  # semi-axis along
    dx: float
    dz: float
    da: float
    db: float

    def level(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Elliptic radius at rest: below 1 is inside."""
        return np.sqrt(((x - self.x) / self.a) ** 2 + ((z - self.z) / self.b) ** 2)


def chambers(patient: Patient, lv: LeftVentricle) -> dict[str, Chamber]:
    """Left atrium, right ventricle and right atrium around the LV; the annuli pull the atrial floor and the RV base towards the apex."""
    rest = np.zeros(1)
    b, h, length, m = float(lv.radius(np.array([0.55]), -1.0, rest)[0]), patient.wall * patient.septum, patient.length, patient.mapse
    (la, rv, ra), size = patient.chambers, (patient.length / 8.6) ** 0.7
    tapse = 1.25 * m
    rv_a, rv_b = 1.65 * rv[0] * size, 0.43 * length * rv[1]
    ra_a, ra_b = 1.75 * ra[0] * size, 1.85 * ra[1] * size
    la_a, la_b = 1.8 * la[0] * size, 1.95 * la[1] * size
    return {
        "la": Chamber(0.1 * la[2], length + 0.76 * la_b, la_a, la_b, 0.0, -m / 2, 0.12 * la_a, m / 2),
        "rv": Chamber(-b - h - 0.80 * rv_a, 0.60 * length * rv[2], rv_a, rv_b, 0.12 * rv_a, -tapse / 2, -0.22 * rv_a * patient.ef / 0.6, -tapse / 2),
        "ra": Chamber(-b - h - 0.55 * ra_a, length + 0.62 * ra_b, ra_a, ra_b, 0.0, -tapse / 2, 0.10 * ra_a, tapse / 2),
    }
