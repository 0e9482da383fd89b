"""What scanners burn into the picture around the sector: an ECG strip, a depth ruler, a name and a date. All made up, so that de-identification can be tested.

An overlay of a site is its kind, and a place where that is not the usual one: "ecg" (low) or "ecg top", "ruler" (right) or "ruler left", "text" (top left), "text right" or "text low".
"""

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
    if _place("text", site) is None:
        return ""
    return f"{rng.choice(_FAMILY)} {rng.choice(_GIVEN)} {rng.integers(1, 29):02d}.{rng.integers(1, 13):02d}.{rng.integers(2009, 2024)}"


def _place(kind: str, site: Site) -> str | None:
    """Where the site puts that kind of overlay: "" is the usual place, None nowhere."""
    return next((overlay[len(kind) :].strip() for overlay in site.overlays if overlay.startswith(kind)), None)


def draw_overlays(frames: np.ndarray, site: Site, text: str, extent: float, rhythm: Rhythm, time: np.ndarray) -> None:
    """Draws the site's overlays into uint8 (T, S, S) frames, in place; `extent` is the picture's height in cm."""
    still = np.zeros(frames.shape[1:], np.uint8)
    if (place := _place("ruler", site)) is not None:
        _ruler(still[:, ::-1] if place == "" else still, extent)
    if text:
        still = _written(still, text, _place("text", site))
    np.maximum(frames, still, out=frames)
    if (place := _place("ecg", site)) is not None:
        height = max(6, round(_STRIP * len(still)))
        _ecg_strip(frames[:, :height] if place == "top" else frames[:, -height:], rhythm, time)


def _ruler(still: np.ndarray, extent: float) -> None:
    for cm in range(1, int(extent)):
        still[int(cm / extent * len(still)), : 4 if cm % 5 == 0 else 2] = _GREY


def _written(still: np.ndarray, text: str, place: str) -> np.ndarray:
    image, text = Image.fromarray(still), text.replace(" ", "\n", 1)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default_imagefont()
    _, _, width, height = draw.multiline_textbbox((0, 0), text, font=font, spacing=0)
    x = len(still) - width - 1 if place == "right" else 1
    y = len(still) - height - 1 if place == "low" else 0
    draw.text((x, y), text, fill=_GREY, font=font, spacing=0)
    return np.asarray(image)


def ecg(since_r: np.ndarray, rr: np.ndarray) -> np.ndarray:
    """A lead II of unit R wave at the times since the R wave (s) in beats of length rr (s): sum of Gaussians for P, Q, R, S and T (after McSharry et al. 2003)."""
    phase = np.where(since_r > 0.6 * rr, since_r - rr, since_r)  # P and Q belong to the next R
    waves = ((0.12, -0.17, 0.025), (-0.12, -0.03, 0.01), (1.0, 0.0, 0.012), (-0.22, 0.035, 0.011), (0.28, 0.28, 0.05))
    return sum(height * np.exp(-0.5 * ((phase - at * np.sqrt(rr)) / width) ** 2) for height, at, width in waves)


def _ecg_strip(strip: np.ndarray, rhythm: Rhythm, time: np.ndarray) -> None:
    """The trace from the clip's start up to the frame, as a line in the strip (T, height, S)."""
    _, height, size = strip.shape
    columns = np.minimum((time / (time[-1] + 1e-9) * (size - 1)).round().astype(int), size - 1)
    value = np.clip(ecg(rhythm.since_r, rhythm.rr), -0.25, 1)
    rows = height - 1 - np.round((value + 0.25) / 1.25 * (height - 2)).astype(int)
    for k in range(1, len(strip)):
        low, high = sorted((rows[k - 1], rows[k]))
        strip[k:, low : high + 1, columns[k]] = _GREY
