"""Steps against quality, and what of a synthetic cohort a regressor should learn from, on a finished study (docs/performance.md has figures).

python -m benchmarks.steps videos STUDY --clips 24 --steps 16 8 6 4      a minute a line: held-out anchors animated, read by the study's regressor
python -m benchmarks.steps images STUDY --steps 32 16 8 4                a minute: stills of the image model beside held-out frames that went through the autoencoder
python -m benchmarks.steps splits STUDY                                  minutes: regressors trained on the synthetic training split, and on all of the synthetic cohort, read on real validation clips

All on VAL: options are chosen by such figures, and TEST is looked at once, when a study is finished.
"""

import argparse
import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from echosynth.cohort.echonet import read_cohort
from echosynth.cohort.latents import LatentStore, frame_indices
from echosynth.generative.long_video import stream_video
from echosynth.generative.objective import draw_images
from echosynth.generative.samplers import euler, exponential, guided, heun, time_grid
from echosynth.metrics.ejection import calibration, r2, rmse
from echosynth.metrics.encoders import InDomain
from echosynth.metrics.frechet import frechet
from echosynth.metrics.temporal import flicker
from echosynth.networks.autoencoder import decode_clip
from echosynth.networks.denoiser import Condition
from echosynth.networks.precision import precision_context
from echosynth.networks.regressor import predict_ef
from echosynth.randomness import normal, numpy_rng, torch_rng
from echosynth.stages.plan import ef_law
from echosynth.stages.start import cohort_of, trained
from echosynth.study import Study
from echosynth.training.regressor import read_ef, train_regressor

CPU, SEED, COMPONENTS, CELL = torch.device("cpu"), 9, 24, 8
CHOSEN_ON = "VAL"


