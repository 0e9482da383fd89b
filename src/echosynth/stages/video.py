"""Video model: an anchor frame and an EF -> a latent video. Leaves config.json, model.safetensors, training.jsonl."""

import numpy as np

from echosynth import processes
from echosynth.cohort.latents import LatentStore
from echosynth.generative.objective import Generator
from echosynth.networks.kinds import kind_of
from echosynth.stages.budget import private_training
from echosynth.stages.start import adopt, begin, store_of
from echosynth.study import Stage, Study
from echosynth.training.generator import Windows, held_out_loss, measure_spread, train_generator


def run(study: Study) -> dict:
    """The stage `video`; its summary holds the loss on training and on held-out clips."""
    config, folder = study.config, study.folder("video")
    section, seed, kind = config.video, config.seed, kind_of(config.video.network)
    store = store_of(study)

    def measured(model: Generator, store: LatentStore) -> dict:
        return {"parameters": sum(p.numel() for p in model.parameters())} | held_out_loss(model, store, seed, section.training, "video model", fps=section.fps)

    if lead := study.lead():
        shared = adopt(study, lead, "video", kind).to(processes.state().device)
        return processes.on_first(lambda: measured(shared, store))
    store = LatentStore.join([store, *(store_of(other) for other in study.others())])
    train = np.flatnonzero((store.index["split"] == "TRAIN").to_numpy())
    windows = Windows(store, train, section.network, seed, fps=section.fps, label_dropout=section.label_dropout, balance=section.ef_balance)
    model = begin(study, "video", kind, section.network, lambda new: measure_spread(new, windows))
    train_generator(model, windows, section.training, folder, seed, "video model", section.slow_weight, section.shortcuts, private_training(study, STAGE, windows.patients))

    def finish() -> dict:
        model.save_pretrained(folder)
        return measured(model, store)

    return processes.on_first(finish)


STAGE = Stage("video", inputs=("latents",), sections=("video", "init", "dp"), run=run, shared="latents", every_process=True)
