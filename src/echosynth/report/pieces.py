"""The pieces of the page: each reads what a stage left in the study folder and makes one figure, table or picture of it, or raises NotComputed with the reason."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from safetensors import safe_open

from echosynth.config import ScreenSection
from echosynth.records import RECORD
from echosynth.report import figures, pictures, redaction
from echosynth.report.facts import is_number
from echosynth.report.glossary import entry, show
from echosynth.report.pictures import NotComputed
from echosynth.report.redaction import Withheld
from echosynth.study import Study

TRAINED = {
    "autoencoder": "autoencoder",
    "image": "image model",
    "reid": "re-identification encoder",
    "video": "video model",
    "regressor": "EF regressor",
    "evaluation/tstr": "EF regressor on synthetic clips",
}


def _data(image: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(image).decode()


def _playing(clip: np.ndarray, fps: float, label: str, alt: str) -> dict[str, Any]:
    """A clip that plays, with a still for those who stop it, for print, and for readers who ask for less motion."""
    frames, fps = pictures.played(clip, fps)
    height, width = clip.shape[1:]
    return {"moving": _data(pictures.animated_webp(frames, fps)), "still": _data(pictures.still_webp(frames[0])), "label": label, "alt": alt, "height": height, "width": width}


def three_playing(clips: pd.DataFrame, asked: tuple[float, ...], kind: str) -> list[dict]:
    """Clips of a low, a middle and a high EF, playing."""
    return [_playing(s.clip, s.fps, f"EF {s.ef:.0f} %", f"A {kind} clip with a {s.level} EF of {s.ef:.0f} %, playing") for s in pictures.three_efs(clips, asked)]


def reconstructions(study: Study) -> list[dict]:
    """Held-out clips beside their reconstructions, in one picture each so that both play in step."""
    path = study.folder("autoencoder") / "examples.safetensors"
    if not path.exists():
        raise NotComputed("the autoencoder has left no examples")
    with safe_open(path, "numpy") as file:
        real, reconstructed = file.get_tensor("real"), file.get_tensor("reconstructed")
        fps = float((file.metadata() or {}).get("fps", 32.0))
    if not len(real):
        raise NotComputed("the autoencoder has left no examples")
    return [_playing(pair, fps, "real | reconstructed", "A real clip, left, and its reconstruction, right, playing") for pair in np.concatenate([real, reconstructed], axis=-1)[:3]]


def wall(clips: pd.DataFrame, kind: str) -> Markup:
    """36 stills of as many clips."""
    picture = pictures.wall(clips, rows=6, columns=6)
    height, width = picture.shape
    alt = f"Stills of {height // pictures.SIZE * (width // pictures.SIZE)} {kind} clips"
    return Markup('<img class="wall" src="{}" alt="{}" width="{}" height="{}">').format(_data(pictures.still_webp(picture)), alt, width, height)


def _table(study: Study, stage: str, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """A stage's table; raises NotComputed when it is not there, lacks a column, or has no row."""
    try:
        table = pd.read_parquet(study.folder(stage) / name)
    except FileNotFoundError:
        raise NotComputed(f"{stage}/{name} is not there") from None
    if missing := [column for column in columns if column not in table]:
        raise NotComputed(f"{stage}/{name} has no column {missing[0]!r}")
    if table.empty:
        raise NotComputed(f"{stage}/{name} has no row")
    return table


def ef_scatter(study: Study, metrics: Mapping[str, Any], prefix: str, columns: tuple[str, str], labels: tuple[str, str], colour: str) -> Markup:
    """EF read against EF known, of `evaluation/<prefix>.parquet`, with R2 and MAE written in."""
    if reason := metrics.get(f"{prefix}.r2_reason"):
        raise NotComputed(reason)
    table = _table(study, "evaluation", f"{prefix}.parquet", columns).dropna(subset=list(columns))
    if table.empty:
        raise NotComputed(f"evaluation/{prefix}.parquet has no complete row")
    notes = [f"{entry(key).label} {show(metrics[key], entry(key))}" for key in (f"{prefix}.r2", f"{prefix}.mae") if is_number(metrics.get(key))]
    return figures.scatter(*(table[column].to_numpy(float) for column in columns), *labels, "\n".join([*notes, f"n = {len(table)}"]), colour)


