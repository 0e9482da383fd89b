"""Every problem of a cohort in one pass: its tables read row by row, every video opened, nothing taken on trust."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from echosynth.cohort.tables import Problem, Table, clip_name, number, quote, read_table
from echosynth.cohort.video import ClipInfo, clip_info
from echosynth.interrupts import thread_pool
from echosynth.manifest import Entry, Manifest, entry_of
from echosynth.progress import progress

SPLITS = ("TRAIN", "VAL", "TEST")
HELD_OUT = SPLITS[1:]  # no generator is trained on them
FILELIST, PATIENTS, TRACINGS, VIDEOS = "FileList.csv", "patients.csv", "VolumeTracings.csv", "Videos"
TRUTH = "truth.parquet"  # of a simulated cohort
LISTS = (FILELIST, PATIENTS, TRACINGS, TRUTH)
CLIP_COLUMNS = ["name", "patient", "split", "ef", "esv", "edv", "fps", "frames", "height", "width"]
FILE_COLUMNS = ["row", "size", "mtime_ns", "sha256"]
_REQUIRED = ("FileName", "EF", "Split")
_FOLDS = {str(fold): "TRAIN" if fold < 8 else SPLITS[fold - 7] for fold in range(10)}  # EchoNet-Pediatric: 0-7, 8, 9
_EF_SLACK = 1.0  # EF points between the EF given and the one of the volumes


@dataclass
class Row:
    """One row of FileList.csv as far as it could be understood; None is what the row does not say (or says wrongly: then there is a problem)."""

    number: int
    name: str | None = None
    patient: str | None = None
    split: str | None = None
    ef: float | None = None
    esv: float | None = None
    edv: float | None = None
    fps: float | None = None
    frames: int | None = None
    height: int | None = None
    width: int | None = None
    file: Entry | None = None

    @property
    def where(self) -> str:
        return f"{FILELIST} row {self.number}"


@dataclass(frozen=True)
class Report:
    """What `inspect` found. `clips` has one row a clip without problems: the columns of `Cohort.clips`, then `row` (in FileList.csv), and `size` (bytes),
    `mtime_ns` and `sha256` of the video. `lists` are the tables beside Videos/ as they were read."""

    root: Path
    listed: int
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    clips: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*CLIP_COLUMNS, *FILE_COLUMNS]))
    lists: Manifest = field(default_factory=dict)


def inspect(root: Path, splits: bool = True) -> Report:
    """Opens every file of a cohort in the EchoNet-Dynamic or EchoNet-Pediatric layout and reports every problem, in the order of the rows, rather than raise.

    Every video is demultiplexed to its end, so that its frames are counted and not believed, and its first and last frames are decoded.
    `splits` False does not ask for clips in each of TRAIN, VAL and TEST. All bytes of a video enter its SHA-256.
    """
    root = Path(root)
    lists = {}
    try:
        lists = {name: entry_of(root / name) for name in LISTS if (root / name).is_file()}
        if not root.is_dir():
            raise Problem(str(root), "not a folder" if root.exists() else "no such folder", f"give the folder that holds {FILELIST} and {VIDEOS}/")
        table = read_table(root / FILELIST, _REQUIRED)
    except Problem as problem:
        return Report(root, 0, [_with_hint(root, problem)])
    problems, warnings = ragged(table), []
    rows = [_parse(table, line, cells, problems, warnings) for line, cells in table.rows]
    if not rows and not problems:
        problems.append(Problem(FILELIST, "no clip in it", "write one row a clip"))
    efs = [row.ef for row in rows if row.ef is not None]
    if len(efs) > 1 and max(efs) <= 1:
        warnings.append(Problem(FILELIST, "no EF is above 1", "write EF in percent, not as a fraction"))
    _duplicates(rows, problems)
    _patients(root, rows, problems, warnings)
    _patients_in_one_split(rows, problems)
    named = [row for row in rows if row.name]
    if named and not os.path.isdir(root / VIDEOS):
        problems.append(Problem(f"{VIDEOS}/", f"not in {root}", f"put the videos in {root / VIDEOS}"))
    elif named:
        _videos(root, named, problems, warnings)
    _tracings(root, rows, warnings)
    problems.sort(key=lambda problem: problem.row or 0)
    if rows and splits:
        problems += missing_splits(row.split for row in rows)
    bad = {problem.row for problem in problems}
    good = [row for row in rows if row.number not in bad and row.file]
    return Report(root, len(table.rows) + len(table.ragged), problems, warnings, _frame(good), lists)


def missing_splits(splits: Iterable[str | None]) -> list[Problem]:
    """A problem for each of TRAIN, VAL and TEST that none of the clips is in."""
    have = set(splits)
    return [
        Problem(FILELIST, f"no clip in split {split}", f"give clips of some patients Split {split} (in folds: 0-7 TRAIN, 8 VAL, 9 TEST)") for split in SPLITS if split not in have
    ]


def video_path(root: Path, name: str) -> Path:
    """Where the video of a clip is: Videos/NAME.avi, or with .AVI where only that is there."""
    path = root / VIDEOS / f"{name}.avi"
    upper = path.with_name(f"{name}.AVI")
    return upper if not path.exists() and upper.exists() else path


def _with_hint(root: Path, problem: Problem) -> Problem:
    """EchoNet-Pediatric holds one cohort a view in subfolders; many a user gives the folder above or the one of the videos."""
    if problem.where == FILELIST and os.access(root, os.R_OK) and not os.path.exists(root / FILELIST):
        found = next((folder for folder in (root.parent, *sorted(root.iterdir())) if os.path.isfile(folder / FILELIST)), None)
        if found:
            return Problem(problem.where, problem.what, f"there is one in {found}: give that folder")
    return problem


def ragged(table: Table) -> list[Problem]:
    """A problem for each row with too few or too many cells."""
    return [Problem(f"{table.file} row {line}", f"{cells} cells where the first row has {len(table.columns)}", "fill or quote the cells", line) for line, cells in table.ragged]


def _parse(table: Table, line: int, cells: list[str], problems: list[Problem], warnings: list[Problem]) -> Row:
    """One row of FileList.csv; appends what is wrong with it."""
    value = dict(zip(table.columns, cells, strict=True))
    row = Row(line)

    def wrong(what: str, remedy: str) -> None:
        problems.append(Problem(row.where, what, remedy, line))

    row.name = clip_name(value["FileName"])
    if row.name is None:
        wrong(f"FileName {quote(value['FileName'])} is not a plain file name" if value["FileName"] else "FileName is empty", f"name a file in {VIDEOS}/, without folders")
    split = value["Split"].removesuffix(".0")
    row.split = split.upper() if split.upper() in SPLITS else _FOLDS.get(split)
    if row.split is None:
        wrong(f"Split {quote(split)} unknown" if split else "Split is empty", "write TRAIN, VAL or TEST, or a fold 0-9")
    ef = number(value["EF"])
    if ef is None:
        wrong(f"EF {quote(value['EF'])} is not a number" if value["EF"] else "EF is empty", "write the ejection fraction in percent")
    elif not 0 <= ef <= 100:
        wrong(f"EF {ef:g} is outside 0-100", "write the ejection fraction in percent")
    else:
        row.ef = ef
    for column, attribute in (("ESV", "esv"), ("EDV", "edv")):
        text = value.get(column, "")
        if text and text.lower() != "nan":
            volume = number(text)
            if volume is None or volume < 0:
                wrong(f"{column} {quote(text)} is not a volume", "write mL, or leave it empty")
            else:
                setattr(row, attribute, volume)
    for column, attribute in (("FPS", "fps"), ("NumberOfFrames", "frames"), ("FrameHeight", "height"), ("FrameWidth", "width")):
        text = value.get(column, "")
        if text:
            amount = number(text)
            if amount is None or amount <= 0 or (column != "FPS" and amount != int(amount)):
                wrong(f"{column} {quote(text)} is not a positive {'number' if column == 'FPS' else 'whole number'}", "write what the video has, or leave it empty")
            else:
                setattr(row, attribute, amount if column == "FPS" else int(amount))
    _volumes(row, warnings)
    return row


def _volumes(row: Row, warnings: list[Problem]) -> None:
    """Warns where EF, ESV and EDV contradict each other: EF = (EDV - ESV) / EDV."""
    if row.esv is None or row.edv is None:
        return
    if row.edv == 0:
        warnings.append(Problem(row.where, "EDV is 0", "leave volumes empty that were not measured"))
    elif row.esv > row.edv:
        warnings.append(Problem(row.where, f"ESV {row.esv:g} is larger than EDV {row.edv:g}", "check whether they are swapped"))
    elif row.ef is not None and abs(row.ef - (ef := 100 * (row.edv - row.esv) / row.edv)) > _EF_SLACK:
        warnings.append(Problem(row.where, f"EF {row.ef:.1f} where the volumes give {ef:.1f}", "check which is right; echosynth goes by EF"))


def _duplicates(rows: list[Row], problems: list[Problem]) -> None:
    """The first row of a name stands; later ones lose their name, so that nothing else is said of them."""
    first: dict[str, int] = {}
    for row in rows:
        if row.name in first:
            problems.append(Problem(row.where, f"clip {row.name} is already in row {first[row.name]}", "keep one of the rows", row.number))
            row.name = None
        elif row.name:
            first[row.name] = row.number


def _patients(root: Path, rows: list[Row], problems: list[Problem], warnings: list[Problem]) -> None:
    """Reads patients.csv where there is one; where there is none every clip is a patient of its own."""
    if not os.path.lexists(root / PATIENTS):
        for row in rows:
            row.patient = row.name
        return
    try:
        table = read_table(root / PATIENTS, ("FileName", "Patient"))
    except Problem as problem:
        problems.append(problem)
        return
    problems += [Problem(problem.where, problem.what, problem.remedy) for problem in ragged(table)]
    listed = {row.name for row in rows if row.name}
    column_name, column_patient = table.columns.index("FileName"), table.columns.index("Patient")
    patients: dict[str, str] = {}
    torn: set[str] = set()
    for line, cells in table.rows:
        name, patient = clip_name(cells[column_name]), cells[column_patient]
        if name not in listed:
            warnings.append(Problem(f"{PATIENTS} row {line}", f"clip {quote(cells[column_name])} is not in {FILELIST}", "take the row out, or list the clip"))
        elif patients.setdefault(name, patient) != patient:
            torn.add(name)
    for row in rows:
        row.patient = None if row.name in torn else patients.get(row.name) or None
        if row.name and not row.patient:
            what, remedy = ("two patients", "keep one row of it there") if row.name in torn else ("no patient", "add its row there")
            problems.append(Problem(row.where, f"clip {row.name} has {what} in {PATIENTS}", remedy, row.number))


def _patients_in_one_split(rows: list[Row], problems: list[Problem]) -> None:
    """A patient belongs to the split of the first of its rows; each row elsewhere is a problem of its own."""
    home: dict[str, Row] = {}
    for row in rows:
        if row.patient and row.split:
            first = home.setdefault(row.patient, row)
            if row.split != first.split:
                what = f"the patient of clip {row.name} is in {row.split} here and in {first.split} in row {first.number}"
                problems.append(Problem(row.where, what, "put all clips of a patient in one split", row.number))


def _videos(root: Path, rows: list[Row], problems: list[Problem], warnings: list[Problem]) -> None:
    """Opens the videos, several at a time (libav leaves Python's lock while it reads), and lays what they hold over what the rows say."""

    def look(row: Row) -> tuple[ClipInfo, Entry] | Problem:
        path = video_path(root, row.name)
        try:
            return clip_info(path, row.frames), _entry(path)
        except Problem as problem:
            return Problem(row.where, f"{VIDEOS}/{problem.where} {problem.what}", problem.remedy, row.number)

    with progress("opening videos", len(rows)) as advance, thread_pool(os.cpu_count() or 1, "video") as pool:
        for row, found in zip(rows, pool.map(look, rows), strict=True):
            advance()
            if isinstance(found, Problem):
                problems.append(found)
                continue
            info, row.file = found
            if (row.height or info.height, row.width or info.width) != (info.height, info.width):
                what = f"FrameHeight x FrameWidth {row.height or '?'}x{row.width or '?'} where {VIDEOS}/{row.name}.avi has {info.height}x{info.width}"
                problems.append(Problem(row.where, what, "write the size of the video", row.number))
            if row.fps and abs(row.fps - info.fps) > 1:
                warnings.append(Problem(row.where, f"FPS {row.fps:g} where {VIDEOS}/{row.name}.avi has {info.fps:g}", "check which is right; echosynth goes by the list"))
            if row.frames and row.frames < info.frames:
                warnings.append(Problem(row.where, f"NumberOfFrames {row.frames} where {VIDEOS}/{row.name}.avi has {info.frames}", "echosynth uses all of them"))
            row.fps = row.fps or info.fps
            row.frames, row.height, row.width = info.frames, info.height, info.width
    listed = {video_path(root, row.name).name for row in rows}
    there = sorted(name for name in os.listdir(root / VIDEOS) if not name.startswith(".")) if os.access(root / VIDEOS, os.R_OK) else []
    warnings += [Problem(f"{VIDEOS}/{quote(name)[1:-1]}", f"not in {FILELIST}", "list it or take it away") for name in there if name not in listed]


def _entry(path: Path) -> Entry:
    try:
        return entry_of(path)
    except OSError as error:
        raise Problem(path.name, f"cannot be read ({error.strerror})", "make it a readable file") from error


def read_tracing_table(root: Path) -> tuple[Table, tuple[str, ...]]:
    """VolumeTracings.csv and the columns of its coordinates: X1, Y1, X2, Y2 (line form, EchoNet-Dynamic) or X, Y (point form). Raises Problem as `read_table`, and when it has neither."""
    table = read_table(root / TRACINGS, ("FileName", "Frame"))
    form = next((form for form in (("X1", "Y1", "X2", "Y2"), ("X", "Y")) if set(form) <= set(table.columns)), None)
    if form is None:
        raise Problem(f"{TRACINGS} row 1", "no columns X1, Y1, X2, Y2", "name them in the first row")
    return table, form


def _tracings(root: Path, rows: list[Row], warnings: list[Problem]) -> None:
    """Warns of a malformed VolumeTracings.csv, once a clip."""
    if not os.path.lexists(root / TRACINGS):
        return
    try:
        table, form = read_tracing_table(root)
    except Problem as problem:
        warnings.append(problem)
        return
    warnings += ragged(table)
    frames = {row.name: row.frames for row in rows if row.name}
    at_name, at_frame, at_points = table.columns.index("FileName"), table.columns.index("Frame"), [table.columns.index(column) for column in form]
    said: set[str] = set()
    for line, cells in table.rows:
        text = cells[at_name]
        if text in said:
            continue
        name, frame = clip_name(text), number(cells[at_frame])
        if name not in frames:
            what = f"clip {quote(text)} is not in {FILELIST}"
        elif frame is None or frame != int(frame) or not 0 <= frame < (frames[name] or float("inf")):
            what = f"Frame {quote(cells[at_frame])} is not a frame of clip {name}"
        elif any(number(cells[at]) is None for at in at_points):
            what = f"a coordinate of clip {name} is not a number"
        else:
            continue
        said.add(text)
        warnings.append(Problem(f"{TRACINGS} row {line}", what, "mend or take out the rows of the clip"))


def _frame(rows: Sequence[Row]) -> pd.DataFrame:
    columns = {column: [getattr(row, column) for row in rows] for column in CLIP_COLUMNS} | {"row": [row.number for row in rows]}
    columns |= {column: [row.file[column] for row in rows] for column in ("size", "mtime_ns", "sha256")}
    types = (
        dict.fromkeys(("ef", "esv", "edv", "fps"), "float64")
        | dict.fromkeys(("frames", "height", "width", "row", "size", "mtime_ns"), "int64")
        | dict.fromkeys(("name", "patient", "split", "sha256"), "str")
    )
    return pd.DataFrame(columns).astype(types)


def render(report: Report) -> str:
    """The report as plain text: a summary of the clips without problems, every problem, and the warnings."""
    clips = report.clips
    lines = [
        f"{report.root}: {len(clips)} clips of {clips.patient.nunique()} patients"
        + (f" (of {report.listed} listed; {report.listed - len(clips)} bad)" if len(clips) < report.listed else "")
    ]
    if len(clips):
        for split in SPLITS:
            of = clips[clips.split == split]
            lines.append(f"  {split:<7}{len(of):>6} clips {of.patient.nunique():>6} patients")
        ef = clips.ef.to_numpy()
        lines.append(f"  EF     {ef.mean():.1f} ± {ef.std(ddof=1) if len(ef) > 1 else 0:.1f} %, {ef.min():.1f} to {ef.max():.1f}")
        counts, edges = np.histogram(ef, bins=np.arange(0, 101, 10))
        lines += [f"  {low:>6}-{low + 10:<4}{count:>6} {'█' * round(40 * count / counts.max())}".rstrip() for low, count in zip(edges[:-1], counts, strict=True)]
        lines.append(f"  frames {clips.frames.min()} to {clips.frames.max()}, median {clips.frames.median():g}")
        lines.append("  size   " + _most_common(f"{h}x{w}" for h, w in zip(clips.height, clips.width, strict=True)))
        lines.append("  fps    " + _most_common(f"{fps:g}" for fps in clips.fps))
    for title, found in (("problem", report.problems), ("warning", report.warnings)):
        lines.append(f"{len(found) or 'no'} {title}{'' if len(found) == 1 else 's'}{':' if found else ''}")
        lines += [f"  {problem}" for problem in found]
    return "\n".join(lines)


def _most_common(values: Iterable[str], shown: int = 5) -> str:
    counts = Counter(values).most_common()
    return ", ".join(f"{value} ({count})" for value, count in counts[:shown]) + (f" and {len(counts) - shown} others" if len(counts) > shown else "")
