"""The whole way, small but nowhere faked: from a cohort on disk to a report, through the command line, killed on the way and gone on with."""

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from echosynth.cohort.check import inspect
from echosynth.cohort.echonet import read_cohort
from echosynth.cohort.phantom import simulate_cohort
from echosynth.cohort.video import read_clip, write_clip
from echosynth.errors import InputError
from echosynth.files import USER_UMASK
from echosynth.networks.regressor import Regressor, predict_ef
from echosynth.stages import unselected
from echosynth.stages.budget import statement
from echosynth.stages.evaluation import joins
from echosynth.stages.synthesis import STAGE, release
from echosynth.study import Study
from toy_hearts import beating_ellipse

SOURCE = Path(__file__).parents[2] / "src"
METRICS = [
    "autoencoder.psnr",
    "adherence.r2",
    "adherence.mae",
    "trtr.r2",
    "trtr.mae",
    "tstr.r2",
    "tstr.mae",
    "reid.auc",
    "screen.false_rejection",
    "screen.planted_recall",
    "video.frechet",
    "video.frechet_floor",
    "seconds.total",
    "seconds.per_synthetic_clip",
    "memory.peak_mb",
]
STAGES = ["autoencoder", "latents", "image", "reid", "video", "regressor", "segmentation", "synthetic", "unselected", "evaluation", "report"]
ONE_TRAINING = [word for option in ("seeds=1", "judge=trtr", "trainings=[]", "curve=[]") for word in ("--set", f"evaluation.{option}")]  # what the rest adds, the first study shows
SLOW_VIDEO = ["--set", "video.training.steps=10", "--set", "video.training.checkpoint_every=4", "--set", "video.training.log_every=1"]


