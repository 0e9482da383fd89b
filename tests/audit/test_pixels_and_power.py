"""The eye that teaches itself on the release, the power curves of planted copies, and their charts in the passport."""

import numpy as np
import pytest

from echosynth.audit.gate import ALL_NEAR
from echosynth.audit.passport import _attacks, _power
from echosynth.audit.pixels import FRAMES, as_pixels, embed_pixels, evenly, learn_pixels
from echosynth.audit.suspects import Planted
from echosynth.audit.suspects import _power as rates
from echosynth.privacy.planted import Kind
from toy_study import beating, make_clips


@pytest.fixture(scope="module")
def eye(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    make_clips(folder, [f"C{i}" for i in range(12)], np.linspace(20, 70, 12), fps=32.0)
    paths = sorted((folder / "Videos").iterdir())
    return learn_pixels(paths, folder / "pixels", steps=25, seed=0), paths, folder


def test_it_sees_who_is_who_among_clips_that_it_has_not_learnt(eye):
    encoder, _, _ = eye
    clips = [beating(50.0, 24, 32.0, seed) for seed in range(50, 58)]
    rows = [embed_pixels(encoder, clip) for clip in clips]
    own = np.mean([float((row @ row.T).mean()) for row in rows])
    others = np.mean([float((a @ b.T).mean()) for a in rows for b in rows if a is not b])
    assert own > others + 0.2
    assert all(np.allclose(np.linalg.norm(row.numpy(), axis=1), 1, atol=1e-5) for row in rows)


def test_it_is_the_same_when_it_learns_again_and_a_frame_is_seen_alike_in_any_company(eye):
    encoder, paths, folder = eye
    again = learn_pixels(paths, folder / "pixels", steps=25, seed=0)
    clip = beating(40.0, 20, 32.0, 3)
    assert np.array_equal(embed_pixels(encoder, clip).numpy(), embed_pixels(again, clip).numpy())
    assert np.array_equal(embed_pixels(encoder, clip)[7:8].numpy(), embed_pixels(encoder, clip[7:8]).numpy())


def test_gain_and_offset_are_taken_out():
    clip = beating(40.0, 4, 32.0, 3)
    assert np.allclose(as_pixels(clip), as_pixels((clip // 2 + 30).astype(np.uint8)), atol=0.06)
    assert len(evenly(clip)) == 4 and len(evenly(np.repeat(clip, 20, 0))) == FRAMES


def test_power_counts_the_copies_that_a_screen_has_an_eye_for():
    near, fast = Kind("noise", 4, True), Kind("speed", 1.25, False)
    planted = [
        Planted(0, near, {"calibrated": (0.9, True), "motion": (0.5, False)}),
        Planted(1, near, {"calibrated": (0.8, False), "motion": (0.9, True)}),
        Planted(0, fast, {"calibrated": (0.9, True)}),
    ]
    found = {(row["screen"], row["kind"]): row for row in rates(planted, ["calibrated", "motion"])}
    assert found["calibrated", "noise"]["share"] == 0.5 and found["motion", "noise"]["count"] == 2 and found["calibrated", "speed"]["share"] == 1.0
    assert ("motion", "speed") not in found
    chart = _power({"screening": {"power": list(found.values())}})
    assert "the screen that filtered" in chart and "screen by motion" in chart and "hand-made" not in chart and "speed 1.25" in chart


def test_a_patient_counts_as_caught_when_every_near_copy_is():
    """Five kinds of one clip are one patient: 9 of 10 copies are rejected, and 1 of 2 patients is safe."""
    kinds = [Kind(f"kind {number}", 1, True) for number in range(5)]
    planted = [Planted(patient, kind, {"calibrated": (0.9, not (patient == 1 and kind == kinds[2]))}) for patient in (0, 1) for kind in kinds]
    found = {row["kind"]: row for row in rates([*planted, Planted(1, Kind("far", 9, False), {"calibrated": (0.1, False)})], ["calibrated"])}
    assert found[ALL_NEAR]["share"] == 0.5 and found[ALL_NEAR]["count"] == 2 and found["kind 2"]["share"] == 0.5 and found["kind 0"]["share"] == 1.0
    chart = _power({"screening": {"power": list(found.values())}})
    assert ALL_NEAR in chart and f"{ALL_NEAR} 1" not in chart


def test_the_chart_of_attacks_leaves_out_those_without_a_figure():
    auc = {"value": 0.6, "low": 0.5, "high": 0.7}
    attacks = [{"name": "votes", "threat": "dataset", "auc": auc}, {"name": "SimA", "threat": "weights", "auc": dict.fromkeys(auc)}]
    chart = _attacks({"attacks": attacks, "thresholds": {"max_auc": 0.55}})
    assert "votes (clips)" in chart and "SimA" not in chart
