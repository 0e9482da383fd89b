"""Calibrated screening: is a synthetic sample closer to a training patient than a real stranger would be?

The score of a sample is the highest cosine between any of its frames and any frame of the train gallery. What score a stranger reaches is known from held-out patients,
who search the very same gallery. The conformal p-value of a score s (Vovk, Gammerman & Shafer 2005) compares the two:

    p(s) = (1 + #{held-out scores >= s}) / (n + 1)

If the sample is exchangeable with the held-out ones, as it is when the generator makes strangers, then P(p <= alpha) <= alpha with nothing assumed about the scores. So
rejecting at p <= alpha rejects at most a share alpha of good samples, on average over calibrations, whatever the encoder is worth; how many COPIES it catches
is another matter and has to be measured (privacy/planted.py).

What is exchangeable is patients, not frames: the frames and clips of one patient go together. So the unit is the patient, and every patient has one vote, shared out
among the draws that could have been taken from him (Lee, Barber & Willett 2023, hierarchical conformal prediction):

    p(s) = (1 + sum over the K patients of the share of the patient's draws with a score >= s) / (K + 1)

This is Vovk's p where each patient has one draw; with more it is as valid, and its level varies less from one calibration to the next. A draw is what the sample is: T
successive frames of a clip, at the frame rate of the synthetic videos. For an image T = 1 and the draws are the single frames; for a video of T frames, all windows of T
frames. A clip shorter than T is one draw, all of it: then the sample had more chances to come close than the held-out one, so the screen is stricter than alpha says,
never more lenient.

Successive frames are nearly the same picture, so a screen may look at every k-th frame only (`every`, `looked_at`): of held-out clips and of samples alike, which keeps them exchangeable.

The smallest p there is, is 1 / (K + 1). With so few patients that it exceeds alpha, nothing could ever be rejected at alpha; then the screen rejects at p = 1 / (K + 1), that
is, what scores above every held-out draw, and `level` (the false-rejection rate it stands for) tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy.stats import beta
from torch import Tensor

from echosynth.errors import InputError
from echosynth.files import atomic_file, read_json, write_json
from echosynth.privacy.neighbours import nearest
from echosynth.randomness import numpy_rng

_TOLERANCE = 1e-9  # p-values are sums of shares
_UNIT_TOLERANCE = 1e-3
_LONGEST = 1 + _UNIT_TOLERANCE  # no cosine is larger
Looked = TypeVar("Looked", Tensor, np.ndarray)


class Rate(NamedTuple):
    """A share with its Clopper-Pearson interval at 95 %, out of `count` independent units."""

    share: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Verdict:
    score: float  # highest cosine
    p: float
    kept: bool


class Screen:
    """The train gallery and the scores of held-out patients against it.

    gallery: float32 (N, D) of unit length. held_out: float32 (clips, F), the score of each frame of each held-out clip, NaN past its end. patients: (clips,) integers.
    alpha: the false-rejection rate asked for. every: one in so many frames of a video is looked at; `held_out` and all embeddings given are of those alone (`looked_at`).

        screen = Screen.fit(gallery, held_out_embeddings, patients, alpha=0.05)
        screen.verdict(embeddings, "video").kept
    """

    def __init__(self, gallery: Tensor, held_out: Tensor, patients: Tensor, alpha: float, every: int = 1):
        assert gallery.ndim == 2 and len(gallery) and held_out.ndim == 2 and len(held_out) == len(patients) > 0 and every > 0
        self.gallery, self.held_out, self.patients, self.alpha, self.every = gallery, held_out, patients, alpha, every
        self.n_patients = len(patients.unique())
        self.longest = gallery.norm(dim=1).max()  # of many samples, each by itself: a pass over the gallery saved
        self.level = max(alpha, 1 / (self.n_patients + 1))
        self._law = lru_cache(maxsize=64)(self._law_of)

    @classmethod
    def fit(cls, gallery: Tensor, held_out: Sequence[Tensor], patients: Sequence, alpha: float, every: int = 1) -> Self:
        """`held_out`: embeddings (T, D) of the successive frames of each held-out clip that are looked at, `patients`: whose clip it is (any label; only which are equal is kept)."""
        _, numbers = np.unique(np.asarray(patients).astype(str), return_inverse=True)
        scores = similarity(torch.cat(list(held_out)), gallery).split([len(clip) for clip in held_out])
        padded = torch.nn.utils.rnn.pad_sequence(list(scores), batch_first=True, padding_value=torch.nan)
        return cls(gallery.float().cpu().contiguous(), padded, torch.from_numpy(numbers), alpha, every)

    def looked_at(self, frames: Looked) -> Looked:
        """Of all frames (T, ...) of a video at the screen's rate those that it looks at: ceil(T / every)."""
        return frames[:: self.every]

    @property
    def enough(self) -> bool:
        """Are there patients enough for any p-value to be as low as alpha?"""
        return self.level <= self.alpha

    def frame_scores(self, embeddings: Tensor) -> Tensor:
        """(T, D) -> float32 (T,): each frame's highest cosine with the gallery."""
        return nearest(embeddings, self.gallery, longest=self.longest).scores[:, 0]

    def score(self, embeddings: Tensor) -> float:
        """The score of one sample, embeddings (T, D) of all its frames."""
        return float(self.frame_scores(embeddings).max())

    def p_value(self, scores: np.ndarray | float, frames: int) -> np.ndarray:
        """Conformal p-values of the scores of samples of `frames` frames; shape of `scores`."""
        values, tail = self._law(frames)
        p = (1 + tail[np.searchsorted(values, np.asarray(scores, np.float32), side="left")]) / (self.n_patients + 1)
        return np.minimum(p, 1.0)  # sums of shares miss 1 by a rounding

    def calibration_scores(self, frames: int) -> np.ndarray:
        """Scores of the held-out draws of `frames` frames, ascending; float32 (M,)."""
        return self._law(frames)[0]

    def one_draw_each(self, frames: int, rng: np.random.Generator) -> np.ndarray:
        """The score of one draw of `frames` frames of each held-out patient, taken at random; float (patients,)."""
        found = []
        for patient in self.patients.unique().tolist():
            clips = np.flatnonzero((self.patients == patient).numpy())
            row = self.held_out[int(rng.choice(clips))].numpy()
            scores = row[~np.isnan(row)]
            first = int(rng.integers(max(len(scores) - frames, 0) + 1))
            found.append(float(scores[first : first + frames].max()))
        return np.array(found)

    def rejects(self, p: np.ndarray | float) -> np.ndarray:
        return np.asarray(p) <= self.level + _TOLERANCE

    def threshold(self, frames: int) -> float:
        """A sample of `frames` frames is rejected when its score is above this."""
        values, tail = self._law(frames)
        rejected = self.rejects((1 + tail[np.searchsorted(values, values, side="right")]) / (self.n_patients + 1))  # just above each value
        return float(values[rejected.argmax()])

    def verdict(self, embeddings: Tensor, kind: str = "video") -> Verdict:
        """Of one sample, embeddings (T, D); `kind` is "image" (T must be 1) or "video"."""
        assert embeddings.ndim == 2 and kind in ("image", "video") and (kind == "video" or len(embeddings) == 1)
        score = self.score(embeddings)
        p = float(self.p_value(score, len(embeddings)))
        return Verdict(score, p, not self.rejects(p))

    def false_rejection(self, clips: Sequence[Tensor], patients: Sequence, frames: int) -> Rate:
        """How often strangers are rejected: per patient the share of the draws of `frames` frames that are, then the mean over patients.

        `clips`: embeddings (T, D) of real patients who are neither in the gallery nor in the calibration. The interval takes the patients as the independent units, each with
        a share between 0 and 1, which a binomial count of as many patients bounds from above in variance.
        """
        _, numbers = np.unique(np.asarray(patients).astype(str), return_inverse=True)
        scores, weights = draws([self.frame_scores(clip).numpy() for clip in clips], numbers, frames)
        rejected = float(weights[self.rejects(self.p_value(scores, frames))].sum())
        return rate(rejected, int(numbers.max()) + 1)

    def agreement(self, scores: np.ndarray, frames: int, seed: int, splits: int = 20) -> np.ndarray:
        """How often two calibrations come to the same verdict on samples: float64, shape of `scores`, each in [0, 1].

        The filters of synthetic images are inconsistent where a sample is kept or not by the luck of the seed (Koeken, Ziller, Knolle & Rueckert 2025, arXiv 2510.01793). Here the luck is
        in who calibrates. So the held-out patients are split in two halves at random, each half calibrates a screen of the same gallery, and the share of `splits` splits is counted in
        which both keep a sample or both reject it.

        Args:
            scores: Of samples of `frames` frames each.
            frames: How many frames of each were looked at.
            seed: Of the splits.
            splits: How many.

        Raises:
            ValueError: When there are fewer than two held-out patients.
        """
        if self.n_patients < 2:
            raise ValueError("one held-out patient cannot be split in two halves")
        agreed, names = np.zeros(np.shape(scores)), self.patients.unique()
        for number in range(splits):
            order = numpy_rng(seed, "screen halves", number).permutation(len(names))
            first = torch.isin(self.patients, names[torch.from_numpy(order[: len(names) // 2])])
            halves = [Screen(self.gallery, self.held_out[half], self.patients[half], self.alpha, self.every) for half in (first, ~first)]
            one, other = (half.rejects(half.p_value(scores, frames)) for half in halves)
            agreed += one == other
        return agreed / splits

    def _law_of(self, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Held-out scores of draws of `frames` frames, ascending (M,), and the weight of those from position i on (M + 1,)."""
        clips = [row[~np.isnan(row)] for row in self.held_out.numpy()]
        scores, weights = draws(clips, self.patients.numpy(), frames)
        order = np.argsort(scores, kind="stable")
        return scores[order], np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)

    def save(self, folder: Path) -> None:
        """Writes calibration.safetensors and calibration.json. They hold embeddings of patients: they never leave the study."""
        with atomic_file(folder / "calibration.safetensors") as path:
            save_file({"gallery": self.gallery, "held_out": self.held_out, "patients": self.patients}, path)
        write_json(folder / "calibration.json", {"alpha": self.alpha, "every": self.every})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Opens what `save` wrote; raises InputError when it is not there or broken."""
        try:
            tensors, options = load_file(folder / "calibration.safetensors"), read_json(folder / "calibration.json")
            alpha, every = float(options["alpha"]), options["every"]
            gallery, held_out, patients = tensors["gallery"], tensors["held_out"], tensors["patients"]
            if not (gallery.ndim == held_out.ndim == 2 and len(gallery) and len(held_out) == len(patients) > 0 and not held_out.isnan().all(1).any()):
                raise ValueError("shapes do not fit together")
            if not 0 < alpha < 1 or (held_out.abs() > _LONGEST).any() or not (isinstance(every, int) and every > 0):
                raise ValueError("a level, a score or a step is out of range")
            check_unit_rows(gallery)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise InputError(f"{folder}: no readable calibration of the screen ({str(error).splitlines()[0]}); run the stage reid again") from error
        return cls(gallery.float(), held_out.float(), patients.long(), alpha, every)


def check_unit_rows(gallery: Tensor) -> None:
    """Raises ValueError unless all rows (N, D) are finite and of unit length: others would look like nothing, and a copy would pass."""
    lengths = gallery.double().norm(dim=1)
    if not gallery.isfinite().all() or not ((lengths - 1).abs() < _UNIT_TOLERANCE).all():
        raise ValueError("the gallery is not of finite rows of unit length")


def similarity(embeddings: Tensor, gallery: Tensor, block: int | None = None) -> Tensor:
    """Highest cosine of each row of (N, D) with any row of the gallery (M, D), all of unit length: float32 (N,).

    Every pair is looked at, at most `block` x `block` at a time, and neither the block size nor the company shows (neighbours.py).
    """
    return nearest(embeddings, gallery, block=block).scores[:, 0]


def draws(clips: Sequence[np.ndarray], patients: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and weights of all draws of `frames` successive frames, from per-frame scores (T,) of each clip; the weights of one patient's draws add up to 1."""
    assert frames > 0
    maxima = [np.lib.stride_tricks.sliding_window_view(clip, min(frames, len(clip))).max(1) for clip in clips]
    owner = np.repeat(patients, [len(m) for m in maxima])
    return np.concatenate(maxima), 1 / np.bincount(owner)[owner]


def rate(hits: float, count: int, confidence: float = 0.95) -> Rate:
    """`hits` of `count` with the interval of Clopper & Pearson 1934 (beta quantiles, which also serve a sum of shares)."""
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, hits, count - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, count - hits)) if hits < count else 1.0
    return Rate(hits / count, low, high, count)
