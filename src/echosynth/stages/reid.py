"""Re-identification and screening: trains the encoder, calibrates the screen on held-out patients, and measures both on patients that neither has seen.

TRAIN patients teach the encoder and fill the gallery, VAL patients calibrate the screen, TEST patients measure the AUC and the false rejections, copies planted of TRAIN clips the recall.
The published filter stands beside it: its tau comes from first frames of TRAIN and TEST clips, as published, so its false rejections are measured on VAL patients.
Leaves config.json, model.safetensors and training.jsonl, calibration.safetensors and calibration.json (privacy/screen.py), published.safetensors, and scores.parquet and planted.parquet, which name nobody.
"""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from echosynth import processes
from echosynth.cohort.echonet import Cohort
from echosynth.cohort.latents import LatentStore, frame_indices
from echosynth.cohort.video import read_frames, to_square
from echosynth.config import ScreenSection
from echosynth.cores import each
from echosynth.files import atomic_file
from echosynth.networks.autoencoder import Autoencoder, encode_clip
from echosynth.networks.kinds import kind_of
from echosynth.networks.reid import ReidEncoder
from echosynth.privacy.pairs import pair_auc
from echosynth.privacy.planted import KINDS, VIDEOS, copies
from echosynth.privacy.published import PublishedScreen
from echosynth.privacy.screen import Rate, Screen, draws, rate
from echosynth.progress import console, progress
from echosynth.randomness import numpy_rng
from echosynth.stages.start import begin, cohort_of, store_of, trained
from echosynth.study import Stage, Study, all_but
from echosynth.training.reid import embed_frames, moved_views, train_reid

_AUC_CLIPS, _AUC_FRAMES = 500, 4  # the AUC looks at all pairs: clips at most, frames of each
_TOGETHER = 32  # clips embedded in one go
MOVED = "moved.safetensors"


def run(study: Study) -> dict:
    """The stage `reid`; its summary holds the AUC, the false-rejection rate and the recall on planted copies, with their intervals."""
    folder, config = study.folder("reid"), study.config
    store = store_of(study)
    encoder = begin(study, "reid", kind_of(config.reid.network), config.reid.network)
    train_reid(encoder, store, config.reid.training, folder, config.seed, _moved(study, store))
    return processes.on_first(lambda: _calibrate_and_measure(study, encoder, store, folder))


def _moved(study: Study, store: LatentStore) -> Tensor | None:
    """Latents of frames of the TRAIN clips that were moved in their pixels (training/reid.py); None where nothing is trained, or without.

    They are kept until the stage is done, so that an interrupted training resumes with the same ones.
    """
    config, path = study.config, study.folder("reid") / MOVED
    if not (config.reid.moved and config.reid.training.steps):
        return None

    def make() -> None:
        cohort, autoencoder = cohort_of(study), trained(study, "autoencoder", processes.state().device)
        clips, size = cohort.split("TRAIN"), 8 * config.reid.network.size
        views = moved_views(
            [cohort.path(name) for name in clips["name"]], clips["frames"].to_numpy(), autoencoder, config.reid.moved, size, config.seed
        )
        with atomic_file(path) as partial:
            save_file({"moved": views}, partial)

    processes.on_first(lambda: None if path.exists() else make())
    return load_file(path)["moved"]


