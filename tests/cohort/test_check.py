"""Cohorts read, written and checked: both layouts, and every way in which one can be wrong."""

import dataclasses
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from echosynth.cohort import check, tables
from echosynth.cohort.check import inspect, render
from echosynth.cohort.echonet import fingerprint, load_cohort, read_cohort, save_cohort, write_filelist, write_patients, write_tracings
from echosynth.cohort.tables import number
from echosynth.cohort.video import write_clip
from echosynth.errors import InputError

HEADER = "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"
SPLIT_OF = ["TRAIN", "TRAIN", "TRAIN", "TRAIN", "VAL", "TEST"]


def table_of_clips() -> pd.DataFrame:
    """Six clips A..F of patients p0, p0, p1, p2, p3, p4; C is the odd one: 24x32 pixels, 12.5 fps; volumes unknown for F."""
    clips = pd.DataFrame({"name": list("ABCDEF"), "patient": ["p0", "p0", "p1", "p2", "p3", "p4"], "split": SPLIT_OF})
    clips["ef"] = [60.0, 55.5, 33.333333, 71.25, 48.0, 20.0]
    clips["edv"] = [100.0, 120.0, 90.0, 80.0, 110.0, np.nan]
    clips["esv"] = clips.edv * (1 - clips.ef / 100)
    clips["fps"] = [50.0, 50.0, 12.5, 50.0, 29.97, 50.0]
    clips["frames"] = [5, 6, 7, 8, 9, 10]
    clips["height"] = [32, 32, 24, 32, 32, 32]
    clips["width"] = 32
    return clips


