"""Does the screening see copies that were moved? Training clips of a cohort, copied in every way of privacy/planted.py, against a screen with the shipped networks.

python -m benchmarks.moved COHORT                        kinds and strengths: share caught over patients, of frames and of videos; false rejections; identity;
                                                         and how far each kind of copy lies from its original, beside how far strangers lie (benchmarks/null.py takes it from here)
python -m benchmarks.moved COHORT --encoder FOLDER       another re-identification encoder than the shipped one
python -m benchmarks.moved COHORT --motion               beats on another heart, by the encoder of motion (privacy/handmade.py); on a simulated cohort also rendered ones,
                                                         and how near the true volume curves of strangers come to each other

COHORT has TRAIN, VAL and TEST patients: they fill the gallery, calibrate, and measure. One clip a TRAIN patient is copied, so that copies are independent.
"""

import argparse
import dataclasses
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.fft import dct
from torch import Tensor

from echosynth.cohort.echonet import Cohort, read_cohort
from echosynth.cohort.latents import frame_indices
from echosynth.cohort.phantom import simulate_clip
from echosynth.cohort.video import read_clip, read_frames, to_square
from echosynth.config import ScreenSection
from echosynth.cores import each
from echosynth.metrics.temporal import resample
from echosynth.networks.autoencoder import Autoencoder, encode_clip
from echosynth.networks.reid import ReidEncoder
from echosynth.privacy.handmade import BAND, WINDOW, embed_motion
from echosynth.privacy.multiple import operating_point
from echosynth.privacy.neighbours import nearest, unit
from echosynth.privacy.pairs import pair_auc
from echosynth.privacy.planted import KINDS, VIDEO_KINDS, Kind, copies, transplant
from echosynth.privacy.screen import Rate, Screen, rate
from echosynth.progress import progress
from echosynth.randomness import numpy_rng
from echosynth.stages.reid import original

SIZE = 112
_AUC_FRAMES = 4
_CLIPS = "PH(\\d{4})(\\d{6})(\\d{2})"  # how a simulated cohort names its clips: seed, patient, visit


@dataclasses.dataclass(frozen=True)
class Eye:
    """A cohort and the networks that look at it."""

    cohort: Cohort
    autoencoder: Autoencoder
    encoder: ReidEncoder
    options: ScreenSection

    def split(self, name: str) -> pd.DataFrame:
        return self.cohort.split(name)

    @torch.inference_mode()
    def embed(self, frames: np.ndarray) -> Tensor:
        return self.encoder.embed(encode_clip(self.autoencoder, frames)).float().cpu()

    def embed_all(self, clips: pd.DataFrame, choose, title: str) -> list[Tensor]:
        """Embeddings (T, D) of some frames of each clip, `choose(row)` of them."""

        def of_clip(row) -> Tensor:
            return self.embed(to_square(read_frames(self.cohort.path(row.name), choose(row)), SIZE))

        found = []
        with progress(title, len(clips)) as advance:
            for one in each(of_clip, list(clips.itertuples(index=False)), self.autoencoder, self.encoder):
                found.append(one)
                advance()
        return found

    def at_rate(self, row) -> np.ndarray:
        frames, valid = frame_indices(0.0, self.options.calibration_frames, row.fps, self.options.fps, row.frames)
        return frames[valid][:: self.options.every]


def spread(row, count: int) -> np.ndarray:
    """`count` frames evenly over a clip."""
    count = min(count, row.frames)
    return ((np.arange(count) + 0.5) * row.frames / count).astype(int)


