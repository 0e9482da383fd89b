"""Volumes, beats and EF of ventricles whose motion is known."""

import numpy as np
import pandas as pd
import pytest

from echosynth.cohort.discs import polygon_mask
from echosynth.cohort.phantom import simulate_clip
from echosynth.cohort.tracings import TracedClip, TracedFrame
from echosynth.metrics.ventricle import Ventricle, dice, heart_beats, measure, ml_per_voxel, smooth, ventricle


def masks_of(clip) -> np.ndarray:
    size = clip.site.size
    return np.stack([polygon_mask(contour, size, size) for contour in clip.contours()])


def course(volume: np.ndarray, fps: float = 50.0) -> Ventricle:
    return Ventricle(fps, volume ** (2 / 3), volume ** (1 / 3), volume, np.zeros((len(volume), 21, 4)))


def pulse(frames: int = 120, period: int = 40, start: int = 0, edv=100.0, ef: float = 0.6) -> np.ndarray:
    """A volume curve that is largest at frame `start` and every `period` frames after it, and smallest half-way."""
    return edv * (1 - ef * (0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(frames) - start) / period)))


@pytest.mark.parametrize("patient", range(6))
def test_ef_from_the_masks_of_the_true_contours(patient):
    clip = simulate_clip(8, patient, 0, "many")
    curves = ventricle(masks_of(clip), clip.site.fps)
    found, true = measure(curves), clip.lv.volume(clip.contraction)
    assert found.ef == pytest.approx(clip.ef, abs=1.0)
    assert np.corrcoef(curves.volume, true)[0, 1] > 0.995
    assert true[found.ed_frame] > 0.97 * true.max() and true[found.es_frame] < true.min() + 0.04 * np.ptp(true)
    assert np.isfinite(curves.lines).all() and curves.lines.shape == (len(true), 21, 4)
    assert found.beat_seconds == pytest.approx(60 / clip.heart_rate, rel=0.1 if clip.patient.phenotype != "fibrillation" else 0.4)


def test_area_and_long_axis_in_pixels():
    clip = simulate_clip(8, 0, 0, "alder", frames=80)
    curves, masks = ventricle(masks_of(clip), 50.0), masks_of(clip)
    assert curves.area == pytest.approx(smooth(masks.sum((1, 2)), 50.0), rel=1e-5)
    length = clip.lv.length(clip.contraction) * clip.site.size / clip.extent
    assert curves.length == pytest.approx(smooth(length, 50.0), rel=0.08)  # the chords of a full outline begin at its tip: half a slice more at either end


def test_beats_of_a_pulse():
    beats = heart_beats(pulse(start=10), 50.0)
    assert [(beat.ed, beat.es) for beat in beats] == [(10, 30), (50, 70), (90, 110)]
    assert [beat.ef for beat in beats] == pytest.approx([60.0] * 3)
    found = measure(course(pulse(start=10)))
    assert (found.ef, found.edv_voxels, found.esv_voxels) == pytest.approx((60.0, 100.0, 40.0))
    assert found.beats == 3 and found.beat_seconds == pytest.approx(0.8, rel=0.02)
    assert (found.edv_spread, found.esv_spread, found.ef_spread, found.beat_spread) == pytest.approx((0, 0, 0, 0), abs=1e-9)


def test_a_clip_that_begins_within_the_ejection_takes_the_diastole_after_it():
    clip = pulse(frames=72, start=-6)
    beats = heart_beats(clip, 50.0)
    assert [(beat.ed, beat.es) for beat in beats] == [(34, 14), (34, 54)]
    assert [beat.ef for beat in beats] == pytest.approx([60.0, 60.0])
    found = measure(course(clip))
    assert np.isnan(found.edv_spread) and found.esv_spread == pytest.approx(0, abs=1e-9)  # one diastole, counted once


def test_less_than_a_beat_and_no_beat():
    (beat,) = heart_beats(pulse(frames=15, period=40), 50.0)
    assert (beat.ed, beat.es) == (0, 14)
    still = measure(course(np.full(60, 50.0)))
    assert still.beats == 0 and np.isnan(still.ef) and still.ed_frame is None
    assert heart_beats(np.full(60, np.nan), 50.0) == [] and heart_beats(np.ones(1), 50.0) == []


def test_noise_makes_no_beats_of_its_own():
    rng = np.random.default_rng(0)
    for _ in range(20):
        beats = heart_beats(smooth(pulse(frames=126, start=10) + rng.normal(0, 4, 126), 50.0), 50.0)
        assert len(beats) == 3
        assert max(abs(beat.es - true) for beat, true in zip(beats, (30, 70, 110), strict=True)) <= 5


