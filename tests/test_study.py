"""The study folder: what is done, what is to be done again, and what is kept after a kill."""

import os
import shutil

import pytest

from echosynth.config import SynthesisSection, preset
from echosynth.errors import InputError
from echosynth.files import USER_UMASK
from echosynth.private import CLEARED
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
    assert (
        about["summary"] == {"calls": 1}
        and about["seed"] == 0
        and about["memory_mb"] > 10
        and about["versions"]["torch"]
    )


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
    stage, _ = recorder("autoencoder", sections=("autoencoder", "image"))  # the same bytes, from other options
    study.carry_out(stage)
    assert not study.done(second) and study.why(second) == "what it depends on is another now"


def test_a_stage_behind_an_input_with_other_bytes_is_no_longer_done(study):
    first, calls = recorder("autoencoder", sections=("autoencoder",))
    second, _ = recorder("latents", inputs=("autoencoder",))
    study.carry_out(first)
    study.carry_out(second)
    shutil.rmtree(study.folder("autoencoder"))
    calls.append("so that the next file has another name")
    study.carry_out(first)
    assert not study.done(second) and "autoencoder was made anew, with other bytes" in study.why(second)


def test_why_a_stage_is_made_again_names_the_option(study, capsys):
    stage, _ = recorder("synthetic", sections=("synthesis",))
    study.carry_out(stage)
    changed(study, synthesis=SynthesisSection(videos=5)).carry_out(stage)
    assert "synthetic: is made again, because synthesis.videos was 12, is 5 now" in capsys.readouterr().err.replace(
        "\n", " "
    )