def bland_altman(study: Study, prefix: str) -> Markup:
    """Predicted minus true EF over their mean, of `evaluation/<prefix>.parquet`."""
    table = _table(study, "evaluation", f"{prefix}.parquet", ("ef", "predicted")).dropna()
    return figures.bland_altman(table["ef"].to_numpy(float), table["predicted"].to_numpy(float), figures.SYNTHETIC)


def calibration(study: Study, cohort: pd.DataFrame | None, public: bool) -> Markup:
    """True over predicted EF, of TRTR and of TSTR.

    `public` has groups of enough patients only, fewer of them if need be; raises Withheld where there cannot be one.
    """
    groups, bins = {}, 6
    enough = redaction.clips_of_enough(None if cohort is None else cohort[cohort["split"] == "TEST"])
    for name, prefix, colour in (("trained on real", "trtr", figures.REAL), ("trained on synthetic", "tstr", figures.SYNTHETIC)):
        table = _table(study, "evaluation", f"{prefix}.parquet", ("ef", "predicted")).dropna()
        groups[name] = (table["predicted"].to_numpy(float), table["ef"].to_numpy(float), colour)
        bins = min(bins, int(len(table) // enough)) if public else bins
    if not bins:
        raise Withheld(redaction.TOO_FEW)
    return figures.calibration(groups, bins)


def curve(study: Study, metrics: Mapping[str, Any]) -> Markup:
    """R2 of TSTR over the number of synthetic clips."""
    if not (study.folder("evaluation") / "curve.parquet").exists():
        raise NotComputed("this preset trains no regressors for it; evaluation.curve asks for them")
    table = _table(study, "evaluation", "curve.parquet", ("clips", "r2", "r2_low", "r2_high")).sort_values("clips")
    return figures.curve(*(table[name].to_numpy(float) for name in ("clips", "r2", "r2_low", "r2_high")), metrics.get("trtr.r2"))


def reached(study: Study, cohort: pd.DataFrame | None, public: bool) -> list[dict]:
    """Which strata of held-out real clips have synthetic neighbours.

    `public` has no counts, and no shares of strata that may have too few patients.
    """
    table = _table(study, "evaluation", "coverage.parquet", ("kind", "stratum", "clips", "covered", "by_real", "made"))
    enough = redaction.clips_of_enough(None if cohort is None else cohort[cohort["split"] != "TRAIN"]) if public else 0
    return [
        {
            "withheld": redaction.TOO_FEW if row.clips < enough else "",
            "stratum": row.stratum,
            "clips": "–" if public else f"{row.clips:,}",
            "covered": f"{row.covered * 100:.0f} %",
            "share": round(row.covered * 100, 1),
            "by_real": f"{row.by_real * 100:.0f} %",
            "made": f"{row.made * 100:.0f} %" if is_number(row.made) else "–",
            "missed": row.clips >= 5 and row.covered < 0.5 * row.by_real,
        }
        for row in table.itertuples()
    ]


def ef_histogram(real: pd.DataFrame | None, synthetic: pd.DataFrame | None, public: bool) -> Markup:
    """EFs of the cohort's training split beside those of the synthetic cohort.

    `public` joins bins in which the cohort has too few patients with their neighbours.
    """
    own, edges = "cohort, training split", np.arange(0, 101, 5)
    known = pd.DataFrame(columns=["split", "ef", "patient"]) if real is None else real
    trained = known[(known["split"] == "TRAIN") & known["ef"].notna()]
    groups = {own: (trained["ef"].to_numpy(float), figures.REAL)}
    groups |= {"synthetic": (synthetic["ef"].dropna().to_numpy(float), figures.SYNTHETIC)} if synthetic is not None else {}
    groups = {name: group for name, group in groups.items() if len(group[0])}
    if not groups:
        raise NotComputed("no clip has an EF")
    wider = {}
    if public and own in groups:
        wider[own] = redaction.merged_bins(groups[own][0], trained["patient"].to_numpy(), edges)
    return figures.shares(groups, "EF (%)", "share of the clips (%)", edges, wider=wider)


def loss(study: Study, stage: str) -> Markup:
    """The loss curve of a trained model."""
    path = study.folder(stage) / "training.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()] if path.exists() else []
    rows = [row for row in rows if is_number(row.get("loss"))]
    if not rows:
        raise NotComputed("no training log")
    return figures.loss_curve(np.array([row["step"] for row in rows], float), np.array([row["loss"] for row in rows], float), TRAINED[stage])


def screening(study: Study, sample: str) -> Markup:
    """Scores against the training gallery of held-out patients, planted copies and synthetic samples, with the line of rejection; `sample` is "image" or "video"."""
    scores = _table(study, "reid", "scores.parquet", ("kind", "sample", "score"))
    scores = scores[scores["sample"] == sample]
    groups = {
        "held-out patients": (scores.loc[scores["kind"] == "held-out calibration", "score"], figures.REAL),
        "planted copies": (scores.loc[scores["kind"] == "planted copy", "score"], figures.COPY),
    }
    try:
        made = _table(study, "synthetic", "screening.parquet", ("kind", "score"))
        groups[f"synthetic {sample}s"] = (made.loc[made["kind"] == sample, "score"], figures.SYNTHETIC)
    except NotComputed:
        pass  # the calibration alone is worth its picture
    groups = {name: (values.to_numpy(float), colour) for name, (values, colour) in groups.items() if len(values)}
    if not groups:
        raise NotComputed(f"reid/scores.parquet has no score of {sample}s")
    threshold = _said(study, "reid").get(f"threshold_{sample}")
    every = np.concatenate([values for values, _ in groups.values()])
    low, high = float(every.min()), float(every.max())
    line = (threshold, f"rejected above {threshold:.3f}") if is_number(threshold) else None
    return figures.shares(groups, "similarity to the nearest training frame (cosine)", "share of the samples (%)", np.linspace(low, max(high, low + 1e-3), 41), line)


def _said(study: Study, stage: str) -> dict[str, Any]:
    """The summary of a stage; empty where it is not done."""
    return study.summary(stage)["summary"] if (study.folder(stage) / RECORD).exists() else {}


def looked_at(every: int) -> str:
    """Which frames of a video the screening looks at, in words."""
    return "every frame" if every == 1 else f"one frame in {every}"


def planted(study: Study) -> list[dict]:
    """Of how many patients the two screenings catch the planted copies, by kind and strength, with intervals; shares rounded down."""
    rows = _said(study, "reid").get("planted")
    if not rows:
        raise NotComputed("no copies were planted")
    return [
        {
            "sample": row["sample"],
            "kind": f"{row['kind']} {row['strength']:g}",
            "mark": "near-copy" if row["near"] else "required" if row["required"] else "",
            "patients": f"{row['patients']:,}",
            "caught": f"{int(row['recall'] * 100 + 1e-9)} %",
            "interval": f"{row['low'] * 100:.0f} to {row['high'] * 100:.0f} %",
            "share": round(row["recall"] * 100, 1),
        }
        for row in rows
    ]


def warnings(study: Study) -> list[str]:
    """What the stages want the reader to know about how far their figures can be trusted."""
    return [str(_said(study, stage)["warning"]) for stage in ("reid", "regressor", "evaluation") if _said(study, stage).get("warning")]


def screenings(screen: ScreenSection) -> str:
    """Which screenings a candidate has to pass, in words."""
    if screen.protocol == "paper":
        told = "The anchor image of every candidate passes the published filter; finished videos are not screened."
    else:
        told = f"Every candidate passes two screenings: its anchor image first, then {looked_at(screen.every)} of the finished video."
    return told if screen.withhold else f"{told} Verdicts were noted alone: none left a clip out (screen.withhold is off)."


def screened(study: Study) -> list[dict]:
    """How many samples each of the two screenings saw and rejected."""
    table = _table(study, "synthetic", "screening.parquet", ("kind", "kept"))
    rows = []
    for kind, words in (("image", "still images, before they are animated"), ("video", f"finished videos, over {looked_at(study.config.screen.every)}")):
        kept = table.loc[table["kind"] == kind, "kept"].astype(bool)
        rows.append({"what": words, "seen": f"{len(kept):,}", "rejected": f"{(~kept).sum():,}", "share": f"{(~kept).mean() * 100:.1f} %" if len(kept) else "–"})
    return rows


def protocols(study: Study, public: bool) -> list[dict]:
    """The two protocols on the same images, as text; raises NotComputed where the published one was not measured.

    `public` leaves out the thresholds, which are scores of single patients.
    """
    said, table = _said(study, "reid"), _table(study, "synthetic", "screening.parquet", ("kind", "calibrated", "published"))
    if "published_tau" not in said:
        raise NotComputed("the stage reid has not measured the published filter")
    images = table[table["kind"] == "image"]

    def share(name: str) -> str:
        value, low, high = (said.get(f"{name}{end}") for end in ("", "_low", "_high"))
        return f"{value * 100:.1f} % ({low * 100:.1f} to {high * 100:.1f})" if is_number(value) else "–"

    withheld = f"withheld: {redaction.SCORES}"
    return [
        {
            "what": "rejects an image whose similarity",
            "calibrated": withheld if public else f"is above {said['threshold_image']:.3f} (cosine)",
            "published": withheld if public else f"reaches {said['published_tau']:.3f} (Pearson)",
        },
        {
            "what": "patients never seen, rejected: as expected",
            "calibrated": f"{said['level'] * 100:.1f} %",
            "published": f"{said['published_expected_false_rejection'] * 100:.1f} %",
        },
        {"what": "patients never seen, rejected: as measured", "calibrated": share("false_rejection_image"), "published": share("published_false_rejection")},
        {"what": "patients of whom every planted near-copy of an image is caught", "calibrated": share("planted_recall_image"), "published": share("published_planted_recall")},
        {
            "what": f"synthetic images rejected, of {len(images):,}",
            "calibrated": f"{(~images['calibrated'].astype(bool)).sum():,}",
            "published": f"{(~images['published'].astype(bool)).sum():,}",
        },
        {"what": "finished videos", "calibrated": f"screened over {looked_at(study.config.screen.every)}", "published": "not screened"},
        {"what": "decides in this study", "calibrated": "", "published": ""} | {("published" if study.config.screen.protocol == "paper" else "calibrated"): "yes"},
    ]


def motion(study: Study, synthetic: bool, public: bool) -> Markup:
    """Motion over time of a few clips, without their names.

    Both kinds have one scale, so that they compare; `public` takes it from the synthetic clips alone.
    """
    table = _table(study, "evaluation", "motion.parquet", ("kind", "clip", "time_s", "value"))
    mine = table[(table["kind"] == "synthetic") == synthetic]
    if mine.empty:
        raise NotComputed("no motion was measured for these clips")
    curves = [(clip["time_s"].to_numpy(float), clip["value"].to_numpy(float)) for _, clip in list(mine.groupby("clip", sort=False))[:4]]
    scale = mine if public else table
    low, high = float(scale["value"].min()), float(scale["value"].max())
    limits = (low, max(high, low + 1e-6))
    kind, colour = ("synthetic", figures.SYNTHETIC) if synthetic else ("cohort", figures.REAL)
    return figures.traces(curves, "motion", limits, colour, f"Motion over time of {len(curves)} {kind} clips.")
