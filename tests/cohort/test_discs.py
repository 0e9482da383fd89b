"""Masks of polygons, the chords of masks and their volumes, against closed forms and the phantom's tracings."""

import numpy as np
import pytest

from echosynth.cohort.discs import CHORDS, disc_volume, largest_part, outline, polygon_area, polygon_mask, trace
from echosynth.cohort.phantom import simulate_clip


def body(radius, length: float = 40.0) -> np.ndarray:
    """The tracing of a body of revolution about x = 30, of the given radius at a fraction of its axis."""
    s = (np.arange(CHORDS) + 0.5) / CHORDS
    r, y = radius(s), 8 + s * length
    return np.vstack([[30, 8, 30, 8 + length], np.stack([30 - r, y, 30 + r, y], 1)])


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.minimum(one, other).sum() / (one.sum() + other.sum())


def test_volumes_of_bodies_of_revolution():
    assert disc_volume(body(lambda s: np.full_like(s, 7.0))) == pytest.approx(np.pi * 49 * 40)
    assert disc_volume(body(lambda s: 10 * s)) == pytest.approx(np.pi * 100 * 40 / 3, rel=0.001)
    assert disc_volume(body(lambda s: 20 * np.sqrt(1 - (2 * s - 1) ** 2))) == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.002)
    both = np.stack([body(lambda s: 4 * s), body(lambda s: 8 * s)])
    assert disc_volume(both)[1] == pytest.approx(4 * disc_volume(both)[0])


def test_volumes_of_the_phantom_in_millilitres():
    clip = simulate_clip(4, 0, 0, "alder", frames=60)
    cm = clip.extent / clip.site.size
    volumes = [disc_volume(lines) * cm**3 for lines in clip.tracings().values()]
    assert volumes == pytest.approx([clip.edv, clip.esv])


def test_a_polygon_covers_shares_of_pixels():
    mask = polygon_mask(np.array([[1.25, 1.5], [3.5, 1.5], [3.5, 3.0], [1.25, 3.0]]), 4, 5)
    assert mask.dtype == np.float32
    assert mask == pytest.approx(np.outer([0, 0.5, 1, 0], [0, 0.75, 1, 0.5, 0]))
    triangle = np.array([[2.0, 30.0], [40.0, 3.0], [33.0, 44.0]])
    assert polygon_mask(triangle, 48, 48).sum() == pytest.approx(polygon_area(triangle), rel=0.001)
    horseshoe = np.array([[0, 0], [9, 0], [9, 9], [6, 9], [6, 3], [3, 3], [3, 9], [0, 9]])
    assert polygon_mask(horseshoe, 9, 9).sum() == 63 and polygon_mask(horseshoe, 9, 9)[5, 4] == 0


def test_what_is_outside_the_picture_is_cut_off():
    square = np.array([[-5.0, -5.0], [3.0, -5.0], [3.0, 3.0], [-5.0, 3.0]])
    assert polygon_mask(square, 6, 6).sum() == 9
    assert polygon_mask(square + 100, 6, 6).sum() == 0


def test_lines_come_back_from_their_mask():
    for patient in range(12):
        clip = simulate_clip(5, patient, 0, "alder", frames=60)
        lines = np.stack(list(clip.tracings().values()))
        masks = np.stack([polygon_mask(outline(one), clip.site.size, clip.site.size) for one in lines])
        again = trace(masks)
        assert disc_volume(again) == pytest.approx(disc_volume(lines), rel=0.025)
        assert np.linalg.norm((again - lines)[:, 0].reshape(2, 2, 2), axis=-1).max() < 4  # ends of the axis, pixels
        assert min(overlap(polygon_mask(outline(one), clip.site.size, clip.site.size), mask) for one, mask in zip(again, masks, strict=True)) > 0.985


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_the_apex_is_found_whichever_way_the_picture_is_turned(turn):
    lines = simulate_clip(5, 1, 0, "alder", frames=60).tracings()
    mask = polygon_mask(outline(next(iter(lines.values()))), 112, 112)
    upright, turned = trace(np.stack([mask, np.rot90(mask, turn)]))
    points = upright.reshape(-1, 2, 2)
    for _ in range(turn):  # a quarter turn against the clock: x' = y, y' = side - x
        points = np.stack([points[..., 1], 112 - points[..., 0]], -1)
    assert turned[0] == pytest.approx(points[0].ravel(), abs=0.5)
    assert np.sort(turned[1:].reshape(-1, 2, 2), axis=1) == pytest.approx(np.sort(points[1:], axis=1), abs=0.5)


def test_chords_run_from_left_to_right_and_from_apex_to_base():
    lines = trace(polygon_mask(outline(body(lambda s: 4 + 8 * np.sqrt(s))), 60, 60)[None])[0]
    assert lines.shape == (21, 4)
    assert (lines[1:, 2] > lines[1:, 0]).all() and (np.diff(lines[1:, 1]) > 0).all() and lines[0, 3] > lines[0, 1]
    assert np.diff(lines[1:, 1]) == pytest.approx(np.full(19, 2.0), abs=0.02)


def test_soft_masks_are_read_finer_than_a_pixel():
    small, large = (trace(polygon_mask(outline(body(lambda s, r=r: r * np.sqrt(s))), 60, 60)[None])[0] for r in (10.0, 10.2))
    assert disc_volume(large) / disc_volume(small) == pytest.approx(1.02**2, rel=0.003)


def test_masks_with_nothing_in_them():
    masks = np.zeros((3, 32, 32), bool)
    masks[1, 4:28, 10:20] = True
    masks[2, 4:7, 4:7] = True
    lines = trace(masks)
    assert np.isnan(lines[[0, 2]]).all() and np.isfinite(lines[1]).all()
    assert disc_volume(lines[1]) == pytest.approx(np.pi / 4 * 100 * 24 * 20 / 19, rel=0.03)  # the first and the last chord are the mask's edges


def test_the_largest_part_alone_counts_whole_and_with_its_soft_edge():
    mask = np.zeros((24, 24), np.float32)
    mask[4:16, 4:16], mask[8:10, 8:10] = 0.9, 0.1  # a hole
    mask[4:16, 16], mask[20:23, 20:23], mask[0, 0] = 0.3, 1.0, 0.2  # a soft edge, another part, and a speck
    part = largest_part(mask)
    assert part[8, 8] == 1 and part[5, 5] == np.float32(0.9) and part[6, 16] == np.float32(0.3)
    assert part[20:, 20:].max() == 0 and part[0, 0] == 0
    assert largest_part(np.full((8, 8), 0.4)).max() == 0
