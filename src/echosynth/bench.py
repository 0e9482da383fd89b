"""The verb `bench`: this recipe against the published one (networks/paper.py) on this machine, in turns, from the same presets that studies run with.

Speed does not hang on what weights have learnt, so networks are fresh. Every measurement runs in a process of its own, which tells its peak memory; both recipes are offered the same
precision ("auto"). What takes minutes a step is timed over a few steps and counted up, and the result says so.
"""

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from echosynth import __version__
from echosynth.cohort.video import read_clip, to_square, write_clip
from echosynth.config import StudyConfig, preset
from echosynth.cores import each
from echosynth.errors import InputError
from echosynth.files import write_json
from echosynth.generative.objective import draw_images, draw_videos
from echosynth.networks.autoencoder import decode_clip, encode_clip
from echosynth.networks.kinds import kind_of
from echosynth.networks.precision import precision_context, uses_bf16
from echosynth.privacy.protocols import Protocols
from echosynth.privacy.published import PublishedScreen
from echosynth.privacy.screen import Screen
from echosynth.randomness import torch_rng
from echosynth.stages.candidates import GPU_GROUP
from echosynth.study import peak_memory_mb
from echosynth.training.fit import fit
from echosynth.training.generator import generator_loss

RECIPES = {"compact": "demo", "paper": "paper"}
FRAMES, SIZE = 64, 112
_CLIPS = 64  # made together
TRAIN, HELD_OUT = 7465, 1277  # clips of EchoNet-Dynamic
_VERDICTS = 25  # timed one by one: each takes milliseconds
_TIMED_STEPS = 2  # of the published samplers on a CPU; a step takes as long as any other


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _network(config: StudyConfig, name: str):
    torch.manual_seed(0)
    section = getattr(config, name)
    return kind_of(section.network)(section.network).to(_device()).eval()


def clip(config: StudyConfig) -> dict:
    """A clip of 64 frames from noise to file: image, video, decoding, writing. "steps" is how many sampling steps were timed of how many that the preset takes."""
    networks = _networks(config)
    if not _too_slow(config):
        _make(config, 1, **networks)  # the first is slower
    return _make(config, 1, **networks)


