"""Sequences and their labels from files: a table with a column of labels, or one file of lines per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .arguments import note
from .tables import MISSING, TAB_ENDINGS, Table, is_number, read_table, read_text, shown

Array = np.ndarray

TABLE_ENDINGS = (".csv", *TAB_ENDINGS)
LABEL_NAMES = ("label", "class", "target", "category", "sentiment")  # of a column that needs no --label
TEXT_NAMES = ("text", "sentence", "review", "message", "comment", "phrase", "title")


@dataclass(frozen=True)
class Labelled:
    """Sequences.

    Attributes
    ----------
    X : list
        Texts, or arrays (T_n,) of numbers.
    labels : list of str, or None
    places : list of str
        File and line of each one.
    label, text : str or None
        Names of the columns that they are from, where a table has a header.
    """

    X: list[Any]
    labels: list[str] | None
    places: list[tuple[str, int]]
    label: str | None = None
    text: str | None = None

    @property
    def holds_text(self) -> bool:
        return isinstance(self.X[0], str)

    @property
    def width(self) -> int:
        """Columns of a table: of numbers, with as many in each row; 0 where X is none."""
        lengths = set() if self.holds_text else {len(row) for row in self.X}
        return lengths.pop() if len(lengths) == 1 else 0

    @property
    def data(self) -> list[Any] | Array:
        """X, as a table (N, T) where it is one."""
        return np.stack(self.X) if self.width else self.X

    def take(self, rows: Array) -> Labelled:
        """Some of them."""
        labels = None if self.labels is None else [self.labels[k] for k in rows]
        X, places = [self.X[k] for k in rows], [self.places[k] for k in rows]
        return replace(self, X=X, labels=labels, places=places)


def is_table(path: str) -> bool:
    """Whether a file's name says that it has columns."""
    return path.lower().endswith(TABLE_ENDINGS)


def read_labelled(paths: Sequence[str], label: str | None, text: str | None, encoding: str | None) -> Labelled:
    """What to learn from: one table with labels, or a file of lines for each class, named by what differs.

    Raises
    ------
    ValueError
        Neither of the two; a cell or line that is wrong, with its place.
    OSError
        A file cannot be read.
    """
    if label is not None or text is not None or paths == ["-"] or any(map(is_table, paths)):
        if len(paths) > 1:
            raise ValueError(f"one table is read at a time, got {len(paths)} files")
        table = read_table(paths[0], encoding)
        return _from_table(table, _label_column(table, label, required=True), text)
    if len(paths) == 1:
        raise ValueError(
            f"{paths[0]} has no labels: give a table with a column of them (.csv or .tsv), or a file for each class"
        )
    X, labels, places = [], [], []
    for name, path in zip(class_names(paths), paths, strict=True):
        lines = _lines(path, encoding)
        X += [line for _, line in lines]
        labels += [name] * len(lines)
        places += [(path, number) for number, _ in lines]
    return Labelled(X, labels, places)


def read_unlabelled(path: str, label: str | None, text: str | None, encoding: str | None, *, texts: bool) -> Labelled:
    """What to predict for: a table, whose labels are read if it has them, or a text for each line.

    ``texts`` says what the model knows, texts or numbers.
    """
    if texts and label is None and text is None and not is_table(path):
        lines = _lines(path, encoding)
        return Labelled([line for _, line in lines], None, [(shown(path), number) for number, _ in lines])
    table = read_table(path, encoding)
    found = _from_table(table, _label_column(table, label, required=False), text)
    if found.holds_text != texts:
        wanted, got = ("texts", "numbers") if texts else ("numbers", "texts")
        raise ValueError(f"the model was trained on {wanted}, {table.name} has {got}")
    return found


