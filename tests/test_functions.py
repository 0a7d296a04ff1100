"""The functions that gates may use: exact values and slopes, limits, and how layers take and name them.

A scan of one step with one input and one unit, weight 1 and no bias, is the bare function of x, and dx its slope.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import TOLERANCES, Case, Problem, assert_agree, make_problem, outputs
from differences import gradient_errors

import fastrnn
from fastrnn.activations import NAMES, Function, as_function, sigmoid
from fastrnn.cells import Cell
from fastrnn.ops import rnn_backward, rnn_forward

# value and slope as in a textbook, of longdouble
FORMULAS = {
    "tanh": (np.tanh, lambda a: 1 - np.tanh(a) ** 2),
    "sigmoid": (lambda a: 1 / (1 + np.exp(-a)), lambda a: np.exp(-a) / (1 + np.exp(-a)) ** 2),
    "relu": (lambda a: np.maximum(a, 0), lambda a: 1.0 * (a > 0)),
    "linear": (lambda a: a, np.ones_like),
    "softsign": (lambda a: a / (1 + np.abs(a)), lambda a: 1 / (1 + np.abs(a)) ** 2),
    "softplus": (lambda a: np.log1p(np.exp(a)), lambda a: 1 / (1 + np.exp(-a))),
    "hard_sigmoid": (lambda a: np.clip(a / 6 + 0.5, 0, 1), lambda a: np.where(np.abs(a) < 3, 1 / 6, 0)),
    ("hard_sigmoid", 0.2, 0.5): (
        lambda a: np.clip(0.2 * a + 0.5, 0, 1),
        lambda a: np.where(np.abs(a) < 2.5, 0.2, 0),
    ),
    "leaky_relu": (lambda a: np.where(a > 0, a, 0.01 * a), lambda a: np.where(a > 0, 1, 0.01)),
    ("leaky_relu", 0.3): (lambda a: np.where(a > 0, a, 0.3 * a), lambda a: np.where(a > 0, 1, 0.3)),
    "thresholded_relu": (lambda a: np.where(a > 1, a, 0), lambda a: 1.0 * (a > 1)),
    ("thresholded_relu", 0.25): (lambda a: np.where(a > 0.25, a, 0), lambda a: 1.0 * (a > 0.25)),
    "scaled_tanh": (np.tanh, lambda a: 1 - np.tanh(a) ** 2),
    ("scaled_tanh", 1.75, 0.75): (
        lambda a: 1.75 * np.tanh(0.75 * a),
        lambda a: 1.75 * 0.75 * (1 - np.tanh(0.75 * a) ** 2),
    ),
    "affine": (lambda a: a, np.ones_like),
    ("affine", -0.5, 0.75): (lambda a: 0.75 - 0.5 * a, lambda a: np.full_like(a, -0.5)),
    "elu": (lambda a: np.where(a > 0, a, np.expm1(a)), lambda a: np.where(a > 0, 1, np.exp(a))),
    ("elu", 0.5): (lambda a: np.where(a > 0, a, 0.5 * np.expm1(a)), lambda a: np.where(a > 0, 1, 0.5 * np.exp(a))),
}
LIMITS: dict[Any, tuple[float, float]] = {
    "tanh": (-1, 1),
    "sigmoid": (0, 1),
    "relu": (0, np.inf),
    "linear": (-np.inf, np.inf),
    "softplus": (0, np.inf),
    "hard_sigmoid": (0, 1),
    "leaky_relu": (-np.inf, np.inf),
    "thresholded_relu": (0, np.inf),
    ("scaled_tanh", 1.75, 0.75): (-1.75, 1.75),
    ("affine", -0.5, 0.75): (np.inf, -np.inf),
    "elu": (-1, np.inf),
}
MORE = (("hard_sigmoid", 0.2, 0.5), ("leaky_relu", 0.3), ("thresholded_relu", 3.0), ("elu", 0.5), ("affine", 0.5, 0.25))


def of(option: Any, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value and slope at every element of a, as a scan gives them."""
    cell = Cell("rnn", activation=as_function("activation", option))
    params = {"W": np.ones((1, 1), a.dtype), "U": np.zeros((1, 1), a.dtype), "b": np.zeros(1, a.dtype)}
    y, _, tape = rnn_forward(cell, params, a[:, None, None], keep=True)
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    dx, _ = rnn_backward(tape, np.ones_like(y), grads=grads)
    return y.ravel(), dx.ravel()


