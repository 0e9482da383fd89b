"""The geometry of a traced ventricle: polygon, mask, the long axis with its chords, and the volume by discs.

Points are (x, y) in pixels, pixel i covering [i, i + 1) in either direction. A tracing is `lines` (1 + K, 4), rows x1, y1, x2, y2: the long axis from apex to base, then K chords across it from
apex to base, in the middle of K slices of equal height. Volumes by discs mean something in apical views alone.
"""

import numpy as np
from scipy import ndimage

CHORDS = 20
SMALLEST = 12.0  # pixels: no axis is laid through less
_AT_ONCE = 64  # masks: what a long video takes of memory
_SUBLINES = 4  # scan lines a row of pixels
_SUBROWS = 3  # samples a slice, along the axis
_SAMPLES = 64  # from end to end of what is looked at
_SETTLED = 2  # times that the axis is laid anew
_INSIDE = 0.75  # pixels: how far inside the mask its first and last widths are taken
_END = 0.1  # of the area: what counts as an end of the mask


def disc_volume(lines: np.ndarray) -> np.ndarray:
    """Volumes (...,) in pixels^3 of tracings (..., 1 + K, 4) by the single-plane method of discs (Simpson's rule): V = sum(pi/4 d_i^2 L / K)."""
    spans = np.hypot(lines[..., 2] - lines[..., 0], lines[..., 3] - lines[..., 1])
    return np.pi / 4 * (spans[..., 1:] ** 2).mean(-1) * spans[..., 0]


def outline(lines: np.ndarray) -> np.ndarray:
    """The polygon (2 K, 2) of a tracing (1 + K, 4) as the reader published with EchoNet-Dynamic makes it: one end of the chords down, the other up again."""
    return np.concatenate([lines[1:, :2], lines[:0:-1, 2:]])


