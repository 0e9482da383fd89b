"""The stages `regressor`, `segmentation` and `evaluation` on toy hearts, beside stages that are already done."""

import numpy as np
import pandas as pd
import pytest

from echosynth.cohort.echonet import read_cohort, write_filelist, write_patients
from echosynth.cohort.video import write_clip
from echosynth.config import EvaluationSection, preset
from echosynth.evaluation.compare import compare
from echosynth.files import read_json
from echosynth.networks.autoencoder import Autoencoder
from echosynth.networks.regressor import RegressorConfig
from echosynth.stages import evaluation, regressor, segmentation
from echosynth.stages.evaluation import joins, seam_frames
from echosynth.stages.start import save_cohort
from echosynth.study import Stage, Study
from echosynth.training.fit import Training
from toy_hearts import beating_ellipse

NEEDED = "autoencoder.psnr adherence.r2 adherence.mae trtr.r2 trtr.mae tstr.r2 tstr.mae reid.auc screen.false_rejection screen.planted_recall video.frechet video.frechet_floor"
NEEDED += (
    " judge.mae trts.r2 mixed.r2 relabelled.r2 relabelled.verdict tstr.verdict tstr.auc_40 tstr.calibration_slope tstr.r2_sd tstr.seeds curve.r2_of_6 curve.r2_of_12 curve.r2_of_96"
)
NEEDED += " video.frechet_infinity video.kid video.precision video.coverage coverage.patients appearance.radiomics appearance.flow volumes.r2"
NEEDED += " autoencoder.ef_bias autoencoder.ef_mae"
NEEDED += " seconds.total seconds.per_synthetic_clip memory.peak_mb trtr.r2_low trtr.r2_high tstr.mae_low temporal.real.flicker temporal.synthetic.beat_present"