def class_names(paths: Sequence[str]) -> list[str]:
    """What the files' names differ in: the name without its ending, the ending, or the folder.

    Examples
    --------
    >>> from fastrnn.cli.labelled import class_names
    >>> class_names(["films.neg", "films.pos"]), class_names(["good.txt", "bad.txt"])
    (['neg', 'pos'], ['good', 'bad'])
    """
    files = [Path(path) for path in paths]
    for names in (
        [file.stem for file in files],
        [file.suffix.removeprefix(".") for file in files],
        [file.parent.name for file in files],
    ):
        if all(names) and len(set(names)) == len(names):
            return names
    raise ValueError(f"the files of the classes must have different names, got {', '.join(paths)}")


def _lines(path: str, encoding: str | None) -> list[tuple[int, str]]:
    """Number and text of the lines that have one; only line feeds end lines."""
    lines = read_text(path, encoding).replace("\r\n", "\n").split("\n")
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def _label_column(table: Table, wanted: str | None, *, required: bool) -> int | None:
    """The place of the labels: the column that was named, one with a name that says so, else the first of a table
    without a header, the last of one with."""
    if wanted is not None:
        return table.index(wanted)
    for k, column in enumerate(table.columns):
        if column.lower() in LABEL_NAMES:
            return k
    if not required:
        return None
    place, found = ("last", len(table.columns) - 1) if table.has_header else ("first", 0)
    name = table.columns[found]
    if any(is_number(cell) and not float(cell).is_integer() for cell in table.column(found)):
        where = f"the {place}, {name!r}, has numbers that are no integers"
        raise ValueError(f"{table.name} must have a column of labels, {where}: --label says which one it is")
    note(f"note: labels are those of column {name!r} of {table.name}, the {place}; --label names another")
    return found


def _from_table(table: Table, label: int | None, text: str | None) -> Labelled:
    others = [k for k in range(len(table.columns)) if k != label]
    if not others:
        raise ValueError(f"{table.name} must have labels and texts or numbers to learn from, got one column")
    column = _text_column(table, others, text)
    if column == label and label is not None:
        raise ValueError(f"--text must not be the column of the labels, {table.columns[label]!r}")
    places = [(table.name, line) for line in table.lines]
    labels = None if label is None else [_label(table, row, label) for row in range(len(table.rows))]
    names = [None if k is None or not table.has_header else table.columns[k] for k in (label, column)]
    if column is not None:
        return Labelled(table.column(column), labels, places, *names)
    return Labelled([_numbers(table, row, others) for row in range(len(table.rows))], labels, places, *names)


def _text_column(table: Table, others: list[int], wanted: str | None) -> int | None:
    """The place of the text; None where the columns hold numbers."""
    if wanted is not None:
        return table.index(wanted)
    words = [k for k in others if not all(is_number(cell) or cell in MISSING for cell in table.column(k))]
    if len(words) <= 1:
        # a stray word in one of many columns is a mistake in numbers
        return words[0] if words and (len(others) == 1 or not _mostly_numbers(table.column(words[0]))) else None
    named = [k for k in words if table.columns[k].lower() in TEXT_NAMES]
    if len(named) != 1:
        names = ", ".join(repr(table.columns[k]) for k in words)
        raise ValueError(f"{table.name} has several columns with text, {names}: --text says which one to read")
    return named[0]


def _mostly_numbers(cells: list[str]) -> bool:
    return 2 * sum(map(is_number, cells)) > len(cells)


def _label(table: Table, row: int, column: int) -> str:
    label = table.rows[row][column]
    if not label:
        raise ValueError(f"{table.where(row, column)}: must be a label, the cell is empty")
    return label


def _numbers(table: Table, row: int, columns: list[int]) -> Array:
    """The numbers of a row, one per step; empty cells at its end are not there."""
    count = len(columns)
    while count and table.rows[row][columns[count - 1]] in MISSING:
        count -= 1
    if not count:
        raise ValueError(f"{table.name}, line {table.lines[row]}: must have numbers, got none")
    return np.array([table.number(row, column) for column in columns[:count]])
