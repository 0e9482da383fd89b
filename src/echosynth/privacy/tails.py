"""How near do strangers come at all? The law of the nearest distances, beyond the nearest that was seen.

With K held-out patients no conformal p is below 1 / (K + 1): a release of thousands of clips always has some that lie nearer than all of them, and one true copy would hide there. A copy
lies nearer by a factor, though, and distances to the nearest of a set have a known law near zero: they are powers of a uniform number,

    P(d <= x) ~ c x^D        (Levina & Bickel 2004, NIPS 17: D is the intrinsic dimension of the data, however the points are spread)

so below an edge e the logarithms log(e / d) are exponential with mean 1 / D (Hill 1975). That mean is estimated on k strangers, hence the law of the next one is

    P(log(e / d) > y) = (1 + y / (k m))^-k,   m their mean        (the predictive law of an exponential variable: y / m ~ F(2, 2k))

which is exact for a power law. Where the points are denser in places, or every look at a heart has its noise, D grows towards zero, and the p-value errs upwards.
"""

import numpy as np

LEAST = 20  # strangers: of fewer than ten below the edge, the law is not known well enough for any clip to stand out


def nearest_p(scores: np.ndarray, strangers: np.ndarray) -> np.ndarray:
    """P(a stranger comes as near) for each of `scores` (N,), highest cosines of samples with a gallery: float64 (N,).

    strangers (K,): the highest cosines of K held-out patients with the same gallery, one draw of each. The edge is their median. Needs `LEAST` of them, else all p are 1.
    """
    scores, strangers = (_distance(np.asarray(side, np.float64)) for side in (scores, np.sort(strangers)[::-1]))
    k = len(strangers) // 2
    if len(strangers) < LEAST or strangers[0] == 0:
        return np.ones(len(scores))
    edge = strangers[k]
    mean = float(np.log(edge / strangers[:k]).mean())
    if mean <= 0:  # all the same: nothing is known of how they vary
        return np.ones(len(scores))
    beyond = np.log(edge / np.maximum(scores, 1e-12))
    # Above the edge it is the conformal p, of k + 1 among K + 1.
    known = (1 + np.searchsorted(strangers, scores, side="right")) / (len(strangers) + 1)
    return np.where(beyond > 0, (k + 1) / (len(strangers) + 1) * (1 + np.maximum(beyond, 0) / (k * mean)) ** -k, known)


def _distance(cosines: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(2 - 2 * cosines, 0))
