"""How well the left ventricle is found, and how well its volumes give the EF: trained and tested on a simulated cohort.

python -m benchmarks.segmentation               four minutes on one core: 200 patients with a clip each, 120 of them for training
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from echosynth.cohort.echonet import Cohort, read_cohort
from echosynth.cohort.phantom import simulate_cohort
from echosynth.cohort.tracings import Tracings, read_tracings, traced_mask
from echosynth.cohort.video import read_clip, read_frames
from echosynth.metrics.ejection import agreement
from echosynth.metrics.ventricle import dice, ml_per_voxel
from echosynth.networks.segmenter import Segmenter, SegmenterConfig, segment
from echosynth.training.segmenter import TRAINING, measure_clip, measure_clips, train_segmenter

SEED = 5


def dice_of(segmenter: Segmenter, cohort: Cohort, tracings: Tracings) -> dict[str, np.ndarray]:
    """Dice of the traced frames of the clips outside TRAIN, by phase."""
    held_out, size = set(cohort.clips.loc[cohort.clips["split"] != "TRAIN", "name"]), segmenter.config.size
    found = []
    for clip in tracings.clips:
        if clip.name in held_out:
            masks = segment(segmenter, read_frames(cohort.path(clip.name), [clip.ed.frame, clip.es.frame]))
            found.append([dice(mask, traced_mask(one, clip.height, clip.width, size)) for mask, one in zip(masks, (clip.ed, clip.es), strict=True)])
    ed, es = np.array(found).T
    return {"ed": ed, "es": es}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--site", default="alder")
    parser.add_argument("--steps", type=int, default=TRAINING.steps)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        simulate_cohort(folder / "cohort", options.patients, 1, SEED, options.site)
        cohort = read_cohort(folder / "cohort")
        tracings = read_tracings(cohort)
        train = set(cohort.split("TRAIN")["name"])
        start = time.monotonic()
        training = [(cohort.path(clip.name), clip) for clip in tracings.clips if clip.name in train]
        segmenter = train_segmenter(training, SegmenterConfig(), TRAINING.model_copy(update={"steps": options.steps}), folder / "segmenter", SEED, "segmentation")
        found = {"train_clips": len(training), "threads": torch.get_num_threads(), "seconds_training": time.monotonic() - start}

        overlaps = dice_of(segmenter, cohort, tracings)
        found |= {f"dice_{phase}": float(values.mean()) for phase, values in overlaps.items()}
        found |= {"dice": float(np.mean(list(overlaps.values()))), "dice_worst": float(min(values.min() for values in overlaps.values()))}

        held_out = cohort.clips[cohort.clips["split"] != "TRAIN"]
        ml = ml_per_voxel((clip for clip in tracings.clips if clip.name in train), cohort.clips, segmenter.config.size)
        start = time.monotonic()
        measured = measure_clips(segmenter, [cohort.path(name) for name in held_out["name"]], "measuring held-out clips", ml).clips
        found |= {"held_out_clips": len(held_out), "seconds_a_clip": (time.monotonic() - start) / len(held_out)}
        found |= {f"ef_{key}": value for key, value in agreement(held_out["ef"], measured["ef"]).as_dict().items() if key in ("mae", "bias", "rmse", "r2", "slope")}
        found |= {f"{volume}_mae_ml": agreement(held_out[volume], measured[volume]).mae for volume in ("edv", "esv")}

        clip, fps = read_clip(cohort.path(held_out["name"].iloc[0]))
        start = time.monotonic()
        segment(segmenter, clip[:64])
        found["seconds_segmenting_64_frames"] = time.monotonic() - start
        start = time.monotonic()
        measure_clip(segmenter, clip[:64], fps)
        found["seconds_measuring_64_frames"] = time.monotonic() - start
    print(json.dumps({key: round(value, 4) for key, value in found.items()}, indent=2))


if __name__ == "__main__":
    main()