class Judge:
    """What is asked of a video model: held-out anchors of a finished study animated at some EFs, and how its regressor reads them.

    EFs asked for are drawn evenly, or those of the anchors' clips (`own`).
    """

    def __init__(self, study: Study, clips: int, own: bool = False):
        self.autoencoder, self.encoder = trained(study, "autoencoder", CPU), InDomain.open(study.folder("regressor"), study.config.evaluation.network)
        store, self.fps, network = LatentStore.open(study.folder("latents")), study.config.video.fps, study.config.video.network
        rows = np.flatnonzero((store.index["split"] == CHOSEN_ON).to_numpy())
        rows = rows[np.linspace(0, len(rows) - 1, clips).round().astype(int)]
        law = ef_law("balanced", cohort_of(study))
        self.asked = store.index["ef"].to_numpy()[rows] if own else np.array([law(numpy_rng(SEED, "benchmark EF", k)) for k in range(clips)])
        self.real = [
            store.window(int(row), frame_indices(0.0, network.frames - 2 * network.margin, clip["fps"], self.fps, int(clip["frames"]))[0])
            for row, (_, clip) in zip(rows, store.index.iloc[rows].iterrows(), strict=True)
        ]
        shown = [decode_clip(self.autoencoder, one) for one in self.real]
        self.looks, self.features = _looks(self.real, shown), self._features(shown)

    def measure(self, video, steps: int, guidance: float = 1.0, sampler=exponential) -> dict:
        """Seconds a clip, the looks, R2, RMSE, bias and slope of the EFs read, and the Frechet distance of the regressor's features to those of the real clips, where they are enough."""
        start = time.perf_counter()
        with precision_context(CPU, "auto"), torch.inference_mode():
            made = [_draw(video, window, ef, k, steps, guidance, sampler) for k, (window, ef) in enumerate(zip(self.real, self.asked, strict=True))]
        seconds = (time.perf_counter() - start) / len(made)
        shown = [decode_clip(self.autoencoder, one) for one in made]
        read = np.array([predict_ef(self.encoder.regressor, clip, self.fps) for clip in shown])
        told = {"r2": r2(self.asked, read), "rmse": rmse(self.asked, read), "bias": (read - self.asked).mean(), "slope": np.polyfit(self.asked, read, 1)[0]}
        told |= {"frechet": frechet(self.features, self._features(shown))} if len(made) > self.features.shape[1] else {}
        return {"seconds_a_clip": round(seconds, 3)} | _looks(made, shown) | {key: round(float(value), 3) for key, value in told.items()}

    def _features(self, clips: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([self.encoder.features(clip[None], self.fps) for clip in clips])


def _looks(latents: list[Tensor], shown: list[np.ndarray]) -> dict:
    """Flicker of decoded clips, and the RMS difference of neighbouring latent pixels at the first frame and in the middle."""
    gradient = torch.stack(latents).diff(dim=-1).square().mean((0, 2, 3, 4)).sqrt()
    return {"flicker": round(float(np.mean([flicker(clip) for clip in shown])), 2), "gradient": [round(float(gradient[frame]), 3) for frame in (0, len(gradient) // 2)]}


def videos(study: Study, clips: int, steps: list[int], guidance: float, samplers: list[str], own: bool) -> None:
    """A line of JSON for each sampler and number of steps (`Judge.measure`)."""
    judge, video = Judge(study, clips, own), trained(study, "video", CPU)
    print(json.dumps({"real, reconstructed": judge.looks, "features": judge.features.shape[1]}), flush=True)
    for name in samplers:
        for count in steps:
            print(json.dumps({"sampler": name, "steps": count} | judge.measure(video, count, guidance, SAMPLERS[name])), flush=True)


def _draw(video, window: Tensor, ef: float, number: int, steps: int, guidance: float, sampler) -> Tensor:
    shape = (video.config.frames, *window.shape[1:])
    noise, label = normal(SEED, "benchmark video", number, shape=shape)[None], torch.tensor([[ef / 100]], dtype=torch.float32)
    return torch.cat(list(stream_video(video, lambda k: noise, window[None, 5], label, len(window), steps, guidance, sampler=sampler)), 1)[0]


@torch.no_grad()
def multistep(denoiser, noise: Tensor, condition: Condition, steps: int, on_step=None, guidance: float = 1.0, shift: float = 1.0) -> Tensor:
    """Exponential steps of second order (Adams and Bashforth): the network's output goes on as it has changed since the last step."""
    velocity = guided(denoiser, condition, guidance)
    x, times, before = noise, noise.new_tensor(time_grid(steps, shift))[:, None].expand(-1, len(noise)), None
    for t, after in pairwise(times):
        v = velocity(x, t)
        ahead = v
        if before is not None:  # the step's mean output is that half a step ahead, which lies on the line through the last two
            earlier, v_then = before
            ahead = v + 0.5 * (after - t).view(-1, 1, 1, 1, 1) / (t - earlier).view(-1, 1, 1, 1, 1) * (v - v_then)
        before = (t, v)
        x = denoiser.bands.advance(x, ahead, t, after)
    return x


SAMPLERS = {"exponential": exponential, "multistep": multistep, "euler": euler, "heun": heun}


def images(study: Study, samples: int, steps: list[int]) -> None:
    """The Frechet distance of box means and deviations, on the real ones' principal components; that of two halves of the real ones first."""
    autoencoder, image = (trained(study, name, CPU) for name in ("autoencoder", "image"))
    store = LatentStore.open(study.folder("latents"))
    rows = np.flatnonzero((store.index["split"] != "TRAIN").to_numpy())
    real = _boxes(decode_clip(autoencoder, torch.cat([store.window(int(row), np.array([7])) for row in rows])))
    mean = real.mean(0)
    _, sizes, axes = np.linalg.svd(real - mean, full_matrices=False)
    basis = axes[:COMPONENTS].T / (sizes[:COMPONENTS] / np.sqrt(len(real)))
    real = (real - mean) @ basis
    print(json.dumps({"halves of the real ones": round(frechet(real[::2], real[1::2]), 2)}), flush=True)
    c = image.config
    noise = torch.stack([normal(SEED, "benchmark image", k, shape=(c.channels, c.size, c.size)) for k in range(samples)])
    for count in steps:
        with precision_context(CPU, "auto"), torch.inference_mode():
            made = draw_images(image, noise, count, [torch_rng(SEED, "benchmark image steps", k) for k in range(samples)])
        print(json.dumps({"steps": count, "frechet": round(frechet(real, (_boxes(decode_clip(autoencoder, made)) - mean) @ basis), 2)}), flush=True)


def _boxes(frames: np.ndarray) -> np.ndarray:
    cells = frames.astype(np.float64).reshape(len(frames), frames.shape[1] // CELL, CELL, -1, CELL)
    return np.concatenate([cells.mean((2, 4)).reshape(len(frames), -1), cells.std((2, 4)).reshape(len(frames), -1)], 1)


def splits(study: Study) -> None:
    """R2, slope and bias on real validation clips of regressors with the study's budget."""
    section, held_out = study.config.evaluation, cohort_of(study).split(CHOSEN_ON)
    made = read_cohort(study.folder("synthetic"), splits=False)
    for name, rows in (("training split", made.split("TRAIN")), ("all splits", made.clips)):
        with tempfile.TemporaryDirectory() as folder:
            clips = [(made.path(clip), ef) for clip, ef in zip(rows["name"], rows["ef"], strict=True)]
            regressor = train_regressor(clips, section.network, section.training, Path(folder), study.config.seed, name)
        read, ef = read_ef(regressor, [study.cohort_path / "Videos" / f"{clip}.avi" for clip in held_out["name"]], "real validation clips"), held_out["ef"].to_numpy()
        told = {"r2": float(r2(ef, read)), "slope": float(np.polyfit(ef, read, 1)[0]), "bias": float((read - ef).mean()), "calibration_slope": calibration(ef, read).slope}
        print(json.dumps({"trained on": name, "clips": len(clips)} | {key: round(float(value), 3) for key, value in told.items()}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("videos", "images", "splits"))
    parser.add_argument("study", type=Path)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--steps", type=int, nargs="+", default=[32, 16, 8, 6, 4])
    parser.add_argument("--guidance", type=float, default=1.0, help="besides that which the model has learnt")
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=["exponential"])
    parser.add_argument("--own", action="store_true", help="the EFs of the anchors' own clips")
    options = parser.parse_args()
    study = Study.open(options.study)
    match options.what:
        case "videos":
            videos(study, options.clips, options.steps, options.guidance, options.samplers, options.own)
        case "images":
            images(study, options.samples, options.steps)
        case "splits":
            splits(study)


if __name__ == "__main__":
    main()
