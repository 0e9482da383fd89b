"""Training the generators: which frames of which clips they see, and what they are told about them.

A sample is a pure function of its counter (`Windows.batch`). The video model learns one thing in three settings, because a long video needs all of them: a window from an
anchor frame of the clip at a free phase; a window in which the anchor's place is known; and the continuation of a window's first frames.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from echosynth.cohort.latents import LatentStore, frame_indices
from echosynth.generative.objective import FEW, Generator, loss_of
from echosynth.networks.denoiser import Condition, Denoiser, DenoiserConfig
from echosynth.networks.precision import precision_context
from echosynth.progress import progress
from echosynth.randomness import numpy_rng, torch_rng
from echosynth.training.fit import Training, fit
from echosynth.training.private import Private

PLACED, PREFIX = 0.1, 0.25  # shares of the samples that know the anchor's place, or the window's first frames; the rest have the anchor alone, as most synthesis does
PREFIXES = (4, 8, 12, 16, 16, 16)  # frames; 16 is what long_video.py continues from
ANCHOR_INSIDE = 0.5  # how often the anchor is one of the window's frames rather than any of the clip's


class Windows:
    """Training samples for a denoiser of configuration `config` from some rows of a latent store; single frames where `config.frames` is 1.

    `balance` flattens the histogram of EFs: clips are drawn with weights density^-balance. EFs of a cohort pile up around 60 %, so without it (0) the model
    sees too few failing hearts to learn what EF 20 % looks like, and with all of it (1) the same few are seen over and over; 0.5 stands between.
    """

    def __init__(self, store: LatentStore, rows: np.ndarray, config: DenoiserConfig, seed: int, fps: float = 32.0, label_dropout: float = 0.1, balance: float = 0.5):
        assert len(rows) and config.labels <= 1
        self.store, self.rows, self.config, self.seed, self.fps, self.label_dropout = store, rows, config, seed, fps, label_dropout
        self.continues = isinstance(config, DenoiserConfig)  # the paper's model is never told frames at their place
        index = store.index.iloc[rows]
        self.ef, self.frames, self.source_fps = (index[column].to_numpy(float) for column in ("ef", "frames", "fps"))
        self.cumulative = np.cumsum(balancing_weights(self.ef, balance))
        self.patients = np.unique(index["patient"].to_numpy().astype(str), return_inverse=True)[1]  # their numbers, a clip each

    def batch(self, samples: range) -> dict[str, Tensor]:
        """Samples with these counters: data (B, T, C, h, w), labels (B, L) and weight (B, T); of videos also anchor (B, C, h, w) and mask (B, T) of known frames.

        A clip that ends within the window stands still from there on, and those frames have weight 0."""
        rngs = [numpy_rng(self.seed, "generator", sample) for sample in samples]
        drawn = [self._draw(self._clip(rng), rng) for rng in rngs]
        return {key: torch.stack([sample[key] for sample in drawn]) for key in drawn[0]}

    def of_patient(self, patient: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """A batch with one sample of this patient, from any of the clips."""
        drawn = self._draw(int(rng.choice(np.flatnonzero(self.patients == patient))), rng)
        return {key: value[None] for key, value in drawn.items()}

    def _draw(self, clip: int, rng: np.random.Generator) -> dict[str, Tensor]:
        return self._frame(clip, rng) if self.config.frames == 1 else self._video(clip, rng)

    def _clip(self, rng: np.random.Generator) -> int:
        return int(np.searchsorted(self.cumulative, rng.random() * self.cumulative[-1], side="right").clip(max=len(self.rows) - 1))

    def _label(self, clip: int, rng: np.random.Generator) -> Tensor:
        """(L,) EF in [0, 1], now and then NaN for the guidance's null."""
        dropped = rng.random() < self.label_dropout
        return torch.full((self.config.labels,), float("nan") if dropped else self.ef[clip] / 100, dtype=torch.float32)

    def _frame(self, clip: int, rng: np.random.Generator) -> dict[str, Tensor]:
        data = self.store.window(int(self.rows[clip]), rng.integers(int(self.frames[clip]), size=1))
        return {"data": data, "labels": self._label(clip, rng), "weight": torch.ones(1)}

    def _video(self, clip: int, rng: np.random.Generator) -> dict[str, Tensor]:
        count = self.config.frames
        length, rate = int(self.frames[clip]), self.source_fps[clip]
        room = max((length - 1) / rate - (count - 1) / self.fps, 0.0)  # seconds
        indices, valid = frame_indices(rng.uniform(0, room), count, rate, self.fps, length)
        inside = int(rng.integers(int(valid.sum())))  # a place in the window
        mode, prefix = rng.random() if self.continues else 1.0, int(rng.choice(PREFIXES))
        placed = mode < PLACED
        anchor = indices[inside] if placed or rng.random() < ANCHOR_INSIDE else rng.integers(length)
        known = np.zeros(count, bool)
        if placed:
            known[inside] = True
        elif mode < PLACED + PREFIX:
            known[: min(prefix, int(valid.sum()) - 1)] = True
        latents = self.store.window(int(self.rows[clip]), np.append(indices, anchor))
        return {
            "data": latents[:-1],
            "labels": self._label(clip, rng),
            "weight": torch.from_numpy((valid & ~known).astype(np.float32)),
            "anchor": latents[-1],
            "mask": torch.from_numpy(known),
        }