def _calibrate_and_measure(study: Study, encoder: ReidEncoder, store: LatentStore, folder: Path) -> dict:
    encoder.save_pretrained(folder)
    options, seed = study.config.screen, study.config.seed
    split = store.index["split"].to_numpy()
    train, calibration, test = (np.flatnonzero(split == name) for name in ("TRAIN", "VAL", "TEST"))
    patients = store.index["patient"].to_numpy()

    gallery = _embed(encoder, store, train, [_spread(store, row, options.gallery_frames) for row in train], "gallery")
    held_out = _embed(encoder, store, calibration, [_at_rate(store, row, options) for row in calibration], "held-out patients")
    screen = Screen.fit(torch.cat(gallery), held_out, patients[calibration], options.alpha, options.every)
    lengths = {"image": 1, "video": _looked_at(options)}  # frames of a sample
    screen.save(folder)

    strangers = _embed(encoder, store, test, [_at_rate(store, row, options) for row in test], "test patients")
    some = test[:_AUC_CLIPS]
    spread = _embed(encoder, store, some, [_spread(store, row, _AUC_FRAMES) for row in some], "pairs of test patients")
    owner = np.repeat(some, [len(clip) for clip in spread])
    auc = pair_auc(torch.cat(spread), patients[owner], owner)
    rejections = {sample: screen.false_rejection(strangers, patients[test], frames) for sample, frames in lengths.items()}
    first = {
        name: torch.cat(_embed(encoder, store, rows, [np.zeros(1, int)] * len(rows), f"first frames, {name}")).cpu().numpy()
        for name, rows in (("train", train), ("calibration", calibration), ("test", test))
    }
    published = PublishedScreen.fit(first["train"], first["test"])
    published.save(folder)
    autoencoder = trained(study, "autoencoder", processes.state().device)
    planted = _plant(screen, published, encoder, autoencoder, cohort_of(study), store, train, options, seed)
    recall = {sample: _recall(planted[(planted["sample"] == sample) & planted["near"]]) for sample in ("image", "video")}
    with atomic_file(folder / "planted.parquet") as path:
        planted.to_parquet(path, index=False)
    with atomic_file(folder / "scores.parquet") as path:
        _score_table(screen, strangers, patients[test], planted, options).to_parquet(path, index=False)

    summary = {"auc": auc.frames if math.isnan(auc.visits) else auc.visits, "auc_visits": auc.visits, "auc_frames": auc.frames}
    # The headline is the worse of the two screenings that a synthetic clip goes through.
    summary |= _told("false_rejection", max(rejections.values())) | _told("planted_recall", min(recall.values()))
    summary |= {f"planted_patients_{sample}": found.count for sample, found in recall.items()} | {"planted_worst": _worst(planted[planted["near"]])}
    for sample, frames in lengths.items():
        summary |= _told(f"false_rejection_{sample}", rejections[sample]) | _told(f"planted_recall_{sample}", recall[sample]) | {f"threshold_{sample}": screen.threshold(frames)}
    summary |= _worst_copy(planted[planted["near"] | planted["required"]]) | _filter_quality(screen, planted, strangers, patients[test], lengths, seed)
    images = planted[(planted["sample"] == "image") & planted["near"]]
    summary |= {"published_tau": published.tau, "published_expected_false_rejection": published.expected_false_rejection}
    summary |= _told("published_false_rejection", _by_patient(~published.screen(first["calibration"]).kept, patients[calibration]))
    summary |= _told("published_planted_recall", _recall(images.assign(flagged=~images["published"])))
    columns = ["sample", "kind", "strength", "near", "required"]
    groups = planted.groupby(columns, sort=False)
    summary["planted"] = [
        dict(zip(columns, key, strict=True)) | dict(zip(("recall", "low", "high", "patients"), _recall(group), strict=True)) for key, group in groups
    ]
    summary |= {"gallery_frames": len(screen.gallery), "n_calibration": screen.n_patients, "n_test": rejections["image"].count, "level": screen.level}
    if not screen.enough:
        summary["warning"] = (
            f"the validation split has {screen.n_patients} patients: too few to reject at alpha = {options.alpha:g} (it takes {math.ceil(1 / options.alpha) - 1}); "
            f"the screen rejects what scores above all of them, a false-rejection rate of up to {screen.level:.1%}"
        )
        console.print(f"[bold red]Screening:[/] {summary['warning']}")
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in summary.items()}


def _told(name: str, measured: Rate) -> dict:
    return {name: measured.share, f"{name}_low": measured.low, f"{name}_high": measured.high}


def _filter_quality(
    screen: Screen, planted: pd.DataFrame, strangers: list[Tensor], patients: np.ndarray, lengths: dict[str, int], seed: int
) -> dict:
    """Sensitivity, specificity and consistency of the filter (arXiv 2510.01793), of images and of videos, each over patients, and of the two the lower one.

    Sensitivity: the share of the copies that have to be caught (near-copies and those moved, turned, smoothed) that are rejected. Specificity: the share of samples of TEST patients that
    are kept. Consistency: how often two halves of the calibration come to the same verdict (`Screen.agreement`), on both.
    """
    _, numbers = np.unique(patients.astype(str), return_inverse=True)
    scores, told, found = [screen.frame_scores(clip).numpy() for clip in strangers], {}, {}
    for sample, frames in lengths.items():
        tested, weights = draws(scores, numbers, frames)
        rejected = float(weights[screen.rejects(screen.p_value(tested, frames))].sum())
        copied = planted[(planted["sample"] == sample) & (planted["near"] | planted["required"])]
        found["sensitivity", sample] = _by_patient(copied["flagged"].to_numpy(), copied["patient"].to_numpy())
        found["specificity", sample] = rate(weights.sum() - rejected, round(weights.sum()))
        if screen.n_patients > 1:
            of_copies = _by_patient(screen.agreement(copied["score"].to_numpy(), frames, seed), copied["patient"].to_numpy())
            agreed = float((weights * screen.agreement(tested, frames, seed)).sum())
            count = of_copies.count + round(weights.sum())
            found["consistency", sample] = rate(of_copies.share * of_copies.count + agreed, count)
    for figure in dict.fromkeys(name for name, _ in found):
        both = {sample: measured for (name, sample), measured in found.items() if name == figure}
        told |= _told(figure, min(both.values()))
        for sample, measured in both.items():
            told |= _told(f"{figure}_{sample}", measured)
    return told