@pytest.fixture(scope="session")
def master(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("master") / "cohort"
    clips = table_of_clips()
    rng = np.random.default_rng(0)
    for clip in clips.itertuples():
        write_clip(root / "Videos" / f"{clip.name}.avi", rng.integers(0, 256, (clip.frames, clip.height, clip.width), dtype=np.uint8), clip.fps)
    write_filelist(root, clips)
    write_patients(root, clips)
    return root


@pytest.fixture
def root(master, tmp_path) -> Path:
    return Path(shutil.copytree(master, tmp_path / "cohort"))


def edit(root: Path, row: int, column: str, value: str, file: str = "FileList.csv") -> None:
    """Changes one cell; rows count from the header, which is row 1."""
    lines = [line.split(",") for line in (root / file).read_text().splitlines()]
    lines[row - 1][lines[0].index(column)] = value
    (root / file).write_text("\n".join(",".join(line) for line in lines) + "\n")


def append(root: Path, line: str, file: str = "FileList.csv") -> None:
    with open(root / file, "a") as out:
        out.write(line + "\n")


def told(root: Path, **options) -> list[str]:
    return [str(problem) for problem in inspect(root, **options).problems]


def warned(root: Path) -> list[str]:
    return [str(problem) for problem in inspect(root).warnings]


def test_dynamic_layout_round_trip(root):
    assert (root / "FileList.csv").read_text().splitlines()[:2] == [HEADER, "A,60,40,100,32,32,50,5,TRAIN"]
    assert (root / "FileList.csv").read_text().splitlines()[6] == "F,20,,,32,32,50,10,TEST"
    cohort = read_cohort(root)
    pd.testing.assert_frame_equal(cohort.clips, table_of_clips()[cohort.clips.columns], check_dtype=False)
    assert list(cohort.split("TRAIN").index) == [0, 1, 2, 3] and list(cohort.split("TEST").name) == ["F"]
    assert cohort.path("C") == root / "Videos/C.avi" and cohort.skipped == ()
    assert inspect(root).problems == [] and inspect(root).warnings == []


def test_pediatric_layout(root):
    """Names with .avi in any case, folds, no FPS and no sizes, extra columns; every clip its own patient without patients.csv."""
    (root / "patients.csv").unlink()
    (root / "Videos/B.avi").rename(root / "Videos/B.AVI")
    rows = [("A.avi", 60, 0), ("B.AVI", 55.5, 7), ("C.Avi", 33.3, 3), ("D.avi", 71, "5.0"), ("E.avi", 48, 8), ("F.avi", 20, 9)]
    (root / "FileList.csv").write_text("FileName,EF,Sex,Age,Weight,Height,Split\n" + "".join(f"{name},{ef},F,7,20.5,110,{fold}\n" for name, ef, fold in rows))
    cohort = read_cohort(root)
    expected = table_of_clips()
    for column in ("name", "split", "fps", "frames", "height", "width"):
        assert list(cohort.clips[column]) == list(expected[column])
    assert list(cohort.clips.patient) == list("ABCDEF") and cohort.clips.esv.isna().all()
    assert cohort.path("B").is_file()


@pytest.mark.parametrize(
    "change", [lambda text: b"\xef\xbb\xbf" + text, lambda text: text.replace(b"\n", b"\r\n"), lambda text: text.replace(b"\n", b"\n\n"), lambda text: text.replace(b",", b" , ")]
)
def test_byte_order_mark_line_endings_and_blanks_change_nothing(root, change):
    before = read_cohort(root)
    (root / "FileList.csv").write_bytes(change((root / "FileList.csv").read_bytes()))
    after = read_cohort(root)
    pd.testing.assert_frame_equal(before.clips, after.clips)
    assert before.fingerprint == after.fingerprint


@pytest.mark.parametrize(
    "column, value, message",
    [
        ("EF", "", "EF is empty; write the ejection fraction in percent"),
        ("EF", "nan", "EF 'nan' is not a number; write the ejection fraction in percent"),
        ("EF", "high", "EF 'high' is not a number"),
        ("EF", "100.5", "EF 100.5 is outside 0-100"),
        ("EF", "-3", "EF -3 is outside 0-100"),
        ("EF", "1e999", "EF '1e999' is not a number"),
        ("EF", "1_0", "EF '1_0' is not a number"),
        ("ESV", "much", "ESV 'much' is not a volume; write mL, or leave it empty"),
        ("EDV", "-1", "EDV '-1' is not a volume"),
        ("FPS", "0", "FPS '0' is not a positive number"),
        ("FPS", "-50", "FPS '-50' is not a positive number"),
        ("NumberOfFrames", "0", "NumberOfFrames '0' is not a positive whole number"),
        ("NumberOfFrames", "7.5", "NumberOfFrames '7.5' is not a positive whole number"),
        ("NumberOfFrames", "8", "Videos/C.avi truncated: 7 of 8 frames can be read; replace the file"),
        ("FrameHeight", "32", "FrameHeight x FrameWidth 32x32 where Videos/C.avi has 24x32; write the size of the video"),
        ("FrameWidth", "", None),
        ("Split", "", "Split is empty; write TRAIN, VAL or TEST, or a fold 0-9"),
        ("Split", "VALIDATION", "Split 'VALIDATION' unknown; write TRAIN, VAL or TEST"),
        ("Split", "10", "Split '10' unknown"),
        ("Split", "train", None),
        ("FileName", "", "FileName is empty"),
        ("FileName", "../Videos/C", "FileName '../Videos/C' is not a plain file name; name a file in Videos/, without folders"),
        ("FileName", "/etc/passwd", "is not a plain file name"),
        ("FileName", "..\\C", "is not a plain file name"),
        ("FileName", "..", "is not a plain file name"),
        ("FileName", ".avi", "is not a plain file name"),
        ("FileName", "C\x1b[31m", "is not a plain file name"),
        ("FileName", "C\x00", "is not a plain file name"),
        ("FileName", "x" * 300, "is not a plain file name"),
    ],
)
def test_each_cell_that_is_wrong_is_told_with_its_row(root, column, value, message):
    (root / "patients.csv").unlink()
    edit(root, 4, column, value)
    found = told(root)
    assert len(found) == (message is not None)
    if message:
        assert found[0].startswith("FileList.csv row 4: ") and message in found[0] and found[0].isprintable()
        with pytest.raises(InputError, match=r"FileList\.csv row 4: .*--skip-bad leaves the bad clips out"):
            read_cohort(root)
        cohort = read_cohort(root, skip_bad=True)
        assert list(cohort.clips.name) == list("ABDEF") and cohort.skipped == tuple(found) and list(cohort.clips.index) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda path: path.unlink(), "no such file; put the video there, or take the clip out of the list"),
        (lambda path: path.write_bytes(b""), "an empty file"),
        (lambda path: path.write_bytes(b"not a film\n" * 50), "not a video that can be read"),
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "truncated: it breaks off within a frame"),
        (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "not a regular file"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"MJPG", b"XXXX")), "coded in a way that cannot be decoded here"),
    ],
)
def test_each_video_that_is_wrong_is_told_with_its_row(root, damage, message):
    damage(root / "Videos/D.avi")
    assert len(found := told(root)) == 1 and found[0].startswith(f"FileList.csv row 5: Videos/D.avi {message}")
    assert list(read_cohort(root, skip_bad=True).clips.name) == list("ABCEF")