def clips(config: StudyConfig) -> dict:
    """As `clip`, of each of many that are made together, as synthesis does: a thread a core with a clip each, or on a GPU a few threads with a group each. Of the published recipe it is one group."""
    group = GPU_GROUP if _device().type == "cuda" else 1
    networks = _networks(config)
    if not _too_slow(config):
        _make(config, group, **networks)
    if config.preset == "paper":
        return _make(config, group, **networks)
    _, seconds = _timed(lambda: list(each(lambda _: _make(config, group, **networks), range(_CLIPS // group), *networks.values())))
    return {"seconds": seconds / _CLIPS, "group": group}


def _too_slow(config: StudyConfig) -> bool:
    return config.preset == "paper" and _device().type == "cpu"


def _networks(config: StudyConfig) -> dict[str, nn.Module]:
    return {name: _network(config, name) for name in ("image", "video", "autoencoder")}


def _make(config: StudyConfig, group: int, image: nn.Module, video: nn.Module, autoencoder: nn.Module) -> dict:
    """`group` clips at once; seconds are of each."""
    options, rngs, parts = config.synthesis, [torch_rng(0, "bench", k) for k in range(group)], {}
    steps = {"image": options.image_steps, "video": options.steps}
    timed = dict.fromkeys(steps, _TIMED_STEPS) if _too_slow(config) else steps
    with precision_context(_device(), config.video.training.precision), torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        noise = torch.randn(group, video.config.frames, image.config.channels, image.config.size, image.config.size, device=_device())
        label = torch.full((group, video.config.labels), 0.6, device=_device())
        anchors, parts["image"] = _timed(lambda: draw_images(image, noise[:, 0], timed["image"], rngs))
        latents, parts["video"] = _timed(lambda: draw_videos(video, lambda k: noise, anchors, label, FRAMES, timed["video"], options.guidance, rngs))
        frames, parts["decode"] = _timed(lambda: [decode_clip(autoencoder, one) for one in latents])
        _, parts["write"] = _timed(lambda: [write_clip(Path(folder) / f"{k}.avi", one, config.video.fps) for k, one in enumerate(frames)])
    parts = {name: seconds * steps.get(name, 1) / timed.get(name, 1) / group for name, seconds in parts.items()}
    return {"seconds": sum(parts.values()), "parts": parts, "steps": f"{timed['image']} of {steps['image']} and {timed['video']} of {steps['video']}", "group": group}


def encode(config: StudyConfig) -> dict:
    """Frames a second from a video file into latents."""
    autoencoder = _network(config, "autoencoder")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.avi"
        write_clip(path, _frames(_count(config)), config.video.fps)
        return _frames_a_second(config, lambda: encode_clip(autoencoder, to_square(read_clip(path)[0], SIZE)))


def decode(config: StudyConfig) -> dict:
    """Latent frames a second into pixels."""
    autoencoder, latents = _network(config, "autoencoder"), torch.randn(_count(config), 4, SIZE // 8, SIZE // 8)
    return _frames_a_second(config, lambda: decode_clip(autoencoder, latents))


def screen(config: StudyConfig) -> dict:
    """Judging a clip of 64 frames against the training patients of EchoNet-Dynamic: ours every frame that the screen looks at (screen.every) against those of the gallery of each clip
    (screen.gallery_frames), and the published verdict besides; the published one the first frame against first frames."""
    encoder, rng = _network(config, "reid"), torch.Generator().manual_seed(0)

    def embeddings(count: int) -> torch.Tensor:
        return F.normalize(torch.randn(count, encoder.embed(torch.zeros(1, 4, SIZE // 8, SIZE // 8, device=_device())).shape[1], generator=rng), dim=1)

    published = PublishedScreen.fit(embeddings(TRAIN).numpy(), embeddings(HELD_OUT).numpy())
    latents = torch.randn(FRAMES, 4, SIZE // 8, SIZE // 8, device=_device())
    options, seen = config.screen, -(-FRAMES // config.screen.every)
    gallery, held_out = embeddings(TRAIN * options.gallery_frames), [embeddings(seen) for _ in range(64)]
    protocols = Protocols(Screen.fit(gallery, held_out, range(64), options.alpha, options.every), published)

    def work() -> None:
        if config.preset == "paper":
            published.screen(encoder.embed(latents[:1]).float().cpu().numpy())
        else:
            protocols.judge(encoder.embed(protocols.calibrated.looked_at(latents)).float().cpu(), "video")

    with torch.inference_mode():
        work()
        return {"seconds": statistics.median(_timed(work)[1] for _ in range(_VERDICTS))}


def _count(config: StudyConfig) -> int:
    return 32 if _too_slow(config) else 128


def _frames(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE), np.uint8)


def _frames_a_second(config: StudyConfig, work: Callable) -> dict:
    if not _too_slow(config):
        work()
    _, seconds = _timed(work)
    return {"seconds": seconds / _count(config), "frames_a_second": _count(config) / seconds}


def train(config: StudyConfig) -> dict:
    """Windows a second through a training step of the video model (of the published one 8 at once, or on a CPU 1, where more would not fit a laptop; of ours the preset's batch)."""
    network = _network(config, "video")
    batch, steps = (1, 2) if _too_slow(config) else (8, 6) if config.preset == "paper" else (config.video.training.batch_size, 6)
    data = torch.randn(batch, network.config.frames, network.config.channels, network.config.size, network.config.size)
    sample = {
        "data": data,
        "labels": torch.full((batch, network.config.labels), 0.5),
        "weight": torch.ones(batch, network.config.frames),
        "anchor": data[:, 0],
        "mask": torch.zeros(batch, network.config.frames, dtype=torch.bool),
    }
    with tempfile.TemporaryDirectory() as folder:
        options = config.video.training.model_copy(update={"steps": steps, "batch_size": batch, "log_every": 1, "checkpoint_every": 10**6})
        fit(network, generator_loss, lambda samples: sample, options, Path(folder), 0, "video model")
        seconds = [json.loads(line)["seconds"] for line in (Path(folder) / "training.jsonl").read_text().splitlines()]
    window = float(np.median(np.diff(seconds))) / batch
    return {"seconds": window, "windows_a_second": 1 / window, "batch": batch}


MEASURES: dict[str, Callable[[StudyConfig], dict]] = {"clip": clip, "clips": clips, "encode": encode, "decode": decode, "train": train, "screen": screen}


def bench(names: list[str], out: Path, repeats: int) -> dict:
    """Measures `names` of MEASURES for both recipes, in turns, and writes one JSON file a measure to `out`, with the machine. Raises InputError for an unknown name.

    Of each recipe the median over `repeats`; the ratio is the median over the pairs.
    """
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        raise InputError(f"bench {unknown[0]}: choose of {', '.join(MEASURES)}, or all")
    found = {}
    for name in names:
        runs: dict[str, list[dict]] = {recipe: [] for recipe in RECIPES}
        for number in range(repeats):
            for recipe in list(RECIPES)[:: 1 if number % 2 else -1]:
                runs[recipe].append(_alone(name, recipe))
        ratios = [other["seconds"] / own["seconds"] for own, other in zip(runs["compact"], runs["paper"], strict=True)]
        found[name] = {recipe: {key: _middle([run[key] for run in rows]) for key in rows[0]} for recipe, rows in runs.items()}
        found[name] |= {"times_as_quick": statistics.median(ratios), "ratios": ratios, "memory_ratio": found[name]["paper"]["memory_mb"] / found[name]["compact"]["memory_mb"]}
        write_json(out / f"{name}.json", found[name] | {"measure": MEASURES[name].__doc__.strip(), "machine": machine()})
    return found


def machine() -> dict:
    """What the figures were had on."""
    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")] if Path("/proc/cpuinfo").exists() else []
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    about = {"processor": names[0] if names else platform.processor(), "threads": torch.get_num_threads(), "gpu": gpu, "bfloat16": uses_bf16(_device())}
    return about | {"torch": torch.__version__, "echosynth": __version__, "date": datetime.now(UTC).date().isoformat()}


def _alone(name: str, recipe: str) -> dict:
    """One measurement in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "echosynth.bench", name, recipe], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"bench {name}, {recipe}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def _timed(work: Callable):
    start = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - start


def _middle(values: list):
    """The median of numbers (of each part of a table); of anything else the first."""
    if isinstance(values[0], dict):
        return {key: _middle([value[key] for value in values]) for key in values[0]}
    return statistics.median(values) if isinstance(values[0], int | float) else values[0]


if __name__ == "__main__":
    measure, of = sys.argv[1:]
    print(json.dumps(MEASURES[measure](preset(RECIPES[of])) | {"memory_mb": peak_memory_mb()}))
