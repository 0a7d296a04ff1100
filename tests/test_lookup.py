"""Layers that read an embedding's table by numbers give what they give for its rows."""

from __future__ import annotations

import numpy as np
import pytest
from cases import TOLERANCES, scaled_error

import fastrnn
from fastrnn import GRU, LSTM, Bidirectional, Dense, Embedding, Sequential, SimpleRNN, Tied
from fastrnn.lookup import Lookup

V, D, H = 4, 5, 19
LAYERS = {
    "rnn": lambda **o: SimpleRNN(D, H, **o),
    "rnn relu": lambda **o: SimpleRNN(D, H, activation="relu", **o),
    "lstm": lambda **o: LSTM(D, H, **o),
    "gru": lambda **o: GRU(D, H, **o),
    "gru before": lambda **o: GRU(D, H, reset_after=False, **o),
    "reverse": lambda **o: GRU(D, H, reverse=True, **o),
    "full peephole": lambda **o: LSTM(D, H, peephole="full", **o),
    "coupled": lambda **o: LSTM(D, H, peephole="diagonal", coupled=True, **o),
    "projection": lambda **o: LSTM(D, H, proj_size=8, clip=3.0, **o),
    "dropouts": lambda **o: LSTM(D, H, recurrent_dropout=0.3, zoneout=0.2, weight_drop=0.4, **o),
    "learned state": lambda **o: GRU(D, H, trainable_state=True, **o),
    "stack": lambda **o: Sequential([GRU(D, 6, **o), LSTM(6, H, **o)]),
    "both ways": lambda **o: Bidirectional(LSTM(D, H, **o), seed=4),
}
BATCHES = {
    "one row": (1, 40, {}),
    "batch": (23, 60, {}),  # several chunks of time
    "time first": (6, 9, {"time_major": True}),
    "ragged": (5, 9, {"lengths": [9, 0, 4, 9, 1]}),
    "holes": (4, 9, {"mask": np.random.default_rng(3).random((4, 9)) < 0.6}),
    "checkpoints": (3, 50, {"checkpoint": 7}),
}


def numbers(N, T, options):
    return np.random.default_rng(1).integers(0, V, (T, N) if options.get("time_major") else (N, T))


def run(layer, x, dy_of, options):
    """y, the final state and all gradients of a training run, by name."""
    y, state, tape = layer.forward(x, rng=np.random.default_rng(2), **options)
    dx, dstate, grads = layer.backward(tape, dy_of(y))
    return y, state, dx, dstate, dict(grads)


def gradient_of(y):
    return np.random.default_rng(5).normal(size=y.shape).astype(y.dtype)


def both(make, N, T, options, dtype):
    """The same network as a stack, which looks up, and as two layers, which do not."""
    embedding, layer = Embedding(V, D, dtype=dtype, seed=0), make(dtype=dtype, seed=1)
    codes = numbers(N, T, options)
    y, state, dx, dstate, expected = run(layer, embedding(codes), gradient_of, options)
    _, tape = embedding.forward(codes)
    expected = {f"1.{name}": value.copy() for name, value in expected.items()}
    expected["0.W"] = embedding.backward(tape, dx)[1]["W"].copy()
    got = run(Sequential([embedding, layer]), codes, gradient_of, options)
    return (got[0], got[1][1], got[3][1], got[4]), (y, state, dstate, expected)


def leaves(tree):
    return [leaf for part in tree for leaf in leaves(part)] if isinstance(tree, (tuple, list)) else [tree]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_stack_gives_what_its_layers_give(backend, layer, batch, dtype):
    got, expected = both(LAYERS[layer], *BATCHES[batch], dtype)
    for one, other in zip(leaves(got[:3]), leaves(expected[:3]), strict=True):
        assert scaled_error(one, other) <= TOLERANCES["agreement", dtype]
    assert got[3].keys() == expected[3].keys()
    for name, value in expected[3].items():
        assert scaled_error(got[3][name], value) <= TOLERANCES["agreement", dtype], name


@pytest.mark.usefixtures("simd", "isa", "threads")
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("layer", ["lstm", "gru", "gru before"])
def test_to_the_bit_but_for_the_sums_of_products(layer, batch, dtype, number):
    fastrnn.set_num_threads(number)
    got, expected = both(LAYERS[layer], *BATCHES[batch], dtype)
    for one, other in zip(leaves(got[:3]), leaves(expected[:3]), strict=True):
        assert np.array_equal(one, other)
    for name in expected[3].keys() - {"0.W", "1.W"}:
        assert np.array_equal(got[3][name], expected[3][name]), name