def balancing_weights(ef: np.ndarray, balance: float, width: float = 5.0) -> np.ndarray:
    """(n,) weights density^-balance of clips with these EFs in percent; density by a Gaussian kernel of `width` percent. Clips without an EF get the mean weight."""
    known = np.flatnonzero(~np.isnan(ef))
    weights = np.ones(len(ef))
    if len(known):
        grid = np.arange(0, 101)
        counts = np.bincount(np.clip(np.rint(ef[known]), 0, 100).astype(int), minlength=101)
        density = np.exp(-0.5 * ((grid[:, None] - grid) / width) ** 2) @ counts
        weights[known] = np.interp(ef[known], grid, density) ** -balance
        weights[known] /= weights[known].mean()
    return weights


def generator_loss(model: Generator, batch: dict[str, Tensor], rng: torch.Generator, slow: float = 0.0, shortcuts: float = 0.0) -> dict[str, Tensor]:
    """Loss of a batch of `Windows`; `slow` is the weight of slow errors, `shortcuts` the share of samples that teach large steps (objective.py)."""
    mask = batch.get("mask")
    condition = Condition(batch["labels"], batch.get("anchor"), None if mask is None else batch["data"], mask)
    return {"loss": loss_of(model, batch["data"], condition, batch["weight"], rng, slow, shortcuts)}


def measure_spread(model: Generator, windows: Windows, samples: int = 128) -> None:
    """Tells a new model how strong each temporal frequency is in its data (networks/bands.py)."""
    if isinstance(model, Denoiser):
        model.bands.measure(windows.batch(range(samples))["data"])


def train_generator(
    model: Generator, windows: Windows, training: Training, folder: Path, seed: int, title: str, slow: float = 0.0, shortcuts: float = 0.0, private: Private | None = None
) -> None:
    """Trains `model` in place; afterwards it is in evaluation mode. Log and checkpoints in `folder` (fit). A `private` training draws patients evenly, whatever the balance."""
    batch = private.batch(windows.of_patient) if private else windows.batch
    if private:
        private.choose(model)
    # diffusers' schedules are kept on the CPU, where a recording does not reach, and of a few samples each step tosses which are shortcuts.
    steady = isinstance(model, Denoiser) and training.batch_size >= FEW
    fit(model, partial(generator_loss, slow=slow, shortcuts=shortcuts), batch, training, folder, seed, title, private, steady=steady)


@torch.no_grad()
def held_out_loss(model: Generator, store: LatentStore, seed: int, training: Training, title: str, most: int = 96, **options) -> dict[str, float]:
    """{"loss_train", "loss_val"}: the loss on windows of TRAIN and of VAL clips, eight batches of the training but at most `most`. `options` go to `Windows`.

    Noise and times are the same for both, and clips are drawn evenly: a loss_val far above loss_train means that the model has learnt its clips by heart.
    A split without clips is left out.
    """
    samples = min(most, 8 * training.batch_size)
    device, size, losses = next(model.parameters()).device, min(16, samples), {}
    rows = {split: np.flatnonzero((store.index["split"] == split.upper()).to_numpy()) for split in ("train", "val")}
    with progress(f"{title}: held-out loss", 2 * (samples // size)) as advance, precision_context(device, training.precision):
        for split, chosen in rows.items():
            if not len(chosen):
                continue
            windows, total = Windows(store, chosen, model.config, seed, **{**options, "label_dropout": 0.0, "balance": 0.0}), 0.0
            for k in range(samples // size):
                batch = {key: value.to(device) for key, value in windows.batch(range(k * size, (k + 1) * size)).items()}
                total += float(generator_loss(model, batch, torch_rng(seed, "held-out", k))["loss"])
                advance()
            losses[f"loss_{split}"] = total / (samples // size)
    return losses
