"""The report's pictures: clips that play, walls of stills, and the README's montage. Grey frames in, WebP or PNG bytes out."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from echosynth.cohort.echonet import video_path
from echosynth.cohort.video import read_clip, to_square
from echosynth.errors import InputError
from echosynth.files import atomic_file
from echosynth.metrics.temporal import motion_trace
from echosynth.study import Study

SIZE = 112  # pixels: what clips are made and shown at, before the page enlarges them
_SECONDS = 2.4  # longest loop
_PLAYED = 18  # frames a second, about
_LEVELS = (("low", 0.05), ("mid", 0.5), ("high", 0.95))  # quantiles of the synthetic EFs
_BACKGROUND, _LABEL, _FAINT = 12, 236, 168


class NotComputed(Exception):
    """A piece of the report that cannot be shown; the message is the reason, fit for the page."""


@dataclass(frozen=True)
class Shown:
    """A clip chosen for show: uint8 (T, 112, 112), fps, EF in percent, and "low", "mid" or "high"."""

    clip: np.ndarray
    fps: float
    ef: float
    level: str


def synthetic_clips(study: Study) -> pd.DataFrame:
    """name, ef, path of the synthetic cohort's clips, in file order; raises NotComputed when there are none."""
    folder = study.folder("synthetic")
    try:
        clips = pd.read_csv(folder / "FileList.csv", dtype={"FileName": str})
    except (FileNotFoundError, pd.errors.EmptyDataError):
        raise NotComputed("there is no synthetic cohort yet") from None
    if clips.empty:
        raise NotComputed("the synthetic cohort has no clip")
    names = clips["FileName"].str.removesuffix(".avi")
    return pd.DataFrame({"name": names, "ef": clips["EF"].astype(float), "path": [video_path(folder, name) for name in names]})


def cohort_clips(study: Study) -> pd.DataFrame:
    """name, patient, split, ef, path of the source cohort's clips, as the latents' index lists them; raises NotComputed without one."""
    try:
        clips = pd.read_parquet(study.folder("latents") / "index.parquet")
    except FileNotFoundError:
        raise NotComputed("the cohort has not been encoded yet") from None
    if clips.empty:
        raise NotComputed("the cohort has no clip")
    return clips[["name", "patient", "split", "ef"]].assign(path=[video_path(study.cohort_path, name) for name in clips["name"]])


def _open(path: Path) -> tuple[np.ndarray, float]:
    """A clip at 112 x 112 and its fps. The reason for a failure names no file: clip names of a cohort may not reach a page."""
    try:
        clip, fps = read_clip(path)
    except (InputError, FileNotFoundError):
        raise NotComputed("a clip could not be opened; is the cohort still where it was?") from None
    return to_square(clip, SIZE), fps


def three_efs(clips: pd.DataFrame, asked: tuple[float, ...]) -> list[Shown]:
    """The clips of `clips` (ef, path) nearest to the three EFs `asked`, each clip once, lowest first."""
    left, shown = clips[clips["ef"].notna()], []
    for (level, _), ef in zip(_LEVELS, asked, strict=True):
        if left.empty:
            break
        row = (left["ef"] - ef).abs().idxmin()
        shown.append(Shown(*_open(left.at[row, "path"]), float(left.at[row, "ef"]), level))
        left = left.drop(index=row)
    if not shown:
        raise NotComputed("no clip has an EF")
    return shown


def levels(clips: pd.DataFrame) -> tuple[float, ...]:
    """A low, a middle and a high EF of `clips`, percent: the 5 %, 50 % and 95 % quantiles."""
    return tuple(float(clips["ef"].quantile(q)) for _, q in _LEVELS)


def played(clip: np.ndarray, fps: float) -> tuple[np.ndarray, float]:
    """Every k-th frame of a clip (T, H, W), at most 2.4 s of it, and the new fps: true speed at 15-25 frames a second."""
    step = max(1, round(fps / _PLAYED))
    return clip[: max(1, int(_SECONDS * fps)) : step], fps / step


def animated_webp(frames: np.ndarray, fps: float, quality: int = 78) -> bytes:
    """A looping WebP of grey frames uint8 (T, H, W)."""
    file = io.BytesIO()
    first, *rest = (Image.fromarray(frame) for frame in frames)
    first.save(file, "WEBP", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, quality=quality, method=4)
    return file.getvalue()


