"""The left ventricles that a cohort's readers traced: VolumeTracings.csv read as hostile text, two frames a clip, and masks of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from echosynth.cohort.check import TRACINGS, ragged, read_tracing_table
from echosynth.cohort.discs import SMALLEST, outline, polygon_area, polygon_mask
from echosynth.cohort.echonet import Cohort
from echosynth.cohort.tables import Problem, clip_name, number, quote
from echosynth.cohort.video import square_transform

_FEWEST = {4: 4, 2: 3}  # rows of a traced frame: a long axis and three chords, or three points
_SLACK = 0.1  # of the picture's side: how far outside of it a reader's pen may go


@dataclass(frozen=True)
class TracedFrame:
    """A traced frame of a video. Coordinates are pixels of the video, pixel i covering [i, i + 1)."""

    frame: int
    polygon: np.ndarray  # (P, 2) x, y
    lines: np.ndarray | None  # (1 + K, 4) as in discs.py, K is 20 in EchoNet-Dynamic; None where the cohort has points instead of lines


@dataclass(frozen=True)
class TracedClip:
    """The two traced frames of a clip. End systole is the one of the smaller area, as in the reader published with EchoNet-Dynamic."""

    name: str
    height: int
    width: int
    es: TracedFrame
    ed: TracedFrame


@dataclass(frozen=True)
class Tracings:
    """The clips that have tracings, in the order of `Cohort.clips`; `skipped` holds the problems of what was left out, a line each."""

    clips: tuple[TracedClip, ...]
    skipped: tuple[str, ...] = ()


def read_tracings(cohort: Cohort, skip_bad: bool = False) -> Tracings:
    """Reads VolumeTracings.csv of a cohort, in line or point form. Clips without tracings are not in it, rows of clips that the cohort does not have are passed over.

    Raises InputError with the first problem: a row that is no row, a frame or a coordinate that the video does not have, other than two frames of a clip, a polygon with nothing in it. With
    `skip_bad` such clips are left out and told in `skipped`. Raises InputError either way when the file is missing or no clip is left.
    """
    table, form = read_tracing_table(cohort.root)
    problems = ragged(table)
    at_name, at_frame, at_points = table.columns.index("FileName"), table.columns.index("Frame"), [table.columns.index(column) for column in form]
    rows: dict[str, list[tuple[int, str, list[str]]]] = {}
    for line, cells in table.rows:
        rows.setdefault(clip_name(cells[at_name]) or "", []).append((line, cells[at_frame], [cells[at] for at in at_points]))
    clips = []
    for clip in cohort.clips.itertuples():
        if clip.name not in rows:
            continue
        try:
            clips.append(_traced_clip(clip.name, clip.frames, clip.height, clip.width, rows[clip.name]))
        except Problem as problem:
            problems.append(problem)
    if problems and not skip_bad:
        raise problems[0]
    if not clips:
        raise Problem(TRACINGS, "no clip of the cohort is traced in it", "give the tracings of its clips, two frames each")
    return Tracings(tuple(clips), tuple(map(str, problems)))


def _traced_clip(name: str, frames: int, height: int, width: int, rows: list[tuple[int, str, list[str]]]) -> TracedClip:
    """The rows (line, Frame, coordinates) of one clip."""
    traced: dict[int, list[list[float]]] = {}
    begins: dict[int, int] = {}
    for line, text, cells in rows:
        frame, values = number(text), [number(cell) for cell in cells]
        if frame is None or frame != int(frame) or not 0 <= frame < frames:
            raise _wrong(line, f"Frame {quote(text)} is not a frame of clip {name}")
        for value, cell, side in zip(values, cells, (width, height) * 2, strict=False):
            if value is None:
                raise _wrong(line, f"coordinate {quote(cell)} of clip {name} is not a number")
            if not -_SLACK * side <= value <= (1 + _SLACK) * side:
                raise _wrong(line, f"coordinate {value:g} of clip {name} is outside its picture of {width}x{height} pixels")
        traced.setdefault(int(frame), []).append(values)
        begins.setdefault(int(frame), line)
    if len(traced) != 2:
        raise _wrong(rows[0][0], f"{len(traced)} traced frame{'' if len(traced) == 1 else 's'} of clip {name}, where end diastole and end systole make two")
    found = []
    for frame, values in traced.items():
        points = np.array(values)
        if len(points) < _FEWEST[points.shape[1]]:
            raise _wrong(begins[frame], f"only {len(points)} rows of frame {frame} of clip {name}")
        lines = points if points.shape[1] == 4 else None
        polygon = points if lines is None else outline(lines)
        if polygon_area(polygon) < SMALLEST:
            raise _wrong(begins[frame], f"the tracing of frame {frame} of clip {name} encloses nothing")
        found.append(TracedFrame(frame, polygon, lines))
    es, ed = sorted(found, key=lambda traced: polygon_area(traced.polygon))
    return TracedClip(name, height, width, es, ed)


def _wrong(line: int, what: str) -> Problem:
    return Problem(f"{TRACINGS} row {line}", what, "mend or take out the rows of the clip")


def traced_mask(traced: TracedFrame, height: int, width: int, size: int) -> np.ndarray:
    """float32 (size, size): the share of each pixel within the polygon, where `to_square` puts it when it brings a video of height x width to that size."""
    scale, shift = square_transform(height, width, size)
    return polygon_mask(traced.polygon * scale + shift, size, size)


def tracing_rows(traced: Iterable[tuple[str, Mapping[int, np.ndarray]]]) -> pd.DataFrame:
    """The table that `write_tracings` wants, from (name, {frame: lines (1 + K, 4)}) of clips, coordinates rounded to a hundredth of a pixel."""
    rows = [[name, *(round(float(value), 2) for value in line), frame] for name, frames in traced for frame, lines in frames.items() for line in lines]
    return pd.DataFrame(rows, columns=["name", "x1", "y1", "x2", "y2", "frame"])
