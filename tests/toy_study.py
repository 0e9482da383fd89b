"""A small study as the stages leave it: every file that the report reads, and nothing trained."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from echosynth.cohort.video import write_clip
from echosynth.config import preset
from echosynth.files import write_json
from echosynth.manifest import manifest_of, root_hash
from echosynth.seals import write_sealed
from echosynth.study import Study

SECRET = "0XPATIENT"  # begins the name of every clip of the cohort: none may reach the page
COHORT, STAGES = "site-a", ("autoencoder", "latents", "image", "reid", "video", "regressor", "segmentation", "synthetic", "unselected", "evaluation")
METRICS = {
    "autoencoder.psnr": 25.31, "autoencoder.ssim": 0.812, "autoencoder.mae": 0.0231,
    "adherence.r2": 0.861, "adherence.r2_low": 0.82, "adherence.r2_high": 0.89, "adherence.mae": 4.2,
    "trtr.r2": 0.95, "trtr.mae": 2.4, "trtr.rmse": 3.1, "tstr.r2": 0.76, "tstr.r2_low": 0.69, "tstr.r2_high": 0.81, "tstr.r2_of_trtr": 0.8, "tstr.mae": 4.9, "tstr.rmse": 6.2,
    "reid.auc": 0.981, "screen.false_rejection": 0.081, "screen.planted_recall": 0.974, "screen.sensitivity": 0.96, "screen.worst_copy": 0.4, "screen.worst_copy_low": 0.31, "screen.worst_copy_high": 0.49, "screen.worst_copy_kind": "shift 6, images", "screen.planted_recall_video": 0.99,
    "video.frechet": None, "video.frechet_reason": "needs 64 clips, there are 6", "video.frechet_floor": 1.25, "video.encoder": "5e" * 32, "temporal.real.dominant_period": 0.97, "temporal.synthetic.dominant_period": 0.94, "temporal.real.beat_seconds": 0.88,
    "temporal.synthetic.beat_seconds": 0.91, "grey.real.mean": 31.5, "grey.synthetic.mean": 30.2, "speckle.real.down_1": 0.77, "speckle.synthetic.down_1": None,
    "tstr.r2_unselected": 0.7, "tstr.r2_of_trtr_unselected": 0.74, "tstr.mae_more_than_trtr_unselected": 3.1, "tstr.verdict_unselected": "inferior", "tstr.mae_more_than_trtr": 2.5, "tstr.mae_more_than_trtr_low": 1.9, "tstr.mae_more_than_trtr_high": 3.2,
    "adherence.r2_unselected": 0.71, "adherence.slope": 0.93, "adherence.slope_unselected": 0.69, "screen.drawn_anew": 0.46,
    **{f"appearance.detectability_{name}": 0.9 for name in ("28", "56", "56_unselected", "112", "clips", "clips_unselected", "reconstruction_56", "reconstruction_112")},
    "appearance.detectability_56_floor": 0.52, "appearance.radiomics": 76.7, "appearance.radiomics_floor": 3.9, "video.kid": 0.093, "video.kid_floor": 0.019, "video.kid_floor_sd": 0.004,
    "video.precision": 0.83, "video.precision_floor": 0.92, "video.recall": 0.91, "video.recall_floor": 0.95,
    "volumes.r2": 0.8, "volumes.mae": 4.0, "tstr.verdict": "inconclusive", "seconds.per_synthetic_clip": 1.12,
}  # fmt: skip
REID = {
    "threshold_image": 0.84, "threshold_video": 0.86, "warning": "the validation split has 12 patients",
    "planted": [{"sample": "image", "kind": kind, "strength": strength, "near": near, "required": required, "recall": recall, "low": recall - 0.1, "high": recall, "patients": 100}
                for kind, strength, near, required, recall in (("noise", 4, True, False, 0.99), ("noise", 20, False, False, 0.41), ("shift", 1, True, False, 0.97), ("shift", 6, False, True, 0.4))],
    "level": 0.05, "false_rejection_image": 0.04, "false_rejection_image_low": 0.01, "false_rejection_image_high": 0.09,
    "published_tau": 0.912, "published_expected_false_rejection": 0.26, "published_false_rejection": 0.231, "published_false_rejection_low": 0.2, "published_false_rejection_high": 0.3,
}  # fmt: skip


def beating(ef: float, frames: int, fps: float, seed: int, size: int = 112) -> np.ndarray:
    """uint8 (T, size, size): a sector of speckle with a dark ellipse that beats once a second, the deeper the higher the EF (percent)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    cone = (np.abs(x - 0.5) < 0.62 * y) & (np.hypot(x - 0.5, y) < 0.97)
    speckle = rng.rayleigh(55, (size, size)) * (0.6 + 0.4 * np.sin(9 * y + rng.uniform(0, 6)))
    radius = 0.2 * (1 - ef / 250 * (1 - np.cos(2 * np.pi * np.arange(frames) / fps + rng.uniform(0, 6))))
    cavity = np.hypot((x - 0.47) / 0.8, (y - 0.45) / 1.5)[None] < radius[:, None, None]
    return np.clip(np.where(cavity, 14, speckle) * cone + cone * rng.normal(0, 5, (frames, size, size)), 0, 255).astype(np.uint8)


