"""Arguments that several commands have, checked before any work is done."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def size(text: str) -> int:
    """An integer of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
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


def check_writable(path: str | None) -> None:
    """Raise an OSError, before any training, where a result could not be written; None and "-" are fine."""
    if path is None or path == "-":
        return
    if os.path.isdir(path):
        raise IsADirectoryError(f"cannot write to {path!r}: it is a folder")
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"cannot write to {path!r}: there is no folder {str(folder)!r}")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"cannot write to {path!r}: its folder may not be written to")


def note(text: str) -> None:
    """A remark, on stderr."""
    print(f"fastrnn {text}" if text else "", file=sys.stderr, flush=True)
