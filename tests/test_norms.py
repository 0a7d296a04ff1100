"""LayerNorm and BatchNorm: values, statistics over what counts, running statistics, gradients, errors."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
from cases import TOLERANCES
from differences import layer_gradient_errors
from stacks import with_random_parameters

from fastrnn import LSTM, BatchNorm, Dense, LayerNorm, Sequential

LENGTHS = np.array([4, 0, 2])
MASK = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 1, 0]], bool)
RAGGED = {"full": {}, "lengths": {"lengths": LENGTHS}, "mask": {"mask": MASK}}


def numbers(*shape):
    return np.random.default_rng(1).normal(size=shape) * 2 + 1


@pytest.mark.parametrize("outer", [(), (4,), (3, 4), (2, 3, 4), (0, 4), (3, 0)], ids=str)
def test_layer_norm(outer):
    layer, x = with_random_parameters(LayerNorm(5, 1e-3, dtype="float64")), numbers(*outer, 5)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3)
    y, _ = layer.forward(x)
    assert np.allclose(y, expected * layer.params["gain"] + layer.params["b"], rtol=0, atol=1e-13)
    assert np.array_equal(layer(x), y)


@pytest.mark.parametrize("options", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize("make", [LayerNorm, BatchNorm])
def test_gradients(make, options):
    layer, x = with_random_parameters(make(5, dtype="float64")), numbers(3, 4, 5)
    errors = layer_gradient_errors(layer, x, **options, seed=0)
    assert all(error <= TOLERANCES["gradient", "float64"] for error in errors.values()), errors


@pytest.mark.parametrize(("make", "shape"), [(LayerNorm, (5,)), (LayerNorm, (4, 5)), (BatchNorm, (4, 5))])
def test_gradients_of_other_shapes(make, shape):
    layer, x = with_random_parameters(make(5, dtype="float64")), numbers(*shape)
    errors = layer_gradient_errors(layer, x, seed=0)
    assert all(error <= TOLERANCES["gradient", "float64"] for error in errors.values()), errors


@pytest.mark.parametrize("options", RAGGED.values(), ids=RAGGED)
def test_batch_norm_in_training(options):
    layer, x = with_random_parameters(BatchNorm(5, eps=1e-3, dtype="float64")), numbers(3, 4, 5)
    valid = {"full": np.ones((3, 4), bool), "lengths": np.arange(4) < LENGTHS[:, None], "mask": MASK}
    counts = valid[next(name for name in RAGGED if RAGGED[name] is options)]
    rows = x[counts]
    y, _ = layer.forward(x, **options)
    expected = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-3) * layer.params["gain"] + layer.params["b"]
    assert np.allclose(y[counts], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("momentum", [0.1, 1])
def test_running_statistics(momentum, dtype):
    layer = BatchNorm(2, momentum, dtype=dtype)
    mean, var = np.zeros(2), np.ones(2)
    for k in range(3):
        x = np.random.default_rng(k).normal(3, 2, (4, 5, 2)).astype(dtype)
        layer.forward(x)
        rows = x.reshape(-1, 2).astype("float64")
        mean = (1 - momentum) * mean + momentum * rows.mean(0)
        var = (1 - momentum) * var + momentum * rows.var(0, ddof=1)
        tolerance = 1e-13 if dtype == "float64" else 1e-5
        assert np.allclose(layer.buffers["mean"], mean, rtol=tolerance)
        assert np.allclose(layer.buffers["var"], var, rtol=tolerance)
    before = [value.copy() for value in layer.buffers.values()]
    y = layer(x)
    scale = layer.params["gain"] / np.sqrt(var + 1e-5)
    assert np.allclose(y, (x - mean) * scale + layer.params["b"], atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(layer.buffers.values(), before, strict=True))


def test_running_statistics_of_a_batch_that_is_much_smaller_than_the_last(dtype):
    layer = BatchNorm(1, momentum=1, dtype=dtype)
    for scale in (1e6, 1.0):
        layer.forward(np.array([[scale], [3 * scale]], dtype))
        assert layer.buffers["mean"][0] == 2 * scale
        assert layer.buffers["var"][0] == 2 * scale**2


@pytest.mark.parametrize("make", [LayerNorm, BatchNorm])
def test_numbers_that_are_not_finite_pass_in_silence(make):
    layer, x = make(3), np.array([[np.inf, 1, 2], [np.nan, 0, 0], [3e38, -3e38, 0]], "float32")
    y, tape = layer.forward(x)
    layer.backward(tape, np.full_like(x, 3e38))
    assert np.isnan(y[0, 0])
    assert np.isnan(y[1, 0])
    layer(x)


def test_inference_does_not_depend_on_the_batch():
    layer, x = with_random_parameters(BatchNorm(5)), numbers(3, 4, 5).astype("float32")
    y = layer(x)
    assert all(np.array_equal(layer(x[n : n + 1]), y[n : n + 1]) for n in range(3))


def test_large_batches_in_float32():
    """Sums of a million numbers far from zero do not lose their digits."""
    x = (np.random.default_rng(0).normal(size=(1000, 1000, 1)) + 100).astype("float32")
    layer = BatchNorm(1, momentum=1)
    y, _ = layer.forward(x)
    assert abs(layer.buffers["mean"][0] - x.mean(dtype="float64")) < 1e-5
    assert abs(layer.buffers["var"][0] - x.var(dtype="float64")) < 1e-4
    assert abs(y.mean(dtype="float64")) < 1e-4


@pytest.mark.parametrize("options", [{"lengths": [0, 0, 0]}, {"mask": np.zeros((3, 4), bool)}], ids=str)
def test_a_batch_in_which_nothing_counts(options):
    layer, x = with_random_parameters(BatchNorm(5, dtype="float64")), np.full((3, 4, 5), np.nan)
    before = [value.copy() for value in layer.buffers.values()]
    y, tape = layer.forward(x, **options)
    dx, grads = layer.backward(tape, np.ones_like(y))
    assert np.isfinite(y).all() and not dx.any() and np.isfinite(grads.flat).all()
    assert all(np.array_equal(a, b) for a, b in zip(layer.buffers.values(), before, strict=True))


def test_one_position_that_counts():
    layer = BatchNorm(2, momentum=1, dtype="float64")
    y, tape = layer.forward(np.array([[[3.0, 4.0], [9.0, 9.0]]]), lengths=[1])
    assert np.array_equal(y, np.zeros((1, 2, 2)))
    assert layer.buffers["mean"].tolist() == [3, 4] and layer.buffers["var"].tolist() == [0, 0]
    assert np.isfinite(layer.backward(tape, np.ones((1, 2, 2)))[0]).all()


def test_buffers_of_a_stack():
    model = Sequential([BatchNorm(3), Sequential([LSTM(3, 4), BatchNorm(4)]), Dense(4, 2)])
    assert list(model.buffers) == ["0.mean", "0.var", "1.1.mean", "1.1.var"]
    assert model.buffers["1.1.var"] is model.layers[1].layers[1].buffers["var"]
    with pytest.raises(TypeError, match="assignment"):
        model.buffers["0.mean"] = 0
    x = numbers(2, 5, 3).astype("float32")
    model.forward(x)
    assert all((value != start).all() for value, start in zip(model.buffers.values(), (0, 1, 0, 1), strict=True))
    twin = copy.deepcopy(model)
    assert all(np.array_equal(twin.buffers[name], value) for name, value in model.buffers.items())
    assert not any(np.may_share_memory(twin.buffers[name], value) for name, value in model.buffers.items())


def test_a_run_that_fails_leaves_the_statistics(backend):
    """BatchNorm has run when the layer behind it refuses the state."""
    model = Sequential([BatchNorm(3), LSTM(3, 4)])
    before = [value.copy() for value in model.buffers.values()]
    with pytest.raises(ValueError, match=r"^state must be a tuple"):
        model.forward(np.ones((2, 5, 3), "float32"), [None, np.zeros(3)])
    assert all(np.array_equal(a, b) for a, b in zip(model.buffers.values(), before, strict=True))


def test_threads_do_not_lose_updates():
    """Each moves every mean a tenth of the way to 1: how many have done so can be read from it."""
    D = 200_000  # wide enough for NumPy to let other threads run
    layer, x = BatchNorm(D, dtype="float64"), np.ones((2, D))

    def train():
        for _ in range(10):
            layer.forward(x)

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.allclose(1 - layer.buffers["mean"], 0.9**40, rtol=1e-6)


@pytest.mark.parametrize("make", [LayerNorm, BatchNorm])
def test_memory_order_is_kept(make):
    layer, time_major = make(5), np.ones((4, 2, 5), "float32")
    y, tape = layer.forward(time_major.swapaxes(0, 1))
    assert y.shape == (2, 4, 5) and y.swapaxes(0, 1).flags.c_contiguous
    assert layer.backward(tape, y)[0].shape == (2, 4, 5)


@pytest.mark.parametrize("make", [LayerNorm, BatchNorm])
def test_writes_to_nothing_of_the_callers(make):
    layer, x, dy = make(3), np.ones((4, 3), "float32"), np.ones((4, 3), "float32")
    x.flags.writeable = dy.flags.writeable = False
    y, tape = layer.forward(x)
    first = layer.backward(tape, dy)
    second = layer.backward(tape, dy)
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1].flat, second[1].flat)
    assert not np.may_share_memory(y, x) and not np.may_share_memory(layer(x), x)


def test_repr():
    assert repr(LayerNorm(4)) == "LayerNorm(4)" and repr(BatchNorm(4)) == "BatchNorm(4)"


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: LayerNorm(0), ValueError, "^size must be at least 1, got 0"),
        (lambda: BatchNorm(2.0), TypeError, "^size must be an integer, got 2.0"),
        (lambda: LayerNorm(3, eps=0), ValueError, "^eps must be above 0 in float32, got 0"),
        (lambda: BatchNorm(3, eps=1e-60), ValueError, "^eps must be above 0 in float32, got 1e-60"),
        (lambda: LayerNorm(3, eps="small"), TypeError, "^eps must be a number, got 'small'"),
        (lambda: BatchNorm(3, momentum=0), ValueError, "^momentum must be above 0 and at most 1, got 0"),
        (lambda: BatchNorm(3, momentum=1.5), ValueError, "^momentum must be above 0 and at most 1, got 1.5"),
        (lambda: BatchNorm(3, momentum=float("inf")), ValueError, "^momentum must be finite"),
        (lambda: LayerNorm(3, dtype="float16"), TypeError, "^dtype must be float32 or float64"),
        (lambda: LayerNorm(3)(np.ones((4, 5), "float32")), ValueError, r"^x must have shape \(\.\.\., 3\), got"),
        (lambda: BatchNorm(3)(np.ones((4, 3))), TypeError, "^x must be float32, got float64"),
        (lambda: BatchNorm(3)(np.ones((4, 3), "float32"), [1, 2]), ValueError, "^lengths must have shape"),
        (lambda: BatchNorm(3)(np.ones((2, 4, 5, 3), "float32"), [1, 2]), ValueError, r"^x must have shape \(N, T, D\)"),
        (lambda: Sequential([LSTM(3, 4), LayerNorm(3)]), ValueError, r"^layers\[1\] must take 4 features"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("make", [LayerNorm, BatchNorm])
def test_a_gradient_that_is_not_like_y(make):
    layer = make(3)
    _, tape = layer.forward(np.ones((4, 3), "float32"))
    with pytest.raises(ValueError, match=r"^dy must have shape \(4, 3\), got \(3, 3\)"):
        layer.backward(tape, np.ones((3, 3), "float32"))
    with pytest.raises(ValueError, match=r"^tape must come from this layer's forward"):
        make(3).backward(tape, np.ones((4, 3), "float32"))
