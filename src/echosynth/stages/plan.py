"""What a synthetic cohort is to hold: names, EFs and splits, place by place, before anything is drawn."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from echosynth.cohort.echonet import SPLITS, Cohort
from echosynth.privacy.ef_law import SmoothLaw
from echosynth.randomness import numpy_rng
from echosynth.stages.budget import SPLIT_SHARES, private_ef_law
from echosynth.study import Study


@dataclass(frozen=True)
class Plan:
    """What place j of the cohort is to hold."""

    names: list[str]
    ef: np.ndarray  # percent, two decimals
    split: np.ndarray


def make_plan(cohort: Cohort, count: int, ef: str, seed: int) -> Plan:
    """Names, EFs and splits of `count` places, each by its own number alone."""
    names = [f"0X{int(numpy_rng(seed, 'name', j).integers(2**64, dtype=np.uint64)):016X}" for j in range(count)]
    draw = ef_law(ef, cohort)
    efs = np.array([round(float(np.clip(draw(numpy_rng(seed, "ef", j)), 0, 100)), 2) for j in range(count)])
    return Plan(names, efs, split_labels(cohort.clips["split"].value_counts().to_dict(), count, seed))


def plan_of(study: Study, cohort: Cohort, count: int, ef: str, seed: int) -> Plan:
    """`make_plan` of a study. Under differential privacy splits are in fixed shares, and EFs public or drawn by a noisy histogram (budget.py)."""
    if not study.config.dp.epsilon:
        return make_plan(cohort, count, ef, seed)
    plan = make_plan(cohort, count, "uniform" if ef == "private" else ef, seed)
    if ef == "private":
        draw = private_ef_law(study, cohort)
        plan = replace(plan, ef=np.array([round(draw(numpy_rng(seed, "ef", j)), 2) for j in range(count)]))
    return replace(plan, split=split_labels(SPLIT_SHARES, count, seed))


def ef_law(ef: str, cohort: Cohort) -> Callable[[np.random.Generator], float]:
    """How an EF (percent) is drawn: "cohort" = from the smooth law of the training patients (privacy/ef_law.py); "balanced" = evenly within its range; "mixed" = one way or the other, by the
    toss of a coin; "uniform" = U(10, 90); else the value itself."""
    if ef == "uniform":
        return lambda rng: rng.uniform(10, 90)
    if ef not in ("cohort", "balanced", "mixed"):
        return lambda rng: float(ef)
    train = cohort.split("TRAIN")
    law = SmoothLaw.fit(train["ef"].to_numpy(), train["patient"].to_numpy())
    if ef == "cohort":
        return law.draw
    if ef == "balanced":
        return lambda rng: rng.uniform(*law.range)
    return lambda rng: law.draw(rng) if rng.integers(2) == 0 else rng.uniform(*law.range)


def split_labels(source: dict[str, int], count: int, seed: int) -> np.ndarray:
    """(count,) TRAIN, VAL or TEST in the proportions of `source` (clips a split; largest remainders, and one at least where there is room), shuffled by `seed`."""
    weights = np.array([source.get(split, 0) for split in SPLITS], float)
    exact = weights / weights.sum() * count
    sizes = np.floor(exact).astype(int)
    for i in np.argsort(sizes - exact, kind="stable")[: count - sizes.sum()]:
        sizes[i] += 1
    for i in np.flatnonzero((sizes == 0) & (weights > 0)):
        if sizes.max() > 1:
            sizes[sizes.argmax()] -= 1
            sizes[i] += 1
    return numpy_rng(seed, "split").permutation(np.repeat(SPLITS, sizes))
