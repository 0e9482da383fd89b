"""Does the audit catch a generator that copies? On a finished study, whose synthetic clips are exchanged in a copy of it.

python -m benchmarks.audit STUDY OUT                 the study as it is, then with training clips and noise in place of its synthetic ones
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from echosynth.audit.examine import audit
from echosynth.cohort.echonet import read_cohort
from echosynth.cohort.video import read_clip, to_square, write_clip
from echosynth.metrics.temporal import resample
from echosynth.randomness import numpy_rng
from echosynth.stages.start import cohort_of
from echosynth.study import Study

NOISE = 4.0  # grey levels


def copy_training_clips(study: Study, noise: float) -> None:
    """Puts a training clip with noise in the place of every synthetic one, as a generator would that returns what it was given."""
    cohort, made = cohort_of(study), read_cohort(study.folder("synthetic"), splits=False)
    train = cohort.split("TRAIN")["name"].to_numpy()
    for number, row in enumerate(made.clips.itertuples()):
        rng = numpy_rng(0, "copied", number)
        clip, fps = read_clip(cohort.path(str(rng.choice(train))))
        clip = to_square(resample(clip, fps, row.fps), row.height)[: row.frames]
        noisy = clip + noise * rng.standard_normal(clip.shape) * (clip > 0)
        write_clip(made.path(row.name), noisy.round().clip(0, 255).astype(np.uint8), row.fps)


def told(found: dict) -> dict:
    """The main figures of an audit."""
    attacks = {f"{attack['threat']}: {attack['name']}": [round(attack["auc"][key], 3) for key in ("value", "low", "high")] for attack in found["attacks"]}
    closed = [f"{check['name']}: {check['words']}" for check in found["gate"]["checks"] if check["outcome"] == "failed"]
    return {"open": found["gate"]["open"], "copies": len(found["screening"]["copies"]), "clips": found["screening"]["clips"], "auc": attacks, "failed": closed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    shutil.copytree(options.study, options.out)
    study = Study.open(options.out)
    found = {"as it is": told(audit(study))}
    copy_training_clips(study, NOISE)
    found["training clips with noise"] = told(audit(study))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
