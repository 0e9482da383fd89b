"""A histogram with noise: the Gaussian mechanism (Dwork & Roth 2014, section 3.5 and appendix A), for one number a patient.

Each patient adds a mass of 1 to the bins, shared out over the patient's clips, so that adding or taking away a patient moves
the vector of counts by at most 1 in the Euclidean norm. Normal noise of standard deviation s in every bin then costs what one
step of DP-SGD with that noise multiplier costs in which everybody takes part: `Spent(s, rate=1, steps=1)` of budget.py.
"""

from collections.abc import Callable

import numpy as np

SEEN = 2.0  # standard deviations of the noise that a count has to exceed for its bin to hold patients


def noisy_counts(values: np.ndarray, patients: np.ndarray, edges: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Counts of patients by bin, with noise.

    Args:
        values: (n,) a number of each clip, NaN where unknown; what lies beyond the edges counts in the outermost bins.
        patients: (n,) whose clip it is.
        edges: (k + 1,) of the bins, chosen without a look at the patients.
        noise: Standard deviation, in patients.
        rng: Of the noise; nobody else may know its seed.

    Returns:
        (k,) counts, which may be negative.
    """
    values, patients = np.asarray(values, float), np.asarray(patients).astype(str)
    known = ~np.isnan(values)
    _, owner, clips = np.unique(patients[known], return_inverse=True, return_counts=True)
    bins = np.clip(np.searchsorted(edges, values[known], side="right") - 1, 0, len(edges) - 2)
    counts = np.bincount(bins, weights=1 / clips[owner], minlength=len(edges) - 1)
    return counts + noise * rng.standard_normal(len(counts))


def law_of_counts(counts: np.ndarray, edges: np.ndarray, noise: float, even: tuple[float, float]) -> Callable[[np.random.Generator], float]:
    """How a number is drawn after noisy counts: half of the times by the histogram, half evenly from `even[0]` to `even[1]`.

    A count that `SEEN` standard deviations of the noise explain counts as none; where all do, every bin is as likely.
    It looks at the noisy counts alone, so it costs no privacy. The range of the even half is not theirs: noise would cut off
    the few patients at its ends, whom the even half is for.
    """
    kept = np.where(counts > SEEN * noise, counts, 0.0)
    kept = kept if kept.any() else np.ones(len(counts))
    cumulative = np.cumsum(kept) / kept.sum()

    def draw(rng: np.random.Generator) -> float:
        if rng.integers(2):
            return float(rng.uniform(*even))
        bin_ = min(int(np.searchsorted(cumulative, rng.random(), side="right")), len(kept) - 1)
        return float(rng.uniform(edges[bin_], edges[bin_ + 1]))

    return draw
