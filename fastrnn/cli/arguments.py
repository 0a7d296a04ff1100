"""Arguments that several commands have, checked before any work is done."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

from .. import files

LARGEST = 2**31 - 1  # more than any number of things can be


def size(text: str) -> int:
    """An integer of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    if value > LARGEST:
        raise argparse.ArgumentTypeError(f"must be at most {LARGEST}, got {text!r}")
    return value


def count(text: str) -> int:
    """An integer of at least 0."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be an integer of at least 0, got {text!r}")
    return int(text)


def positive(text: str) -> float:
    """A finite number above 0."""
    value = _number(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def not_negative(text: str) -> float:
    """A finite number of at least 0."""
    value = _number(text)
    if not (value >= 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, got {text!r}")
    return value


def share(text: str) -> float:
    """A number in [0, 1)."""
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to below 1, got {text!r}")
    return value


def probability(text: str) -> float:
    """A number in (0, 1]."""
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and up to 1, got {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def add_command(commands: Any, name: str, **texts: Any) -> argparse.ArgumentParser:
    """A command whose description and examples keep their lines."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **texts
    )
    return parser


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """``--quiet``: no bar."""
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def given(arguments: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Those of the arguments that were given: the model's own defaults stay where none was."""
    found = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def check_outputs(
    outputs: Mapping[str, str | None], sources: Iterable[str | None] = (), streams: Collection[str] = ()
) -> None:
    """Raise, before any work, where a result could not be written or would take the place of another file.

    Parameters
    ----------
    outputs : dict
        Option -> the file it names, or None.
    sources : iterable of str or None
        Files that are read.
    streams : collection of str
        Those of the options whose results may go to stdout, "-", and to pipes and devices.

    Raises
    ------
    ValueError
        The file is a source or that of another option, or not one that a result may go to.
    OSError
        The file cannot be written.
    """
    taken = {os.path.realpath(source) for source in sources if source is not None}
    for option, path in outputs.items():
        if path is None or (option in streams and (path == "-" or files.is_stream(path))):
            continue
        if path in ("", "-") or files.is_stream(path):
            raise ValueError(f"{option} must be the name of a file, got {path!r}")
        files.check_writable(path)
        place = os.path.realpath(path)
        if place in taken:
            raise ValueError(f"{option} must not be a file that is read or written otherwise, got {path!r}")
        taken.add(place)


def read_stdin() -> bytes:
    """All of stdin; a ValueError where it is closed."""
    if sys.stdin is None:
        raise ValueError("stdin must be open, it is closed")
    return sys.stdin.buffer.read()


def read_stdin_text() -> str:
    """The text of stdin, as that of a file in UTF-8: without a byte order mark, a line feed at the end of each line."""
    try:
        text = read_stdin().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"stdin must be text in UTF-8: {error}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def note(text: str) -> None:
    """A remark, on stderr, where it can be written to."""
    with suppress(OSError):
        print(f"fastrnn {text}" if text else "", file=sys.stderr, flush=True)
