"""The CSV tables of a cohort, read as hostile text, and the one shape in which anything wrong with a cohort is said."""

import csv
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

from echosynth.errors import InputError

MAX_BYTES = 256 * 2**20  # the largest public VolumeTracings.csv is about 40 MB
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Problem(InputError):
    """One thing wrong with a cohort: where it is, what it is, and the remedy. Raised where one is enough to stop, collected where all are wanted.

    `row` is the row of FileList.csv (the header is row 1) that has to go if the clip is skipped; None when the cohort as a whole is at fault.
    """

    def __init__(self, where: str, what: str, remedy: str, row: int | None = None):
        super().__init__(f"{where}: {what}; {remedy}")
        self.where, self.what, self.remedy, self.row = where, what, remedy, row


@dataclass(frozen=True)
class Table:
    """Cells as stripped text. `rows` holds (row number, cells in the order of `columns`); `ragged` the numbers of rows with too few or too many cells."""

    file: str
    columns: tuple[str, ...]
    rows: list[tuple[int, list[str]]]
    ragged: list[tuple[int, int]]


def read_table(path: Path, required: tuple[str, ...]) -> Table:
    """Reads a CSV file: UTF-8 with or without a byte order mark, any line ending, blank lines passed over, extra columns kept.

    Raises Problem when it is missing, unreadable, over 256 MiB, not UTF-8, not CSV, empty, or lacks one of the `required` columns.
    """
    name = path.name
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Problem(name, f"larger than {MAX_BYTES // 2**20} MiB", "give the table of one cohort")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise Problem(name, f"not in {path.parent}", "give the folder that holds it beside Videos/") from None
    except OSError as error:
        raise Problem(name, f"cannot be read ({error.strerror})", "make it a readable file") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise Problem(f"{name} line {line}", "not UTF-8 text", "save it as CSV in UTF-8") from error
    columns: tuple[str, ...] = ()
    rows, ragged, number = [], [], 0
    try:
        for number, cells in enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), start=1):
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if not columns:
                columns = tuple(cells)
                _check_columns(name, columns, required)
            elif len(cells) != len(columns):
                ragged.append((number, len(cells)))
            else:
                rows.append((number, cells))
    except csv.Error as error:
        raise Problem(f"{name} row {number + 1}", f"not CSV ({error})", "save it as CSV with commas and matched quotes") from error
    if not columns:
        raise Problem(name, "empty", f"write the columns {','.join(required)} and one row a clip")
    return Table(name, columns, rows, ragged)


def _check_columns(name: str, columns: tuple[str, ...], required: tuple[str, ...]) -> None:
    missing = [column for column in required if column not in columns]
    if missing:
        raise Problem(f"{name} row 1", f"no column {', '.join(missing)}", f"the first row names the columns, with commas between: {','.join(required)}")
    twice = next((column for column in required if columns.count(column) > 1), None)
    if twice:
        raise Problem(f"{name} row 1", f"column {twice} twice", "keep one of them")


def number(text: str) -> float | None:
    """The finite decimal number that a cell holds, else None: stricter than `float`, which takes nan, inf and 1_000."""
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def clip_name(text: str) -> str | None:
    """The name of a clip, without `.avi` in any case; None when the text is no plain file name (a path, control characters, too long, nothing left)."""
    name = text[:-4] if text.lower().endswith(".avi") else text
    plain = name.isprintable() and not any(c in name for c in "/\\:") and name.strip(". ") and len(name.encode("utf-8", "replace")) <= 200
    return name if plain else None


def quote(text: str) -> str:
    """A cell as it may be shown in a message: one line, no control characters, no longer than 40 characters."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
