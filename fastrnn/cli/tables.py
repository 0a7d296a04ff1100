"""CSV and TSV files as tables of cells, with errors that name file, line and column."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .arguments import note

TAB_ENDINGS = (".tsv", ".tab")
DELIMITERS = ",;\t|"
MISSING = ("", "NA", "N/A")  # what a cell without a measurement has


@dataclass(frozen=True)
class Table:
    """Cells of a file.

    Attributes
    ----------
    name : str
        Of the file.
    columns : tuple of str
        Their names, or "1", "2", ... where the file has no header.
    has_header : bool
    rows : list of lists of str
        All as long as ``columns``.
    lines : list of int
        The line of the file on which each row ends.
    """

    name: str
    columns: tuple[str, ...]
    has_header: bool
    rows: list[list[str]]
    lines: list[int]

    def index(self, column: str) -> int:
        """The place of a column; a ValueError where there is none of that name."""
        if column not in self.columns:
            raise ValueError(f"{self.name} has no column {column!r}: they are {', '.join(map(repr, self.columns))}")
        return self.columns.index(column)

    def column(self, k: int) -> list[str]:
        """The cells of a column."""
        return [row[k] for row in self.rows]

    def where(self, row: int, column: int) -> str:
        """A cell's place, for errors."""
        return f"{self.name}, line {self.lines[row]}, column {self.columns[column]!r}"

    def number(self, row: int, column: int) -> float:
        """A cell as a finite number; a ValueError that says where it is."""
        cell = self.rows[row][column]
        try:
            value = float(cell)
        except ValueError:
            raise ValueError(f"{self.where(row, column)}: must be a number, got {cell!r}") from None
        if not math.isfinite(value):
            raise ValueError(f"{self.where(row, column)}: must be a finite number, got {cell!r}")
        return value


def is_number(cell: str) -> bool:
    """Whether a cell holds a number, NaN and infinity among them."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def read_text(path: str, encoding: str | None = None) -> str:
    """The text of a file, or of stdin for "-": in UTF-8, or in Latin-1 where it is none, unless an encoding is given.

    Raises
    ------
    OSError
        It cannot be read.
    ValueError
        It is empty, or not in the encoding that was given.
    """
    data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    if not data.strip():
        raise ValueError(f"{shown(path)} must not be empty")
    try:
        return data.decode(encoding or "utf-8-sig")
    except LookupError:
        raise ValueError(f"--encoding must be one that Python knows, got {encoding!r}") from None
    except UnicodeDecodeError as error:
        if encoding is not None:
            raise ValueError(f"{shown(path)} must be text in {encoding}: {error}") from None
    note(f"note: {shown(path)} is not in UTF-8 and is read as Latin-1; --encoding says otherwise")
    return data.decode("latin-1")


def shown(path: str) -> str:
    """A file's name, as messages have it."""
    return "stdin" if path == "-" else path


def read_table(path: str, encoding: str | None = None) -> Table:
    """A file with a row per line; the first one is a header unless all of its cells are numbers.

    Cells are separated by tabs in .tsv files, else by what makes the most of the first line.

    Raises
    ------
    ValueError
        It is empty, or a line has another number of cells than the first.
    OSError
        It cannot be read.
    """
    text, name = read_text(path, encoding), shown(path)
    delimiter = "\t" if path.lower().endswith(TAB_ENDINGS) else _delimiter(text)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"{name}, line {reader.line_num}: must be CSV: {error}") from None
    has_header = not all(is_number(cell) for cell in rows[0])
    columns = tuple(rows[0]) if has_header else tuple(str(k + 1) for k in range(len(rows[0])))
    _check(name, columns, rows, lines)
    first = int(has_header)
    if len(rows) == first:
        raise ValueError(f"{name} must have rows, got a header only")
    return Table(name, columns, has_header, rows[first:], lines[first:])


def _delimiter(text: str) -> str:
    """The separator that splits the first line into the most cells; a comma where none does."""
    line = next(line for line in text.splitlines() if line.strip())
    return max(DELIMITERS, key=lambda delimiter: len(next(csv.reader([line], delimiter=delimiter))))


def _check(name: str, columns: Sequence[str], rows: list[list[str]], lines: list[int]) -> None:
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(columns):
            raise ValueError(f"{name}, line {line}: must have {len(columns)} cells, as the first line, got {len(row)}")
    if twice := [column for k, column in enumerate(columns) if column in columns[:k]]:
        raise ValueError(f"{name} must have columns of different names, got {twice[0]!r} twice")
