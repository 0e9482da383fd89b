"""Many verdicts at once, and where to put the line.

A screen that rejects at p <= alpha turns away a share alpha of good samples and says nothing about how many of those it turns away are copies. Two answers stand beside it:
Benjamini-Hochberg bounds the share of false alarms among what is flagged in a whole release; an operating point fixes the recall on planted copies and says what that costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.stats import binom

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

    copies: for each kind the scores of planted copies, one of each of n patients. strangers, weights: scores of draws of held-out patients who are not those that the screen was
    calibrated on, and the weight of each, 1 a patient in all (screen.draws).

    The recall of the r-th lowest score of n as threshold is a random number with P(recall < q) = P(Binomial(n, 1 - q) < r), whatever the distribution of scores (Wilks 1941, tolerance
    limits). The r taken is the largest that keeps this at most 1 - confidence, so that choosing the threshold on the copies it is measured on flatters nothing. It takes at least
    log(1 - confidence) / log(q) copies of a kind: 59 for 95 %, 299 for 99 %.
    """
    assert 0 < recall < 1 and len(copies) and all(map(len, copies)) and len(strangers) == len(weights) > 0
    ranks = [int(binom.ppf(1 - confidence, len(scores), 1 - recall)) for scores in copies]
    threshold = min(float(np.sort(scores)[max(rank, 1) - 1]) for rank, scores in zip(ranks, copies, strict=True))
    caught = [rate(int((np.asarray(scores) >= threshold).sum()), len(scores)) for scores in copies]
    rejected = float(np.asarray(weights)[np.asarray(strangers) >= threshold].sum())
    return OperatingPoint(threshold, min(caught), rate(rejected, round(float(np.sum(weights)))), min(ranks) >= 1)
