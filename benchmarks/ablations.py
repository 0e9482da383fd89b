"""What each choice of the video model's recipe is worth: the recipe without it, trained for as long on the same latents.

python -m benchmarks.ablations choices STORE JUDGE OUT --minutes 10 --seeds 2      choices x seeds x minutes (--only "AdamW alone" ...: some of them; --set video.network.dim=96 ...: of a smaller network)
python -m benchmarks.ablations widths STORE JUDGE OUT --minutes 5 10 20            three widths at several budgets, with a line fitted to the held-out loss

STORE and JUDGE are finished studies: windows are drawn from the first's latents (that of a pre-training, say), and held-out anchors of the second are animated and read (benchmarks/steps.py).
Training starts from nothing. Prints a line of JSON a training, and keeps it in OUT; an interrupted call goes on.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.steps import Judge
from echosynth.cohort.latents import LatentStore
from echosynth.config import StudyConfig, preset
from echosynth.files import read_json, write_json
from echosynth.generative import objective
from echosynth.generative.flow import interpolate, shift_time, weighted_error
from echosynth.generative.samplers import advance
from echosynth.networks.denoiser import Condition, Denoiser
from echosynth.randomness import normal_like
from echosynth.run import configure
from echosynth.study import Study
from echosynth.training.generator import Windows, held_out_loss, measure_spread, train_generator

CHOICES: dict[str, list[str]] = {
    "the recipe": [],
    "no shortcuts": ["video.shortcuts=0"],
    "MeanFlow": [],
    "consistency": [],
    "guidance at sampling": ["video.network.guidance=1"],
    "errors of all speeds alike": ["video.slow_weight=0"],
    "times as for a single frame": ["video.network.time_shift=1"],
    "AdamW alone": ["video.training.muon_learning_rate=0"],
    "no average of weights": ["video.training.ema=0"],
    "clips as often as their EF": ["video.ef_balance=0"],
    "bands of eight frequencies": ["video.network.bands=[8,8,8,8,8,8,8,8,8]"],
    "no margins": ["video.network.margin=0", "video.network.bands=[1,1,1,1,1,1,2,3,5,10,38]"],
}


def mean_flow(
    denoiser: Denoiser, data: torch.Tensor, condition: Condition, weight: torch.Tensor, rng: torch.Generator, shift: float, slow: float, first: float, to_end: bool = False
) -> torch.Tensor:
    """A step between two times, taught by the velocity over its `first` part and by the network's own step over the rest; in place of `shortcut_loss`.

    As `first` goes to 0 this is the identity of MeanFlow (Geng et al. 2025), its derivative a finite difference; `to_end`, all steps reach the data, as in consistency training (Song et al. 2023).
    """
    noise = normal_like(data, rng)
    start, end = torch.rand(2, len(data), generator=rng, device=rng.device).sort(0, descending=True).values
    end = torch.zeros_like(end) if to_end else end
    t, middle, after = (shift_time(time, shift).to(data.device) for time in (start, start - first * (start - end), end))
    x = interpolate(data, noise, t)
    with torch.no_grad():
        part = advance(denoiser, x, denoiser(x, t, condition), t, middle, condition)
        arrived = advance(denoiser, part, denoiser(part, middle, condition, after), middle, after, condition)
        target = denoiser.bands.bridge(condition.shown(x, t), arrived, t, after)
    return weighted_error(denoiser(x, t, condition, after) - target, weight, slow)


LARGE_STEPS: dict[str, Callable] = {"MeanFlow": partial(mean_flow, first=0.05), "consistency": partial(mean_flow, first=0.1, to_end=True)}  # in place of shortcuts
WIDTHS = (96, 160, 240)
STEPS, PROBE = 4, 6  # of the sampler; of training, to be timed


def train(store: Path, config: StudyConfig, minutes: float, seed: int) -> tuple[Denoiser, dict]:
    """A video model after so many minutes of training, and steps, parameters and held-out loss."""
    section, latents = config.video, LatentStore.open(store)
    windows = Windows(latents, np.flatnonzero((latents.index["split"] == "TRAIN").to_numpy()), section.network, seed, section.fps, section.label_dropout, section.ef_balance)
    steps = PROBE
    for last in (False, True):  # the first, short one is for its pace
        torch.manual_seed(seed)
        model = Denoiser(section.network)
        measure_spread(model, windows)
        with tempfile.TemporaryDirectory() as folder:
            options = section.training.model_copy(update={"steps": steps, "checkpoint_every": 10**6, "log_every": 1})
            train_generator(model, windows, options, Path(folder), seed, "video model", section.slow_weight, section.shortcuts)
            seconds = [json.loads(line)["seconds"] for line in (Path(folder) / "training.jsonl").read_text().splitlines()]
        if not last:
            steps = max(PROBE, round(60 * minutes / float(np.median(np.diff(seconds)))))
    return model, {"steps": steps, "minutes": round(seconds[-1] / 60, 2), "parameters": sum(p.numel() for p in model.parameters())}


def one(out: Path, name: str, options: list[str], store: Study, judge: Judge, minutes: float, seed: int) -> dict:
    """Trains and measures, unless `out` holds the figures already."""
    path = out / f"{name.replace(' ', '-')}-{minutes:g}-{seed}.json"
    if path.exists():
        return read_json(path)
    config = configure(preset("pretrain"), options=options)
    with patch.object(objective, "shortcut_loss", LARGE_STEPS.get(name, objective.shortcut_loss)):
        model, found = train(store.folder("latents"), config, minutes, seed)
    found |= held_out_loss(model, LatentStore.open(store.folder("latents")), 0, config.video.training, "video model")
    guidance = 1.0 if model.config.guidance > 1 else preset("pretrain").video.network.guidance
    found |= {"choice": name, "seed": seed} | judge.measure(model, STEPS, guidance)
    write_json(path, found)
    print(json.dumps(found), flush=True)
    return found


def choices(out: Path, store: Study, judge: Judge, minutes: float, seeds: int, names: list[str], common: list[str]) -> None:
    """A row of a table for each choice, with the figures of each seed."""
    for name in names:
        rows = [one(out, name, common + CHOICES[name], store, judge, minutes, seed) for seed in range(seeds)]
        print(
            "| " + " | ".join([name, f"{rows[0]['steps']}", *(" ".join(f"{row[key]:.3g}" for row in rows) for key in ("r2", "rmse", "slope", "frechet") if key in rows[0])]) + " |"
        )


def widths(out: Path, store: Study, judge: Judge, budgets: list[float], common: list[str]) -> None:
    """Loss against compute, and the exponent of a power law through the best of each budget."""
    best = []
    for minutes in budgets:
        rows = [one(out, f"width {dim}", [*common, f"video.network.dim={dim}"], store, judge, minutes, 0) for dim in WIDTHS]
        best.append(min(row["loss_val"] for row in rows))
    slope, level = np.polyfit(np.log(budgets), np.log(best), 1)
    print(json.dumps({"minutes": budgets, "best_loss": best, "exponent": round(float(slope), 4), "loss_at_one_minute": round(float(np.exp(level)), 4)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("choices", "widths"))
    for folder in ("store", "judge", "out"):
        parser.add_argument(folder, type=Path)
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--only", nargs="+", choices=CHOICES, default=list(CHOICES))
    parser.add_argument("--set", nargs="+", default=[], help="options of all trainings, as of `echosynth run --set`")
    options = parser.parse_args()
    store, judge = Study.open(options.store), Judge(Study.open(options.judge), options.clips)
    if options.what == "choices":
        choices(options.out, store, judge, options.minutes[0], options.seeds, options.only, options.set)
    else:
        widths(options.out, store, judge, options.minutes, options.set)


if __name__ == "__main__":
    main()
