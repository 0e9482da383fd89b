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
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
import pandas as pd
import torch

from echosynth.cohort.check import FILELIST, TRACINGS, VIDEOS
from echosynth.cohort.echonet import SPLITS, Cohort, write_filelist, write_tracings
from echosynth.cohort.video import clip_writer
from echosynth.config import ScreenSection, SynthesisSection
from echosynth.cores import each
from echosynth.errors import InputError
from echosynth.files import PRIVATE_FILE, atomic_file, publish, sweep
from echosynth.folders import resumable_folder
from echosynth.generative.objective import Generator, draw_images, stream_videos
from echosynth.manifest import difference, entry_of
from echosynth.networks.autoencoder import Autoencoder, decode_clip
from echosynth.networks.precision import precision_context
from echosynth.networks.reid import ReidEncoder
from echosynth.privacy.protocols import Protocols
from echosynth.private import README
from echosynth.progress import progress, say
from echosynth.randomness import normal, numpy_rng, torch_rng
from echosynth.seals import Key
from echosynth.stages.budget import SPLIT_SHARES, private_ef_law
from echosynth.stages.regressor import Reader
from echosynth.stages.segmentation import segmenter_of
from echosynth.stages.start import cohort_of, trained
from echosynth.study import Stage, Study, peak_memory_mb
from echosynth.training.segmenter import measure_clips

GPU_GROUP = 8
MEASURED, SCREENING, JOURNAL = "measured.parquet", "screening.parquet", "screening.jsonl"
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
    def open(cls, study: Study, device: torch.device, options: SynthesisSection) -> "Models":
        networks = {name: trained(study, name, device) for name in ("autoencoder", "image", "video", "reid")}
        reader = None
        if options.ef_tolerance:
            reader = Reader.of(study, device) if options.reader == "study" else Reader.simulated(study.config.init, device)
        return cls(**networks, reader=reader, protocols=Protocols.load(study.verified("reid")), device=device)

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

    Resumes from what an earlier, interrupted call with the same options left. `FileList.csv` is written last. The table of the screening
    (slot, attempt, kind, kept, the verdicts of both protocols (privacy/protocols.py) and, of videos, the EF read where there is a tolerance) goes to `screening`, by default
    `out/screening.parquet`. Raises InputError when a place cannot be filled within `synthesis.max_attempts` attempts.
    """
    cohort, config = cohort_of(study), study.config
    count = options.videos or len(cohort.clips)
    plan = _private_plan(study, cohort, count, options.ef, seed) if config.dp.epsilon else make_plan(cohort, count, options.ef, seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    models = Models.open(study, device, options)
    sweep(out / "Videos")
    journal = _Journal(out / JOURNAL, lambda slot: out / "Videos" / f"{plan.names[slot]}.avi", study.seal_key)
    todo = [slot for slot in range(count) if slot not in journal.done]

    with progress("synthesis", count, len(journal.done)) as advance:
        last, guard = time.monotonic(), Lock()

        def finish(slot: int, rows: list[dict]) -> None:
            nonlocal last
            with guard:
                now = time.monotonic()
                journal.finish(slot, now - last, rows)
                last = now
                advance()

        def fill(slots: list[int]) -> None:
            with precision_context(device, config.video.training.precision), torch.inference_mode():
                _fill(models, slots, plan, options, config.screen, seed, config.video.fps, journal.clip, finish)

        groups = [todo[first : first + options.batch_size] for first in range(0, len(todo), options.batch_size)]
        for _ in each(fill, groups, *models.networks):
            pass

    rows = pd.DataFrame([row for slot in sorted(journal.done) for row in journal.done[slot]["rows"]])
    with atomic_file(screening or out / SCREENING, PRIVATE_FILE) as partial:
        rows.to_parquet(partial, index=False)
    size = 8 * models.image.config.size
    clips = pd.DataFrame(
        {"name": plan.names, "ef": plan.ef, "esv": np.nan, "edv": np.nan, "height": size, "width": size, "fps": config.video.fps, "frames": options.frames, "split": plan.split}
    )
    _measure(study, out, clips, options)
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


def _private_plan(study: Study, cohort: Cohort, count: int, ef: str, seed: int) -> Plan:
    """`make_plan` under differential privacy: splits in fixed shares, and EFs that are public or drawn by a noisy histogram (budget.py)."""
    plan = make_plan(cohort, count, "uniform" if ef == "private" else ef, seed)
    if ef == "private":
        draw = private_ef_law(study, cohort)
        plan = replace(plan, ef=np.array([round(draw(numpy_rng(seed, "ef", j)), 2) for j in range(count)]))
    return replace(plan, split=split_labels(SPLIT_SHARES, count, seed))


def _measure(study: Study, out: Path, clips: pd.DataFrame, options: SynthesisSection) -> None:
    """Measures volumes and tracings where the study has a segmentation, says what is asked for and what is measured, and writes the list of the clips, last of all."""
    found = segmenter_of(study)
    if found is not None:
        segmenter, ml = found
        measured = measure_clips(segmenter, [out / "Videos" / f"{name}.avi" for name in clips["name"]], "volumes of synthetic clips", ml)
        with atomic_file(out / MEASURED) as partial:
            measured.clips.to_parquet(partial, index=False)
        write_tracings(out, measured.tracings)
        clips = clips.assign(edv=measured.clips["edv"].round(2), esv=measured.clips["esv"].round(2))
    with atomic_file(out / README) as partial:
        chosen = _CHOSEN.format("real clips" if options.reader == "study" else "simulated hearts alone", options.ef_tolerance) if options.ef_tolerance else _ANY_EF
        partial.write_text(_README + chosen + (_WITH_VOLUMES if found is not None else _WITHOUT_VOLUMES))
    write_filelist(out, clips)


_README = """# Synthetic echocardiograms

