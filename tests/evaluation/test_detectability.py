"""Detectability of toy cohorts: both sides coded alike, the null, a planted blur, what is missing and why."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from echosynth.cohort.echonet import read_cohort, write_filelist
from echosynth.cohort.video import read_clip, through_codec, write_clip
from echosynth.config import preset
from echosynth.evaluation import detectability as module
from echosynth.evaluation.detectability import FLOOR, OFFSETS, PIECES, STILLS, View, detectability, look, separate
from echosynth.networks.autoencoder import Autoencoder, AutoencoderConfig
from toy_hearts import beating_ellipse

SMALL = (View("28", 28), View("clips", 28, len(OFFSETS)))


def a_cohort(folder, seed, clips, frames=32, first=0):
    """Patients of two clips each; TRAIN, VAL and TEST in turn."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(clips):
        name, ef = f"P{first + i // 2:03d}_{i % 2}", float(rng.uniform(20, 75))
        write_clip(folder / "Videos" / f"{name}.avi", beating_ellipse(ef, rng, frames, 32.0, size=112), 32.0)
        rows.append(dict(name=name, ef=ef, esv=np.nan, edv=np.nan, height=112, width=112, fps=32.0, frames=frames, split=("TRAIN", "VAL", "TRAIN", "TEST")[i // 2 % 4]))
    write_filelist(folder, pd.DataFrame(rows))
    pd.DataFrame([{"FileName": row["name"], "Patient": row["name"][:4]} for row in rows]).to_csv(folder / "patients.csv", index=False)
    return read_cohort(folder)


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    root = tmp_path_factory.mktemp("detectability")
    return a_cohort(root / "real", 1, 120), a_cohort(root / "synthetic", 2, 60, first=500)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(module, "VIEWS", SMALL)


def section(**options):
    return preset("smoke").evaluation.model_copy(update={"detectability_clips": 60, "detectability_steps": 2} | options)


def test_the_codec_without_a_file_is_the_one_with(tmp_path):
    clip = beating_ellipse(55, np.random.default_rng(0), frames=4)
    write_clip(tmp_path / "a.avi", clip, 32.0)
    assert np.array_equal(through_codec(clip), read_clip(tmp_path / "a.avi")[0])


def test_frames_are_written_once_more_and_floored(cohorts):
    real, _ = cohorts
    seen = look(real, real.clips.iloc[:2], 32.0, 0)
    assert seen.frames.shape == (2, STILLS + PIECES * len(OFFSETS), 112, 112) and seen.patients.tolist() == ["P000", "P000"]
    values = np.unique(seen.frames)
    assert values[0] == 0 and values[1] >= FLOOR
    whole = through_codec(read_clip(real.path("P000_0"))[0])[2]  # the first still: half an eighth of 32 frames in
    assert np.array_equal(seen.frames[0, 0], np.where(whole < FLOOR, 0, whole))
    changed = look(real, real.clips.iloc[:1], 32.0, 0, change=np.zeros_like)
    assert not changed.frames.any()


def test_a_population_written_twice_is_not_told_apart_and_a_blurred_one_is(cohorts):
    """Two sets of one population: one was written by the product once more than the other; or was blurred."""
    real, _ = cohorts
    one, others = real.held_out(), real.split("TRAIN")
    blur = lambda frames: gaussian_filter(frames, (0, 3, 3))  # noqa: E731
    sides = {name: look(real, others, 32.0, 0, change) for name, change in (("once", None), ("twice", through_codec), ("blurred", blur))}
    first = look(real, one, 32.0, 0)
    found = separate({name: (first, side) for name, side in sides.items()}, 40, 0, SMALL)
    for view in SMALL:
        for name in ("once", "twice"):
            assert found[name, view.name].low <= 0.5 <= found[name, view.name].high, (name, view.name)
        assert found["blurred", view.name].low > 0.6, view.name


def test_reconstructions_and_synthetic_clips_have_their_figures(cohorts):
    real, synthetic = cohorts
    autoencoder = Autoencoder(AutoencoderConfig(widths=(8, 8), blocks=(1, 1), decoder_blocks=(1, 1))).eval()
    options = section(detectability_steps=40)
    found = detectability(real, real.held_out(), synthetic, 32.0, options, 0, autoencoder)
    assert found["appearance.detectability_samples"] == 60
    for key in ("28", "28_floor", "clips", "clips_floor", "reconstruction_28", "generator_28", "reconstruction_clips", "generator_clips"):
        value, low, high = (found[f"appearance.detectability_{key}{end}"] for end in ("", "_low", "_high"))
        assert 0 <= low <= value <= high <= 1
    assert found["appearance.detectability_reconstruction_28_low"] > 0.85  # an autoencoder that has learnt nothing
    assert found["appearance.detectability_28_low"] <= 0.5 <= found["appearance.detectability_28_high"]  # synthetic hearts that are real
    assert not [key for key in found if key.endswith("_reason")]


def test_the_same_seed_gives_the_same_figures(cohorts):
    real, synthetic = cohorts
    first, again = (detectability(real, real.held_out(), synthetic, 32.0, section(), 5) for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("options", "why"),
    [({"detectability_clips": 0}, "evaluation.detectability_clips is 0"), ({"detectability_clips": 49}, "49 clips a side, 50 needed")],
)
def test_what_is_not_computed_has_a_reason(cohorts, options, why):
    real, synthetic = cohorts
    found = detectability(real, real.held_out(), synthetic, 32.0, section(**options), 0)
    assert all(value is None or key.endswith("_reason") for key, value in found.items())
    assert {value for key, value in found.items() if key.endswith("_reason")} == {why} and len(found) == 2 * 4 * len(SMALL)


def test_a_missing_autoencoder_short_clips_and_a_missing_floor_are_named(cohorts, tmp_path):
    real, _ = cohorts
    short = a_cohort(tmp_path, 3, 60, frames=24, first=700)
    found = detectability(real, real.clips[real.clips["split"] != "TEST"], short, 32.0, section(), 0)  # so that hardly any are left
    reasons = {key.removeprefix("appearance.detectability_"): value for key, value in found.items() if key.endswith("_reason")}
    assert reasons["reconstruction_28_reason"] == reasons["generator_28_reason"] == "no autoencoder is at hand where two folders are compared"
    assert reasons["clips_reason"] == reasons["clips_floor_reason"] == "0 clips a side of 25 frames or more, 50 needed"
    assert reasons["28_floor_reason"] == "30 real clips beside the held-out ones, 60 needed"
    assert found["appearance.detectability_28"] is not None


def test_a_short_clip_takes_no_figure_away(cohorts):
    """One real clip of 24 frames: pieces of clips are compared among the others, single frames among all."""
    real, synthetic = cohorts
    held_out = real.held_out().copy()
    held_out.loc[held_out.index[7], "frames"] = 24
    found = detectability(real, held_out, synthetic, 32.0, section(), 0)
    assert found["appearance.detectability_clips"] is not None and found["appearance.detectability_clips_floor"] is not None
    assert found["appearance.detectability_clips_samples"] == 59 and found["appearance.detectability_samples"] == 60
    whole = detectability(real, real.held_out(), synthetic, 32.0, section(), 0)
    assert "appearance.detectability_clips_samples" not in whole and whole["appearance.detectability_28"] == found["appearance.detectability_28"]


def test_fewer_long_clips_than_needed_are_refused(cohorts):
    real, synthetic = cohorts
    held_out = real.held_out().copy()
    held_out.loc[held_out.index[:11], "frames"] = 24
    found = detectability(real, held_out, synthetic, 32.0, section(), 0)
    assert found["appearance.detectability_clips_reason"] == "49 clips a side of 25 frames or more, 50 needed"
    assert found["appearance.detectability_28"] is not None


def test_synthetic_clips_are_chosen_by_ef(cohorts, monkeypatch):
    """Every second clip of the synthetic cohort has an EF that no real clip has; none of these is looked at."""
    real, synthetic = cohorts
    looked, reading = [], module.look

    def look_and_remember(cohort, rows, *rest, **others):
        looked.append(rows)
        return reading(cohort, rows, *rest, **others)

    monkeypatch.setattr(module, "look", look_and_remember)
    far = synthetic.clips.assign(ef=synthetic.clips["ef"] + 500)
    twofold = replace(synthetic, clips=pd.concat([synthetic.clips, far]).sort_values("name", ignore_index=True))
    found = detectability(real, real.held_out(), twofold, 32.0, section(), 0, unselected=synthetic)
    assert found["appearance.detectability_28_unselected"] == found["appearance.detectability_28"]  # the same clips
    assert looked[1]["ef"].max() < 100 and len(looked[1]) == 60
