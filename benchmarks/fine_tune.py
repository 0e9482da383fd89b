"""What the fine-tune of the image model learns by heart, against what it is good for.

    python -m benchmarks.fine_tune STUDY [--steps 0 25 50 100] [--keep 1.0] [--images 512]

Trains the image model of a finished study again, from the same first weights, for each number of steps, and keeps a part of the change (`--keep 0.5`: half-way back
to the first weights). Prints one JSON line each: Frechet distance of drawn latent frames to validation frames on 32 principal components of the training frames, with the
floor (validation frames of one half of the patients against those of the other), both at one number of frames; the loss on training and validation frames; the AUC of each membership attack that
knows the weights, training against validation patients. Who chooses by these figures has not looked at TEST. Nothing is written.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from echosynth.audit.membership import People, weight_attacks
from echosynth.cohort.latents import LatentStore
from echosynth.generative.objective import Generator, draw_images
from echosynth.metrics.frechet import frechet
from echosynth.networks.kinds import kind_of
from echosynth.networks.precision import precision_context
from echosynth.randomness import normal, numpy_rng, torch_rng
from echosynth.stages.start import cohort_of, initial, store_of
from echosynth.study import Study
from echosynth.training.generator import Windows, held_out_loss, train_generator

FRAMES, COMPONENTS, TOGETHER, SEED = 6, 32, 16, 7  # frames of a clip that are compared


def frames_of(store: LatentStore, rows: np.ndarray) -> Tensor:
    """Latent frames (N, C h w) of some clips, evenly spread."""
    lengths = store.index["frames"].to_numpy(int)
    return torch.cat([store.window(int(row), np.linspace(0, lengths[row] - 1, FRAMES).astype(int)) for row in rows]).flatten(1).double()


def halves_of(store: LatentStore, seed: int) -> list[np.ndarray]:
    """Rows of the validation clips of either half of the patients."""
    rows = np.flatnonzero((store.index["split"] == "VAL").to_numpy())
    patients = store.index["patient"].to_numpy().astype(str)[rows]
    order = numpy_rng(seed, "fine-tune halves").permutation(np.unique(patients))
    return [rows[np.isin(patients, part)] for part in np.array_split(order, 2)]


def drawn(model: Generator, images: int, steps: int) -> Tensor:
    """Latent frames (images, C h w) from noise."""
    shape, found = (model.config.channels, model.config.size, model.config.size), []
    with torch.inference_mode(), precision_context(torch.device("cpu"), "auto"):
        for first in range(0, images, TOGETHER):
            places = range(first, min(first + TOGETHER, images))
            noise = torch.stack([normal(SEED, "fine-tune image", place, shape=shape) for place in places])
            found.append(draw_images(model, noise, steps, [torch_rng(SEED, "fine-tune steps", place) for place in places]))
    return torch.cat(found).flatten(1).double()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 25, 50, 100])
    parser.add_argument("--keep", type=float, default=1.0, help="the part of the change that is kept")
    parser.add_argument("--images", type=int, default=512, help="drawn, at most; as many as frames of a half of the validation patients")
    given = parser.parse_args()
    study = Study.open(given.study)
    section, seed, store = study.config.image, study.config.seed, store_of(study)
    clips = cohort_of(study).clips[["name", "patient", "split", "ef"]]
    people = People(clips[clips["split"] != "TEST"].reset_index(drop=True))
    train = np.flatnonzero((store.index["split"] == "TRAIN").to_numpy())
    known = frames_of(store, train)
    mean, axes = known.mean(0), torch.linalg.eigh(known.T.cov())[1][:, -COMPONENTS:]

    def on_axes(frames: Tensor) -> np.ndarray:
        return ((frames - mean) @ axes).numpy()

    def begin() -> Generator:
        return initial(study.config.init, "image", kind_of(section.network), section.network, tell=False)

    halves = [on_axes(frames_of(store, rows)) for rows in halves_of(store, seed)]
    count = min(given.images, *map(len, halves))
    halves = [half[numpy_rng(seed, "fine-tune frames").permutation(len(half))[:count]] for half in halves]
    floor = frechet(*halves)
    for steps in given.steps:
        start, model, first = time.monotonic(), begin(), begin().state_dict()
        training = section.training.model_copy(update={"steps": steps})
        windows = Windows(store, train, section.network, seed, balance=0.0)
        with tempfile.TemporaryDirectory() as folder:
            train_generator(model, windows, training, Path(folder), seed, f"{steps} steps", shortcuts=section.shortcuts)
        seconds = time.monotonic() - start
        model.load_state_dict({name: torch.lerp(first[name], value, given.keep) if value.is_floating_point() else value for name, value in model.state_dict().items()})
        attacks = weight_attacks(people, store, {"image": model}, {"image": begin()}, study.config.video.fps, seed)
        row = {"steps": steps, "keep": given.keep, "seconds": round(seconds, 1), "floor": round(float(floor), 2)}
        images = on_axes(drawn(model, count, study.config.synthesis.image_steps))
        row |= {"frames": count, "frechet": round(float(np.mean([frechet(images, half) for half in halves])), 2)}
        row |= {key: round(value, 4) for key, value in held_out_loss(model, store, seed, section.training, "image model", most=512).items()}
        print(json.dumps(row | {attack.name: [round(attack.auc.value, 3), round(attack.auc.low, 3), round(attack.auc.high, 3)] for attack in attacks}), flush=True)


if __name__ == "__main__":
    main()
