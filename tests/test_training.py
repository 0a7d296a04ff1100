"""Truncated backpropagation through time: windows, gradients, and that models learn, alike on every backend."""

from __future__ import annotations

import numpy as np
import pytest
from cases import TOLERANCES
from differences import gradient, relative_error

import fastrnn
from fastrnn import GRU, LSTM, Dense, Embedding, Sequential, SimpleRNN
from fastrnn.losses import MeanSquaredError, SoftmaxCrossEntropy
from fastrnn.optim import Adam
from fastrnn.training import endless_windows, mean_loss, streams, train_step, windows

LAYERS = {
    "rnn": lambda D, H, **o: SimpleRNN(D, H, **o),
    "lstm": lambda D, H, **o: LSTM(D, H, **o),
    "gru": lambda D, H, **o: GRU(D, H, **o),
    "gru before": lambda D, H, **o: GRU(D, H, reset_after=False, **o),
}


def language_model(cell: str, V: int = 6, H: int = 8, dtype: str = "float64") -> Sequential:
    recurrent = LAYERS[cell](5, H, dtype=dtype, seed=1)
    return Sequential([Embedding(V, 5, dtype=dtype, seed=0), recurrent, Dense(H, V, dtype=dtype, seed=2)])


class Recorder:
    """An optimiser that changes nothing and remembers the gradient."""

    def update(self, params, grads, *, scale=1.0):
        self.grads = scale * grads.flat


