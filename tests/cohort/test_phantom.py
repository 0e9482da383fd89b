"""The phantom against its physics: volumes, incompressible wall, image levels, truth, counters."""

import csv
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from benchmarks.phantom import tracing_error, wall_snr

from echosynth.cohort.check import inspect
from echosynth.cohort.phantom import SITES, simulate, simulate_clip, simulate_cohort
from echosynth.cohort.phantom.grey import _persist
from echosynth.cohort.phantom.patient import PHENOTYPES, beat, draw_patient
from echosynth.cohort.phantom.ventricle import PAPILLARY_LEVEL, LeftVentricle
from echosynth.cohort.video import read_clip
from echosynth.errors import InputError
from echosynth.interrupts import LINE
from echosynth.randomness import numpy_rng


def hearts(population: str = "adult", count: int = 200):
    return [draw_patient(numpy_rng(3, "test", k), population) for k in range(count)]


@pytest.mark.parametrize("population", ["adult", "paediatric"])
@pytest.mark.parametrize("view", ["a4c", "psax"])
def test_tracings_give_the_ef_back(view, population):
    clips = [simulate_clip(11, index, 0, "many", view=view, population=population) for index in range(25)]
    assert max(abs(tracing_error(clip)) for clip in clips) < 0.5
    assert all(clip.esv == pytest.approx(clip.edv * (1 - clip.ef / 100)) for clip in clips)


def test_populations_are_what_they_are_said_to_be():
    adults, children = hearts(count=800), hearts("paediatric", 300)
    ef, edv = (np.array([getattr(p, name) for p in adults]) for name in ("ef", "edv"))
    assert abs(ef.mean() - 0.55) < 0.02 and abs(ef.std() - 0.125) < 0.02  # the mixture of the field's cohorts
    assert 75 < np.median(edv) < 92 and abs(np.corrcoef(ef, edv)[0, 1]) < 0.45
    assert {p.phenotype for p in adults} == set(PHENOTYPES)
    assert max(p.length for p in children) < 12 and np.median([p.heart_rate for p in children]) > 90 > np.median([p.heart_rate for p in adults])
    with pytest.raises(InputError, match=r"unknown population 'martian'.*adult, paediatric"):
        draw_patient(numpy_rng(0, "test"), "martian")


def test_both_views_cut_the_same_heart():
    for patient in hearts(count=12):
        lv, c = LeftVentricle(patient), 0.7
        outline = lv.section(c, 2000)
        x, y = outline.T
        area = 0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
        chord = sum(lv.radius(np.array([PAPILLARY_LEVEL]), side, np.array([c]))[0] for side in (-1.0, 1.0))
        assert area == pytest.approx(np.pi / 4 * chord**2, rel=0.001)


def test_an_akinetic_wall_stays_behind_and_the_volume_does_not():
    patient = next(p for p in hearts() if p.phenotype == "regional" and p.akinetic_wall == 0.0)
    lv, s = LeftVentricle(patient), np.array([0.5])
    inward = {side: (lv.radius(s, side, np.zeros(1)) - lv.radius(s, side, np.ones(1)))[0] for side in (-1.0, 1.0)}
    assert inward[1.0] < 0.45 * inward[-1.0]


def test_the_annulus_is_the_end_of_the_wall():
    for patient in (next(p for p in hearts() if p.akinetic and p.akinetic_wall == 0.0), next(p for p in hearts() if not p.akinetic)):
        lv, c = LeftVentricle(patient), np.linspace(0, 1, 5)
        for side in (-1.0, 1.0):
            assert lv.annulus_radius(side, c) == pytest.approx(lv.radius(np.ones(1), side, c), rel=1e-12)


def test_section_wall_is_incompressible():
    for patient in hearts(count=10):
        lv, c, n = LeftVentricle(patient), np.linspace(0, 1, 5), 720
        phi = np.linspace(-np.pi, np.pi, n, endpoint=False)
        areas = [np.pi / n * (lv.section_wall(phi, np.ones(n), k) ** 2 - lv.section_wall(phi, np.zeros(n), k) ** 2).sum() * lv.length(k)[0] for k in c[:, None]]
        assert np.ptp(areas) / np.mean(areas) < 1e-9


def test_the_valve_plane_moves_with_the_ejection():
    adults = hearts()
    mapse, ef = np.array([p.mapse for p in adults]), np.array([p.ef for p in adults])
    assert abs(np.median(mapse / ef) / (1.4 / 0.6) - 1) < 0.05
    lv = LeftVentricle(adults[0])
    assert lv.length(np.zeros(1)) - lv.length(np.ones(1)) == pytest.approx(adults[0].mapse)


