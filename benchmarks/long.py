"""Long videos: do they drift, do their joins show, and what memory do they take?

python -m benchmarks.long STUDY OUT                      two clips of ten minutes (19,200 frames) of a finished study: minutes
python -m benchmarks.long STUDY OUT --frames 3200        shorter

Each synthesis runs in a process of its own, which tells its peak memory, and goes on where an interrupted one stopped. Of every clip the first minute (a quarter of a shorter clip) stands beside
the last: EF as the study's regressor reads it and the period of the beat, in windows of two seconds, and the grey level of the lit region; then where the frame differences at the joins lie among all others.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from echosynth.cohort.echonet import read_cohort
from echosynth.cohort.video import read_clip
from echosynth.files import read_json, write_json
from echosynth.metrics import motion
from echosynth.metrics.encoders import InDomain
from echosynth.metrics.temporal import beat, motion_trace
from echosynth.metrics.texture import lit_region
from echosynth.networks.regressor import predict_ef
from echosynth.stages.evaluation import joins, seam_frames
from echosynth.stages.synthesis import release
from echosynth.study import Study

WINDOW = 2.0  # seconds of a reading


def drawn(study: Path, out: Path, videos: int, frames: int) -> dict:
    """The summary of a synthesis of its own process (of an earlier one where there was one)."""
    done = out / f"{frames}.json"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "benchmarks.long", "draw", str(study), str(out / str(frames)), str(videos), str(frames), str(done)], check=True)
    return read_json(done)


def draw(study: Study, out: Path, videos: int, frames: int, done: Path) -> None:
    # An attempt takes minutes, and none is drawn anew for its EF.
    options = study.config.synthesis.model_copy(update={"videos": videos, "frames": frames, "batch_size": 1, "ef_tolerance": 0.0})
    write_json(done, release(study, out, options, study.config.seed))


def minute(clip: np.ndarray, fps: float, encoder: InDomain) -> dict[str, np.ndarray]:
    """Readings (W,) of the windows of a part of a clip."""
    length = round(WINDOW * fps)
    windows = [clip[first : first + length] for first in range(0, len(clip) - length + 1, length)]
    return {
        "ef": np.array([predict_ef(encoder.regressor, window, fps) for window in windows]),
        "period_s": np.array([beat(motion_trace(window), fps).period for window in windows]),
        "grey": np.array([window[:, lit_region(window)].mean() for window in windows]),
    }


def drift(clip: np.ndarray, fps: float, encoder: InDomain) -> dict:
    """Of each reading the mean of the first and of the last minute, and the standard error of their difference."""
    length = min(round(60 * fps), len(clip) // 4)
    first, last = minute(clip[:length], fps, encoder), minute(clip[-length:], fps, encoder)
    return {
        name: {
            "first": round(float(np.nanmean(first[name])), 2),
            "last": round(float(np.nanmean(last[name])), 2),
            "se": round(float(np.sqrt(sum(np.nanvar(part, ddof=1) / np.isfinite(part).sum() for part in (first[name], last[name])))), 2),
        }
        for name in first
    }


def main() -> None:
    if sys.argv[1:2] == ["draw"]:
        study, out, videos, frames, done = sys.argv[2:]
        draw(Study.open(Path(study)), Path(out), int(videos), int(frames), Path(done))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=19_200)
    parser.add_argument("--videos", type=int, default=2)
    options = parser.parse_args()
    study = Study.open(options.study)
    network, section = study.config.video.network, study.config.synthesis.model_copy(update={"frames": options.frames})
    options.out.mkdir(parents=True, exist_ok=True)
    short, long = (drawn(options.study, options.out, options.videos, frames) for frames in (network.frames - 2 * network.margin, options.frames))
    print(json.dumps({"memory_mb": {"one window": short["memory_mb"], "long": long["memory_mb"]}, "seconds_a_clip": long["seconds_per_clip"]}), flush=True)
    encoder, made = InDomain.open(study.folder("regressor"), study.config.evaluation.network), read_cohort(options.out / str(options.frames), splits=False)
    touched = np.array(seam_frames(network, section))
    for row in made.clips.itertuples():
        clip, fps = read_clip(made.path(row.name))
        jumps = motion.seams(clip, touched)
        told = {
            "median_rank": round(float(np.median(jumps.quantiles)), 3),
            "above_95_percent": round(float(np.mean(jumps.quantiles > 0.95)), 3),
            "ratio": round(float(np.median(jumps.ratios)), 3),
        }
        print(json.dumps({"asked": row.ef} | drift(clip, fps, encoder) | {"joins": len(joins(network, section))} | told), flush=True)


if __name__ == "__main__":
    main()
