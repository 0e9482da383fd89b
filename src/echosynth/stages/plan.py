"""What each place of a synthetic cohort is to hold: its name, its EF, its split."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from echosynth.cohort.echonet import SPLITS, Cohort
from echosynth.randomness import numpy_rng

EF_JITTER = 1.0  # percent; no synthetic clip carries the very EF of a patient


@dataclass(frozen=True)
class Plan:
    """What place j of the cohort is to hold."""

    names: list[str]
    ef: np.ndarray  # percent, two decimals
    split: np.ndarray


def make_plan(cohort: Cohort, count: int, ef: str, seed: int) -> Plan:
    """Names, EFs and splits of `count` places, each by its own number alone."""
    names = [f"0X{int(numpy_rng(seed, 'name', j).integers(2**64, dtype=np.uint64)):016X}" for j in range(count)]
    draw = ef_law(ef, cohort.split("TRAIN")["ef"].to_numpy())
    efs = np.array([round(float(np.clip(draw(numpy_rng(seed, "ef", j)), 0, 100)), 2) for j in range(count)])
    return Plan(names, efs, split_labels(cohort.clips["split"].value_counts().to_dict(), count, seed))


def ef_law(ef: str, train: np.ndarray) -> Callable[[np.random.Generator], float]:
    """How an EF (percent) is drawn: "cohort" = the training histogram, slightly smoothed; "balanced" = evenly from its 1st to its 99th percentile; "mixed" = one way or the other, by the
    toss of a coin; "uniform" = U(10, 90); else the value itself."""
    if ef == "cohort":
        return lambda rng: rng.choice(train) + EF_JITTER * rng.standard_normal()
    if ef == "balanced":
        low, high = np.percentile(train, [1, 99])
        return lambda rng: rng.uniform(low, high)
    if ef == "mixed":
        ways = [ef_law(way, train) for way in ("cohort", "balanced")]
        return lambda rng: ways[rng.integers(2)](rng)
    if ef == "uniform":
        return lambda rng: rng.uniform(10, 90)
    return lambda rng: float(ef)


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
