"""Does training on synthetic clips do what training on real ones does? The paired comparison of two ways of training, over patients and over seeds."""

from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import norm, t

from echosynth.metrics.ejection import patient_weights
from echosynth.randomness import numpy_rng

MARGIN = 1.0  # EF points of MAE that may be lost, set beforehand; two readers of one clip differ by 7 and more
FEWEST = 30  # patients: where one in ten loses 10 points, a loss of the whole margin passes in 23 % of trials with 10 patients, 12 % with 20, 7 % with 30 (tests/metrics/test_utility.py)


@dataclass(frozen=True)
class Comparison:
    """`difference` of the mean absolute errors, TSTR minus TRTR, in EF points, with its interval; `verdict` "non-inferior", "inferior" or "inconclusive" at `margin`.

    None, with the `reason`, where either kind has fewer than two `seeds`, or there are fewer than `FEWEST` patients: of the few who lose much, so small a sample may hold none."""

    difference: float
    low: float
    high: float
    margin: float
    verdict: str | None
    seeds: int
    patients: int
    reason: str | None = None

    def as_dict(self) -> dict[str, float | int | str | None]:
        return asdict(self)


def compare_training(
    truth: np.ndarray, of_real: np.ndarray, of_synthetic: np.ndarray, patients: np.ndarray, seed: int, draws: int = 2000, level: float = 0.95, margin: float = MARGIN
) -> Comparison:
    """Of regressors trained on real and on synthetic clips, what they say of the same real test clips: `of_real` (R, n) and `of_synthetic` (S, n), a row a seed, `truth` (n,), all in percent.

    Nested bootstrap: in each draw the patients are drawn anew, the same ones for both (paired), each with all his clips; and the seeds of either kind, R - 1 of R and S - 1 of S with replacement, which makes the
    variance of so few unbiased (Rao & Wu 1988). The percentile interval is widened about the difference by t / z with the degrees of freedom of Satterthwaite (1946), since a spread over three
    seeds is itself uncertain. Non-inferior when the upper end is below `margin`, inferior when the lower end is above it (two-sided 95 %: one-sided 2.5 %, as in trials).
    """
    errors = [np.abs(np.atleast_2d(predicted) - truth) for predicted in (of_real, of_synthetic)]
    assert errors[0].shape[1] == errors[1].shape[1] == len(truth) == len(patients)
    rng = numpy_rng(seed, "compare training")
    weights = patient_weights(patients, draws, rng)
    weights /= weights.sum(1, keepdims=True)
    drawn, by_patients, of_seeds = np.zeros(draws), np.zeros(draws), []
    for sign, error in zip((-1, 1), errors, strict=True):
        seeds = len(error)
        each = weights @ error.T  # (draws, seeds): mean absolute error
        by_patients += sign * each.mean(1)
        drawn += sign * (each * rng.multinomial(max(seeds - 1, 1), np.full(seeds, 1 / seeds), size=draws) / max(seeds - 1, 1)).sum(1)
        if seeds > 1:
            of_seeds.append((error.mean(1).var(ddof=1) / seeds, seeds - 1))
    difference, count = float(errors[1].mean() - errors[0].mean()), len(np.unique(patients))
    parts = [(by_patients.var(), count - 1), *of_seeds]
    total = sum(variance for variance, _ in parts)
    freedom = total**2 / sum(variance**2 / degrees for variance, degrees in parts) if total > 0 and count > 1 else np.inf
    tail = (1 + level) / 2
    wider = t.ppf(tail, freedom) / norm.ppf(tail)
    low, high = (float(difference + wider * (end - difference)) for end in np.quantile(drawn, [1 - tail, tail]))
    fewest = min(len(error) for error in errors)
    reason = f"{fewest} seed a kind, 2 needed" if fewest < 2 else f"{count} patients, {FEWEST} needed" if count < FEWEST else None
    verdict = None if reason else "non-inferior" if high < margin else "inferior" if low > margin else "inconclusive"
    return Comparison(difference, low, high, margin, verdict, fewest, count, reason)