def _by_patient(flags: np.ndarray, patients: np.ndarray) -> Rate:
    """Per patient the mean of `flags`, in [0, 1], over the samples, then the mean over patients."""
    shares = pd.Series(flags.astype(float)).groupby(patients.astype(str)).mean()
    return rate(float(shares.sum()), len(shares))


def _recall(planted: pd.DataFrame) -> Rate:
    """The share of patients of whom every copy in the table is caught: all kinds and all clips. Copies of one patient are not independent, patients are."""
    caught = planted.groupby("patient")["flagged"].all()
    return rate(int(caught.sum()), len(caught))


def _worst(planted: pd.DataFrame) -> dict:
    """The kind that is caught of the fewest patients, with its recall."""
    groups = {key: _recall(group) for key, group in planted.groupby(["sample", "kind", "strength"], sort=False)}
    (sample, kind, strength), found = min(groups.items(), key=lambda item: item[1].share)
    return {"sample": sample, "kind": f"{kind} {strength:g}", "recall": found.share, "low": found.low, "high": found.high}


def _worst_copy(planted: pd.DataFrame) -> dict:
    """`_worst` of the kinds that have to be caught, as flat figures."""
    worst = _worst(planted)
    ends = {"worst_copy": "recall", "worst_copy_low": "low", "worst_copy_high": "high"}
    return {key: worst[name] for key, name in ends.items()} | {"worst_copy_kind": f"{worst['kind']}, {worst['sample']}s"}


def _spread(store: LatentStore, row: int, count: int) -> np.ndarray:
    """`count` frames evenly over a clip, or all of a shorter one."""
    frames = int(store.index["frames"].iloc[row])
    return ((np.arange(min(count, frames)) + 0.5) * frames / min(count, frames)).astype(int)


def _at_rate(store: LatentStore, row: int, options: ScreenSection) -> np.ndarray:
    """The frames of a clip that the screen looks at: at the rate of the synthetic videos, at most `calibration_frames` of them, and of these every `every`-th."""
    clip = store.index.iloc[row]
    frames, valid = frame_indices(0.0, options.calibration_frames, clip["fps"], options.fps, clip["frames"])
    return frames[valid][:: options.every]