def a_cohort(folder, splits, seed, clips_each=1, obeys=True):
    """Hearts whose EF is the one in the list; a disobedient cohort beats with 85 % wherever it is asked for less."""
    rng, rows = np.random.default_rng(seed), []
    for number, split in enumerate(split for split, count in splits.items() for _ in range(count)):
        ef, name = round(float(rng.uniform(15, 80)), 2), f"{seed}N{number}"
        fps = 32.0
        write_clip(folder / "Videos" / f"{name}.avi", beating_ellipse(ef if obeys else 85.0, rng, frames=40, fps=fps, noise=15), fps)
        rows.append(dict(name=name, ef=ef, esv=np.nan, edv=np.nan, height=112, width=112, fps=fps, frames=40, split=split, patient=f"{split}{number // clips_each}"))
    clips = pd.DataFrame(rows)
    write_filelist(folder, clips)
    if clips_each > 1:
        write_patients(folder, clips)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study in which everything but the regressor and the evaluation is done."""
    root = tmp_path_factory.mktemp("evaluation")
    a_cohort(root / "cohort", {"TRAIN": 24, "VAL": 16, "TEST": 16}, seed=1, clips_each=2)
    network = RegressorConfig(size=32, width=8, features=4)
    training = Training(steps=12, batch_size=4, learning_rate=2e-3)
    section = EvaluationSection(network=network, training=training, seeds=2, curve=(0.25, 0.5, 4), clips=16, bootstraps=50)
    cohort = read_cohort(root / "cohort")
    study = Study.create(root / "study", preset("smoke").model_copy(update={"evaluation": section}), root / "cohort", cohort.fingerprint)
    save_cohort(study, cohort)
    done = {
        "autoencoder": {"psnr": 27.5, "ssim": 0.8, "mae": 0.03, "texture": 0.9},
        "reid": {"auc": 0.97, "false_rejection": 0.05, "false_rejection_image": 0.04, "planted_recall": 0.96},
        "synthetic": {"seconds_per_clip": 1.25, "attempts": 30, "rejected_images": 3, "rejected_videos": 1, "missed_ef": 0, "memory_mb": 1.0},
    }
    for name, summary in done.items():
        stage = Stage(name, (), (), lambda study: {})
        key = study.prepare(stage)
        if name == "autoencoder":
            Autoencoder(study.config.autoencoder.network).save_pretrained(study.folder("autoencoder"))
        if name == "synthetic":
            a_cohort(study.folder("synthetic"), {"TRAIN": 12, "VAL": 4, "TEST": 4}, seed=2)
        study.finish(stage, key, summary, 100.0)
    assert all(study.carry_out(stage) for stage in (regressor.STAGE, segmentation.STAGE, evaluation.STAGE))
    return study


def test_all_figures_are_there(study):
    metrics = read_json(study.folder("evaluation") / "metrics.json")
    assert set(NEEDED.split()) <= set(metrics)
    assert (
        metrics["autoencoder.psnr"] == 27.5
        and metrics["reid.auc"] == 0.97
        and metrics["screen.planted_recall"] == 0.96
        and metrics["screen.false_rejection_image"] == 0.04
        and metrics["seconds.per_synthetic_clip"] == 1.25
    )
    assert metrics["seconds.total"] > 300 and metrics["memory.peak_mb"] > 100
    for name in ("trtr", "tstr", "adherence"):
        assert metrics[f"{name}.mae_low"] <= metrics[f"{name}.mae"] <= metrics[f"{name}.mae_high"]
    assert all(metrics[f"temporal.{kind}.beat_present"] > 0.5 for kind in ("real", "synthetic"))
    assert metrics["video.frechet"] > 0 and metrics["video.frechet_floor"] > 0 and metrics["video.samples"] == 16
    assert study.summary("evaluation")["summary"]["trtr.r2"] == metrics["trtr.r2"]


def test_figures_agree_with_the_tables(study):
    metrics, folder = read_json(study.folder("evaluation") / "metrics.json"), study.folder("evaluation")
    seeds = ["ef", "predicted", "predicted_2"]
    for name, columns, clips in (("adherence", ["asked", "measured"], 20), ("trtr", seeds, 16), ("tstr", seeds, 16)):
        table = pd.read_parquet(folder / f"{name}.parquet")
        assert list(table) == columns and len(table) == clips == metrics[f"{name}.clips"]
        assert metrics[f"{name}.mae"] == pytest.approx(table[columns[1:]].sub(table[columns[0]], axis=0).abs().mean().mean())
    asked = pd.read_parquet(folder / "adherence.parquet")["asked"]
    assert asked.tolist() == read_cohort(study.folder("synthetic"), splits=False).clips["ef"].tolist()
    predictions = pd.read_parquet(study.folder("regressor") / "predictions.parquet")
    assert list(predictions) == ["split", "patient", "ef", "predicted"] and predictions.groupby("patient").size().eq(2).all()
    assert predictions.loc[predictions["split"] == "TEST", "predicted"].tolist() == pd.read_parquet(folder / "trtr.parquet")["predicted"].tolist()
    motion = pd.read_parquet(folder / "motion.parquet")
    assert set(motion["kind"]) == {"real", "synthetic"} and motion.groupby(["kind", "clip"])["time_s"].apply(lambda t: t.is_monotonic_increasing and t.iloc[0] == 0).all()


def test_no_name_of_a_patient_or_clip_leaves_and_nothing_half_done_stays(study):
    cohort = read_cohort(study.cohort_path)
    names = {value.encode() for value in [*cohort.clips["name"], *cohort.clips["patient"]] if len(value) > 3}
    for folder in ("evaluation", "regressor"):
        for path in study.folder(folder).rglob("*"):
            assert not path.is_file() or not any(name in path.read_bytes() for name in names), path
        assert not list(study.folder(folder).rglob("clips.*")) and not list(study.folder(folder).rglob("checkpoint"))


def test_a_second_run_does_nothing(study):
    assert not study.carry_out(regressor.STAGE) and not study.carry_out(evaluation.STAGE)


def test_what_cannot_be_known_is_null_with_the_reason(study):
    metrics = read_json(study.folder("evaluation") / "metrics.json")
    assert metrics["curve.r2_of_12"] == pytest.approx(metrics["curve.r2_of_12"]) and metrics["curve.r2_of_96"] is None and "fewer than 96" in metrics["curve.r2_of_96_reason"]
    assert metrics["video.kid"] is None and "50 needed" in metrics["video.kid_reason"] and "50 needed" in metrics["coverage.patients_reason"]
    assert metrics["volumes.r2"] is None and "VolumeTracings" in metrics["volumes.r2_reason"]
    assert metrics["tstr.seeds"] == 2 and metrics["tstr.verdict"] == "none: 8 patients, 30 needed"


def test_the_kinds_of_training_differ_in_what_they_are_trained_on(study):
    folder = study.folder("evaluation")
    weights = {path.parent.name: path.read_bytes() for path in folder.glob("*/model.safetensors")}
    assert set(weights) == {"tstr", "tstr-2", "trtr-2", "mixed", "mixed-2", "relabelled", "relabelled-2", "curve-6", "judge"}  # 12 clips are all there are: the first of TSTR
    assert len(set(weights.values())) == len(weights)


def test_figures_that_mean_nothing_are_null(study, tmp_path):
    """Four clips that all beat alike although they were asked for different EFs: no covariance of features, and no adherence."""
    a_cohort(tmp_path / "made", {"TRAIN": 2, "VAL": 1, "TEST": 1}, seed=3, obeys=False)
    real, synthetic = read_cohort(study.cohort_path), read_cohort(tmp_path / "made", splits=False)
    section = study.config.evaluation.model_copy(update={"seeds": 1, "judge": "trtr", "trainings": (), "curve": ()})
    metrics = compare(real, synthetic, section, tmp_path / "out", study.folder("regressor"), 0, 32.0)
    assert metrics["video.frechet"] is None and metrics["video.frechet_floor"] is None and "5 needed" in metrics["video.frechet_reason"]
    assert metrics["adherence.r2"] < 0.5 and metrics["tstr.verdict"] == "none: 1 seed a kind, 2 needed" and "trts.r2" not in metrics


def test_windows_are_joined_where_the_margins_leave_off():
    demo, paper = preset("demo"), preset("paper")
    network = demo.video.network.model_copy(update={"bands": (1, 1, 70), "margin": 4})
    options = demo.synthesis.model_copy(update={"frames": 170})
    assert joins(network, options) == (64, 116, 168) and joins(paper.video.network, paper.synthesis) == (64, 96, 128, 160)
    windowed = options.model_copy(update={"long_videos": "windowed"})
    assert joins(network, windowed) == seam_frames(network, windowed) == (68, 100, 132, 164)
    assert seam_frames(network, options) == (*range(64, 69), *range(116, 121), 168, 169)  # each piece fades in over four frames
