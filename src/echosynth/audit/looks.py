"""What an auditor sees of clips: real and synthetic ones are looked at in the same way, from their pixels, by four encoders.

None of them has learnt from a patient of the study, or members would lie apart from strangers for that reason alone: the siamese encoder as it was before the
study's own training, two that nobody trained (frames, motion), and one that taught itself on the release (pixels). Only the siamese encoder is of the kind that filtered.

A clip of a held-out patient is also cut into pieces as long as the synthetic clips ("window"): what is compared with synthetic clips, one by one, has to be made as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from echosynth.audit.pixels import embed_pixels, evenly
from echosynth.cohort.video import read_clip, to_square
from echosynth.cores import each
from echosynth.metrics.temporal import resample
from echosynth.networks.autoencoder import Autoencoder, encode_clip
from echosynth.networks.reid import ReidEncoder
from echosynth.privacy.handmade import NoMotion, embed_handmade, embed_motion
from echosynth.privacy.neighbours import unit
from echosynth.progress import progress

EYES = ("siamese", "handmade", "pixels", "motion")
JUDGING = ("handmade", "motion")  # untrained and quick: they look at every clip
WINDOW = "window"  # the hand-made look at pieces of held-out clips


@dataclass(frozen=True)
class Looks:
    """Embeddings of some clips, rows of unit length end to end; `owner` says which clip each row is of, ascending. A clip too short to move (under two seconds) has no row of motion; `no_motion` says why,
    in the words of the first of them."""

    rows: dict[str, Tensor]  # by eye, float32 (N, D)
    owner: dict[str, np.ndarray]  # by eye, (N,) places of clips
    clips: int
    no_motion: str = ""

    def of(self, eye: str, clip: int) -> Tensor:
        """The rows of one clip."""
        first, last = np.searchsorted(self.owner[eye], [clip, clip + 1])
        return self.rows[eye][first:last]

    def mean(self, eye: str) -> tuple[Tensor, np.ndarray]:
        """One row a clip that has any, its mean brought to unit length, and which clips these are."""
        return centroids(self.rows[eye], self.owner[eye])

    def only(self, places: np.ndarray) -> "Looks":
        """The looks at some of the clips, `places` ascending, numbered anew."""
        number = np.full(self.clips, -1)
        number[places] = np.arange(len(places))
        kept = {eye: number[owner] >= 0 for eye, owner in self.owner.items()}
        return Looks(
            {eye: self.rows[eye][torch.from_numpy(keep)] for eye, keep in kept.items()},
            {eye: number[self.owner[eye][keep]] for eye, keep in kept.items()},
            len(places),
            self.no_motion,
        )


def look(
    paths: Sequence[Path],
    siamese: tuple[Autoencoder, ReidEncoder] | None,
    pixels: ReidEncoder,
    size: int,
    fps: float,
    title: str,
    device: torch.device,
    whole: np.ndarray | None = None,
    cut: np.ndarray | None = None,
    frames: int = 0,
) -> Looks:
    """Looks at videos, at `fps` where theirs is higher, and `size` pixels a side. Raises InputError when one cannot be read.

    Args:
        siamese: Autoencoder and encoder that learnt from no member; None where there are none, and then no rows of it.
        whole: bool (N,), which clips all four encoders look at; the others are for the judging ones alone. None means all.
        cut: bool (N,), which clips are also looked at in pieces of `frames` frames, for the eye `WINDOW`; a shorter clip is one piece.
    """
    eyes, none = (*EYES, *([WINDOW] if cut is not None else [])), torch.empty(0, 0)

    @torch.inference_mode()
    def seen(place: int) -> tuple[dict[str, Tensor], str]:
        clip, own = read_clip(paths[place])
        clip, rate = to_square(resample(clip, own, fps), size), min(own, fps)
        some, all_eyes = evenly(clip), whole is None or whole[place]
        found, reason = {"handmade": embed_handmade(some)}, ""
        try:
            found["motion"] = embed_motion(clip, rate)
        except NoMotion as error:
            reason = str(error)
        if all_eyes and siamese is not None:
            found["siamese"] = siamese[1].embed(encode_clip(siamese[0], some).to(device)).float().cpu()
        if all_eyes:
            found["pixels"] = embed_pixels(pixels, some)
        if cut is not None and cut[place]:
            found[WINDOW] = torch.cat([embed_handmade(evenly(piece)) for piece in pieces(clip, frames)])
        return found, reason

    reasons: list[str] = []
    rows: dict[str, list[Tensor]] = {eye: [] for eye in eyes}
    with progress(title, len(paths)) as advance:
        for found, reason in each(seen, range(len(paths)), pixels, *(siamese or ())):
            for eye in eyes:
                rows[eye].append(found.get(eye, none))
            reasons += [reason] if reason else []
            advance()
    owner = {eye: np.repeat(np.arange(len(paths)), [len(part) for part in parts]) for eye, parts in rows.items()}
    return Looks({eye: torch.cat([part for part in parts if len(part)] or [torch.empty(0, 1)]) for eye, parts in rows.items()}, owner, len(paths), next(iter(reasons), ""))


def pieces(clip: np.ndarray, frames: int) -> list[np.ndarray]:
    """A clip (T, H, W) in pieces of `frames` frames, from its first frame on, the rest left out; a shorter clip is one."""
    return [clip[first : first + frames] for first in range(0, len(clip) - frames + 1, frames)] or [clip]


def centroids(rows: Tensor, owner: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """Means of the rows of each owner, of unit length, and the owners, ascending."""
    owners, number = np.unique(owner, return_inverse=True)
    sums = torch.zeros(len(owners), rows.shape[1]).index_add_(0, torch.from_numpy(number), rows.float())
    return unit(sums), owners