def screened(eye: Eye, patients: int) -> dict:
    """The screen's figures: identity, false rejections, and what is caught by kind and strength, of `patients` TRAIN patients."""
    options, train, held_out, test = eye.options, *(eye.split(name) for name in ("TRAIN", "VAL", "TEST"))
    gallery = torch.cat(eye.embed_all(train, lambda row: spread(row, options.gallery_frames), "gallery"))
    calibrating = eye.embed_all(held_out, eye.at_rate, "held-out patients")
    screen = Screen.fit(gallery, calibrating, held_out["patient"], options.alpha, options.every)
    strangers = eye.embed_all(test, eye.at_rate, "test patients")
    some = eye.embed_all(test, lambda row: spread(row, _AUC_FRAMES), "pairs of test patients")
    owner = np.repeat(np.arange(len(some)), [len(clip) for clip in some])
    auc = pair_auc(torch.cat(some), test["patient"].to_numpy()[owner], owner)
    lengths = {"image": 1, "video": -(-options.frames // options.every)}
    told = {"auc_visits": auc.visits, "auc_frames": auc.frames, "threshold": {name: screen.threshold(n) for name, n in lengths.items()}}
    told["false_rejection"] = {name: screen.false_rejection(strangers, test["patient"], n) for name, n in lengths.items()}
    caught, copied = planted(eye, screen, lengths, patients)
    return told | {"caught": caught, "distances": distances(screen, lengths, [screen.frame_scores(clip).numpy() for clip in strangers], copied)}


class Copied(NamedTuple):
    """One planted copy: its highest cosine with the gallery, and the cosine of its first frame with the frame that it was made from."""

    score: float
    original: float


def distances(screen: Screen, lengths: dict[str, int], strangers: list[np.ndarray], copied: dict[tuple[str, Kind], list[Copied]]) -> dict:
    """How near copies and strangers come, as cosines and as distances d = sqrt(2 - 2 cosine) in parts of the median distance of strangers to the gallery (TEST patients, all draws)."""
    found = {}
    for sample, frames in lengths.items():
        near = np.concatenate([np.lib.stride_tricks.sliding_window_view(clip, min(frames, len(clip))).max(1) for clip in strangers])
        middle = np.sqrt(2 - 2 * np.median(near))

        def row(cosines: Sequence[float], middle: float = middle) -> dict[str, float]:
            values = {"median": float(np.median(cosines)), "5 %": float(np.quantile(cosines, 0.05))}
            return values | {f"{name}, distance in parts": float(np.sqrt(max(2 - 2 * value, 0)) / middle) for name, value in values.items()}

        kinds = {kind: copies for (of, kind), copies in copied.items() if of == sample and (kind.near or kind.required)}
        line = operating_point([np.array([one.score for one in copies]) for kind, copies in kinds.items() if kind.near], near, np.full(len(near), 1.0), 0.95)
        found[sample] = {
            "strangers": {f"{100 * q:g} %": float(np.quantile(near, q)) for q in (0, 0.05, 0.5, 0.95, 1)},
            "line of the near-copies": row([line.threshold]),
            "to the original": {f"{kind.name} {kind.strength:g}": row([one.original for one in copies]) for kind, copies in kinds.items() if kind.name != "reversal"},
            "to the gallery": {f"{kind.name} {kind.strength:g}": row([one.score for one in copies]) for kind, copies in kinds.items()},
        }
    return found


def planted(eye: Eye, screen: Screen, lengths: dict[str, int], patients: int) -> tuple[dict[str, Rate], dict[tuple[str, Kind], list[Copied]]]:
    """The share of the patients whose copy is rejected, by sample, kind and strength, and how near the copies lie; a patient has one of each. What is mixed in is a TEST patient's."""
    options, train, strangers = eye.options, eye.split("TRAIN"), eye.split("TEST")
    chosen = train.iloc[numpy_rng(1, "moved").permutation(len(train))].drop_duplicates("patient").head(patients)

    @torch.inference_mode()
    def of_clip(place: int) -> dict:
        clip, other = chosen.iloc[place], strangers.iloc[place % len(strangers)]
        found = {}
        for sample, count, kinds in (("image", 1, KINDS), ("video", options.frames, (*KINDS, *VIDEO_KINDS))):
            rng = numpy_rng(1, f"moved copy {clip['name']}", count)
            source, stranger = (original(eye.cohort, one, count, options.fps, SIZE, rng) for one in (clip, other))
            first = eye.embed(source[:1])
            for kind, (made,) in copies([source], [rng], eye.autoencoder, kinds, [stranger]):
                seen = eye.embed(screen.looked_at(made))
                verdict = screen.verdict(seen, sample)
                found[sample, kind] = not verdict.kept, Copied(verdict.score, float(seen[0] @ first[0]))
        return found

    hits: dict[tuple[str, Kind], list[tuple[bool, Copied]]] = {}
    with progress("planted copies", len(chosen)) as advance:
        for found in each(of_clip, range(len(chosen)), eye.autoencoder, eye.encoder):
            for key, seen in found.items():
                hits.setdefault(key, []).append(seen)
            advance()
    caught = {f"{sample}, {kind.name} {kind.strength:g}": rate(sum(flag for flag, _ in seen), len(seen)) for (sample, kind), seen in hits.items()}
    return caught, {key: [copied for _, copied in seen] for key, seen in hits.items()}


def motion(cohort: Cohort, options: ScreenSection, patients: int) -> dict:
    """Beats of TRAIN clips on other hearts, by a screen of motion: the share caught, of transplants in pixels and of rendered ones, with false rejections of TEST patients."""
    clips = cohort.clips[cohort.clips["split"].isin(("TRAIN", "VAL", "TEST"))]
    moving: dict[str, np.ndarray] = {}
    rows: dict[str, Tensor] = {}
    with progress("motion", len(clips)) as advance:
        for row in clips.itertuples():
            clip, fps = read_clip(cohort.path(row.name))
            moving[row.name] = to_square(resample(clip, fps, options.fps), SIZE)[: options.frames + 16]
            if len(moving[row.name]) >= WINDOW * options.fps:
                rows[row.name] = embed_motion(moving[row.name], options.fps)
            advance()
    usable = clips[clips["name"].isin(rows)]
    train, held_out, test = (usable[usable["split"] == name] for name in ("TRAIN", "VAL", "TEST"))
    screen = Screen.fit(torch.cat([rows[name] for name in train["name"]]), [rows[name] for name in held_out["name"]], held_out["patient"], options.alpha)
    windows = len(rows[train["name"].iloc[0]])
    told = {"false_rejection": screen.false_rejection([rows[name] for name in test["name"]], test["patient"], windows), "windows": windows}
    chosen = train.drop_duplicates("patient").head(patients)
    made: dict[str, list[bool]] = {}
    site = _site(cohort)
    for place in range(len(chosen)):
        clip, other = chosen.iloc[place]["name"], test.iloc[place % len(test)]["name"]
        beats = {"transplant": transplant(moving[clip], moving[other])}
        if (rendered := _rendered(clip, other, site)) is not None:
            beats["rendered"] = to_square(resample(*rendered, options.fps), SIZE)
        for how, frames in beats.items():
            made.setdefault(how, []).append(not screen.verdict(embed_motion(frames, options.fps)).kept)
    told["caught"] = {how: rate(sum(flags), len(flags)) for how, flags in made.items()}
    return told | _true_courses(cohort, train, test, options)


def _site(cohort: Cohort) -> str | None:
    """Where a simulated cohort was examined; None where it is not simulated, or not in one place."""
    path = cohort.root / "truth.parquet"
    sites = pd.read_parquet(path, columns=["site"])["site"].unique() if path.exists() else []
    return str(sites[0]) if len(sites) == 1 else None


def _rendered(clip: str, other: str, site: str | None) -> tuple[np.ndarray, float] | None:
    """The heart of one simulated clip with the rhythm of another, at the simulator's rate; None where the cohort is not simulated."""
    found = [re.fullmatch(_CLIPS, name) for name in (clip, other)]
    if site is None or not all(found):
        return None
    source, heart = (simulate_clip(*map(int, one.groups()), site_name=site) for one in found)
    return dataclasses.replace(heart, rhythm=source.rhythm, time=source.time).frames(), heart.site.fps


def _true_courses(cohort: Cohort, train: pd.DataFrame, test: pd.DataFrame, options: ScreenSection) -> dict:
    """How near the true volume curve of a TEST clip comes to that of some TRAIN clip, in the terms of `embed_motion`: what a reader of motion without error would be up against."""
    path = cohort.root / "truth.parquet"
    if not path.exists():
        return {}
    volumes = pd.read_parquet(path, columns=["name", "volume"]).set_index("name")["volume"]

    def course(row) -> Tensor:
        curve = np.asarray(volumes[row.name], float)[:, None, None]
        curve = resample(curve, row.fps, options.fps)[:, 0, 0]
        length = round(WINDOW * options.fps)
        lowest, highest = (round(2 * WINDOW * edge) for edge in BAND)
        windows = np.lib.stride_tricks.sliding_window_view((curve - curve.mean()) / curve.std(), length)
        return unit(torch.from_numpy(dct(windows, norm="ortho", axis=1)[:, lowest : highest + 1] * np.arange(lowest, highest + 1)))

    gallery = torch.cat([course(row) for row in train.itertuples(index=False)])
    near = [float(nearest(course(row), gallery).scores.max()) for row in test.itertuples(index=False)]
    return {"true_courses_of_strangers": {f"{q}%": float(np.quantile(near, q / 100)) for q in (50, 90, 97)}}


def rounded(value):
    if isinstance(value, Rate):
        return f"{value.share:.3f} ({value.low:.3f}-{value.high:.3f}) of {value.count}"
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shipped = Path(str(files("echosynth"))) / "weights"
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--encoder", type=Path, default=shipped / "reid")
    parser.add_argument("--autoencoder", type=Path, default=shipped / "autoencoder")
    parser.add_argument("--patients", type=int, default=180, help="TRAIN patients who are copied")
    parser.add_argument("--alpha", type=float, default=0.03)
    parser.add_argument("--gallery-frames", type=int, default=ScreenSection().gallery_frames)
    parser.add_argument("--every", type=int, default=ScreenSection().every)
    parser.add_argument("--motion", action="store_true")
    given = parser.parse_args()
    cohort = read_cohort(given.cohort)
    options = ScreenSection(alpha=given.alpha, gallery_frames=given.gallery_frames, every=given.every)
    if given.motion:
        told = motion(cohort, options, given.patients)
    else:
        networks = Autoencoder.from_pretrained(given.autoencoder).eval(), ReidEncoder.from_pretrained(given.encoder).eval()
        told = screened(Eye(cohort, *networks, options), given.patients)
    print(json.dumps(rounded(told), indent=2))


if __name__ == "__main__":
    main()
