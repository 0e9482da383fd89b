"""Many verdicts at once, and where to put the line.

A screen that rejects at p <= alpha rejects a share alpha of good samples and says nothing about how many of those it rejects are copies. Two answers stand beside it:
Benjamini-Hochberg bounds the share of false alarms among what is flagged in a whole release; an operating point fixes the recall on planted copies and says what that costs.

How many of a release are rejected is no binomial count: all its samples share one calibration set, and with it its luck (`excess_p`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import beta, betabinom, binom

from echosynth.privacy.screen import Rate, rate


def adjusted(p: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg adjusted p-values (N,): the lowest level at which each is flagged, min over j >= rank of N p_(j) / j (Benjamini & Hochberg 1995).

    Those of one calibration depend on each other, but positively (PRDS), and then the procedure holds its level (Bates, Candes, Lei, Romano & Sesia 2023, Ann. Stat. 51, 149; shown there for
    one draw a calibration patient).
    """
    p = np.asarray(p, np.float64)
    assert p.ndim == 1 and ((p > 0) & (p <= 1)).all()
    order = np.argsort(p, kind="stable")
    least = np.minimum.accumulate((p[order] * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1]
    found = np.empty(len(p))
    found[order] = np.minimum(least, 1.0)
    return found


def benjamini_hochberg(p: np.ndarray, level: float) -> np.ndarray:
    """Which of N samples are flagged, bool (N,): the expected share of strangers among them is at most `level`. It is a list of suspects and no clearance of the others."""
    return adjusted(p) <= level + 1e-12  # p-values are ratios: level itself counts


def fewest(samples: int, patients: int, level: float) -> int:
    """How many of `samples` have to score above every one of `patients` calibration patients, before Benjamini-Hochberg flags any of them at `level`.

    The smallest conformal p is 1 / (patients + 1), and r of them are flagged if that is at most level r / samples. Fewer copies than that cannot be found this way, however plain
    they are; they have to be found by p <= alpha. More than `samples` means never.
    """
    return ceil(samples / (level * (patients + 1)) - 1e-9)


def excess_p(count: int, samples: int, patients: int, level: float, copied: float = 0.0, several: bool = False) -> float:
    """P(`count` or more of `samples` are rejected) when the share `copied` of them is, and the rest are strangers: small where more are rejected than strangers would be.

    Strangers share one calibration set of K = `patients`, one draw each, of which the conformal test at `level` leaves r = floor(level (K + 1)) - 1 above its line. Given the calibration
    they are independent, rejected with probability B; over calibrations B ~ Beta(r, K + 1 - r), so that the count is beta-binomial, BetaBin(N, r, K + 1 - r) (Vovk 2012, "Conditional
    validity of inductive conformal predictors", arXiv 1209.2673, prop. 2). A binomial test takes the luck of the calibration for an excess.

    several: patients have several draws each (hierarchical conformal prediction, screen.py). B then varies less, while its mean may reach `level` itself: r = level (K + 1), whole or not,
    holds the error (tests/privacy/test_multiple.py: two clips a patient, windows of frames).
    """
    assert 0 <= count <= samples and patients > 0 and 0 <= copied < 1
    rank = _rank(patients, level, several)
    if copied == 0:
        return float(betabinom.sf(count - 1, samples, rank, patients + 1 - rank))
    share, weight = _luck(rank, patients)
    return float(min((weight * binom.sf(count - 1, samples, copied + (1 - copied) * share)).sum(), 1.0))


def excess(count: int, samples: int, patients: int, level: float, several: bool = False, confidence: float = 0.95) -> Rate:
    """The share of `samples` that are rejected beyond what strangers are, with its interval: all shares that neither `excess_p` nor its other tail refutes.

    The share is (observed - level) / (1 - level), 0 at least.
    """
    rank, tail = _rank(patients, level, several), (1 - confidence) / 2
    share, weight = _luck(rank, patients)
    expected = min(rank / (patients + 1), 1 - 1e-9)

    def above(copied: float) -> float:
        return float((weight * binom.sf(count - 1, samples, copied + (1 - copied) * share)).sum())

    def below(copied: float) -> float:
        return float((weight * binom.cdf(count, samples, copied + (1 - copied) * share)).sum())

    edge = 1 - 1e-9
    low = 0.0 if above(0.0) > tail else float(brentq(lambda copied: above(copied) - tail, 0.0, edge))
    # Fewer than strangers would be: all of them may be copies all the same.
    high = 1.0 if count == samples else rate(count, samples, confidence).high if below(0.0) < tail else float(brentq(lambda copied: below(copied) - tail, 0.0, edge))
    return Rate(max((count / samples - expected) / (1 - expected), 0.0), low, high, samples)


def _rank(patients: int, level: float, several: bool) -> float:
    """r of the beta law of a calibration's false rejections; no p-value is below 1 / (K + 1), so at least 1."""
    rank = level * (patients + 1)
    return float(min(max(rank if several else floor(rank + 1e-9), 1), patients))


@lru_cache(maxsize=64)
def _luck(rank: float, patients: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of B ~ Beta(rank, patients + 1 - rank) and the weight of each, close together in both tails: where a sum over B takes the place of an integral."""
    edges = expit(np.linspace(-25, 25, 2001))
    middle = expit(np.linspace(-25, 25, 4001)[1::2])
    weight = np.diff(edges)
    return beta.ppf(middle, rank, patients + 1 - rank), weight / weight.sum()


@dataclass(frozen=True)
class OperatingPoint:
    """Samples with a score of `threshold` or more are rejected.

    recall: on the planted copies, of the kind that is caught least. false_rejection: of strangers, per patient. assured: whether at least the wanted recall holds for further copies of
    these kinds, with the confidence asked for; else there were too few copies to say so, and the threshold is the lowest score of any.
    """

    threshold: float
    recall: Rate
    false_rejection: Rate
    assured: bool


def operating_point(copies: Sequence[np.ndarray], strangers: np.ndarray, weights: np.ndarray, recall: float, confidence: float = 0.95) -> OperatingPoint:
    """The highest threshold that catches the share `recall` of each kind of copy, with its price.

    copies: for each kind the scores of planted copies, one of each of n patients: two clips of a patient are no two patients. strangers, weights: scores of draws of held-out patients who are not those that the screen was
    calibrated on, and the weight of each, 1 a patient in all (screen.draws).

    The recall of the r-th lowest score of n as threshold is a random number with P(recall < q) = P(Binomial(n, 1 - q) < r), whatever the distribution of scores (Wilks 1941, tolerance
    limits). The r taken is the largest that keeps this at most 1 - confidence, so that choosing the threshold on the copies it is measured on flatters nothing. It takes at least
    log(1 - confidence) / log(q) copies of a kind: 59 for 95 %, 299 for 99 %.
    """
    assert len(strangers) == len(weights) > 0
    threshold, assured = copy_line(copies, recall, confidence)
    caught = [rate(int((np.asarray(scores) >= threshold).sum()), len(scores)) for scores in copies]
    rejected = float(np.asarray(weights)[np.asarray(strangers) >= threshold].sum())
    return OperatingPoint(threshold, min(caught), rate(rejected, round(float(np.sum(weights)))), assured)


def copy_line(copies: Sequence[np.ndarray], recall: float, confidence: float = 0.95) -> tuple[float, bool]:
    """The threshold of an operating point, and whether it is assured; arguments as there."""
    assert 0 < recall < 1 and len(copies) and all(map(len, copies))
    ranks = [int(binom.ppf(1 - confidence, len(scores), 1 - recall)) for scores in copies]
    return min(float(np.sort(scores)[max(rank, 1) - 1]) for rank, scores in zip(ranks, copies, strict=True)), min(ranks) >= 1
