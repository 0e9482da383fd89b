"""The paper's recipe the whole way with tiny networks: two cohorts with one video model, its export as diffusers folders, and their import as a new study."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from echosynth.cli import guarded
from echosynth.cohort.echonet import write_filelist
from echosynth.cohort.latents import LatentStore
from echosynth.cohort.video import write_clip
from echosynth.errors import InputError
from echosynth.files import read_json
from echosynth.importing import import_weights
from echosynth.joint import carry_out_joint, named, open_or_create_joint
from echosynth.run import ALL, carry_out
from echosynth.stages.screening import screen
from echosynth.study import Study
from toy_hearts import beating_ellipse

SOURCE = Path(__file__).parents[2] / "src"
WIDTHS, FEW = "[32, 32, 32, 32]", {"autoencoder": (2, 2), "image": (2, 2), "reid": (3, 6), "video": (2, 1), "evaluation": (2, 2)}
OPTIONS = [f"{name}.network.{option}" for name in ("autoencoder", "image", "video") for option in (f"widths={WIDTHS}", "layers=1")]
OPTIONS += [f"{name}.training.{option}" for name, (steps, batch) in FEW.items() for option in (f"steps={steps}", f"batch_size={batch}")]
OPTIONS += [f"synthesis.{option}" for option in ("videos=2", "frames=80", "steps=2", "image_steps=2", "max_attempts=500")]
OPTIONS += [f"screen.{option}" for option in ("planted_images=1", "planted_videos=1", "frames=4", "calibration_frames=4", "gallery_frames=2")]
OPTIONS += ["evaluation.network.size=32", "evaluation.network.test_clips=2", "autoencoder.frames_in_memory=12"]
OPTIONS += [f"evaluation.{option}" for option in ("seeds=1", "judge=trtr", "trainings=[]", "curve=[]", "clips=8")]  # what they add is tested on small networks


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("cohorts"), np.random.default_rng(0)
    splits = ["TRAIN"] * 4 + ["VAL"] * 2 + ["TEST"] * 2
    for cohort in ("dynamic", "pediatric_a4c"):
        names = [f"{cohort}{k}" for k in range(len(splits))]
        for k, name in enumerate(names):
            write_clip(folder / cohort / "Videos" / f"{name}.avi", beating_ellipse(20 + 8 * k, rng, frames=20), 32.0)
        columns = {"ef": 20.0 + 8 * np.arange(len(splits)), "esv": np.nan, "edv": np.nan, "height": 112, "width": 112, "fps": 32.0, "frames": 20, "split": splits}
        write_filelist(folder / cohort, pd.DataFrame({"name": names} | columns))
    return {cohort: folder / cohort for cohort in ("dynamic", "pediatric_a4c")}


@pytest.fixture(scope="module")
def joint(cohorts, tmp_path_factory):
    root = tmp_path_factory.mktemp("joint") / "run"
    studies = open_or_create_joint(root, cohorts, "paper", 3, None, OPTIONS)
    carry_out_joint(studies)
    return studies


def test_the_shared_models_are_the_same_and_the_others_are_not(joint):
    lead, member = joint
    for stage, name, same in (("autoencoder", "diffusion_pytorch_model.safetensors", True), ("video", "diffusion_pytorch_model.safetensors", True),
                              ("image", "diffusion_pytorch_model.safetensors", False), ("reid", "model.safetensors", False)):  # fmt: skip
        assert ((lead.folder(stage) / name).read_bytes() == (member.folder(stage) / name).read_bytes()) == same
    assert len(pd.read_csv(member.folder("synthetic") / "FileList.csv")) == 2 and set(pd.read_csv(lead.folder("synthetic") / "FileList.csv")["NumberOfFrames"]) == {80}


def test_lengths_are_those_of_each_cohort(cohorts, tmp_path):
    assert [study.config.synthesis.frames for study in open_or_create_joint(tmp_path / "run", cohorts, "paper", width="small")] == [192, 128]


def test_a_second_run_does_nothing_and_a_change_of_one_cohort_redoes_the_shared_model_alone(joint):
    lead, member = (Study.open(study.root) for study in joint)
    assert all(study.done(stage) for study in (lead, member) for stage in ALL)
    key = lead.key(ALL[4])
    summary = read_json(member.folder("latents") / "stage.json")
    changed = Study(lead.root, lead.config)
    changed.others = lambda: [type("Other", (), {"root": member.root, "_input": lambda self, name: summary["key"] + "x"})()]
    assert changed.key(ALL[4]) != key and lead.key(ALL[4]) == key


def test_both_protocols_are_reported_and_the_published_one_decides(joint, tmp_path):
    study = joint[0]
    rows = pd.read_parquet(study.folder("synthetic") / "screening.parquet")
    images = rows[rows.kind == "image"]
    assert (images.kept == images.published).all() and rows[rows.kind == "video"].kept.all()
    metrics = read_json(study.folder("evaluation") / "metrics.json")
    assert metrics["published.tau"] > 0 and 0 <= metrics["published.false_rejection"] <= 1 and metrics["published.rejected"] == (~images.published).sum()
    assert "Two protocols" in (study.folder("report") / "index.html").read_text()
    own = screen(study, study.cohort_path, "paper", tmp_path / "own.parquet").set_index("name")
    train = pd.read_parquet(study.folder("latents") / "index.parquet").query("split == 'TRAIN'")["name"]
    assert own.loc[train, "similarity"].min() > 0.99 and (~own.loc[train, "kept"]).all()  # a training clip is too like itself


def test_a_fresh_process_opens_the_exported_folders_with_diffusers_alone(joint):
    code = (
        "import sys; from diffusers import AutoencoderKL, UNet2DModel, UNetSpatioTemporalConditionModel as V\n"
        "for kind, name in ((AutoencoderKL, 'autoencoder'), (UNet2DModel, 'image'), (V, 'video')): kind.from_pretrained(f'{sys.argv[1]}/{name}', local_files_only=True)\n"
        "assert not [m for m in sys.modules if m.startswith('echosynth')]"
    )
    subprocess.run([sys.executable, "-c", code, joint[0].root], check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, timeout=300)


def test_imported_again_the_weights_give_identical_latents_and_clips(joint, cohorts, tmp_path):
    study, released = joint[0], tmp_path / "released"
    for name, source in (("vae", "autoencoder"), ("lidm_dynamic", "image"), ("lvdm", "video")):
        (released / name).mkdir(parents=True)
        for file in ("config.json", "diffusion_pytorch_model.safetensors"):
            (released / name / file).write_bytes((study.folder(source) / file).read_bytes())
    for name, source in (("reidentification_dynamic", "reid"), ("regression_dynamic", "regressor")):
        (released / name).mkdir()
        state = load_file(study.folder(source) / "model.safetensors")
        state = {key.removeprefix("model."): value for key, value in state.items() if key not in ("mean", "sd")} if source == "regressor" else state
        torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, released / name / "best.pt")
    options = [option for option in OPTIONS if (".network." not in option or "evaluation" in option) and ".training.steps" not in option]
    imported = import_weights(released, tmp_path / "study", cohorts["dynamic"], "dynamic", 3, options)
    carry_out(imported, tuple(stage for stage in ALL if stage.name in ("autoencoder", "latents", "image", "reid", "video", "regressor", "segmentation", "synthetic")))
    one, other = (LatentStore.open(s.folder("latents")) for s in (study, imported))
    assert all(torch.equal(one.window(row, np.arange(15)), other.window(row, np.arange(15))) for row in range(len(one.index)))
    assert (study.folder("synthetic") / "FileList.csv").read_text() == (imported.folder("synthetic") / "FileList.csv").read_text()
    clips = sorted(path.name for path in (study.folder("synthetic") / "Videos").iterdir())
    assert all((study.folder("synthetic") / "Videos" / name).read_bytes() == (imported.folder("synthetic") / "Videos" / name).read_bytes() for name in clips)
    assert "imported" in imported.summary("regressor")["summary"]["warning"]


def test_bad_names_and_other_cohorts_are_one_clear_line(cohorts, joint, tmp_path, capsys):
    for given, words in ((["a=x", "b"], "--cohort b: of several"), (["a=x", "a=y"], "already"), (["../a=x", "b=y"], "of several")):
        with pytest.raises(InputError, match=words):
            named(given)
    with pytest.raises(InputError, match="was started with the cohorts dynamic, pediatric_a4c"):
        open_or_create_joint(joint[0].root.parent, {"dynamic": cohorts["dynamic"]})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert guarded(lambda: open_or_create_joint(tmp_path / "full", cohorts) and None) == 2 and "not empty" in capsys.readouterr().err
