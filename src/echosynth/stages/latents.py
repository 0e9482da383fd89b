"""Every clip of the cohort encoded once, so that the generators never open a video."""

import torch

from echosynth import processes
from echosynth.cohort.latents import LatentStore, write_latents
from echosynth.cohort.video import read_clip, to_square
from echosynth.cores import each
from echosynth.networks.autoencoder import encode_clip
from echosynth.stages.autoencoder import SIZE
from echosynth.stages.start import cohort_of, trained
from echosynth.study import Stage, Study


def run(study: Study) -> dict:
    """Leaves the store (cohort/latents.py) in the stage's folder."""
    cohort, folder = cohort_of(study), study.folder("latents")
    autoencoder = trained(study, "autoencoder", processes.state().device)

    def encode(name: str) -> torch.Tensor:
        return encode_clip(autoencoder, to_square(read_clip(cohort.path(name))[0], SIZE))

    write_latents(folder, cohort.clips, encode, lambda function, names: each(function, names, autoencoder))
    store = LatentStore.open(folder)
    return {"clips": len(store.index), "frames": int(store.index["frames"].sum()), "shape": list(store.shape)}


STAGE = Stage("latents", ("cohort", "autoencoder"), (), run)
