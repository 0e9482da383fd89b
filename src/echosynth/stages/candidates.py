"""Candidates for places of a synthetic cohort: drawn, screened, read, and kept or drawn anew.

Place j is filled by its own attempts alone: its EF, its noise and its name depend on (seed, j, attempt) and on nothing else. So a restart, another order
or another batch size gives the same bytes. The last bits of a matrix product depend on its shape, so networks always see one shape: one sample on a CPU,
`GPU_GROUP` on a GPU, with place j in row j % GPU_GROUP; `batch_size` says how many places are worked on together, and so what a kill loses.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch

from echosynth.cohort.video import clip_writer
from echosynth.config import ScreenSection, StudyConfig, SynthesisSection
from echosynth.cores import each
from echosynth.errors import InputError
from echosynth.generative.objective import Generator, draw_images, stream_videos
from echosynth.networks.autoencoder import Autoencoder, decode_clip
from echosynth.networks.precision import precision_context
from echosynth.networks.reid import ReidEncoder
from echosynth.privacy.protocols import Protocols
from echosynth.progress import progress
from echosynth.randomness import normal, torch_rng
from echosynth.stages.journal import Journal
from echosynth.stages.plan import Plan
from echosynth.stages.regressor import Reader
from echosynth.stages.start import trained
from echosynth.study import Study

GPU_GROUP = 8


@dataclass(frozen=True)
class Models:
    """Everything that synthesis draws with, on one device."""

    autoencoder: Autoencoder
    image: Generator
    video: Generator
    reid: ReidEncoder
    reader: Reader | None  # of the EF of what was drawn, where that may turn a clip away
    protocols: Protocols
    device: torch.device

    @classmethod
    def open(cls, study: Study, device: torch.device, options: SynthesisSection) -> "Models":
        networks = {name: trained(study, name, device) for name in ("autoencoder", "image", "video", "reid")}
        reader = None
        if options.ef_tolerance:
            reader = Reader.of(study, device) if options.reader == "study" else Reader.simulated(study.config.init, device)
        return cls(**networks, reader=reader, protocols=Protocols.load(study.verified("reid")), device=device)

    @property
    def networks(self) -> tuple[torch.nn.Module, ...]:
        return self.autoencoder, self.image, self.video, self.reid, *([self.reader.regressor] if self.reader else [])


def fill_places(
    models: Models, todo: list[int], count: int, plan: Plan, options: SynthesisSection, config: StudyConfig, seed: int, journal: Journal
) -> None:
    """Fills the places `todo`, of `count` in all, with clips where `journal` keeps them, on all cores; the journal notes each once it is whole.

    Raises InputError when a place cannot be filled within `options.max_attempts` attempts.
    """
    with progress("synthesis", count, count - len(todo)) as advance:
        last, guard = time.monotonic(), Lock()

        def finish(slot: int, rows: list[dict]) -> None:
            nonlocal last
            with guard:
                now = time.monotonic()
                journal.finish(slot, now - last, rows)
                last = now
                advance()

        def fill(slots: list[int]) -> None:
            with precision_context(models.device, config.video.training.precision), torch.inference_mode():
                _fill(models, slots, plan, options, config.screen, seed, config.video.fps, journal.clip, finish)

        groups = [todo[first : first + options.batch_size] for first in range(0, len(todo), options.batch_size)]
        for _ in each(fill, groups, *models.networks):
            pass


def _fill(
    models: Models,
    slots: list[int],
    plan: Plan,
    options: SynthesisSection,
    screen: ScreenSection,
    seed: int,
    fps: float,
    clip: Callable[[int], Path],
    finish: Callable[[int, list[dict]], None],
) -> None:
    """Draws, screens and writes the clips of some places, each to `clip(slot)`; `finish(slot, rows)` gets the rows of the screening of a place that is filled.

    Each is tried again until the protocol that decides lets it pass, as an image and as a video (the published one asks only for the image; without `screen.withhold` all pass), and it shows the EF
    asked for, where there is a tolerance: the mean of what the reader (stages/regressor.py) reads off the pieces that a video is drawn in.
    """
    image, group = models.image.config, GPU_GROUP if models.device.type == "cuda" else 1
    frame = (image.channels, image.size, image.size)
    rows = {slot: [] for slot in slots}

    def screened(slot: int, attempt: int, kind: str, embeddings: torch.Tensor) -> bool:
        verdicts = models.protocols.judge(embeddings, kind)
        kept = not screen.withhold or (verdicts.calibrated if screen.protocol == "calibrated" else verdicts.published or kind == "video")
        rows[slot].append({"slot": slot, "attempt": attempt, "kind": kind, "kept": kept, "missed_ef": False} | verdicts._asdict())
        return kept

    def obeys(slot: int, read: list[float]) -> bool:
        return not read or abs(float(np.mean(read)) - plan.ef[slot]) <= options.ef_tolerance

    def shown(slot: int, latents: torch.Tensor, read: list[float]) -> np.ndarray:
        """The frames uint8 (n, S, S) of a piece, whose EF is added to `read`. Of a clip in one piece that shows another EF only those that were read: decoding is most of what a clip costs."""
        if models.reader is None:
            return decode_clip(models.autoencoder, latents)
        every = models.reader.every(fps)
        some = decode_clip(models.autoencoder, latents[::every])
        read.append(models.reader.read(some, fps / every))
        others = np.arange(len(latents)) % every > 0
        if not others.any() or (len(latents) == options.frames and not obeys(slot, read)):
            return some
        frames = np.empty((len(latents), *some.shape[1:]), np.uint8)
        frames[~others], frames[others] = some, decode_clip(models.autoencoder, latents[others])
        return frames

    def animate(members: list[int], anchors: torch.Tensor, attempt: int) -> Iterator[torch.Tensor]:
        """Places and their latent frames (B, C, h, w) -> latent videos, piece by piece (B, n, C, h, w); places that are -1 only fill the shape."""
        ef = torch.tensor([[plan.ef[max(slot, 0)] / 100] for slot in members], dtype=torch.float32, device=models.device)
        window = (models.video.config.frames, *frame)

        def noise(k: int) -> torch.Tensor:
            return torch.stack([normal(seed, "video", slot, attempt, k, shape=window) for slot in members]).to(models.device)

        rngs = [torch_rng(seed, "video steps", slot, attempt) for slot in members]
        return stream_videos(models.video, noise, anchors, ef, options.frames, options.steps, options.guidance, rngs, options.long_videos == "windowed")

    pending, attempt = list(slots), 0
    while pending:
        if attempt == options.max_attempts:
            raise InputError(_given_up(pending[0], plan.ef[pending[0]], rows[pending[0]], options))
        images = {}
        for members, row in _groups(pending, group):
            noise = torch.stack([normal(seed, "image", slot, attempt, shape=frame) for slot in members]).to(models.device)
            drawn = draw_images(models.image, noise, options.image_steps, [torch_rng(seed, "image steps", slot, attempt) for slot in members])
            images |= {slot: drawn[i] for slot, i in row.items() if screened(slot, attempt, "image", models.reid.embed(drawn[i : i + 1]))}
        kept = set()
        for members, row in _groups(list(images), group):
            anchors = torch.stack([images.get(slot, next(iter(images.values()))) for slot in members])
            with ExitStack() as files:
                writers = {slot: files.enter_context(clip_writer(clip(slot), fps)) for slot in row}
                seen, read = {slot: [] for slot in row}, {slot: [] for slot in row}  # latents
                for part in animate(members, anchors, attempt):
                    for slot, i in row.items():
                        seen[slot].append(part[i])
                        writers[slot].write(shown(slot, part[i], read[slot]))
                for slot, writer in writers.items():
                    embeddings = models.reid.embed(models.protocols.calibrated.looked_at(torch.cat(seen[slot])))
                    passed, obedient = screened(slot, attempt, "video", embeddings), obeys(slot, read[slot])
                    if passed and read[slot]:
                        rows[slot][-1] |= {"ef_read": float(np.mean(read[slot])), "missed_ef": not obedient}
                    if passed and obedient:
                        kept.add(slot)
                    else:
                        writer.discard()
            for slot in kept & set(row):  # its file is whole now
                finish(slot, rows[slot])
        pending = [slot for slot in pending if slot not in kept]
        attempt += 1


def _given_up(slot: int, ef: float, rows: list[dict], options: SynthesisSection) -> str:
    missed = sum(row["missed_ef"] for row in rows)
    reasons = []
    if like := options.max_attempts - missed:
        reasons.append(
            f"{like} too like a training patient (the generators copy: train them for fewer steps or on more patients, or lower screen.alpha: fewer rejections, weaker screening)"
        )
    if missed:
        reasons.append(f"{missed} of another EF than {ef:g} % (raise synthesis.ef_tolerance, ask for EFs that the cohort has, or train the video model for more steps)")
    return f"synthesis: place {slot}: none of {options.max_attempts} candidates will do: " + ", ".join(reasons)


def _groups(slots: list[int], size: int) -> list[tuple[list[int], dict[int, int]]]:
    """Calls of one shape: for each, `size` members (slot j in row j % size, -1 in the rows that only fill the shape) and the row of each slot."""
    calls = []
    for number in sorted({slot // size for slot in slots}):
        row = {slot: slot % size for slot in slots if slot // size == number}
        at = {i: slot for slot, i in row.items()}
        calls.append(([at.get(i, -1) for i in range(size)], row))
    return calls