def make_clips(folder: Path, names: list[str], efs: np.ndarray, fps: float, frames: int = 48) -> None:
    for seed, (name, ef) in enumerate(zip(names, efs, strict=True)):
        write_clip(folder / "Videos" / f"{name}.avi", beating(ef, frames, fps, seed), fps)


def make_study(root: Path, clips: int = 6, points: int = 40) -> Study:
    """A finished study of `clips` clips on both sides, with tables of `points` rows."""
    rng = np.random.default_rng(0)
    cohort = root / COHORT
    study = Study.create(root / "study", preset("smoke"), cohort, "ab12cd34" * 8)
    efs = np.linspace(20, 75, clips)

    names = [f"{SECRET}{i:04d}" for i in range(clips)]
    make_clips(cohort, names, efs, fps=50.0)
    index = pd.DataFrame({"name": names, "patient": [f"{SECRET}P{i // 2}" for i in range(clips)], "split": "TRAIN", "ef": efs, "fps": 50.0, "frames": 48, "shard": 0})
    study.folder("latents").mkdir()
    index.to_parquet(study.folder("latents") / "index.parquet")

    made = [f"0X{i:016X}" for i in range(clips)]
    make_clips(study.folder("synthetic"), made, efs + 1, fps=32.0)
    listed = {"FileName": made, "EF": efs + 1, "ESV": np.nan, "EDV": np.nan, "FrameHeight": 112, "FrameWidth": 112, "FPS": 32, "NumberOfFrames": 48, "Split": "TRAIN"}
    pd.DataFrame(listed).to_csv(study.folder("synthetic") / "FileList.csv", index=False)
    screening = pd.DataFrame(
        {"slot": np.arange(clips), "attempt": 0, "kind": "image", "score": rng.beta(20, 8, clips), "p": 0.4, "kept": [False] + [True] * (clips - 1), "similarity": 0.9}
    )
    screening = screening.assign(calibrated=screening["kept"], published=~screening["kept"])
    pd.concat([screening, screening.assign(kind="video", kept=True)]).to_parquet(study.folder("synthetic") / "screening.parquet")

    real = np.stack([beating(ef, 48, 50.0, 90 + i) for i, ef in enumerate((30, 60))])
    study.folder("autoencoder").mkdir()
    save_file({"real": real, "reconstructed": (real // 8 * 8).astype(np.uint8)}, study.folder("autoencoder") / "examples.safetensors", metadata={"fps": "50"})
    for stage in ("autoencoder", "image", "reid", "video", "regressor", "evaluation/tstr"):
        study.folder(stage).mkdir(parents=True, exist_ok=True)
        rows = [{"step": step, "loss": float(2 * np.exp(-step / 150) + 0.2 + 0.05 * rng.random()), "seconds": step / 10} for step in range(10, 610, 10)]
        (study.folder(stage) / "training.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kinds = {"held-out calibration": (20, 8), "held-out test": (20, 8), "planted copy": (200, 4)}
    scores = [pd.DataFrame({"kind": kind, "sample": sample, "score": rng.beta(*law, points), "p": 0.5}) for kind, law in kinds.items() for sample in ("image", "video")]
    pd.concat(scores).to_parquet(study.folder("reid") / "scores.parquet")

    evaluation = study.folder("evaluation")
    asked = rng.uniform(15, 80, points)
    pd.DataFrame({"asked": asked, "measured": asked + rng.normal(0, 4, points)}).to_parquet(evaluation / "adherence.parquet")
    for name, spread in (("trtr", 3), ("tstr", 6)):
        pd.DataFrame({"ef": asked, "predicted": asked + rng.normal(0, spread, points)}).to_parquet(evaluation / f"{name}.parquet")
    pd.DataFrame({"asked": asked, "measured": asked + rng.normal(0, 4, points)}).to_parquet(evaluation / "volumes.parquet")
    pd.DataFrame({"clips": [10, 40, 160], "r2": [0.3, 0.6, 0.8], "r2_low": [0.2, 0.5, 0.7], "r2_high": [0.4, 0.7, 0.9], "mae": [9.0, 6.0, 4.0]}).to_parquet(
        evaluation / "curve.parquet"
    )
    reached = {"kind": "EF", "stratum": ["EF < 30", "EF >= 70"], "clips": [8, 30], "covered": [0.25, 0.9], "by_real": [0.9, 0.95], "made": [0.01, 0.2]}
    pd.DataFrame(reached).to_parquet(evaluation / "coverage.parquet")
    time = np.arange(64) / 32
    motion = [
        pd.DataFrame({"kind": kind, "clip": name, "time_s": time, "value": 10 * np.sin(2 * np.pi * time / 0.9 + i) + rng.normal(0, 1, 64)})
        for kind, clip_names in (("real", names), ("synthetic", made))
        for i, name in enumerate(clip_names)
    ]
    pd.concat(motion).to_parquet(evaluation / "motion.parquet")
    write_json(evaluation / "metrics.json", METRICS)

    for i, stage in enumerate(STAGES):
        about = {"stage": stage, "key": f"{i:064x}", "seed": 0, "seconds": 10.0 + 7 * i, "finished": f"2026-01-02T03:{10 + i}:00+00:00", "memory_mb": 900.0 + i}
        summary = {"clips": clips, "out": str(root), "scores": {"best": 0.5}} | (REID if stage == "reid" else {})
        record(study, stage, about | {"versions": {"torch": "2.9.0", "python": "3.11.2"}, "summary": summary})
    return study


def record(study: Study, stage: str, about: dict) -> None:
    """Declares a stage done, with the files that lie in its folder now."""
    folder = study.folder(stage)
    folder.mkdir(exist_ok=True)
    artefacts = manifest_of(folder, without=("stage.json", "begun.json"))
    sealed = {"inputs": {}, "depends_on": {"config": {}}} | about | {"root": root_hash(artefacts), "artefacts": artefacts}
    write_sealed(folder / "stage.json", sealed, study.seal_key)


def record_again(study: Study) -> None:
    """Declares what lies in the folders of the finished stages now to be what they have left."""
    for path in study.root.glob("*/stage.json"):
        record(study, path.parent.name, study.summary(path.parent.name))


def moved(root: Path, cohort: Path, **changes) -> Study:
    """A copied study in `root`, whose cohort lies in `cohort` now; what was changed in its stages counts as what they have left."""
    study = Study.open(root)
    write_sealed(root / "cohort.json", study.source | {"path": str(cohort)} | changes, study.seal_key)
    study = Study.open(root)
    record_again(study)
    return study
