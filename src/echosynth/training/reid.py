"""Training the re-identification encoder: supervised contrastive learning over patients.

A sample is one patient, seen twice: two frames of two clips where the cohort has several clips of that patient, else two frames of one clip. Each epoch shows every
patient once, in an order of its own, so the others in a batch are other patients; where an epoch ends inside a batch, or a batch holds more samples than there are
patients, the loss knows the same patient when it comes twice.

Most views are frames that a copier could have changed: moved, turned, enlarged, amplified, smoothed in their pixels (`moved_views`) and encoded by the autoencoder. A warp of
latents is not the same: the latents of a frame that was moved by three pixels are not moved latents.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from echosynth.cohort.latents import LatentStore
from echosynth.cohort.video import read_frames, to_square
from echosynth.cores import each
from echosynth.networks.autoencoder import Autoencoder, encode_clip
from echosynth.networks.reid import ReidEncoder
from echosynth.networks.resnet import Siamese
from echosynth.progress import progress
from echosynth.randomness import numpy_rng
from echosynth.training.fit import Training, fit

TEMPERATURE = 0.1
SHARP = 0.05  # temperature of the training on patients: what counts is the nearest stranger, so the loss looks at the nearest most
OTHER_CLIP = 0.7  # how often the second view is of another clip, where there is one
MOVED = 0.7  # how often a view is a frame that was moved in its pixels, where there are such
SHIFT, TURN, ZOOM, LIGHT, BLUR, NOISE = 10.0, 10.0, (0.8, 1.25), 0.5, 2.0, 10.0  # at most, of 112 pixels, degrees, ratio, log of the gain, sd in pixels; sd of the noise's own sd in grey levels


def supervised_contrastive(embeddings: Tensor, patients: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """SupCon, L_out of Khosla et al. 2020 (NT-Xent where every patient has two views):

        mean over i of  -1/|P(i)| sum_{j in P(i)} log( exp(z_i z_j / t) / sum_{k != i} exp(z_i z_k / t) ),   P(i) = the other views of i's patient

    embeddings (N, D) of unit length, patients (N,) integers; every patient at least twice. Returns a scalar.
    """
    itself = torch.eye(len(patients), dtype=torch.bool, device=patients.device)
    logits = (embeddings @ embeddings.T / temperature).masked_fill(itself, -torch.inf)
    positive = (patients[:, None] == patients[None]) & ~itself
    log_p = F.log_softmax(logits, dim=1).masked_fill(~positive, 0.0)
    return -(log_p.sum(1) / positive.sum(1)).mean()


def contrastive_loss(
    encoder: ReidEncoder, batch: dict[str, Tensor], rng: torch.Generator, temperature: float = TEMPERATURE
) -> dict[str, Tensor]:
    """Loss over `views` (B, 2, C, h, w) of `patient` (B,); `nearest` is the share of views whose nearest neighbour in the batch is of the same patient."""
    views, patients = batch["views"], batch["patient"].repeat_interleave(batch["views"].shape[1])
    embeddings = encoder(views.flatten(0, 1))
    with torch.autocast(views.device.type, enabled=False):
        loss = supervised_contrastive(embeddings, patients, temperature)
        with torch.no_grad():
            nearest = (embeddings @ embeddings.T).fill_diagonal_(-2).argmax(1)
    return {"loss": loss, "nearest": (patients[nearest] == patients).float().mean()}


def siamese_loss(encoder: Siamese, batch: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """The published loss over `views` (B, 2, C, h, w): binary cross-entropy of pairs of one patient, and of as many pairs of two."""
    first, second = batch["views"].unbind(1)
    same = encoder(first, second)
    other = encoder(first, second.roll(1, 0))
    stranger = batch["patient"] != batch["patient"].roll(1, 0)
    logits, truth = torch.cat([same, other[stranger]]), torch.cat([torch.ones_like(same), torch.zeros_like(other[stranger])])
    return {"loss": F.binary_cross_entropy_with_logits(logits, truth), "right": ((logits > 0) == (truth > 0.5)).float().mean()}


class PatientViews:
    """Batches of views of the patients in some rows of a latent store; `batch(samples)` is a pure function of the sample counters.

    moved: (len(rows), K, C, h, w), latents of K frames of each of these clips that were moved in their pixels; None: there are no such views.
    """

    def __init__(self, store: LatentStore, rows: np.ndarray, seed: int, moved: Tensor | None = None):
        assert len(rows) and (moved is None or len(moved) == len(rows))
        self.store, self.seed, self.moved = store, seed, moved
        self.place = {int(row): place for place, row in enumerate(rows)}
        self.frames = store.index["frames"].to_numpy()
        _, number = np.unique(store.index["patient"].to_numpy()[rows].astype(str), return_inverse=True)
        self.clips = [rows[number == k] for k in range(number.max() + 1)]  # rows of the store, by patient

    def batch(self, samples: range) -> dict[str, Tensor]:
        drawn = [self._draw(sample) for sample in samples]
        views = torch.stack([view for _, pair, _ in drawn for view in pair])
        views = augment(views, [rng for _, _, rng in drawn])
        return {"views": views.unflatten(0, (len(drawn), 2)), "patient": torch.tensor([patient for patient, _, _ in drawn])}

    def _draw(self, sample: int) -> tuple[int, list[Tensor], np.random.Generator]:
        epoch, place = divmod(sample, len(self.clips))
        patient = int(numpy_rng(self.seed, "reid order", epoch).permutation(len(self.clips))[place])
        rng, clips = numpy_rng(self.seed, "reid sample", sample), self.clips[patient]
        first = second = int(rng.integers(len(clips)))
        if len(clips) > 1 and rng.random() < OTHER_CLIP:
            second = (first + int(rng.integers(1, len(clips)))) % len(clips)
        return patient, [self._view(int(row), rng) for row in clips[[first, second]]], rng

    def _view(self, row: int, rng: np.random.Generator) -> Tensor:
        if self.moved is not None and rng.random() < MOVED:
            of_clip = self.moved[self.place[row]]
            return of_clip[int(rng.integers(len(of_clip)))].float()
        return self.store.window(row, rng.integers(self.frames[row], size=1))[0]


def move(frames: np.ndarray, rngs: list[np.random.Generator]) -> np.ndarray:
    """Changes square frames uint8 (N, S, S) as a copier would, each by its own generator, and returns as many: shifted, turned, zoomed, amplified, smoothed, noise."""
    made = np.empty_like(frames)
    for frame, target, rng in zip(frames, made, rngs, strict=True):
        moved = _warped(frame.astype(np.float32), rng) * np.float32(np.exp(rng.uniform(-LIGHT, LIGHT)))
        if rng.random() < 0.5:
            moved = gaussian_filter(moved, rng.uniform(0, BLUR))
        noise = NOISE * abs(rng.standard_normal()) * (rng.random() < 0.5)
        target[:] = np.clip(np.rint(moved + np.float32(noise) * rng.standard_normal(frame.shape, dtype=np.float32)), 0, 255)
    return made


def _warped(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32 (S, S), shifted, turned and zoomed by amounts drawn evenly; black comes in."""
    side = len(frame)
    shift = rng.uniform(-SHIFT, SHIFT, 2) * 2 / 112
    angle, zoom = np.deg2rad(rng.uniform(-TURN, TURN)), np.exp(rng.uniform(*np.log(ZOOM)))
    c, s = np.cos(angle) / zoom, np.sin(angle) / zoom
    warp = torch.tensor([[[c, -s, shift[0]], [s, c, shift[1]]]], dtype=torch.float32)
    grid = F.affine_grid(warp, [1, 1, side, side], align_corners=False)
    return F.grid_sample(torch.from_numpy(frame)[None, None], grid, padding_mode="zeros", align_corners=False)[0, 0].numpy()


