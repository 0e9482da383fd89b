"""The untrained embeddings on phantoms: who it is survives a copier's changes, how it beats survives another anatomy."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from echosynth.cohort.phantom import simulate_clip
from echosynth.metrics.temporal import resample
from echosynth.privacy.handmade import embed_handmade, embed_motion
from echosynth.privacy.planted import Kind, changed, phase
from toy_hearts import beating_ellipse

PATIENTS = 6


@pytest.fixture(scope="module")
def phantoms():
    return [simulate_clip(11, p, 0, "alder", frames=112) for p in range(PATIENTS)]


@pytest.fixture(scope="module")
def clips(phantoms):
    return [phantom.frames() for phantom in phantoms]


def highest(a, b):
    """The highest cosine between rows of two embeddings, for all pairs of a list with a list."""
    return np.array([[float((x @ y.T).max()) for y in b] for x in a])


@pytest.mark.parametrize("kind", [Kind("noise", 10, False), Kind("gain", 1.3, False), Kind("shift", 1, True), Kind("zoom", 1.05, False)])
def test_copied_frames_are_nearer_than_any_stranger(clips, kind):
    frames = [clip[:20:5] for clip in clips]
    originals = [embed_handmade(some) for some in frames]
    copies = [embed_handmade(changed(some, kind, np.random.default_rng(i))) for i, some in enumerate(frames)]
    closeness, strangers = highest(copies, originals), highest(originals, originals)[~np.eye(PATIENTS, dtype=bool)]
    assert np.diag(closeness).min() > strangers.max()


def test_frames_become_unit_vectors_each_by_itself(clips):
    embedded = embed_handmade(clips[0][:3])
    assert embedded.dtype == torch.float32 and torch.allclose(embedded.norm(dim=1), torch.ones(3))
    assert torch.equal(embed_handmade(clips[0][1:2])[0], embedded[1])
    assert not embed_handmade(np.zeros((1, 112, 112), np.uint8)).any()


def test_speckle_counts_and_not_only_where_it_is_bright():
    rng = np.random.default_rng(0)
    fine = rng.normal(100, 20, (2, 56, 56))
    coarse = np.repeat(np.repeat(rng.normal(100, 20, (2, 28, 28)), 2, 1), 2, 2)
    one, other, two = (embed_handmade(np.clip(picture, 0, 255).astype(np.uint8)) for picture in (fine[:1], fine[1:], coarse[:1]))
    assert float(one[0] @ other[0]) > float(one[0] @ two[0]) + 0.1


def test_a_beat_on_another_anatomy_is_recognised(phantoms, clips):
    fps = phantoms[0].site.fps
    copied = [replace(phantoms[(i + 1) % PATIENTS], rhythm=phantoms[i].rhythm).frames() for i in range(PATIENTS)]  # the heart of i + 1 beats like i
    originals = [embed_motion(clip, fps) for clip in clips]
    closeness = highest([embed_motion(clip, fps) for clip in copied], originals)
    own, others = np.diag(closeness), closeness[~np.eye(PATIENTS, dtype=bool)]
    assert (closeness.argmax(1) == np.arange(PATIENTS)).all()
    assert own.min() > 0.7 > 0.6 > others.max()


def test_motion_does_not_see_size_place_and_brightness():
    one, other = (beating_ellipse(ef, np.random.default_rng(7), frames=100, heart_rate=70, noise=5) for ef in (40, 65))
    bigger = changed(other, Kind("zoom", 1.2, False), np.random.default_rng(0)) // 2
    assert float((embed_motion(one, 32) * embed_motion(bigger, 32)).sum(1).min()) > 0.9


def test_motion_at_another_frame_rate_and_phase():
    clip = beating_ellipse(60, np.random.default_rng(8), frames=160, fps=64, heart_rate=75, noise=5)
    original = embed_motion(clip, 64)
    assert highest([embed_motion(resample(clip, 64, 32), 32)], [original]) > 0.98
    assert highest([embed_motion(phase(clip[:154], 0.5), 64)], [original]) > 0.98  # 154 frames are three beats, so the seam does not show
    slower = beating_ellipse(60, np.random.default_rng(8), frames=160, fps=64, heart_rate=55, noise=5)
    assert highest([embed_motion(slower, 64)], [original]) < 0.9


def test_windows_are_counted_and_what_is_too_short_is_refused():
    clip = beating_ellipse(60, np.random.default_rng(9), frames=70, size=56)
    assert embed_motion(clip, 32).shape[0] == 7  # 64 of 70 frames, each frame (0.04 s is 1.28 of them)
    with pytest.raises(ValueError, match=r"lasts 1\.97 s"):
        embed_motion(clip[:63], 32)
    with pytest.raises(ValueError, match="15 frames a second"):
        embed_motion(clip, 15)
    assert not embed_motion(np.full((64, 56, 56), 9, np.uint8), 32).any()
