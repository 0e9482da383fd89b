"""Synthesis: images from noise, screened, animated at the EF asked for, screened again over all their frames, and written as an EchoNet-Dynamic cohort.

Place j of the cohort is filled by its own attempts alone: its EF, its noise and its name depend on (seed, j, attempt) and on nothing else. So a restart, another order
or another batch size gives the same bytes. The last bits of a matrix product depend on its shape, so networks always see one shape: one sample on a CPU, `GPU_GROUP` on
a GPU, with place j in row j % GPU_GROUP; `batch_size` says how many places are worked on together, and so what a kill loses.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from echosynth.cohort.echonet import SPLITS, Cohort, write_filelist, write_tracings
from echosynth.cohort.video import clip_writer
from echosynth.config import SynthesisSection
from echosynth.cores import each
from echosynth.errors import InputError
from echosynth.files import atomic_file, read_json, sweep, write_json
from echosynth.generative.objective import Generator, draw_images, stream_videos
from echosynth.networks.autoencoder import Autoencoder, decode_clip
from echosynth.networks.precision import precision_context
from echosynth.networks.reid import ReidEncoder
from echosynth.privacy.protocols import Protocol, Protocols
from echosynth.progress import progress
from echosynth.randomness import normal, numpy_rng, torch_rng
from echosynth.stages.regressor import Reader
from echosynth.stages.segmentation import segmenter_of
from echosynth.stages.start import cohort_of, trained
from echosynth.study import Stage, Study, peak_memory_mb
from echosynth.training.segmenter import measure_clips

GPU_GROUP = 8
MEASURED = "measured.parquet"
EF_JITTER = 1.0  # percent; no synthetic clip carries the very EF of a patient


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
    def open(cls, study: Study, device: torch.device, choosy: bool) -> "Models":
        networks = {name: trained(study, name, device) for name in ("autoencoder", "image", "video", "reid")}
        return cls(**networks, reader=Reader.of(study, device) if choosy else None, protocols=Protocols.load(study.folder("reid")), device=device)

    @property
    def networks(self) -> tuple[torch.nn.Module, ...]:
        return self.autoencoder, self.image, self.video, self.reid, *([self.reader.regressor] if self.reader else [])


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


def synthesize(study: Study, out: Path, options: SynthesisSection, seed: int, screening: Path | None = None) -> dict:
    """Fills the folder `out` with a synthetic cohort and returns the summary: counts, seconds, rejections, peak memory.

    Goes on from what an earlier, interrupted call with the same options left. `FileList.csv` is written last. The table of the screening
    (slot, attempt, kind, kept, the verdicts of both protocols (privacy/protocols.py) and, of videos, the EF read where there is a tolerance) goes to `screening`, by default
    `out/screening.parquet`. Raises InputError when a place cannot be filled within `synthesis.max_attempts` attempts.
    """
    cohort, config = cohort_of(study), study.config
    count = options.videos or len(cohort.clips)
    plan = make_plan(cohort, count, options.ef, seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    models = Models.open(study, device, options.ef_tolerance > 0)
    sweep(out / "Videos")
    journal = _Journal(out / "screening.jsonl", lambda slot: out / "Videos" / f"{plan.names[slot]}.avi")
    todo = [slot for slot in range(count) if slot not in journal.done]

    def fill(slots: list[int]) -> dict[int, list[dict]]:
        with precision_context(device, config.video.training.precision), torch.inference_mode():
            return _fill(models, slots, plan, options, config.screen.protocol, seed, config.video.fps, journal.clip)

    with progress("synthesis", count, len(journal.done)) as advance:
        last = time.monotonic()
        for filled in each(fill, [todo[first : first + options.batch_size] for first in range(0, len(todo), options.batch_size)], *models.networks):
            now = time.monotonic()
            journal.finish([{"slot": slot, "seconds": (now - last) / len(filled), "rows": rows} for slot, rows in filled.items()])
            last = now
            advance(len(filled))

    rows = pd.DataFrame([row for slot in sorted(journal.done) for row in journal.done[slot]["rows"]])
    with atomic_file(screening or out / "screening.parquet") as partial:
        rows.to_parquet(partial, index=False)
    size = 8 * models.image.config.size
    clips = pd.DataFrame(
        {"name": plan.names, "ef": plan.ef, "esv": np.nan, "edv": np.nan, "height": size, "width": size, "fps": config.video.fps, "frames": options.frames, "split": plan.split}
    )
    _measure(study, out, clips, options.ef_tolerance)
    journal.path.unlink()
    seconds = sum(entry["seconds"] for entry in journal.done.values())
    rejected = {kind: int((~rows["kept"] & (rows["kind"] == kind)).sum()) for kind in ("image", "video")}
    return {
        "videos": count,
        "frames": options.frames,
        "seconds": round(seconds, 3),
        "seconds_per_clip": round(seconds / count, 4),
        "attempts": int((rows["kind"] == "image").sum()),
        "rejected_images": rejected["image"],
        "rejected_videos": rejected["video"],
        "missed_ef": int((rows["kept"] & rows["missed_ef"]).sum()),
        "published_rejected": int((~rows["published"] & (rows["kind"] == "image")).sum()),
        "memory_mb": peak_memory_mb(),
    }


def _measure(study: Study, out: Path, clips: pd.DataFrame, tolerance: float) -> None:
    """Measures volumes and tracings where the study has a segmentation, says what is asked for and what is measured, and writes the list of the clips, last of all."""
    found = segmenter_of(study)
    if found is not None:
        segmenter, ml = found
        measured = measure_clips(segmenter, [out / "Videos" / f"{name}.avi" for name in clips["name"]], "volumes of synthetic clips", ml)
        with atomic_file(out / MEASURED) as partial:
            measured.clips.to_parquet(partial, index=False)
        write_tracings(out, measured.tracings)
        clips = clips.assign(edv=measured.clips["edv"].round(2), esv=measured.clips["esv"].round(2))
    with atomic_file(out / "README.md") as partial:
        partial.write_text(_README + (_CHOSEN.format(tolerance) if tolerance else _ANY_EF) + (_WITH_VOLUMES if found is not None else _WITHOUT_VOLUMES))
    write_filelist(out, clips)


_README = """# Synthetic echocardiograms

