"""Attention and AttentionLSTM: values by the formula, weights, gradients, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from cases import TOLERANCES
from differences import layer_gradient_errors, leaves
from stacks import with_random_parameters

from fastrnn import GRU, LSTM, Attention, AttentionLSTM, Dense, Dropout, Embedding, LayerNorm, Sequential

LENGTHS = np.array([4, 0, 6])
MASK = np.array([[1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 1, 1]], bool)
VALID = {"full": np.ones((3, 6), bool), "lengths": np.arange(6) < LENGTHS[:, None], "mask": MASK}
RAGGED = {"full": {}, "lengths": {"lengths": LENGTHS}, "mask": {"mask": MASK}}
EXACT = TOLERANCES["agreement", "float64"]


def numbers(*shape):
    return np.random.default_rng(1).normal(size=shape)


def by_the_formula(params, x, valid):
    """Context (H,) and weights (T,) of one sequence."""
    weights = np.zeros(len(x))
    if not valid.any():
        return np.zeros(x.shape[1]), weights
    e = np.array([params["v"] @ np.tanh(x_t @ params["W"] + params["b"]) for x_t in x[valid]])
    weights[valid] = np.exp(e) / np.exp(e).sum()
    return sum(a * x_t for a, x_t in zip(weights, x, strict=True)), weights


@pytest.mark.parametrize("kind", RAGGED)
def test_values(kind):
    layer, x = with_random_parameters(Attention(5, 4, dtype="float64")), numbers(3, 6, 5)
    context, weights = layer(x, **RAGGED[kind], return_weights=True)
    assert context.shape == (3, 5) and weights.shape == (3, 6)
    for n in range(3):
        expected = by_the_formula(layer.params, x[n], VALID[kind][n])
        assert np.allclose(context[n], expected[0], rtol=0, atol=EXACT)
        assert np.allclose(weights[n], expected[1], rtol=0, atol=EXACT)
    assert not weights[~VALID[kind]].any()


def test_infinities_pass_through_in_silence():
    layer, x = with_random_parameters(Attention(5, 4, dtype="float64")), numbers(3, 6, 5)
    layer.params["v"][:] = np.inf, -np.inf, np.inf, -np.inf
    context, tape = layer.forward(x)
    assert np.isnan(context).all()
    _, grads = layer.backward(tape, context)
    assert np.isnan(grads["v"]).all()


@pytest.mark.parametrize("kind", RAGGED)
def test_gradients(kind):
    layer, x = with_random_parameters(Attention(5, 4, dtype="float64")), numbers(3, 6, 5)
    errors = layer_gradient_errors(layer, x, **RAGGED[kind])
    assert all(error <= TOLERANCES["gradient", "float64"] for error in errors.values()), errors


@pytest.mark.parametrize("kind", RAGGED)
def test_what_does_not_count_reaches_nothing(kind):
    layer, x = with_random_parameters(Attention(5, 4, dtype="float64")), numbers(3, 6, 5)

    def everything():
        context, weights, tape = layer.forward(x, **RAGGED[kind], return_weights=True)
        dx, grads = layer.backward(tape, np.ones_like(context))
        return [context, weights, dx, *grads.values()]

    clean = everything()
    assert not clean[2][~VALID[kind]].any() and clean[2][VALID[kind]].all()
    x[~VALID[kind]] = np.nan
    assert all(np.array_equal(a, b) for a, b in zip(everything(), clean, strict=True))


@pytest.mark.parametrize("kind", RAGGED)
def test_layouts(kind):
    layer, x = with_random_parameters(Attention(5, 4, dtype="float64")), numbers(3, 6, 5)
    options = RAGGED[kind]
    turned = {key: value.T if key == "mask" else value for key, value in options.items()}
    context, weights, tape = layer.forward(x, **options, return_weights=True)
    dx, grads = layer.backward(tape, context)
    context2, weights2, tape2 = layer.forward(x.swapaxes(0, 1), **turned, time_major=True, return_weights=True)
    dx2, grads2 = layer.backward(tape2, context)
    assert np.array_equal(context2, context) and np.array_equal(weights2.T, weights)
    assert np.array_equal(dx2.swapaxes(0, 1), dx) and np.array_equal(grads2.flat, grads.flat)
    for n in range(3):
        alone = {key: value[n] if key == "mask" else value[n : n + 1] for key, value in options.items()}
        context1, weights1, tape1 = layer.forward(x[n], **alone, return_weights=True)
        dx1, _ = layer.backward(tape1, context1)
        for found, expected in [(context1, context[n]), (weights1, weights[n]), (dx1, dx[n])]:
            assert found.shape == expected.shape and np.allclose(found, expected, rtol=0, atol=EXACT)


def test_weights_are_a_copy():
    layer, x = Attention(5, 4, dtype="float64"), numbers(3, 6, 5)
    _, weights, tape = layer.forward(x, return_weights=True)
    dx = layer.backward(tape, np.ones((3, 5)))[0]
    weights[...] = np.nan
    assert np.array_equal(layer.backward(tape, np.ones((3, 5)))[0], dx)


def test_large_scores_do_not_overflow(dtype):
    layer = Attention(2, 1, dtype=dtype)
    layer.params.update({"W": np.ones((2, 1), dtype), "v": np.array([3000.0], dtype)})
    context, weights = layer(np.array([[[9, 9], [-9, -9], [9, 9]]], dtype), return_weights=True)
    assert weights.tolist() == [[0.5, 0, 0.5]] and context.tolist() == [[9, 9]]


def test_memory_does_not_grow_with_the_square_of_time():
    layer, x = Attention(2, 2), np.zeros((1, 100_000, 2), "float32")  # (N, T, T) would be 40 GB
    context, tape = layer.forward(x)
    assert layer.backward(tape, context)[0].shape == x.shape


@pytest.mark.parametrize("kind", RAGGED)
def test_attention_lstm_is_an_lstm_and_attention(backend, kind, dtype):
    layer = with_random_parameters(AttentionLSTM(5, 7, 4, dtype=dtype))
    x = numbers(3, 6, 5).astype(dtype)
    lstm, attention = LSTM(5, 7, dtype=dtype), Attention(7, 4, dtype=dtype)
    lstm.params.update({key: layer.params[f"lstm.{key}"] for key in lstm.params})
    attention.params.update({key: layer.params[f"attention.{key}"] for key in attention.params})
    state = tuple(numbers(3, 7).astype(dtype) for _ in range(2))
    y, final, lstm_tape = lstm.forward(x, state, **RAGGED[kind])
    expected, expected_weights, attention_tape = attention.forward(y, **RAGGED[kind], return_weights=True)
    context, found_final, weights, tape = layer.forward(x, state, **RAGGED[kind], return_weights=True)
    dy, attention_grads = attention.backward(attention_tape, np.ones_like(expected))
    dx, dstate, lstm_grads = lstm.backward(lstm_tape, dy, state)
    found_dx, found_dstate, grads = layer.backward(tape, np.ones_like(context), state)
    named = {f"lstm.{k}": v for k, v in lstm_grads.items()} | {f"attention.{k}": v for k, v in attention_grads.items()}
    found = leaves([context, weights, found_final, found_dx, found_dstate, [grads[key] for key in named]])
    wanted = leaves([expected, expected_weights, final, dx, dstate, list(named.values())])
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert np.allclose(a, b, rtol=0, atol=EXACT if dtype == "float64" else 1e-5)
    inferred = layer(x, state, **RAGGED[kind], return_weights=True)
    assert all(
        np.array_equal(a, b) for a, b in zip(leaves(inferred), leaves([context, found_final, weights]), strict=True)
    )


def test_weights_of_other_layouts(backend):
    layer, x = with_random_parameters(AttentionLSTM(5, 7, 4, dtype="float64")), numbers(3, 6, 5)
    _, _, weights = layer(x, lengths=LENGTHS, return_weights=True)
    _, _, turned = layer(x.swapaxes(0, 1), lengths=LENGTHS, time_major=True, return_weights=True)
    assert np.array_equal(turned.T, weights)
    for n in range(3):
        alone = layer(x[n], lengths=LENGTHS[n : n + 1], return_weights=True)[2]
        assert alone.shape == (6,) and np.allclose(alone, weights[n], rtol=0, atol=EXACT)


def test_seeds():
    for make in (lambda seed: Attention(5, 4, seed=seed), lambda seed: AttentionLSTM(3, 5, 4, seed=seed)):
        first, second, other = make(1).params.flat, make(1).params.flat, make(2).params.flat
        assert np.array_equal(first, second) and not np.array_equal(first, other)
    layer = AttentionLSTM(3, 5, 4, seed=1)
    assert np.array_equal(layer.params["lstm.U"], LSTM(3, 5, seed=1).params["U"])
    assert layer.params["attention.W"].any() and layer.params["attention.v"].any()


def test_repr():
    assert repr(Attention(5, 4)) == "Attention(5, 4)"
    assert repr(AttentionLSTM(3, 5, 4)) == "AttentionLSTM(3, 5, 4)"
    assert repr(AttentionLSTM(3, 5, 4, reverse=True)) == "AttentionLSTM(3, 5, 4, reverse=True)"


def test_a_classifier(backend):
    """What follows the pooling works on (N, H)."""
    model = Sequential(
        [Embedding(9, 4, seed=0), AttentionLSTM(4, 5, 3, seed=1), LayerNorm(5), Dropout(0.5), Dense(5, 2, seed=2)]
    )
    x = np.random.default_rng(0).integers(0, 9, (3, 6))
    y, state, tape = model.forward(x, None, LENGTHS, rng=np.random.default_rng(0))
    assert model.pools and y.shape == (3, 2) and y[[0, 2]].all()
    assert [None if entry is None else len(entry) for entry in state] == [None, 2, None, None, None]
    dx, _, grads = model.backward(tape, np.ones_like(y))
    assert dx is None and all(value.any() for value in grads.values())
    context, _ = model(x[0])
    assert context.shape == (2,)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: Attention(0, 4), ValueError, "^hidden_size must be at least 1, got 0"),
        (lambda: Attention(4, 2.5), TypeError, "^attention_size must be an integer, got 2.5"),
        (lambda: Attention(4, 2, dtype="int32"), TypeError, "^dtype must be float32 or float64"),
        (lambda: AttentionLSTM(3, 4, 0), ValueError, "^attention_size must be at least 1, got 0"),
        (lambda: AttentionLSTM(3, 4), TypeError, "attention_size"),
        (lambda: AttentionLSTM(3, 4, 2, reset_after=True), TypeError, "reset_after"),
        (lambda: Attention(3, 2)(np.ones((2, 4, 5), "float32")), ValueError, r"^x must have shape \(N, T, 3\), got"),
        (lambda: Attention(3, 2)(np.ones(3, "float32")), ValueError, r"^x must have shape \(N, T, 3\), got \(3,\)"),
        (lambda: Attention(3, 2)(np.ones((2, 4, 3))), TypeError, "^x must be float32, got float64"),
        (
            lambda: Attention(3, 2)(np.ones((2, 4, 3), "float32"), return_weights=1),
            TypeError,
            "^return_weights must be",
        ),
        (lambda: AttentionLSTM(3, 4, 2)(np.ones((2, 4, 5), "float32")), ValueError, r"^x must have shape \(N, T, 3\)"),
        (
            lambda: Sequential([Attention(3, 2), GRU(3, 4)]),
            ValueError,
            r"^layers\[1\] must not need a sequence where one before has pooled it, got GRU",
        ),
        (
            lambda: Sequential([AttentionLSTM(3, 4, 2), Dense(4, 3), Attention(3, 2)]),
            ValueError,
            r"^layers\[2\] must not need a sequence",
        ),
        (
            lambda: Sequential([LSTM(3, 4), Attention(4, 2)]).step(np.ones((1, 3), "float32")),
            ValueError,
            r"^layers\[1\] must run step by step, got Attention\(4, 2\), which needs whole sequences",
        ),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_a_gradient_that_is_not_like_the_context():
    layer = Attention(3, 2)
    for x, shape in ((np.ones((2, 4, 3), "float32"), r"\(2, 3\)"), (np.ones((4, 3), "float32"), r"\(3,\)")):
        _, tape = layer.forward(x)
        with pytest.raises(ValueError, match=rf"^dy must have shape {shape}, got \(5, 3\)"):
            layer.backward(tape, np.ones((5, 3), "float32"))
