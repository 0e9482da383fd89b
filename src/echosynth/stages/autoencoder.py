"""The autoencoder of a study: trained or fine-tuned on frames of the training split, measured on held-out clips."""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from echosynth import processes
from echosynth.cohort.echonet import Cohort
from echosynth.cohort.video import read_frames, to_square
from echosynth.config import AutoencoderSection
from echosynth.files import atomic_file
from echosynth.metrics.images import mae, psnr, ssim, texture_sd
from echosynth.networks.autoencoder import Autoencoder, AutoencoderConfig, decode_clip, encode_clip, to_unit
from echosynth.networks.kinds import kind_of
from echosynth.progress import console, progress
from echosynth.stages.start import adopt, check_imported, cohort_of, initial
from echosynth.study import Stage, Study
from echosynth.training.autoencoder import AutoencoderTraining, draw_frames, make_batch, make_loss, standardise
from echosynth.training.fit import fit

SIZE = 112  # pixels: every clip becomes a square of this side
_MEASURED_CLIPS, _MEASURED_FRAMES = 200, 16
_EXAMPLES, _EXAMPLE_FRAMES = 3, 32


def run(study: Study) -> dict:
    """Leaves config.json, model.safetensors, training.jsonl and examples.safetensors ("real" and "reconstructed", uint8 (k, T, H, W)) in the stage's folder."""
    config, seed, folder = study.config.autoencoder, study.config.seed, study.folder("autoencoder")
    cohort, kind = cohort_of(study), kind_of(config.network)
    if lead := study.lead():
        shared = adopt(study, lead, "autoencoder", kind).to(processes.state().device)
        return processes.on_first(lambda: {"start": lead.root.name, "encoder": "shared"} | _shown_and_measured(shared, cohort, folder))
    torch.manual_seed(seed)
    check_imported(study, "autoencoder")
    start = initial(study.config.init, "autoencoder", kind, config.network, config.training.steps)
    ours, frozen = isinstance(config.network, AutoencoderConfig), start is not None and config.encoder == "frozen"
    if ours:
        model, loss = AutoencoderTraining(start or Autoencoder(config.network), frozen), make_loss(config.spectrum_weight, config.adversarial_weight, config.adversarial_start)
    else:
        model, loss = paper_training(start or kind(config.network), config)
    videos = [(c.path(clip.name), int(clip.frames)) for c in (cohort, *map(cohort_of, study.others())) for clip in c.split("TRAIN")[["name", "frames"]].itertuples(index=False)]
    frames = draw_frames(videos, config.frames_in_memory, SIZE, seed)
    batch = make_batch(frames, config.training.batch_size, config.training.steps, seed)
    fit(model, loss, batch, config.training, folder, seed, "autoencoder")
    autoencoder = model.autoencoder

    def finish() -> dict:
        if not frozen:
            (standardise if ours else paper_scale)(autoencoder, frames)
        autoencoder.save_pretrained(folder)
        return {"start": "nothing" if start is None else study.config.init, "encoder": "frozen" if frozen else "trained"} | _shown_and_measured(autoencoder, cohort, folder)

    return processes.on_first(finish)


def _shown_and_measured(autoencoder: Autoencoder, cohort: Cohort, folder: Path) -> dict:
    write_examples(autoencoder, cohort, folder)
    return measure(autoencoder, cohort)


def paper_training(autoencoder, config: AutoencoderSection):
    """The paper's autoencoder with its losses, and those for `fit`. diffusers is imported here and not above: it takes seconds."""
    from echosynth.training.paper_autoencoder import PaperAutoencoderTraining, Perceptual, make_paper_loss

    perceptual = Perceptual.open(Path(config.perceptual)) if config.perceptual else None
    if perceptual is None:
        processes.on_first(lambda: console.print("autoencoder: no weights of a perceptual network are named (autoencoder.perceptual); a multi-scale gradient loss stands in"))
    return PaperAutoencoderTraining(autoencoder, perceptual), make_paper_loss(start=config.adversarial_start)


def paper_scale(autoencoder, frames: np.ndarray) -> None:
    """Gives the latents of some frames, uint8 (N, H, W), unit variance."""
    from echosynth.training.paper_autoencoder import set_scale

    some = frames[np.linspace(0, len(frames) - 1, min(256, len(frames))).astype(int)]
    set_scale(autoencoder, to_unit(torch.from_numpy(some)).to(next(autoencoder.parameters()).device))


def measure(autoencoder: Autoencoder, cohort: Cohort) -> dict[str, float]:
    """Reconstruction of held-out (TEST) clips, means over frames of pixels in [0, 1]: PSNR (dB), SSIM, MAE, and `texture`, the share of the texture's sd that is left."""
    test = cohort.split("TEST")
    chosen = test.iloc[_spread(len(test), _MEASURED_CLIPS)]
    rows = []
    with progress("reconstruction", len(chosen)) as advance:
        for clip in chosen.itertuples():
            real = to_square(read_frames(cohort.path(clip.name), _spread(clip.frames, _MEASURED_FRAMES)), SIZE)
            again = decode_clip(autoencoder, encode_clip(autoencoder, real))
            x, y = real / 255, again / 255
            rows.append(np.stack([psnr(x, y), ssim(x, y), mae(x, y), texture_sd(x), texture_sd(y)], 1))
            advance()
    figures = np.concatenate(rows)
    means = dict(zip(("psnr", "ssim", "mae"), figures[np.isfinite(figures).all(1), :3].mean(0).tolist(), strict=True))
    return {key: round(value, 4) for key, value in means.items()} | {
        "texture": round(float(figures[:, 4].mean() / figures[:, 3].mean()), 4),
        "clips": len(chosen),
        "frames": len(figures),
    }


def write_examples(autoencoder: Autoencoder, cohort: Cohort, folder: Path) -> None:
    """Three held-out clips and their reconstructions, for the report."""
    test = cohort.split("TEST")
    chosen = test.iloc[_spread(len(test), _EXAMPLES)]
    length = int(min(_EXAMPLE_FRAMES, chosen["frames"].min()))
    real = np.stack([to_square(read_frames(cohort.path(name), range(length)), SIZE) for name in chosen["name"]])
    again = np.stack([decode_clip(autoencoder, encode_clip(autoencoder, clip)) for clip in real])
    with atomic_file(folder / "examples.safetensors") as path:
        save_file({"real": real, "reconstructed": again}, path, metadata={"fps": str(float(chosen["fps"].median()))})


def _spread(total: int, most: int) -> np.ndarray:
    """At most `most` of range(total), evenly spaced."""
    return np.unique(np.linspace(0, total - 1, min(most, total)).astype(int))


STAGE = Stage("autoencoder", ("cohort",), ("autoencoder", "init"), run, shared="cohort", every_process=True)