def test_wall_speckle_is_fully_developed():
    assert abs(np.mean([wall_snr(simulate_clip(5, p, 0, "alder", frames=1), draws=40) for p in range(2)]) - 1.91) < 0.1


def test_wall_is_incompressible():
    patient = draw_patient(numpy_rng(3, "test"))
    lv, s = LeftVentricle(patient), np.linspace(0.05, 0.95, 30)
    c = np.linspace(0, 1, 7)
    one, zero = np.ones_like(s), np.zeros_like(s)
    areas = [np.pi * (lv.wall_radius(s, 1.0, one, k) ** 2 - lv.wall_radius(s, 1.0, zero, k) ** 2) * lv.length(k) for k in c[:, None]]
    assert np.ptp(areas, axis=0).max() / np.mean(areas) < 1e-9
    thicker = lv.wall_radius(s, 1.0, one, c[-1:]) - lv.wall_radius(s, 1.0, zero, c[-1:])
    assert (thicker > lv.thickness(s, 1.0)).all()  # thickening emerges


@pytest.mark.parametrize("heart_rate", [48, 70, 110, 165])
def test_contraction_is_full_and_continuous(heart_rate):
    time = np.arange(0, 4, 0.002)
    rhythm = beat(time, heart_rate, 0.25, numpy_rng(0, "test", heart_rate))
    c, opening = rhythm.contraction, rhythm.opening
    assert c.min() == 0 and c.max() == 1
    assert np.abs(np.diff(c)).max() < 0.04
    assert (rhythm.since_r < rhythm.rr).all() and abs(np.median(rhythm.rr) * heart_rate / 60 - 1) < 0.05
    assert opening[np.gradient(c, time) > 0.1].max() == 0  # the mitral valve is closed while the ventricle ejects


@pytest.mark.parametrize("view", ["a4c", "psax"])
@pytest.mark.parametrize("site", ["alder", "dogwood"])
def test_nothing_outside_the_cone(site, view):
    clip = simulate_clip(5, 1, 0, site, frames=4, view=view)
    frames = clip.frames(overlays=False)
    _, cone = clip.screen.converter()
    assert frames[:, ~cone].max() == 0 and frames[:, cone].max() > 200 and frames.dtype == np.uint8


@pytest.mark.parametrize("site", ["alder", "birch", "cedar"])
def test_blood_is_20_db_below_the_wall(site):
    decibels = []
    for patient in range(8):
        clip = simulate_clip(5, patient, 0, site, frames=3)
        frame, lines = clip.frames()[clip.diastole], clip.tracings()[clip.diastole]
        x, y, septum = int(lines[10, [0, 2]].mean()), int(lines[10, [1, 3]].mean()), int(lines[10, 0])
        blood, wall = frame[y - 3 : y + 3, x - 2 : x + 2].mean(), frame[y - 5 : y + 5, septum - 4 : septum - 1].mean()
        level = (np.array([blood, wall]) / 255) ** (1 / clip.site.exponent) * clip.site.dynamic_range
        decibels.append(level[1] - level[0])
    assert np.median(decibels) > 20  # a lower bound: blood is often below what the screen can show


def test_scatterers_of_the_wall_move_as_the_incompressible_wall_does():
    clip = simulate_clip(5, 1, 0, "alder", frames=4)
    view = clip.view
    inside = view.wall_w >= 0  # the rest are trabeculae
    s, side, w = view.wall_s[inside], view.wall_side[inside], view.wall_w[inside]
    for c in (0.0, 0.4, 1.0):
        x, z = view.positions(c, 0.0)
        now = np.array([c])
        np.testing.assert_allclose(x[: len(inside)][inside], side * clip.lv.wall_radius(s, side, w, now), atol=1e-4)
        np.testing.assert_allclose(z[: len(inside)][inside], s * clip.lv.length(now), atol=1e-4)


def test_scatterers_of_the_short_axis_move_as_the_incompressible_wall_does():
    clip = simulate_clip(5, 1, 0, "alder", frames=4, view="psax")
    view = clip.view
    inside = view.wall_w >= 0
    phi, w = view.wall_phi[inside], view.wall_w[inside]
    for c in (0.0, 1.0):
        x, y = (values[: len(inside)][inside] for values in view.positions(c, 0.0))
        np.testing.assert_allclose(np.hypot(x, y), clip.lv.section_wall(phi, w, np.array([c])), atol=2e-3)
        turned = np.angle(np.exp(1j * (np.arctan2(y, x) - phi)))
        np.testing.assert_allclose(turned, -clip.patient.twist * c, atol=1e-3)


