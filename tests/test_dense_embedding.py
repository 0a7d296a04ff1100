"""Dense and Embedding: values, gradients, memory order, errors."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from cases import TOLERANCES
from differences import gradient, relative_error
from stacks import with_random_parameters

import fastrnn
from fastrnn import Attention, Dense, Embedding, LayerNorm, MaxSteps, Sequential

ACTIVATIONS = {
    None: lambda a: a,
    "tanh": np.tanh,
    "relu": lambda a: np.where(a > 0, a, 0),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
}


@pytest.mark.parametrize("outer", [(), (4,), (3, 4), (2, 3, 4), (0, 4), (3, 0)], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense(activation, outer):
    layer = with_random_parameters(Dense(5, 3, activation, dtype="float64"))
    x = np.random.default_rng(1).normal(size=(*outer, 5))
    y, tape = layer.forward(x)
    expected = ACTIVATIONS[activation](x @ layer.params["W"] + layer.params["b"])
    assert y.shape == (*outer, 3)
    assert np.allclose(y, expected, rtol=0, atol=1e-14)
    assert np.array_equal(layer(x), y)
    dy = np.random.default_rng(2).normal(size=y.shape)
    dx, grads = layer.backward(tape, dy)
    for name, got, at in [("x", dx, x), *((name, grads[name], layer.params[name]) for name in "Wb")]:
        error = relative_error(got, gradient(lambda: float(np.sum(dy * layer(x))), at))
        assert error <= TOLERANCES["gradient", "float64"], name
    without, grads2 = layer.backward(tape, dy, input_gradient=False)
    assert without is None
    assert np.array_equal(grads2.flat, grads.flat)


def test_infinities_pass_through_dense_in_silence(backend):
    layer = Dense(5, 1, seed=0)
    layer.params["W"][:, 0] = 1, -1, 1, 1, 1
    y, tape = layer.forward(np.full((3, 5), np.inf, "float32"))
    assert np.isnan(y).all()
    dx, grads = layer.backward(tape, np.float32([[1], [-1], [1]]))
    assert np.isnan(grads["W"]).all()
    assert np.array_equal(dx[:, 1], [-1, 1, -1])


def test_dense_keeps_the_order_of_memory():
    layer = Dense(5, 3, seed=0)
    time_major = np.ones((4, 2, 5), "float32")
    y, tape = layer.forward(time_major.swapaxes(0, 1))
    assert y.shape == (2, 4, 3)
    assert y.swapaxes(0, 1).flags.c_contiguous
    dx, _ = layer.backward(tape, y)
    assert dx.shape == (2, 4, 5)


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 0), (0,)], ids=str)
def test_embedding(shape):
    layer = Embedding(6, 3, dtype="float64", seed=0)
    x = np.random.default_rng(1).integers(0, 5, shape)  # some twice, 5 never
    y, tape = layer.forward(x)
    assert y.shape == (*shape, 3)
    assert np.array_equal(y, layer.params["W"][x])
    dy = np.random.default_rng(2).normal(size=y.shape)
    dx, grads = layer.backward(tape, dy)
    assert dx is None
    expected = np.zeros((6, 3))
    np.add.at(expected, x, dy)
    assert np.allclose(grads["W"], expected, rtol=0, atol=1e-14)


def test_the_table_of_an_embedding_begins_small():
    W = Embedding(500, 4, seed=0).params["W"]
    assert 0.045 < np.abs(W).max() <= 0.05
    assert abs(W.mean()) < 0.005


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Dense(0, 3), ValueError, "^input_size must be at least 1, got 0"),
        (lambda: Dense(3, 0), ValueError, "^output_size must be at least 1, got 0"),
        (lambda: Dense(3, 2.0), TypeError, "^output_size must be an integer, got 2.0"),
        (lambda: Dense(3, 2, "gelu"), ValueError, "^activation must be one of None, 'tanh', 'relu', 'sigmoid'"),
        (lambda: Dense(3, 2, dtype="float16"), TypeError, "^dtype must be float32 or float64"),
        (lambda: Dense(3, 2, use_bias=False), TypeError, "use_bias"),
        (
            lambda: Dense(3, 2)(np.ones((4, 5), "float32")),
            ValueError,
            r"^x must have shape \(\.\.\., 3\), got \(4, 5\)",
        ),
        (lambda: Dense(3, 2)(np.ones((4, 3))), TypeError, "^x must be float32, got float64"),
        (lambda: Dense(3, 2)(np.ones((4, 3), int)), TypeError, "^x must hold floating-point numbers"),
        (lambda: Dense(3, 2)(1.0), ValueError, r"^x must have shape \(3,\), got \(\)"),
        (lambda: Embedding(0, 3), ValueError, "^vocab must be at least 1, got 0"),
        (lambda: Embedding(3, 0), ValueError, "^dim must be at least 1, got 0"),
        (lambda: Embedding(3, 2)([0, 3]), ValueError, r"^x must lie in 0\.\.2, got 3"),
        (lambda: Embedding(3, 2)([-1]), ValueError, r"^x must lie in 0\.\.2, got -1"),
        (lambda: Embedding(3, 2)([0.5]), TypeError, "^x must hold integers, got float64"),
        (lambda: Embedding(3, 2)([True]), TypeError, "^x must hold integers, got bool"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("make", [lambda: Dense(3, 2), lambda: Embedding(3, 2)], ids=["Dense", "Embedding"])
def test_errors_of_backward(make):
    layer, other = make(), make()
    x = np.ones((4, 3), "float32") if isinstance(layer, Dense) else np.ones(4, int)
    y, tape = layer.forward(x)
    for arguments, error, message in [
        ((other.forward(x)[1], y), ValueError, "^tape must come from this layer's forward, got one of another"),
        ((None, y), TypeError, "^tape must come from this layer's forward, got NoneType"),
        ((tape, y[:-1]), ValueError, r"^dy must have shape \(4, 2\), got \(3, 2\)"),
        ((tape, np.ones((4, 2), int)), TypeError, "^dy must hold floating-point numbers"),
    ]:
        with pytest.raises(error, match=message):
            layer.backward(*arguments)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense_writes_to_nothing_of_the_callers(activation):
    layer, x, dy = Dense(3, 2, activation, seed=0), np.ones((4, 3), "float32"), np.ones((4, 2), "float32")
    x.flags.writeable = dy.flags.writeable = False
    y, tape = layer.forward(x)
    first, _ = layer.backward(tape, dy)
    first = first.copy()
    assert np.array_equal(layer.backward(tape, dy)[0], first)
    assert not np.may_share_memory(y, x)


LENGTHS, MASK = np.array([4, 0, 2]), np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 1, 0]], bool)
WITHIN = np.arange(4) < LENGTHS[:, None]


def ragged_pair(kind):
    """A layer, x (3, 4, ...) with nonsense where nothing counts, the call's options, what counts."""
    options, counts = ({"lengths": LENGTHS}, WITHIN) if kind == "lengths" else ({"mask": MASK}, MASK)
    dense = with_random_parameters(Dense(5, 3, "tanh", dtype="float64"))
    x = np.random.default_rng(1).normal(size=(3, 4, 5))
    x[~counts] = np.nan
    return dense, x, options, counts


