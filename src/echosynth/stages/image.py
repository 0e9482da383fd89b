"""Image model: a latent frame from noise. Leaves config.json, model.safetensors, training.jsonl."""

import numpy as np

from echosynth import processes
from echosynth.networks.kinds import kind_of
from echosynth.stages.budget import private_training
from echosynth.stages.start import begin, store_of
from echosynth.study import Stage, Study
from echosynth.training.generator import Windows, held_out_loss, measure_spread, train_generator


def run(study: Study) -> dict:
    """The stage `image`; its summary holds the loss on training and on held-out frames."""
    config, folder = study.config, study.folder("image")
    section, seed = config.image, config.seed
    store = store_of(study)
    # Frames as they are in the cohort: the image model is not told an EF, so a balanced draw would bias what it makes.
    windows = Windows(store, np.flatnonzero((store.index["split"] == "TRAIN").to_numpy()), section.network, seed, balance=0.0)
    model = begin(study, "image", kind_of(section.network), section.network, lambda new: measure_spread(new, windows))
    train_generator(model, windows, section.training, folder, seed, "image model", shortcuts=section.shortcuts, private=private_training(study, STAGE, windows.patients))

    def finish() -> dict:
        model.save_pretrained(folder)
        return {"parameters": sum(p.numel() for p in model.parameters())} | held_out_loss(model, store, seed, section.training, "image model", most=512)

    return processes.on_first(finish)


STAGE = Stage("image", inputs=("latents",), sections=("image", "init", "dp"), run=run, every_process=True)