def test_a_patient_keeps_the_heart_and_visits_differ():
    first, second, other = simulate_clip(5, 1, 0, "many"), simulate_clip(5, 1, 1, "many"), simulate_clip(5, 2, 0, "many")
    assert first.patient.edv == second.patient.edv != other.patient.edv
    assert first.site != second.site and first.visit.seed != second.visit.seed


def test_contour_follows_the_tracing_and_the_moving_probe():
    clip = simulate_clip(5, 1, 0, "birch", frames=60)
    contours = clip.contours()
    assert contours.shape == (60, 41, 2)
    for frame, lines in clip.tracings().items():
        level = clip.contraction[frame]
        assert min(level, 1 - level) < 0.02
        apex_of_contour, apex = contours[frame, 20], lines[0, :2]
        assert np.abs(apex_of_contour - apex).max() < 0.2
        assert contours[frame][:, 0].min() == pytest.approx(lines[:, [0, 2]].min(), abs=1.5)


def test_overlays_are_outside_the_speckle_and_told(tmp_path):
    plain, burnt = (simulate_clip(5, 1, 0, "dogwood", frames=30).frames(overlays=with_overlays) for with_overlays in (False, True))
    differ = (plain != burnt).any(0)
    assert 0.01 < differ.mean() < 0.15 and differ[:24].any() and differ[-12:].any()
    simulate_cohort(tmp_path / "c", 2, 1, seed=9, site="dogwood")
    truth = pd.read_parquet(tmp_path / "c" / "truth.parquet")
    assert truth["text"].str.len().min() > 8
    clip, fps = read_clip(tmp_path / "c" / "Videos" / f"{truth.name[0]}.avi")
    assert clip.shape[1:] == (128, 128) and fps == 40 and len(truth.volume[0]) == len(clip) and len(truth.contour[0]) == len(clip) * 41 * 2
    low, high = min(truth.volume[0]), max(truth.volume[0])
    assert 100 * (high - low) / high == pytest.approx(truth.ef[0], abs=1.0)


def test_same_bytes_whatever_the_workers(tmp_path):
    simulate_cohort(tmp_path / "one", 3, 1, seed=9, site="birch", workers=1)
    simulate_cohort(tmp_path / "two", 3, 1, seed=9, site="birch", workers=2)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert len(files) == 3 + 4
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)


@pytest.fixture
def interrupted(monkeypatch):
    """The next simulation is interrupted when two clips are finished."""

    @contextmanager
    def progress(title, total):
        done = []

        def advance():
            done.append(None)
            if len(done) == 2:
                monkeypatch.undo()
                raise KeyboardInterrupt

        yield advance

    monkeypatch.setattr(simulate, "progress", progress)


