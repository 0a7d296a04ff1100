"""Dropout: what it leaves out, how often, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from differences import layer_gradient_errors

from fastrnn import LSTM, Dense, Dropout, Embedding, Sequential


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_shares_and_scale(rate, dtype):
    x = rng(1).normal(size=(50, 40, 30)).astype(dtype) + 3
    y, _ = Dropout(rate).forward(x, rng=rng())
    kept = y != 0
    assert y.dtype == dtype
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / x.size)
    assert np.allclose(y[kept], x[kept] / (1 - rate), rtol=1e-6)
    for axis in range(3):  # independent along every axis
        assert np.ptp(kept.mean(axis=axis)) > 0


def test_inference_gives_x_as_it_is(dtype):
    x = rng(1).normal(size=(3, 4, 5)).astype(dtype)
    y = Dropout(0.5)(x)
    assert y.dtype == dtype and np.array_equal(y, x) and not np.may_share_memory(y, x)


def test_rate_zero_needs_no_generator():
    x = np.ones((2, 3), "float32")
    layer = Dropout(0)
    y, tape = layer.forward(x)
    assert np.array_equal(y, x)
    dy = 2 * x
    dx, _ = layer.backward(tape, dy)
    assert np.array_equal(dx, dy) and not np.may_share_memory(dx, dy)


@pytest.mark.parametrize("options", [{}, {"lengths": [4, 0, 2]}, {"mask": np.eye(3, 4, dtype=bool)}], ids=str)
@pytest.mark.parametrize("rate", [0, 0.4])
@pytest.mark.parametrize("shared_time", [False, True])
def test_gradients(shared_time, rate, options):
    layer, x = Dropout(rate, shared_time=shared_time), rng(1).normal(size=(3, 4, 5))
    assert layer_gradient_errors(layer, x, **options, seed=2)["x"] <= 1e-8


def test_float32_and_float64_draw_the_same():
    x = np.ones((20, 30, 5))
    y64, y32 = Dropout(0.3).forward(x, rng=rng())[0], Dropout(0.3).forward(x.astype("float32"), rng=rng())[0]
    assert np.array_equal(y64 == 0, y32 == 0)


@pytest.mark.parametrize("time_major", [False, True])
def test_shared_time(time_major):
    x = np.ones((20, 30, 10))
    y, _ = Dropout(0.5, shared_time=True).forward(x, rng=rng(), time_major=time_major)
    by_time = y if time_major else y.swapaxes(0, 1)
    assert (by_time == by_time[:1]).all()
    assert 0.3 < (by_time[0] == 0).mean() < 0.7
    assert np.ptp((by_time[0] == 0).mean(axis=0)) > 0 and np.ptp((by_time[0] == 0).mean(axis=1)) > 0


@pytest.mark.parametrize("position", [0, 1, 2])
def test_in_a_stack_it_takes_what_comes(backend, dtype, position):
    layers = [LSTM(3, 4, dtype=dtype, seed=0), Dense(4, 2, dtype=dtype, seed=1)]
    plain = Sequential(layers)
    layers = [LSTM(3, 4, dtype=dtype, seed=0), Dense(4, 2, dtype=dtype, seed=1)]
    layers.insert(position, Dropout(0.5))
    model = Sequential(layers)
    x = rng(1).normal(size=(2, 5, 3)).astype(dtype)
    y, state, tape = model.forward(x, rng=rng(3))
    assert (model.input_size, model.output_size, model.dtype, y.dtype) == (3, 2, dtype, dtype)
    assert np.array_equal(model(x)[0], plain(x)[0]) and not np.array_equal(y, plain(x)[0])
    assert state[position] is None
    assert model.backward(tape, y)[0].dtype == dtype


def test_draws_in_a_stack_do_not_depend_on_the_layout_or_the_lengths(backend):
    model = Sequential([Dropout(0.5), Dense(5, 5)])
    model.params["1.W"] = np.eye(5, dtype="float32")
    x = np.ones((3, 4, 5), "float32")
    y = model.forward(x, rng=rng())[0]
    turned = model.forward(x.swapaxes(0, 1), time_major=True, rng=rng())[0]
    assert np.array_equal(turned.swapaxes(0, 1), y)
    ragged = model.forward(x, lengths=[2, 0, 4], rng=rng())[0]
    assert np.array_equal(ragged, np.where(np.arange(4)[None, :, None] < np.array([2, 0, 4])[:, None, None], y, 0))


def test_repr():
    assert repr(Dropout(0.25)) == "Dropout(0.25)"
    assert repr(Dropout(0.5, shared_time=True)) == "Dropout(0.5, shared_time=True)"


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: Dropout(1.0), ValueError, "^rate must be at least 0 and below 1, got 1.0"),
        (lambda: Dropout(-0.1), ValueError, "^rate must be at least 0 and below 1, got -0.1"),
        (lambda: Dropout(float("nan")), ValueError, "^rate must be finite, got nan"),
        (lambda: Dropout("0.5"), TypeError, "^rate must be a number, got '0.5'"),
        (lambda: Dropout(True), TypeError, "^rate must be a number, got True"),
        (lambda: Dropout(0.5, shared_time=1), TypeError, "^shared_time must be True or False, got 1"),
        (lambda: Dropout(0.5).forward(np.ones((2, 3))), ValueError, r"^rng must be .* Dropout\(0.5\) draws from it"),
        (lambda: Dropout(0.5).forward(np.ones((2, 3), int), rng=rng()), TypeError, "^x must hold floating-point"),
        (
            lambda: Dropout(0.5, shared_time=True).forward(np.ones((2, 3)), rng=rng()),
            ValueError,
            r"^x must have shape \(N, T, D\) with shared_time, got \(2, 3\)",
        ),
        (lambda: Sequential([Dropout(0.5)]), ValueError, "^layers must hold at least one layer with a size of its own"),
        (
            lambda: Sequential([Dropout(0.5), Embedding(5, 3)]),
            ValueError,
            r"^layers\[1\] must come first, since it takes integers",
        ),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_a_gradient_that_is_not_like_y():
    layer, x = Dropout(0.5), np.ones((2, 3, 4), "float32")
    for options in ({}, {"lengths": [3, 1]}):
        _, tape = layer.forward(x, **options, rng=rng())
        with pytest.raises(ValueError, match=r"^dy must have shape \(2, 3, "):
            layer.backward(tape, np.ones((2, 2, 4), "float32"))
    with pytest.raises(TypeError, match=r"^dy must be float32, got float64"):
        layer.backward(layer.forward(x, rng=rng())[1], np.ones((2, 3, 4)))
