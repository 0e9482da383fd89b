"""Canaries: patients who are put in or left out by coin before training, so that an attacker's guesses about the coins become a lower bound on epsilon, from one run.

Steinke, Nasr & Jagielski 2023, Privacy auditing with one training run, arXiv 2305.08846. If training is epsilon-DP for a patient added or removed, then of r guesses about fair coins, made
from the result, the number v of right ones is stochastically at most Binomial(r, e^epsilon / (1 + e^epsilon)): nobody guesses better than against randomised response. So many right
guesses contradict a small epsilon. Few right guesses prove nothing: a cleverer attacker may find more.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import beta, binom

from echosynth.privacy.screen import Rate, rate
from echosynth.randomness import numpy_rng

SHARES = (1.0, 0.5, 0.2)


@dataclass(frozen=True)
class Canaries:
    """Who was tossed for, labels sorted, and on whom the coin fell: `inside` bool, one each. It names patients and stays in the study."""

    patients: tuple[str, ...]
    inside: tuple[bool, ...]

    @property
    def left_out(self) -> set[str]:
        """Who may not be trained on."""
        return {patient for patient, inside in zip(self.patients, self.inside, strict=True) if not inside}


def toss(patients: Sequence, count: int, seed: int) -> Canaries:
    """Draws `count` canaries from `patients` (labels, repetitions count once) and tosses for each. Lot and coin of a patient depend on the seed and the label alone, not on order or company.

    Raises ValueError where there are not so many patients. The seed has to be unknown to whoever attacks.
    """
    names = np.unique(np.asarray(patients).astype(str)).tolist()
    if not 0 < count <= len(names):
        raise ValueError(f"{count} canaries cannot be drawn from {len(names)} patients")
    drawn = {name: numpy_rng(seed, f"canary {name}").random(2) for name in names}
    chosen = sorted(sorted(names, key=lambda name: drawn[name][0])[:count])
    return Canaries(tuple(chosen), tuple(bool(drawn[name][1] < 0.5) for name in chosen))


def guess(scores: np.ndarray, share: float = 1.0) -> np.ndarray:
    """From membership scores (m,) guesses int (m,): 1 (in) for the highest, -1 (out) for the lowest, 0 (no guess) between; `share` of all are guessed, half of them each way."""
    scores = np.asarray(scores, np.float64)
    count = max(round(share * len(scores)), 1)
    order, found = np.argsort(-scores, kind="stable"), np.zeros(len(scores), int)
    found[order[: (count + 1) // 2]] = 1
    found[order[len(scores) - count // 2 :]] = -1
    return found


def p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float = 0.0) -> float:
    """Bound on the chance of so many right guesses under (epsilon, delta)-DP, from the paper (its appendix has it as code):

    P(B >= v) + 2 m delta max over i = 1..v of P(v > B >= v - i) / i,  B ~ Binomial(r, e^epsilon / (1 + e^epsilon)),  m canaries, r guesses, v right
    """
    assert 0 <= correct <= guesses <= canaries and epsilon >= 0 and 0 <= delta <= 1
    accuracy = expit(epsilon)
    plain = float(binom.sf(correct - 1, guesses, accuracy))
    if not delta or not correct:
        return plain
    below = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, accuracy)) / np.arange(1, correct + 1)
    return min(plain + 2 * canaries * delta * float(below.max()), 1.0)


def epsilon_at_least(canaries: int, guesses: int, correct: int, delta: float = 0.0, confidence: float = 0.95) -> float:
    """The largest epsilon that so many right guesses refute: training is not (epsilon', delta)-DP for any epsilon' below, with this confidence; 0 where nothing is refuted.

    For delta = 0 the exact binomial form: the logit of the lower end of Clopper & Pearson's one-sided interval for the share of right guesses. If m guesses are all right, it is
    logit((1 - confidence)^(1 / m)): 3.5 for m = 100, so few canaries cannot show a large epsilon.
    """
    share = beta.ppf(1 - confidence, correct, guesses - correct + 1) if correct else 0.0
    low, high = 0.0, max(float(logit(share)), 0.0)
    if not delta or not high:
        return high
    if p_value(canaries, guesses, correct, 0.0, delta) > 1 - confidence:
        return 0.0
    for _ in range(30):  # at `low` refuted, at `high` not: delta only makes refuting harder
        middle = (low + high) / 2
        if p_value(canaries, guesses, correct, middle, delta) <= 1 - confidence:
            low = middle
        else:
            high = middle
    return low


@dataclass(frozen=True)
class Audit:
    """epsilon: the lower bound, with `confidence`, at the share of guesses that showed most."""

    canaries: int
    guesses: int
    correct: int
    accuracy: Rate
    epsilon: float
    delta: float
    confidence: float

    def as_dict(self) -> dict:
        """Plain values for a JSON file."""
        return asdict(self) | {"accuracy": self.accuracy._asdict()}


def audit(scores: np.ndarray, inside: Sequence[bool], delta: float = 0.0, confidence: float = 0.95, shares: Sequence[float] = SHARES) -> Audit:
    """Turns membership scores (m,) of the canaries, in their order, into a bound. Guessing only where the scores are plain can show more, so several shares are tried.

    `confidence` holds for the best of them: each is tested at (1 - confidence) / len(shares) (Bonferroni).
    """
    truth, each = np.where(np.asarray(inside, bool), 1, -1), 1 - (1 - confidence) / len(shares)
    assert len(truth) == len(scores) > 0
    found = []
    for share in shares:
        guesses = guess(scores, share)
        made, correct = int((guesses != 0).sum()), int((guesses == truth).sum())
        found.append(Audit(len(truth), made, correct, rate(correct, made), epsilon_at_least(len(truth), made, correct, delta, each), delta, confidence))
    return max(found, key=lambda one: (one.epsilon, one.guesses))
