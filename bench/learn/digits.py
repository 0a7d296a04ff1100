"""Handwritten digits of 8x8 pixels, read row by row: 8 steps of 8 numbers.

Two LSTMs, one from the top and one from the bottom of each image; what they have reached at their ends is classified.
A fifth of scikit-learn's digits, the same in every run, is for testing alone; the seed decides first weights, the order
of training and dropout. The weights after the last epoch are tested, whatever they are::

    python -m bench.learn.digits

References
----------
Alpaydin & Kaynak 1998, "Optical recognition of handwritten digits", UCI machine learning repository, the test part.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import fastrnn
from fastrnn import LSTM, Bidirectional, Dense, Dropout, LastStep, Sequential
from fastrnn.losses import Accuracy, SoftmaxCrossEntropy
from fastrnn.optim import AdamW
from fastrnn.schedules import Cosine
from fastrnn.training import evaluate

from .trials import add_seeds, report

Array = np.ndarray

TEST_SHARE = 0.2
SPLIT_SEED = 0
CLASSES = 10


class Digits(NamedTuple):
    """Images (N, 8, 8) in 0..1 and their digits (N,)."""

    x: Array
    y: Array


def load() -> tuple[Digits, Digits]:
    """For training, and for testing; the classes have equal shares of both."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = (digits.images / 16).astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(
        x, digits.target, test_size=TEST_SHARE, random_state=SPLIT_SEED, stratify=digits.target
    )
    return Digits(x_train, y_train), Digits(x_test, y_test)


def make_model(features: int, hidden: int, dropout: float, seed: int) -> Sequential:
    rng = np.random.default_rng(seed)
    return Sequential(
        [
            Bidirectional(LSTM(features, hidden, seed=rng), seed=rng),
            LastStep(2 * hidden, reverse_size=hidden),
            Dropout(dropout),
            Dense(2 * hidden, CLASSES, seed=rng),
        ]
    )


def learn(train: Digits, test: Digits, *, hidden: int, dropout: float, epochs: int, lr: float, seed: int) -> float:
    """Train a model: its accuracy on the test images."""
    model = make_model(train.x.shape[2], hidden, dropout, seed)
    size = 32
    fastrnn.fit(
        model,
        SoftmaxCrossEntropy(),
        AdamW(lr, weight_decay=0.05),
        (train.x, train.y),
        epochs=epochs,
        batch_size=size,
        clip_norm=1.0,
        schedule=Cosine(lr, epochs * -(-len(train.x) // size)),
        progress=False,
        seed=seed,
    )
    return evaluate(model, {"accuracy": Accuracy()}, [(test.x, test.y)])["accuracy"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=96, help="units of each direction (96)")
    parser.add_argument("--dropout", type=float, default=0.3, help="of what is classified (0.3)")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--lr", type=float, default=5e-3, help="AdamW's first learning rate (0.005)")
    add_seeds(parser)
    options = parser.parse_args(argv)
    train, test = load()
    print(f"digits row by row, {len(train.x)} to train on, {len(test.x)} to test, bidirectional LSTM {options.hidden}")
    found = []
    for seed in options.seeds:
        began = time.perf_counter()
        settings = {name: getattr(options, name) for name in ("hidden", "dropout", "epochs", "lr")}
        found.append(100 * learn(train, test, **settings, seed=seed))
        print(f"  seed {seed}: test accuracy {found[-1]:.2f} % after {time.perf_counter() - began:.1f} s", flush=True)
    report("test accuracy", found, " %")


if __name__ == "__main__":
    main()
