"""The verb `metrics`: two cohorts in two folders, and everything that is needed to compare them made in a third."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from echosynth import processes
from echosynth.cohort.echonet import Cohort, read_cohort
from echosynth.config import SegmentationSection, StudyConfig, preset
from echosynth.evaluation import hearts
from echosynth.evaluation.compare import Volumes, compare
from echosynth.evaluation.trainings import videos
from echosynth.files import write_json
from echosynth.folders import check_goal, resumable_folder
from echosynth.metrics.detectors import open_detector
from echosynth.run import configure
from echosynth.training.regressor import tidy, train_regressor
from echosynth.training.segmenter import measure_clips


def compare_folders(
    real: Path, synthetic: Path, out: Path, preset_name: str = "demo", regressor: Path | None = None, seed: int = 0, skip_bad: bool = False, options: list[str] | None = None
) -> dict:
    """All figures of `synthetic` against `real`, also in `out`/metrics.json; the networks and tables behind them lie in `out`. A second call resumes an interrupted one with the same cohorts and options.

    `regressor` is the folder of one that was trained on the real training split, of the preset's network; without it one is trained. Raises InputError for a bad cohort, option, detector or regressor, and when
    `out` holds something already or lies in a study or a cohort.
    """
    config = configure(preset(preset_name), seed, options=options)
    for option in config.evaluation.detectors:  # before anything takes long
        open_detector(option, config.evaluation.trust_detectors)
    check_goal(out, "--out")
    one, other = processes.on_first(lambda: (read_cohort(real, skip_bad), read_cohort(synthetic, splits=False)))
    dumped = config.model_dump(mode="json")
    recipe = [one.fingerprint, other.fingerprint, config.seed, dumped["evaluation"], dumped["segmentation"], str(regressor and regressor.resolve())]
    with ExitStack() as held:
        folder = processes.on_first(lambda: held.enter_context(resumable_folder(out, recipe, "--out", "metrics")))
        found = _compare(one, other, folder, config, regressor, seed)
        processes.on_first(lambda: write_json(folder / "metrics.json", found))
    return found


def _compare(real: Cohort, synthetic: Cohort, folder: Path, config: StudyConfig, regressor: Path | None, seed: int) -> dict:
    section = config.evaluation
    if regressor is None:
        regressor = folder / "regressor"
        train_regressor(videos(real, ("TRAIN",)), section.network, section.training, regressor, seed, "EF regressor", section.pretrained)
        processes.on_first(lambda: tidy(folder / "regressor"))
    measured, about = _measure(real, synthetic, config.segmentation, folder, seed)
    fps = float(min(np.median(real.clips["fps"]), np.median(synthetic.clips["fps"])))
    return compare(real, synthetic, section, folder, regressor, seed, fps, measured) | about


def _measure(real: Cohort, synthetic: Cohort, section: SegmentationSection, out: Path, seed: int) -> tuple[Volumes, dict]:
    """What a segmentation that is trained for it measures on both cohorts, and how good it is itself."""
    if not section.enabled:
        return Volumes(reason="segmentation.enabled is off"), {}
    found = hearts.train(real, section, out / "segmentation", seed)
    if isinstance(found, str):
        return Volumes(reason=found), {}
    segmenter, summary = found
    about = {f"segmentation.{key}": value for key, value in summary.items() if key in ("dice", "measured", "ef_r2", "ef_mae", "ef_bias")}
    if "dice" not in summary:
        return Volumes(reason="no training clip has tracings"), about
    paths = [synthetic.path(name) for name in synthetic.clips["name"]]
    table = processes.on_first(lambda: measure_clips(segmenter, paths, "volumes of synthetic clips", summary["ml_per_voxel"]).clips)
    return Volumes(hearts.of_real(out / "segmentation"), table), about
