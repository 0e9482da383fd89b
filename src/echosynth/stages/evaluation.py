"""The evidence of usefulness: does the synthetic cohort obey the EF, teach what the real one teaches, move and look alike?

Leaves metrics.json (flat keys with dots; null where a figure means nothing, with the reason beside it) and the tables of the plots: adherence, trtr, tstr, motion, temporal (.parquet, without names).
"""

import hashlib
import math
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from echosynth import processes
from echosynth.cohort.echonet import Cohort, read_cohort
from echosynth.cohort.video import read_clip, to_square
from echosynth.files import atomic_file, read_json, write_json
from echosynth.metrics.ejection import agreement, bootstrap_interval, mae, patient_weights, r2, rmse
from echosynth.metrics.frechet import frechet_with_floor
from echosynth.metrics.temporal import beat, flicker, high_frequency_share, motion_trace, resample
from echosynth.metrics.texture import grey_levels, speckle_autocorrelation
from echosynth.networks.base import Network
from echosynth.networks.kinds import kind_of
from echosynth.progress import progress
from echosynth.randomness import numpy_rng
from echosynth.stages.start import cohort_of
from echosynth.study import Stage, Study, peak_memory_mb
from echosynth.training.regressor import read_clips, tidy, train_regressor

MOTION_CLIPS = 64  # of each kind, for the statistics of motion and texture
PLOTTED_CLIPS = 8  # of each kind, in motion.parquet


def run(study: Study) -> dict:
    """The stage `evaluation`. The summary holds the main figures; all are in metrics.json."""
    start, config, folder = time.monotonic(), study.config.evaluation, study.folder("evaluation")
    real = cohort_of(study)
    synthetic = processes.on_first(lambda: read_cohort(study.folder("synthetic"), splits=False))
    train = synthetic.split("TRAIN")
    videos = [(synthetic.path(name), ef) for name, ef in zip(train["name"], train["ef"], strict=True)]
    student = train_regressor(videos, config.network, config.training, folder / "tstr", study.config.seed, "TSTR regressor", config.pretrained)

    def finish() -> dict:
        metrics = usefulness(study, real, synthetic, student, folder)
        metrics |= likeness(real, synthetic, study.config.video.fps, folder)
        metrics |= of_other_stages(study)
        earlier = [read_json(path) for path in sorted(study.root.glob("*/stage.json"))]
        metrics["seconds.total"] = round(sum(stage["seconds"] for stage in earlier) + time.monotonic() - start, 1)
        metrics["memory.peak_mb"] = max([peak_memory_mb(), *(stage["memory_mb"] for stage in earlier)])
        metrics = {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in metrics.items()}
        tidy(folder / "tstr")
        write_json(folder / "metrics.json", metrics)
        return {key: metrics[key] for key in ("adherence.r2", "adherence.mae", "trtr.r2", "tstr.r2", "video.frechet", "video.frechet_floor")}

    return processes.on_first(finish)


def usefulness(study: Study, real: Cohort, synthetic: Cohort, student: Network, folder: Path) -> dict:
    """EF adherence, TRTR and TSTR, and the Frechet distance on the features of the regressor that was trained on real clips.

    Intervals are 95 % bootstrap over patients (each synthetic clip is a patient of its own); TRTR and TSTR share the draws, so their difference is paired.
    """
    seed, draws = study.config.seed, study.config.evaluation.bootstraps
    judge = kind_of(study.config.evaluation.network).from_pretrained(study.folder("regressor"))
    asked = synthetic.clips["ef"].to_numpy()
    judged = read_clips(judge, [synthetic.path(name) for name in synthetic.clips["name"]], "EF of synthetic clips")
    _table(folder / "adherence.parquet", asked=asked, measured=judged.ef)
    metrics = _flat("adherence", agreement(asked, judged.ef).as_dict())
    metrics |= _intervals("adherence", asked, judged.ef, patient_weights(np.arange(len(asked)), draws, numpy_rng(seed, "bootstrap adherence")))

    known = pd.read_parquet(study.folder("regressor") / "predictions.parquet")
    trtr = known[known["split"] == "TEST"]
    ef, taught_by_real = trtr["ef"].to_numpy(), trtr["predicted"].to_numpy()
    test = real.split("TEST")
    taught_by_synthetic = read_clips(student, [real.path(name) for name in test["name"]], "TSTR: EF of test clips").ef
    weights = patient_weights(trtr["patient"].to_numpy(), draws, numpy_rng(seed, "bootstrap test"))
    for name, predicted in (("trtr", taught_by_real), ("tstr", taught_by_synthetic)):
        _table(folder / f"{name}.parquet", ef=ef, predicted=predicted)
        metrics |= _flat(name, agreement(ef, predicted).as_dict()) | _intervals(name, ef, predicted, weights)
    metrics["tstr.r2_of_trtr"] = metrics["tstr.r2"] / metrics["trtr.r2"] if metrics["trtr.r2"] > 0 else math.nan
    metrics["tstr.mae_more_than_trtr"] = metrics["tstr.mae"] - metrics["trtr.mae"]
    low, high = bootstrap_interval(lambda y, p, w: mae(y, p, w) - mae(y, taught_by_real, w), ef, taught_by_synthetic, weights)
    metrics |= {"tstr.mae_more_than_trtr_low": low, "tstr.mae_more_than_trtr_high": high}

    held_out = real.clips[real.clips["split"].isin(("VAL", "TEST"))]
    of_real = read_clips(judge, [real.path(name) for name in held_out["name"]], "features of real clips")
    frechet = frechet_with_floor(of_real.features, held_out["patient"].to_numpy().astype(str), judged.features, seed)
    metrics |= {"video.frechet": frechet.distance, "video.frechet_floor": frechet.floor, "video.frechet_samples": frechet.samples}
    metrics["video.frechet_encoder"] = hashlib.sha256((study.folder("regressor") / "model.safetensors").read_bytes()).hexdigest()
    return metrics | ({"video.frechet_reason": frechet.reason, "video.frechet_floor_reason": frechet.reason} if frechet.reason else {})


