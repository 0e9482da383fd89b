"""Pictures and charts: true speed, the right frames, well-formed drawings in the page's colours."""

import io
import os
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from echosynth.config import preset
from echosynth.report import animated_montage, figures, montage, pictures
from echosynth.report.__main__ import main
from echosynth.report.pictures import NotComputed
from echosynth.study import Study
from toy_study import beating, make_clips, moved


@pytest.mark.parametrize(("fps", "step", "shown"), [(50, 3, 50 / 3), (32, 2, 16), (30, 2, 15), (60, 3, 20), (15, 1, 15)])
def test_played_keeps_the_speed(fps: float, step: int, shown: float):
    clip = np.arange(200, dtype=np.uint8)[:, None, None]
    frames, rate = pictures.played(clip, fps)
    assert rate == pytest.approx(shown)
    assert (frames[:, 0, 0] == np.arange(0, min(200, int(2.4 * fps)), step)).all()


@pytest.mark.parametrize("seed", range(4))
def test_beat_frames_are_the_largest_and_the_smallest_cavity(seed: int):
    clip = beating(60, 64, 32.0, seed)
    area = (clip[:, 20:80, 30:80] < 40).sum((1, 2))  # the dark cavity of the test's own clips
    ed, es = pictures.beat_frames(clip)
    spread = area.max() - area.min()
    assert area[ed] > area.max() - 0.05 * spread and area[es] < area.min() + 0.05 * spread


def test_beat_frames_of_hardly_a_clip():
    assert pictures.beat_frames(np.zeros((1, 8, 8), np.uint8)) == (0, 0)
    assert all(0 <= frame < 5 for frame in pictures.beat_frames(np.zeros((5, 8, 8), np.uint8)))


def test_three_efs_are_the_nearest_and_differ(tmp_path: Path):
    efs = np.array([40.0, 20.0, 60.0, 42.0])
    make_clips(tmp_path, list("abcd"), efs, 32.0, frames=4)
    clips = pd.DataFrame({"ef": efs, "path": [tmp_path / "Videos" / f"{name}.avi" for name in "abcd"]})
    assert [shown.ef for shown in pictures.three_efs(clips, (41.5, 41.5, 41.5))] == [42.0, 40.0, 60.0]
    assert [shown.ef for shown in pictures.three_efs(clips.iloc[:2], (10, 50, 90))] == [20.0, 40.0]
    with pytest.raises(NotComputed, match="no clip has an EF"):
        pictures.three_efs(clips.assign(ef=np.nan), (10, 50, 90))


def test_wall_holds_whole_rows(tmp_path: Path):
    make_clips(tmp_path, [str(i) for i in range(8)], np.full(8, 50.0), 32.0, frames=3)
    clips = pd.DataFrame({"path": [tmp_path / "Videos" / f"{i}.avi" for i in range(8)]})
    assert pictures.wall(clips, 6, 3).shape == (2 * 112, 3 * 112)
    assert pictures.wall(clips[:2], 6, 6).shape == (112, 2 * 112)


def test_readme_pictures(finished: Study, tmp_path: Path):
    montage(finished, tmp_path / "montage.png")
    still = Image.open(tmp_path / "montage.png")
    assert (tmp_path / "montage.png").stat().st_size < 400_000
    assert still.width > 6 * 112 and still.height > 2 * 112


def test_readme_picture_that_moves(finished: Study, tmp_path: Path):
    animated_montage(finished, tmp_path / "montage.webp")
    moving = Image.open(tmp_path / "montage.webp")
    assert (tmp_path / "montage.webp").stat().st_size < 2_000_000
    assert moving.n_frames == 38 and moving.width > 3 * 112 and moving.info["loop"] == 0


def test_montage_grows_smaller_to_stay_under_the_limit(finished: Study, tmp_path: Path):
    montage(finished, tmp_path / "montage.png", limit=120_000)
    assert (tmp_path / "montage.png").stat().st_size < 120_000


def test_webp_loops():
    image = Image.open(io.BytesIO(pictures.animated_webp(beating(50, 10, 32.0, 0), 16.0)))
    assert image.n_frames == 10 and image.info["loop"] == 0


def _charts() -> list[str]:
    rng = np.random.default_rng(0)
    x = rng.uniform(10, 120, 50)
    steps = np.arange(1, 501)
    return [
        figures.scatter(x, x + 1, "asked <for>", "measured", "R² 0.9", figures.REAL),
        figures.scatter(x[:1], x[:1], "asked", "measured", "n = 1", figures.REAL),
        figures.loss_curve(steps, 100.0 / steps, "video model"),
        figures.loss_curve(steps[:1], np.zeros(1), "image model"),
        figures.shares({"a": (x, figures.REAL), "b": (x[:1], figures.COPY)}, "EF (%)", "share (%)", np.arange(0, 101, 10), (50.0, "line")),
        figures.traces([(steps / 32, np.sin(steps / 9)), (steps / 32, np.zeros(500))], "motion", (-1.0, 1.0), figures.SYNTHETIC, "two traces"),
    ]


def test_charts_are_xml_in_the_colours_of_the_page():
    identifiers = []
    for chart in _charts():
        root = ElementTree.fromstring(chart)
        assert root.get("viewBox") and root.get("aria-label") and root.get("width") is None
        names = [element.get("id") for element in root.iter() if element.get("id")]
        used = re.findall(r'(?:href="#|url\(#)([^")]+)', chart)
        assert set(used) <= set(names)
        identifiers += names
        assert "#0a0b" not in chart and "var(--ink)" in chart
    assert len(identifiers) == len(set(identifiers))


def test_charts_are_the_same_each_time():
    assert _charts() == _charts()


def test_loss_curve_of_a_constant_stays_constant():
    path = re.search(r'aria-label="([^"]+)"', figures.loss_curve(np.arange(1000), np.full(1000, 0.25), "video model")).group(1)
    assert path == "Training loss of the video model: from 0.25 to 0.25 over 998 steps."


def test_command_for_the_readme_needs_a_finished_study(tmp_path: Path, capsys: pytest.CaptureFixture):
    Study.create(tmp_path / "study", preset("smoke"), tmp_path / "site", "ab" * 32)
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "study"), str(tmp_path / "out"), "--with-patients"])
    assert stopped.value.code == 2 and capsys.readouterr().err == "no pictures: there is no synthetic cohort yet\n"
    assert not (tmp_path / "out").exists()


def test_command_for_the_readme_draws_patients_only_when_asked(finished: Study, tmp_path: Path, capsys: pytest.CaptureFixture):
    study = tmp_path / "study"
    shutil.copytree(finished.root, study)
    cohort = tmp_path / "cohort"
    shutil.copytree(finished.cohort_path, cohort)
    moved(study, cohort)
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stopped:
        main([str(study), str(out)])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1 and "truth.parquet" in error and "--with-patients" in error
    assert not out.exists()

    main([str(study), str(out), "--with-patients"])
    assert [path.stat().st_mode & 0o777 for path in sorted(out.iterdir())] == [0o600, 0o600]

    (cohort / "truth.parquet").touch()
    before = os.umask(0o022)
    try:
        main([str(study), str(out)])
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in sorted(out.iterdir())] == [0o644, 0o644]