def test_every_problem_is_found_in_one_pass(root):
    edit(root, 2, "EF", "")
    edit(root, 2, "FPS", "0")
    edit(root, 3, "Split", "?")
    (root / "Videos/C.avi").unlink()
    (root / "Videos/D.avi").write_bytes(b"")
    append(root, "D,50,,,,,,,TRAIN")
    append(root, "E,50")
    found = told(root)
    assert [line.split(":")[0] for line in found] == [f"FileList.csv row {row}" for row in (2, 2, 3, 4, 5, 8, 9)]
    with pytest.raises(InputError) as raised:
        read_cohort(root)
    line = str(raised.value)
    assert "\n" not in line and line.startswith(f"{root}: FileList.csv row 2: ") and f"and 6 more; echosynth check {root} lists them all; --skip-bad leaves" in line
    # No clip of the training split is left, which no skipping mends.
    with pytest.raises(InputError, match="no clip in split TRAIN"):
        read_cohort(root, skip_bad=True)
    assert list(read_cohort(root, skip_bad=True, splits=False).clips.name) == ["E", "F"]


def test_a_name_listed_twice_keeps_its_first_row(root):
    append(root, "A.avi,10,,,,,,,TRAIN")
    assert told(root) == ["FileList.csv row 8: clip A is already in row 2; keep one of the rows"]
    assert read_cohort(root, skip_bad=True).clips.ef[0] == 60


def test_a_patient_in_two_splits_stays_in_the_first(root):
    edit(root, 3, "Split", "TEST")
    assert told(root) == ["FileList.csv row 3: the patient of clip B is in TEST here and in TRAIN in row 2; put all clips of a patient in one split"]
    cohort = read_cohort(root, skip_bad=True)
    assert list(cohort.clips.name) == list("ACDEF")
    assert (cohort.clips.groupby("patient").split.nunique() == 1).all()
    assert "p0" not in str(told(root))


def test_splits_that_are_missing(root):
    edit(root, 6, "Split", "TRAIN")
    edit(root, 7, "Split", "TRAIN")
    assert [line.split(";")[0] for line in told(root)] == ["FileList.csv: no clip in split VAL", "FileList.csv: no clip in split TEST"]
    with pytest.raises(InputError, match="no clip in split VAL"):
        read_cohort(root, skip_bad=True)
    assert told(root, splits=False) == [] and len(read_cohort(root, splits=False).clips) == 6


