"""Layers that the layer tests walk over: D = 5 features in, 7 out of the recurrent ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastrnn import GRU, LSTM, Dense, Embedding, Sequential, SimpleRNN
from fastrnn.layer import Layer

D, H = 5, 7

RECURRENT = {
    "SimpleRNN": lambda **options: SimpleRNN(D, H, **options),
    "SimpleRNN relu": lambda **options: SimpleRNN(D, H, activation="relu", **options),
    "LSTM": lambda **options: LSTM(D, H, **options),
    "GRU": lambda **options: GRU(D, H, **options),
    "GRU reset before": lambda **options: GRU(D, H, reset_after=False, **options),
}
CELL_OF = dict(zip(RECURRENT, ("rnn_tanh", "rnn_relu", "lstm", "gru", "gru_before"), strict=True))

STACKS = {
    "one layer": lambda **o: Sequential([LSTM(D, H, **o)]),
    "recurrent": lambda **o: Sequential([LSTM(D, 6, **o), SimpleRNN(6, 3, reverse=True, **o), GRU(3, H, **o)]),
    "dense ends": lambda **o: Sequential([Dense(D, 4, "sigmoid", **o), GRU(4, 6, **o), Dense(6, H, **o)]),
    "dense between": lambda **o: Sequential([LSTM(D, 4, **o), Dense(4, 6, "tanh", **o), LSTM(6, H, **o)]),
    "nested": lambda **o: Sequential(
        [Sequential([LSTM(D, 4, **o), Dense(4, 3, **o)]), Sequential([GRU(3, 6, **o)]), Dense(6, H, "tanh", **o)]
    ),
}
EMBEDDED = {"embedding": lambda **o: Sequential([Embedding(9, 4, **o), LSTM(4, 6, **o), Dense(6, H, **o)])}


def with_random_parameters(layer: Layer, seed: int = 3) -> Layer:
    """The layer with every parameter, biases too, away from zero."""
    rng = np.random.default_rng(seed)
    for name, value in layer.params.items():
        value[...] = rng.normal(size=value.shape) * 0.5
        assert np.any(value), name
    return layer


def make(name: str, dtype: Any = "float64", **options: Any) -> Layer:
    """The layer of this name, with random parameters."""
    factory = (RECURRENT | STACKS | EMBEDDED)[name]
    return with_random_parameters(factory(dtype=dtype, **options))


def inputs(name: str, N: int = 3, T: int = 6, dtype: Any = "float64") -> np.ndarray:
    """x for the layer of this name."""
    rng = np.random.default_rng(7)
    return rng.integers(0, 9, (N, T)) if name in EMBEDDED else rng.normal(size=(N, T, D)).astype(dtype)