def polygon_area(polygon: np.ndarray) -> float:
    """Pixels^2 within a polygon (P, 2), by the shoelace formula."""
    x, y = polygon.T
    return float(0.5 * abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def polygon_mask(polygon: np.ndarray, height: int, width: int) -> np.ndarray:
    """float32 (height, width): the share of each pixel that a polygon (P, 2) covers (even-odd rule), exact along x and by four lines along y."""
    (x1, y1), (x2, y2) = polygon.T, np.roll(polygon, -1, axis=0).T
    level = (np.arange(height * _SUBLINES)[:, None] + 0.5) / _SUBLINES
    crossed = (y1 <= level) != (y2 <= level)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(crossed, x1 + (level - y1) / (y2 - y1) * (x2 - x1), np.inf)
    x = np.clip(np.sort(x, axis=1)[:, : crossed.sum(1).max()], 0, width)  # in pairs: in, out
    pixel = np.arange(width)
    covered = np.zeros((len(level), width))
    for into, out in zip(x[:, 0::2].T, x[:, 1::2].T, strict=True):
        covered += np.clip(out[:, None] - pixel, 0, 1) - np.clip(into[:, None] - pixel, 0, 1)
    return covered.reshape(height, _SUBLINES, width).mean(1).astype(np.float32)


def largest_part(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) in [0, 1] without what does not hang together with its largest part (of pixels over one half), and with its holes filled."""
    parts, count = ndimage.label(mask > 0.5)
    if not count:
        return np.zeros_like(mask, dtype=np.float32)
    part = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    filled = ndimage.binary_fill_holes(part)
    rim = ndimage.binary_dilation(filled, iterations=2) & ((parts == 0) | part)  # the soft edge belongs to it
    return np.where(filled & ~part, 1.0, np.where(rim, mask, 0.0)).astype(np.float32)


def trace(masks: np.ndarray, chords: int = CHORDS) -> np.ndarray:
    """Tracings (T, 1 + chords, 4) of masks (T, H, W), shares in [0, 1] or bool, each of one part (`largest_part`); NaN where a mask holds less than 12 pixels.

    The long axis is the principal axis of the mask, laid anew through the middles of its ends; it runs from where it enters the mask to where it leaves. Its narrower end is the apex, whichever
    way the picture is turned. A chord is as long as the mask is wide, on average over its slice, so that soft masks give lengths finer than a pixel.
    """
    masks = np.asarray(masks, np.float32)
    lines = np.full((len(masks), 1 + chords, 4), np.nan)
    there = np.flatnonzero(masks.sum((1, 2)) >= SMALLEST)
    for first in range(0, len(there), _AT_ONCE):
        some = there[first : first + _AT_ONCE]
        lines[some] = _trace(masks[some], chords)
    return lines


def _trace(masks: np.ndarray, chords: int) -> np.ndarray:
    middle, along, reach = _principal_axes(masks)
    s = reach[:, None] * np.linspace(-1, 1, _SAMPLES)
    for _ in range(_SETTLED):
        width, offset, _ = _cut(masks, middle, along, s, reach)
        share = np.cumsum(width, 1) / width.sum(1, keepdims=True)
        ends = []
        for end in (share <= _END, share > 1 - _END):
            weight = width * end
            weight /= weight.sum(1, keepdims=True)
            ends.append(_points(middle, along, (weight * s).sum(1), (weight * offset).sum(1)))
        middle, along = (ends[0] + ends[1]) / 2, ends[1] - ends[0]
        along /= np.linalg.norm(along, axis=1, keepdims=True)
    width, _, on_axis = _cut(masks, middle, along, s, reach)
    low, high = _ends(s, np.where((on_axis >= 0.5).any(1, keepdims=True), on_axis, width))

    height = (high - low) / (chords - 1)  # of a slice: the first and the last chord are the mask's edges
    at = np.arange(chords)[:, None] + (np.arange(_SUBROWS) - (_SUBROWS - 1) / 2) / _SUBROWS
    rows = low[:, None] + height[:, None] * at.ravel()
    rows = np.clip(rows, *np.sort([low + _INSIDE, high - _INSIDE], axis=0)[..., None])
    width, offset, _ = _cut(masks, middle, along, rows, reach)
    slices = (len(masks), chords, _SUBROWS)
    moment, width = (values.reshape(slices).mean(2) for values in (width * offset, width))
    offset, s = moment / np.maximum(width, 1e-9), low[:, None] + height[:, None] * np.arange(chords)
    axis = np.concatenate([_points(middle, along, end, np.zeros_like(end)) for end in (low - height / 2, high + height / 2)], 1)
    cut = np.concatenate([_points(middle, along, s, offset - width / 2), _points(middle, along, s, offset + width / 2)], 2)
    lines = np.concatenate([axis[:, None], cut], 1)
    quarter = chords // 4
    turned = width[:, :quarter].sum(1) > width[:, -quarter:].sum(1)
    lines[turned] = lines[turned][..., [2, 3, 0, 1]]
    lines[turned, 1:] = lines[turned, :0:-1]
    return lines


def _principal_axes(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centroids (T, 2), unit vectors (T, 2) of the largest second moment, and how far (T,) from the centroid there may be something of the mask."""
    y, x = (np.arange(side) + 0.5 for side in masks.shape[1:])
    weight = masks.sum((1, 2), dtype=np.float64)
    columns, rows = masks.sum(1, dtype=np.float64) / weight[:, None], masks.sum(2, dtype=np.float64) / weight[:, None]
    mx, my = columns @ x, rows @ y
    xx, yy, xy = columns @ x**2 - mx**2, rows @ y**2 - my**2, np.einsum("tw,w->t", np.einsum("thw,h->tw", masks, y), x) / weight - mx * my
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    largest = (xx + yy) / 2 + np.hypot((xx - yy) / 2, xy)
    return np.stack([mx, my], 1), np.stack([np.cos(angle), np.sin(angle)], 1), 2.8 * np.sqrt(largest) + 1.5  # an ellipse ends at 2 standard deviations


def _points(middle: np.ndarray, along: np.ndarray, s: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Points (T, ..., 2) at the place s (T, ...) along the axes and `offset` across them."""
    extra = (slice(None), *[None] * (s.ndim - 1))
    across = np.stack([along[:, 1], -along[:, 0]], 1)  # to the right where the axis points down
    return middle[extra] + s[..., None] * along[extra] + offset[..., None] * across[extra]


def _cut(masks: np.ndarray, middle: np.ndarray, along: np.ndarray, s: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the masks along lines across the axes at s (T, n): width (T, n), middle as an offset from the axis (T, n), and the share that is mask on the axis itself (T, n)."""
    offset = reach[:, None] * np.linspace(-1, 1, _SAMPLES + 1)
    points = _points(middle, along, *np.broadcast_arrays(s[:, :, None], offset[:, None, :]))
    frame = np.broadcast_to(np.arange(len(masks))[:, None, None], points.shape[:3])
    value = ndimage.map_coordinates(masks, [frame, points[..., 1] - 0.5, points[..., 0] - 0.5], order=1, mode="constant", prefilter=False)
    width = value.sum(2) * (2 * reach[:, None] / _SAMPLES)
    centre = np.einsum("tnm,tm->tn", value, offset) / np.maximum(value.sum(2), 1e-9)
    return width, centre, value[:, :, _SAMPLES // 2 - 1 : _SAMPLES // 2 + 2].mean(2)


def _ends(s: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last place (T,) at which `share` (T, n) along s (T, n) passes one half."""

    def first(s: np.ndarray, share: np.ndarray) -> np.ndarray:
        row, k = np.arange(len(s)), np.maximum((share >= 0.5).argmax(1), 1)
        before, after = share[row, k - 1], share[row, k]
        rise = np.clip((0.5 - before) / np.maximum(after - before, 1e-9), 0, 1)
        return s[row, k - 1] + rise * (s[row, k] - s[row, k - 1])

    return first(s, share), first(s[:, ::-1], share[:, ::-1])
