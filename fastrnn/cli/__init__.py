"""The command line: ``fastrnn`` and ``python -m fastrnn``.

A module per command: it says what the arguments are, reads the files, calls a model, and prints. Results go to stdout,
progress and remarks to stderr.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from . import classify, demo, forecast, generate, train_lm
from .arguments import note

_EXAMPLES = """\
examples:
  fastrnn info                                             what it runs on here
  fastrnn demo                                             a language model in about a minute
  fastrnn train-lm novel.txt -o novel.safetensors          learn to write like a text ...
  fastrnn generate novel.safetensors --prompt "It was "    ... and write
  fastrnn forecast sales.csv --plot sales.png              where a time series goes, and how sure that is
  fastrnn classify reviews.csv --label stars               learn to label texts or sequences of numbers

fastrnn COMMAND --help has examples of each.

exit codes: 0; 1 when a training diverged; 2 for bad input; 130 when stopped by Ctrl-C.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastrnn",
        description="The fastest recurrent layers that run on a CPU.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    info = commands.add_parser("info", help="what fastrnn runs on here: backend, BLAS, threads, versions")
    info.set_defaults(run=_info)
    for module in (demo, train_lm, generate, forecast, classify):
        module.add(commands)
    return parser


def _info(arguments: argparse.Namespace) -> int:
    from ..backend import show_config

    show_config()
    return 0


def _show_warning(message: Any, *_: Any) -> None:
    note(f"warning: {message}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0, 1 when training diverged, 2 for bad input, 130 when interrupted."""
    _prepare_streams()
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            code = int(arguments.run(arguments))
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _without_reader()
    except FloatingPointError as error:
        note(f"{arguments.command}: {error}")
        return 1
    except OSError as error:
        named = error.filename is not None and error.strerror is not None
        note(f"{arguments.command}: {f'{error.filename!r}: {error.strerror}' if named else error}")
        return 2
    except MemoryError as error:
        note(f"{arguments.command}: there is not enough memory{f': {error}' if str(error) else ''}")
        return 2
    except (ValueError, ImportError) as error:
        note(f"{arguments.command}: {error}")
        return 2


def _prepare_streams() -> None:
    """Let stdout replace what its encoding does not have; what goes to a closed stdout or stderr is lost."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _without_reader() -> int:
    """What a program that writes into ``| head`` is to do: say nothing more, not even when Python ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
