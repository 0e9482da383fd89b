"""Risks in the words of a release board, and the classical figures of copying.

Singling out, linkability and inference are the three dangers of the Article 29 Working Party (WP216, 2014). Each is an attack on the patients of the training set and, as a control, on
held-out patients of the same cohort: what succeeds on these as well is what the cohort teaches about everybody, not what the release gives away about anybody (Giomi, Boenisch, Wehmeyer
& Tasnadi 2023, Anonymeter, arXiv 2211.10459).

Embeddings are float32 rows of unit length, one a patient or one a synthetic sample unless labels say otherwise. Only the order of distances counts, so cosines take their place:
near is a high cosine, d = sqrt(2 - 2 cosine).
"""

from dataclasses import asdict, dataclass
from math import log, sqrt
from typing import NamedTuple

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from scipy.stats import norm
from torch import Tensor

from echosynth.metrics.ranking import mann_whitney
from echosynth.privacy.neighbours import nearest
from echosynth.privacy.screen import Rate, rate
from echosynth.randomness import numpy_rng

# --- how much worse off is a patient for having been in the training set ---


@dataclass(frozen=True)
class Risk:
    """R = (r_train - r_control) / (1 - r_control): of what a perfect attack could do beyond the control, the share that this one does. Its interval at 95 %; below 0 the control was the
    easier target. Rates with Wilson intervals. NaN where the control always succeeds."""

    risk: float
    low: float
    high: float
    train: Rate
    control: Rate

    def as_dict(self) -> dict:
        """Plain values for a JSON file, NaN as None."""
        told = {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in asdict(self).items()}
        return told | {"train": self.train._asdict(), "control": self.control._asdict()}


def risk(train: np.ndarray, control: np.ndarray, confidence: float = 0.95) -> Risk:
    """From which attacks succeeded, bool (n,) on the training set and (m,) on the control group, one a patient.

    The interval is that of `risk_of`.
    """
    return risk_of(float(np.mean(train)), len(train), float(np.mean(control)), len(control), confidence)


def risk_of(train: float, members: int, control: float, strangers: int, confidence: float = 0.95) -> Risk:
    """From the shares of `members` and of `strangers` on whom an attack succeeded.

    Interval by propagating the halves of the two Wilson intervals, dR = sqrt((da / (1 - c))^2 + (dc (1 - a) / (1 - c)^2)^2), as in Anonymeter.
    """
    a, c = wilson(train * members, members, confidence), wilson(control * strangers, strangers, confidence)
    if c.share == 1:
        return Risk(float("nan"), float("nan"), float("nan"), a, c)
    value = (a.share - c.share) / (1 - c.share)
    half = sqrt(((a.high - a.low) / 2 / (1 - c.share)) ** 2 + ((c.high - c.low) / 2 * (1 - a.share) / (1 - c.share) ** 2) ** 2)
    return Risk(value, value - half, min(value + half, 1.0), a, c)


def wilson(hits: float, count: int, confidence: float = 0.95) -> Rate:
    """`hits` of `count` with the score interval of Wilson 1927."""
    share, z = hits / count, float(norm.ppf((1 + confidence) / 2))
    centre, half = (share + z**2 / (2 * count)) / (1 + z**2 / count), z * sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return Rate(share, max(centre - half, 0.0), min(centre + half, 1.0), count)


def singling_out(synthetic: Tensor, real: Tensor, patients: np.ndarray, cosine: float) -> np.ndarray:
    """Does "as near as `cosine` to this synthetic sample" describe exactly one patient? bool (S,).

    synthetic (S, D), real (N, D) any number of rows a patient, `patients` (N,) labels. A description fits more often in a larger crowd: compare training set and control at the same
    number of patients and of rows.
    """
    _, owner = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    owner = torch.from_numpy(owner)
    first = nearest(synthetic, real)
    other = nearest(synthetic, real, apart=(owner[first.rows[:, 0]], owner))
    return ((first.scores[:, 0] >= cosine) & (other.scores[:, 0] < cosine)).numpy()