def _looked_at(options: ScreenSection) -> int:
    """How many frames of a video of `options.frames` the screen looks at."""
    return -(-options.frames // options.every)


def _embed(encoder: ReidEncoder, store: LatentStore, rows: np.ndarray, frames: list[np.ndarray], title: str) -> list[Tensor]:
    """Embeddings (T, D) of some frames of each clip."""
    embeddings = []
    with progress(f"embedding: {title}", len(rows)) as advance:
        for first in range(0, len(rows), _TOGETHER):
            windows = [store.window(int(row), some) for row, some in zip(rows[first : first + _TOGETHER], frames[first : first + _TOGETHER], strict=True)]
            embeddings += embed_frames(encoder, torch.cat(windows)).split([len(window) for window in windows])
            advance(len(windows))
    return embeddings


def _plant(
    screen: Screen,
    published: PublishedScreen,
    encoder: ReidEncoder,
    autoencoder: Autoencoder,
    cohort: Cohort,
    store: LatentStore,
    train: np.ndarray,
    options: ScreenSection,
    seed: int,
) -> pd.DataFrame:
    """Screens copies of TRAIN clips, one clip a patient while there are patients enough: single frames of some, in all kinds and strengths, and windows of some, in the kinds that
    have to be caught.

    One row a copy: sample, patient (a number by order of choice, which names nobody), kind, strength, near, required, score, p, flagged, and `published`, whether the published filter
    would keep it by its first frame.
    """
    chosen, number = _patients_first(numpy_rng(seed, "planted").permutation(train), store.index["patient"].to_numpy())
    images, videos = chosen[: options.planted_images], chosen[: options.planted_videos]
    clips = cohort.clips.set_index("name", drop=False)

    def screened(group: tuple[str, np.ndarray]) -> list[tuple]:
        sample, places = group
        count, kinds = (1, KINDS) if sample == "image" else (options.frames, VIDEOS)
        rngs = [numpy_rng(seed, "planted copy", int(row), count) for row in places]
        originals = [original(cohort, clips.loc[store.index["name"].iloc[row]], count, options.fps, 8 * encoder.config.size, rng) for row, rng in zip(places, rngs, strict=True)]
        found = []
        for kind, made in copies(originals, rngs, autoencoder, kinds):
            made = [screen.looked_at(clip) for clip in made]
            latents = encode_clip(autoencoder, np.concatenate(made))
            for row, embeddings in zip(places, embed_frames(encoder, latents).split([len(clip) for clip in made]), strict=True):
                verdict = screen.verdict(embeddings, sample)
                kept_by_published = bool(published.screen(embeddings[:1].cpu().numpy()).kept[0])
                found.append(
                    (sample, number[row], kind.name, float(kind.strength), kind.near, kind.required, verdict.score, verdict.p, not verdict.kept, kept_by_published)
                )
        return found

    groups = [(sample, some[first : first + size]) for sample, some, size in (("image", images, _TOGETHER), ("video", videos, 1)) for first in range(0, len(some), size)]
    rows = []
    with progress("planted copies", len(images) + len(videos)) as advance:
        for (_, places), found in zip(groups, each(screened, groups, encoder, autoencoder), strict=True):
            rows += found
            advance(len(places))
    return pd.DataFrame(rows, columns=["sample", "patient", "kind", "strength", "near", "required", "score", "p", "flagged", "published"])


def _patients_first(rows: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
    """`rows` of the store with one clip of every patient first, then the second ones, and so on; and the number of each row's patient, by first appearance."""
    order = pd.DataFrame({"row": rows, "patient": patients[rows]})
    order = order.iloc[np.argsort(order.groupby("patient").cumcount().to_numpy(), kind="stable")]
    return order["row"].to_numpy(), dict(zip(order["row"].tolist(), pd.factorize(order["patient"])[0].tolist(), strict=True))


def original(cohort: Cohort, clip: pd.Series, count: int, fps: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """`count` frames at `fps` of a clip of the cohort (name, frames, fps), from a random moment on (fewer of a shorter clip), uint8 (T, size, size): what copies are made of."""
    room = max((clip["frames"] - 1) / clip["fps"] - (count - 1) / fps, 0.0)
    frames, valid = frame_indices(rng.uniform(0, room), count, clip["fps"], fps, clip["frames"])
    return to_square(read_frames(cohort.path(clip["name"]), frames[valid]), size)


def _score_table(screen: Screen, strangers: list[Tensor], patients: np.ndarray, planted: pd.DataFrame, options: ScreenSection) -> pd.DataFrame:
    """kind, sample, score, p: of held-out patients (those that calibrate have no p of their own) and planted copies. Sorted, so that not even the order names anyone."""
    _, numbers = np.unique(patients.astype(str), return_inverse=True)
    scores, tables = [screen.frame_scores(clip).numpy() for clip in strangers], []
    for sample, frames in (("image", 1), ("video", _looked_at(options))):
        tested, _ = draws(scores, numbers, frames)
        tables.append(pd.DataFrame({"kind": "held-out calibration", "sample": sample, "score": screen.calibration_scores(frames), "p": np.nan}))
        tables.append(pd.DataFrame({"kind": "held-out test", "sample": sample, "score": tested, "p": screen.p_value(tested, frames)}))
    copied = planted.loc[planted["near"], ["sample", "score", "p"]].assign(kind="planted copy")
    return pd.concat([*tables, copied[["kind", "sample", "score", "p"]]]).sort_values(["kind", "sample", "score"], ignore_index=True)


STAGE = Stage(
    "reid",
    inputs=("autoencoder", "latents"),
    sections=("reid", *all_but("screen", "protocol", "withhold"), "init"),
    run=run,
    every_process=True,
    scratch=(MOVED,),
)
