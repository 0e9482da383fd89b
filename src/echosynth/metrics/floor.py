"""The floor that a perfect generator would have: real against real, patients kept apart, at the same sample size. Every distance between two sets of clips shares this one comparison."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from echosynth.errors import InputError
from echosynth.randomness import numpy_rng

FEWEST = 50  # clips a side for measures that are shares or means: below, a share of a half has a standard error of more than 7 points

Measure = Callable[[np.ndarray, np.ndarray], float | tuple[float, ...]]
"""(real (k, D), other (k, D)) -> one figure, or several."""


def not_finite(kind: str, values: np.ndarray, features: Sequence[str] = (), clips: Sequence[str] = ()) -> str | None:
    """Which feature of which `kind` of clip is NaN or infinite, in words; None where all of `values` (n, D) are finite. `features` and `clips` are their names, else they are numbered from 1."""
    bad = np.argwhere(~np.isfinite(values))
    if not len(bad):
        return None
    clip, feature = bad[0]
    more = len(np.unique(bad[:, 0])) - 1
    which = f"{clips[clip] if len(clips) else f'{clip + 1} of {len(values)}'}"
    return f"feature {features[feature] if len(features) else feature + 1} of {kind} clip {which} is not a finite number" + (f", and {more} more clips have such features" if more else "")


def require_finite(**sides: np.ndarray) -> None:
    """Raises InputError naming the first feature and clip that is not finite in one of `sides`, features (n, D) by kind."""
    for kind, values in sides.items():
        if reason := not_finite(kind, np.asarray(values)):
            raise InputError(f"{reason}; look at this clip: it may be black or of one frame")


class Halvings(NamedTuple):
    """`found` of synthetic against real and `floor` of real against real, each (splits,) or (splits, figures), between sets of at least `samples`; None, with the `reason`, where they mean nothing."""

    found: np.ndarray | None
    floor: np.ndarray | None
    samples: int
    reason: str | None = None


@dataclass(frozen=True)
class Distance:
    """`distance` synthetic against real, `floor` real against real, both between sets of `samples`; None, with the `reason`, where they mean nothing.

    `floor_sd` is the standard deviation of the floor over the halvings: these are draws from the permutation distribution that the distance of a perfect generator has.
    """

    distance: float | None
    floor: float | None
    samples: int
    reason: str | None = None
    floor_sd: float | None = None


def compare_halves(
    measure: Measure, real: np.ndarray, patients: np.ndarray, synthetic: np.ndarray, seed: int, stream: str, needed: int = FEWEST, why: str = "", splits: int = 20
) -> Halvings:
    """`measure` between features `synthetic` (m, D) and `real` (n, D), and between real and real, at one sample size.

    The real clips are halved at random by patient (a patient's clips resemble each other: in both halves they would flatter the floor), `splits` times. The floor is measured between k
    clips of one half and k of the other, the distance between the same k clips and k synthetic ones; k is what the smallest of the three sets holds. With fewer than `needed` both are refused,
    for the reason `why`. A feature that is not finite refuses both as well, by its name: a clip that is left out would flatter the cohort it is of.
    """
    assert len(real) == len(patients)
    if reason := not_finite("real", real) or not_finite("synthetic", synthetic):
        return Halvings(None, None, 0, reason)
    _, codes = np.unique(np.asarray(patients), return_inverse=True)
    if codes.max(initial=-1) < 1:
        return Halvings(None, None, 0, "fewer than two held-out patients")
    found, floor, smallest = [], [], len(real)
    for split in range(splits):
        rng = numpy_rng(seed, stream, split)
        sides = _halves(codes, rng)
        count = min(len(sides[0]), len(sides[1]), len(synthetic))
        smallest = min(smallest, count)
        if count < needed:
            return Halvings(None, None, count, f"{count} clips a side, {needed} needed{why}")
        one, other, drawn = (features[rng.permutation(len(features))[:count]] for features in (real[sides[0]], real[sides[1]], synthetic))
        floor.append(measure(one, other))
        found.append(measure(one, drawn))
    return Halvings(np.array(found), np.array(floor), smallest)


def distance_with_floor(
    measure: Measure, real: np.ndarray, patients: np.ndarray, synthetic: np.ndarray, seed: int, stream: str, needed: int = FEWEST, why: str = "", splits: int = 20
) -> Distance:
    """A `measure` of one figure with its floor, both averaged over the halvings of `compare_halves`."""
    found, floor, samples, reason = compare_halves(measure, real, patients, synthetic, seed, stream, needed, why, splits)
    if found is None:
        return Distance(None, None, samples, reason)
    return Distance(float(np.mean(found)), float(np.mean(floor)), samples, floor_sd=float(np.std(floor, ddof=1)) if splits > 1 else None)


def _halves(codes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the clips in two halves that share no patient and hold nearly as many clips; `codes` (n,) numbers the patients from 0."""
    sizes = np.bincount(codes)
    order = rng.permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    first = np.zeros(len(sizes), bool)
    first[order] = before + sizes[order] / 2 <= len(codes) / 2
    return np.flatnonzero(first[codes]), np.flatnonzero(~first[codes])
