"""The CSV tables of a cohort, read as hostile text, and the one shape in which anything wrong with a cohort is said."""

import codecs
import csv
import io
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from echosynth.errors import InputError
from echosynth.files import open_regular

MAX_BYTES = 256 * 2**20  # the largest public VolumeTracings.csv is about 40 MB, of 2.6 million cells
MAX_COLUMNS, MAX_ROWS, MAX_CELLS, MAX_RAGGED = 1_000, 2_000_000, 10_000_000, 10_000
MAX_ROW = 4 * 2**20  # characters
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Problem(InputError):
    """One thing wrong with a cohort: where it is, what it is, and the remedy. Raised where one is enough to stop,
    collected where all are wanted.

    `row` is the row of FileList.csv (the header is row 1) that has to go if the clip is skipped; None when the cohort
    as a whole is at fault.
    """

    def __init__(self, where: str, what: str, remedy: str, row: int | None = None):
        super().__init__(f"{where}: {what}; {remedy}")
        self.where, self.what, self.remedy, self.row = where, what, remedy, row


@dataclass(frozen=True)
class Table:
    """Cells as stripped text.

    `rows` holds (row number, cells in the order of `columns`); `ragged` the numbers of rows with too few or too many
    cells.
    """

    file: str
    columns: tuple[str, ...]
    rows: list[tuple[int, list[str]]]
    ragged: list[tuple[int, int]]


def read_table(path: Path, required: tuple[str, ...]) -> Table:
    """Reads a CSV file: UTF-8 with or without a byte order mark, any line ending, blank lines passed over, extra
    columns kept.

    Raises Problem when it is missing, unreadable, not a regular file, over 256 MiB, not UTF-8, not CSV, empty, has more
    rows or cells than any table of a cohort, or lacks one of the `required` columns.
    """
    name = path.name
    columns: tuple[str, ...] = ()
    rows, ragged, count, number = [], [], 0, 0

    def lines(text: TextIO) -> Iterator[str]:
        """Those of the file, while the row that they belong to is of a size that rows have."""
        size, row = 0, number
        while line := text.readline(MAX_ROW + 1):
            size, row = len(line) + (size if row == number else 0), number
            if size > MAX_ROW:
                raise Problem(
                    f"{name} row {number + 1}",
                    f"more than {MAX_ROW:,} characters",
                    "save it as CSV with one row a line",
                )
            yield line

    try:
        with _opened(path) as text:
            for number, cells in enumerate(csv.reader(lines(text), strict=True), start=1):
                count += len(cells)
                if len(cells) > MAX_COLUMNS or count > MAX_CELLS or number > MAX_ROWS or len(ragged) > MAX_RAGGED:
                    _too_much(name, number, len(cells), len(ragged))
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
        raise Problem(
            f"{name} row {number + 1}", f"not CSV ({error})", "save it as CSV with commas and matched quotes"
        ) from error
    if not columns:
        raise Problem(name, "empty", f"write the columns {','.join(required)} and one row a clip")
    return Table(name, columns, rows, ragged)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """The text of a table as it is read, never all of it at once."""
    name = path.name
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise Problem(name, f"larger than {MAX_BYTES // 2**20} MiB", "give the table of one cohort")
            yield io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    except FileNotFoundError:
        raise Problem(name, f"not in {path.parent}", "give the folder that holds it beside Videos/") from None
    except UnicodeDecodeError as error:
        raise Problem(f"{name} line {_undecodable(path)}", "not UTF-8 text", "save it as CSV in UTF-8") from error
    except OSError as error:
        raise Problem(name, f"cannot be read ({error.strerror})", "make it a readable file") from error
    except Problem:
        raise
    except InputError as error:
        raise Problem(name, "not a regular file", "put the table itself there") from error


def _undecodable(path: Path) -> int:
    """The number of the first line that is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open_regular(path, MAX_BYTES) as file:
        for number, line in enumerate(file, start=1):
            try:
                decoder.decode(line)
            except UnicodeDecodeError:
                return number
    return number


def _too_much(name: str, row: int, cells: int, ragged: int) -> None:
    """Raises Problem with the limit that a table exceeds."""
    if cells > MAX_COLUMNS:
        raise Problem(
            f"{name} row {row}",
            f"{cells:,} cells, at most {MAX_COLUMNS:,} are read",
            "save it as CSV with one row a line",
        )
    if ragged > MAX_RAGGED:
        raise Problem(name, f"more than {MAX_RAGGED:,} rows with too few or too many cells", "fill or quote the cells")
    raise Problem(name, f"more than {MAX_ROWS:,} rows or {MAX_CELLS:,} cells", "give the table of one cohort")


def _check_columns(name: str, columns: tuple[str, ...], required: tuple[str, ...]) -> None:
    missing = [column for column in required if column not in columns]
    if missing:
        raise Problem(
            f"{name} row 1",
            f"no column {', '.join(missing)}",
            f"the first row names the columns, with commas between: {','.join(required)}",
        )
    twice = next((column for column in required if columns.count(column) > 1), None)
    if twice:
        raise Problem(f"{name} row 1", f"column {twice} twice", "keep one of them")


def number(text: str) -> float | None:
    """The finite decimal number that a cell holds, else None: stricter than `float`, which takes nan, inf and 1_000."""
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def clip_name(text: str) -> str | None:
    """The name of a clip, without `.avi` in any case; None when the text is no plain file name (a path, control
    characters, too long, nothing left).
    """
    name = text[:-4] if text.lower().endswith(".avi") else text
    plain = (
        name.isprintable()
        and not any(c in name for c in "/\\:")
        and name.strip(". ")
        and len(name.encode("utf-8", "replace")) <= 200
    )
    return name if plain else None


def quote(text: str) -> str:
    """A cell as it may be shown in a message: one line, no control characters, no longer than 40 characters."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