def still_webp(frame: np.ndarray, quality: int = 84) -> bytes:
    """One grey frame uint8 (H, W) as WebP."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "WEBP", quality=quality, method=4)
    return file.getvalue()


def beat_frames(clip: np.ndarray) -> tuple[int, int]:
    """Frame of end-diastole and of end-systole in a clip uint8 (T, H, W): the ends of its strongest motion pattern, smoothed over three frames."""
    if len(clip) < 3:
        return 0, len(clip) - 1
    trace = np.convolve(np.pad(motion_trace(clip), 1, mode="edge"), np.ones(3) / 3, mode="valid")
    return int(trace.argmin()), int(trace.argmax())


def wall(clips: pd.DataFrame, rows: int, columns: int) -> np.ndarray:
    """A still of each of rows x columns clips, evenly chosen, as one grey picture; fewer rows when there are fewer clips."""
    count = min(rows * columns, len(clips))
    columns = min(columns, count)
    count -= count % columns
    chosen = np.linspace(0, len(clips) - 1, count).round().astype(int)
    stills = []
    for path in clips["path"].iloc[chosen]:
        clip, _ = _open(path)
        stills.append(clip[len(clip) // 2])
    return np.block([[stills[r * columns + c] for c in range(columns)] for r in range(count // columns)])


def _label(picture: Image.Image, where: tuple[float, float], text: str, size: float, shade: int = _LABEL, anchor: str = "mm") -> None:
    ImageDraw.Draw(picture).text(where, text, fill=shade, font=ImageFont.load_default(size), anchor=anchor)


def _pairs(study: Study) -> list[tuple[str, list[Shown]]]:
    """Rows of the README's pictures: cohort and synthetic clips at about the same three EFs."""
    synthetic = synthetic_clips(study)
    asked = levels(synthetic)
    return [("cohort", three_efs(cohort_clips(study), asked)), ("synthetic", three_efs(synthetic, asked))]


def _canvas(rows: list[list[np.ndarray]], names: list[str], heads: list[list[str]], side: int) -> Image.Image:
    """Frames (112, 112) in labelled rows, each enlarged to `side` pixels; `heads` are the labels over each row's frames."""
    margin, head, gap = round(0.2 * side), round(0.16 * side), max(2, side // 40)
    width = margin + max(map(len, rows)) * (side + gap)
    picture = Image.new("L", (width, len(rows) * (head + side) + gap), _BACKGROUND)
    for r, frames in enumerate(rows):
        top = r * (head + side) + head
        for c, frame in enumerate(frames):
            left = margin + c * (side + gap)
            picture.paste(Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC), (left, top))
            _label(picture, (left + side / 2, top - head / 2), heads[r][c], 0.1 * side, _FAINT)
        name = Image.new("L", (side, margin), _BACKGROUND)
        _label(name, (side / 2, margin / 2), names[r], 0.13 * side)
        picture.paste(name.rotate(90, expand=True), (0, top))
    return picture


def montage(study: Study, path: Path, limit: int = 400_000, mode: int = 0o666) -> None:
    """Writes the README's picture: a PNG under `limit` bytes with cohort frames over synthetic ones, at three EFs, each at end-diastole and end-systole.

    `mode` is that of the file. Raises NotComputed when the study has no synthetic cohort or its cohort is out of reach.
    """
    rows, names, heads = [], [], []
    for name, shown in _pairs(study):
        ends = [(s, frame, "ED" if i == 0 else "ES") for s in shown for i, frame in enumerate(beat_frames(s.clip))]
        rows.append([s.clip[frame] for s, frame, _ in ends])
        heads.append([f"EF {s.ef:.0f} %, {end}" for s, _, end in ends])
        names.append(name)
    for side in (224, 192, 168, 140, SIZE):
        file = io.BytesIO()
        # 64 grey levels are more than the eye tells apart in speckle, and a third smaller.
        _canvas(rows, names, heads, side).quantize(64).save(file, "PNG", optimize=True)
        if file.tell() < limit:
            break
    with atomic_file(path, mode) as partial:
        partial.write_bytes(file.getvalue())


def animated_montage(study: Study, path: Path, limit: int = 2_000_000, mode: int = 0o666) -> None:
    """Writes the README's moving picture: a WebP under `limit` bytes with cohort clips over synthetic ones at three EFs, at true speed.

    `mode` is that of the file. Raises NotComputed when the study has no synthetic cohort or its cohort is out of reach.
    """
    pairs, fps = _pairs(study), 16.0
    clips = [[s.clip[(np.arange(int(_SECONDS * fps)) * s.fps / fps).astype(int) % len(s.clip)] for s in shown] for _, shown in pairs]
    names, heads = [name for name, _ in pairs], [[f"EF {s.ef:.0f} %" for s in shown] for _, shown in pairs]
    for side, quality in ((224, 75), (192, 70), (168, 60), (SIZE, 50)):
        first, *rest = (_canvas([[clip[i] for clip in row] for row in clips], names, heads, side) for i in range(int(_SECONDS * fps)))
        file = io.BytesIO()
        first.save(file, "WEBP", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, quality=quality, method=2)
        if file.tell() < limit:
            break
    with atomic_file(path, mode) as partial:
        partial.write_bytes(file.getvalue())
