"""How good the simulated cohort is: its physics, its looks beside real apical views, and what can be learnt from it.

python -m benchmarks.phantom physics            seconds
python -m benchmarks.phantom looks              a minute: grey levels, texture and motion of every site beside real clips; with --real FOLDER of a folder of AVI
python -m benchmarks.phantom ef                 20 minutes on two cores: EF from stills and from clips
python -m benchmarks.phantom identity           20 minutes: patients known again by their hearts and by the surround
python -m benchmarks.phantom montage OUT.png    phantoms; with --real FOLDER phantoms of many scanners and real clips of a folder of AVI, shuffled (not to be committed), and prints which is which
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.nn import functional as F

from echosynth.cohort.discs import disc_volume
from echosynth.cohort.echonet import Cohort, read_cohort
from echosynth.cohort.latents import LatentStore, frame_indices, write_latents
from echosynth.cohort.phantom import SITES, PhantomClip, simulate_clip, simulate_cohort
from echosynth.cohort.phantom.scanner import envelopes
from echosynth.cohort.phantom.patient import Rhythm
from echosynth.cohort.video import read_clip, to_square, write_clip
from echosynth.config import preset
from echosynth.metrics.ejection import r2
from echosynth.metrics.texture import grey_levels, speckle_autocorrelation
from echosynth.networks.autoencoder import Autoencoder, encode_clip
from echosynth.networks.reid import ReidConfig, ReidEncoder
from echosynth.privacy.pairs import pair_auc
from echosynth.stages.start import initial
from echosynth.training.fit import Training
from echosynth.training.regressor import read_ef, train_regressor
from echosynth.training.reid import embed_frames, train_reid

# 10th, 25th, 50th, 75th and 90th percentile over 12 public apical clips of five diagnoses, as `look` measures them.
REAL = pd.DataFrame.from_dict(
    {
        "mean": (18.2, 22.3, 27.1, 36.3, 40),
        "sd": (32.1, 38.6, 43.5, 57, 66.3),
        "dark_share": (0.475, 0.521, 0.573, 0.673, 0.732),
        "lit_median": (49.3, 52, 55.5, 65, 69.5),
        "lit_p90": (103, 119, 146, 172, 219),
        "frame_difference": (2.87, 3.8, 5.27, 7.21, 8.28),
        "down_1": (0.691, 0.75, 0.77, 0.794, 0.805),
        "down_2": (0.454, 0.492, 0.534, 0.567, 0.61),
        "down_3": (0.331, 0.346, 0.374, 0.447, 0.487),
        "down_4": (0.217, 0.268, 0.293, 0.368, 0.395),
        "across_1": (0.674, 0.707, 0.726, 0.769, 0.789),
        "across_2": (0.194, 0.245, 0.275, 0.352, 0.385),
        "across_3": (-0.0899, -0.0805, -0.0258, 0.0174, 0.0428),
        "across_4": (-0.236, -0.214, -0.178, -0.15, -0.133),
        "time_1": (0.724, 0.753, 0.816, 0.849, 0.897),
        "time_2": (0.576, 0.614, 0.652, 0.746, 0.806),
        "time_5": (0.329, 0.381, 0.445, 0.525, 0.613),
    },
    orient="index",
    columns=[0.1, 0.25, 0.5, 0.75, 0.9],
)
PATIENTS, SEED = 500, 5
BUDGET = 2  # times the steps of the preset demo, which has fewer patients
IDENTITY_STEPS = 800  # of the re-identification encoder, which the preset demo does not train


def look(frames: np.ndarray, fps: float) -> dict[str, float]:
    """Grey levels, differences of frames and texture of a clip uint8 (T, H, W): at 112 x 112 by area, its first 60 frames at 30 a second."""
    at, valid = frame_indices(0.0, 60, fps, 30.0, len(frames))
    frames = to_square(frames[at[valid]])
    difference = float(np.abs(np.diff(frames.astype(np.float32), axis=0)).mean())
    return grey_levels(frames) | {"frame_difference": difference} | speckle_autocorrelation(frames)


def looks_of_site(site: str, patients: int) -> pd.DataFrame:
    """A row a clip."""
    clips = (simulate_clip(SEED, p, 0, site) for p in range(patients))
    return pd.DataFrame([look(clip.frames(overlays=False), clip.site.fps) for clip in clips])


def looks_of_folder(folder: Path) -> pd.DataFrame:
    """A row an AVI of the folder."""
    return pd.DataFrame([look(*read_clip(path)) for path in sorted(folder.glob("*.avi"))])


def print_looks(real: Path | None) -> None:
    """The percentiles of "many", its verdict against the real ones and the medians of the named sites."""
    found = {site: looks_of_site(site, 24) for site in SITES} | {"many": looks_of_site("many", 40)}
    truth = _percentiles(looks_of_folder(real)) if real else REAL
    many = _percentiles(found["many"])
    print(f"{'':18}{'real 10 / 25 / 50 / 75 / 90 %':>40}{'many':>40}  inside covers" + "".join(f"{site:>9}" for site in SITES))
    for name in truth.index:
        cells = "".join(" / ".join(f"{value:5.3g}" for value in table.loc[name]).rjust(40) for table in (truth, many))
        (low, q1, _, q3, high), (at_least, _, middle, _, at_most) = truth.loc[name], many.loc[name]
        verdict = f"{'yes' if q1 <= middle <= q3 else 'no':>8}{'yes' if at_least <= low and high <= at_most else 'no':>7}"
        print(f"{name:18}{cells}{verdict}" + "".join(f"{found[site][name].median():9.2f}" for site in SITES))


def _percentiles(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.quantile([0.1, 0.25, 0.5, 0.75, 0.9]).T


def area_length(lines: np.ndarray, length: float) -> float:
    """Volume from the short axis, 5/6 area x length; the area from the 20 chords and the height."""
    spans = np.hypot(lines[:, 2] - lines[:, 0], lines[:, 3] - lines[:, 1])
    return float(5 / 6 * spans[1:].mean() * spans[0] * length)


def tracing_error(clip: PhantomClip) -> float:
    """EF from the tracings minus the label, in points."""
    diastole, systole = clip.tracings().values()
    if clip.view_name == "a4c":
        volumes = disc_volume(diastole), disc_volume(systole)
    else:
        volumes = area_length(diastole, clip.patient.length), area_length(systole, clip.patient.length - clip.patient.mapse)
    return 100 * (volumes[0] - volumes[1]) / volumes[0] - clip.ef


def wall_snr(clip: PhantomClip, draws: int = 60) -> float:
    """Mean over standard deviation of the envelope in bright tissue, over independent draws of the scatterers' amplitudes: 1.91 for fully developed speckle (Burckhardt 1978)."""
    still = Rhythm(*(np.zeros(1) for _ in range(5)))
    site = replace(clip.site, looks=1.0, haze=-200.0, veil=-200.0, side_lobes=-200.0, reverberation=-200.0)
    envelope = []
    for k in range(draws):
        visit = replace(clip.visit, seed=k, breathing=0.0, drift=np.zeros((2, 3)))
        envelope.append(np.sqrt(next(envelopes(clip.patient, clip.view, site, visit, np.zeros(1), still))))
    envelope = np.stack(envelope)
    lit = envelope.mean(0) > np.quantile(envelope.mean(0), 0.8)  # wall and other bright tissue
    return float((envelope.mean(0) / envelope.std(0, ddof=1))[lit].mean())


