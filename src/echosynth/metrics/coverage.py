"""Which real patients the synthetic clips reach: every patient counts once, and those who are not reached can be named."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from echosynth.metrics.floor import FEWEST, not_finite

_BLOCK = 2**22  # distances held at a time


@dataclass(frozen=True)
class PatientCoverage:
    """Of each real clip (n,) whether it is `covered` by synthetic clips, and whether by other patients' (`by_real`); `share` and `floor` of the patients with a clip that is. None, with the `reason`, where they mean nothing."""

    covered: np.ndarray
    by_real: np.ndarray
    share: float | None
    floor: float | None
    reason: str | None = None


def patient_coverage(real: np.ndarray, patients: np.ndarray, synthetic: np.ndarray, rng: np.random.Generator, k: int = 5) -> PatientCoverage:
    """Coverage (Naeem et al. 2020) a patient, of features `real` (n, D) and `synthetic` (m, D).

    One clip stands for each patient, so that patients of many clips do not crowd the space, and the patients are halved. A real clip is covered when one of P / 2 synthetic clips (m, if there are fewer), P the number of
    patients, lies no farther from it than the k-th nearest other patient of its own half; the floor is whether a patient of the other half does. So both have the same radius to hit, and as many chances:
    1 - 2^-k on average for a perfect generator. Refused with fewer than 50 patients or synthetic clips, and where a feature is not finite.
    """
    _, codes = np.unique(np.asarray(patients), return_inverse=True)
    n, count = len(real), int(codes.max(initial=-1)) + 1
    nobody = np.zeros(n, bool)
    if min(count, len(synthetic)) < FEWEST:
        return PatientCoverage(nobody, nobody, None, None, f"{min(count, len(synthetic))} patients or synthetic clips, {FEWEST} needed")
    if bad := not_finite("real", real) or not_finite("synthetic", synthetic):
        return PatientCoverage(nobody, nobody, None, None, bad)
    half = (rng.permutation(count) % 2)[codes]
    order = rng.permutation(n)
    stands = np.isin(np.arange(n), order[np.unique(codes[order], return_index=True)[1]])
    x, y = np.asarray(real, np.float64), np.asarray(synthetic, np.float64)[rng.permutation(len(synthetic))[: count // 2]]
    covered, by_real = nobody.copy(), nobody.copy()
    step = max(1, _BLOCK // n)
    for first in range(0, n, step):
        rows = slice(first, first + step)
        others = np.where((codes[rows, None] == codes) | ~stands, np.inf, cdist(x[rows], x, "sqeuclidean"))
        own = half[rows, None] == half
        radius = np.partition(np.where(own, others, np.inf), k - 1, axis=1)[:, k - 1]
        covered[rows] = cdist(x[rows], y, "sqeuclidean").min(1) <= radius
        by_real[rows] = np.where(own, np.inf, others).min(1) <= radius
    share, floor = (float(np.mean(np.bincount(codes, hit) > 0)) for hit in (covered, by_real))
    return PatientCoverage(covered, by_real, share, floor)
