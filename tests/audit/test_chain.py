"""What a release holds: one manifest, judged by the audit, copied by the release, and nothing else."""

import shutil

import pytest

from echosynth.audit.chain import MODELS, bindings, manifest_of_release
from echosynth.audit.examine import FULL, QUICK, RESULT, last_audit
from echosynth.audit.release import _copy, release
from echosynth.errors import InputError
from echosynth.manifest import entry_of, manifest_of
from echosynth.seals import write_sealed
from toy_study import make_study, record


@pytest.fixture
def study(tmp_path):
    made = make_study(tmp_path, clips=3)
    for stage in MODELS:  # as files of the toy are few
        (made.folder(stage) / "model.safetensors").write_bytes(stage.encode())
        record(made, stage, made.summary(stage))
    return made


def audited(study, form=FULL):
    folder = study.private_folder("audit")
    (folder / "clips.parquet").write_bytes(b"verdicts")
    manifest = manifest_of_release(study)
    found = {"form": form, "bindings": bindings(study, manifest), "manifest": manifest, "artefacts": manifest_of(folder)}
    write_sealed(folder / RESULT, found, study.seal_key)
    return found


def test_the_manifest_has_the_clips_and_lists_and_nothing_of_the_screening(study):
    names = manifest_of_release(study).keys()
    assert {"FileList.csv", *(f"Videos/0X{i:016X}.avi" for i in range(3))} == names


def linked(path):
    target = path.with_name("elsewhere")
    shutil.move(path, target)
    path.symlink_to(target)


WAYS = {
    "unlisted video": lambda folder: (folder / "Videos" / "P1.avi").write_bytes(b"RIFF"),
    "another suffix": lambda folder: (folder / "Videos" / "P1.mkv").write_bytes(b"RIFF"),
    "hidden": lambda folder: (folder / "Videos" / ".P1.avi").write_bytes(b"RIFF"),
    "subfolder": lambda folder: (folder / "Videos" / "more").mkdir() or (folder / "Videos" / "more" / "P1.avi").write_bytes(b"RIFF"),
    "beside": lambda folder: (folder / "patients.csv").write_bytes(b"FileName,Patient"),
    "swapped": lambda folder: (folder / "Videos" / "0X0000000000000001.avi").write_bytes(b"RIFF"),
    "appended": lambda folder: (folder / "Videos" / "0X0000000000000001.avi").open("ab").write(b"JUNK"),
    "in the list": lambda folder: (folder / "FileList.csv").open("a").write("P1,50,,,112,112,50,9,TRAIN\n"),
    "link": lambda folder: linked(folder / "Videos" / "0X0000000000000001.avi"),
    "linked list": lambda folder: linked(folder / "FileList.csv"),
    "linked folder": lambda folder: linked(folder / "Videos"),
    "lost": lambda folder: (folder / "Videos" / "0X0000000000000001.avi").unlink(),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_that_the_synthesis_did_not_make_gets_into_the_manifest(study, way):
    audited(study)
    WAYS[way](study.folder("synthetic"))
    for look in (manifest_of_release, last_audit):
        with pytest.raises(InputError, match=str(study.folder("synthetic"))) as error:
            look(study)
        assert "\n" not in str(error.value)


def test_a_quick_audit_is_no_ground_for_a_release(study, tmp_path):
    audited(study, QUICK)
    assert last_audit(study, (FULL, QUICK))["form"] == QUICK
    with pytest.raises(InputError, match=r"the last audit was the quick form.* run: echosynth audit"):
        release(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_verdict_holds_for_what_it_saw(study):
    audited(study)
    assert last_audit(study)["manifest"] == manifest_of_release(study)


@pytest.mark.parametrize("stage", MODELS)
def test_a_verdict_ends_when_a_model_is_another(study, stage):
    audited(study)
    (study.folder(stage) / "model.safetensors").write_bytes(b"another")
    with pytest.raises(InputError, match=f"{stage}/model.safetensors: changed"):
        last_audit(study)
    record(study, stage, study.summary(stage))
    with pytest.raises(InputError, match=f"what the stage {stage} has left changed after it; run: echosynth audit"):
        last_audit(study)


def test_a_verdict_ends_when_a_limit_is_another(study):
    audited(study)
    section = study.config.audit.model_copy(update={"max_auc": 0.99})
    study.config = study.config.model_copy(update={"audit": section})
    with pytest.raises(InputError, match="the options of audit changed after it"):
        last_audit(study)


def test_a_verdict_on_single_clips_is_checked_too(study):
    audited(study)
    (study.folder("audit") / "clips.parquet").write_bytes(b"verdict!")
    with pytest.raises(InputError, match=r"clips\.parquet: changed \(its bytes are others\) since the audit"):
        last_audit(study)


def test_no_audit_is_one_line(study):
    with pytest.raises(InputError, match="no audit yet"):
        last_audit(study)


def test_a_copy_is_kept_only_if_its_bytes_are_those_that_were_judged(tmp_path):
    source = tmp_path / "clip.avi"
    source.write_bytes(b"synthetic")
    entry = entry_of(source)
    _copy(source, tmp_path / "out" / "clip.avi", entry)
    assert (tmp_path / "out" / "clip.avi").read_bytes() == b"synthetic"
    source.write_bytes(b"a patient")
    with pytest.raises(InputError, match="changed while it was copied"):
        _copy(source, tmp_path / "out" / "again.avi", entry)
    linked(source)
    with pytest.raises(InputError, match="a link"):
        _copy(source, tmp_path / "out" / "third.avi", entry)
