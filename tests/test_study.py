"""The study folder: what is done, what is to be done again, and what is kept after a kill."""

import json

import pytest

from echosynth.config import SynthesisSection, preset
from echosynth.errors import InputError
from echosynth.files import read_json
from echosynth.study import Stage, Study


@pytest.fixture
def study(tmp_path):
    return Study.create(tmp_path / "study", preset("smoke"), tmp_path / "cohort", "f1")


def recorder(name, inputs=("cohort",), sections=(), fail=False):
    calls = []

    def run(study):
        calls.append(name)
        (study.folder(name) / f"part{len(calls)}").write_text("x")
        if fail and len(calls) == 1:
            raise RuntimeError("killed")
        return {"calls": len(calls)}

    return Stage(name, inputs, sections, run), calls


def changed(study, **values):
    return Study(study.root, study.config.model_copy(update=values))


def test_a_done_stage_is_left_alone(study):
    stage, calls = recorder("autoencoder", sections=("autoencoder",))
    assert study.carry_out(stage) and not study.carry_out(stage)
    assert calls == ["autoencoder"]
    about = study.summary("autoencoder")
    assert about["summary"] == {"calls": 1} and about["seed"] == 0 and about["memory_mb"] > 10 and about["versions"]["torch"]


def test_only_what_depends_on_a_change_is_done_again(study):
    first, first_calls = recorder("autoencoder", sections=("autoencoder",))
    second, second_calls = recorder("synthetic", inputs=("autoencoder",), sections=("synthesis",))
    for stage in (first, second):
        study.carry_out(stage)
    other = changed(study, synthesis=SynthesisSection(videos=5))
    assert not other.carry_out(first) and other.carry_out(second)
    assert first_calls == ["autoencoder"] and second_calls == ["synthetic"] * 2
    reseeded = changed(other, seed=1)
    assert reseeded.carry_out(first) and reseeded.carry_out(second)


def test_a_stage_behind_a_changed_input_is_no_longer_done(study):
    first, _ = recorder("autoencoder", sections=("autoencoder",))
    second, _ = recorder("latents", inputs=("autoencoder",))
    study.carry_out(first)
    study.carry_out(second)
    path = study.folder("autoencoder") / "stage.json"
    path.write_text(json.dumps(read_json(path) | {"key": "another"}))
    assert not study.done(second)


def test_unfinished_work_is_kept_for_the_same_key_and_cleared_for_another(study):
    stage, _ = recorder("image", sections=("image",), fail=True)
    with pytest.raises(RuntimeError):
        study.carry_out(stage)
    folder = study.folder("image")
    assert (folder / "part1").exists() and (folder / "begun.json").exists() and not (folder / "stage.json").exists()
    assert study.carry_out(stage)
    assert (folder / "part1").exists() and not (folder / "begun.json").exists()

    stage, _ = recorder("image", sections=("image",), fail=True)
    other = changed(study, seed=4)
    with pytest.raises(RuntimeError):
        other.carry_out(stage)
    assert not (folder / "part2").exists() and not study.done(stage)
    (folder / "left").write_text("of seed 4")
    assert study.carry_out(stage)
    assert not (folder / "left").exists()


def test_a_missing_input_is_named(study):
    stage, _ = recorder("video", inputs=("latents",))
    with pytest.raises(InputError, match="'latents' is not done yet"):
        study.carry_out(stage)


def test_a_study_opens_again_and_refuses_other_options(study, tmp_path):
    assert Study.open(study.root).config == study.config
    assert Study.create(study.root, preset("smoke"), tmp_path / "cohort", "f1").config == study.config
    with pytest.raises(InputError, match=r"synthesis\.videos was 12, now 5"):
        Study.reopen(study.root, study.config.model_copy(update={"synthesis": study.config.synthesis.model_copy(update={"videos": 5})}))
    with pytest.raises(InputError, match="is not the one this study was started with"):
        Study.create(study.root, preset("smoke"), tmp_path / "cohort", "f2")


def test_what_is_no_study_is_refused(study, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("x")
    with pytest.raises(InputError, match="not a study and not empty"):
        Study.create(tmp_path / "full", preset("smoke"), tmp_path, "f1")
    with pytest.raises(InputError, match=r"no readable study\.yaml"):
        Study.open(tmp_path / "full")
    for text in ("- a\n- b\n", "preset: smoke\nseeed: 1\n", "a: [\n"):
        (study.root / "study.yaml").write_text(text)
        with pytest.raises(InputError):
            Study.open(study.root)
