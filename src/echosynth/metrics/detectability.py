"""The classifier two-sample test (Lopez-Paz & Oquab 2017, arXiv 1610.06545): can a network separate the clips of two sets?

The AUC of a classifier on clips that it did not see: 0.5 where the two sets are drawn alike, 1 where every clip gives its set away. Here are the folds, with patients apart, and the figure; any classifier fits in between:

    folds = folds_apart(patients, other_patients, count=2, seed=0)
    scores = [my_classifier(fold) for fold in folds]          # of the clips in fold.test, by a network trained on fold.train
    cross_fitted_auc(folds, scores, patients, other_patients)
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from echosynth.metrics.ranking import Auc, auc_interval, mann_whitney
from echosynth.randomness import numpy_rng

EXCESS = 2.0  # times the variance of independent scores; see `cross_fitted_auc`


class Fold(NamedTuple):
    """Indices of the clips of (one, the other) set: those to train on, and those to score. No patient is in both."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def folds_apart(one: Sequence, other: Sequence, count: int, seed: int) -> list[Fold]:
    """Deals the patients of two sets of clips out to folds.

    A patient with clips in both sets (real clips and their reconstructions) is in one fold with all of them. Each fold has nearly as many clips of either set.

    Args:
        one: Patient (n,) of each clip of one set.
        other: Patient (m,) of each clip of the other.
        count: Number of folds.
        seed: Of the order of the patients.

    Returns:
        `count` folds; every clip is in the test of one of them.
    """
    codes = np.unique(np.concatenate([np.asarray(one), np.asarray(other)]).astype(str), return_inverse=True)[1]
    sides = codes[: len(one)], codes[len(one) :]
    clips = np.stack([np.bincount(side, minlength=codes.max() + 1) for side in sides])  # (2, patients)
    held, place = np.zeros((2, count)), np.empty(clips.shape[1], int)
    for patient in numpy_rng(seed, "detectability folds").permutation(clips.shape[1]):
        place[patient] = np.argmin(((held + clips[:, patient, None]) ** 2).sum(0) - (held**2).sum(0))  # the emptiest, of those sets that the patient is in
        held[:, place[patient]] += clips[:, patient]
    return [Fold(*(tuple(np.flatnonzero((place[side] == fold) == inside) for side in sides) for inside in (False, True))) for fold in range(count)]


def cross_fitted_auc(folds: Sequence[Fold], scores: Sequence[tuple[np.ndarray, np.ndarray]], one: Sequence, other: Sequence) -> Auc:
    """The chance that a clip of one set scores above a clip of the other, both scored by the same network.

    Scores of different networks have different scales, so only pairs within a fold are compared: without a difference between the sets the AUC is 0.5 on average.

    The interval is Newcombe's, with the patients of either set for its size, as if the clips of one patient were copies of each other, and `EXCESS` times the variance. For the errors of folds go
    together (Bengio & Grandvalet 2004, J. Mach. Learn. Res. 5, 1089): without a difference, a classifier along the difference of means scores fold A by patients of B and fold B by the same
    patients of A, and whatever the number of folds each pair of patients counts twice, once either way. That doubles the variance; a classifier that learns less from a pair has less excess.
    The interval has width at 1. It holds for these networks: another seed trains others.

    Args:
        folds: As `folds_apart` gave them.
        scores: For each fold the scores of the clips in `test`, of either set.
        one: Patient (n,) of each clip of one set.
        other: Patient (m,) of each clip of the other.

    Returns:
        The AUC with its interval at 95 %.
    """
    pairs = np.array([len(mine) * len(others) for mine, others in scores])
    values = np.array([mann_whitney(mine, others) for mine, others in scores])
    auc = float((pairs * np.nan_to_num(values)).sum() / pairs.sum())
    return auc_interval(auc, *(len(np.unique(np.asarray(side).astype(str))) / EXCESS for side in (one, other)))


def matched(wanted: np.ndarray, offered: np.ndarray) -> np.ndarray:
    """Which clips of another cohort have nearly the same EF, so that a difference in the EFs is not taken for one of the pictures.

    Args:
        wanted: EF (n,) of the clips of one cohort.
        offered: EF (m,) of those of the other, m >= n.

    Returns:
        Indices (n,) into `offered`, in increasing order and each once, with the least sum of differences.
    """
    return np.sort(linear_sum_assignment(np.abs(np.asarray(wanted, float)[:, None] - np.asarray(offered, float)))[1])