def test_an_interrupted_simulation_is_resumed_beside_its_goal(tmp_path, interrupted):
    options = {"patients": 8, "clips_per_patient": 1, "seed": 9, "site": "birch", "workers": 2}
    with pytest.raises(KeyboardInterrupt):
        simulate_cohort(tmp_path / "parts", **options)
    deadline = time.monotonic() + 2
    while multiprocessing.active_children():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (unfinished,) = tmp_path.iterdir()
    assert unfinished.name.startswith(".parts.") and not (unfinished / "FileList.csv").exists()
    kept = {path.name: path.stat().st_mtime_ns for path in (unfinished / "Videos").glob("*.avi")}
    assert 2 <= len(kept) < 8  # what was queued is cancelled
    simulate_cohort(tmp_path / "parts", **(options | {"workers": 1}))
    simulate_cohort(tmp_path / "whole", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]
    assert {name: (tmp_path / "parts" / "Videos" / name).stat().st_mtime_ns for name in kept} == kept
    files = [path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    assert len(files) == 8 + 4 == sum(path.is_file() for path in (tmp_path / "parts").rglob("*"))
    assert all((tmp_path / "parts" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes() for file in files)


def test_another_recipe_does_not_resume(tmp_path, interrupted):
    with pytest.raises(KeyboardInterrupt):
        simulate_cohort(tmp_path / "c", 4, 1, seed=9, site="birch", workers=1)
    halves = {"TRAIN": 0.5, "VAL": 0.25, "TEST": 0.25}
    simulate_cohort(tmp_path / "c", 4, 1, seed=9, site="birch", workers=1, splits=halves)
    assert list(pd.read_csv(tmp_path / "c" / "FileList.csv")["Split"]).count("TRAIN") == 2
    assert len(list(tmp_path.glob(".c.*.unfinished"))) == 1


def alive(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass
    return found


@pytest.mark.parametrize(
    ("number", "whom", "code"),
    [(signal.SIGINT, "group", 130), (signal.SIGTERM, "parent", 143), (signal.SIGKILL, "parent", -9)],
)
def test_no_worker_outlives_its_command(tmp_path, monkeypatch, number, whom, code):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child would inherit that it is ignored
    command = [sys.executable, "-m", "echosynth", "phantom", str(tmp_path / "c"), "--patients", "200", "--workers", "2"]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    while not list(tmp_path.glob(".c.*.unfinished/Videos/*.avi")):
        assert process.poll() is None
        time.sleep(0.02)
    assert len(alive(process.pid)) == 3
    since = time.monotonic()
    (os.killpg if whom == "group" else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=30)
    while alive(process.pid):
        assert time.monotonic() - since < 3
        time.sleep(0.02)
    assert process.returncode == code and time.monotonic() - since < 3
    assert err == ("" if code == -9 else LINE + "\n")


def test_a_worker_that_was_killed_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(simulate, "write_clip", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(InputError, match=r"a worker process was killed.*fewer --workers"):
        simulate_cohort(tmp_path / "c", 3, 1, workers=2)


def test_cohort_is_echonet_and_splits_are_by_patient(tmp_path):
    simulate_cohort(tmp_path / "cohort", 5, 2, seed=1, site="cedar")
    report = inspect(tmp_path / "cohort")
    assert not report.problems
    assert report.clips.groupby("patient").split.nunique().max() == 1
    assert list(pd.read_csv(tmp_path / "cohort" / "FileList.csv").columns) == ["FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split"]
    assert (pd.read_csv(tmp_path / "cohort" / "VolumeTracings.csv").groupby(["FileName", "Frame"]).size() == 21).all()


def test_a_reader_in_the_manner_of_the_dataset_accepts_every_file(tmp_path):
    """Names joined by extension, columns by position, ES the traced frame of the smaller polygon: as the code that is published with EchoNet-Dynamic does it."""
    simulate_cohort(tmp_path / "c", 3, 1, seed=2, site="alder")
    with open(tmp_path / "c" / "FileList.csv") as file:
        header, *rows = list(csv.reader(file))
    names = [row[header.index("FileName")] for row in rows]
    assert all("." not in name and (tmp_path / "c" / "Videos" / f"{name}.avi").exists() for name in names)
    traced: dict[str, dict[int, list]] = {}
    with open(tmp_path / "c" / "VolumeTracings.csv") as file:
        lines = file.read().splitlines()
    assert lines[0].split(",") == ["FileName", "X1", "Y1", "X2", "Y2", "Frame"]
    for line in lines[1:]:
        name, x1, y1, x2, y2, frame = line.split(",")
        traced.setdefault(name, {}).setdefault(int(frame), []).append([float(v) for v in (x1, y1, x2, y2)])
    assert set(traced) == {f"{name}.avi" for name in names}
    for name, frames in traced.items():
        assert len(frames) == 2
        areas = {}
        for frame, segments in frames.items():
            x1, y1, x2, y2 = np.array(segments).T
            x, y = np.concatenate([x1[1:], x2[1:][::-1]]), np.concatenate([y1[1:], y2[1:][::-1]])
            areas[frame] = 0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
        clip, _ = read_clip(tmp_path / "c" / "Videos" / name)
        assert clip.shape[1:] == (112, 112) and max(frames) < len(clip)
        truth = pd.read_parquet(tmp_path / "c" / "truth.parquet").set_index("name").loc[name.removesuffix(".avi")]
        assert min(areas, key=areas.get) == truth.es_frame and max(areas, key=areas.get) == truth.ed_frame


def test_refusals(tmp_path):
    with pytest.raises(InputError, match=r"unknown view 'plax'.*a4c, psax"):
        simulate_cohort(tmp_path / "a", 3, 1, view="plax")
    with pytest.raises(InputError, match=r"unknown site 'nowhere'.*alder"):
        simulate_cohort(tmp_path / "a", 3, 1, site="nowhere")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty"):
        simulate_cohort(tmp_path / "b", 3, 1)
    assert set(SITES) >= {"alder", "birch", "cedar", "dogwood"}


def test_the_running_mean_has_begun_before_the_first_frame():
    noise = np.random.default_rng(0).standard_normal((40, 20_000)).astype(np.float32)
    for weight in (0.0, 0.3, 0.45):
        shown = noise.copy()
        _persist(shown, np.float32(weight))
        late = (1 - weight) / (1 + weight)  # the variance of a running mean of white noise
        assert shown[20:].var() == pytest.approx(late, rel=0.02) and shown[0].var() == pytest.approx(late, rel=0.03) and shown[1].var() < 1.4 * late
    alone = noise[:1].copy()
    _persist(alone, np.float32(0.3))
    np.testing.assert_allclose(alone, noise[:1], rtol=1e-6)
