"""Training the re-identification encoder: supervised contrastive learning over patients.

A sample is one patient, seen twice: two frames of two clips where the cohort has several clips of that patient, else two frames of one clip. Each epoch shows every
patient once, in an order of its own, so the others in a batch are other patients; where an epoch ends inside a batch, or a batch holds more samples than there are
patients, the loss knows the same patient when it comes twice.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from echosynth.cohort.latents import LatentStore
from echosynth.networks.reid import ReidEncoder
from echosynth.networks.resnet import Siamese
from echosynth.randomness import numpy_rng
from echosynth.training.fit import Training, fit

TEMPERATURE = 0.1
OTHER_CLIP = 0.7  # how often the second view is of another clip, where there is one


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


def contrastive_loss(encoder: ReidEncoder, batch: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """Loss over `views` (B, 2, C, h, w) of `patient` (B,); `nearest` is the share of views whose nearest neighbour in the batch is of the same patient."""
    views, patients = batch["views"], batch["patient"].repeat_interleave(batch["views"].shape[1])
    embeddings = encoder(views.flatten(0, 1))
    with torch.autocast(views.device.type, enabled=False):
        loss = supervised_contrastive(embeddings, patients)
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
    """Batches of views of the patients in some rows of a latent store; `batch(samples)` is a pure function of the sample counters."""

    def __init__(self, store: LatentStore, rows: np.ndarray, seed: int):
        assert len(rows)
        self.store, self.seed = store, seed
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
        pair = []
        for row in clips[[first, second]]:
            pair.append(self.store.window(int(row), rng.integers(self.frames[row], size=1))[0])
        return patient, pair, rng


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


def train_reid(encoder: ReidEncoder | Siamese, store: LatentStore, training: Training, folder: Path, seed: int) -> None:
    """Trains `encoder` in place on the TRAIN patients of `store`; afterwards it is in evaluation mode. Log and checkpoints in `folder` (fit)."""
    rows = np.flatnonzero((store.index["split"] == "TRAIN").to_numpy())
    loss = siamese_loss if isinstance(encoder, Siamese) else contrastive_loss
    fit(encoder, loss, PatientViews(store, rows, seed).batch, training, folder, seed, "re-identification")


@torch.inference_mode()
def embed_frames(encoder: ReidEncoder | Siamese, latents: Tensor, batch_size: int = 256) -> Tensor:
    """(N, C, h, w), N >= 1 -> float32 (N, D) on the CPU, in batches of one size, the last one padded: a frame's embedding does not depend on how many there are."""
    device = next(encoder.parameters()).device
    padded = torch.cat([latents, latents[-1:].expand(-len(latents) % batch_size, *latents.shape[1:])])
    return torch.cat([encoder.embed(part.to(device)).cpu() for part in padded.split(batch_size)])[: len(latents)]