No clip shows a patient: all were made by generative models (echosynth). The layout is that of EchoNet-Dynamic.

- `EF` in FileList.csv is the ejection fraction, in percent, that a clip was **asked** to show.
"""
_ANY_EF = "  It was not measured.\n"
_CHOSEN = "  Clips off which a network, trained on the real clips, read an EF that was more than {:g} points away were left out and others drawn in their place.\n"
_WITH_VOLUMES = f"""- `ESV` and `EDV` (mL) and VolumeTracings.csv are **measured** on the finished clips by a segmentation network; nobody has traced them. They need not give the EF that was asked for. Millilitres
  rest on one mean pixel size, so they say little of how large a heart is. A clip without a beat that the network could find has none.
- `{MEASURED}` has, for each clip, the EF by these volumes (`ef`, in percent), and how much the volumes vary from beat to beat.
"""
_WITHOUT_VOLUMES = "- `ESV` and `EDV` are empty: no segmentation was trained.\n"


def _fill(models: Models, slots: list[int], plan: Plan, options: SynthesisSection, protocol: Protocol, seed: int, fps: float, clip: Callable[[int], Path]) -> dict[int, list[dict]]:
    """Draws, screens and writes the clips of some places, each to `clip(slot)`, and returns the rows of their screening.

    Each is tried again until the protocol that decides lets it pass, as an image and as a video (the published one asks only for the image), and it shows the EF asked for, where there is a
    tolerance: the mean of what the reader (stages/regressor.py) reads off the pieces that a video is drawn in.
    """
    image, group = models.image.config, GPU_GROUP if models.device.type == "cuda" else 1
    frame = (image.channels, image.size, image.size)
    rows = {slot: [] for slot in slots}

    def screened(slot: int, attempt: int, kind: str, embeddings: torch.Tensor) -> bool:
        verdicts = models.protocols.judge(embeddings, kind)
        kept = verdicts.calibrated if protocol == "calibrated" else verdicts.published or kind == "video"
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
                seen, read = {slot: [] for slot in row}, {slot: [] for slot in row}
                for part in animate(members, anchors, attempt):
                    for slot, i in row.items():
                        seen[slot].append(models.reid.embed(part[i]))
                        writers[slot].write(shown(slot, part[i], read[slot]))
                for slot, writer in writers.items():
                    passed, obedient = screened(slot, attempt, "video", torch.cat(seen[slot])), obeys(slot, read[slot])
                    if passed and read[slot]:
                        rows[slot][-1] |= {"ef_read": float(np.mean(read[slot])), "missed_ef": not obedient}
                    if passed and obedient:
                        kept.add(slot)
                    else:
                        writer.discard()
        pending = [slot for slot in pending if slot not in kept]
        attempt += 1
    return rows


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


class _Journal:
    """Which places are filled, one JSON line each, so that an interrupted synthesis goes on. A line counts when its clip is there too."""

    def __init__(self, path: Path, clip: Callable[[int], Path]):
        self.path, self.clip, self.done = path, clip, {}
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                break  # cut off in the middle of a line
            if clip(entry["slot"]).exists():
                self.done[entry["slot"]] = entry
        with atomic_file(path) as partial:
            partial.write_text("".join(json.dumps(entry) + "\n" for entry in self.done.values()))

    def finish(self, entries: list[dict]) -> None:
        with self.path.open("a") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in entries)
            file.flush()
            os.fsync(file.fileno())
        self.done |= {entry["slot"]: entry for entry in entries}


def release(study: Study, out: Path, options: SynthesisSection, seed: int) -> dict:
    """A synthetic cohort in a folder of its own, outside the study: the verb `synthesize`. Goes on where an interrupted call with the same options stopped.

    The table of the screening is private (scores leak what they compare with), so it lies beside the folder as `<OUT>.screening.parquet`.
    Raises InputError when `out` holds something else.
    """
    key = Study(study.root, study.config.model_copy(update={"synthesis": options.model_copy(update={"batch_size": 0}), "seed": seed})).key(STAGE)
    begun = out / "begun.json"
    if not (begun.exists() and read_json(begun)["key"] == key):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"--out {out}: exists and is not empty; give a new folder")
        write_json(begun, {"key": key})
    summary = synthesize(study, out, options, seed, out.with_name(out.name + ".screening.parquet"))
    begun.unlink()
    return summary


STAGE = Stage(
    "synthetic",
    inputs=lambda config: ("autoencoder", "latents", "image", "reid", "video", "segmentation", *(["regressor"] if config.synthesis.ef_tolerance else [])),
    sections=("synthesis", "screen"),
    run=lambda study: synthesize(study, study.folder("synthetic"), study.config.synthesis, study.config.seed),
)
