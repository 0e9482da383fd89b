"""The left ventricle: a cavity of known volume in an incompressible wall, the same heart for both views.

Heart coordinates in cm: z runs along the LV axis from the apex (0) to the base (L). Across it, x points to the lateral wall and y to the inferior wall; the apical view is the plane y = 0,
with the septum at negative x. A fraction of the axis is s = z / L, a direction in the short axis phi with x = r cos(phi), y = r sin(phi).
"""

import numpy as np

from echosynth.cohort.phantom.patient import Patient, smoothstep

F = 0.45  # the ellipsoid is cut at +F semi-axes beyond its centre
CHORDS = 20
PAPILLARY_LEVEL = 0.5  # the fraction of the axis that the short-axis view cuts
_APEX_THINNING = 0.4
_ROUGHNESS = 0.06
_CIRCLE = np.linspace(-np.pi, np.pi, 360, endpoint=False)


class LeftVentricle:
    """A truncated ellipsoid with an individual outline. In the apical plane r = B(c) g(s) p(s, side), in the short axis r(phi) about the same centre.

    Sections are circles of the apical chord as diameter, perturbed without change of their area, so V = sum(pi/4 d_i^2 L / 20) over the tracing's chords (Simpson's rule, single plane). As that
    is quadratic in B, B follows from the volume in closed form and the tracings give the label back. Where a wall is akinetic the sections' centres move towards it, and where the walls
    contract one after the other (`flash`) to and fro, which changes no area.
    """

    def __init__(self, patient: Patient):
        self.patient = patient
        chord = (np.arange(CHORDS) + 0.5) / CHORDS
        self._integral = float(np.mean(self._half_chord(chord) ** 2))
        annulus = np.ones(1)
        self._annulus = {side: (self._shape(annulus, side), self.aside(annulus, side)) for side in (-1.0, 1.0)}

    def _shape(self, s: np.ndarray, side: np.ndarray | float) -> np.ndarray:
        """g(s) p(s): unit ellipsoid times the individual outline of the septal (-1) or lateral (+1) side."""
        s = np.clip(s, 0.0, 1.0)
        ellipsoid = np.sqrt(np.clip(1 - (s * (1 + F) - 1) ** 2, 0, None))
        orders = np.arange(1, self.patient.profile.shape[1] + 1)
        waves = np.sin(np.pi * np.asarray(s)[..., None] * orders + 0.7 * orders) / orders**1.1
        septal, lateral = (waves @ coefficients for coefficients in self.patient.profile)
        return ellipsoid * (1 + _ROUGHNESS * np.where(np.asarray(side) < 0, septal, lateral))

    def _half_chord(self, s: np.ndarray) -> np.ndarray:
        return (self._shape(s, -1.0) + self._shape(s, 1.0)) / 2

    def length(self, c: np.ndarray) -> np.ndarray:
        return self.patient.length - self.patient.mapse * c

    def volume(self, c: np.ndarray) -> np.ndarray:
        """mL at contraction c."""
        return self.patient.edv * (1 - self.patient.ef * c)

    def scale(self, c: np.ndarray) -> np.ndarray:
        """B (cm) from V = pi B^2 L integral(g^2 p^2)."""
        return np.sqrt(self.volume(c) / (np.pi * self.length(c) * self._integral))

    def mobile(self, s: np.ndarray) -> np.ndarray:
        """How far the sections' centres can move, over B; least at the annulus, which moves as a whole."""
        return self._half_chord(s) * (1 - smoothstep((np.asarray(s) - 0.75) / 0.3))

    def aside(self, s: np.ndarray, side: np.ndarray | float) -> np.ndarray:
        """How far (cm) a side is drawn outward by an akinetic wall for each cm that B has shrunk."""
        return side * np.cos(self.patient.akinetic_wall) * self.patient.akinetic * self.mobile(s)

    def swing(self, s: np.ndarray) -> np.ndarray:
        """How far (cm) the sections' centres go towards the lateral wall for each unit of septal flash."""
        return 0.5 * (self.scale(np.zeros(1)) - self.scale(np.ones(1))) * self.mobile(s)

    def radius(self, s: np.ndarray, side: np.ndarray | float, c: np.ndarray, flash: np.ndarray | float = 0.0) -> np.ndarray:
        """Endocardial radius (cm) in the apical plane at axis fraction s, contraction c and septal flash."""
        now = self.scale(c)
        centred = now * self._shape(s, side) + (self.scale(np.zeros(1)) - now) * self.aside(s, side)
        return centred + side * flash * self.swing(s) if np.any(flash) else centred

    def annulus_radius(self, side: float, c: np.ndarray) -> np.ndarray:
        """`radius` at s = 1, for every frame."""
        shape, lag = self._annulus[side]
        return self.scale(c) * shape + (self.scale(np.zeros(1)) - self.scale(c)) * lag

    def thickness(self, s: np.ndarray, side: np.ndarray | float) -> np.ndarray:
        """Wall thickness (cm) at end diastole, thinning towards the apex; side -1 is septal, +1 lateral, 0 halfway round."""
        p = self.patient
        septal = (1 - np.asarray(side)) / 2
        share, place = p.bulge
        at_base = p.wall * (1 + (p.septum - 1) * septal) * (1 + share * septal * np.exp(-(((s - place) / 0.17) ** 2)))
        at_base = np.minimum(at_base, 2.0 * p.size) * (1 - 0.45 * septal * smoothstep((np.asarray(s) - 0.8) / 0.25))
        return at_base * (_APEX_THINNING + (1 - _APEX_THINNING) * smoothstep(np.asarray(s) / 0.45))

    def wall_radius(self, s: np.ndarray, side: np.ndarray | float, w: np.ndarray, c: np.ndarray) -> np.ndarray:
        """Radius of the material point at wall fraction w (0 endocardium, 1 epicardium): r^2 = r_endo^2 + w (r_epi0^2 - r_endo0^2) L0 / L.

        Wall area times length is constant, so that thickening follows from shortening and narrowing.
        """
        endo = self.radius(s, side, np.zeros(1))
        annulus = (endo + self.thickness(s, side)) ** 2 - endo**2
        return np.sqrt(self.radius(s, side, c) ** 2 + w * annulus * self.patient.length / self.length(c))

    def section_radius(self, phi: np.ndarray, c: np.ndarray, flash: float = 0.0) -> np.ndarray:
        """Endocardial radius (cm) in direction phi of the short axis at the papillary level.

        A circle of the apical half chord m, about a centre that lags towards the akinetic wall, with an individual outline; its area is that of the circle, pi m^2.
        """
        m = self.scale(c) * self._half_chord(np.array([PAPILLARY_LEVEL]))
        return self._outline(phi, c, flash) * np.sqrt(m**2 / np.mean(self._outline(_CIRCLE, c, flash) ** 2))

    def _outline(self, phi: np.ndarray, c: np.ndarray, flash: float) -> np.ndarray:
        p, level = self.patient, np.array([PAPILLARY_LEVEL])
        m = self.scale(c) * self._half_chord(level)
        lag = (self.scale(np.zeros(1)) - self.scale(c)) * p.akinetic * self.mobile(level)
        off = (self._shape(level, 1.0) - self._shape(level, -1.0)) / 2 * self.scale(c)  # of the circle's centre from the axis
        ox, oy = off + lag * np.cos(p.akinetic_wall) + flash * self.swing(level), lag * np.sin(p.akinetic_wall)
        along, across = ox * np.cos(phi) + oy * np.sin(phi), ox * np.sin(phi) - oy * np.cos(phi)
        return (along + np.sqrt(m**2 - across**2)) * np.sqrt(1 + self._roundness(phi))

    def _roundness(self, phi: np.ndarray) -> np.ndarray:
        orders = np.arange(2, len(self.patient.outline) + 2)
        rough = np.cos(np.asarray(phi)[..., None] * orders + np.arange(len(orders))) @ (self.patient.outline / orders)
        flat = np.exp(3 * (-np.cos(phi) - 1))
        return 0.08 * rough - self.patient.flattening * flat

    def section(self, c: float, points: int, flash: float = 0.0) -> np.ndarray:
        """(points, 2) x, y around the cavity of the short axis, which twists as it contracts; papillary muscles count to it, as the convention is."""
        phi = np.linspace(-np.pi, np.pi, points, endpoint=False)
        r = self.section_radius(phi, np.array([c]), flash)
        phi = phi - self.patient.twist * c
        return np.stack([r * np.cos(phi), r * np.sin(phi)], 1)

    def section_wall(self, phi: np.ndarray, w: np.ndarray, c: np.ndarray) -> np.ndarray:
        """Radius of the material point (phi, w) of the short axis, as `wall_radius`."""
        endo = self.section_radius(phi, np.zeros(1))
        annulus = (endo + self.thickness(np.array([PAPILLARY_LEVEL]), np.cos(phi))) ** 2 - endo**2
        return np.sqrt(self.section_radius(phi, c) ** 2 + w * annulus * self.patient.length / self.length(c))

    def tracing(self, c: float, flash: float = 0.0) -> np.ndarray:
        """(1 + 20, 4) rows x1, z1, x2, z2 in heart coordinates: the long axis, then the chords from apex to base."""
        now = np.array([c])
        length = float(self.length(now)[0])
        s = (np.arange(CHORDS) + 0.5) / CHORDS
        left, right = self.radius(s, -1.0, now, flash), self.radius(s, 1.0, now, flash)
        chords = np.stack([-left, s * length, right, s * length], axis=1)
        return np.vstack([[0.0, 0.0, 0.0, length], chords])

    def section_tracing(self, c: float, flash: float = 0.0) -> np.ndarray:
        """(1 + 20, 4) rows x1, y1, x2, y2 of the short axis: its height, then 20 chords across it from the anterior to the inferior wall."""
        x, y = self.section(c, 2000, flash).T
        top, bottom = int(np.argmin(y)), int(np.argmax(y))
        height = y[bottom] - y[top]
        level = y[top] + (np.arange(CHORDS) + 0.5) / CHORDS * height
        right, left = np.roll(np.arange(2000), -top)[: (bottom - top) % 2000 + 1], np.roll(np.arange(2000), -bottom)[: (top - bottom) % 2000 + 1]
        x2, x1 = np.interp(level, np.maximum.accumulate(y[right]), x[right]), np.interp(-level, np.maximum.accumulate(-y[left]), x[left])
        middle = (x[top] + x[bottom]) / 2  # the height is across the chords
        return np.vstack([[middle, y[top], middle, y[bottom]], np.stack([x1, level, x2, level], axis=1)])