No clip shows a patient: all were made by generative models (echosynth). The layout is that of EchoNet-Dynamic.

- `EF` in FileList.csv is the ejection fraction, in percent, that a clip was **asked** to show.
"""
_ANY_EF = "  It was not measured.\n"
_CHOSEN = "  Clips off which a network, trained on {}, read an EF that was more than {:g} points away were left out and others drawn in their place.\n"
_WITH_VOLUMES = f"""- `ESV` and `EDV` (mL) and VolumeTracings.csv are **measured** on the finished clips by a segmentation network; nobody has traced them. They need not give the EF that was asked for. Millilitres
  rest on one mean pixel size, so they say little of how large a heart is. A clip without a beat that the network could find has none.
- `{MEASURED}` has, for each clip, the EF by these volumes (`ef`, in percent), and how much the volumes vary from beat to beat.
"""
_WITHOUT_VOLUMES = "- `ESV` and `EDV` are empty: no segmentation was trained.\n"


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

    Each is tried again until the protocol that decides lets it pass, as an image and as a video (the published one asks only for the image; without `screen.withhold` all pass), and it shows the EF asked for, where there is a
    tolerance: the mean of what the reader (stages/regressor.py) reads off the pieces that a video is drawn in.
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


class _Journal:
    """Which places are filled, a JSON line each, so that an interrupted synthesis resumes.

    A line holds the hash of its clip and is sealed itself. A line that is damaged, or whose clip is, is named, and the place is filled again.
    """

    def __init__(self, path: Path, clip: Callable[[int], Path], key: Key):
        self.path, self.clip, self.done, self._key = path, clip, {}, key
        lines = path.read_bytes().splitlines() if path.exists() else []
        for number, line in enumerate(lines, start=1):
            entry, damage = self._read(line)
            if entry is not None:
                self.done[entry["slot"]] = entry
            elif damage and number < len(lines):  # the last line may be cut off by a kill
                say(f"{damage.format(where=f'{path} line {number}')}; the clip is made again")
        with atomic_file(path) as partial:
            partial.write_text("".join(self._line(entry) for entry in self.done.values()))

    def _read(self, line: bytes) -> tuple[dict | None, str]:
        try:
            entry = json.loads(line)
            seal = entry.pop("seal")
        except (ValueError, KeyError, AttributeError, RecursionError):
            return None, "{where}: damaged"
        if seal != self._key.digest(entry):
            return None, "{where}: changed since echosynth wrote it"
        if what := difference(self.clip(entry["slot"]), entry["clip"], full=True):
            return None, f"{self.clip(entry['slot'])}: {what} since it was finished"
        return entry, ""

    def _line(self, entry: dict) -> str:
        return json.dumps(entry | {"seal": self._key.digest(entry)}) + "\n"

    def finish(self, slot: int, seconds: float, rows: list[dict]) -> None:
        """Notes a place whose clip is written."""
        entry = {"slot": slot, "seconds": seconds, "rows": rows, "clip": entry_of(self.clip(slot))}
        with self.path.open("a") as file:
            file.write(self._line(entry))
            file.flush()
            os.fsync(file.fileno())
        self.done[slot] = entry


def release(study: Study, out: Path, options: SynthesisSection, seed: int) -> dict:
    """A synthetic cohort in a folder of its own, outside the study: the verb `synthesize`. Resumes where an interrupted call with the same options stopped.

    The table of the screening is private (scores leak what they compare with), so it lies beside the folder as `<OUT>.screening.parquet`.
    Raises InputError when `out` or that table is there already, or `out` lies in a study or a cohort.
    """
    asked = options.model_copy(update={"batch_size": 0})
    key = Study(study.root, study.config.model_copy(update={"synthesis": asked, "seed": seed})).key(STAGE)
    with resumable_folder(out, key, "--out", "synthesize") as folder:
        beside, made = out.resolve().with_name(out.resolve().name + ".screening.parquet"), folder / SCREENING
        if beside.exists() and not (folder / JOURNAL).exists():
            raise InputError(f"--out {out}: {beside} is there already, the table of another cohort of this name; move it, or give another folder")
        summary = synthesize(study, folder, options, seed)
        with atomic_file(folder / README) as partial:
            partial.write_text((folder / README).read_text() + _NOT_AUDITED)
        os.replace(made, beside)
        (folder / JOURNAL).unlink()
        publish(folder)
    return summary


_NOT_AUDITED = "- **Not audited**: nobody has looked for copies of patients in this folder. Do not share it; `echosynth audit` and `echosynth release` work on a study's own clips.\n"

STAGE = Stage(
    "synthetic",
    inputs=lambda config: ("autoencoder", "latents", "image", "reid", "video", "segmentation", *(["regressor"] if config.synthesis.ef_tolerance and config.synthesis.reader == "study" else [])),
    sections=("synthesis", "screen", "dp", "init"),
    public=(f"{VIDEOS}/*", FILELIST, TRACINGS, MEASURED, README),
    scratch=(JOURNAL,),
    run=lambda study: synthesize(study, study.folder("synthetic"), study.config.synthesis, study.config.seed),
)
