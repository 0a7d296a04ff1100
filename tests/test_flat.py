"""The fused kernels over flat arrays: backends against each other, bits, values that are not finite."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

import fastrnn
from fastrnn import flat, reference_flat

Array = np.ndarray
SIZES = (0, 1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 100, 16384, 16385, 200_003)
SHAPES = ((0, 5), (1, 1), (3, 1), (5, 2), (4, 7), (6, 16), (7, 33), (9, 65), (3, 1000), (400, 130))
AGREEMENT = {"float64": 1e-12, "float32": 5e-6}
FUNCTIONS = ("adam", "sgd", "rmsprop", "squared_norm", "softmax_cross_entropy")


def numbers(n: int, dtype: str) -> list[Array]:
    """Parameters, gradient, and two moments, of which the second is positive."""
    rng = np.random.default_rng(n)
    params, grads, m, v = (rng.normal(size=n).astype(dtype) for _ in range(4))
    return [params, grads, m, v * v]


# Each rule changes the arrays that `numbers` made, and returns them.


def adam(params: Array, grads: Array, m: Array, v: Array) -> list[Array]:
    flat.kernels().adam(params, grads, m, v, 0.01, 1.5, 0.8, 0.95, 1e-3, 0.02, 0.7)
    return [params, grads, m, v]


def sgd(params: Array, grads: Array, m: Array, v: Array) -> list[Array]:
    flat.kernels().sgd(params, grads, None, 0.1, 0.0, False, 0.7)
    return [params, grads, m, v]


def momentum(params: Array, grads: Array, m: Array, v: Array) -> list[Array]:
    flat.kernels().sgd(params, grads, m, 0.1, 0.9, False, 0.7)
    return [params, grads, m, v]


def nesterov(params: Array, grads: Array, m: Array, v: Array) -> list[Array]:
    flat.kernels().sgd(params, grads, m, 0.1, 0.9, True, 0.7)
    return [params, grads, m, v]


def rmsprop(params: Array, grads: Array, m: Array, v: Array) -> list[Array]:
    flat.kernels().rmsprop(params, grads, v, 0.1, 0.9, 1e-3, 0.7)
    return [params, grads, m, v]


def squared_norm(params: Array, grads: Array, m: Array, v: Array) -> list[Array]:
    return [np.array(flat.kernels().squared_norm(params))]


UPDATES: tuple[Callable[..., list[Array]], ...] = (adam, sgd, momentum, nesterov, rmsprop)
RULES = (*UPDATES, squared_norm)


def cross_entropy(shape: tuple[int, int], dtype: str, weighted: bool) -> list[Array]:
    R, V = shape
    rng = np.random.default_rng(R + V)
    logits = (5 * rng.normal(size=shape)).astype(dtype)
    targets, weights = rng.integers(0, V, R), rng.integers(0, 3, R) / 2
    dlogits = np.full(shape, np.nan, dtype)
    loss = flat.kernels().softmax_cross_entropy(logits, targets, weights if weighted else None, 0.25, dlogits)
    return [np.array(loss), dlogits]


def on_numpy(function: Callable[..., list[Array]], *arguments) -> list[Array]:
    with fastrnn.use_backend("numpy"):
        return function(*arguments)


def assert_close(got: list[Array], expected: list[Array], tolerance: float) -> None:
    """Relative to the largest number, and to 1."""
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        assert np.all(np.abs(a - b) <= tolerance * max(1.0, float(np.abs(b).max(initial=0))))


def assert_same(got: list[Array], expected: list[Array]) -> None:
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(got, expected, strict=True))


@pytest.mark.usefixtures("compiled", "isa")
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("rule", RULES)
def test_backends_agree_on_flat_arrays(rule, n, dtype):
    assert_close(rule(*numbers(n, dtype)), on_numpy(rule, *numbers(n, dtype)), AGREEMENT[dtype])


@pytest.mark.usefixtures("compiled", "isa")
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weights"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_backends_agree_on_cross_entropy(shape, dtype, weighted):
    got = cross_entropy(shape, dtype, weighted)
    assert_close(got, on_numpy(cross_entropy, shape, dtype, weighted), AGREEMENT[dtype])


@pytest.mark.parametrize("n", [1, 33])
@pytest.mark.parametrize("rule", RULES)
def test_rules_in_float32_against_float64(backend, rule, n):
    """The same numbers, rounded."""
    assert_close(rule(*numbers(n, "float32")), rule(*numbers(n, "float64")), 5e-6)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("rule", RULES)
def test_the_same_bits_on_flat_arrays(rule, n, dtype, isa, threads):
    """On any number of threads, and on every instruction set with fused multiply-adds."""
    fastrnn.set_num_threads(1)
    expected = rule(*numbers(n, dtype))
    for number in (2, 3, 8):
        fastrnn.set_num_threads(number)
        assert_same(rule(*numbers(n, dtype)), expected)
    for other in {"avx2", "avx512"} & set(fastrnn.available_isas()) if isa != "baseline" else ():
        fastrnn.set_isa(other)
        assert_same(rule(*numbers(n, dtype)), expected)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weights"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_same_bits_of_cross_entropy(shape, dtype, weighted, isa, threads):
    fastrnn.set_num_threads(1)
    expected = cross_entropy(shape, dtype, weighted)
    for number in (2, 3, 8):
        fastrnn.set_num_threads(number)
        assert_same(cross_entropy(shape, dtype, weighted), expected)
    for other in {"avx2", "avx512"} & set(fastrnn.available_isas()) if isa != "baseline" else ():
        fastrnn.set_isa(other)
        assert_same(cross_entropy(shape, dtype, weighted), expected)


@pytest.mark.usefixtures("compiled", "isa")
@pytest.mark.parametrize("rule", UPDATES)
def test_a_number_anywhere_in_an_array(rule, dtype):
    """Tails of registers compute what whole registers do."""
    whole = rule(*numbers(100, dtype))
    alone = [rule(*(array[k : k + 1] for array in numbers(100, dtype))) for k in range(100)]
    assert_same([np.concatenate(parts) for parts in zip(*alone, strict=True)], whole)


@pytest.mark.parametrize("rule", UPDATES)
def test_an_update_changes_what_it_should(backend, rule, dtype):
    changed = {
        name
        for name, before, after in zip("pgmv", numbers(40, dtype), rule(*numbers(40, dtype)), strict=True)
        if not np.array_equal(before, after)
    }
    moments = {adam: "mv", sgd: "", momentum: "m", nesterov: "m", rmsprop: "v"}[rule]
    assert changed == {"p", *moments}


@pytest.mark.usefixtures("compiled", "isa")
def test_cross_entropy_of_a_row_in_any_batch(dtype):
    _, whole = cross_entropy((9, 65), dtype, False)
    rng = np.random.default_rng(9 + 65)
    logits, targets = (5 * rng.normal(size=(9, 65))).astype(dtype), rng.integers(0, 65, 9)
    for row in range(9):
        dlogits = np.empty((1, 65), dtype)
        flat.kernels().softmax_cross_entropy(logits[row : row + 1], targets[row : row + 1], None, 0.25, dlogits)
        assert np.array_equal(dlogits[0], whole[row])


@pytest.mark.parametrize("n", [1, 21, 64])
def test_what_is_not_finite_stays_where_it_is(backend, dtype, n):
    for value in (np.nan, np.inf, -np.inf):
        clean, dirty = numbers(n, dtype), numbers(n, dtype)
        dirty[1][n - 1] = value
        for arrays in (clean, dirty):
            flat.kernels().adam(*arrays, 0.01, 1.0, 0.9, 0.9, 1e-8, 0.0, 1.0)
        for a, b in zip(clean, dirty, strict=True):
            assert np.array_equal(a[:-1], b[:-1])
        assert np.isnan(dirty[0][-1])  # inf / sqrt(inf) too
        assert not np.isfinite(dirty[2][-1])
        assert not np.isfinite(flat.kernels().squared_norm(dirty[1]))
        params, grads, m, _ = numbers(n, dtype)
        grads[-1] = value
        flat.kernels().sgd(params, grads, m, 0.1, 0.5, False, 1.0)
        assert np.array_equal(params[-1], -grads[-1], equal_nan=True)
        assert np.isfinite(params[:-1]).all()


@pytest.mark.parametrize("V", [3, 16, 37])
def test_logits_that_are_not_finite(backend, dtype, V):
    """NaN and +inf spoil their own row only; -inf is a class of probability 0."""
    rng = np.random.default_rng(V)
    clean = rng.normal(size=(5, V)).astype(dtype)
    logits, targets = clean.copy(), np.zeros(5, np.int64)
    logits[1, V - 1], logits[2, 1], logits[3, V - 1], logits[4, 0] = np.nan, np.inf, -np.inf, -np.inf
    got, expected = np.empty_like(logits), np.empty_like(logits)
    loss = flat.kernels().softmax_cross_entropy(logits, targets, None, 1.0, got)
    flat.kernels().softmax_cross_entropy(clean, targets, None, 1.0, expected)
    assert np.isnan(loss)
    assert np.array_equal(got[0], expected[0])
    assert np.isnan(got[1]).all()
    assert np.isnan(got[2]).all()
    assert got[3, V - 1] == 0
    assert np.isfinite(got[3]).all()
    assert flat.kernels().softmax_cross_entropy(logits[4:], targets[4:], None, 1.0, got[4:]) == np.inf
    assert got[4, 0] == -1


def test_rows_of_weight_zero_are_not_read(backend, dtype):
    logits, targets = np.full((3, 20), np.nan, dtype), np.full(3, -7)
    logits[1], targets[1] = np.arange(20), 4
    dlogits, alone = np.full((3, 20), np.nan, dtype), np.empty((1, 20), dtype)
    weights = np.array([0, 0.5, 0])
    loss = flat.kernels().softmax_cross_entropy(logits, targets, weights, 2.0, dlogits)
    assert loss == flat.kernels().softmax_cross_entropy(logits[1:2], targets[1:2], None, 1.0, alone)
    assert np.array_equal(dlogits[1], alone[0])
    assert not np.any(dlogits[[0, 2]])


@pytest.mark.usefixtures("compiled", "isa")
def test_softmax_is_within_two_ulp_down_to_subnormal_numbers(dtype):
    """With a total of 1 to working precision, dlogits is exp(logit) itself."""
    lowest = -103.0 if dtype == "float32" else -744.0
    logits = np.linspace(lowest, -40.0, 5001).astype(dtype)
    logits[0], logits[-1] = 0, -np.inf
    got = np.empty((1, 5001), dtype)
    flat.kernels().softmax_cross_entropy(logits[None], np.zeros(1, np.int64), None, 1.0, got)
    exact = np.exp(logits.astype(np.longdouble))
    assert got[0, -1] == 0
    assert (np.abs(got[0, 1:] - exact[1:]) <= 2 * np.spacing(exact[1:].astype(dtype))).all()


def test_the_norm_is_accumulated_in_float64(backend):
    x = np.full(1 << 20, 0.1, "float32")
    assert flat.kernels().squared_norm(x) == pytest.approx(float(x[0]) ** 2 * (1 << 20), rel=1e-13)


def test_backends_have_equal_signatures():
    for name in fastrnn.available_backends():
        with fastrnn.use_backend(name):
            for function in FUNCTIONS:
                expected = list(inspect.signature(getattr(reference_flat, function)).parameters)
                assert list(inspect.signature(getattr(flat.kernels(), function)).parameters) == expected


@pytest.mark.usefixtures("compiled")
def test_the_current_backend_does_the_work():
    modules = []
    for name in fastrnn.available_backends():
        with fastrnn.use_backend(name):
            modules.append(flat.kernels())
    assert all(a is not b for a, b in pairwise(modules))
    assert modules[-1] is reference_flat


def test_control_a_deviation_is_seen():
    expected = on_numpy(adam, *numbers(33, "float64"))
    deviating = [array.copy() for array in expected]
    deviating[0][-1] += 1e-11
    with pytest.raises(AssertionError):
        assert_close(deviating, expected, AGREEMENT["float64"])
    with pytest.raises(AssertionError):
        assert_same(deviating, expected)
    deviating[0][-1] = np.nan
    with pytest.raises(AssertionError):
        assert_close(deviating, expected, AGREEMENT["float64"])