def singled_out(synthetic: Tensor, real: Tensor, patients: np.ndarray, cosine: float) -> np.ndarray:
    """Which patients are singled out by at least one synthetic sample: bool (P,), in the order of their sorted labels.

    Arguments as in `singling_out`. A rate of these has patients for its independent units: many samples that point at one patient are one patient singled out.
    """
    names, owner = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    hits = singling_out(synthetic, real, patients, cosine)
    found = np.zeros(len(names), bool)
    if hits.any():
        found[owner[nearest(synthetic[torch.from_numpy(hits)], real).rows[:, 0].numpy()]] = True
    return found


def linkability(one: Tensor, other: Tensor, synthetic_one: Tensor, synthetic_other: Tensor, k: int = 1) -> np.ndarray:
    """Two records of each patient, say a still and the motion, (N, D) and (N, E): does the release show that they belong together? bool (N,).

    The attacker says so when a synthetic sample, with rows (S, D) and (S, E), is among the `k` nearest of both.
    """
    assert len(one) == len(other) and len(synthetic_one) == len(synthetic_other)
    by_one, by_other = nearest(one, synthetic_one, k).rows, nearest(other, synthetic_other, k).rows
    same = (by_one[:, :, None] == by_other[:, None, :]) & (by_one[:, :, None] >= 0)
    return same.flatten(1).any(1).numpy()


def inference(real: Tensor, secret: np.ndarray, synthetic: Tensor, synthetic_secret: np.ndarray, tolerance: float | None = None) -> np.ndarray:
    """Whoever holds a patient's picture (N, D) takes the secret (S,) of the nearest synthetic sample for the patient's own (N,): is it right? bool (N,).

    A secret is a number, right within `tolerance` (EF: 5 points), or where that is None a label, right when equal.
    """
    guessed = np.asarray(synthetic_secret)[nearest(real, synthetic).rows[:, 0].numpy()]
    return guessed == np.asarray(secret) if tolerance is None else np.abs(guessed - np.asarray(secret)) <= tolerance


class NoneSeen(NamedTuple):
    """Upper bounds of a probability of which n independent trials showed no case: the rule of three, and the exact one."""

    rule: float
    exact: float


def none_seen(count: int, confidence: float = 0.95) -> NoneSeen:
    """-log(1 - confidence) / n, which is 3 / n at 95 % (Hanley & Lippman-Hand 1983), and 1 - (1 - confidence)^(1 / n)."""
    return NoneSeen(min(-log(1 - confidence) / count, 1.0), 1 - (1 - confidence) ** (1 / count))


# --- copying ---


def adversarial_accuracy(real: Tensor, synthetic: Tensor) -> float:
    """NNAA = (mean[d_TS > d_TT] + mean[d_ST > d_SS]) / 2: how well real rows (n, D) and as many synthetic ones (n, D) are separated by asking which kind the nearest other row is of.

    1/2 where they cannot be separated, 1 where they have nothing in common, 0 where each has its copy on the other side; ties half (Yale et al. 2020, Neurocomputing 416, 244).
    """
    assert len(real) == len(synthetic) > 1
    own = torch.arange(len(real))
    across = [nearest(real, synthetic), nearest(synthetic, real)]
    within = [nearest(side, side, apart=(own, own)) for side in (real, synthetic)]
    parts = [(w.scores > a.scores).double().mean() + (w.scores == a.scores).double().mean() / 2 for w, a in zip(within, across, strict=True)]
    return float(sum(parts) / 2)


class PrivacyLoss(NamedTuple):
    """loss = held_out - train: above 0 the release lies nearer to the training set than to its equals."""

    loss: float
    train: float  # NNAA
    held_out: float  # NNAA


