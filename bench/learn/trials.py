"""What the scripts share: seeds in, medians out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from statistics import median


def _seeds(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"must be integers such as 0,1,2, got {text!r}")
    return tuple(map(int, parts))


def add_seeds(parser: argparse.ArgumentParser, default: str = "0,1,2") -> None:
    """Give a parser the option ``--seeds``."""
    parser.add_argument("--seeds", type=_seeds, default=_seeds(default), help=f"one run for each ({default})")


def report(name: str, values: Sequence[float], unit: str = "") -> float:
    """Print the median of the runs and all of them; the median.

    Examples
    --------
    >>> report("test accuracy", [97.5, 98.0, 96.0], " %")
    test accuracy: median 97.5 % of 97.5, 98, 96
    97.5
    """
    middle = median(values)
    print(f"{name}: median {middle:.4g}{unit} of {', '.join(f'{value:.4g}' for value in values)}", flush=True)
    return middle
