"""The law that the EFs of synthetic clips are drawn from: what a cohort says about EFs, and nothing about who is in it.

The EF column of a release is a release too. An EF drawn as a training EF plus a little noise says that somebody with this EF was trained on. So the law is smooth by construction: a kernel
density whose kernels are so wide that no patient is a bump in it, within a range in whole 5 points. `ef_score` is the attack on it; benchmarks/ef_column.py measures how far it gets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import brentq
from scipy.stats import norm

LEAST_WIDTH = 4.0  # EF points: the least sd of a kernel
OWN_SHARE = 200.0  # a kernel is at least this many sd of the EFs, over the number of patients, wide: see SmoothLaw
GRID = 5.0  # EF points: the range is rounded to whole multiples
LOWEST, HIGHEST = 5.0, 95.0  # percent: EFs that hearts have
TAILS = 0.01, 0.99
NARROW, WIDE = (0.1, 0.3, 1.0, 3.0), 15.0  # EF points: kernels of the attack


@dataclass(frozen=True)
class SmoothLaw:
    """A kernel density of EFs (percent) that keeps mean and sd of the patients (Silverman & Young 1987, the shrunken smoothed bootstrap), reflected at both ends of `range`:

        x = mean + sqrt(1 - w^2 / s^2) (X - mean) + w Z,   X the EF of a random patient, Z normal

    The sd w of a kernel is w = s u / sqrt(1 + u^2), u = max(1.06 m^(-1/5), 200 / m) for m patients, and 4 points at least. The first term is Scott's rule. The second is for
    privacy: a density with kernels of u sd has about p = 2.26 / u free parameters, and whoever knows both the law and the population's own tells members from others by
    d' = sqrt(p / m), an AUC of Phi(d' / sqrt 2); 0.53 takes p <= m / 89. Every patient counts once, whatever the number of clips.
    """

    centres: np.ndarray  # (P,) EFs after shrinking, one a patient
    width: float  # sd of a kernel, EF points
    range: tuple[float, float]  # 1st to 99th percentile of the law with kernels by Scott's rule alone, rounded to 5 points: no order statistic of patients

    @classmethod
    def fit(cls, ef: np.ndarray, patients: Sequence | None = None) -> "SmoothLaw":
        """The law of EFs (N,) of clips whose `patients` are named, by default each of another one. Raises ValueError where there is none."""
        ef = _by_patient(np.asarray(ef, float), patients)
        if not len(ef):
            raise ValueError("no EF to learn a law from")
        scott = 1.06 * len(ef) ** -0.2
        mild, strong = (_shrunken(ef, u) for u in (scott, max(scott, OWN_SHARE / len(ef))))
        return cls(*strong, _range(*mild))

    def draw(self, rng: np.random.Generator, count: int | None = None) -> np.ndarray | float:
        """One EF, percent, or `count` of them."""
        return reflected(rng.choice(self.centres, count) + self.width * rng.standard_normal(count), *self.range)


def reflected(x: np.ndarray | float, low: float, high: float) -> np.ndarray | float:
    """Values beyond low and high mirrored at these ends, as often as it takes: nothing piles up there."""
    span = high - low
    beyond = np.mod(np.asarray(x) - low, 2 * span)
    return low + np.minimum(beyond, 2 * span - beyond)


def ef_score(ef: np.ndarray, released: np.ndarray, widths: Sequence[float] = NARROW, wide: float = WIDE) -> np.ndarray:
    """How much more often a release says a patient's EF than EFs nearby: log of the density of the released EFs (S,) at `ef` (N,) by a narrow kernel, the mean over `widths` (sd, EF points), minus
    that by one of `wide`: float64 (N,). Higher for members where the law of the EFs has a bump for each of them. EFs in percent, the attacker's to one decimal."""
    step, ef = 0.1, np.round(ef, 1)
    edges = np.arange(-6 * wide - step / 2, 100 + 6 * wide, step)
    counts = np.histogram(released, edges)[0] / (len(released) * step)
    centres = edges[:-1] + step / 2

    def log_density(width: float) -> np.ndarray:
        least = 1e-3 / (len(released) * width)  # where no released EF is near
        return np.log(np.interp(ef, centres, gaussian_filter1d(counts, width / step, mode="constant", truncate=5)) + least)

    return np.mean([log_density(width) for width in widths], 0) - log_density(wide)


def _by_patient(ef: np.ndarray, patients: Sequence | None) -> np.ndarray:
    if patients is None:
        return ef
    _, number = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    return np.bincount(number, ef) / np.bincount(number)


def _shrunken(ef: np.ndarray, u: float) -> tuple[np.ndarray, float]:
    """Centres and the sd of a kernel, which is u sd of the EFs wide before both are shrunk to the sd of the EFs."""
    sd, mean = ef.std(), ef.mean()
    width = max(LEAST_WIDTH, sd * u / np.hypot(1, u))
    return mean + np.sqrt(max(1 - (width / sd) ** 2, 0.0) if sd > 0 else 0.0) * (ef - mean), float(width)


def _range(centres: np.ndarray, width: float) -> tuple[float, float]:
    def percentile(share: float) -> float:
        return brentq(lambda x: norm.cdf((x - centres) / width).mean() - share, centres.min() - 9 * width, centres.max() + 9 * width)

    low, high = (float(np.clip(GRID * round(percentile(share) / GRID), LOWEST, HIGHEST)) for share in TAILS)
    return low, max(high, low + GRID)