def likeness(real: Cohort, synthetic: Cohort, fps: float, folder: Path) -> dict:
    """Beat, flicker, grey levels and speckle of held-out real and of synthetic clips, side by side at `fps` (or a clip's own rate, where that is lower)."""
    rows, traces = [], []
    held_out = real.clips[real.clips["split"].isin(("VAL", "TEST"))]
    sources = {"real": [real.path(name) for name in held_out["name"]], "synthetic": [synthetic.path(name) for name in synthetic.clips["name"]]}
    sources = {kind: _spread(paths, MOTION_CLIPS) for kind, paths in sources.items()}
    with progress("motion and texture", sum(map(len, sources.values()))) as advance:
        for kind, paths in sources.items():
            for number, path in enumerate(paths):
                clip, own = read_clip(path)
                clip, rate = resample(to_square(clip), own, fps), min(own, fps)
                trace = motion_trace(clip)
                found = beat(trace, rate)
                row = {"kind": kind, "clip": number, "beat_present": float(found.present), "beat_seconds": found.period, "beat_share": found.share, "motion_sd": float(trace.std())}
                row |= {"flicker": flicker(clip), "high_frequency_share": high_frequency_share(clip)}
                rows.append(row | _flat("grey", grey_levels(clip)) | _flat("speckle", speckle_autocorrelation(clip)))
                if number < PLOTTED_CLIPS:
                    traces.append(pd.DataFrame({"kind": kind, "clip": number, "time_s": np.arange(len(trace)) / rate, "value": trace}))
                advance()
    table = pd.DataFrame(rows)
    _table(folder / "temporal.parquet", **table)
    _table(folder / "motion.parquet", **pd.concat(traces))
    metrics = {}
    for kind, group in table.groupby("kind"):
        for name, values in group.drop(columns=["kind", "clip"]).items():
            room, _, figure = name.rpartition(".")
            metrics[f"{room or 'temporal'}.{kind}.{figure}"] = float(values.median() if name == "beat_seconds" else values.mean())
    return metrics


def of_other_stages(study: Study) -> dict:
    """The figures that earlier stages measured."""
    autoencoder, reid, synthesis = (study.summary(name)["summary"] for name in ("autoencoder", "reid", "synthetic"))
    return {
        **{f"autoencoder.{key}": autoencoder[key] for key in ("psnr", "ssim", "mae", "texture")},
        "reid.auc": reid["auc"],
        **{f"screen.{key}": value for key, value in reid.items() if key.startswith(("false_rejection", "planted_recall"))},
        **{f"screen.{key}": synthesis[key] for key in ("attempts", "rejected_images", "rejected_videos")},
        **{f"published.{key.removeprefix('published_')}": value for source in (reid, synthesis) for key, value in source.items() if key.startswith("published_")},
        "seconds.per_synthetic_clip": synthesis["seconds_per_clip"],
    }


def _intervals(name: str, truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> dict:
    found = {}
    for key, metric in (("r2", r2), ("mae", mae), ("rmse", rmse)):
        found[f"{name}.{key}_low"], found[f"{name}.{key}_high"] = bootstrap_interval(metric, truth, predicted, weights)
    return found


def _flat(name: str, values: dict) -> dict:
    return {f"{name}.{key}": value for key, value in values.items()}


def _spread(items: list, most: int) -> list:
    """At most `most` items, evenly over the list."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))]


def _table(path: Path, **columns: Iterable) -> None:
    with atomic_file(path) as partial:
        pd.DataFrame(columns).to_parquet(partial, index=False)


STAGE = Stage("evaluation", inputs=("cohort", "autoencoder", "reid", "regressor", "synthetic"), sections=("evaluation",), run=run, every_process=True)
