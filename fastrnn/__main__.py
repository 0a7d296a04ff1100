"""The command line: ``python -m fastrnn info`` and ``python -m fastrnn demo``."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

_DEMO = """\
Train a character-level language model and print its held-out bits per character beside those of unigrams and
trigrams, and a sample. Results go to stdout, progress and timings to stderr; the same arguments on the same backend
give the same results, for the number of updates follows from --seconds by a cost model, not by the clock.
"""
_EXAMPLES = """\
examples:
  fastrnn demo                                      an LSTM on Python's own manual, about a minute on one core
  fastrnn demo --text novel.txt --seconds 300       your own text (UTF-8), a longer run
  fastrnn demo --cell gru --hidden 128 --layers 2   another model
  fastrnn demo --updates 20 --backend numpy         a short look at the reference backend
"""


def _size(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return value


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be an integer of at least 0, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastrnn", description="The fastest recurrent layers that run on a CPU.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("info", help="what fastrnn runs on here: backend, BLAS, threads, versions")
    demo = commands.add_parser(
        "demo",
        help="train a language model on real text in about a minute",
        description=_DEMO,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument("--text", metavar="FILE", help="text to learn, UTF-8 (default: Python's reference manual)")
    demo.add_argument("--cell", choices=("rnn", "lstm", "gru"), default="lstm", help="default: %(default)s")
    demo.add_argument("--hidden", type=_size, default=256, metavar="H", help="units of a layer (default: %(default)s)")
    demo.add_argument("--layers", type=_size, default=1, metavar="L", help="recurrent layers (default: %(default)s)")
    demo.add_argument("--seconds", type=_seconds, default=60.0, metavar="S", help="about how long (default: 60)")
    demo.add_argument("--updates", type=_size, metavar="K", help="make exactly K updates, whatever --seconds says")
    demo.add_argument("--seed", type=_seed, default=0, metavar="S", help="default: %(default)s")
    demo.add_argument("--backend", choices=("auto", "cython", "numpy"), help="default: the one that info names")
    return parser


def _demo(arguments: argparse.Namespace) -> int:
    from . import demo
    from .backend import get_backend, use_backend

    settings = demo.Settings(
        text=arguments.text,
        cell=arguments.cell,
        hidden=arguments.hidden,
        layers=arguments.layers,
        seconds=arguments.seconds,
        updates=arguments.updates,
        seed=arguments.seed,
    )
    try:
        with use_backend(arguments.backend or get_backend()):
            demo.run(settings)
    except (demo.TextError, ImportError) as error:
        print(f"fastrnn demo: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"fastrnn demo: {error}", file=sys.stderr)
        return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0, 1 when training diverged, 2 for bad input, 130 when interrupted."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "demo":
            return _demo(arguments)
        from .backend import show_config

        show_config()
        return 0
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
