"""The phantom against its physics: volumes, incompressible wall, image levels, counters."""

import numpy as np
import pandas as pd
import pytest

from echosynth.cohort.check import inspect
from echosynth.cohort.phantom import SITES, simulate_clip, simulate_cohort
from echosynth.cohort.phantom.heart import LeftVentricle, contraction, draw_patient
from echosynth.cohort.phantom.image import Tissue, scan_converter
from echosynth.errors import InputError
from echosynth.randomness import numpy_rng


def simpson(lines: np.ndarray) -> float:
    """Volume of one traced frame (21, 4) by the method of discs, single plane."""
    spans = np.hypot(lines[:, 2] - lines[:, 0], lines[:, 3] - lines[:, 1])
    return float(np.sum(np.pi / 4 * spans[1:] ** 2 * spans[0] / 20))


@pytest.mark.parametrize("index", range(12))
def test_tracings_give_the_ef_back(index):
    clip = simulate_clip(11, index, 0, "many")
    diastole, systole = (simpson(lines) for lines in clip.tracings().values())
    assert abs(100 * (diastole - systole) / diastole - clip.ef) < 0.5
    assert clip.esv == pytest.approx(clip.edv * (1 - clip.ef / 100))


def test_wall_is_incompressible():
    patient = draw_patient(numpy_rng(3, "test"))
    lv, s = LeftVentricle(patient), np.linspace(0.05, 0.95, 30)
    c = np.linspace(0, 1, 7)
    one, zero = np.ones_like(s), np.zeros_like(s)
    areas = [np.pi * (lv.wall_radius(s, 1.0, one, k) ** 2 - lv.wall_radius(s, 1.0, zero, k) ** 2) * lv.length(k) for k in c[:, None]]
    assert np.ptp(areas, axis=0).max() / np.mean(areas) < 1e-9
    thicker = lv.wall_radius(s, 1.0, one, c[-1:]) - lv.wall_radius(s, 1.0, zero, c[-1:])
    assert (thicker > lv.thickness(s, 1.0)).all()  # thickening emerges


@pytest.mark.parametrize("heart_rate", [48, 70, 110])
def test_contraction_is_full_and_continuous(heart_rate):
    time = np.arange(0, 4, 0.002)
    c, opening = contraction(time, heart_rate, 0.25, numpy_rng(0, "test", heart_rate))
    assert c.min() == 0 and c.max() == 1
    assert np.abs(np.diff(c)).max() < 0.03
    assert opening[np.gradient(c, time) > 0.1].max() == 0  # the mitral valve is closed while the ventricle ejects


def test_nothing_outside_the_cone():
    clip = simulate_clip(5, 1, 0, "alder", frames=4)
    frames = clip.frames()
    _, cone = scan_converter(float(np.float32(np.deg2rad(clip.site.half_angle))), 112)
    assert frames[:, ~cone].max() == 0 and frames[:, cone].max() == 255 and frames.dtype == np.uint8


@pytest.mark.parametrize("site", ["alder", "birch", "cedar"])
def test_blood_is_20_db_below_the_wall(site):
    decibels = []
    for patient in range(8):
        clip = simulate_clip(5, patient, 0, site, frames=3)
        frame, lines = clip.frames()[0], next(iter(clip.tracings().values()))
        x, y, septum = int(lines[10, [0, 2]].mean()), int(lines[10, [1, 3]].mean()), int(lines[10, 0])
        blood, wall = frame[y - 3 : y + 3, x - 2 : x + 2].mean(), frame[y - 5 : y + 5, septum - 4 : septum - 1].mean()
        level = (np.array([blood, wall]) / 255) ** (1 / (1.25 * clip.site.gamma)) * clip.site.dynamic_range
        decibels.append(level[1] - level[0])
    assert np.median(decibels) > 20  # a lower bound: blood is often below what the screen can show


def test_scatterers_of_the_wall_move_as_the_incompressible_wall_does():
    clip = simulate_clip(5, 1, 0, "alder", frames=4)
    tissue = Tissue(clip.patient, clip.lv, clip.site, clip.visit)
    s, side, w = tissue.wall_s, tissue.wall_side, tissue.wall_w
    for c in (0.0, 0.4, 1.0):
        x, z = tissue.positions(c, 0.0)
        now = np.array([c])
        np.testing.assert_allclose(x[: len(s)], side * clip.lv.wall_radius(s, side, w, now), atol=1e-4)
        np.testing.assert_allclose(z[: len(s)], s * clip.lv.length(now), atol=1e-4)


def test_a_patient_keeps_the_heart_and_visits_differ():
    first, second, other = simulate_clip(5, 1, 0, "many"), simulate_clip(5, 1, 1, "many"), simulate_clip(5, 2, 0, "many")
    assert first.patient.edv == second.patient.edv != other.patient.edv
    assert first.site != second.site and first.visit != second.visit


def test_same_bytes_whatever_the_workers_and_restarts(tmp_path):
    simulate_cohort(tmp_path / "one", 3, 1, seed=9, site="birch", workers=1)
    simulate_cohort(tmp_path / "two", 3, 1, seed=9, site="birch", workers=2)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert len(files) == 3 + 3
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)

    (tmp_path / "two" / "FileList.csv").unlink()  # as if stopped before the end
    (tmp_path / "two" / ".phantom").write_text("patients=3 clips=1 seed=9 site=birch\n")
    (tmp_path / "two" / files[-1]).unlink()
    simulate_cohort(tmp_path / "two", 3, 1, seed=9, site="birch", workers=1)
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)


def test_cohort_is_echonet_and_splits_are_by_patient(tmp_path):
    simulate_cohort(tmp_path / "cohort", 5, 2, seed=1, site="cedar")
    report = inspect(tmp_path / "cohort")
    assert not report.problems
    assert report.clips.groupby("patient").split.nunique().max() == 1
    assert list(pd.read_csv(tmp_path / "cohort" / "FileList.csv").columns) == ["FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split"]
    assert (pd.read_csv(tmp_path / "cohort" / "VolumeTracings.csv").groupby(["FileName", "Frame"]).size() == 21).all()


def test_refusals(tmp_path):
    with pytest.raises(InputError, match=r"unknown site 'nowhere'.*alder"):
        simulate_cohort(tmp_path / "a", 3, 1, site="nowhere")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty"):
        simulate_cohort(tmp_path / "b", 3, 1)
    assert set(SITES) >= {"alder", "birch", "cedar", "dogwood"}
