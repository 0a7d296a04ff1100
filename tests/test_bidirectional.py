"""Bidirectional: two layers, to the last bit; how it is made; what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from differences import leaves, map_state
from stacks import RECURRENT, D, H, inputs, with_random_parameters

from fastrnn import GRU, LSTM, Bidirectional, Dense, Sequential, SimpleRNN

LENGTHS = np.array([4, 0, 6])
MASK = np.array([[1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 1, 1]], bool)
MERGED = {
    "concat": lambda f, b: np.concatenate([f, b], axis=2),
    "sum": lambda f, b: f + b,
    "mul": lambda f, b: f * b,
    "ave": lambda f, b: (f + b) * 0.5,
    None: lambda f, b: (f, b),
}
SPLIT = {  # the gradient of each direction's y
    "concat": lambda dy, f, b: (dy[..., :H], dy[..., H:]),
    "sum": lambda dy, f, b: (dy, dy),
    "mul": lambda dy, f, b: (dy * b, dy * f),
    "ave": lambda dy, f, b: (dy * 0.5, dy * 0.5),
    None: lambda dy, f, b: dy,
}


def random_like(results):
    rng = np.random.default_rng(8)
    return map_state(lambda part: rng.normal(size=part.shape).astype(part.dtype), results)


def both(name, merge, dtype="float64"):
    """A bidirectional layer, and two plain ones with the same weights."""
    fwd = with_random_parameters(RECURRENT[name](dtype=dtype), 1)
    bwd = with_random_parameters(RECURRENT[name](reverse=True, dtype=dtype), 2)
    layer = Bidirectional(tuple(RECURRENT[name](reverse=r, dtype=dtype) for r in (False, True)), merge)
    for part, plain in (("fwd", fwd), ("bwd", bwd)):
        layer.params.update({f"{part}.{key}": value for key, value in plain.params.items()})
    return layer, fwd, bwd


@pytest.mark.parametrize("options", [{}, {"lengths": LENGTHS}, {"mask": MASK}], ids=["full", "lengths", "mask"])
@pytest.mark.parametrize("merge", MERGED)
@pytest.mark.parametrize("name", RECURRENT)
def test_it_is_two_layers(backend, name, merge, options, dtype):
    layer, fwd, bwd = both(name, merge, dtype)
    x = inputs(name, dtype=dtype)
    state = random_like(layer(x)[1])
    (y_f, s_f, tape_f), (y_b, s_b, tape_b) = fwd.forward(x, state[0], **options), bwd.forward(x, state[1], **options)
    kept = options["mask"][..., None] if "mask" in options else True  # where two layers tell of the same step
    y_f, y_b = np.where(kept, y_f, 0), np.where(kept, y_b, 0)
    y, final, tape = layer.forward(x, state, **options)
    dy, dfinal = random_like(y), random_like(final)
    d_f, d_b = (np.where(kept, d, 0) for d in SPLIT[merge](dy, y_f, y_b))
    (dx_f, ds_f, g_f), (dx_b, ds_b, g_b) = fwd.backward(tape_f, d_f, dfinal[0]), bwd.backward(tape_b, d_b, dfinal[1])
    found = [y, final, *layer.backward(tape, dy, dfinal)[:2]]
    expected = [MERGED[merge](y_f, y_b), (s_f, s_b), dx_f + dx_b, (ds_f, ds_b)]
    for a, b in zip(leaves(found), leaves(expected), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)
    grads = layer.backward(tape, dy, dfinal)[2]
    for key, value in [*((f"fwd.{k}", v) for k, v in g_f.items()), *((f"bwd.{k}", v) for k, v in g_b.items())]:
        assert np.array_equal(grads[key], value) and value.any()
    assert layer.output_size == leaves([y])[0].shape[2]


@pytest.mark.parametrize("name", RECURRENT)
def test_the_twin_that_it_makes(name, dtype):
    layer = Bidirectional(RECURRENT[name](dtype=dtype, seed=3))
    fwd, bwd = layer.layers
    assert type(bwd) is type(fwd) and (fwd.reverse, bwd.reverse) == (False, True)
    assert {**bwd._config(), "reverse": False} == {"reverse": False, **fwd._config()}
    assert bwd.dtype == fwd.dtype
    assert not np.array_equal(fwd.params["W"], bwd.params["W"])
    assert np.array_equal(fwd.params["W"], RECURRENT[name](dtype=dtype, seed=3).params["W"])


def test_seeds():
    def weights(first, **options):
        return Bidirectional(LSTM(3, 4, seed=first), **options).params.flat

    assert np.array_equal(weights(1), weights(1))
    assert np.array_equal(weights(1, seed=5), weights(1, seed=5))
    assert np.array_equal(weights(1, seed=5), weights(1, seed=np.random.default_rng(5)))
    assert not np.array_equal(weights(1), weights(2))
    assert not np.array_equal(weights(1, seed=5), weights(1, seed=6))


def test_names_within_a_stack():
    stack = Sequential([Dense(3, 4), Bidirectional(GRU(4, 5)), Dense(10, 2)])
    directions = [f"1.{part}.{key}" for part in ("fwd", "bwd") for key in ("W", "U", "b", "b_rec")]
    assert list(stack.params) == ["0.W", "0.b", *directions, "2.W", "2.b"]


def test_two_of_different_kinds(backend):
    layer = Bidirectional((GRU(D, 3, dtype="float64"), LSTM(D, 4, reverse=True, dtype="float64")))
    y, (h, (h_b, c_b)) = layer(inputs("LSTM"))
    assert y.shape == (3, 6, 7)
    assert (h.shape, h_b.shape, c_b.shape) == ((3, 3), (3, 4), (3, 4))
    assert np.array_equal(y[:, -1, :3], h) and np.array_equal(y[:, 0, 3:], h_b)


def test_repr():
    assert repr(Bidirectional(LSTM(3, 5))) == "Bidirectional(LSTM(3, 5))"
    assert repr(Bidirectional(GRU(3, 5), None)) == "Bidirectional(GRU(3, 5), merge=None)"


def pair_of(*layers):
    return lambda: Bidirectional(layers)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Bidirectional(Dense(3, 4)), TypeError, "^layer must be a recurrent layer, got Dense"),
        (lambda: Bidirectional("LSTM"), TypeError, "^layer must be a recurrent layer, got 'LSTM'"),
        (lambda: Bidirectional(Sequential([LSTM(3, 4)])), TypeError, "^layer must be a recurrent layer, got Seq"),
        (lambda: Bidirectional(Bidirectional(LSTM(3, 4))), TypeError, "^layer must be a recurrent layer, got Bidir"),
        (lambda: Bidirectional(LSTM(3, 4, reverse=True)), ValueError, "^layer must have reverse=False, got LSTM"),
        (lambda: Bidirectional(LSTM(3, 4), "max"), ValueError, "^merge must be one of 'concat', 'sum'.* got 'max'"),
        (lambda: Bidirectional(LSTM(3, 4), 1), TypeError, "^merge must be one of 'concat'.* got 1"),
        (lambda: Bidirectional(LSTM(3, 4), seed="a"), TypeError, "^seed must be an integer, got 'a'"),
        (lambda: Bidirectional(LSTM(3, 4), reverse=True), TypeError, "reverse"),
        (pair_of(LSTM(3, 4)), ValueError, "^layer must be one recurrent layer or two, got 1"),
        (pair_of(LSTM(3, 4), LSTM(3, 4)), ValueError, r"^layer\[1\] must have reverse=True, got LSTM"),
        (pair_of(GRU(3, 4, reverse=True), GRU(3, 4)), ValueError, r"^layer\[0\] must have reverse=False"),
        (pair_of(GRU(3, 4), 5), TypeError, r"^layer\[1\] must be a recurrent layer, got 5"),
        (pair_of(GRU(3, 4), GRU(2, 4, reverse=True)), ValueError, "^layer must be two of one input size and dtype"),
        (
            pair_of(GRU(3, 4), GRU(3, 4, reverse=True, dtype="float64")),
            ValueError,
            r"^layer must be two of one .* got GRU\(3, 4\) of float32 and GRU\(3, 4, reverse=True\) of float64",
        ),
        (
            lambda: Bidirectional((GRU(3, 4), GRU(3, 5, reverse=True)), "sum"),
            ValueError,
            r"^layer must be two of one output size for merge='sum', got \(4, 5\)",
        ),
        (
            lambda: Bidirectional((GRU(3, 4), GRU(3, 4, reverse=True)), seed=1),
            ValueError,
            "^seed must be None with a pair",
        ),
        (
            lambda: Bidirectional(Sequential([LSTM(3, 4)]).layers[0]),
            ValueError,
            "^layer must not be part of another",
        ),
        (
            lambda: Sequential([Bidirectional(LSTM(3, 4), None), Dense(4, 2)]),
            ValueError,
            r"^layers\[1\] must not follow Bidirectional\(.*\), whose y is a pair",
        ),
        (lambda: Sequential([Bidirectional(LSTM(3, 4)).layers[0]]), ValueError, r"^layers\[0\] must not be part of"),
    ],
)
def test_what_cannot_be_made(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_a_layer_that_was_refused_can_be_used():
    layer = SimpleRNN(3, 4)
    with pytest.raises(ValueError, match="merge"):
        Bidirectional(layer, "max")
    assert Bidirectional(layer).layers[0] is layer


def test_wrong_calls(backend):
    layer, x = Bidirectional(GRU(D, H, dtype="float64"), None), inputs("GRU")
    h = np.zeros((3, H))
    y, _, tape = layer.forward(x)
    for call, error, match in [
        (lambda: layer(x, h), TypeError, r"^state must be a tuple \(forward state, backward state\), got ndarray"),
        (lambda: layer(x, (h, h, h)), ValueError, r"^state must be a tuple .*, got 3 values"),
        (lambda: layer(x, (h, h[:2])), ValueError, r"^state must have shape \(3, 7\), got \(2, 7\)"),
        (lambda: layer(x[..., :2]), ValueError, r"^x must have shape \(N, T, 5\), got \(3, 6, 2\)"),
        (lambda: layer(x.swapaxes(0, 2), time_major=True), ValueError, r"^x must have shape \(T, N, 5\), got"),
        (lambda: layer.backward(tape, y[0]), ValueError, "^dy must be a pair of arrays, got ndarray"),
        (lambda: layer.backward(tape, (y[0],)), ValueError, "^dy must be a pair of arrays, got 1 values"),
        (lambda: layer.backward(tape, (y[0], y[1][:2])), ValueError, r"^dy\[1\] must have shape \(3, 6, 7\)"),
        (lambda: layer.backward(tape, y, h), TypeError, r"^dstate must be a tuple \(forward dstate, backward"),
        (lambda: Sequential([layer]).step(x[:, 0]), ValueError, r"^layers\[0\] must run step by step, got Bidirect"),
    ]:
        with pytest.raises(error, match=match):
            call()