@pytest.mark.parametrize("kind", ["lengths", "mask"])
def test_ragged_batches_alone_are_those_of_a_stack(kind):
    layer, x, options, counts = ragged_pair(kind)
    y, tape = layer.forward(x, **options)
    stack = Sequential([with_random_parameters(Dense(5, 3, "tanh", dtype="float64"))])
    y2, _, stack_tape = stack.forward(x, **options)
    dy = np.random.default_rng(2).normal(size=y.shape)
    if kind == "lengths":
        dy[~counts] = np.inf
        assert not y[~counts].any()
    dx, grads = layer.backward(tape, dy)
    dx2, _, grads2 = stack.backward(stack_tape, dy)
    for a, b in [(y, y2), (dx, dx2), (grads.flat, grads2.flat), (layer(x, **options), y)]:
        assert np.allclose(a, b, rtol=0, atol=1e-14) and np.isfinite(a).all()
    assert not dx[~counts].any() and dx[counts].all()
    assert np.array_equal(y[counts], layer(np.where(counts[..., None], x, 0))[counts])


@pytest.mark.parametrize("kind", ["lengths", "mask"])
def test_other_layouts_of_ragged_batches(kind):
    layer, x, options, _ = ragged_pair(kind)
    y = layer(x, **options)
    turned = {key: value.T if key == "mask" else value for key, value in options.items()}
    assert np.allclose(layer(x.swapaxes(0, 1), **turned, time_major=True).swapaxes(0, 1), y, rtol=0, atol=1e-14)
    for n in range(3):
        alone = {key: value[n] if key == "mask" else value[n : n + 1] for key, value in options.items()}
        assert np.allclose(layer(x[n], **alone), y[n], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "options", [{}, {"lengths": LENGTHS}, {"mask": MASK.tolist()}], ids=["full", "lengths", "mask"]
)
def test_lists_take_the_dtype(options):
    x = np.random.default_rng(1).normal(size=(3, 4, 5)).astype("float32")
    for layer in (Dense(5, 2, seed=0), LayerNorm(5), MaxSteps(5), Attention(5, 2, seed=0)):
        y = layer(x, **options)
        assert y.dtype == "float32" and np.array_equal(layer(x.tolist(), **options), y)


