"""The verb `metrics`: two cohorts in two folders, and everything that is needed to compare them made in a third."""

import hashlib
import json
from pathlib import Path

import numpy as np

from echosynth import processes
from echosynth.cohort.echonet import Cohort, read_cohort
from echosynth.config import SegmentationSection, StudyConfig, preset
from echosynth.errors import InputError
from echosynth.evaluation import hearts
from echosynth.evaluation.compare import Volumes, compare
from echosynth.evaluation.trainings import videos
from echosynth.files import read_json, write_json
from echosynth.metrics.detectors import open_detector
from echosynth.run import configure
from echosynth.training.regressor import tidy, train_regressor
from echosynth.training.segmenter import measure_clips

_BEGUN = "begun.json"


def compare_folders(
    real: Path, synthetic: Path, out: Path, preset_name: str = "demo", regressor: Path | None = None, seed: int = 0, skip_bad: bool = False, options: list[str] | None = None
) -> dict:
    """All figures of `synthetic` against `real`, also in `out`/metrics.json; the networks and tables behind them lie in `out`. A second call with the same cohorts and options goes on.

    `regressor` is the folder of one that was trained on the real training split, of the preset's network; without it one is trained. Raises InputError for a bad cohort, option, detector or regressor, and when
    `out` holds something else.
    """
    config = configure(preset(preset_name), seed, options=options)
    for option in config.evaluation.detectors:  # before anything takes long
        open_detector(option, config.evaluation.trust_detectors)
    one, other = processes.on_first(lambda: (read_cohort(real, skip_bad), read_cohort(synthetic, splits=False)))
    _begin(out, one, other, config, regressor)
    train = videos(one, ("TRAIN",))
    if regressor is None:
        regressor = out / "regressor"
        train_regressor(train, config.evaluation.network, config.evaluation.training, regressor, seed, "EF regressor", config.evaluation.pretrained)
        processes.on_first(lambda: tidy(out / "regressor"))
    measured, about = _measure(one, other, config.segmentation, out, seed)
    fps = float(min(np.median(one.clips["fps"]), np.median(other.clips["fps"])))
    found = compare(one, other, config.evaluation, out, regressor, seed, fps, measured) | about
    processes.on_first(lambda: write_json(out / "metrics.json", found))
    return found


def _begin(out: Path, real: Cohort, synthetic: Cohort, config: StudyConfig, regressor: Path | None) -> None:
    """Makes `out` ready, or sees that what lies there was begun with the same cohorts and options."""
    dumped = config.model_dump(mode="json")
    told = [real.fingerprint, synthetic.fingerprint, config.seed, dumped["evaluation"], dumped["segmentation"], str(regressor and regressor.resolve())]
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def begin() -> None:
        if (out / _BEGUN).exists() and read_json(out / _BEGUN)["key"] == key:
            return
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"--out {out}: holds something else, or a comparison of other cohorts or options; give a new folder")
        write_json(out / _BEGUN, {"key": key})

    processes.on_first(begin)


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