def privacy_loss(train: Tensor, held_out: Tensor, synthetic: Tensor, seed: int, draws: int = 10) -> PrivacyLoss:
    """NNAA against held-out patients minus NNAA against the training set, the mean over `draws` of as many rows of each as the smallest side has (Yale et al. 2020)."""
    count, found = min(map(len, (train, held_out, synthetic))), []
    for draw in range(draws):
        rng = numpy_rng(seed, "privacy loss", draw)
        t, h, s = (side[torch.from_numpy(rng.choice(len(side), count, replace=False))] for side in (train, held_out, synthetic))
        found.append((adversarial_accuracy(t, s), adversarial_accuracy(h, s)))
    t, h = np.mean(found, axis=0)
    return PrivacyLoss(float(h - t), float(t), float(h))


class DataCopying(NamedTuple):
    z: float  # C_T: below about -3 the generator copies, above 3 it underfits; NaN where no cell has rows enough
    lowest: float  # the z of the cell where it copies most
    cells: int  # that were counted
    covered: float  # share of the held-out rows that lie in them


def data_copying(train: Tensor, held_out: Tensor, synthetic: Tensor, seed: int, cells: int = 1, least: int = 20) -> DataCopying:
    """C_T (Meehan, Chaudhuri & Dasgupta 2020, arXiv 2004.05675): are synthetic rows nearer to the training set than held-out ones are?

    In each of `cells` (k-means of the training rows) the z-score of Mann & Whitney's U, z = (U - m n / 2) / sqrt(m n (m + n + 1) / 12), U counting pairs whose synthetic row is farther from
    its nearest training row; then the mean of z weighted by held-out rows, over cells with at least `least` rows of both. Underfitting in one place can hide copying in another from the
    mean; the lowest z shows it, but is the lowest of several.

    Given the training rows, held-out and synthetic rows have to be independent and made alike: one row a held-out patient, from one clip, with as many frames as a row of a synthetic
    clip. Then z ~ N(0, 1) for a perfect generator, whatever the sizes, though both sides search one gallery. A mean over more clips or frames moves inwards, towards everything, and
    makes copies look like strangers. The training set may have a row for every clip: a copy of any of them is then seen.
    """
    centres = torch.from_numpy(kmeans2(train.double().numpy(), cells, minit="++", seed=numpy_rng(seed, "data copying"))[0])
    at = [torch.cdist(side.double(), centres).argmin(1).numpy() for side in (synthetic, held_out)]
    near = [nearest(side, train).scores[:, 0].numpy() for side in (synthetic, held_out)]
    weights, scores = [], []
    for cell in range(cells):
        made, fresh = (side[where == cell] for side, where in zip(near, at, strict=True))
        m, n = len(made), len(fresh)
        if min(m, n) >= least:
            weights.append(n)
            scores.append(m * n * (mann_whitney(-made, -fresh) - 0.5) / sqrt(m * n * (m + n + 1) / 12))
    if not weights:
        return DataCopying(float("nan"), float("nan"), 0, 0.0)
    return DataCopying(float(np.average(scores, weights=weights)), min(scores), len(weights), sum(weights) / len(held_out))


def authenticity(synthetic: Tensor, train: Tensor) -> Rate:
    """The share of synthetic rows (S, D) that are farther from their nearest training row r than r is from its own nearest other training row (Alaa, van Breugel, Saveliev & van der
    Schaar 2022, arXiv 2102.08921). Clopper-Pearson interval.

    Fresh patients do not reach 1 either: half of them or so lie nearer to r. So put `authenticity(held_out, train)` beside it. One clip a patient on every side, the training set too: two clips of one patient are near to each other.
    """
    own = torch.arange(len(train))
    first = nearest(synthetic, train)
    around = nearest(train, train, apart=(own, own)).scores[:, 0]
    return rate(int((first.scores[:, 0] < around[first.rows[:, 0]]).sum()), len(synthetic))
