"""The paper's recipe on this machine: does it fit, does it learn, and do its long videos show their seams.

python -m benchmarks.paper fullsize                              minutes: peak memory of a training and a sampling step of the full networks, batch 1
python -m benchmarks.paper learns COHORT OUT --minutes 20        the small paper recipe beside the compact one, both from nothing, training for as long each
python -m benchmarks.paper seams STUDY --clips 4 --frames 192    overlapping windows beside continuation, on the video model of a finished study
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from echosynth.cohort.echonet import read_cohort
from echosynth.cohort.latents import LatentStore
from echosynth.config import preset
from echosynth.evaluation.fidelity import features
from echosynth.files import read_json, write_json
from echosynth.generative.objective import draw_images, draw_videos
from echosynth.metrics import motion
from echosynth.metrics.encoders import InDomain
from echosynth.metrics.frechet import frechet
from echosynth.networks.autoencoder import decode_clip
from echosynth.networks.kinds import kind_of
from echosynth.networks.precision import precision_context
from echosynth.randomness import normal, torch_rng
from echosynth.run import ALL, carry_out, configure, open_or_create
from echosynth.stages.start import cohort_of
from echosynth.study import Study, peak_memory_mb
from echosynth.training.fit import fit
from echosynth.training.generator import generator_loss

SHARES = {"autoencoder": 0.25, "image": 0.12, "reid": 0.08, "video": 0.55}  # of the training time
PROBE = 12  # steps that are timed
# The demo is for shipped weights: fine-tunes of low rates, a re-identification encoder as it comes, clips chosen by their EF.
FROM_NOTHING = [
    "synthesis.ef=cohort",
    "synthesis.ef_tolerance=0",
    "synthesis.steps=4",
    "synthesis.image_steps=8",
    "image.shortcuts=0",
    "video.network.guidance=2",
    "evaluation.judge=trtr",
    "reid.training.steps=400",
]
FROM_NOTHING += [f"{model}.training.{rate}" for model in ("image", "video") for rate in ("learning_rate=0.001", "muon_learning_rate=0.01")]


def fullsize() -> dict:
    """Seconds and peak memory (MB) of each step, each in a process of its own."""
    parts = ("video training", "video sampling", "image training", "image sampling", "autoencoder training", "autoencoder reconstruction")
    return {
        part: json.loads(subprocess.run([sys.executable, "-m", "benchmarks.paper", "step", part], check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        for part in parts
    }


def step(part: str) -> dict:
    """One step of batch 1 at full size."""
    model, what = part.split()
    section = getattr(preset("paper"), model)
    torch.manual_seed(0)
    network, cpu = kind_of(section.network)(section.network), torch.device("cpu")
    start = time.perf_counter()
    if model == "autoencoder":
        frames = torch.rand(1, 1, 112, 112) * 2 - 1
        if what == "training":
            from echosynth.stages.autoencoder import paper_training

            module, loss = paper_training(network, section)
            _train(module, loss, lambda samples: {"frames": frames, "done": 1.0}, section.training)
        else:
            with torch.inference_mode(), precision_context(cpu, "auto"):
                network.decode(network.encode(frames))
    else:
        frames, told = section.network.frames, section.network.labels
        data = torch.randn(1, frames, 4, 14, 14)
        if what == "training":
            batch = {"data": data, "labels": torch.full((1, told), 0.5), "weight": torch.ones(1, frames)} | (
                {"anchor": data[:, 0], "mask": torch.zeros(1, frames, dtype=torch.bool)} if told else {}
            )
            _train(network, generator_loss, lambda samples: batch, section.training)
        else:
            network.eval()
            with torch.inference_mode(), precision_context(cpu, "auto"):
                if told:
                    draw_videos(network, lambda k: data, data[:, 0], torch.full((1, 1), 0.5), frames, 1, 1.0, [torch.Generator()])
                else:
                    draw_images(network, data[:, 0], 1, [torch.Generator()])
    return {"seconds": round(time.perf_counter() - start, 2), "memory_mb": peak_memory_mb(), "parameters_m": round(sum(p.numel() for p in network.parameters()) / 1e6, 1)}


def _train(module, loss, batch, training) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fit(module, loss, batch, training.model_copy(update={"steps": 1, "batch_size": 1}), Path(folder), 0, "one step")


def learns(cohort: Path, out: Path, minutes: float, videos: int) -> dict:
    """Both recipes from nothing on one cohort: each model has the same share of the same training time. Goes on where an interrupted call stopped."""
    bases = {
        "compact": configure(preset("demo"), 0, "none", FROM_NOTHING),
        "paper": configure(preset("paper", "small"), 0, None, ["synthesis.ef=cohort", "synthesis.frames=64"]),
    }
    found = {}
    for name, base in bases.items():
        if not (out / f"{name}.json").exists():
            write_json(out / f"{name}.json", _steps(cohort, out / f"{name}-probe", base, minutes))
        steps = read_json(out / f"{name}.json")
        config = configure(base, options=[f"synthesis.videos={videos}", *(f"{section}.training.steps={count}" for section, count in steps.items())])
        study = open_or_create(out / name, cohort, config=config)
        if name == "paper" and not study.folder("regressor").exists():
            shutil.copytree(out / "compact" / "regressor", study.folder("regressor"))  # one judge for both: same cohort, seed and budget
        carry_out(study)
        metrics = read_json(study.folder("report") / "metrics.json")
        rows = {section: json.loads((study.folder(section) / "training.jsonl").read_text().splitlines()[-1]) for section in SHARES}
        found[name] = {
            "training_minutes": round(sum(row["seconds"] for row in rows.values()) / 60, 2),
            "steps": steps,
            **{
                key: metrics[key]
                for key in ("autoencoder.psnr", "autoencoder.texture", "autoencoder.ef_mae", "reid.auc", "adherence.r2", "adherence.mae", "adherence.slope", "trtr.r2", "tstr.r2")
            },
            "frechet": round(_distance(study, InDomain.open(out / "compact" / "regressor", bases["compact"].evaluation.network)), 2),
            "dominant_period": metrics["temporal.synthetic.dominant_period"],
            "seconds_a_clip": metrics["seconds.per_synthetic_clip"],
        }
    write_json(out / "learns.json", found)
    return found


def _distance(study: Study, encoder: InDomain) -> float:
    """The Frechet distance of all synthetic clips to all held-out ones; halved by patient, as the report wants them for a floor, they would be too few."""
    real, made = cohort_of(study), read_cohort(study.folder("synthetic"), splits=False)
    return frechet(*(features(cohort, rows, encoder, "features")[1] for cohort, rows in ((real, real.held_out()), (made, made.clips))))


def _steps(cohort: Path, folder: Path, base, minutes: float) -> dict[str, int]:
    """How many steps of each training fit into its share of the time, by the pace of a few steps."""
    options = [f"{section}.training.{option}" for section in SHARES for option in (f"steps={PROBE}", "log_every=1")]
    study = open_or_create(folder, cohort, config=configure(base, options=options))
    carry_out(study, tuple(stage for stage in ALL if stage.name in (*SHARES, "latents")))
    steps = {}
    for section, share in SHARES.items():
        seconds = [json.loads(line)["seconds"] for line in (study.folder(section) / "training.jsonl").read_text().splitlines()]
        steps[section] = max(1, round(60 * minutes * share / float(np.median(np.diff(seconds)))))
    shutil.rmtree(folder)
    return steps


def seams(study: Study, clips: int, frames: int, steps: int) -> dict:
    """Of both ways to long videos: where the frame difference at a join stands among those of its clip (share of the others that are smaller; the median over joins), and network evaluations a frame."""
    autoencoder, video = (kind_of(getattr(study.config, name).network).from_pretrained(study.folder(name)) for name in ("autoencoder", "video"))
    store = LatentStore.open(study.folder("latents"))
    rows, window = np.flatnonzero((store.index["split"] == "TEST").to_numpy())[:clips], video.config.frames
    ways = {"windowed": list(range(window, frames, 32)), "continued": list(range(window, frames, window - 16))}
    found = {}
    for way, joins in ways.items():
        ranks, ratios = [], []
        for row in rows:
            anchor, ef = store.window(int(row), np.array([0])), torch.tensor([[store.index["ef"].iloc[row] / 100]], dtype=torch.float32)

            def noise(k: int, row: int = row) -> torch.Tensor:
                return normal(0, "seams", int(row), k, shape=(window, *store.shape))[None]

            with torch.inference_mode(), precision_context(torch.device("cpu"), "auto"):
                latents = draw_videos(video, noise, anchor, ef, frames, steps, 1.0, [torch_rng(0, "seams", int(row))], way == "windowed")
            jumps = motion.seams(decode_clip(autoencoder, latents[0]), np.array(joins))
            ranks += jumps.quantiles.tolist()
            ratios += jumps.ratios.tolist()
        evaluations = steps * (1 + len(joins))
        found[way] = {
            "joins": len(ranks),
            "rank_median": round(float(np.median(ranks)), 3),
            "joins_above_95_percent": round(float(np.mean(np.array(ranks) > 0.95)), 3),
            "difference_to_others": round(float(np.median(ratios)), 3),
            "window_evaluations": evaluations,
            "evaluations_a_frame": round(evaluations * window / frames, 2),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("fullsize")
    commands.add_parser("step").add_argument("part")
    learn = commands.add_parser("learns")
    learn.add_argument("cohort", type=Path)
    learn.add_argument("out", type=Path)
    learn.add_argument("--minutes", type=float, default=20.0)
    learn.add_argument("--videos", type=int, default=40)
    seam = commands.add_parser("seams")
    seam.add_argument("study", type=Path)
    seam.add_argument("--clips", type=int, default=4)
    seam.add_argument("--frames", type=int, default=192)
    seam.add_argument("--steps", type=int, default=16)
    options = parser.parse_args()
    match options.what:
        case "fullsize":
            found = fullsize()
        case "step":
            found = step(options.part)
        case "learns":
            found = learns(options.cohort, options.out, options.minutes, options.videos)
        case "seams":
            found = seams(Study.open(options.study), options.clips, options.frames, options.steps)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