def arguments(dtype: str) -> np.ndarray:
    """Numbers of both signs and all sizes; none within rounding of a kink."""
    rng = np.random.default_rng(0)
    a = np.concatenate([rng.uniform(-12, 12, 4000), rng.normal(size=2000) * 2.0 ** rng.integers(-20, 5, 2000)])
    for kink in (0.25, 1.0, 2.5, 3.0):
        a = a[np.abs(np.abs(a) - kink) > 1e-4]
    return a.astype(dtype)


def test_every_function_is_here():
    assert {option if isinstance(option, str) else option[0] for option in FORMULAS} == set(NAMES)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("option", FORMULAS, ids=str)
def test_values_and_slopes(backend, option, dtype):
    """Slopes come from rounded values: their error is absolute."""
    a = arguments(dtype)
    y, slope = of(option, a)
    assert y.dtype == slope.dtype == dtype
    value, derivative = (f(a.astype(np.longdouble)) for f in FORMULAS[option])
    eps = np.finfo(dtype).eps
    assert np.max(np.abs(y - value) / np.maximum(np.abs(value), 0.01 if option != "linear" else 1e-30)) <= 60 * eps
    assert np.max(np.abs(slope - derivative)) <= 8 * eps


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("option", LIMITS, ids=str)
def test_limits(backend, option, dtype):
    """At infinity, and beyond what an exponential can take, without a warning."""
    y, _ = of(option, np.array([-np.inf, np.inf], dtype))
    assert np.array_equal(y, np.array(LIMITS[option], dtype))
    large = np.array([-1e30, -1e4, 1e4, 1e30], dtype)
    y, slope = of(option, large)
    value = np.where(np.isinf(LIMITS[option]), np.nan, LIMITS[option])
    for k in range(4):
        if not np.isnan(value[k // 2]):
            assert y[k] == np.array(value[k // 2], dtype)
    assert np.isfinite(slope).all()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("option", FORMULAS, ids=str)
def test_not_a_number_stays_one(backend, option, dtype):
    a = np.linspace(-2, 2, 37).astype(dtype)
    clean, _ = of(option, a)
    a[5] = np.nan
    y, _ = of(option, a)
    assert np.isnan(y[5])
    assert np.array_equal(np.delete(y, 5), np.delete(clean, 5))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("option", FORMULAS, ids=str)
def test_what_overflows_is_infinite_without_a_warning(backend, option):
    cell = Cell("rnn", activation=as_function("activation", option))
    params = {"W": np.full((1, 1), 1e30, "f4"), "U": np.full((1, 1), 2, "f4"), "b": np.zeros(1, "f4")}
    y, _, tape = rnn_forward(cell, params, np.full((1, 2, 1), 1e30, "f4"), keep=True)
    dx, _ = rnn_backward(tape, np.ones_like(y), grads={name: np.zeros_like(a) for name, a in params.items()})
    assert np.array_equal(y[0, 0], of(option, np.full(1, np.inf, "f4"))[0], equal_nan=True)
    assert dx.shape == (1, 2, 1)


def problem_with(kind: str, case: Case, **functions: Any) -> Problem:
    """A problem that stays off the kinks, with these functions."""
    problem = make_problem(f"{kind} + kinked", case)
    fields = {name: as_function(name, option) for name, option in functions.items()}
    return replace(problem, cell=replace(problem.cell, **fields))


ANY = [*NAMES, *MORE]
PLACES = [
    ("rnn_tanh", "activation"),
    *((kind, place) for kind in ("lstm", "gru", "gru_before") for place in ("activation", "recurrent_activation")),
]


def off_the_kinks(option: Any) -> Any:
    """With the threshold at 3, where problems have no numbers."""
    return ("thresholded_relu", 3.0) if option == "thresholded_relu" else option


@pytest.mark.usefixtures("compiled", "isa")
@pytest.mark.parametrize("option", ANY, ids=str)
@pytest.mark.parametrize(("kind", "place"), PLACES)
def test_agreement_in_every_place(kind, place, option, dtype):
    problem = problem_with(kind, Case("N5 T4 H17", 5, 4, 3, 17), **{place: off_the_kinks(option)})
    with fastrnn.use_backend("numpy"):
        expected = outputs(problem)
    assert_agree(outputs(problem.cast(dtype)), expected, TOLERANCES["agreement", dtype])


@pytest.mark.parametrize("option", ANY, ids=str)
@pytest.mark.parametrize(("kind", "place"), PLACES)
def test_gradients_in_every_place(backend, kind, place, option):
    problem = problem_with(kind, Case("N6 T2 H3", 6, 2, 2, 3), **{place: off_the_kinks(option)})
    errors = gradient_errors(problem, entries=12)
    assert all(error <= TOLERANCES["gradient", "float64"] for error in errors.values()), errors


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("option", FORMULAS, ids=str)
def test_no_gradient_where_the_argument_was_cut(backend, option, dtype):
    a = arguments(dtype)
    a = a[np.abs(np.abs(a) - 0.7) > 1e-3]
    cell = Cell("rnn", activation=as_function("activation", option), clip=0.7)
    params = {"W": np.ones((1, 1), dtype), "U": np.zeros((1, 1), dtype), "b": np.zeros(1, dtype)}
    y, _, tape = rnn_forward(cell, params, a[:, None, None], keep=True)
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    dx, _ = rnn_backward(tape, np.ones_like(y), grads=grads)
    value, slope = of(option, np.clip(a, -0.7, 0.7).astype(dtype))
    assert np.array_equal(y.ravel(), value)
    assert np.array_equal(dx.ravel(), np.where(np.abs(a) > 0.7, 0, slope))


# ---------------------------------------------------------------------------------------------------------------------
# As options of layers


@pytest.mark.parametrize(
    ("given", "function", "shown"),
    [
        ("tanh", Function("tanh"), "tanh"),
        (("tanh",), Function("tanh"), "tanh"),
        ("hard_sigmoid", Function("hard_sigmoid", 1 / 6, 1 / 2), "hard_sigmoid"),
        (("hard_sigmoid", 0.2), Function("hard_sigmoid", 0.2, 0.5), ("hard_sigmoid", 0.2, 0.5)),
        (["affine", 2], Function("affine", 2.0, 0.0), ("affine", 2.0, 0.0)),
        (("elu", np.float32(0.5)), Function("elu", 0.5), ("elu", 0.5)),
        (("leaky_relu", 0.01), Function("leaky_relu", 0.01), "leaky_relu"),
    ],
)
def test_as_function(given, function, shown):
    assert as_function("activation", given) == function
    assert function.option == shown
    assert as_function("activation", function.option) == function


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            "gelu",
            ValueError,
            "^activation must be one of 'tanh', .*'elu', or a tuple of it and its numbers, got 'gelu'",
        ),
        (None, TypeError, "^activation must be one of"),
        (np.tanh, TypeError, "^activation must be one of"),
        ((), TypeError, "^activation must be one of"),
        ((0.5, "elu"), TypeError, "^activation must be one of"),
        (("tanh", 1.0), ValueError, "^activation must have at most 0 numbers for 'tanh'"),
        (("elu", 1.0, 2.0), ValueError, "^activation must have at most 1 numbers for 'elu'"),
        (("elu", "1"), TypeError, "^activation must have numbers behind 'elu'"),
        (("elu", True), TypeError, "^activation must have numbers behind 'elu'"),
        (("elu", np.nan), ValueError, "^activation must have finite numbers behind 'elu'"),
        (("affine", 1.0, np.inf), ValueError, "^activation must have finite numbers behind 'affine'"),
        (("scaled_tanh", 0.0), ValueError, "^activation must have an alpha other than 0 for 'scaled_tanh'"),
        (("leaky_relu", -0.1), ValueError, "^activation must have an alpha of at least 0 for 'leaky_relu', got"),
        (("thresholded_relu", -1), ValueError, "^activation must have an alpha of at least 0 for 'thresholded_relu'"),
        (("elu", -1.0), ValueError, "^activation must have an alpha of at least 0 for 'elu'"),
    ],
)
def test_wrong_functions(given, error, message):
    if given is None:
        error = (TypeError, ValueError)
    for argument, make in [
        ("activation", fastrnn.SimpleRNN),
        ("activation", fastrnn.GRU),
        ("recurrent_activation", fastrnn.LSTM),
        ("output_activation", fastrnn.LSTM),
    ]:
        if given is None and argument == "output_activation":
            continue
        with pytest.raises(error, match=message.replace("activation", argument, 1)):
            make(3, 4, **{argument: given})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_tail_of_the_sigmoid(dtype):
    a = np.linspace(-80, 80, 2001).astype(dtype)
    exact = 1 / (1 + np.exp(-a.astype(np.longdouble)))
    with np.errstate(all="raise", under="ignore"):
        found = sigmoid(a)
    assert found.dtype == dtype
    assert np.abs(found / exact - 1).max() < 4 * np.finfo(dtype).eps
    assert sigmoid(np.array([-1e4, 1e4], dtype)).tolist() == [0, 1]