@pytest.mark.parametrize(("M", "N"), [(8, 2), (101, 4), (101, 7), (2, 1), (50, 1)])
def test_streams_hold_the_text(M, N):
    codes = np.arange(M)
    x, y = streams(codes, N)
    assert x.shape == y.shape == (N, (M - 1) // N)
    assert np.array_equal(x.ravel(), codes[: x.size])
    assert np.array_equal(y.ravel(), x.ravel() + 1)
    assert M - 1 - x.size < N


@pytest.mark.parametrize("T", [1, 3, 4, 12, 13, 100])
def test_windows_cover_the_streams_exactly(T):
    x, y = streams(np.arange(37), 3)
    pairs = list(windows(x, y, T))
    assert np.array_equal(np.concatenate([a for a, _, _ in pairs], axis=1), x)
    assert np.array_equal(np.concatenate([b for _, b, _ in pairs], axis=1), y)
    assert [is_first for _, _, is_first in pairs] == [True] + [False] * (len(pairs) - 1)
    assert all(a.shape[1] == T for a, _, _ in pairs[:-1])
    assert 1 <= pairs[-1][0].shape[1] <= T


def test_endless_windows_begin_again():
    x, y = streams(np.arange(21), 2)
    once, again = list(windows(x, y, 4)), endless_windows(x, y, 4)
    for _ in range(2):
        for a, b, is_first in once:
            c, d, first = next(again)
            assert np.array_equal(a, c)
            assert np.array_equal(b, d)
            assert is_first == first


@pytest.mark.parametrize("cell", LAYERS)
def test_a_window_as_long_as_the_stream_gives_the_full_gradient(backend, cell):
    model, loss, recorder = language_model(cell), SoftmaxCrossEntropy(), Recorder()
    x, y = streams(np.random.default_rng(0).integers(0, 6, 21), 2)
    value, _ = train_step(model, loss, recorder, x, y)
    assert value == pytest.approx(mean_loss(model, loss, x, y, x.shape[1]), rel=1e-14)
    expected = gradient(lambda: mean_loss(model, loss, x, y, 3), model.params.flat)
    assert relative_error(recorder.grads, expected) <= TOLERANCES["gradient", "float64"]


def test_truncation_cuts_the_gradient_at_the_window_and_nothing_else():
    model, loss, recorder = language_model("lstm"), SoftmaxCrossEntropy(), Recorder()
    x, y = streams(np.random.default_rng(0).integers(0, 6, 21), 2)
    _, state = model(x[:, :4])
    train_step(model, loss, recorder, x[:, 4:], y[:, 4:], state)
    truncated = recorder.grads
    held = gradient(lambda: loss(model(x[:, 4:], state)[0], y[:, 4:])[0], model.params.flat)
    assert relative_error(truncated, held) <= TOLERANCES["gradient", "float64"]
    full = gradient(lambda: loss(model(x)[0][:, 4:], y[:, 4:])[0], model.params.flat)
    assert relative_error(truncated, full) > 1e-3


def test_the_mean_loss_does_not_depend_on_the_window():
    model, loss = language_model("gru"), SoftmaxCrossEntropy()
    x, y = streams(np.random.default_rng(0).integers(0, 6, 60), 3)
    values = [mean_loss(model, loss, x, y, T) for T in (1, 4, 7, 19)]
    assert values == pytest.approx([values[0]] * 4, rel=1e-12)


def test_clipping_limits_the_norm_of_the_update():
    model, recorder = language_model("lstm"), Recorder()
    x, y = streams(np.random.default_rng(0).integers(0, 6, 21), 2)
    train_step(model, SoftmaxCrossEntropy(), recorder, x, y)
    whole = recorder.grads
    limit = 0.5 * float(np.linalg.norm(whole))
    train_step(model, SoftmaxCrossEntropy(), recorder, x, y, clip_norm=limit)
    assert np.allclose(recorder.grads, 0.5 * whole, rtol=1e-12, atol=0)


def test_a_loss_that_is_not_finite_leaves_the_model_alone():
    model = language_model("lstm")
    x, y = streams(np.random.default_rng(0).integers(0, 6, 21), 2)
    model.params["2.b"][0] = np.nan
    before = model.params.flat.copy()
    with pytest.raises(FloatingPointError, match=r"^the loss is nan"):
        train_step(model, SoftmaxCrossEntropy(), Adam(), x, y)
    assert np.array_equal(model.params.flat, before, equal_nan=True)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_gradient_that_is_not_finite_leaves_the_model_alone(backend, clip_norm):
    model = Dense(1, 1, seed=0)
    x = np.full((4, 1), 1e25, "float32")
    model.params["W"][...] = 1e-7
    before = model.params.flat.copy()
    with pytest.raises(FloatingPointError, match=r"^the gradient's norm is inf"):
        train_step(model, MeanSquaredError(), Adam(), x, 0 * x, clip_norm=clip_norm)
    assert np.array_equal(model.params.flat, before)


@pytest.mark.parametrize("cell", LAYERS)
def test_a_tiny_language_model_learns_its_text_by_heart(backend, cell):
    """Symbols follow from up to four before them: knowing the last one leaves 0.52 nats, the last two 0.28."""
    period = np.array([0, 1, 2, 0, 1, 3, 0, 2, 1, 3])
    x, y = streams(np.tile(period, 13)[:121], 4)
    model, loss, optimizer = language_model(cell, V=4, H=16, dtype="float32"), SoftmaxCrossEntropy(), Adam(0.02)
    batches, state = endless_windows(x, y, 10), None
    for _ in range(150):
        a, b, is_first = next(batches)
        _, state = train_step(model, loss, optimizer, a, b, None if is_first else state, clip_norm=1.0)
    assert mean_loss(model, loss, x[:, 10:], y[:, 10:], 10) < 0.15


@pytest.mark.parametrize("cell", LAYERS)
def test_backends_reach_the_same_loss(compiled, cell):
    """Within 1e-3 over the first 100 updates in float32."""
    rng = np.random.default_rng(0)
    x, y = streams(rng.integers(0, 12, 401) // 2, 4)

    def losses(name):
        model, loss, optimizer = language_model(cell, H=24, dtype="float32"), SoftmaxCrossEntropy(), Adam(5e-3)
        batches, state, found = endless_windows(x, y, 20), None, []
        with fastrnn.use_backend(name):
            for _ in range(100):
                a, b, is_first = next(batches)
                value, state = train_step(model, loss, optimizer, a, b, None if is_first else state, clip_norm=1.0)
                found.append(value)
        return np.array(found)

    ours, reference = losses("cython"), losses("numpy")
    assert reference[-10:].mean() < reference[:10].mean() - 0.05
    assert np.abs(ours - reference).max() <= 1e-3


def test_the_same_seed_trains_the_same_model(backend):
    x, y = streams(np.random.default_rng(0).integers(0, 6, 201), 4)

    def trained():
        model, optimizer = language_model("lstm", dtype="float32"), Adam(0.01)
        for a, b, _ in windows(x, y, 10):
            train_step(model, SoftmaxCrossEntropy(), optimizer, a, b)
        return model.params.flat

    assert np.array_equal(trained(), trained())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: streams(np.arange(3), 3), ValueError, "^codes must hold at least 4 characters for 3 streams, got 3"),
        (lambda: streams(np.ones((3, 3), int), 1), ValueError, r"^codes must have shape \(M,\), got \(3, 3\)"),
        (lambda: streams(np.ones(9), 2), TypeError, "^codes must hold integers, got float64"),
        (lambda: streams(np.arange(9), 0), ValueError, "^N must be at least 1, got 0"),
        (lambda: list(windows(*streams(np.arange(9), 2), 0)), ValueError, "^T must be at least 1, got 0"),
        (lambda: list(windows(np.arange(5), np.arange(5), 2)), ValueError, r"^x must have shape \(N, L\), got \(5,\)"),
        (lambda: next(endless_windows([1, 2], [1, 2], 2)), ValueError, r"^x must have shape \(N, L\), got \(2,\)"),
        (lambda: list(windows(np.ones((2, 3)), np.ones((2, 4)), 2)), ValueError, "^y must have the shape of x"),
        (lambda: next(endless_windows(np.ones((2, 0)), np.ones((2, 0)), 2)), ValueError, "^x must have at least one"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
