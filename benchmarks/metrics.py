"""How long the distances of two large cohorts take, and in how much memory.

python -m benchmarks.metrics COHORT            2,048 against 2,048 clips of 16 frames, by the in-domain encoder: its clips in turn, each several times from another frame on
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch

from echosynth.cohort.echonet import read_cohort
from echosynth.evaluation.fidelity import distances
from echosynth.metrics.encoders import InDomain
from echosynth.metrics.sampling import video_windows
from echosynth.metrics.stream import feature_matrix
from echosynth.networks.regressor import Regressor, RegressorConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--clips", type=int, default=2048)
    parser.add_argument("--frames", type=int, default=16)
    options = parser.parse_args()
    cohort = read_cohort(options.cohort, splits=False)
    torch.manual_seed(0)
    encoder = InDomain(Regressor(RegressorConfig()), "untrained")  # what it knows does not change what it costs
    start = time.monotonic()
    found = []
    for side in (0, 1):
        rows = np.resize(np.arange(side, len(cohort.clips), 2), options.clips)
        clips = cohort.clips.iloc[rows]
        windows = video_windows([f"{i:06d}" for i in range(len(rows))], clips["frames"].to_numpy(int), clips["fps"].to_numpy(float), options.frames, clips=options.clips, seed=side)
        found.append(feature_matrix(encoder, [cohort.path(name) for name in clips["name"]], windows, f"features, side {side + 1}"))
    features = time.monotonic() - start
    metrics = distances("video", found[0], np.arange(len(found[0])), found[1], encoder, 0)
    told = {"clips": [len(side) for side in found], "seconds_features": features, "seconds": time.monotonic() - start, "threads": torch.get_num_threads()}
    told |= {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "frechet": metrics["video.frechet"], "frechet_floor": metrics["video.frechet_floor"]}
    print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in told.items()}, indent=2))


if __name__ == "__main__":
    main()
