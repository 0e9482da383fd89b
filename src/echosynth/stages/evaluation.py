"""The evidence of usefulness: does the synthetic cohort obey the EF, teach what the real one teaches, move and look alike?

Leaves metrics.json (flat keys with dots; null where a figure means nothing, with the reason beside it) and the tables of the plots: adherence, trtr, tstr, motion, temporal, coverage (.parquet, without names).
"""

import math
import time

import pandas as pd
import torch

from echosynth import processes
from echosynth.cohort.echonet import read_cohort
from echosynth.config import GeneratorNetwork, SynthesisSection
from echosynth.evaluation.compare import Volumes, compare
from echosynth.evaluation.hearts import of_real
from echosynth.evaluation.reconstruction import ef_of_reconstructions
from echosynth.files import write_json
from echosynth.generative.long_video import OVERLAP, STRIDE
from echosynth.metrics.encoders import InDomain
from echosynth.networks.autoencoder import Autoencoder
from echosynth.stages.start import cohort_of, trained
from echosynth.stages.synthesis import MEASURED
from echosynth.stages.unselected import cohort_of_unselected
from echosynth.study import Stage, Study, peak_memory_mb

SCREEN_FIGURES = ("false_rejection", "planted_recall", "worst_copy", "sensitivity", "specificity", "consistency")  # of the stage reid

SUMMARY = ("adherence.r2", "adherence.r2_unselected", "adherence.mae", "trtr.r2", "tstr.r2", "tstr.r2_unselected", "video.frechet", "video.frechet_floor")


def run(study: Study) -> dict:
    """The stage `evaluation`. The summary holds the main figures; all are in metrics.json."""
    start, folder, config = time.monotonic(), study.folder("evaluation"), study.config
    autoencoder = trained(study, "autoencoder", torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    synthetic = processes.on_first(lambda: read_cohort(study.verified("synthetic"), splits=False))
    found = compare(
        cohort_of(study),
        synthetic,
        config.evaluation,
        folder,
        study.verified("regressor"),
        config.seed,
        config.video.fps,
        _measured(study, synthetic.clips["name"]),
        seam_frames(config.video.network, config.synthesis),
        processes.on_first(lambda: cohort_of_unselected(study)),
        autoencoder,
    )

    def finish() -> dict:
        metrics = found | of_other_stages(study) | _of_reconstructions(study, autoencoder)
        earlier = study.summaries()
        metrics["seconds.total"] = round(sum(stage["seconds"] for stage in earlier) + time.monotonic() - start, 1)
        metrics["memory.peak_mb"] = max([peak_memory_mb(), *(stage["memory_mb"] for stage in earlier)])
        metrics = {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in metrics.items()}
        write_json(folder / "metrics.json", metrics)
        return {key: metrics[key] for key in SUMMARY if key in metrics}

    return processes.on_first(finish)


def _of_reconstructions(study: Study, autoencoder: Autoencoder) -> dict:
    device, section = next(autoencoder.parameters()).device, study.config.evaluation
    encoder = InDomain.open(study.verified("regressor"), section.network, device)
    found = ef_of_reconstructions(cohort_of(study), autoencoder, encoder.regressor, encoder.fps or study.config.video.fps, section.clips)
    return {f"autoencoder.{key}": value for key, value in found.items()}


def joins(network: GeneratorNetwork, options: SynthesisSection) -> tuple[int, ...]:
    """The frames of a synthetic clip at which its windows were joined; none for a clip of one window."""
    window, margin = network.frames, network.margin
    first, every = (window - margin, STRIDE) if options.long_videos == "windowed" else (window - 2 * margin, window - margin - OVERLAP)
    return tuple(range(first, options.frames, every))


def seam_frames(network: GeneratorNetwork, options: SynthesisSection) -> tuple[int, ...]:
    """The frames whose difference from the one before them a join may have changed: the first of a piece and, where one fades into the next (generative/long_video.py), those until it is by itself."""
    faded = 0 if options.long_videos == "windowed" else network.margin
    return tuple(frame for join in joins(network, options) for frame in range(join, min(join + faded + 1, options.frames)))


def _measured(study: Study, names: pd.Series) -> Volumes:
    summary = study.summary("segmentation")["summary"]
    if "dice" not in summary:
        return Volumes(reason=summary.get("reason", "no training clip has tracings"))
    synthetic = pd.read_parquet(study.verified("synthetic", MEASURED) / MEASURED).set_index("name").loc[names].reset_index()
    return Volumes(of_real(study.verified("segmentation")), synthetic)


def of_other_stages(study: Study) -> dict:
    """The figures that earlier stages measured."""
    autoencoder, reid, synthesis, segmentation = (study.summary(name)["summary"] for name in ("autoencoder", "reid", "synthetic", "segmentation"))
    return {
        **{f"autoencoder.{key}": autoencoder[key] for key in ("psnr", "ssim", "mae", "texture")},
        "reid.auc": reid["auc"],
        **{f"screen.{key}": value for key, value in reid.items() if key.startswith(SCREEN_FIGURES)},
        **{f"screen.{key}": synthesis[key] for key in ("attempts", "rejected_images", "rejected_videos", "missed_ef", "drawn_anew")},
        **{f"published.{key.removeprefix('published_')}": value for source in (reid, synthesis) for key, value in source.items() if key.startswith("published_")},
        **{f"segmentation.{key}": value for key, value in segmentation.items() if key in ("dice", "measured", "ef_r2", "ef_mae", "ef_bias")},
        "seconds.per_synthetic_clip": synthesis["seconds_per_clip"],
    }


STAGE = Stage("evaluation", inputs=("cohort", "autoencoder", "reid", "regressor", "segmentation", "synthetic", "unselected"), sections=("evaluation",), run=run, every_process=True)
