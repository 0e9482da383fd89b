"""The privacy budget of a study: noted before it is spent, shared by the generators, and never forgotten."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from opacus.accountants import RDPAccountant

from echosynth.cohort.echonet import Cohort
from echosynth.cohort.latents import write_latents
from echosynth.config import parse, preset
from echosynth.errors import InputError
from echosynth.privacy.budget import Spent, epsilon
from echosynth.run import configure
from echosynth.stages import image, video
from echosynth.stages.budget import coverage, private_ef_law, private_options, private_training, spent, statement, trainings
from echosynth.study import Study
from toy_study import record


@pytest.fixture(autouse=True)
def whole_orders(monkeypatch):
    """The accountant looks at whole orders alone, which is quick; the bound is looser and as true."""
    monkeypatch.setattr(RDPAccountant, "DEFAULT_ALPHAS", list(range(2, 40)))


PATIENTS = np.repeat(np.arange(30), 2)  # two clips each


def make_study(root, *options) -> Study:
    """A private study that has its latents."""
    config = configure(preset("smoke"), options=[*private_options("epsilon=8"), *options])
    study = Study.create(root, config, root, "ab" * 32)
    frames = 70
    clips = pd.DataFrame({"name": [f"c{i}" for i in range(60)], "patient": PATIENTS.astype(str), "split": "TRAIN", "ef": np.linspace(20, 75, 60), "fps": 32.0, "frames": frames})
    generator = torch.Generator().manual_seed(0)
    write_latents(study.folder("latents"), clips, lambda name: torch.randn(frames, 4, 14, 14, generator=generator))
    for stage in ("autoencoder", "latents"):
        record(study, stage, {"stage": stage, "key": stage, "summary": {}})
    return study


def test_the_generators_share_the_budget_and_the_statement_counts_both(tmp_path):
    study = make_study(tmp_path / "s", "image.training.batch_size=4", "image.training.steps=3", "video.training.batch_size=2", "video.training.steps=2", "synthesis.ef=uniform")
    assert study.carry_out(image.STAGE) and study.carry_out(video.STAGE)
    rows = spent(study)
    assert [row["stage"] for row in rows] == ["image", "video"] and rows[0]["noise"] == pytest.approx(rows[1]["noise"], rel=1e-3)
    told = statement(study)
    assert told["epsilon"] == pytest.approx(epsilon(trainings(rows), 0.1 / 30), abs=1e-6) and 7.9 < told["epsilon"] <= 8.0
    assert told["patients"] == 30 and told["delta"] == pytest.approx(1 / 300)
    losses = [json.loads(line) for line in (study.folder("image") / "training.jsonl").read_text().splitlines()]
    assert losses[-1]["step"] == 3 and (study.folder("dp") / "secret").stat().st_mode & 0o077 == 0


def test_a_training_that_is_gone_on_with_is_noted_once_and_another_one_is_added(tmp_path):
    study = make_study(tmp_path / "s", "image.training.steps=20", "video.training.steps=20")
    first = private_training(study, image.STAGE, PATIENTS)
    assert private_training(study, image.STAGE, PATIENTS) == first and len(spent(study)) == 1
    values = study.config.model_dump(mode="json")
    values["image"]["training"]["learning_rate"] = 1e-4
    other = Study(study.root, parse(values, "test"))
    private_training(study, video.STAGE, PATIENTS)
    with pytest.raises(InputError, match="used up"):  # both generators have had their share
        private_training(other, image.STAGE, PATIENTS)
    values["dp"]["epsilon"] = 20.0
    raised = Study(study.root, parse(values, "test"))
    again = private_training(raised, image.STAGE, PATIENTS)
    assert again.name != first.name and again.secret == first.secret and len(spent(study)) == 3
    assert epsilon([Spent(row["noise"], row["rate"], row["steps"]) for row in spent(study)], 0.1 / 30) <= 20


def test_no_statement_where_a_generator_learnt_without_noise(tmp_path):
    study = make_study(tmp_path / "s")
    private_training(study, image.STAGE, PATIENTS)
    for stage in ("image", "video"):
        record(study, stage, {"stage": stage, "key": "of another training", "summary": {}})
    assert statement(study) is None


def make_cohort(efs) -> Cohort:
    """Two clips of each training patient of `make_study`, and a held-out one."""
    clips = pd.DataFrame({"name": [f"c{i}" for i in range(60)], "patient": PATIENTS.astype(str), "split": "TRAIN", "ef": efs})
    held_out = pd.DataFrame({"name": ["v"], "patient": ["v"], "split": ["VAL"], "ef": [12.0]})
    return Cohort(Path("nowhere"), pd.concat([clips, held_out], ignore_index=True), "ab" * 32)


def test_the_histogram_of_efs_is_noted_once_and_counted_before_the_trainings(tmp_path, monkeypatch):
    monkeypatch.setattr("echosynth.stages.budget.secrets.randbits", lambda bits: 7)  # one noise, or an empty bin is above two deviations now and then
    study, cohort = make_study(tmp_path / "s", "image.training.steps=20", "video.training.steps=20"), make_cohort(np.repeat([55.0], 60))
    private_training(study, image.STAGE, PATIENTS)
    private_training(study, video.STAGE, PATIENTS)
    law = private_ef_law(study, cohort)  # what the trainings have left for it is enough
    rows = spent(study)
    assert [row["stage"] for row in rows] == ["image", "video", "ef"] and rows[2]["steps"] == 1 and rows[2]["rate"] == 1.0
    assert 7.9 < epsilon(trainings(rows), 0.1 / 30) <= 8.0
    assert epsilon(trainings(rows[2:]), 0.1 / 30) == pytest.approx(0.4 * 8, abs=0.02)
    again = private_ef_law(study, cohort)
    assert len(spent(study)) == 3 and law(np.random.default_rng(1)) == again(np.random.default_rng(1))
    drawn = np.array([law(np.random.default_rng(k)) for k in range(400)])
    assert 0.48 < ((drawn >= 50) & (drawn < 60)).mean() < 0.65 and drawn.min() < 20 and drawn.max() > 75  # half as the 30 patients, half evenly


def test_another_secret_is_another_noise_and_no_budget_left_is_refused(tmp_path):
    options = ("image.training.steps=20", "video.training.steps=20", "synthesis.ef=uniform")
    study = make_study(tmp_path / "s", *options)
    private_training(study, image.STAGE, PATIENTS)
    private_training(study, video.STAGE, PATIENTS)
    with pytest.raises(InputError, match="above the budget of 8"):
        private_ef_law(study, make_cohort(np.linspace(15, 75, 60)))
    drawn = []
    for name in ("a", "b"):
        law = private_ef_law(make_study(tmp_path / name), make_cohort(np.linspace(15, 75, 60)))
        drawn.append([law(np.random.default_rng(k)) for k in range(200)])
    assert drawn[0] != drawn[1]


def test_a_training_of_no_steps_spends_nothing(tmp_path):
    study = make_study(tmp_path / "s", "image.training.steps=0", "video.training.steps=0", "synthesis.ef=uniform")
    for stage in (image.STAGE, video.STAGE):
        private_training(study, stage, PATIENTS)
    assert epsilon(trainings(spent(study)), 0.1 / 30) == 0


def test_the_statement_lists_what_depends_on_patients(tmp_path):
    def how(*options: str) -> dict[str, str]:
        config = configure(preset("demo"), options=[*private_options("epsilon=8"), *options])
        return {item.item: item.how for item in coverage(config)}

    found = how()
    assert found["EF of the clips"] == "inside" and found["Clips left out for their EF"] == "public"
    assert found["Clips left out for their likeness to a patient"] == "off"
    assert how("screen.withhold=true")["Clips left out for their likeness to a patient"] == "outside"
    assert how("synthesis.ef=uniform")["EF of the clips"] == "public" and how("synthesis.ef_tolerance=0")["Clips left out for their EF"] == "off"
    assert how("synthesis.videos=700")["Number of clips"] == "public" and how("synthesis.videos=0")["Number of clips"] == "outside"
    outside = {name for name, value in found.items() if value == "outside"}
    assert outside == {"Number of clips", "Number of training patients", "Options", "Figures of the report and of this passport, and whether the gate is open"}


@pytest.mark.parametrize("item", ["Clips left out for their EF", "EF read off each clip, readings.csv"])
def test_a_reader_of_somebody_else_is_not_called_simulated(item):
    def words(init: str) -> str:
        config = configure(preset("demo"), init=init, options=private_options("epsilon=8"))
        return next(found.words for found in coverage(config) if found.item == item)

    assert words("simulated") == "read by a regressor that was trained on simulated hearts alone"
    assert "whoever gave it vouches" in words("/weights/of/somebody")


@pytest.mark.parametrize("text", ["8", "epsilon", "epsilon=", "delta=1e-5", "epsilon=8,noise=2"])
def test_the_option_is_checked(text):
    with pytest.raises(InputError, match="--dp"):
        private_options(text)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("autoencoder.training.steps=5", "autoencoder.training.steps must be 0"),
        ("reid.training.steps=5", "reid.training.steps must be 0"),
        ("autoencoder.encoder=trained", "frozen"),
        ("synthesis.ef=cohort", "histogram"),
        ("synthesis.reader=study", "without noise"),
        ("segmentation.enabled=true", "segmentation.enabled must be off"),
        ("init=none", "public weights"),
    ],
)
def test_nothing_else_may_learn_from_patients(option, words):
    with pytest.raises(InputError, match=words):
        configure(preset("demo"), options=[*private_options("epsilon=8"), option])


def test_a_network_without_public_weights_is_refused(tmp_path):
    study = make_study(tmp_path / "s", "image.network.dim=64", "image.network.heads=1")
    with pytest.raises(InputError, match="no public weights"):
        study.carry_out(image.STAGE)
    assert spent(study) == []
