"""``fastrnn demo``."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import add_command, count, positive, size

_DESCRIPTION = """\
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


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = add_command(
        commands,
        "demo",
        help="train a language model on real text in about a minute",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
    )
    parser.add_argument("--text", metavar="FILE", help="text to learn, UTF-8 (default: Python's reference manual)")
    parser.add_argument("--cell", choices=("rnn", "lstm", "gru"), default="lstm", help="default: %(default)s")
    parser.add_argument("--hidden", type=size, default=256, metavar="H", help="units of a layer (default: %(default)s)")
    parser.add_argument("--layers", type=size, default=1, metavar="L", help="recurrent layers (default: %(default)s)")
    parser.add_argument("--seconds", type=positive, default=60.0, metavar="S", help="about how long (default: 60)")
    parser.add_argument("--updates", type=size, metavar="K", help="make exactly K updates, whatever --seconds says")
    parser.add_argument("--seed", type=count, default=0, metavar="S", help="default: %(default)s")
    parser.add_argument("--backend", choices=("auto", "cython", "numpy"), help="default: the one that info names")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo."""
    from .. import demo
    from ..backend import get_backend, use_backend

    settings = demo.Settings(
        text=arguments.text,
        cell=arguments.cell,
        hidden=arguments.hidden,
        layers=arguments.layers,
        seconds=arguments.seconds,
        updates=arguments.updates,
        seed=arguments.seed,
    )
    with use_backend(arguments.backend or get_backend()):
        demo.run(settings)
    return 0
