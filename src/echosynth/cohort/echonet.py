"""Cohorts in the EchoNet layout: Videos/*.avi, FileList.csv, VolumeTracings.csv, and patients.csv where patients have several clips."""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from echosynth.cohort.check import (
    CLIP_COLUMNS,
    FILELIST,
    HELD_OUT,
    LISTS,
    PATIENTS,
    SPLITS,
    TRACINGS,
    TRUTH,
    VIDEOS,
    Report,
    inspect,
    missing_splits,
    video_path,
)
from echosynth.cohort.tables import Problem
from echosynth.errors import InputError
from echosynth.files import atomic_file
from echosynth.manifest import Entry, Manifest, differences

SAVED = "cohort.parquet"
_METADATA = b"echosynth"


@dataclass(frozen=True)
class Cohort:
    """The clips of a cohort that can be used, and where their videos are.

    `clips` has one row a clip, index 0..n-1 in the order of the list: name (no .avi), patient, split (TRAIN, VAL or TEST), ef (percent), esv, edv (mL, NaN if unknown),
    fps, frames, height, width (of the video). `skipped` holds the problems of the clips left out, a line each. `files` has the size, time and hash of
    every video and list when the cohort was read (of a cohort that was made otherwise, nothing).
    """

    root: Path
    clips: pd.DataFrame
    fingerprint: str
    skipped: tuple[str, ...] = ()
    files: Manifest = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """The video of a clip."""
        return video_path(self.root, name)

    def check_unchanged(self, full: bool = False) -> None:
        """Raises InputError naming the first list or video that is not as it was read.

        Lists are hashed in any case; videos with `full`, else only those with another size or time.
        """
        for line in self.changed_files(full):
            raise InputError(line)

    def changed_files(self, full: bool = False) -> Iterator[str]:
        """A line for each list or video that is not as it was read (`check_unchanged`)."""
        remedy = "put it back as it was, or start a new study on the cohort as it is"
        lists = {name: entry for name, entry in self.files.items() if name in LISTS}
        videos = {name: entry for name, entry in self.files.items() if name not in LISTS}
        for found in (differences(self.root, lists, True, links=True), differences(self.root, videos, full, links=True)):
            for name, what in found:
                yield f"{self.root / name}: {what} since the cohort was read; {remedy}"
        for name in (name for name in LISTS if self.files and name not in lists and (self.root / name).exists()):
            yield f"{self.root / name}: was not there when the cohort was read; {remedy}"

    def split(self, split: str) -> pd.DataFrame:
        """The clips of TRAIN, VAL or TEST, with the index they have in `clips`."""
        assert split in SPLITS
        return self.clips[self.clips.split == split]

    def held_out(self) -> pd.DataFrame:
        """The clips that no generator was trained on, with the index they have in `clips`."""
        return self.clips[self.clips.split.isin(HELD_OUT)]

    def with_phenotypes(self, clips: pd.DataFrame) -> pd.DataFrame:
        """Some of the clips with a column `phenotype` where the cohort is simulated: nobody else tells them."""
        path = self.root / TRUTH
        return clips.join(pd.read_parquet(path, columns=["name", "phenotype"]).set_index("name"), on="name") if path.exists() else clips


def read_cohort(root: Path, skip_bad: bool = False, splits: bool = True) -> Cohort:
    """Reads a cohort in the EchoNet-Dynamic or EchoNet-Pediatric layout, and opens every video of it (see `load_cohort` to do so once).

    With `skip_bad` the rows of FileList.csv that have a problem are left out and told in `skipped`: of a name listed twice the first row stays, of a patient in two splits
    the clips in the split that is listed first. `splits` asks for at least one clip in each of TRAIN, VAL and TEST.
    Raises InputError with the first problem and how many more there are; with `skip_bad` only for what no clip can be left out for, or when a split is left empty.
    """
    report = inspect(Path(root), splits)
    problems = [problem for problem in report.problems if problem.row is None] if skip_bad else report.problems
    if skip_bad and not problems and splits:
        problems = missing_splits(report.clips.split)
    if not problems and report.clips.empty:
        problems = [Problem(FILELIST, "no clip without problems is left", f"echosynth check {root} lists them")]
    if problems:
        raise InputError(_first(report, problems, skip_bad))
    skipped = tuple(str(problem) for problem in report.problems)
    clips = report.clips
    videos = {
        f"{VIDEOS}/{video_path(report.root, row.name).name}": Entry(size=row.size, sha256=row.sha256, mtime_ns=row.mtime_ns)
        for row in clips[["name", "size", "sha256", "mtime_ns"]].itertuples(index=False)
    }
    return Cohort(report.root, clips[CLIP_COLUMNS].reset_index(drop=True), fingerprint(clips), skipped, report.lists | videos)


