"""How many characters a second a whole training goes through, beside PyTorch: forward, loss, backward, clip, update.

The language model of `shakespeare`, without dropout, on a text file; batches of 32 rows, windows of 64 characters. The
two libraries take turns, a few dozen updates each, on the same windows; what counts is the median of the ratios round
by round::

    python -m bench.learn.throughput tinyshakespeare.txt --cell lstm
    python -m bench.learn.throughput tinyshakespeare.txt --cell gru
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import fastrnn

from .shakespeare import CELLS, Array, Recipe, Trainer, endless, make_trainer, read

Window = tuple[Array, Array, bool]


def speed(trainer: Trainer, windows: Sequence[Window], lr: float) -> float:
    """Characters a second while training on these windows."""
    began = time.perf_counter()
    for window in windows:
        trainer.update(*window, lr)
    return sum(x.size for x, _, _ in windows) / (time.perf_counter() - began)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="a text file, UTF-8")
    parser.add_argument("--cell", choices=list(CELLS), default="lstm")
    parser.add_argument("--hidden", type=int, default=256, help="units (256)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--updates", type=int, default=40, help="of each library in a round (40)")
    options = parser.parse_args(argv)
    recipe, corpus = Recipe(options.cell, options.hidden, embedding=64, rows=32, steps=64), read(options.text)
    trainers = {name: make_trainer(name, recipe, corpus.size, 0) for name in ("fastrnn", "torch")}
    text = endless(corpus.train, recipe, 0)
    for window in [next(text) for _ in range(3)]:  # warms up
        for trainer in trainers.values():
            trainer.update(*window, recipe.lr)
    speeds: dict[str, list[float]] = {name: [] for name in trainers}
    for _ in range(options.rounds):
        windows = [next(text) for _ in range(options.updates)]
        for name, trainer in trainers.items():
            speeds[name].append(speed(trainer, windows, recipe.lr))
    print(f"{options.cell} {options.hidden}, {recipe.rows} x {recipe.steps}, {fastrnn.get_num_threads()} threads")
    for name, found in speeds.items():
        print(f"  {name}: {median(found):,.0f} characters/s ({min(found):,.0f} to {max(found):,.0f})")
    ratios = [ours / theirs for ours, theirs in zip(speeds["fastrnn"], speeds["torch"], strict=True)]
    print(f"fastrnn over torch: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