@pytest.mark.parametrize("kind", ["lengths", "mask"])
def test_ragged_symbols(kind):
    layer = Embedding(6, 3, dtype="float64", seed=0)
    options, counts = ({"lengths": LENGTHS}, WITHIN) if kind == "lengths" else ({"mask": MASK}, MASK)
    x = np.where(counts, np.random.default_rng(1).integers(1, 6, (3, 4)), -99)
    y, tape = layer.forward(x, **options)
    assert np.array_equal(y[counts], layer.params["W"][x[counts]])
    assert kind == "mask" or not y[~counts].any()
    assert np.array_equal(layer(x[0], **{k: v[0] if k == "mask" else v[:1] for k, v in options.items()}), y[0])
    beyond = np.nan if kind == "lengths" else 0
    grads = layer.backward(tape, np.where(counts[..., None], np.ones((3, 4, 3)), beyond))[1]
    assert np.array_equal(grads["W"], np.bincount(x[counts], minlength=6)[:, None] * np.ones(3))


@pytest.mark.parametrize(
    ("options", "shape", "error", "match"),
    [
        ({"lengths": [1, 2, 3], "mask": MASK}, (3, 4, 5), ValueError, "^lengths and mask must not both be given"),
        ({"lengths": [1, 2]}, (3, 4, 5), ValueError, r"^lengths must have shape \(3,\), got \(2,\)"),
        ({"mask": MASK.T}, (3, 4, 5), ValueError, r"^mask must have shape \(3, 4\), got \(4, 3\)"),
        ({"mask": MASK.astype("int8")}, (3, 4, 5), TypeError, r"^mask must hold True and False \(bool\), got int8"),
        ({"lengths": [1]}, (2, 3, 4, 5), ValueError, r"^x must have shape \(N, T, D\) with lengths or a mask, got"),
        ({"lengths": [1]}, (5,), ValueError, r"^x must have shape \(N, T, D\) with lengths or a mask, got \(5,\)"),
        ({"lengths": [1, 2]}, (4, 5), ValueError, r"^lengths must have shape \(1,\), got \(2,\)"),
        ({"nonsense": 1}, (3, 4, 5), TypeError, "nonsense"),
    ],
)
def test_wrong_ragged_batches(options, shape, error, match):
    for call in (Dense(5, 3).__call__, Dense(5, 3).forward):
        with pytest.raises(error, match=match):
            call(np.ones(shape, "float32"), **options)


@pytest.mark.parametrize("entry", ["run", "adjoint"])
def test_other_threads_run_meanwhile(backend, gemm, threads, entry):
    """A thread that only looks at the clock does so in the middle of a long product, at one of twenty times."""
    fastrnn.set_num_threads(1)
    layer, looks, stop = Dense(1024, 1024, seed=0), [], threading.Event()
    x = np.ones((2000, 1024), np.float32)
    _, tape = layer.forward(x)

    def look() -> None:
        while not stop.is_set():
            looks.append(time.perf_counter())
            time.sleep(1e-3)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(20):
            begin = time.perf_counter()
            layer(x) if entry == "run" else layer.backward(tape, x, input_gradient=False)
            quarter = (time.perf_counter() - begin) / 4
            if any(begin + quarter < at < begin + 3 * quarter for at in looks):
                return
    finally:
        stop.set()
        thread.join()
    pytest.fail("no other thread has run")
