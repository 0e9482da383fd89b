"""StyleGAN-V's rules of which frames of which video are taken."""

import numpy as np

from echosynth.metrics.sampling import image_windows, video_windows


def test_first_videos_by_name_without_the_short_ones():
    names, lengths, rates = ["d", "a", "c", "b"], np.array([40, 16, 15, 200]), np.full(4, 50.0)
    found = video_windows(names, lengths, rates)
    assert [names[window.clip] for window in found] == ["a", "b", "d"]
    assert found[0].frames.tolist() == list(range(16))
    assert [names[window.clip] for window in video_windows(names, lengths, rates, clips=2)] == ["a", "b"]
    assert all((np.diff(window.frames) == 1).all() and window.fps == 50 for window in found)


def test_starts_are_random_for_real_and_the_first_frame_for_synthetic():
    lengths, names = np.full(400, 20), [f"{k:03d}" for k in range(400)]
    starts = [window.frames[0] for window in video_windows(names, lengths, np.full(400, 50.0))]
    assert set(starts) == set(range(5))
    assert np.bincount(starts).min() > 50
    assert all(window.frames[0] == 0 for window in video_windows(names, lengths, np.full(400, 50.0), random_start=False))


def test_every_eighth_frame():
    """128 frames are needed; the last start leaves the last frame taken within the video: 0 ... 135 - 120 = 15, as in the original (randint's upper end is 136 - 128 + 7)."""
    names, lengths, rates = [f"{k:03d}" for k in range(300)], np.full(300, 136), np.full(300, 50.0)
    found = video_windows(names, lengths, rates, every=8)
    assert {int(window.frames[0]) for window in found} == set(range(16))
    assert all(len(window.frames) == 16 and (np.diff(window.frames) == 8).all() and window.frames[-1] < 136 and window.fps == 50 / 8 for window in found)
    assert video_windows(["a"], np.array([127]), np.array([50.0]), every=8) == []


def test_by_counter():
    """A window depends on its video's place alone, not on how many are taken or on the seed's other streams."""
    names, lengths, rates = [f"{k:02d}" for k in range(50)], np.arange(100, 150), np.full(50, 50.0)
    many, few = video_windows(names, lengths, rates, seed=5), video_windows(names, lengths, rates, clips=7, seed=5)
    assert all((a.frames == b.frames).all() for a, b in zip(few, many, strict=False))
    assert any((a.frames != b.frames).any() for a, b in zip(many, video_windows(names, lengths, rates, seed=6), strict=True))


def test_one_frame_rate_for_both():
    """A video of 50 frames a second at 25 gives every second frame; one that is slower already is left alone."""
    found = video_windows(["a", "b"], np.array([100, 40]), np.array([50.0, 20.0]), fps=25.0, random_start=False)
    assert found[0].frames.tolist() == list(range(0, 32, 2)) and found[0].fps == 25
    assert found[1].frames.tolist() == list(range(16)) and found[1].fps == 20
    assert video_windows(["a"], np.array([30]), np.array([50.0]), fps=25.0) == []  # 15 frames at that rate


def test_images_are_drawn_once_each_from_all_frames():
    lengths, rates = np.array([3, 1000, 5]), np.array([50.0, 30, 20])
    found = image_windows(lengths, rates, 500, seed=1)
    pairs = {(window.clip, int(window.frames[0])) for window in found}
    assert len(pairs) == 500 and all(0 <= frame < lengths[clip] for clip, frame in pairs)
    assert {window.fps for window in found} <= {50.0, 30, 20} and [window.clip for window in found] == sorted(window.clip for window in found)
    assert len(image_windows(lengths, rates, 5000)) == 1008