def _first(report: Report, problems: list[Problem], skip_bad: bool) -> str:
    first = problems[0]
    line = str(first) if first.where == str(report.root) else f"{report.root}: {first}"
    if len(problems) == 1 and (skip_bad or first.row is None):
        return line
    hint = f"echosynth check {report.root} lists them all" if len(problems) > 1 else ""
    skip = "--skip-bad leaves the bad clips out" if not skip_bad and any(problem.row for problem in problems) else ""
    more = f"and {len(problems) - 1} more" if len(problems) > 1 else ""
    return f"{line} ({'; '.join(filter(None, (more, hint, skip)))})"


def fingerprint(clips: pd.DataFrame) -> str:
    """SHA-256 over the clips in the order of their names: name, patient, split, EF, ESV, EDV, fps, and the SHA-256 of the video."""
    told = clips.sort_values("name")[["name", "patient", "split", "ef", "esv", "edv", "fps", "sha256"]]
    rows = [[value.hex() if isinstance(value, float) else value for value in row] for row in told.itertuples(index=False, name=None)]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def save_cohort(cohort: Cohort, folder: Path) -> Path:
    """Keeps a cohort that was read in `folder`/cohort.parquet (the tables, no video), so that no later stage opens every video again; returns that path."""
    about = {"root": str(cohort.root.resolve()), "fingerprint": cohort.fingerprint, "skipped": cohort.skipped, "files": cohort.files}
    table = pa.Table.from_pandas(cohort.clips, preserve_index=False)
    path = folder / SAVED
    with atomic_file(path) as partial:
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, _METADATA: json.dumps(about).encode()}), partial)
    return path


def load_cohort(folder: Path) -> Cohort:
    """The cohort that `save_cohort` kept in `folder`. Raises InputError when there is none, or its folder is no longer there (`Cohort.check_unchanged` looks at its files)."""
    path = folder / SAVED
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[_METADATA])
        cohort = Cohort(Path(about["root"]), table.to_pandas()[CLIP_COLUMNS], about["fingerprint"], tuple(about["skipped"]), about["files"])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; start the study again with --cohort") from None
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a table of a cohort; start the study again with --cohort") from error
    if not cohort.root.is_dir():
        raise InputError(f"{cohort.root}: the cohort is no longer there; put it back, or start a study on the place where it is")
    return cohort


def write_filelist(folder: Path, clips: pd.DataFrame) -> None:
    """Writes FileList.csv as EchoNet-Dynamic has it (names without .avi, unknown ESV and EDV empty), from the columns of `Cohort.clips`; `patient` is not told."""
    header = ("FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split")
    columns = ["name", "ef", "esv", "edv", "height", "width", "fps", "frames", "split"]
    _write_csv(folder / FILELIST, header, clips[columns].itertuples(index=False, name=None))


def write_patients(folder: Path, clips: pd.DataFrame) -> None:
    """Writes patients.csv (FileName without .avi, Patient) from the columns `name` and `patient`."""
    _write_csv(folder / PATIENTS, ("FileName", "Patient"), clips[["name", "patient"]].itertuples(index=False, name=None))


def write_tracings(folder: Path, tracings: pd.DataFrame) -> None:
    """Writes VolumeTracings.csv as EchoNet-Dynamic has it (names with .avi) from the columns name, x1, y1, x2, y2 (pixels) and frame: per traced frame the long axis, then the chords from apex to base."""
    rows = ((f"{row.name}.avi", row.x1, row.y1, row.x2, row.y2, row.frame) for row in tracings[["name", "x1", "y1", "x2", "y2", "frame"]].itertuples(index=False))
    _write_csv(folder / TRACINGS, ("FileName", "X1", "Y1", "X2", "Y2", "Frame"), rows)


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple]) -> None:
    with atomic_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: object) -> str:
    """Numbers in their shortest exact form (50, 29.97); NaN and None empty."""
    return value if isinstance(value, str) else "" if pd.isna(value) else str(value).removesuffix(".0")
