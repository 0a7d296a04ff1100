"""Polarity of sentences from film reviews: rt-polarity, with word vectors that begin at random.

Two files, one sentence per line, negative and positive. A tenth of the sentences, the same ones for every seed, is the
test set; all others are learned, for a fixed number of epochs::

    python -m bench.learn.sentiment rt-polarity.neg rt-polarity.pos

A convolutional network with random word vectors has 75.9 % in ten-fold cross-validation (Kim 2014, CNN-rand).

References
----------
Pang & Lee 2005, "Seeing stars: exploiting class relationships for sentiment categorization"; Kim 2014, "Convolutional
neural networks for sentence classification".
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastrnn import SequenceClassifier

from .trials import add_seeds, report

TEST = 0.1
BAR = 76.0  # %


def sentences(path: Path) -> list[str]:
    """Lines of a file, in Latin-1 as the data is; NEL within a line ends none.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "some.neg")
    ...     _ = path.write_bytes(b"dull .\\nso\\x85 dull .\\n")
    ...     [len(line) for line in sentences(path)]
    [6, 10]
    """
    return path.read_text(encoding="latin-1").rstrip("\n").split("\n")


def split(count: int) -> tuple[list[int], list[int]]:
    """Numbers of the sentences to train on and to test on.

    Examples
    --------
    >>> train, test = split(50)
    >>> len(train), len(test), sorted(train + test) == list(range(50))
    (45, 5, True)
    """
    order = np.random.default_rng(0).permutation(count).tolist()
    cut = int(TEST * count)
    return order[cut:], order[:cut]


def main(arguments: Sequence[str] | None = None) -> int:
    """1 where the median of the accuracy is below the bar."""
    parser = argparse.ArgumentParser(prog="python -m bench.learn.sentiment", description=__doc__.split("\n")[0])
    parser.add_argument("negative", type=Path)
    parser.add_argument("positive", type=Path)
    parser.add_argument("--cell", choices=("lstm", "gru", "rnn"), default="lstm")
    parser.add_argument("--epochs", type=int, default=5, help="passes over the sentences (5)")
    add_seeds(parser)
    chosen = parser.parse_args(arguments)
    negative, positive = sentences(chosen.negative), sentences(chosen.positive)
    texts, labels = negative + positive, np.repeat([0, 1], [len(negative), len(positive)])
    train, test = split(len(texts))
    scores = []
    for seed in chosen.seeds:
        began = time.perf_counter()
        model = SequenceClassifier(cell=chosen.cell, epochs=chosen.epochs, validation_fraction=0.0, random_state=seed)
        model.fit([texts[k] for k in train], labels[train])
        scores.append(100 * model.score([texts[k] for k in test], labels[test]))
        spent = time.perf_counter() - began
        print(f"seed {seed}: {scores[-1]:.2f} % after {len(model.history_.epochs)} epochs, {spent:.0f} s", flush=True)
    return int(report("test accuracy", scores, " %") < BAR)


if __name__ == "__main__":
    raise SystemExit(main())
