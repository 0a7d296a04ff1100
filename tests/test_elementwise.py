"""`Activation`: values, gradients against difference quotients, errors."""

from __future__ import annotations

import numpy as np
import pytest
from cases import TOLERANCES
from differences import gradient, relative_error

from fastrnn import Activation, Dense

D = 3


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(4, 5, D))


FUNCTIONS = ("tanh", "relu", "sigmoid", "softmax")


@pytest.mark.parametrize("name", FUNCTIONS)
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


def test_softmax_of_large_numbers():
    y = Activation(3, "softmax")(np.array([[1000.0, 1000.0, -1000.0]], "float32"))
    assert y.tolist() == [[0.5, 0.5, 0.0]]


def test_an_unknown_function_is_an_error():
    with pytest.raises(ValueError, match=r"activation must be one of .*'softmax', got 'swish'"):
        Activation(3, "swish")
