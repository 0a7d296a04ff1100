"""A small problem that the tests of training share: label every step of a sequence by what came before."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastrnn
from fastrnn import GRU, LSTM, BatchNorm, Bidirectional, Callback, Dense, Dropout, Sequential
from fastrnn.data import batches
from fastrnn.losses import SoftmaxCrossEntropy
from fastrnn.optim import Adam

V = 3


class Recorder(Callback):
    """Notes what happens, and what a run looks like then."""

    def __init__(self):
        self.moments, self.rates, self.grads, self.batches = [], [], [], []

    def begin(self, run):
        self.moments.append("begin")

    def after_backward(self, run):
        self.grads.append(run.grads.copy())
        self.rates.append(run.optimizer.lr)
        self.batches.append(run.batch)

    def after_step(self, run):
        self.moments.append(("step", run.step))

    def after_epoch(self, run):
        self.moments.append(("epoch", run.epoch, run.history["loss"][-1]))

    def interrupted(self, run):
        self.moments.append("interrupted")

    def end(self, run):
        self.moments.append("end")


def sequences(N: int = 40, T: int = 9, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (N, T, 2), a label for every step, lengths; NaN and -1 in the padding."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, T, 2)).astype("float32")
    lengths = rng.integers(1, T + 1, N)
    y = (np.cumsum(x[:, :, 0], axis=1) > 0).astype(int) + (x[:, :, 1] > 0)
    padding = np.arange(T) >= lengths[:, None]
    x[padding], y[padding] = np.nan, -1
    return x, y, lengths


def make_model(seed: int = 0) -> Sequential:
    """A stack with all that a run must remember: dropout draws, running statistics."""
    rng = np.random.default_rng(seed)
    return Sequential(
        [
            Bidirectional(LSTM(2, 4, seed=rng)),
            Dropout(0.2),
            BatchNorm(8),
            GRU(8, 5, seed=rng),
            Dense(5, V, seed=rng),
        ]
    )


def train(model: Any = None, *, bucket: bool = True, **options: Any) -> tuple[Any, fastrnn.History]:
    """Train a model on the problem: (model, history)."""
    x, y, lengths = sequences()
    model = make_model() if model is None else model
    settings = {"epochs": 4, "clip_norm": 1.0, "progress": False, "seed": 5, "optimizer": Adam(0.01)} | options
    data = batches(x[:30], y[:30], lengths[:30], size=8, bucket=bucket)
    validation = settings.pop("validation", (x[30:], y[30:], lengths[30:]))
    history = fastrnn.fit(
        model, SoftmaxCrossEntropy(), settings.pop("optimizer"), settings.pop("train", data), validation, **settings
    )
    return model, history