def echosynth(*arguments, wait=True):
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "COLUMNS": "200"}
    process = subprocess.Popen([sys.executable, "-m", "echosynth", *map(str, arguments)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if not wait:
        return process
    out, err = process.communicate(timeout=1800)
    assert process.returncode == 0, err
    return out, err


def is_figure(metrics, key):
    """A number, or null with the reason beside it: twelve clips are too few for a Frechet distance."""
    value = metrics[key]
    return bool(np.isfinite(value)) if value is not None else key.startswith("video.frechet") and bool(metrics["video.frechet_reason"])


def stage_files(study):
    return {name: (study / name / "stage.json").read_bytes() for name in STAGES}


def digests(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke") / "phantom"
    simulate_cohort(folder, patients=10, clips_per_patient=2, seed=3, site="alder", workers=2)
    return folder


@pytest.fixture(scope="module")
def killed(cohort):
    """A run that was killed without warning in the middle of the video model's training; what it had left by then."""
    study = cohort.parent / "study"
    process = echosynth("run", study, "--cohort", cohort, "--preset", "smoke", *SLOW_VIDEO, wait=False)
    checkpoint = study / "video" / "checkpoint" / "checkpoint.safetensors"
    deadline = time.monotonic() + 1800
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, err
    assert checkpoint.exists()
    return study, {name: (study / name / "stage.json").exists() for name in STAGES}, (study / "video" / "training.jsonl").read_text().splitlines()


@pytest.fixture(scope="module")
def finished(killed):
    """The same study, gone on with by its name alone."""
    study, _, _ = killed
    before = {name: (study / name / "stage.json").read_bytes() for name, done in killed[1].items() if done}
    return study, before, *echosynth("run", study)


def test_a_kill_leaves_finished_stages_and_nothing_half_written(killed):
    _, done, _ = killed
    assert [name for name in STAGES if done[name]] == ["autoencoder", "latents", "image", "reid"]


def test_a_killed_run_goes_on_from_its_checkpoint(killed, finished):
    study, before, _, err = finished
    for name, content in before.items():
        assert (study / name / "stage.json").read_bytes() == content and f"{name}: done before" in err
    log = [json.loads(line) for line in (study / "video" / "training.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == list(range(1, 11))
    assert (study / "video" / "training.jsonl").read_text().splitlines()[:4] == killed[2][:4]


def test_every_artefact_is_there(finished):
    study, _, out, _ = finished
    for name in ("autoencoder", "image", "reid", "video", "regressor", "segmentation", "evaluation/tstr", "evaluation/judge"):
        for file in ("config.json", "model.safetensors", "training.jsonl"):
            assert (study / name / file).stat().st_size > 0
    for file in ("study.yaml", "cohort.json", "latents/index.parquet", "reid/calibration.safetensors", "regressor/predictions.parquet", "synthetic/FileList.csv"):
        assert (study / file).stat().st_size > 0
    for name in STAGES:
        about = json.loads((study / name / "stage.json").read_text())
        assert about["seconds"] >= 0 and about["memory_mb"] > 0 and about["versions"]["torch"] and not (study / name / "begun.json").exists()
    page = (study / "report" / "index.html").read_text()
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?\s*(https?:)?//""", page) and "<script src" not in page
    assert str(study / "report" / "index.html") in out
    assert not list(study.rglob("*.partial")) and not [path for path in study.rglob("*") if path.suffix in (".pt", ".pth", ".pkl", ".npy", ".bin")]


def test_the_metrics_are_there_and_are_numbers(finished):
    metrics = json.loads((finished[0] / "report" / "metrics.json").read_text())
    for key in METRICS:
        assert is_figure(metrics, key), key
    assert metrics["autoencoder.psnr"] > 10 and 0 <= metrics["reid.auc"] <= 1 and 0 <= metrics["screen.planted_recall"] <= 1 and metrics["memory.peak_mb"] > 100


def test_no_patient_or_path_gets_into_the_report(finished, cohort):
    released = (finished[0] / "report" / "index.html").read_text() + (finished[0] / "report" / "metrics.json").read_text()
    assert str(cohort) not in released
    for name in read_cohort(cohort).clips["name"]:
        assert name not in released


def test_a_second_run_does_nothing(finished, cohort):
    study = finished[0]
    before = stage_files(study)
    _, err = echosynth("run", study, "--cohort", cohort, "--preset", "smoke", *SLOW_VIDEO)
    assert stage_files(study) == before and err.count("done before, nothing to do") == len(STAGES)


def test_the_synthetic_cohort_is_a_cohort(finished, cohort):
    synthetic = finished[0] / "synthetic"
    report = inspect(synthetic)
    assert not report.problems and len(report.clips) == 12
    assert all("volumes give" in str(warning) for warning in report.warnings)  # hearts of six training steps do not obey the EF, and the segmentation says so
    out, _ = echosynth("check", synthetic)
    assert "12 clips" in out and "no problem" in out
    source = read_cohort(cohort).clips
    assert abs((report.clips["split"] == "TRAIN").mean() - (source["split"] == "TRAIN").mean()) < 1 / 12
    assert not set(report.clips["ef"]) & set(source["ef"].round(2)) or len(set(report.clips["ef"])) > 6
    for row in report.clips.itertuples():
        clip, fps = read_clip(synthetic / "Videos" / f"{row.name}.avi")
        assert clip.shape == (32, 112, 112) and fps == 32 and (row.frames, row.height, row.width, row.fps) == (32, 112, 112, 32)
    measured = pd.read_parquet(synthetic / "measured.parquet").set_index("name").loc[report.clips["name"]]
    for volume in ("esv", "edv"):
        assert report.clips[volume].to_numpy() == pytest.approx(measured[volume].round(2).to_numpy(), nan_ok=True)
    assert "**asked**" in (synthetic / "README.md").read_text() and "**measured**" in (synthetic / "README.md").read_text()
    rows = pd.read_parquet(synthetic / "screening.parquet")
    assert list(rows.columns) == ["slot", "attempt", "kind", "kept", "missed_ef", "score", "p", "calibrated", "similarity", "published"]
    assert rows.kept.equals(rows.calibrated)
    assert (rows[rows.kept].groupby("slot")["kind"].agg(set) == {"image", "video"}).all()


@pytest.fixture(scope="module")
def releases(finished):
    """The same synthesis with two batch sizes, the second killed in the middle and gone on with; longer than the model's window."""
    study, folders = finished[0], []
    options = ["--videos", 6, "--frames", 80, "--steps", 2, "--ef", "uniform", "--seed", 5]
    for batch_size in (1, 4):
        out = study.parent / f"release{batch_size}"
        if batch_size == 4:
            process = echosynth("synthesize", study, *options, "--batch-size", batch_size, "--out", out, wait=False)
            while not list(study.parent.glob(f".{out.name}.*.unfinished/Videos/0X*.avi")) and process.poll() is None:
                time.sleep(0.02)
            process.kill()
            process.communicate()
            assert process.returncode == -signal.SIGKILL and not out.exists()
        echosynth("synthesize", study, *options, "--batch-size", batch_size, "--out", out)
        folders.append(out)
    return folders


def test_the_same_seed_gives_the_same_bytes_whatever_the_batch_size(releases):
    first, second = map(digests, releases)
    assert first == second
    others = {"FileList.csv", "README.md", "VolumeTracings.csv", "measured.parquet"}
    assert {name for name in first if not name.startswith("Videos/")} == others and len(first) == 6 + len(others)
    report = inspect(releases[0])
    assert not report.problems and set(report.clips["frames"]) == {80} and report.clips["ef"].between(10, 90).all()


def test_two_cohorts_are_compared_without_a_study(finished, cohort, tmp_path):
    study, out = finished[0], tmp_path / "figures"
    smoke = [cohort, study / "synthetic", "--out", out, "--preset", "smoke", "--regressor", study / "regressor", "--set", "evaluation.trainings=[]", "--set", "evaluation.curve=[]"]
    printed, _ = echosynth("metrics", *smoke)
    found, of_study = (json.loads(path.read_text()) for path in (out / "metrics.json", study / "evaluation" / "metrics.json"))
    for key in ("adherence.r2", "trtr.mae", "tstr.mae", "judge.mae", "volumes.measured", "segmentation.dice", "grey.synthetic.mean"):
        assert found[key] == of_study[key], key  # the same cohorts, the same seed, the same figures
    assert "Train on synthetic, test on real" in printed and str(out / "metrics.json") in printed
    process = echosynth("metrics", *smoke, "--seed", 1, wait=False)
    _, err = process.communicate()
    assert process.returncode == 2 and err.splitlines()[-1].startswith("echosynth: error: --out") and "Traceback" not in err


def test_another_seed_gives_other_bytes_and_a_fixed_ef_is_kept(finished, releases):
    out = finished[0].parent / "fixed"
    echosynth("synthesize", finished[0], "--videos", 3, "--frames", 20, "--steps", 2, "--ef", "35", "--seed", 6, "--out", out)
    clips = inspect(out).clips
    assert set(clips["ef"]) == {35.0} and set(clips["frames"]) == {20} and set(clips["split"]) == {"TRAIN", "VAL", "TEST"}
    assert not set(digests(out)) & {name for name in digests(releases[0]) if name.startswith("Videos/")}


def test_the_unselected_clips_are_those_that_no_selection_would_have_kept(finished, tmp_path):
    def carried_out(name, tolerance):
        study = tmp_path / name
        if not study.exists():
            shutil.copytree(finished[0], study)
        text = re.sub(r"ef_tolerance: .*", f"ef_tolerance: {tolerance}", (study / "study.yaml").read_text())
        (study / "study.yaml").write_text(text.replace("ef: cohort", "ef: '60'"))
        opened = Study.open(study)
        for stage in (STAGE, unselected.STAGE):
            opened.carry_out(stage)
        rows = pd.read_parquet(study / "synthetic" / "screening.parquet")
        return digests(study / "synthetic"), digests(study / "unselected"), rows, opened.summary("unselected")["summary"]

    any_ef, nothing, _, summary = carried_out("any", 0.0)
    assert not [name for name in nothing if name.startswith("Videos/")] and "nothing was selected" in summary["reason"]
    _, _, rows, _ = carried_out("read", 100.0)
    chosen, first, rows, summary = carried_out("read", float((rows["ef_read"] - 60).abs().median()))
    clips = {name for name in any_ef if name.startswith("Videos/")}
    assert clips == {name for name in first if name.startswith("Videos/")} == {name for name in chosen if name.startswith("Videos/")}
    drawn_anew = rows[rows["missed_ef"]]["slot"].nunique()
    assert 0 < drawn_anew == summary["differ"] == sum(first[name] != chosen[name] for name in clips) < summary["videos"] == 12
    # Those drawn again are the very clips of a cohort without selection. (The others were decoded in two parts, which may differ in the last grey level.)
    assert all(first[name] == any_ef[name] for name in clips if first[name] != chosen[name])
    listed = [read_cohort(tmp_path / name, splits=False).clips[["name", "ef", "split"]] for name in ("read/unselected", "read/synthetic", "any/synthetic")]
    assert listed[0].equals(listed[1]) and listed[1].equals(listed[2])


@pytest.mark.parametrize("frames", [80, 40])  # two pieces, and one, of which but half the frames are decoded when it misses
def test_a_clip_that_shows_another_ef_is_drawn_anew(finished, tmp_path, frames):
    study = Study.open(finished[0])
    options = study.config.synthesis.model_copy(update={"videos": 1, "frames": frames, "steps": 2, "ef": "70", "ef_tolerance": 100.0})

    def made(name, **changes):
        summary = release(study, tmp_path / name, options.model_copy(update=changes), 8)
        clip = next((tmp_path / name / "Videos").iterdir()).read_bytes()
        return summary, pd.read_parquet(tmp_path / f"{name}.screening.parquet"), clip, (tmp_path / name / "README.md").read_text()

    _, _, any_clip, any_words = made("any", ef_tolerance=0.0)
    summary, rows, clip, _ = made("lenient")
    assert clip == any_clip and "was not measured" in any_words and summary["missed_ef"] == 0
    read = rows.loc[rows["kind"] == "video", "ef_read"].iloc[-1]
    written, fps = read_clip(next((tmp_path / "lenient" / "Videos").iterdir()))
    regressor = Regressor.from_pretrained(study.folder("regressor"))
    pieces = np.split(written, joins(study.config.video.network, options))
    assert read == pytest.approx(np.mean([predict_ef(regressor, piece[::2], fps / 2) for piece in pieces]), abs=0.2)  # the file has lost a little
    tolerance = abs(read - 70) - 1e-6  # by which the first candidate just fails
    summary, rows, clip, words = made("choosy", ef_tolerance=tolerance)
    videos = rows[(rows["kind"] == "video") & rows["kept"]]
    assert summary["missed_ef"] == videos["missed_ef"].sum() > 0 and not videos["missed_ef"].iloc[-1] and clip != any_clip
    assert abs(videos["ef_read"].iloc[-1] - 70) <= tolerance and "left out" in words and "was not measured" not in words
    assert len(read_clip(next((tmp_path / "choosy" / "Videos").iterdir()))[0]) == frames
    with pytest.raises(InputError, match=r"none of 4 candidates will do: .*\d of another EF than 70 %"):
        made("none", ef_tolerance=1e-9, max_attempts=4)


def test_a_folder_in_use_is_not_written_to(finished, releases):
    before = digests(releases[0])
    process = echosynth("synthesize", finished[0], "--videos", 2, "--out", releases[0], wait=False)
    _, err = process.communicate()
    assert process.returncode == 2 and err.startswith("echosynth: error: --out") and err.count("\n") == 1
    assert digests(releases[0]) == before


@pytest.fixture(scope="module")
def audited(finished):
    """The audit of the finished study, as it is printed; the study is a copy, for clips to be exchanged in it."""
    study = finished[0].parent / "audited"
    shutil.copytree(finished[0], study)
    return study, echosynth("audit", study)[0]


def test_an_audit_leaves_a_passport_that_names_no_patient(audited, cohort):
    study, out = audited
    assert "Membership, clips alone" in out and "Membership, with the weights" in out and "skipped  Differential privacy" in out
    found = json.loads((study / "audit" / "audit.json").read_text())
    assert found["splits"]["patients_known"] and found["chain"]["files"] == 12 + 4 and len(found["attacks"]) >= 8
    page = (study / "audit" / "passport.html").read_text()
    assert "not a proof of anonymity" in page and not re.search(r"""(src|href|url)\s*[=(]\s*["']?\s*(https?:)?//""", page) and str(study) not in page
    for path in (path for path in (study / "audit").rglob("*") if path.is_file()):
        assert not any(name.encode() in path.read_bytes() for name in read_cohort(cohort).clips["name"]), path


def refused(*arguments):
    """The one line with which a command is refused."""
    process = echosynth(*arguments, wait=False)
    _, err = process.communicate()
    line = err.splitlines()[-1]
    assert process.returncode == 2 and line.startswith("echosynth: error: ") and "Traceback" not in err, err
    return line


def test_a_training_clip_that_was_put_in_afterwards_stops_every_command_that_would_use_it(audited, cohort):
    study, _ = audited
    out = study.parent / "handed-out"
    victim = sorted((study / "synthetic" / "Videos").iterdir())[3]
    whole = victim.read_bytes()
    train = read_cohort(cohort).split("TRAIN")["name"].iloc[0]
    shutil.copyfile(cohort / "Videos" / f"{train}.avi", victim)
    for verb in (("release", study, out), ("audit", study), ("screen", study), ("run", study)):
        assert f"{victim}: changed" in refused(*verb) and not out.exists(), verb
    victim.write_bytes(whole)
    stranger = victim.with_name(f"{train}.mkv")
    shutil.copyfile(cohort / "Videos" / f"{train}.avi", stranger)
    for verb in (("release", study, out), ("audit", study)):
        assert f"{stranger}: not of the synthesis" in refused(*verb) and not out.exists(), verb
    stranger.unlink()
    assert "no problem" in echosynth("verify", study)[0]


def test_a_copy_that_the_generator_made_is_found_and_named_and_nothing_is_released(audited, cohort):
    root, _ = audited
    study, out = Study.open(root), root.parent / "handed-out"
    victim = sorted((root / "synthetic" / "Videos").iterdir())[3]
    train = read_cohort(cohort).split("TRAIN")["name"].iloc[0]
    write_clip(victim, read_clip(cohort / "Videos" / f"{train}.avi")[0][:64:2][:32], 32.0)
    made = study.summary("synthetic")
    study.finish(STAGE, made["key"], made["summary"], made["seconds"])  # as if the synthesis had left it so
    assert "because the files of the synthetic cohort changed after it" in refused("release", root, out)
    printed, _ = echosynth("audit", root)
    assert victim.stem in refused("release", root, out) and not out.exists()
    assert re.search(f"unclear +No copy of a training clip: .*{victim.stem}", printed) and "the gate is closed" in printed


def test_a_gate_is_not_opened_by_an_editor(audited):
    study, _ = audited
    path, out = study / "audit" / "audit.json", study.parent / "handed-out"
    before = path.read_text()
    path.write_text(before.replace('"outcome": "failed"', '"outcome": "passed"').replace('"open": false', '"open": true'))
    assert "audit.json: changed since echosynth wrote it" in refused("release", study, out) and not out.exists()
    path.write_text(before)
    options = study / "study.yaml"
    lenient = options.read_text()
    options.write_text(lenient.replace("max_auc: 0.55", "max_auc: 0.99"))
    assert "the options of audit changed after it" in refused("release", study, out) and not out.exists()
    options.write_text(lenient)


def test_a_release_has_the_audited_files_and_a_public_passport(audited, releases):
    study, _ = audited
    out = study.parent / "handed-out"
    echosynth("release", study, out, "--override", "a test")
    found = {name: value for name, value in digests(out).items() if not name.startswith("passport")}
    assert found == {name: digests(study / "synthetic")[name] for name in found} and len(found) == 12 + 4 and not list(out.glob("screening*"))
    told = json.loads((out / "passport.json").read_text())
    names = read_cohort(out, splits=False).clips["name"]
    assert told["override"] == "a test" and told["screening"]["copies"] >= 1
    assert not any(name in (out / "passport.html").read_text() for name in names)
    assert len(json.loads((study / "audit" / "releases.json").read_text())["releases"]) == 1
    assert told["manifest"].keys() == found.keys() and all(told["manifest"][name]["sha256"] == value for name, value in found.items())
    assert all(path.stat().st_mode & 0o777 == 0o666 & ~USER_UMASK for path in out.rglob("*") if path.is_file())
    assert "lies in the cohort" in refused("release", study, out / "inside", "--override", "a test")
    assert "lies in the study" in refused("release", study, study / "inside", "--override", "a test")


def write_pediatric(folder, rng, clips=20):
    """A cohort of another make: ellipses, 96 x 128 pixels, 24 and 30 fps, FileList.csv as EchoNet-Pediatric has it."""
    with_header = [("FileName", "EF", "Sex", "Age", "Weight", "Height", "Split")]
    for i in range(clips):
        ef, fps = rng.uniform(30, 70), (24.0, 30.0)[i % 2]
        clip = beating_ellipse(ef, rng, frames=int(rng.integers(40, 70)), fps=fps, size=128)[:, 16:112]
        write_clip(folder / "Videos" / f"CR{i:04d}.avi", clip, fps)
        with_header.append((f"CR{i:04d}.avi", f"{ef:.3f}", "MF"[i % 2], i % 18, 30.5, 120, i % 10))
    with (folder / "FileList.csv").open("w", newline="") as file:
        csv.writer(file).writerows(with_header)


@pytest.fixture(scope="module")
def weights(cohort):
    """A pre-training of a few steps, on the phantoms that are there already."""
    out = cohort.parent / "pretraining"
    shutil.copytree(cohort, out / "cohort")
    short = [f"{section}.training.{option}" for section, batch in (("autoencoder", 8), ("image", 8), ("reid", 8), ("video", 2), ("evaluation", 4)) for option in ("steps=4", f"batch_size={batch}")]
    options = [part for option in (*short, "screen.planted_images=2", "screen.planted_videos=1") for part in ("--set", option)]
    echosynth("pretrain", out, "--patients", 10, "--clips-per-patient", 2, "--seed", 3, *options)
    return out / "weights"


def test_a_pretraining_leaves_small_weights_and_a_card(weights):
    assert sorted(path.name for path in weights.iterdir()) == ["CARD.md", "autoencoder", "image", "reader", "reid", "video"]
    assert 1e6 < sum(path.stat().st_size for path in weights.rglob("*")) < 25e6
    card = (weights / "CARD.md").read_text()
    assert "echosynth pretrain OUT --patients 10 --clips-per-patient 2 --seed 3 --set autoencoder.training.steps=4" in card and "| video | 4 | 2 |" in card and "| reader | 4 | 4 |" in card
    assert json.loads((weights / "reader" / "line.json").read_text()).keys() == {"slope", "intercept"}


def test_a_later_pretraining_trains_only_what_has_steps(tmp_path, cohort):
    shutil.copytree(cohort, tmp_path / "out" / "cohort")
    none = [part for section in ("autoencoder", "image", "reid", "video") for part in ("--set", f"{section}.training.steps=0")]
    options = ["--set", "init=simulated", *none, "--set", "evaluation.training.steps=2", "--set", "evaluation.training.batch_size=4"]
    echosynth("pretrain", tmp_path / "out", "--patients", 10, "--clips-per-patient", 2, "--seed", 3, *options)
    assert not (tmp_path / "out" / "study" / "latents").exists() and (tmp_path / "out" / "study" / "regressor" / "stage.json").exists()
    shipped = SOURCE / "echosynth" / "weights"
    for name in ("autoencoder", "image", "reid", "video"):
        assert (tmp_path / "out" / "weights" / name / "model.safetensors").read_bytes() == (shipped / name / "model.safetensors").read_bytes()
    rows = [line for line in (tmp_path / "out" / "weights" / "CARD.md").read_text().splitlines() if line.startswith("| ")]
    assert set(rows) & set((shipped / "CARD.md").read_text().splitlines()) >= {row for row in rows if not row.startswith("| reader")}


def test_with_differential_privacy_nothing_outside_of_the_account_fills_the_release(tmp_path, cohort):
    options = ["--set", "synthesis.videos=8", "--set", "synthesis.ef_tolerance=30", "--set", "synthesis.max_attempts=500"]
    echosynth("run", tmp_path / "study", "--cohort", cohort, "--preset", "smoke", "--dp", "epsilon=8", *options, *ONE_TRAINING)
    made = tmp_path / "study" / "synthetic"
    listed = pd.read_csv(made / "FileList.csv")
    assert listed["ESV"].isna().all() and listed["EDV"].isna().all() and listed["EF"].between(10, 90).all()
    assert (listed["Split"] == "TRAIN").sum() == 6 and not (made / "VolumeTracings.csv").exists() and not (made / "measured.parquet").exists()
    assert "trained on simulated hearts alone" in (made / "README.md").read_text()
    rows = pd.read_parquet(made / "screening.parquet")
    assert rows["kept"].all() and set(rows["kind"]) == {"image", "video"}
    told = statement(Study.open(tmp_path / "study"))
    assert told["epsilon"] <= 8 and [row["stage"] for row in told["trainings"]] == ["image", "video", "ef"]
    assert {item["how"] for item in told["coverage"]} == {"inside", "public", "off", "outside"}


def test_a_cohort_of_another_make_goes_through_unchanged(tmp_path, weights):
    write_pediatric(tmp_path / "pediatric", np.random.default_rng(0))
    before = digests(tmp_path / "pediatric")
    echosynth("run", tmp_path / "study", "--cohort", tmp_path / "pediatric", "--preset", "smoke", "--init", weights, *ONE_TRAINING)
    assert digests(tmp_path / "pediatric") == before
    assert json.loads((tmp_path / "study" / "autoencoder" / "stage.json").read_text())["summary"]["encoder"] == "frozen"
    metrics = json.loads((tmp_path / "study" / "report" / "metrics.json").read_text())
    assert all(is_figure(metrics, key) for key in METRICS)
    assert not inspect(tmp_path / "study" / "synthetic").problems
