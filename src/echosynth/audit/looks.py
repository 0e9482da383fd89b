"""What an auditor sees of clips: real and synthetic ones are looked at in the same way, from their pixels, by four encoders.

None of them has learnt from a patient of the study, or members would lie apart from strangers for that reason alone: the siamese encoder as it was before the study's own training, two that nobody
trained (frames, motion), and one that taught itself on the release (pixels). Only the siamese encoder is of the kind that filtered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from echosynth.audit.pixels import embed_pixels, evenly
from echosynth.cohort.video import read_clip, to_square
from echosynth.metrics.temporal import resample
from echosynth.networks.autoencoder import Autoencoder, encode_clip
from echosynth.networks.reid import ReidEncoder
from echosynth.privacy.handmade import embed_handmade, embed_motion
from echosynth.privacy.neighbours import unit
from echosynth.progress import progress

EYES = ("siamese", "handmade", "pixels", "motion")


@dataclass(frozen=True)
class Looks:
    """Embeddings of some clips, rows of unit length end to end; `owner` says which clip each row is of. A clip too short to move (under two seconds) has no row of motion."""

    rows: dict[str, Tensor]  # by eye, float32 (N, D)
    owner: dict[str, np.ndarray]  # by eye, (N,) places of clips
    clips: int

    def of(self, eye: str, clip: int) -> Tensor:
        """The rows of one clip."""
        return self.rows[eye][torch.from_numpy(self.owner[eye] == clip)]

    def mean(self, eye: str) -> tuple[Tensor, np.ndarray]:
        """One row a clip that has any, its mean brought to unit length, and which clips these are."""
        return centroids(self.rows[eye], self.owner[eye])


def look(paths: Sequence[Path], siamese: tuple[Autoencoder, ReidEncoder] | None, pixels: ReidEncoder, size: int, fps: float, title: str, device: torch.device) -> Looks:
    """Looks at videos, at `fps` where theirs is higher, and `size` pixels a side. Raises InputError when one cannot be read. `siamese` is None where no such encoder is there that has learnt from no
    member: then there are no rows of it."""
    rows: dict[str, list[Tensor]] = {eye: [] for eye in EYES}
    with progress(title, len(paths)) as advance, torch.inference_mode():
        for path in paths:
            clip, own = read_clip(path)
            clip, rate = to_square(resample(clip, own, fps), size), min(own, fps)
            some = evenly(clip)
            rows["siamese"].append(siamese[1].embed(encode_clip(siamese[0], some).to(device)).float().cpu() if siamese else torch.empty(0, 0))
            rows["handmade"].append(embed_handmade(some))
            rows["pixels"].append(embed_pixels(pixels, some))
            try:
                rows["motion"].append(embed_motion(clip, rate))
            except ValueError:
                rows["motion"].append(torch.empty(0, 0))
            advance()
    owner = {eye: np.repeat(np.arange(len(paths)), [len(part) for part in parts]) for eye, parts in rows.items()}
    return Looks({eye: torch.cat([part for part in parts if len(part)] or [torch.empty(0, 1)]) for eye, parts in rows.items()}, owner, len(paths))


def centroids(rows: Tensor, owner: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """Means of the rows of each owner, of unit length, and the owners, ascending."""
    owners, number = np.unique(owner, return_inverse=True)
    sums = torch.zeros(len(owners), rows.shape[1]).index_add_(0, torch.from_numpy(number), rows.float())
    return unit(sums), owners