def damaged(path, how):
    about, data = path.stat(), bytearray(path.read_bytes())
    if how == "flipped":
        data[len(data) // 2] ^= 4
    elif how == "cut":
        data = data[: len(data) // 2]
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize(
    ("how", "words"), [("flipped", "its bytes are others"), ("cut", r"changed \(2 bytes, was 5\)"), ("gone", "missing")]
)
def test_whoever_opens_a_damaged_file_is_told_which(study, how, words):
    stage, _ = recorder("video")
    study.carry_out(stage)
    path = study.folder("video") / "part1"
    assert study.verified("video") == study.verified("video", "part1") == study.folder("video")
    path.write_text("model")
    study.finish(stage, study.key(stage), {}, 1.0)
    if how == "gone":
        path.unlink()
    else:
        damaged(path, how)
    with pytest.raises(
        InputError,
        match=rf"video/part1: .*{words}.* since the stage video left it; restore it, or delete .*video and run: echosynth run",
    ):
        study.verified("video", "part1")
    assert [line for line in study.look_over("video", full=True)] and list(study.unlisted("video")) == []
    with pytest.raises(InputError, match="not among the files"):
        study.verified("video", "model.safetensors")


def test_a_run_notices_a_changed_file_of_a_done_stage(study):
    stage, calls = recorder("video")
    study.carry_out(stage)
    (study.folder("video") / "part1").write_text("y")  # another time: its bytes are hashed
    with pytest.raises(InputError, match=r"video/part1: changed"):
        study.carry_out(stage)
    assert calls == ["video"]


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", '{"key": 3', '{"key": "x", "seal": 3}', "[" * 100_000, "\udcff"])
def test_a_damaged_record_is_one_line(study, text):
    stage, _ = recorder("video")
    study.carry_out(stage)
    (study.folder("video") / "stage.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"video/stage\.json: .*; restore it, or delete .*video and run") as error:
        study.done(stage)
    assert "\n" not in str(error.value)


def test_a_record_of_another_study_or_edited_is_refused(study, tmp_path):
    stage, _ = recorder("video")
    other = Study.create(tmp_path / "other", preset("smoke"), tmp_path / "cohort", "f1")
    for one in (study, other):
        one.carry_out(stage)
    path = study.folder("video") / "stage.json"
    mine = path.read_text()
    path.write_text((other.folder("video") / "stage.json").read_text())
    with pytest.raises(InputError, match="one of the two is of another study"):
        study.summary("video")
    path.write_text(mine.replace('"calls": 1', '"calls": 2'))
    with pytest.raises(InputError, match="changed since echosynth wrote it"):
        study.summary("video")
    path.write_text(mine)
    (study.root / "seal.key").write_text("00")
    with pytest.raises(InputError, match=r"seal\.key: damaged"):
        study.summary("video")


def test_a_users_file_in_a_folder_that_is_to_be_cleared_stays(study):
    stage, _ = recorder("video", sections=("video",))
    study.carry_out(stage)
    (study.folder("video") / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"video/notes\.txt: not of the stage video.*move it out"):
        changed(study, seed=1).carry_out(stage)
    assert (study.folder("video") / "notes.txt").read_text() == "mine"
    (study.folder("image")).mkdir()
    (study.folder("image") / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"image/stage\.json: missing, though .*image/notes\.txt is there"):
        study.carry_out(recorder("image")[0])


def test_everything_is_private_but_what_a_stage_declares_public(study):
    stage = Stage(
        "synthetic",
        ("cohort",),
        (),
        lambda s: (
            (s.folder("synthetic") / "Videos").mkdir()
            or ([(s.folder("synthetic") / name).write_text("x") for name in ("Videos/a.avi", "FileList.csv", "scores")]
            and {})
        ),
        public=("Videos/*", "FileList.csv"),
    )
    with study.at_work("test"):
        study.carry_out(stage)
        study.carry_out(recorder("video")[0])

    def mode(name):
        return (study.root / name).stat().st_mode & 0o777

    open_file, open_folder = 0o666 & ~USER_UMASK, 0o777 & ~USER_UMASK
    assert (
        mode("synthetic/Videos/a.avi") == mode("synthetic/FileList.csv") == open_file
        and mode("synthetic/Videos") == mode("synthetic") == open_folder
    )
    for name in (
        "synthetic/scores",
        "synthetic/stage.json",
        "video/part1",
        "video/stage.json",
        "study.yaml",
        "cohort.json",
        "seal.key",
    ):
        assert mode(name) == 0o600, name
    assert mode("video") == 0o700
    assert "may leave" in (study.root / "video" / "README.md").read_text()


def test_an_edit_of_the_options_is_reported_once(study, capsys):
    path = study.root / "study.yaml"
    path.write_text(path.read_text().replace("max_auc: 0.55", "max_auc: 0.95"))
    for said in (True, False):
        with Study.open(study.root).at_work("test"):
            pass
        assert ("audit.max_auc was 0.55, is 0.95 now" in capsys.readouterr().err.replace("\n", " ")) == said


@pytest.mark.parametrize(
    "kept", [[], ["seal.key"], ["seal.key", "cohort.json"], [".seal.key.0123456789abcdef.partial"], ["cohort.json"]]
)
def test_a_start_that_was_interrupted_resumes(study, tmp_path, kept):
    root = tmp_path / "cut"
    root.mkdir()
    for name in kept:
        source = study.root / name
        (root / name).write_bytes(source.read_bytes() if source.exists() else b"")
    made = Study.create(root, preset("smoke"), tmp_path / "cohort", "f1")
    assert Study.open(root).fingerprint == "f1" and made.carry_out(recorder("video")[0])
    assert not list(root.glob("*.partial"))


def test_a_study_of_an_earlier_format_is_refused_with_the_remedy(study):
    (study.root / "seal.key").unlink()
    (study.root / "cohort.json").write_text('{"path": "/cohort", "fingerprint": "f1", "skip_bad": false}')
    with pytest.raises(InputError, match=r"earlier echosynth \(format 1\).*start a new one"):
        Study.open(study.root)


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


def test_unfinished_work_on_an_input_of_other_bytes_is_cleared(study):
    first, _ = recorder("autoencoder")
    second, _ = recorder("image", inputs=("autoencoder",), fail=True)
    study.carry_out(first)
    with pytest.raises(RuntimeError):
        study.carry_out(second)
    (study.folder("autoencoder") / "part1").write_text("other bytes, with the same key")
    study.finish(first, study.key(first), {}, 1.0)
    (study.folder("image") / "part9").write_text("half done")
    assert study.carry_out(second) and not (study.folder("image") / "part9").exists()


def test_a_missing_input_is_named(study):
    stage, _ = recorder("video", inputs=("latents",))
    with pytest.raises(InputError, match="'latents' is not done yet"):
        study.carry_out(stage)


def test_a_study_opens_again_and_refuses_other_options(study, tmp_path):
    assert Study.open(study.root).config == study.config
    assert Study.create(study.root, preset("smoke"), tmp_path / "cohort", "f1").config == study.config
    with pytest.raises(InputError, match=r"synthesis\.videos was 12, is 5 now"):
        Study.reopen(
            study.root,
            study.config.model_copy(update={"synthesis": study.config.synthesis.model_copy(update={"videos": 5})}),
        )
    with pytest.raises(InputError, match="is not the one this study was started with"):
        Study.create(study.root, preset("smoke"), tmp_path / "cohort", "f2")


def test_what_is_no_study_is_refused(study, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("x")
    with pytest.raises(InputError, match="not a study and not empty"):
        Study.create(tmp_path / "full", preset("smoke"), tmp_path, "f1")
    with pytest.raises(InputError, match=r"no readable .*study\.yaml"):
        Study.open(tmp_path / "full")
    for text in ("- a\n- b\n", "preset: smoke\nseeed: 1\n", "a: [\n"):
        (study.root / "study.yaml").write_text(text)
        with pytest.raises(InputError):
            Study.open(study.root)


def test_a_lost_record_is_named_and_nothing_is_deleted(study):
    first, _ = recorder("autoencoder")
    second, _ = recorder("latents", inputs=("autoencoder",))
    study.carry_out(first)
    (study.folder("autoencoder") / "stage.json").unlink()
    for work in (lambda: study.carry_out(first), lambda: study.carry_out(second), lambda: study.verified("autoencoder")):
        with pytest.raises(InputError, match=r"autoencoder/stage\.json: missing, though .*part1 is there; restore it, or move"):
            work()
    assert (study.folder("autoencoder") / "part1").exists()


def test_what_a_killed_command_was_clearing_is_cleared_by_the_next(study):
    doomed = study.root / CLEARED.format("0" * 16)
    doomed.mkdir()
    (doomed / "half").touch()
    with study.at_work("run"):
        assert not doomed.exists()
