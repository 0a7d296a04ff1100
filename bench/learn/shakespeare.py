"""A character language model on a text file within a budget of wall-clock time, beside PyTorch in the same run.

The first 90 % of the text are trained on, the rest is held out and scored once, as one stream, after the time is up.
The learning rate is half a cosine over the budget. ``--peer torch`` trains the same model from the same weights in
PyTorch, for as long, in the same way. ``--updates`` replaces the clock, so that the result depends on the seed alone::

    python -m bench.learn.shakespeare tinyshakespeare.txt --seconds 60 --peer torch
    python -m bench.learn.shakespeare tinyshakespeare.txt --seconds 60 --cell lstm --hidden 256 --steps 64
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

import fastrnn
from fastrnn import GRU, LSTM, Dense, Dropout, Embedding
from fastrnn.data import streams
from fastrnn.losses import SoftmaxCrossEntropy
from fastrnn.optim import AdamW
from fastrnn.text import Vocabulary
from fastrnn.training import mean_loss, train_step, windows

from .trials import add_seeds, report

Array = np.ndarray

CELLS = {"lstm": LSTM, "gru": GRU}
HELD_OUT = 0.1
WARMUP = 0.02  # share of the budget in which the rate rises
CLIP_NORM = 1.0
BETA2 = 0.99
EVALUATION_STEPS = 2048


@dataclass(frozen=True)
class Recipe:
    """A model and how it is trained."""

    cell: str = "gru"
    hidden: int = 256
    layers: int = 1
    embedding: int = 32
    dropout: float = 0.0
    weight_drop: float = 0.0
    rows: int = 32
    steps: int = 32
    lr: float = 7e-3
    decay: float = 0.01


# What is best within a budget: two layers, wider ones where there is more time, and then with more dropout, which keeps
# a large model from learning the text by heart.
RECIPES = {
    60.0: Recipe(hidden=192, layers=2, dropout=0.05),
    180.0: Recipe(hidden=256, layers=2, dropout=0.1, lr=6e-3, decay=0.1),
    600.0: Recipe(hidden=384, layers=2, dropout=0.3, lr=5e-3, decay=0.1),
}


class Corpus(NamedTuple):
    """A text as integers, cut in two; ``size`` different characters."""

    size: int
    train: Array
    held_out: Array


def read(path: Path) -> Corpus:
    """A text file in UTF-8."""
    text = path.read_text(encoding="utf-8")
    vocabulary = Vocabulary(text)
    codes = vocabulary.encode(text)
    cut = round(len(codes) * (1 - HELD_OUT))
    return Corpus(len(vocabulary), codes[:cut], codes[cut:])


class Trainer(Protocol):
    """A model in training: fastrnn's here, PyTorch's in `shakespeare_torch`."""

    def update(self, x: Array, y: Array, is_first: bool, lr: float) -> float:
        """Train on one window (N, T): the loss before the update. The state goes on but where ``is_first``."""

    def held_out(self, codes: Array) -> float:
        """Nats per character over a text."""


def make_model(recipe: Recipe, size: int, seed: int) -> fastrnn.Sequential:
    """Embedding, recurrent layers, each with its dropout, and a logit for each of ``size`` characters."""
    rng, make = np.random.default_rng(seed), CELLS[recipe.cell]
    layers: list[Any] = [Embedding(size, recipe.embedding, seed=rng)]
    width = recipe.embedding
    for _ in range(recipe.layers):
        layers.append(make(width, recipe.hidden, weight_drop=recipe.weight_drop, seed=rng))
        width = recipe.hidden
        if recipe.dropout:
            layers.append(Dropout(recipe.dropout, shared_time=True))
    return fastrnn.Sequential([*layers, Dense(width, size, seed=rng)])


class Fastrnn:
    """The model in fastrnn."""

    def __init__(self, recipe: Recipe, size: int, seed: int):
        self.model = make_model(recipe, size, seed)
        self.loss = SoftmaxCrossEntropy()
        self.optimizer = AdamW(recipe.lr, beta2=BETA2, weight_decay=recipe.decay)
        self.rng = np.random.default_rng(seed)
        self.state: Any = None

    def update(self, x: Array, y: Array, is_first: bool, lr: float) -> float:
        self.optimizer.lr = lr
        state = None if is_first else self.state
        value, self.state = train_step(
            self.model, self.loss, self.optimizer, x, y, state, clip_norm=CLIP_NORM, rng=self.rng
        )
        return value

    def held_out(self, codes: Array) -> float:
        return mean_loss(self.model, self.loss, *streams(codes, 1), EVALUATION_STEPS)


class Budget:
    """What a training may spend: seconds, or updates where their number is given."""

    def __init__(self, seconds: float, updates: int | None):
        self.seconds, self.updates = seconds, updates
        self.began, self.made = time.perf_counter(), 0

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.began

    @property
    def spent(self) -> float:
        """Share of the budget."""
        return self.elapsed / self.seconds if self.updates is None else self.made / self.updates


def rate(peak: float, spent: float) -> float:
    """The learning rate: up in a straight line, then down half a cosine to a hundredth.

    Examples
    --------
    >>> rate(1.0, 0.0), rate(1.0, WARMUP), round(rate(1.0, 1.0), 9)
    (0.01, 1.0, 0.01)
    """
    if spent < WARMUP:
        return peak * (0.01 + 0.99 * spent / WARMUP)
    way = min((spent - WARMUP) / (1 - WARMUP), 1.0)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * way)))


def endless(codes: Array, recipe: Recipe, seed: int) -> Iterator[tuple[Array, Array, bool]]:
    """Windows over the text, again and again, each time cut at other places."""
    rng = np.random.default_rng(seed)
    room = min(recipe.steps, len(codes) // 10)
    while True:
        yield from windows(*streams(codes[rng.integers(room + 1) :], recipe.rows), recipe.steps)


class Outcome(NamedTuple):
    """Nats per character held out, characters trained on in a second, updates made, seconds they took."""

    nats: float
    speed: float
    updates: int
    seconds: float


def train(trainer: Trainer, corpus: Corpus, recipe: Recipe, budget: Budget, seed: int) -> Outcome:
    """Spend the budget, then score the held-out text."""
    characters = 0
    for x, y, is_first in endless(corpus.train, recipe, seed):
        trainer.update(x, y, is_first, rate(recipe.lr, budget.spent))
        characters += x.size
        budget.made += 1
        if budget.spent >= 1:
            break
    seconds = budget.elapsed
    return Outcome(trainer.held_out(corpus.held_out), characters / seconds, budget.made, seconds)


def make_trainer(library: str, recipe: Recipe, size: int, seed: int) -> Trainer:
    if library == "fastrnn":
        return Fastrnn(recipe, size, seed)
    from .shakespeare_torch import Torch

    return Torch(recipe, make_model(recipe, size, seed), seed)


def _recipe(options: argparse.Namespace) -> Recipe:
    """The recipe of the nearest budget, changed by what was asked for."""
    nearest = min(RECIPES, key=lambda seconds: abs(math.log(seconds / options.seconds)))
    asked = {field.name: getattr(options, field.name) for field in fields(Recipe)}
    return replace(RECIPES[nearest], **{name: value for name, value in asked.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="a text file, UTF-8")
    parser.add_argument("--seconds", type=float, default=60.0, help="wall-clock budget of each training (60)")
    parser.add_argument("--updates", type=int, help="a budget of updates instead")
    parser.add_argument("--peer", choices=["torch"], help="train in this library too")
    for field in fields(Recipe):
        kind = type(field.default)
        chosen = {"choices": list(CELLS)} if field.name == "cell" else {}
        parser.add_argument(f"--{field.name}", type=kind, help="instead of the budget's own", **chosen)
    add_seeds(parser, "0")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(argv)
    corpus, recipe = read(options.text), _recipe(options)
    print(f"{recipe}, {fastrnn.get_num_threads()} threads")
    for library in ("fastrnn", *([options.peer] if options.peer else [])):
        outcomes = []
        for seed in options.seeds:
            trainer = make_trainer(library, recipe, corpus.size, seed)
            outcome = train(trainer, corpus, recipe, Budget(options.seconds, options.updates), seed)
            print(
                f"  {library}, seed {seed}: {outcome.nats:.4f} nats held out after {outcome.seconds:.1f} s, "
                f"{outcome.updates} updates, {outcome.speed:,.0f} characters/s",
                flush=True,
            )
            outcomes.append(outcome)
        report(f"{library}: nats", [outcome.nats for outcome in outcomes])


if __name__ == "__main__":
    main()
