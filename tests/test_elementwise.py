"""`Activation`: values, gradients against difference quotients, errors."""

from __future__ import annotations

import numpy as np
import pytest
from cases import TOLERANCES
from differences import gradient, relative_error

from fastrnn import Activation, Dense
from fastrnn.activations import NAMES

D = 3


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(4, 5, D))


FUNCTIONS = (*NAMES, "softmax", ("hard_sigmoid", 0.2, 0.4), ("elu", 0.3), ("leaky_relu", 0.2))


@pytest.mark.parametrize("name", FUNCTIONS, ids=str)
def test_gradient(name, x):
    layer = Activation(D, name, dtype="float64")
    dy = np.random.default_rng(1).normal(size=x.shape)
    _, tape = layer.forward(x)
    dx, _ = layer.backward(tape, dy)
    quotient = gradient(lambda: float(np.sum(dy * layer(x))), x)
    assert relative_error(dx, quotient) <= TOLERANCES["gradient", "float64"]


@pytest.mark.parametrize("name", ("tanh", "relu", "sigmoid"))
def test_is_what_a_dense_does(name, x):
    plain, whole = Dense(D, 2, dtype="float64", seed=0), Dense(D, 2, name, dtype="float64", seed=0)
    assert (Activation(2, name, dtype="float64")(plain(x)) == whole(x)).all()


@pytest.mark.parametrize("name", FUNCTIONS, ids=str)
def test_numbers_that_are_not_finite_pass_in_silence(name):
    layer, x = Activation(3, name), np.array([[np.inf, 1, -np.inf], [np.nan, 0, 0], [3e38, -3e38, 0]], "float32")
    y, tape = layer.forward(x)
    layer.backward(tape, np.full_like(x, 3e38))
    assert np.isnan(y[1, 0])


def test_softmax_of_large_numbers():
    y = Activation(3, "softmax")(np.array([[1000.0, 1000.0, -1000.0]], "float32"))
    assert y.tolist() == [[0.5, 0.5, 0.0]]


def test_an_unknown_function_is_an_error():
    with pytest.raises(ValueError, match=r"activation must be one of .*'softmax', or a tuple .*, got 'swish'"):
        Activation(3, "swish")


def test_numbers():
    assert Activation(3, ("elu", 1.0)).activation == "elu"
    assert Activation(3, ("elu", 0.5))([[-1.0, 0.0, 2.0]])[0, 2] == 2
    with pytest.raises(ValueError, match="activation must have at most 0 numbers for 'tanh'"):
        Activation(3, ("tanh", 1.0))


def test_a_rebuilt_layer_is_the_same():
    for option in ("softmax", "relu", ("hard_sigmoid", 0.2, 0.4)):
        layer = Activation(3, option, dtype="float64")
        assert repr(Activation(**layer._config())) == repr(layer)
