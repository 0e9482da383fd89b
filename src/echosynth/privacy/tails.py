"""How near do strangers come at all? The law of the nearest distances, beyond the nearest that was seen.

With K held-out patients no conformal p is below 1 / (K + 1): a release of thousands of clips always has some that lie nearer than all of them, and true copies would hide there. A copy
lies nearer by a factor, though, and distances to the nearest of a set have a known law near zero: they are powers of a uniform number,

    P(d <= x) ~ c x^D        (Levina & Bickel 2004, NIPS 17: D is the intrinsic dimension of the data, however the points are spread)

so below an edge e the logarithms log(e / d) are exponential with rate D (Hill 1975). With e the (k + 1)-th nearest of K strangers, and m the mean of the k logarithms below it,

    P(a stranger comes within x | k, m) = s exp(-y D),   y = log(e / x),   s ~ Beta(k + 1, K - k),   D ~ Gamma(k) / (k m)

where s is the share below the edge, and the law of D is the pivot of an exponential sample: y / m ~ F(2, 2k) for the next one. All clips of a release share one s and one D, and are
independent given them. This is exact for a power law. Where the points are denser in places, or every look at a heart has its noise, D grows towards zero, and the p-values err upwards.

A held-out clip may be a training clip: a cohort without patients.csv has one patient in two splits, or a clip twice. Such a stranger is none, and one at distance 0 would leave no law at all. So
strangers that the law of the others does not explain are left out first (`nearest_stranger`), and whoever prints the result says how many.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit
from scipy.stats import beta, binom, f, gamma

LEAST = 20  # strangers: of fewer than ten below the edge, the law is not known well enough for any clip to stand out
DUPLICATE_ERROR = 0.003  # chance that any of the strangers is taken for a duplicate where none is
_NODES = 120  # of the quadrature, a side
_SAME = 1e-3  # distances under it are one: cosines are rounded to 6e-8


class Nearest(NamedTuple):
    """The strangers of a gallery: the cosine from which on a held-out patient counts as a duplicate of a training patient, how many do, and whether the law of the others is known."""

    limit: float
    duplicates: int
    known: bool


def nearest_stranger(strangers: np.ndarray) -> Nearest:
    """Which held-out patients are duplicates of training patients, by the highest cosines (K,) of one draw of each.

    Without duplicates the normalised spacings of exponential logarithms are exponential themselves (Renyi 1953), so the gap between the j-th nearest and the next one, times j, over the mean
    of the k - j spacings farther out is F(2, 2 (k - j)). The largest j of at most k / 4 whose gap has p below `DUPLICATE_ERROR`, shared among those tried, parts duplicates from strangers; the
    limit lies in the middle of the gap. Whoever lies at distance 0 is a duplicate in any case.
    """
    others = np.sort(_distance(strangers))
    same = int((others < _SAME).sum())
    duplicates = same
    k = (len(others) - same) // 2
    if len(others) - same >= LEAST and others[same] < others[same + k]:
        logs = np.log(others[same : same + k + 1])
        spacings = np.arange(1, k + 1) * np.diff(logs)  # of the j nearest and the rest, times j
        most = k // 4
        farther = np.array([spacings[j:].mean() for j in range(1, most + 1)])
        p = f.sf(spacings[:most] / np.maximum(farther, 1e-300), 2, 2 * (k - np.arange(1, most + 1)))
        if len(found := np.flatnonzero(p < DUPLICATE_ERROR / most)):
            duplicates = same + int(found[-1]) + 1
    if not duplicates:
        return Nearest(np.inf, 0, _law(others) is not None)
    inside, outside = max(others[duplicates - 1], _SAME / 10), others[duplicates] if duplicates < len(others) else _SAME
    return Nearest(float(1 - inside * outside / 2), duplicates, _law(others[duplicates:]) is not None)


def nearest_p(scores: np.ndarray, strangers: np.ndarray) -> np.ndarray:
    """P(a stranger comes as near) for each of `scores` (N,), highest cosines of samples with a gallery: float64 (N,).

    strangers (K,): the highest cosines of K held-out patients with the same gallery, one draw of each; duplicates of training patients are left out. The edge is their median. All p are 1 with fewer
    than `LEAST` of them: nothing is known then, whatever the scores (`nearest_stranger`).
    """
    distances, others = _distance(scores), _others(strangers)
    law = _law(others)
    if law is None:
        return np.ones(len(distances))
    k, edge, mean = law
    beyond = np.log(edge / np.maximum(distances, 1e-12))
    # Above the edge it is the conformal p, of k + 1 among K + 1.
    known = (1 + np.searchsorted(others, distances, side="right")) / (len(others) + 1)
    return np.where(beyond > 0, (k + 1) / (len(others) + 1) * (1 + np.maximum(beyond, 0) / (k * mean)) ** -k, known)


def count_p(count: int, samples: int, line: float, strangers: np.ndarray) -> float:
    """P(`count` or more of `samples` strangers score `line` or more): small where more lie above a line than strangers explain. 1 with fewer than `LEAST` strangers, or none above."""
    others = _others(strangers)
    law = _law(others)
    if law is None or not count:
        return 1.0
    k, edge, mean = law
    beyond = float(np.log(edge / max(float(_distance(np.array([line]))[0]), 1e-12)))
    at, weight = _grid()
    if beyond <= 0:  # among what was seen: the beta law of order statistics (multiple.excess_p)
        rank = 1 + int(np.searchsorted(others, float(_distance(np.array([line]))[0]), side="right"))
        share = beta.ppf(at, rank, max(len(others) + 1 - rank, 1e-9))
        return float(min((weight * binom.sf(count - 1, samples, share)).sum(), 1.0))
    below, rate = beta.ppf(at, k + 1, len(others) - k), gamma.ppf(at, k) / (k * mean)
    share = below[:, None] * np.exp(-beyond * rate[None])
    return float(min((weight[:, None] * weight[None] * binom.sf(count - 1, samples, share)).sum(), 1.0))


def _others(strangers: np.ndarray) -> np.ndarray:
    """Distances of those who are no duplicates, ascending."""
    return np.sort(_distance(strangers))[nearest_stranger(strangers).duplicates :]


def _law(distances: np.ndarray) -> tuple[int, float, float] | None:
    """k, the edge and the mean of the k logarithms below it, of strangers' distances (K,), ascending; None where too few are known, or they do not vary."""
    k = len(distances) // 2
    if len(distances) < LEAST:
        return None
    mean = float(np.log(distances[k] / distances[:k]).mean())
    return (k, float(distances[k]), mean) if mean > 0 else None


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, close together at 0 and at 1, and the weight of each."""
    edges = expit(np.linspace(-20, 20, _NODES + 1))
    return expit(np.linspace(-20, 20, 2 * _NODES + 1)[1::2]), np.diff(edges) / np.diff(edges).sum()


def _distance(cosines: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(2 - 2 * np.asarray(cosines, np.float64), 0))