def test_spreads_by_hand():
    """Beats of 100, 100, 90 mL that end in 40, 44, 36, systoles 40 and 44 frames apart, diastoles 42 and 42."""
    turns = [(0, 90.0), (10, 100.0), (30, 40.0), (52, 100.0), (70, 44.0), (94, 90.0), (114, 36.0), (119, 60.0)]
    volume = np.interp(np.arange(120), *zip(*turns, strict=True))
    found = measure(course(volume))
    assert found.beats == 3 and found.edv_voxels == pytest.approx(290 / 3) and found.esv_voxels == pytest.approx(40)
    assert found.ef == pytest.approx(100 * (1 - 120 / 290))
    assert found.edv_spread == pytest.approx(100 * np.std([100, 100, 90], ddof=1) / (290 / 3))
    assert found.esv_spread == pytest.approx(10.0)
    assert found.ef_spread == pytest.approx(np.std([60, 56, 60], ddof=1))
    assert found.beat_seconds == pytest.approx(42 / 50, rel=0.05) and found.beat_spread == pytest.approx(100 * np.std([40, 44, 42, 42], ddof=1) / 42)
    assert (found.ed_frame, found.es_frame) == (10, 30)  # of the beat whose EF, 60, is nearest to 58.6


def test_frames_without_a_ventricle_are_bridged_and_a_clip_without_one_is_told():
    clip = simulate_clip(8, 0, 0, "alder", frames=100)
    masks = masks_of(clip)
    whole = measure(ventricle(masks, 50.0))
    masks[[whole.es_frame, 5, 6]] = 0
    curves = ventricle(masks, 50.0)
    bridged = measure(curves)
    assert np.isfinite(curves.volume).all() and np.isnan(curves.lines[[5, 6]]).all()
    assert bridged.ef == pytest.approx(whole.ef, abs=2.0) and np.isfinite(curves.lines[[bridged.ed_frame, bridged.es_frame]]).all()
    masks[10:70] = 0
    assert measure(ventricle(masks, 50.0)).beats == 0
    assert np.isnan(ventricle(np.zeros((4, 16, 16)), 50.0).area).all()


def test_specks_beside_the_ventricle_count_for_nothing():
    masks = masks_of(simulate_clip(8, 0, 0, "alder", frames=40))
    specks = masks.copy()
    specks[:, 100:110, :10] = 1
    assert (ventricle(specks, 50.0).volume == ventricle(masks, 50.0).volume).all()


def test_smoothing_bears_the_extremes_of_a_true_curve():
    for patient in range(10):
        clip = simulate_clip(9, patient, 0, "alder")
        volume = smooth(clip.lv.volume(clip.contraction), clip.site.fps)
        assert 100 * (1 - volume.min() / volume.max()) == pytest.approx(clip.ef, abs=1.0)


def test_dice_by_hand():
    one, other = np.zeros((4, 4)), np.zeros((4, 4))
    one[0, :3], other[0, 1:] = 1.0, 0.6
    assert dice(one, other) == pytest.approx(4 / 6) and dice(one, one) == 1 and dice(one, np.zeros((4, 4))) == 0
    assert np.isnan(dice(np.zeros((4, 4)), np.full((4, 4), 0.5)))


def test_millilitres_are_the_least_squares_of_the_labels():
    """The phantom tells how wide its picture is: k is its pixel's volume."""
    clip = simulate_clip(8, 2, 0, "alder", frames=60)
    ed, es = (TracedFrame(frame, lines[1:, :2], lines) for frame, lines in clip.tracings().items())
    traced = TracedClip("A", 112, 112, es, ed)
    clips = pd.DataFrame({"name": ["A", "B"], "edv": [clip.edv, np.nan], "esv": [clip.esv, np.nan]})
    k = ml_per_voxel([traced], clips, 112)
    assert 112 * k ** (1 / 3) == pytest.approx(clip.extent, rel=1e-6)
    assert ml_per_voxel([traced], clips, 56) == pytest.approx(8 * k)  # pixels of the smaller picture are larger
    assert ml_per_voxel([traced], clips.assign(edv=np.nan), 112) == pytest.approx(k)
    points = TracedClip("A", 112, 112, TracedFrame(es.frame, es.polygon, None), TracedFrame(ed.frame, ed.polygon, None))
    assert np.isnan(ml_per_voxel([points], clips, 112)) and np.isnan(ml_per_voxel([traced], clips.iloc[1:], 112)) and np.isnan(ml_per_voxel([], clips, 112))