def physics() -> dict:
    """The figures of the physics, worst case where a bound is meant."""
    found = {"ef_error_a4c": 0.0, "ef_error_psax": 0.0}
    for population in ("adult", "paediatric"):
        for view in ("a4c", "psax"):
            errors = [abs(tracing_error(simulate_clip(SEED, p, 0, "many", frames=60, view=view, population=population))) for p in range(60)]
            found[f"ef_error_{view}"] = max(found[f"ef_error_{view}"], *errors)
    found["wall_snr"] = float(np.mean([wall_snr(simulate_clip(SEED, p, 0, "alder", frames=1)) for p in range(4)]))
    clip = simulate_clip(SEED, 0, 0, "alder", frames=100)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        write_clip(Path(folder) / "clip.avi", clip.frames(), clip.site.fps)
    return found | {"seconds_a_clip_and_core": time.process_time() - start}


def surround_mask(clips: list[PhantomClip], size: int = 112, most: float = 0.05) -> np.ndarray:
    """(size, size) bool: pixels that show the heart in at most the share `most` of the clips."""
    covered = np.zeros((size, size))
    grid = (np.arange(size) + 0.5) / size
    for clip in clips:
        world_x, world_y = np.meshgrid((grid - 0.5) * clip.extent, grid * clip.extent)
        x, z = clip.view.place.view(world_x, world_y)
        s, side = z / clip.patient.length, np.where(x < 0, -1.0, 1.0)
        epicardium = clip.lv.radius(s, side, np.zeros(1)) + clip.lv.thickness(s, side)
        heart = (np.abs(x) < epicardium + 0.4) & (s > -0.06) & (s < 1.05)
        for chamber in clip.view.cavities.values():
            heart |= chamber.level(x, z) < 1.2
        covered += heart
    return covered / len(clips) <= most


