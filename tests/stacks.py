"""Layers that the layer tests walk over: D = 5 features in, H = 7 out but where two directions stand side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastrnn import (
    GRU,
    LSTM,
    Attention,
    AttentionLSTM,
    BatchNorm,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    LayerNorm,
    Sequential,
    SimpleRNN,
)
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
    "norms": lambda **o: Sequential([_norm(LayerNorm, D, o), GRU(D, 6, **o), _norm(LayerNorm, 6, o), Dense(6, H, **o)]),
    "bidirectional": lambda **o: Sequential(
        [Bidirectional(LSTM(D, 4, **o)), Bidirectional(GRU(8, 3, **o), "mul"), Dense(3, H, **o)]
    ),
    "nested": lambda **o: Sequential(
        [Sequential([LSTM(D, 4, **o), Dense(4, 3, **o)]), Sequential([GRU(3, 6, **o)]), Dense(6, H, "tanh", **o)]
    ),
}
WHOLE = ("recurrent", "bidirectional")  # stacks that need whole sequences
EMBEDDED = {"embedding": lambda **o: Sequential([Embedding(9, 4, **o), LSTM(4, 6, **o), Dense(6, H, **o)])}


BIDIRECTIONAL = {
    f"{cell}, {merge}": lambda make=make, merge=merge, **o: Bidirectional(make(**o), merge)
    for cell, make in (("LSTM", RECURRENT["LSTM"]), ("GRU", RECURRENT["GRU"]))
    for merge in ("concat", "sum", "mul", "ave", None)
}
POOLED = {
    "AttentionLSTM": lambda **o: AttentionLSTM(D, H, 4, **o),
    "AttentionLSTM, reverse": lambda **o: AttentionLSTM(D, H, 4, reverse=True, **o),
    "pooled": lambda **o: Sequential([Dense(D, 4, **o), GRU(4, 6, **o), Attention(6, 3, **o)]),
    "classifier": lambda **o: Sequential(
        [Bidirectional(GRU(D, 3, **o)), AttentionLSTM(6, 5, 4, **o), _norm(LayerNorm, 5, o), Dense(5, H, "tanh", **o)]
    ),
}
RANDOM = {  # what training draws for
    "dropouts": lambda **o: Sequential(
        [Dropout(0.2), LSTM(D, 6, **o), Dropout(0.5, shared_time=True), Dense(6, H, **o), Dropout(0.3)]
    ),
    "batch norms": lambda **o: Sequential(
        [_norm(BatchNorm, D, o), GRU(D, 6, **o), _norm(BatchNorm, 6, o), Dropout(0.4), Dense(6, H, **o)]
    ),
    "batch norm of contexts": lambda **o: Sequential(
        [AttentionLSTM(D, 6, 4, **o), _norm(BatchNorm, 6, o), Dropout(0.3), Dense(6, H, **o)]
    ),
    "ends in a pair": lambda **o: Sequential([Dropout(0.2), Bidirectional(GRU(D, H, **o), None)]),
}
COMPOSED = BIDIRECTIONAL | POOLED | RANDOM


def _norm(kind: Any, size: int, options: dict[str, Any]) -> Any:
    """A norm with those of the options that it takes."""
    return kind(size, dtype=options.get("dtype", "float32"))


def with_random_parameters(layer: Layer, seed: int = 3) -> Layer:
    """The layer with every parameter, biases too, away from zero."""
    rng = np.random.default_rng(seed)
    for name, value in layer.params.items():
        value[...] = rng.normal(size=value.shape) * 0.5
        assert np.any(value), name
    for name, value in layer.buffers.items():
        value[...] = rng.uniform(0.5, 2, value.shape) * (1 if name.endswith("var") else 0.1)
    return layer


def make(name: str, dtype: Any = "float64", **options: Any) -> Layer:
    """The layer of this name, with random parameters."""
    factory = (RECURRENT | STACKS | EMBEDDED | COMPOSED)[name]
    return with_random_parameters(factory(dtype=dtype, **options))


def inputs(name: str, N: int = 3, T: int = 6, dtype: Any = "float64") -> np.ndarray:
    """x for the layer of this name."""
    rng = np.random.default_rng(7)
    return rng.integers(0, 9, (N, T)) if name in EMBEDDED else rng.normal(size=(N, T, D)).astype(dtype)
