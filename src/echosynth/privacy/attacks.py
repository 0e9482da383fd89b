"""Membership inference: can an attacker tell the patients a model was trained on from others of the same distribution?

An attack is a score of every patient, higher for those it takes for members (probes.py makes them); this file says how well it does. The unit is the patient: frames and clips of one
patient are not independent, and it is patients who are to be protected. Strangers have to be held-out patients of the same cohort, else the attack learns to tell hospitals apart and is
flattered (Carlini et al. 2022, arXiv 2112.03570, on why an AUC alone will not do: report the rate of members caught at few false alarms).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil, isnan
from typing import Literal, NamedTuple

import numpy as np

from echosynth.metrics.ranking import Auc, auc_interval, mann_whitney
from echosynth.privacy.screen import Rate, rate

FALSE_ALARMS = (0.001, 0.01)
WORST = 0.01


class Caught(NamedTuple):
    """Members above a line that at most the share `allowed` of the strangers exceed, and the strangers that do: with n of them no rate finer than 1 / n can be measured."""

    allowed: float
    members: Rate
    strangers: Rate


class Worst(NamedTuple):
    """Of the 1 % of all patients who score highest: how many are members, where `chance` would make so many. `lead`: by how many sd of the strangers' scores the mean of the highest
    1 % of members exceeds the mean of the highest 1 % of strangers (NaN where strangers do not differ)."""

    members: Rate
    chance: float
    lead: float


class Stratum(NamedTuple):
    members: int
    strangers: int
    auc: Auc


@dataclass(frozen=True)
class AttackResult:
    """How well one attack told members from strangers, in patients. threat: what the attacker holds, the released clips or the models' weights."""

    name: str
    threat: Literal["dataset", "weights"]
    members: int
    strangers: int
    auc: Auc
    caught: tuple[Caught, ...]
    worst: Worst
    strata: dict[str, Stratum]
    excess: float = 1.0  # variance of the AUC in those of independent scores; its intervals are of so many times fewer patients

    def as_dict(self) -> dict:
        """Plain values for a JSON file, NaN as None. No score of a single patient is in it."""
        return _plain(asdict(self))


class PatientScores(NamedTuple):
    patients: np.ndarray  # (P,) labels, sorted
    scores: np.ndarray  # float64 (P,)


def by_patient(scores: np.ndarray, patients: Sequence, how: Literal["mean", "max"] = "mean") -> PatientScores:
    """Scores (N,) or (N, F) of clips or frames and whose they are -> one a patient, (P,) or (P, F). "max" grows with the number of clips: only where members and strangers have as many."""
    scores = np.asarray(scores, np.float64)
    names, number = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    if how == "max":
        found = np.full((len(names), *scores.shape[1:]), -np.inf)
        np.maximum.at(found, number, scores)
    else:
        found = np.zeros((len(names), *scores.shape[1:]))
        np.add.at(found, number, scores)
        found = (found.T / np.bincount(number)).T
    return PatientScores(names, found)


def membership(
    name: str,
    members: np.ndarray,
    strangers: np.ndarray,
    threat: Literal["dataset", "weights"] = "dataset",
    strata: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    false_alarms: Sequence[float] = FALSE_ALARMS,
    excess: float = 1.0,
) -> AttackResult:
    """The result of an attack with scores (m,) of members and (n,) of strangers, one a patient. strata: for each group who of either belongs to it, bool (m,) and (n,). excess: how many times the
    variance of the AUC is that of independent scores (probes.excess_variance); the intervals are those of so many times fewer patients.

    membership("nearest", train.scores, held_out.scores).auc.value
    """
    members, strangers = np.asarray(members, np.float64), np.asarray(strangers, np.float64)
    assert members.ndim == strangers.ndim == 1 and len(members) and len(strangers) and not (np.isnan(members).any() or np.isnan(strangers).any())
    groups = {group: (members[inside], strangers[outside]) for group, (inside, outside) in (strata or {}).items()}
    return AttackResult(
        name=name,
        threat=threat,
        members=len(members),
        strangers=len(strangers),
        auc=auc_interval(mann_whitney(members, strangers), len(members) / excess, len(strangers) / excess),
        caught=tuple(_caught(members, strangers, allowed) for allowed in false_alarms),
        worst=_worst(members, strangers),
        strata={group: Stratum(len(m), len(s), auc_interval(mann_whitney(m, s), len(m) / excess, len(s) / excess)) for group, (m, s) in groups.items()},
        excess=excess,
    )


def _caught(members: np.ndarray, strangers: np.ndarray, allowed: float) -> Caught:
    line = np.sort(strangers)[::-1][min(int(allowed * len(strangers) + 1e-9), len(strangers) - 1)]
    return Caught(allowed, rate(int((members > line).sum()), len(members)), rate(int((strangers > line).sum()), len(strangers)))


def _worst(members: np.ndarray, strangers: np.ndarray) -> Worst:
    both = np.concatenate([members, strangers])
    count = ceil(WORST * len(both))
    line = np.sort(both)[-count]
    above = (members > line).sum() + (strangers > line).sum()
    inside = (members > line).sum() + (count - above) * (members == line).sum() / (both == line).sum()  # those that tie at the line share its places
    heads = [np.sort(scores)[-ceil(WORST * len(scores)) :].mean() for scores in (members, strangers)]
    spread = strangers.std()
    lead = float((heads[0] - heads[1]) / spread) if spread > 1e-12 * max(abs(strangers).max(), 1e-300) else float("nan")
    return Worst(rate(min(float(inside), count), count), len(members) / len(both), lead)


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and isnan(value) else value
