"""CSV and TSV files as tables of cells, with errors that name file, line and column."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from .arguments import LARGEST, note, read_stdin

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
            wanted = "a number without commas" if _has_commas(cell) else "a number"
            raise ValueError(f"{self.where(row, column)}: must be {wanted}, got {cell!r}") from None
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


def _has_commas(cell: str) -> bool:
    """Whether a cell holds a number with commas, before its decimals or between thousands."""
    return "," in cell and is_number(cell.replace(",", ""))


def read_text(path: str, encoding: str | None = None) -> str:
    """The text of a file, or of stdin for "-": in UTF-8, or in Latin-1 where it is none, unless an encoding is given.

    Raises
    ------
    OSError
        It cannot be read.
    ValueError
        It is empty, or not in the encoding that was given.
    """
    data = read_stdin() if path == "-" else Path(path).read_bytes()
    text = _decoded(data, path, encoding).removeprefix("\ufeff")
    if not text.strip():
        raise ValueError(f"{shown(path)} must not be empty")
    return text


def _decoded(data: bytes, path: str, encoding: str | None) -> str:
    try:
        return data.decode(encoding or "utf-8")
    except LookupError:
        raise ValueError(f"--encoding must be one that Python knows, got {encoding!r}") from None
    except UnicodeError as error:
        if encoding is not None:
            raise ValueError(f"{shown(path)} must be text in {encoding}: {error}") from None
    note(f"note: {shown(path)} is not in UTF-8 and is read as Latin-1; --encoding says otherwise")
    return data.decode("latin-1")


def shown(path: str) -> str:
    """A file's name, as messages have it."""
    return "stdin" if path == "-" else path


def read_table(path: str, encoding: str | None = None) -> Table:
    """A file with a row per line; the first one is a header unless all of its cells are numbers.

    Cells are separated by tabs in .tsv files, else by what makes the most of the first line; numbers of it above all,
    also those with a decimal comma.

    Raises
    ------
    ValueError
        It is empty or no CSV, or a line has another number of cells than the first.
    OSError
        It cannot be read.
    """
    text, name = read_text(path, encoding), shown(path)
    with _cells_as_long_as(len(text)):
        delimiter = "\t" if path.lower().endswith(TAB_ENDINGS) else _delimiter(name, text)
        found = [(line, row) for line, row in _parsed(name, _lines(text), delimiter) if any(row)]
    if not found:
        raise ValueError(f"{name} must have rows, got empty cells only")
    lines, rows = [line for line, _ in found], [row for _, row in found]
    has_header = not all(is_number(cell) for cell in rows[0])
    columns = tuple(rows[0]) if has_header else tuple(str(k + 1) for k in range(len(rows[0])))
    _check(name, columns, rows, lines)
    first = int(has_header)
    if len(rows) == first:
        raise ValueError(f"{name} must have rows, got a header only")
    return Table(name, columns, has_header, rows[first:], lines[first:])


def write_table(path: str, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows of cells as CSV to a file, or to stdout for "-".

    All are made before anything is written, and a file that was there is lost for a whole new one only.
    """
    made = io.StringIO(newline="")
    csv.writer(made, lineterminator="\n").writerows(rows)
    if path == "-":
        sys.stdout.write(made.getvalue())
    elif files.is_stream(path):
        Path(path).write_text(made.getvalue(), encoding="utf-8", newline="")
    else:
        with files.replacing(path) as temporary:
            temporary.write_text(made.getvalue(), encoding="utf-8", newline="")


def _lines(text: str) -> Iterator[str]:
    """Lines with their ends, which are line feeds and carriage returns only: other separators belong to cells."""
    return io.StringIO(text, newline="")


def _delimiter(name: str, text: str) -> str:
    """The separator that splits the first line into the most cells, into numbers alone if one does; else a comma."""
    line = next(line for line in _lines(text) if line.strip())

    def merit(delimiter: str) -> tuple[bool, int]:
        cells = next(_parsed(name, [line], delimiter, strict=False))[1]
        return all(is_number(cell) or _has_commas(cell) for cell in cells), len(cells)

    return max(DELIMITERS, key=merit)


def _parsed(name: str, lines: Iterable[str], delimiter: str, *, strict: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Every row's last line and cells, without the blanks around them; a ValueError where it is no CSV."""
    reader = csv.reader(lines, delimiter=delimiter, strict=strict)
    try:
        for row in reader:
            yield reader.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        raise ValueError(f"{name}, line {reader.line_num}: must be CSV: {error}") from None


@contextmanager
def _cells_as_long_as(length: int) -> Iterator[None]:
    """Let the csv module, which has a limit for the whole process, read cells of so many characters."""
    before = csv.field_size_limit()
    csv.field_size_limit(max(before, min(length, LARGEST)))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _check(name: str, columns: Sequence[str], rows: list[list[str]], lines: list[int]) -> None:
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(columns):
            raise ValueError(f"{name}, line {line}: must have {len(columns)} cells, as the first line, got {len(row)}")
    if twice := [column for column, count in Counter(columns).items() if count > 1]:
        raise ValueError(f"{name} must have columns of different names, got {twice[0]!r} twice")
