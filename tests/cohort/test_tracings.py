"""Tracings of a cohort: what its readers drew comes back, and every way in which the table can be wrong is one clear line."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from echosynth.cohort.discs import disc_volume, outline, polygon_area
from echosynth.cohort.echonet import read_cohort, write_tracings
from echosynth.cohort.phantom import simulate_cohort
from echosynth.cohort.tracings import TracedFrame, read_tracings, traced_mask, tracing_rows
from echosynth.errors import InputError

TABLE = "VolumeTracings.csv"


@pytest.fixture(scope="module")
def master(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("tracings") / "cohort"
    simulate_cohort(root, 3, 1, seed=6, site="alder", workers=1)
    return root


@pytest.fixture
def root(master, tmp_path) -> Path:
    return Path(shutil.copytree(master, tmp_path / "cohort"))


def read(root: Path, **options):
    return read_tracings(read_cohort(root, splits=False), **options)


def rows(root: Path) -> list[str]:
    return (root / TABLE).read_text().splitlines()


def rewrite(root: Path, lines: list[str]) -> None:
    (root / TABLE).write_text("\n".join(lines) + "\n")


def test_the_phantoms_tracings_come_back(root):
    cohort = read_cohort(root, splits=False)
    truth = pd.read_parquet(root / "truth.parquet").set_index("name")
    tracings = read_tracings(cohort)
    assert [clip.name for clip in tracings.clips] == list(cohort.clips["name"]) and tracings.skipped == ()
    for clip in tracings.clips:
        assert (clip.ed.frame, clip.es.frame) == (truth.ed_frame[clip.name], truth.es_frame[clip.name])
        assert clip.ed.lines.shape == (21, 4) and clip.ed.polygon.shape == (40, 2)
        assert 100 * (1 - disc_volume(clip.es.lines) / disc_volume(clip.ed.lines)) == pytest.approx(truth.ef[clip.name], abs=0.01)


def test_the_polygon_is_the_one_of_the_published_reader(root):
    clip = read(root).clips[0]
    x1, y1, x2, y2 = clip.ed.lines.T
    x, y = np.concatenate((x1[1:], np.flip(x2[1:]))), np.concatenate((y1[1:], np.flip(y2[1:])))
    assert (clip.ed.polygon == np.stack([x, y], 1)).all()


def test_end_systole_is_the_smaller_whatever_the_order(root):
    before = read(root).clips
    header, *lines = rows(root)
    rewrite(root, [header, *lines[21:42], *lines[:21], *lines[42:]])
    assert [clip.es.frame for clip in read(root).clips] == [clip.es.frame for clip in before]


def test_written_tracings_are_read_again(root):
    before = read(root).clips
    write_tracings(root, tracing_rows((clip.name, {one.frame: one.lines for one in (clip.ed, clip.es)}) for clip in before))
    for one, other in zip(before, read(root).clips, strict=True):
        assert (one.name, one.ed.frame, one.es.frame) == (other.name, other.ed.frame, other.es.frame)
        assert other.ed.lines == pytest.approx(one.ed.lines, abs=0.0051)


def test_the_mask_is_where_the_shrunken_picture_is():
    traced = TracedFrame(0, np.array([[20.0, 10.0], [60.0, 10.0], [60.0, 50.0], [20.0, 50.0]]), None)
    mask = traced_mask(traced, 60, 120, 40)  # a third of the size, 10 rows of black above and below
    assert mask.shape == (40, 40) and mask.sum() == pytest.approx(40 * 40 / 9, rel=0.02)
    assert mask[20, 10] == 1 and mask[20, 5] == 0 and mask[11].sum() == 0 and mask[30].sum() == 0
    assert traced_mask(traced, 60, 120, 120).sum() == pytest.approx(1600)


def test_points_instead_of_lines(root):
    clips = read(root).clips
    points = [f"{clip.name}.avi,{x},{y},{one.frame}" for clip in clips for one in (clip.ed, clip.es) for x, y in one.polygon]
    rewrite(root, ["FileName,X,Y,Frame", *points])
    for one, other in zip(clips, read(root).clips, strict=True):
        assert other.ed.lines is None and (other.ed.polygon == one.ed.polygon).all() and other.es.frame == one.es.frame


def test_byte_order_mark_blanks_and_foreign_rows_change_nothing(root):
    before = read(root).clips
    text = (root / TABLE).read_text().replace(",", " , ") + "\n\n0XSOMEBODY.avi,1,2,3,4,5\n../x.avi,a,b,c,d,e\n"
    (root / TABLE).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    after = read(root).clips
    assert [clip.name for clip in after] == [clip.name for clip in before]
    assert all((one.ed.polygon == other.ed.polygon).all() for one, other in zip(before, after, strict=True))


def test_clips_without_tracings_are_not_in_it(root):
    header, *lines = rows(root)
    rewrite(root, [header, *lines[42:]])
    assert [clip.name for clip in read(root).clips] == list(read_cohort(root, splits=False).clips["name"][1:])


def cell(column: int, value: str):
    """Changes one cell of row 5 (the second chord of the first frame)."""

    def change(lines: list[str]) -> list[str]:
        cells = lines[4].split(",")
        cells[column] = value
        return [*lines[:4], ",".join(cells), *lines[5:]]

    return change


def flat(lines: list[str]) -> list[str]:
    """The first frame's rows all in one point."""
    return [lines[0], *[",".join([line.split(",")[0], "5", "5", "5", "5", line.split(",")[5]]) for line in lines[1:22]], *lines[22:]]


