"""Every clip of the cohort encoded once, so that the generators never open a video."""

import torch

from echosynth import processes
from echosynth.cohort.latents import UNFINISHED, LatentStore, frame_indices, write_latents
from echosynth.cohort.video import read_clip, to_square
from echosynth.cores import each
from echosynth.networks.autoencoder import encode_clip
from echosynth.stages.autoencoder import SIZE
from echosynth.stages.start import cohort_of, trained
from echosynth.study import Stage, Study


def run(study: Study) -> dict:
    """Leaves the store (cohort/latents.py) in the stage's folder. Of a clip with more frames a second than the video model makes, every moment of its rate is kept, and no more."""
    cohort, folder, rate = cohort_of(study), study.folder("latents"), study.config.video.fps
    autoencoder = trained(study, "autoencoder", processes.state().device)
    source = dict(zip(cohort.clips["name"], cohort.clips["fps"], strict=True))

    def encode(name: str) -> torch.Tensor:
        clip = read_clip(cohort.path(name))[0]
        if source[name] > rate:
            frames, valid = frame_indices(0.0, len(clip), source[name], rate, len(clip))
            clip = clip[frames[valid]]
        return encode_clip(autoencoder, to_square(clip, SIZE))

    write_latents(folder, cohort.clips.assign(fps=cohort.clips["fps"].clip(upper=rate)), encode, lambda function, names: each(function, names, autoencoder))
    store = LatentStore.open(folder)
    return {"clips": len(store.index), "frames": int(store.index["frames"].sum()), "shape": list(store.shape)}


STAGE = Stage("latents", ("cohort", "autoencoder"), ("video.fps",), run, scratch=(UNFINISHED,))
