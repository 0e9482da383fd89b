"""The area under the ROC curve (AUC) of two sets of scores, and its interval."""

from math import isnan
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm, rankdata


class Auc(NamedTuple):
    """Chance that a score of one set is above a score of the other, with its interval; NaN where one is empty."""

    value: float
    low: float
    high: float


def mann_whitney(positives: np.ndarray, negatives: np.ndarray) -> float:
    """The AUC: the share of (positive, negative) pairs in the right order, ties half (Mann & Whitney 1947).

    Args:
        positives: Scores (m,) of one set.
        negatives: Scores (n,) of the other.

    Returns:
        A share in [0, 1]; NaN where a set is empty.
    """
    if not len(positives) or not len(negatives):
        return float("nan")
    ranks = rankdata(np.concatenate([positives, negatives]))[: len(positives)].sum()
    return float((ranks - len(positives) * (len(positives) + 1) / 2) / (len(positives) * len(negatives)))


def auc_interval(auc: float, members: float, strangers: float, confidence: float = 0.95) -> Auc:
    """The interval of an AUC of so many members and strangers: all theta with |auc - theta| <= z sqrt(V(theta)),

        V(theta) = theta (1 - theta) (1 + ((m + n) / 2 - 1) ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (m n)

    (Newcombe 2006, Stat. Med. 25, 559, method 5, after Hanley & McNeil 1982). It has width even where all members score above all strangers.
    """
    if isnan(auc):
        return Auc(auc, auc, auc)
    z, each = norm.ppf((1 + confidence) / 2), (members + strangers) / 2 - 1

    def excess(theta: float) -> float:
        spread = theta * (1 - theta) * (1 + each * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (members * strangers)
        return (auc - theta) ** 2 - z**2 * spread

    edge = 1e-9  # at 0 and 1 themselves the spread vanishes
    low = brentq(excess, 0, min(auc, 1 - edge)) if auc > edge else 0.0
    high = brentq(excess, max(auc, edge), 1) if auc < 1 - edge else 1.0
    return Auc(auc, float(low), float(high))