def test_a_split_emptied_by_skipping(root):
    (root / "Videos/E.avi").unlink()
    with pytest.raises(InputError, match=r"no clip in split VAL"):
        read_cohort(root, skip_bad=True)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", r"FileList\.csv: empty; write the columns FileName,EF,Split"),
        (b"\n\n", r"FileList\.csv: empty"),
        (HEADER.encode() + b"\n", r"FileList\.csv: no clip in it"),
        (b"FileName,Split\nA,TRAIN\n", r"FileList\.csv row 1: no column EF; "),
        (HEADER.replace(",", ";").encode() + b"\n", r"FileList\.csv row 1: no column FileName, EF, Split; .*commas"),
        (b"FileName,EF,EF,Split\nA,1,2,TRAIN\n", r"FileList\.csv row 1: column EF twice"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), r"FileList\.csv line 1: not UTF-8 text"),
        (b"FileName,EF,Split\nA,60,TRAIN\nB\xe9,50,VAL\n", r"FileList\.csv line 3: not UTF-8 text; save it as CSV in UTF-8"),
        (b'FileName,EF,Split\nA,60,TRAIN\n"B,50,VAL\n', r"FileList\.csv row 3: not CSV"),
        (b"FileName,EF,Split\nA," + b"9" * 200_000 + b",TRAIN\n", r"FileList\.csv row 2: not CSV"),
    ],
)
def test_a_malformed_filelist_stops_even_with_skip_bad(root, content, message):
    (root / "FileList.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_cohort(root, skip_bad=True)
    assert inspect(root).problems and inspect(root).clips.empty
    assert str(root) in render(inspect(root))


def test_a_huge_filelist_is_not_read(root):
    os.truncate(root / "FileList.csv", tables.MAX_BYTES + 1)
    with pytest.raises(InputError, match=r"FileList\.csv: larger than 256 MiB"):
        read_cohort(root)


@pytest.mark.parametrize("name", ["FileList.csv", "patients.csv", "VolumeTracings.csv"])
def test_a_pipe_in_the_place_of_a_table_is_not_waited_for(root, name):
    (root / name).unlink(missing_ok=True)
    os.mkfifo(root / name)
    report = inspect(root)
    assert any(str(one).startswith(f"{name}: not a regular file") for one in (*report.problems, *report.warnings))


@pytest.mark.parametrize(
    ("limit", "value", "content", "message"),
    [
        ("MAX_COLUMNS", 3, "FileName,EF,Split,Sex\nA,60,TRAIN,F\n", "row 1: 4 cells, at most 3 are read"),
        ("MAX_ROWS", 2, "FileName,EF,Split\nA,60,TRAIN\nB,60,TRAIN\n", "more than 2 rows"),
        ("MAX_CELLS", 8, "FileName,EF,Split\nA,60,TRAIN\nB,60,TRAIN\n", "or 8 cells"),
        ("MAX_RAGGED", 1, "FileName,EF,Split\nA\nB\nC,60,TRAIN\n", "more than 1 rows with too few or too many cells"),
        ("MAX_ROW", 30, 'FileName,EF,Split\n"' + "A\n" * 20 + '",60,TRAIN\n', "row 2: more than 30 characters"),
    ],
)
def test_a_table_larger_than_any_of_a_cohort_is_refused(root, monkeypatch, limit, value, content, message):
    monkeypatch.setattr(tables, limit, value)
    (root / "FileList.csv").write_text(content)
    assert message in told(root)[0]
    monkeypatch.setattr(tables, limit, value * 10)
    assert not any(message in line for line in told(root))


def test_a_table_of_a_million_columns_is_refused(root):
    (root / "FileList.csv").write_text(HEADER + ",x" * 1_000_000 + "\n")
    assert "cells, at most 1,000 are read" in told(root)[0]


def test_folders_that_hold_no_cohort(root, tmp_path):
    with pytest.raises(InputError, match=r"no such folder; give the folder that holds FileList\.csv and Videos/"):
        read_cohort(tmp_path / "gone")
    with pytest.raises(InputError, match="not a folder"):
        read_cohort(root / "FileList.csv")
    with pytest.raises(InputError, match=f"there is one in {root}: give that folder"):
        read_cohort(root.parent)
    with pytest.raises(InputError, match=f"there is one in {root}: give that folder"):
        read_cohort(root / "Videos")
    shutil.rmtree(root / "Videos")
    assert len(found := told(root)) == 1 and found[0].startswith("Videos/: not in ")
    with pytest.raises(InputError, match="Videos/: not in"):
        read_cohort(root, skip_bad=True)


def test_patients_csv(root):
    append(root, "Z,p9", "patients.csv")
    assert warned(root) == ["patients.csv row 8: clip 'Z' is not in FileList.csv; take the row out, or list the clip"]
    edit(root, 4, "FileName", "Y", "patients.csv")
    append(root, "D.avi,p7", "patients.csv")
    assert told(root) == [
        "FileList.csv row 4: clip C has no patient in patients.csv; add its row there",
        "FileList.csv row 5: clip D has two patients in patients.csv; keep one row of it there",
    ]
    assert list(read_cohort(root, skip_bad=True).clips.name) == list("ABEF")
    (root / "patients.csv").write_text("Clip,Who\nA,1\n")
    with pytest.raises(InputError, match=r"patients\.csv row 1: no column FileName, Patient"):
        read_cohort(root, skip_bad=True)


def test_warnings_do_not_stop(root):
    edit(root, 2, "EF", "57")
    edit(root, 3, "ESV", "130")
    edit(root, 5, "EDV", "0")
    edit(root, 5, "ESV", "0")
    edit(root, 6, "FPS", "50")
    edit(root, 7, "NumberOfFrames", "9")
    (root / "Videos/extra.avi").touch()
    lines = warned(root)
    for piece in (
        "FileList.csv row 2: EF 57.0 where the volumes give 60.0",
        "FileList.csv row 3: ESV 130 is larger than EDV 120",
        "FileList.csv row 5: EDV is 0; leave volumes empty that were not measured",
        "FileList.csv row 6: FPS 50 where Videos/E.avi has 29.97",
        "FileList.csv row 7: NumberOfFrames 9 where Videos/F.avi has 10",
        "Videos/extra.avi: not in FileList.csv",
    ):
        assert any(line.startswith(piece) for line in lines), piece
    assert len(lines) == 6
    cohort = read_cohort(root)
    assert cohort.clips.frames[5] == 10 and cohort.clips.fps[4] == 50


def test_ef_given_as_a_fraction_is_warned_of(root):
    for row in range(2, 8):
        edit(root, row, "EF", "0.6")
    assert "FileList.csv: no EF is above 1; write EF in percent, not as a fraction" in warned(root)


def test_tracings(root):
    tracings = pd.DataFrame({"name": ["A", "A", "C"], "x1": [1.5, 2, 3], "y1": [4.0, 5, 6], "x2": [7.25, 8, 9], "y2": [10.0, 11, 12], "frame": [0, 0, 6]})
    write_tracings(root, tracings)
    assert (root / "VolumeTracings.csv").read_text() == "FileName,X1,Y1,X2,Y2,Frame\nA.avi,1.5,4,7.25,10,0\nA.avi,2,5,8,11,0\nC.avi,3,6,9,12,6\n"
    assert warned(root) == []
    for line in ("Q.avi,1,1,1,1,0", "Q.avi,1,1,1,1,0", "A.avi,1,1,1,1,5", "B.avi,x,1,1,1,0", "B.avi,1", "C.avi,1,1,1,1,"):
        append(root, line, "VolumeTracings.csv")
    assert [line.split(";")[0] for line in warned(root)] == [
        "VolumeTracings.csv row 9: 2 cells where the first row has 6",
        "VolumeTracings.csv row 5: clip 'Q.avi' is not in FileList.csv",
        "VolumeTracings.csv row 7: Frame '5' is not a frame of clip A",
        "VolumeTracings.csv row 8: a coordinate of clip B is not a number",
        "VolumeTracings.csv row 10: Frame '' is not a frame of clip C",
    ]
    (root / "VolumeTracings.csv").write_text("FileName,X,Y,Frame\nA.avi,1,2,0\n")
    assert warned(root) == []
    (root / "VolumeTracings.csv").write_text("FileName,Frame\nA.avi,0\n")
    assert warned(root)[0].startswith("VolumeTracings.csv row 1: no columns X1, Y1, X2, Y2")
    assert told(root) == []


def test_fingerprint_follows_labels_and_videos_not_their_order(root):
    first = read_cohort(root).fingerprint
    lines = (root / "FileList.csv").read_text().splitlines()
    (root / "FileList.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    assert read_cohort(root).fingerprint == first
    seen = {first}
    edit(root, 2, "EF", "20.5")
    seen.add(read_cohort(root).fingerprint)
    edit(root, 2, "FPS", "49.5")
    seen.add(read_cohort(root).fingerprint)
    edit(root, 4, "Patient", "p8", "patients.csv")
    seen.add(read_cohort(root).fingerprint)
    write_clip(root / "Videos/A.avi", np.full((5, 32, 32), 3, np.uint8), 50)
    seen.add(read_cohort(root).fingerprint)
    assert len(seen) == 5
    clips = inspect(root).clips
    assert fingerprint(clips) == fingerprint(clips.sample(frac=1, random_state=0))


def test_render_shows_summary_histogram_and_every_problem(root):
    text = render(inspect(root))
    assert "6 clips of 5 patients" in text and "TRAIN       4 clips      3 patients" in text and "no problems" in text
    efs = table_of_clips().ef
    assert f"EF     {efs.mean():.1f} ± {efs.std():.1f} %, 20.0 to 71.2" in text
    assert "50-60       1" in text.replace("60-70 ", "") and "32x32 (5), 24x32 (1)" in text and "50 (4)" in text
    for row in range(2, 7):
        edit(root, row, "EF", "200")
    text = render(inspect(root))
    assert text.count("is outside 0-100") == 5 and "5 problems:" in text and "1 clips of 1 patients (of 6 listed; 5 bad)" in text


def test_saved_cohort_comes_back_without_opening_a_video(root, tmp_path):
    edit(root, 4, "EF", "")
    cohort = read_cohort(root, skip_bad=True)
    assert save_cohort(cohort, tmp_path / "study") == tmp_path / "study" / "cohort.parquet"
    for video in (root / "Videos").iterdir():
        video.unlink()
    back = load_cohort(tmp_path / "study")
    pd.testing.assert_frame_equal(back.clips, cohort.clips)
    assert (back.root, back.fingerprint, back.skipped) == (root.resolve(), cohort.fingerprint, cohort.skipped)
    assert back.files == cohort.files and {"FileList.csv", "patients.csv", "Videos/A.avi"} <= back.files.keys()
    assert {field.name for field in dataclasses.fields(back)} == {"root", "clips", "fingerprint", "skipped", "files"}
    shutil.rmtree(root)
    with pytest.raises(InputError, match="the cohort is no longer there"):
        load_cohort(tmp_path / "study")


def _touched(path):
    path.write_bytes(path.read_bytes())


def _flipped_with_its_old_time(path):
    about, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize("name", ["Videos/C.avi", "FileList.csv", "patients.csv"])
def test_a_cohort_that_changed_is_noticed(root, name):
    cohort = read_cohort(root)
    before = (root / name).read_bytes()
    _flipped_with_its_old_time(root / name)
    if name.startswith("Videos"):
        cohort.check_unchanged()  # ten thousand videos are not hashed at every stage
    with pytest.raises(InputError, match=rf"{name}: changed \(its bytes are others\)"):
        cohort.check_unchanged(full=True)
    _touched(root / name)
    with pytest.raises(InputError, match=rf"{name}: changed"):
        cohort.check_unchanged()
    (root / name).write_bytes(before)
    cohort.check_unchanged(full=True)  # another time, the same bytes
    (root / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: missing"):
        cohort.check_unchanged()


def test_a_list_that_came_later_is_noticed(root):
    cohort = read_cohort(root)
    cohort.check_unchanged()
    (root / "VolumeTracings.csv").write_text("FileName,X1,Y1,X2,Y2,Frame\n")
    with pytest.raises(InputError, match=r"VolumeTracings\.csv: was not there"):
        cohort.check_unchanged()


def test_a_byte_in_the_middle_of_a_video_enters_the_fingerprint(root):
    before = read_cohort(root)
    path = root / "Videos" / "F.avi"
    data = path.read_bytes()
    junk = b"JUNK" + (9000).to_bytes(4, "little") + bytes(9000)
    path.write_bytes(data + junk + bytes(9000))
    long = read_cohort(root).fingerprint
    _flipped_with_its_old_time(path)
    assert len({before.fingerprint, long, read_cohort(root).fingerprint}) == 3


def test_load_refuses_what_is_no_saved_cohort(tmp_path):
    with pytest.raises(InputError, match=r"cohort\.parquet: no such file"):
        load_cohort(tmp_path)
    (tmp_path / "cohort.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match=r"cohort\.parquet: not a table of a cohort"):
        load_cohort(tmp_path)
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "cohort.parquet")
    with pytest.raises(InputError, match=r"cohort\.parquet: not a table of a cohort"):
        load_cohort(tmp_path)


def test_a_name_with_a_dot_zero_is_kept(tmp_path):
    clips = table_of_clips().assign(name=["a.0", "50.0", "b", "c", "d", "e"])
    write_filelist(tmp_path, clips)
    assert [line.split(",")[0] for line in (tmp_path / "FileList.csv").read_text().splitlines()[1:3]] == ["a.0", "50.0"]


@pytest.mark.parametrize("text, value", [("1", 1.0), ("-2.5e1", -25.0), (".5", 0.5), ("1.", 1.0), ("", None), ("0x1", None), ("inf", None), ("１", None), ("1,5", None)])
def test_numbers(text, value):
    assert number(text) == value


def test_an_interrupt_does_not_wait_for_a_video_that_takes_long(root, monkeypatch):
    opened, release = [], threading.Event()

    def slow(path, frames):
        opened.append(path)
        release.wait(30)
        raise tables.Problem(path.name, "too late", "none")

    monkeypatch.setattr(check, "clip_info", slow)
    monkeypatch.setattr(check.os, "cpu_count", lambda: 2)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    since = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            inspect(root)
        assert time.monotonic() - since < 5
    finally:
        release.set()
        signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 10
    while any(thread.name.startswith("video") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(opened) == 2  # those that were queued are not opened
