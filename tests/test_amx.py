"""Gradients made on AMX, from three bfloat16 parts of every float32: as near to float64's as fused products come."""

from __future__ import annotations

import numpy as np
import pytest
from cases import Case, make_problem, outputs

import fastrnn
from fastrnn import Dense

pytestmark = [
    pytest.mark.skipif("amx" not in fastrnn.available_isas(), reason="this CPU, system or build has no AMX"),
    pytest.mark.usefixtures("simd"),
    pytest.mark.parametrize("isa", ["amx"], indirect=True),
]

MATRICES = ("dx", "dW", "dU")
CASES = (
    Case("N20 T40 D97 H150", 20, 40, 97, 150),
    Case("N3 T700 D33 H64", 3, 700, 33, 64),
    Case("N1 T64 D300 H280", 1, 64, 300, 280),
    Case("N9 T30 D97 H160", 9, 30, 97, 160),  # the GRU's gradient of x in one product
    Case("N40 T14 D1 H150, ragged", 40, 14, 1, 150, lengths=tuple(k % 15 for k in range(40))),
)


def product(x: np.ndarray, d: np.ndarray) -> np.ndarray:
    """x' d, as the gradient of a dense layer's matrix."""
    layer = Dense(x.shape[1], d.shape[1], seed=0)
    tape = layer.forward(x[None])[-1]
    return layer.backward(tape, d[None])[-1]["W"]


def error(got: np.ndarray, exact: np.ndarray) -> float:
    """Root mean square of the difference, relative to that of the exact values."""
    return float(np.sqrt(np.mean((got - exact) ** 2) / np.mean(exact**2)))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_gradients_are_as_accurate_as_those_of_fused_products(cell, case, isa):
    problem = make_problem(cell, case)
    with fastrnn.use_backend("numpy"):
        exact = outputs(problem)
    found = outputs(problem.cast("float32"))
    fastrnn.set_isa("avx512")
    fused = outputs(problem.cast("float32"))
    for name in MATRICES:
        assert error(found[name], exact[name]) <= 1.2 * error(fused[name], exact[name])


@pytest.mark.parametrize("R", [512, 700, 1300])
@pytest.mark.parametrize(("M", "columns"), [(64, 64), (33, 70), (17, 129), (1, 500), (1100, 48)])
def test_a_product_of_numbers_of_all_sizes(R, M, columns, isa):
    """Below 2^-19 of the sum of the products' magnitudes, element by element; fused products come to 2^-19.9 here."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((R, M)) * 10.0 ** rng.uniform(-6, 6, (R, M))).astype(np.float32)
    d = (rng.standard_normal((R, columns)) * 10.0 ** rng.uniform(-6, 6, (R, columns))).astype(np.float32)
    exact, size = x.T.astype(float) @ d.astype(float), np.abs(x.T.astype(float)) @ np.abs(d.astype(float))
    assert np.all(np.abs(product(x, d) - exact) <= 2**-19 * size)


def test_single_products_are_exact_to_float32(isa):
    """One row of ones: what is left out of nine products of parts is below half a unit in the last place."""
    rng = np.random.default_rng(1)
    x, d = np.zeros((512, 64), np.float32), np.zeros((512, 64), np.float32)
    x[300], d[300] = rng.standard_normal(64), rng.standard_normal(64)
    exact = np.outer(x[300].astype(float), d[300].astype(float))
    assert np.all(np.abs(product(x, d) - exact) <= 2**-23 * np.abs(exact))
    d[300] = 1
    assert np.array_equal(product(x, d), np.broadcast_to(x[300][:, None], (64, 64)))


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001])
def test_nan_stays_nan_and_in_its_place(bits, isa):
    rng = np.random.default_rng(2)
    x, d = rng.standard_normal((512, 70)).astype(np.float32), rng.standard_normal((512, 64)).astype(np.float32)
    clean = product(x, d)
    x[400, 5] = np.uint32(bits).view(np.float32)
    found = product(x, d)
    assert np.all(np.isnan(found[5]))
    assert np.array_equal(np.delete(found, 5, 0), np.delete(clean, 5, 0))


def test_an_infinite_factor_is_no_number(isa):
    x, d = np.ones((512, 64), np.float32), np.ones((512, 64), np.float32)
    x[3, 7] = np.inf
    assert np.array_equal(np.isfinite(product(x, d)), np.arange(64)[:, None] != np.full((64, 64), 7))


def test_the_largest_and_the_smallest_numbers(isa):
    x, d = np.zeros((512, 64), np.float32), np.zeros((512, 64), np.float32)
    x[0], d[0] = 3e38, np.linspace(-1, 1, 64)
    assert np.allclose(product(x, d), np.outer(x[0], d[0]), rtol=2e-7)
    x[0] = 1e-30
    assert np.allclose(product(x, d), np.outer(x[0], d[0]), rtol=2e-7, atol=6 * np.finfo(np.float32).tiny)


def test_float64_is_not_touched(isa):
    problem = make_problem("lstm", CASES[0])
    found = outputs(problem)
    fastrnn.set_isa("avx512")
    assert all(np.array_equal(array, found[name]) for name, array in outputs(problem).items())