@pytest.mark.parametrize(
    "change, message",
    [
        (cell(1, "x"), r"row 5: coordinate 'x' of clip PH\d+ is not a number; mend or take out the rows of the clip"),
        (cell(2, ""), r"row 5: coordinate '' of clip"),
        (cell(3, "nan"), r"row 5: coordinate 'nan' of clip"),
        (cell(4, "1e9"), r"row 5: coordinate 1e\+09 of clip PH\d+ is outside its picture of 112x112 pixels"),
        (cell(1, "-40"), r"row 5: coordinate -40 of clip"),
        (cell(5, "1e6"), r"row 5: Frame '1e6' is not a frame of clip"),
        (cell(5, "3.5"), r"row 5: Frame '3.5' is not a frame"),
        (cell(5, "No Systolic"), r"row 5: Frame 'No Systolic' is not a frame"),
        (cell(5, "-1"), r"row 5: Frame '-1' is not a frame"),
        (cell(5, "3"), r"row 2: 3 traced frames of clip PH\d+, where end diastole and end systole make two"),
        (lambda lines: [*lines[:22], *lines[43:]], r"row 2: 1 traced frame of clip"),
        (lambda lines: [*lines[:4], *lines[22:]], r"row 2: only 3 rows of frame \d+ of clip"),
        (lambda lines: [*lines[:4], lines[4] + ",7", *lines[5:]], r"row 5: 7 cells where the first row has 6; fill or quote the cells"),
        (flat, r"row 2: the tracing of frame \d+ of clip PH\d+ encloses nothing"),
    ],
)
def test_a_bad_row_is_one_clear_line_and_can_be_left_out(root, change, message):
    whole = rows(root)
    rewrite(root, change(whole))
    with pytest.raises(InputError, match=rf"^{TABLE} {message}"):
        read(root)
    left = read(root, skip_bad=True)
    assert len(left.skipped) == 1 and left.skipped[0].startswith(TABLE)
    assert len(left.clips) == (3 if "cells" in message else 2)  # a ragged row belongs to nobody


def test_tables_that_are_none(root):
    rewrite(root, ["FileName,Frame,A,B", "x,1,2,3"])
    with pytest.raises(InputError, match=rf"{TABLE} row 1: no columns X1, Y1, X2, Y2"):
        read(root, skip_bad=True)
    rewrite(root, ["FileName,X1,Y1,X2,Y2,Frame", "elsewhere.avi,1,2,3,4,5"])
    with pytest.raises(InputError, match=rf"{TABLE}: no clip of the cohort is traced in it"):
        read(root, skip_bad=True)
    (root / TABLE).write_bytes(b"FileName,\xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read(root)
    (root / TABLE).unlink()
    with pytest.raises(InputError, match=rf"{TABLE}: not in"):
        read(root, skip_bad=True)


def test_outline_goes_round_once():
    lines = np.array([[5, 0, 5, 9], [3, 1, 7, 1], [2, 4, 8, 4], [3, 8, 7, 8]], float)
    assert outline(lines).tolist() == [[3, 1], [2, 4], [3, 8], [7, 8], [8, 4], [7, 1]]
    assert polygon_area(outline(lines)) == 3 * (4 + 6) / 2 + 4 * (6 + 4) / 2
