"""Networks of the models, made of layers by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arrays import as_choice, as_size
from ..attention import Attention
from ..bidirectional import Bidirectional
from ..dropout import Dropout
from ..layer import Layer
from ..layers import Dense
from ..pooling import LastStep, MaxSteps, MeanSteps
from ..recurrent import GRU, LSTM, SimpleRNN

CELLS: dict[str, type[Any]] = {"lstm": LSTM, "gru": GRU, "rnn": SimpleRNN}
POOLINGS = ("last", "mean", "max", "attention")
GIVEN = ("input_size", "hidden_size", "dtype", "seed")  # options of a recurrent layer that are a model's own


def scans(
    cell: str,
    input_size: int,
    hidden: int,
    layers: int,
    rng: np.random.Generator,
    *,
    bidirectional: bool = False,
    dropout: float = 0.0,
    dtype: Any = "float32",
    options: Mapping[str, Any] | None = None,
) -> list[Layer]:
    """Recurrent layers on top of each other, with dropout before each."""
    kind = CELLS[as_choice("cell", cell, tuple(CELLS))]
    options = {} if options is None else _as_options(options, kind)
    stack: list[Layer] = []
    for _ in range(as_size("layers", layers)):
        stack += dropouts(dropout)
        scan = kind(input_size, hidden, dtype=dtype, seed=rng, **options)
        stack.append(Bidirectional(scan, seed=rng) if bidirectional else scan)
        input_size = stack[-1].output_size
    return stack


def _as_options(options: Any, kind: type[Any]) -> Mapping[str, Any]:
    """More options of a recurrent layer, by their names; those that the models give themselves are not among them."""
    if not isinstance(options, Mapping):
        raise TypeError(f"cell_options must be a dict of options of {kind.__name__}, or None, got {options!r}")
    known = [name for name in inspect.signature(kind).parameters if name not in GIVEN]
    if unknown := [name for name in options if name not in known]:
        raise ValueError(f"cell_options must be options of {kind.__name__}, {', '.join(known)}, got {unknown[0]!r}")
    return options


def pooling_layer(
    name: str, size: int, rng: np.random.Generator, *, bidirectional: bool = False, dtype: Any = "float32"
) -> Layer:
    """The layer that makes one vector of a sequence."""
    as_choice("pooling", name, POOLINGS)
    if name == "last":
        return LastStep(size, size // 2 if bidirectional else 0, dtype=dtype)
    if name == "attention":
        return Attention(size, size, dtype=dtype, seed=rng)
    return (MeanSteps if name == "mean" else MaxSteps)(size, dtype=dtype)


def dropouts(rate: float) -> list[Layer]:
    """A dropout, or nothing where the rate is 0."""
    return [Dropout(rate)] if rate else []


def head(
    size: int, outputs: int, rng: np.random.Generator, *, dropout: float = 0.0, dtype: Any = "float32"
) -> list[Layer]:
    """Dropout and the affine layer that gives the outputs."""
    return [*dropouts(dropout), Dense(size, outputs, dtype=dtype, seed=rng)]
