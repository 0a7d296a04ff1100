"""The adding problem: what is the sum of the two marked numbers among a hundred?

Each sequence has T steps of two features: a number, uniform in 0..1, and a mark, which is 1 at one step of the first
half and one of the second, else 0. The target is the sum of the two marked numbers. Who always answers 1 has a mean
squared error of 1/6. Every batch is new, and so is the test set::

    python -m bench.learn.adding --cell lstm
    python -m bench.learn.adding --cell gru

References
----------
Hochreiter & Schmidhuber 1997, "Long short-term memory", experiment 4; in this form: Le, Jaitly & Hinton 2015.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

import fastrnn
from fastrnn import GRU, LSTM, Callback, Dense, LastStep, Sequential, StopAfter
from fastrnn.losses import MeanSquaredError
from fastrnn.optim import Adam
from fastrnn.schedules import Cosine
from fastrnn.training import evaluate

from .trials import add_seeds, report

Array = np.ndarray

CELLS = {"lstm": LSTM, "gru": GRU}
LEARNT = 1e-3
ROWS = 64
UPDATES_PER_EPOCH = 100
TEST_ROWS = 10_000


def examples(N: int, T: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """N sequences (N, T, 2) and their targets (N, 1).

    Examples
    --------
    >>> x, y = examples(3, 10, np.random.default_rng(0))
    >>> x.shape, x[:, :, 1].sum(axis=1).tolist(), bool(np.allclose((x[:, :, 0] * x[:, :, 1]).sum(axis=1), y[:, 0]))
    ((3, 10, 2), [2.0, 2.0, 2.0], True)
    """
    x = np.zeros((N, T, 2), np.float32)
    x[:, :, 0] = rng.random((N, T), np.float32)
    rows, half = np.arange(N), T // 2
    for marked in (rng.integers(0, half, N), rng.integers(half, T, N)):
        x[rows, marked, 1] = 1
    return x, (x[:, :, 0] * x[:, :, 1]).sum(axis=1, keepdims=True)


def make_model(cell: str, hidden: int, seed: int) -> Sequential:
    rng = np.random.default_rng(seed)
    return Sequential([CELLS[cell](2, hidden, seed=rng), LastStep(hidden), Dense(hidden, 1, seed=rng)])


class FirstBelow(Callback):
    """Remember after how many updates the validation loss was first below a limit."""

    def __init__(self, limit: float):
        self.limit = limit
        self.updates: int | None = None

    def after_epoch(self, run: Any) -> None:
        if self.updates is None and run.monitored < self.limit:
            self.updates = run.step


class Outcome(NamedTuple):
    """Test error; updates and seconds in all; updates after which the validation error was first below `LEARNT`."""

    error: float
    updates: int
    seconds: float
    first: int | None


def learn(cell: str, hidden: int, T: int, updates: int, lr: float, seed: int) -> Outcome:
    """Train a model and test it on sequences that it has not seen."""
    model, data = make_model(cell, hidden, seed), np.random.default_rng([seed, 1])

    def train(rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
        for _ in range(UPDATES_PER_EPOCH):
            yield examples(ROWS, T, rng)

    first, began = FirstBelow(LEARNT), time.perf_counter()
    fastrnn.fit(
        model,
        MeanSquaredError(),
        Adam(lr),
        train,
        [examples(1000, T, data)],
        epochs=-(-updates // UPDATES_PER_EPOCH),
        clip_norm=1.0,
        schedule=Cosine(lr, updates),
        callbacks=[first, StopAfter(steps=updates)],
        progress=False,
        seed=seed,
    )
    seconds = time.perf_counter() - began
    error = evaluate(model, {"error": MeanSquaredError()}, [examples(TEST_ROWS, T, data)])["error"]
    return Outcome(error, updates, seconds, first.updates)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", choices=list(CELLS), default="lstm")
    parser.add_argument("--hidden", type=int, default=32, help="units (32)")
    parser.add_argument("--steps", type=int, default=100, help="T (100)")
    parser.add_argument("--updates", type=int, default=3000, help=f"of {ROWS} sequences each (3000)")
    parser.add_argument("--lr", type=float, default=1e-2, help="Adam's first learning rate (0.01)")
    add_seeds(parser)
    options = parser.parse_args(argv)
    print(f"adding problem, T={options.steps}, {options.cell} {options.hidden}; no learning: 0.167")
    outcomes = []
    for seed in options.seeds:
        outcome = learn(options.cell, options.hidden, options.steps, options.updates, options.lr, seed)
        when = "never" if outcome.first is None else f"after {outcome.first} updates"
        print(
            f"  seed {seed}: test error {outcome.error:.2e} after {outcome.updates} updates, {outcome.seconds:.1f} s; "
            f"validation below {LEARNT:g} {when}",
            flush=True,
        )
        outcomes.append(outcome)
    report("test error", [outcome.error for outcome in outcomes])
    report("seconds", [outcome.seconds for outcome in outcomes])


if __name__ == "__main__":
    main()