def moved_views(
    paths: Sequence[Path], lengths: Sequence[int], autoencoder: Autoencoder, count: int, size: int, seed: int
) -> Tensor:
    """Latents of moved frames of some clips, what `PatientViews` calls `moved`.

    Args:
        paths: The videos of N clips.
        lengths: Frames of each.
        autoencoder: What the latents of the study come from.
        count: Frames of a clip, K.
        size: Pixels a side of a frame that the autoencoder is given.
        seed: Frame k of clip i is the same whatever the others are.

    Returns:
        float16 (N, K, C, h, w).

    Raises:
        InputError: When a video cannot be read.
    """

    def of_clip(number: int) -> Tensor:
        rngs = [numpy_rng(seed, "reid moved", number, k) for k in range(count)]
        chosen = np.array([rng.integers(lengths[number]) for rng in rngs])
        frames, back = np.unique(chosen, return_inverse=True)
        return encode_clip(autoencoder, move(to_square(read_frames(paths[number], frames), size)[back], rngs)).cpu().half()

    views = []
    with progress("moved frames", len(paths)) as advance:
        for made in each(of_clip, range(len(paths)), autoencoder):
            views.append(made)
            advance()
    return torch.stack(views).contiguous()


def augment(views: Tensor, rngs: list[np.random.Generator]) -> Tensor:
    """Varies latent views (N, C, h, w) as another visit or a near-copy would: turned, zoomed and moved a little, channels rescaled, mixed and offset, noise.

    N is a multiple of len(rngs); generator k serves the k-th of equal runs of views. The pixels' own variations (a shift of one, gain, noise) move latents by less.
    """
    count, channels, height, width = views.shape
    each, rows = count // len(rngs), [rng.standard_normal((count // len(rngs), 6 + channels * (channels + 1)), dtype=np.float32) for rng in rngs]
    normal = torch.from_numpy(np.concatenate(rows))
    noise = torch.from_numpy(np.concatenate([rng.standard_normal((each, channels, height, width), dtype=np.float32) for rng in rngs]))

    angle, zoom, shift = 0.06 * normal[:, 0], torch.exp(0.04 * normal[:, 1]), 0.04 * normal[:, 2:4]  # radians, ratio, halves of the picture
    c, s = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    warp = torch.stack([torch.stack([c, -s, shift[:, 0]], 1), torch.stack([s, c, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(warp, list(views.shape), align_corners=False)
    views = F.grid_sample(views, grid, padding_mode="border", align_corners=False)

    mix = torch.eye(channels) + 0.05 * normal[:, 6 : 6 + channels * channels].view(-1, channels, channels)
    light = torch.exp(0.1 * normal[:, 4])[:, None, None, None]
    offset = 0.1 * normal[:, 6 + channels * channels :, None, None]
    level = 0.2 * normal[:, 5].abs()[:, None, None, None]
    return light * torch.einsum("nij,njhw->nihw", mix, views) + offset + level * noise


def train_reid(
    encoder: ReidEncoder | Siamese, store: LatentStore, training: Training, folder: Path, seed: int, moved: Tensor | None = None
) -> None:
    """Trains `encoder` in place on the TRAIN patients of `store`; afterwards it is in evaluation mode. Log and checkpoints in `folder` (fit).

    `moved`: of each TRAIN clip, in the order of the store, what `moved_views` gives.
    """
    rows = np.flatnonzero((store.index["split"] == "TRAIN").to_numpy())
    loss = siamese_loss if isinstance(encoder, Siamese) else partial(contrastive_loss, temperature=SHARP)
    fit(encoder, loss, PatientViews(store, rows, seed, moved).batch, training, folder, seed, "re-identification")


@torch.inference_mode()
def embed_frames(encoder: ReidEncoder | Siamese, latents: Tensor, batch_size: int = 256) -> Tensor:
    """(N, C, h, w), N >= 1 -> float32 (N, D) on the CPU, in batches of one size, the last one padded: a frame's embedding does not depend on how many there are."""
    device = next(encoder.parameters()).device
    padded = torch.cat([latents, latents[-1:].expand(-len(latents) % batch_size, *latents.shape[1:])])
    return torch.cat([encoder.embed(part.to(device)).cpu() for part in padded.split(batch_size)])[: len(latents)]
