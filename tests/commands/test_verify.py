"""The verb `verify`: it names every file that is not as it was left, and changes nothing."""

import json
import os

import numpy as np
import pandas as pd
import pytest

from echosynth.audit.examine import RESULT
from echosynth.cohort.echonet import read_cohort, write_filelist
from echosynth.commands.verify import verify
from echosynth.manifest import manifest_of
from echosynth.seals import write_sealed
from echosynth.stages.start import save_cohort
from echosynth.study import Study
from toy_study import SECRET, make_study, record_again

CLIPS = 3


@pytest.fixture
def study(tmp_path):
    """A toy study with a registered cohort and an audit, private as studies are."""
    before = os.umask(0o077)
    try:
        made = make_study(tmp_path, clips=CLIPS)
        names = [f"{SECRET}{i:04d}" for i in range(CLIPS)]
        size = {"height": 112, "width": 112, "fps": 50.0, "frames": 48}
        table = {"name": names, "ef": 50.0, "esv": np.nan, "edv": np.nan, **size, "split": "TRAIN"}
        write_filelist(made.cohort_path, pd.DataFrame(table))
        save_cohort(made, read_cohort(made.cohort_path, splits=False))
        folder = made.private_folder("audit")
        (folder / "clips.parquet").write_bytes(b"verdicts")
        write_sealed(folder / RESULT, {"artefacts": manifest_of(folder)}, made.seal_key)
        yield Study.open(made.root)
    finally:
        os.umask(before)


def flip(path):
    """Changes one bit and keeps size and time, as a failing disk does."""
    about, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_a_whole_study_has_no_problem_and_stays_as_it_is(study):
    before = manifest_of(study.root)
    found = verify(study)
    assert found.problems == []
    assert all("the next run makes it again" in note for note in found.notes)  # the keys of the toy are made up
    assert found.files > 25 and found.bytes > 100_000
    assert manifest_of(study.root) == before


FILES = (
    "synthetic/Videos/0X0000000000000001.avi",
    "synthetic/FileList.csv",
    "evaluation/tstr.parquet",
    "latents/index.parquet",
    "autoencoder/examples.safetensors",
    "image/training.jsonl",
    "image/stage.json",
    "cohort/cohort.parquet",
    "audit/clips.parquet",
    "audit/audit.json",
    "cohort.json",
    f"../site-a/Videos/{SECRET}0001.avi",
    "../site-a/FileList.csv",
)


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_named(study, name):
    path = (study.root / name).resolve()
    flip(path)
    problems = verify(Study.open(study.root)).problems
    assert any(str(path) in problem for problem in problems)
    assert all("\n" not in problem for problem in problems)


def test_all_problems_are_named_at_once(study):
    for name in ("image/training.jsonl", "reid/scores.parquet", "evaluation/metrics.json"):
        flip(study.root / name)
    (study.root / "video" / "training.jsonl").unlink()
    problems = verify(study).problems
    assert len(problems) == 4 and sum("missing" in problem for problem in problems) == 1


def test_a_file_that_is_not_of_the_synthesis_is_a_problem_and_a_note_elsewhere(study):
    (study.root / "synthetic" / "Videos" / "P1.avi").write_bytes(b"RIFF")
    (study.root / "video" / "notes.txt").write_text("mine")
    found = verify(study)
    assert len(found.problems) == 1 and "P1.avi: not of the stage synthetic" in found.problems[0]
    assert sum("notes.txt" in note for note in found.notes) == 1


def test_a_private_file_that_others_may_read_is_a_problem(study):
    (study.root / "reid" / "scores.parquet").chmod(0o644)
    assert [f"{study.root / 'reid' / 'scores.parquet'}: others may read it" in line for line in verify(study).problems] == [True]


def test_a_key_of_another_study_is_one_clear_line(study):
    (study.root / "seal.key").write_text("00")
    problems = verify(study).problems
    assert problems and all("seal.key: damaged" in problem for problem in problems)


def test_a_ledger_that_was_edited_is_named(study):
    write_sealed(study.root / "audit" / "releases.json", {"releases": []}, study.seal_key)
    assert verify(study).problems == []
    path = study.root / "audit" / "releases.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"releases": [{"clips": 1}]}))
    assert any("releases.json: changed" in problem for problem in verify(study).problems)


@pytest.mark.parametrize("name", ["reid/stage.json", "cohort/README.md", "reid/README.md", "cohort/cohort.parquet", "cohort.json"])
def test_what_was_deleted_is_named(study, name):
    if name == "reid/README.md":
        (study.root / name).write_text("# Private")
        record_again(study)
    (study.root / name).unlink()
    assert any(str(study.root / name) in problem for problem in verify(Study.open(study.root)).problems)
