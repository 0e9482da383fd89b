"""What a segmentation of the left ventricle measures on clips: whether the EF asked for is there by volumes, and whether the beats of a clip agree with each other."""

from pathlib import Path

import numpy as np
import pandas as pd

from echosynth import processes
from echosynth.cohort.echonet import TRACINGS, Cohort
from echosynth.cohort.tracings import read_tracings, traced_mask
from echosynth.cohort.video import read_frames
from echosynth.config import SegmentationSection
from echosynth.errors import InputError
from echosynth.files import atomic_file
from echosynth.metrics.ejection import agreement, bootstrap_interval, mae, patient_weights, r2
from echosynth.metrics.ventricle import dice, ml_per_voxel
from echosynth.networks.segmenter import Segmenter, segment
from echosynth.progress import console
from echosynth.randomness import numpy_rng
from echosynth.training.segmenter import measure_clips, tidy, train_segmenter

_REAL = "real.parquet"
TESTED = 128  # real clips on which the segmentation itself is measured


def train(real: Cohort, section: SegmentationSection, folder: Path, seed: int) -> tuple[Segmenter, dict] | str:
    """A segmentation of the ventricle, trained on the tracings of the held-out patients alone, whom the generator never saw, in `folder`; and what it reaches on the training patients, whom it never saw.

    Runs on all processes. Returns the reason instead, where the cohort has no tracings of them. Clips with a bad row in VolumeTracings.csv are left out and counted: the study does not stop for them.
    """
    if not (real.root / TRACINGS).exists():
        return f"the cohort has no {TRACINGS}"
    try:
        read = read_tracings(real, skip_bad=True)
    except InputError as error:
        return str(error)
    tracings = read.clips
    if read.skipped:
        processes.on_first(lambda: console.print(f"segmentation: the tracings of {len(read.skipped)} clips are left out, the first: {read.skipped[0]}", markup=False))
    held_out = set(real.held_out()["name"])
    known = [clip for clip in tracings if clip.name in held_out]
    if not known:
        return f"{TRACINGS} has no held-out clip"
    segmenter = train_segmenter([(real.path(clip.name), clip) for clip in known], section.network, section.training, folder, seed, "segmentation")

    def test() -> dict:
        tidy(folder)
        size = segmenter.config.size
        unseen = [clip for clip in tracings if clip.name not in held_out][:TESTED]
        summary = {"ml_per_voxel": ml_per_voxel(known, real.clips, size), "clips": len(known), "left_out": len(read.skipped)}
        if not unseen:
            return summary
        overlap = [
            dice(mask, traced_mask(one, clip.height, clip.width, size))
            for clip in unseen
            for mask, one in zip(segment(segmenter, read_frames(real.path(clip.name), [clip.ed.frame, clip.es.frame])), (clip.ed, clip.es), strict=True)
        ]
        measured = measure_clips(segmenter, [real.path(clip.name) for clip in unseen], "segmentation on unseen clips").clips
        truth = real.clips.set_index("name").loc[[clip.name for clip in unseen], "ef"].to_numpy(float)
        seen = measured["ef"].notna().to_numpy()
        summary |= {"dice": float(np.mean(overlap)), "measured": float(seen.mean())}
        with atomic_file(folder / _REAL) as partial:
            measured.drop(columns="name").to_parquet(partial, index=False)
        return summary | ({f"ef_{key}": value for key, value in agreement(truth[seen], measured["ef"].to_numpy(float)[seen]).as_dict().items()} if seen.any() else {})

    return segmenter, processes.on_first(test)


def of_real(folder: Path) -> pd.DataFrame:
    """The `Measurement`s of real clips that `train` has left in `folder`."""
    return pd.read_parquet(folder / _REAL)


def hearts(real: pd.DataFrame, synthetic: pd.DataFrame, asked: np.ndarray, bootstraps: int, seed: int) -> dict:
    """Figures "volumes.*" (EF by volumes against the EF asked for) and "ventricle.real.*", "ventricle.synthetic.*" (how alike the beats of a clip are), from tables of `Measurement`s."""
    seen = synthetic["ef"].notna().to_numpy()
    metrics = {"volumes.measured": float(seen.mean())}
    if seen.sum() < 2:
        return metrics | {"volumes.r2": None, "volumes.r2_reason": "hardly any synthetic clip shows a beating ventricle"}
    truth, measured = asked[seen], synthetic["ef"].to_numpy(float)[seen]
    metrics |= {f"volumes.{key}": value for key, value in agreement(truth, measured).as_dict().items()}
    weights = patient_weights(np.arange(len(truth)), bootstraps, numpy_rng(seed, "bootstrap volumes"))
    for key, metric in (("r2", r2), ("mae", mae)):
        metrics[f"volumes.{key}_low"], metrics[f"volumes.{key}_high"] = bootstrap_interval(metric, truth, measured, weights)
    for kind, table in (("real", real), ("synthetic", synthetic)):
        for name in ("beat_seconds", "edv_spread", "esv_spread", "ef_spread", "beat_spread"):
            metrics[f"ventricle.{kind}.{name}"] = float(table[name].median())
    return metrics