@pytest.mark.usefixtures("simd", "threads")
@pytest.mark.parametrize("options", [{}, {"checkpoint": 7}, {"lengths": [70, 0, 66, 70, 1, 70, 3, 70, 70]}], ids=str)
@pytest.mark.parametrize("make", [LSTM, GRU])
def test_any_number_of_threads_and_checkpoints(make, options, dtype):
    codes = numbers(9, 70, {})

    def found(number, **more):
        fastrnn.set_num_threads(number)
        model = Sequential([Embedding(V, 40, dtype=dtype, seed=0), make(40, 65, dtype=dtype, seed=1)])
        return leaves(
            [
                part if not isinstance(part, dict) else list(part.values())
                for part in run(model, codes, gradient_of, {**options, **more})
            ]
        )

    expected = found(1)
    for got in (found(2), found(3), found(2, **({} if "lengths" in options else {"checkpoint": 20}))):
        for one, other in zip(got, expected, strict=True):
            assert one is other is None or np.array_equal(one, other)


@pytest.mark.usefixtures("compiled", "gemm")
def test_every_way_to_multiply(dtype):
    got, expected = both(LAYERS["gru"], *BATCHES["batch"], dtype)
    assert scaled_error(got[0], expected[0]) <= TOLERANCES["agreement", dtype]
    for name, value in expected[3].items():
        assert scaled_error(got[3][name], value) <= TOLERANCES["agreement", dtype], name


@pytest.fixture
def seen(monkeypatch):
    """What recurrent layers were given."""
    inputs = []
    forward = fastrnn.ops.rnn_forward

    def spied(cell, params, x, *arguments, **options):
        inputs.append(x)
        return forward(cell, params, x, *arguments, **options)

    monkeypatch.setattr(fastrnn.ops, "rnn_forward", spied)
    return inputs


@pytest.mark.parametrize(
    ("make", "looks_up"),
    [
        (lambda: [LSTM(D, H, seed=1)], True),
        (lambda: [Bidirectional(GRU(D, H, seed=1), seed=2), Dense(2 * H, 3, seed=3)], True),
        (lambda: [LSTM(D, H, layer_norm=True, seed=1)], False),
        (lambda: [Dense(D, D, seed=1), LSTM(D, H, seed=2)], False),
    ],
    ids=["lstm", "both ways", "normalised", "dense between"],
)
def test_who_is_given_a_table(backend, seen, make, looks_up):
    model = Sequential([Embedding(V, D, seed=0), *make()])
    model(numbers(2, 16, {}))
    assert all(isinstance(x, Lookup) is looks_up for x in seen) and seen
    seen.clear()
    model(numbers(2, 15, {}))  # too few steps for a table of so many rows
    assert not any(isinstance(x, Lookup) for x in seen) and seen


def test_a_tied_model_reads_its_table_by_numbers(backend, seen, dtype):
    body = [LSTM(D, D, dtype=dtype, seed=1)]
    tied, plain = Tied(Embedding(V, D, dtype=dtype, seed=0), body), Embedding(V, D, dtype=dtype, seed=0)
    codes = numbers(3, 20, {})
    y, _, tape = tied.forward(codes)
    assert isinstance(seen[0], Lookup)
    dy = gradient_of(y)
    grads = tied.backward(tape, dy)[-1]
    layer, W = LSTM(D, D, dtype=dtype, seed=1), plain.params["W"]
    h, _, tape = layer.forward(plain(codes))
    assert scaled_error(y, h @ W.T) <= TOLERANCES["agreement", dtype]
    dx, _, expected = layer.backward(tape, dy @ W)
    dW = np.einsum("ntv,nth->vh", dy, h)
    np.add.at(dW, codes, dx)
    assert scaled_error(grads["embedding.W"], dW) <= TOLERANCES["agreement", dtype]
    for name, value in expected.items():
        assert scaled_error(grads[f"body.0.{name}"], value) <= TOLERANCES["agreement", dtype], name


def test_wrong_numbers_are_refused(backend):
    with pytest.raises(ValueError, match=rf"^x must lie in 0\.\.{V - 1}, got {V}"):
        Sequential([Embedding(V, D, seed=0), GRU(D, H, seed=1)])(np.full((4, 9), V))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("width", [1, 7, 64])
def test_rows_are_added_by_number(backend, width, dtype, number):
    fastrnn.set_num_threads(number)
    rng = np.random.default_rng(6)
    index, rows = rng.integers(-1, 30, 2000), rng.normal(size=(2000, width)).astype(dtype)
    rows[index < 0] = np.nan
    out = rng.normal(size=(31, width)).astype(dtype)
    expected = out.astype("float64")
    np.add.at(expected, index[index >= 0], rows[index >= 0].astype("float64"))
    fastrnn.backend.current().add_rows(out, index, rows)
    assert scaled_error(out, expected) <= TOLERANCES["agreement", dtype]


@pytest.mark.parametrize("index", [[], [-1, -1]], ids=["no rows", "none that counts"])
def test_no_rows_to_add(backend, index, dtype):
    out = np.ones((3, 2), dtype)
    fastrnn.backend.current().add_rows(out, np.array(index, np.int64), np.full((len(index), 2), np.nan, dtype))
    assert np.array_equal(out, np.ones((3, 2)))
