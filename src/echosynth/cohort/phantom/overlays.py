"""What scanners burn into the picture around the sector: an ECG strip, a depth ruler, a name and a date. All made up, so that de-identification can be tested."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from echosynth.cohort.phantom.patient import Rhythm
from echosynth.cohort.phantom.sites import Site

_FAMILY = ("ASPEN", "BEECH", "ELDER", "HAZEL", "LARCH", "MAPLE", "ROWAN", "WILLOW")
_GIVEN = ("A", "B", "C", "D", "E", "F", "G", "H")
_GREY = 170
_STRIP = 0.1  # height of the ECG strip over the picture's


def burnt_in_text(site: Site, rng: np.random.Generator) -> str:
    """A made-up name and date, or nothing where the site burns in none."""
    if "text" not in site.overlays:
        return ""
    return f"{rng.choice(_FAMILY)} {rng.choice(_GIVEN)} {rng.integers(1, 29):02d}.{rng.integers(1, 13):02d}.{rng.integers(2009, 2024)}"


def draw_overlays(frames: np.ndarray, site: Site, text: str, extent: float, rhythm: Rhythm, time: np.ndarray) -> None:
    """Draws the site's overlays into uint8 (T, S, S) frames, in place; `extent` is the picture's side in cm."""
    size = frames.shape[1]
    still = np.zeros((size, size), np.uint8)
    if "ruler" in site.overlays:
        for cm in range(1, int(extent)):
            still[int(cm / extent * size), size - (4 if cm % 5 == 0 else 2) :] = _GREY
    if text:
        image = Image.fromarray(still)
        ImageDraw.Draw(image).text((1, 0), text.replace(" ", "\n", 1), fill=_GREY, font=ImageFont.load_default_imagefont(), spacing=0)
        still = np.asarray(image)
    np.maximum(frames, still, out=frames)
    if "ecg" in site.overlays:
        _ecg_strip(frames, rhythm, time)


def ecg(since_r: np.ndarray, rr: np.ndarray) -> np.ndarray:
    """A lead II of unit R wave at the times since the R wave (s) in beats of length rr (s): sum of Gaussians for P, Q, R, S and T (after McSharry et al. 2003)."""
    phase = np.where(since_r > 0.6 * rr, since_r - rr, since_r)  # P and Q belong to the next R
    waves = ((0.12, -0.17, 0.025), (-0.12, -0.03, 0.01), (1.0, 0.0, 0.012), (-0.22, 0.035, 0.011), (0.28, 0.28, 0.05))
    return sum(height * np.exp(-0.5 * ((phase - at * np.sqrt(rr)) / width) ** 2) for height, at, width in waves)


def _ecg_strip(frames: np.ndarray, rhythm: Rhythm, time: np.ndarray) -> None:
    """The trace from the clip's start up to the frame, as a line at the bottom of the picture."""
    size = frames.shape[1]
    height = max(6, round(_STRIP * size))
    columns = np.minimum((time / (time[-1] + 1e-9) * (size - 1)).round().astype(int), size - 1)
    value = np.clip(ecg(rhythm.since_r, rhythm.rr), -0.25, 1)
    rows = size - 1 - np.round((value + 0.25) / 1.25 * (height - 2)).astype(int)
    for t in range(len(frames)):
        for k in range(1, t + 1):
            low, high = sorted((rows[k - 1], rows[k]))
            frames[t, low : high + 1, columns[k]] = _GREY