def ef() -> dict:
    """R2 of EF on held-out patients from one frame and from clips."""
    section, found = preset("demo").evaluation, {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        cohort = _cohort(folder)
        _stills(cohort, folder / "stills")
        train, test = cohort.split("TRAIN"), cohort.split("TEST")
        for kind, root in (("clip", cohort.root / "Videos"), ("still", folder / "stills")):
            videos = [(root / f"{name}.avi", ef) for name, ef in zip(train["name"], train["ef"], strict=True)]
            model = train_regressor(videos, section.network, _longer(section.training), folder / kind, SEED, f"EF from a {kind}")
            found[f"ef_r2_{kind}"] = float(r2(test["ef"].to_numpy(), read_ef(model, [root / f"{name}.avi" for name in test["name"]], f"reading {kind}s")))
    return found


def identity() -> dict:
    """AUC over visits of unseen patients, frame against frame and clip against clip, from whole frames and from the surround alone."""
    base, found = preset("demo"), {}
    torch.manual_seed(SEED)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        cohort = _cohort(folder)
        autoencoder = initial("simulated", "autoencoder", Autoencoder, base.autoencoder.network)
        clips = [simulate_clip(SEED, p, 0, "alder", frames=1) for p in range(100)]
        for kind, mask in (("heart", None), ("surround", surround_mask(clips))):
            training = base.reid.training.model_copy(update={"steps": IDENTITY_STEPS})
            frames, whole = _identity(cohort, autoencoder, mask, base.reid.network, training, folder / f"latents {kind}")
            found |= {f"identity_auc_{kind}_frames": frames, f"identity_auc_{kind}_clips": whole}
    return found


def _cohort(folder: Path) -> Cohort:
    simulate_cohort(folder / "cohort", PATIENTS, 2, SEED, "alder")
    return read_cohort(folder / "cohort")


def _longer(training: Training) -> Training:
    return training.model_copy(update={"steps": BUDGET * training.steps})


def _stills(cohort: Cohort, folder: Path) -> None:
    """Every clip as its first frame, repeated: the same network and budget, without motion."""
    for name in cohort.clips["name"]:
        clip, fps = read_clip(cohort.path(name))
        write_clip(folder / f"{name}.avi", np.repeat(clip[:1], len(clip), 0), fps)


def _identity(cohort: Cohort, autoencoder: Autoencoder, mask: np.ndarray | None, network: ReidConfig, training: Training, folder: Path) -> tuple[float, float]:
    """Of four frames a clip, each against each; and of clips, by the mean of the embeddings of all their frames (every fourth is kept)."""

    def encode(name: str) -> torch.Tensor:
        clip = to_square(read_clip(cohort.path(name))[0])[::4]
        with torch.inference_mode():
            return encode_clip(autoencoder, clip if mask is None else clip * mask.astype(np.uint8))

    clips = cohort.clips.assign(frames=-(-cohort.clips["frames"] // 4))
    write_latents(folder, clips, encode)
    store = LatentStore.open(folder)
    encoder = ReidEncoder(network)
    train_reid(encoder, store, training, folder / "reid", SEED)
    test = np.flatnonzero((store.index["split"] == "TEST").to_numpy())
    spread = [store.window(int(row), np.linspace(0, int(store.index["frames"].iloc[row]) - 1, 4).astype(int)) for row in test]
    owner = np.repeat(test, 4)
    patients = store.index["patient"].to_numpy()
    clips = torch.stack([F.normalize(embed_frames(encoder, store.window(int(row), np.arange(store.index["frames"].iloc[row]))).mean(0), dim=0) for row in test])
    return pair_auc(embed_frames(encoder, torch.cat(spread)), patients[owner], owner).visits, pair_auc(clips, patients[test], test).visits


def montage(out: Path) -> None:
    """Phantoms of both views and populations from every site."""
    rows = []
    for view, population in (("a4c", "adult"), ("psax", "adult"), ("a4c", "paediatric")):
        for p in (1, 2):
            row = [to_square(simulate_clip(SEED, p, 0, site, frames=1, view=view, population=population).frames())[0] for site in SITES]
            rows.append(np.concatenate(row, 1))
    _save(np.concatenate(rows), out)


def shuffled_montage(out: Path, real: Path, columns: int = 6) -> None:
    """A frame of each AVI of a folder among as many phantoms of many scanners, in random order; prints the real places, so look before you read."""
    paths = sorted(real.glob("*.avi"))
    frames = [to_square(read_clip(path)[0][10:11])[0] for path in paths]
    frames += [to_square(simulate_clip(SEED, 100 + p, 0, "many", frames=11).frames()[10:])[0] for p in range(len(paths))]
    frames += [np.zeros_like(frames[0])] * (-len(frames) % columns)
    order = np.random.default_rng(SEED).permutation(2 * len(paths))
    shown = [frames[k] for k in order] + frames[2 * len(paths) :]
    _save(np.concatenate([np.concatenate(shown[k : k + columns], 1) for k in range(0, len(shown), columns)]), out)
    print("real:", ", ".join(f"row {k // columns + 1} column {k % columns + 1}" for k in np.flatnonzero(order < len(paths))))


def _save(picture: np.ndarray, out: Path) -> None:
    image = Image.fromarray(picture)
    image.resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC).save(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("physics", "looks", "ef", "identity", "montage"))
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--real", type=Path)
    options = parser.parse_args()
    out = options.out or Path("montage.png")
    if options.what == "looks":
        print_looks(options.real)
    elif options.what == "montage":
        shuffled_montage(out, options.real) if options.real else montage(out)
    else:
        print(json.dumps({"physics": physics, "ef": ef, "identity": identity}[options.what](), indent=2))


if __name__ == "__main__":
    main()
