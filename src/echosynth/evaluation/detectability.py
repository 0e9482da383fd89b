"""Can a classifier separate synthetic clips from real ones? Single frames at four sizes, and pieces of clips; beside it real against other real clips, and what the autoencoder and the generators each give away.

Both sides are coded and floored alike: whatever a clip comes from, its frames are brought to 112 x 112 pixels, written and read once by the product's own codec, and grey levels under `FLOOR` are black. A grid of
JPEG blocks on one side alone would be an AUC of 1 by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from echosynth.cohort.echonet import Cohort
from echosynth.cohort.video import read_frames, through_codec, to_square
from echosynth.config import EvaluationSection
from echosynth.cores import each
from echosynth.evaluation.appearance import spread
from echosynth.metrics.detectability import Fold, cross_fitted_auc, folds_apart, matched
from echosynth.metrics.floor import FEWEST
from echosynth.metrics.ranking import Auc
from echosynth.networks.autoencoder import Autoencoder, decode_clip, encode_clip
from echosynth.networks.classifier import Classifier, ClassifierConfig
from echosynth.progress import progress
from echosynth.randomness import numpy_rng
from echosynth.training.classifier import clip_scores, new_classifier, train_classifier

FLOOR = 24  # grey levels under it are black
STILLS, PIECES = 8, 2  # single frames, and pieces, of each clip
OFFSETS = np.array([0, 1, 2, 3, 6, 10, 16, 24])  # of the frames of a piece: speckle changes from frame to frame, the heart within half a second
FOLDS = 2
PATIENTS = 10  # of either set at least
_FLOOR_PAIR = "floor"
_PAIRS = {"": ("real", "synthetic"), _FLOOR_PAIR: ("real", "other"), "reconstruction": ("real", "reconstruction"), "generator": ("reconstruction", "synthetic")}
_UNSELECTED = {"unselected": ("real", "unselected")}  # only where something was selected

Change = Callable[[np.ndarray], np.ndarray]
"""What is done to frames uint8 (K, 112, 112) before they are coded."""


class View(NamedTuple):
    """Pictures of `size` x `size` pixels; of a piece of a clip, several frames each."""

    name: str
    size: int
    frames: int = 1
    width: int = 24  # of the network


VIEWS = (View("14", 14), View("28", 28), View("56", 56), View("112", 112, width=16), View("clips", 56, len(OFFSETS)))


@dataclass(frozen=True)
class Clips:
    """Frames uint8 (n, STILLS + PIECES * len(OFFSETS), 112, 112) of clips, coded and floored, and whose clips they are (n,)."""

    frames: np.ndarray
    patients: np.ndarray

    def seen(self, view: View) -> np.ndarray:
        """The pictures uint8 (n, K, frames, S, S) of a view."""
        frames = self.frames[:, :STILLS] if view.frames == 1 else self.frames[:, STILLS:]
        small = to_square(frames.reshape(-1, *frames.shape[2:]), view.size)
        return small.reshape(len(frames), -1, view.frames, view.size, view.size)


def detectability(
    real: Cohort,
    held_out: pd.DataFrame,
    synthetic: Cohort,
    fps: float,
    section: EvaluationSection,
    seed: int,
    autoencoder: Autoencoder | None = None,
    unselected: Cohort | None = None,
) -> dict:
    """Figures "appearance.detectability_VIEW" of synthetic against real clips with the floor "..._VIEW_floor" of real against other real
    ones, "..._reconstruction_VIEW" of reconstructions against the real clips they were made from (the autoencoder's share),
    "..._generator_VIEW" of reconstructions against synthetic clips (the generator's share), and "..._VIEW_unselected".

    Each is the AUC of small classifiers on clips and patients that they did not see, with its interval, all at one number of clips a side ("appearance.detectability_samples").
    Where some clips are shorter than a piece, the view "clips" is of the longer ones of either side, at a number of its own ("appearance.detectability_clips_samples").

    Args:
        real: The real cohort; the other side of the floor are its clips outside `held_out`.
        held_out: Those of its rows that are compared.
        synthetic: The synthetic cohort. Its clips are chosen so that their EFs are nearly those of the real ones.
        fps: The rate at which pieces of clips are compared; a slower clip keeps its own.
        section: How many clips a side, and how many steps of training.
        seed: Of the frames, the folds and the trainings.
        autoencoder: In evaluation mode; None where there is none.
        unselected: The synthetic clips as they came, where some were left out for the EF they show.

    Returns:
        Flat figures; None with the reason beside it where one cannot be had.

    Raises:
        InputError: When a video cannot be read.
    """
    if not section.detectability_clips:
        return _without("evaluation.detectability_clips is 0", VIEWS)
    offered = {"real": (real, held_out), "synthetic": (synthetic, synthetic.clips), "other": (real, real.clips.drop(held_out.index))}
    offered |= {"unselected": (unselected, unselected.clips)} if unselected is not None else {}
    long = {name: (cohort, rows[_count(rows, fps) > OFFSETS[-1]]) for name, (cohort, rows) in offered.items()}
    if all(len(long[name][1]) == len(rows) for name, (_, rows) in offered.items()):
        return _compare(offered, VIEWS, fps, section, seed, autoencoder)
    stills, pieces = ([view for view in VIEWS if (view.frames == 1) == still] for still in (True, False))
    of_pieces = _compare(long, pieces, fps, section, seed, autoencoder, f" of {OFFSETS[-1] + 1} frames or more")
    of_pieces = {key.replace("_samples", "_clips_samples"): value for key, value in of_pieces.items()}
    return _compare(offered, stills, fps, section, seed, autoencoder) | of_pieces


def _compare(
    offered: dict[str, tuple[Cohort, pd.DataFrame]],
    views: Sequence[View],
    fps: float,
    section: EvaluationSection,
    seed: int,
    autoencoder: Autoencoder | None,
    of: str = "",
) -> dict:
    """The figures of some views. `offered` are the clips of each side to choose from, with their cohort; `of` says, in a reason, which clips these are."""
    (real, held_out), (_, made), (_, others) = (offered[name] for name in ("real", "synthetic", "other"))
    count = min(section.detectability_clips, len(held_out), len(made))
    chosen = spread(held_out, count) if count else held_out.iloc[:0]
    if reason := _too_few(chosen, made, of):
        return _without(reason, views)
    short = f"{len(others)} real clips{of} beside the held-out ones, {count} needed" if len(others) < count else _too_few(others, others, of)
    reasons = {_FLOOR_PAIR: short}
    sides = {name: (cohort, _alike(chosen, rows)) for name, (cohort, rows) in offered.items() if len(rows) >= count and not (name == "other" and short)}
    sides["real"] = (real, chosen)
    sets = {name: look(cohort, rows, fps, seed) for name, (cohort, rows) in sides.items()}
    if autoencoder is None:
        reasons |= dict.fromkeys(("reconstruction", "generator"), "no autoencoder is at hand where two folders are compared")
    else:
        sets["reconstruction"] = look(real, chosen, fps, seed, autoencoder=autoencoder)
    pairs = {name: (sets[one], sets[other]) for name, (one, other) in (_PAIRS | _UNSELECTED).items() if one in sets and other in sets}
    return flat(separate(pairs, section.detectability_steps, seed, views), reasons, views) | {"appearance.detectability_samples": count}


def look(cohort: Cohort, rows: pd.DataFrame, fps: float, seed: int, change: Change | None = None, autoencoder: Autoencoder | None = None) -> Clips:
    """Reads what is looked at of some clips of a cohort.

    Args:
        cohort: Where the clips lie.
        rows: Which of its clips.
        fps: The common rate.
        seed: Of the pieces.
        change: What is done to the frames before they are coded.
        autoencoder: The frames go through it and back, and once more through the codec, as a synthetic clip did when it was made.

    Returns:
        Their frames. A piece of a clip that is shorter repeats the last frame.

    Raises:
        InputError: When a video cannot be read.
    """
    counts, strides = _count(rows, fps), _strides(rows, fps)

    def one(number: int) -> np.ndarray:
        row = rows.iloc[number]
        places = _places(int(row["frames"]), int(counts[number]), strides[number], numpy_rng(seed, "detectability pieces", number))
        frames = to_square(read_frames(cohort.path(row["name"]), places))
        if change is not None:
            frames = change(frames)
        if autoencoder is not None:
            frames = through_codec(decode_clip(autoencoder, encode_clip(autoencoder, frames)))
        coded = through_codec(frames)
        return np.where(coded < FLOOR, 0, coded).astype(np.uint8)

    found = []
    with progress("frames for the classifiers", len(rows)) as advance:
        for frames in each(one, range(len(rows)), *([autoencoder] if autoencoder is not None else [])):
            found.append(frames)
            advance()
    return Clips(np.stack(found), rows["patient"].to_numpy().astype(str))


def separate(pairs: dict[str, tuple[Clips, Clips]], steps: int, seed: int, views: Sequence[View] = VIEWS) -> dict[tuple[str, str], Auc]:
    """How well classifiers separate the two sets of each pair.

    Args:
        pairs: Two sets of clips by the name of the pair.
        steps: Of the training of each classifier; there is one for a pair, a view and a fold.
        seed: Of the folds, the first weights and the trainings.
        views: What the classifiers see.

    Returns:
        The AUC of each pair in each view, by (name of the pair, name of the view).
    """
    folds = {name: folds_apart(one.patients, other.patients, FOLDS, seed) for name, (one, other) in pairs.items()}
    jobs = [(name, fold) for name in pairs for fold in folds[name]]
    found = {}
    with progress("classifying clips", len(jobs) * len(views)) as advance:
        for view in views:
            first = new_classifier(ClassifierConfig(size=view.size, frames=view.frames, width=view.width), seed)
            seen = {name: tuple(clips.seen(view) for clips in pair) for name, pair in pairs.items()}

            def score(job: tuple[str, Fold], first: Classifier = first, seen: dict = seen) -> tuple[np.ndarray, np.ndarray]:
                name, fold = job
                trained = train_classifier(first, *(clips[rows] for clips, rows in zip(seen[name], fold.train, strict=True)), steps, seed)
                one, other = (clip_scores(trained, clips[rows]) for clips, rows in zip(seen[name], fold.test, strict=True))
                return one, other

            scores: dict[str, list] = {name: [] for name in pairs}
            for (name, _), of_fold in zip(jobs, each(score, jobs), strict=True):
                scores[name].append(of_fold)
                advance()
            for name, (one, other) in pairs.items():
                found[name, view.name] = cross_fitted_auc(folds[name], scores[name], one.patients, other.patients)
    return found


def flat(found: dict[tuple[str, str], Auc], reasons: dict[str, str], views: Sequence[View]) -> dict:
    """The figures of `views` by their keys, with a reason (by the name of the pair) for those that are missing."""
    metrics = {}
    for name in dict.fromkeys([*_PAIRS, *(name for name, _ in found)]):
        for view in views:
            key = _key(name, view.name)
            if (name, view.name) in found:
                auc = found[name, view.name]
                metrics |= {key: auc.value, f"{key}_low": auc.low, f"{key}_high": auc.high}
            else:
                metrics |= {key: None, f"{key}_reason": reasons[name]}
    return metrics


def _key(pair: str, view: str) -> str:
    if pair in (_FLOOR_PAIR, *_UNSELECTED):
        return f"appearance.detectability_{view}_{pair}"
    return f"appearance.detectability_{view}" if not pair else f"appearance.detectability_{pair}_{view}"


def _without(reason: str, views: Sequence[View]) -> dict:
    return flat({}, dict.fromkeys(_PAIRS, reason), views)


def _too_few(one: pd.DataFrame, other: pd.DataFrame, of: str = "") -> str:
    """Why two sets cannot be compared; the empty string where they can."""
    clips = min(len(one), len(other))
    people = min(rows["patient"].nunique() for rows in (one, other))
    if clips < FEWEST:
        return f"{clips} clips a side{of}, {FEWEST} needed"
    return f"{people} patients a side with clips{of}, {PATIENTS} needed" if people < PATIENTS else ""


def _alike(wanted: pd.DataFrame, offered: pd.DataFrame) -> pd.DataFrame:
    return offered.iloc[matched(wanted["ef"].to_numpy(float), offered["ef"].to_numpy(float))]


def _count(rows: pd.DataFrame, fps: float) -> np.ndarray:
    """The frames (n,) of each clip at the common rate."""
    return ((rows["frames"].to_numpy(int) - 1) / _strides(rows, fps) + 1e-6).astype(int) + 1


def _strides(rows: pd.DataFrame, fps: float) -> np.ndarray:
    """Frames (n,) of each clip to one at the common rate; 1 for a clip that is slower."""
    return np.maximum(rows["fps"].to_numpy(float) / fps, 1.0)


def _places(length: int, count: int, stride: float, rng: np.random.Generator) -> np.ndarray:
    """Which frames are read of a clip of `length` frames, `count` at the common rate: stills evenly over it, then pieces that begin anywhere."""
    stills = ((np.arange(STILLS) + 0.5) * count / STILLS).astype(int)
    starts = rng.integers(0, max(count - OFFSETS[-1], 1), PIECES)
    places = np.concatenate([stills, (starts[:, None] + OFFSETS).ravel()])
    return np.minimum(np.round(places * stride).astype(int), length - 1)
