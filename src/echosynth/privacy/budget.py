"""What differentially private trainings cost together, by the accountant of Opacus (Renyi differential privacy, Mironov 2017, arXiv 1702.07476; subsampled: Mironov et al. 2019, arXiv 1908.10530).

A training is `steps` steps in which each patient takes part by a coin of probability `rate` and the sum of the clipped gradients gets normal noise of `noise` times the clipping norm. With
(epsilon, delta) no event that an attacker looks for becomes more than e^epsilon times as likely, beyond delta, when one patient with all clips is added or taken away.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

from scipy.optimize import brentq

from echosynth.errors import InputError

_LEAST, _MOST = 0.2, 50.0  # noise multipliers that are looked at


class Spent(NamedTuple):
    """One training."""

    noise: float  # standard deviation of the noise, as a multiple of the clipping norm
    rate: float  # of the coin that decides whether a patient takes part in a step
    steps: int


def epsilon(trainings: Sequence[Spent], delta: float) -> float:
    """Epsilon at `delta` of all `trainings` together; 0 for none. Raises InputError where Opacus is not installed."""
    accountant = _accountant()
    accountant.history = [(one.noise, one.rate, one.steps) for one in trainings if one.steps]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that another order might give a smaller bound; this one holds
        return float(accountant.get_epsilon(delta)) if accountant.history else 0.0


def noise_for(budget: float, delta: float, planned: Sequence[tuple[float, int]], spent: Sequence[Spent] = ()) -> float:
    """The least noise multiplier, to a thousandth, with which trainings of these (rate, steps) keep epsilon within `budget` after what is `spent`.

    Raises InputError when no noise is enough.
    """

    def total(noise: float) -> float:
        return epsilon([*spent, *(Spent(noise, rate, steps) for rate, steps in planned)], delta)

    low = high = _LEAST
    while total(high) > budget:
        low, high = high, 2 * high
        if high > _MOST:
            raise InputError(
                f"dp.epsilon: a budget of {budget:g} is used up (epsilon {epsilon(spent, delta):.2f} is spent on this cohort by this study); raise it or start a new study"
            )
    if low == high:
        return high
    root = brentq(lambda noise: total(noise) - budget, low, high, rtol=2e-4, xtol=2e-4)
    return next(noise for noise in (root, 1.0005 * root, high) if total(noise) <= budget)


def _accountant():
    try:
        from opacus.accountants import RDPAccountant
    except ImportError:
        raise InputError("dp: differential privacy needs Opacus; install it with: pip install 'echosynth[dp]'") from None
    return RDPAccountant()
