"""The compiled sigmoid and tanh: within 2 units in the last place over the whole range, exact at its ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ulps import LIMITS, exact_values, ulps

import fastrnn

kernels: Any = pytest.importorskip("fastrnn.kernels", reason="the compiled backend is not installed")

MOST_ULPS = 2.0
FUNCTIONS = tuple(LIMITS)
WIDER = {"float32": np.float64, "float64": np.longdouble}
STEP = 1021  # between bit patterns of float32; a prime, so that the low bits differ from one sample to the next

# where errors came close to the bound, or beyond it, in searches through many more numbers than `sample` has
HARD = {
    "float32": [0.22329465, 0.22624478, -0.0003449918],
    "float64": [0.22148924702600037, 0.21872587104230146, 0.22042840990286106, -0.00015775769892789637],
}


def specials(dtype: str) -> np.ndarray:
    """Zeros, subnormals, the neighbourhood of every power of two, and what is `HARD`, of both signs."""
    info = np.finfo(dtype)
    powers = np.ldexp(np.ones((), dtype), np.arange(info.minexp - info.nmant, info.maxexp, dtype=np.int32))
    near = np.concatenate(
        [np.nextafter(powers, np.array(0, dtype)), powers, np.nextafter(powers, np.array(np.inf, dtype))]
    )
    largest = np.array([0, info.max, info.smallest_subnormal], dtype)
    near = np.concatenate([near, largest, np.array(HARD[dtype], dtype)])
    return np.concatenate([near, -near])


def sample(dtype: str) -> np.ndarray:
    """Every `STEP`-th bit pattern of float32, NaNs and infinities among them; as many of float64; and `specials`."""
    if dtype == "float32":
        patterns = np.arange(0, 2**32, STEP, dtype=np.uint64).astype(np.uint32).view(np.float32)
        return np.concatenate([patterns, specials(dtype)])
    rng = np.random.default_rng(0)
    # all bit patterns are mostly huge or tiny numbers; the others lie where the functions bend
    patterns = rng.integers(0, 2**64, 200_000, dtype=np.uint64, endpoint=False).view(np.float64)
    bent = np.concatenate([rng.uniform(-1, 1, 200_000), rng.uniform(-50, 50, 400_000), rng.uniform(-760, 760, 200_000)])
    small = rng.uniform(-1, 1, 200_000) * 2.0 ** rng.integers(-60, 1, 200_000)
    return np.concatenate([patterns, bent, small, specials(dtype)])


@pytest.fixture(scope="module", params=["float32", "float64"])
def problem(request: pytest.FixtureRequest) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Arguments, and the exact values of both functions there."""
    dtype = request.param
    wide = WIDER[dtype]
    if np.finfo(wide).nmant < np.finfo(dtype).nmant + 8:
        pytest.skip("this platform has no type wider than float64 to compare with")
    x = sample(dtype)
    return x, {name: exact_values(name, x, wide) for name in FUNCTIONS}


@pytest.fixture
def restored_isa() -> Iterator[None]:
    """Restore the instruction set."""
    before = kernels.get_isa()
    yield
    fastrnn.set_isa(before)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_within_two_ulps_over_the_whole_range(name, problem, isa):
    x, exact = problem
    errors = ulps(getattr(kernels, name)(x), exact[name])
    worst = int(np.argmax(errors))
    assert errors[worst] <= MOST_ULPS, f"{errors[worst]:.2f} ulp at {x[worst]!r}"
    assert np.count_nonzero(np.isnan(x)) > 100


@pytest.mark.parametrize("name", FUNCTIONS)
def test_limits_are_exact(name, isa, dtype):
    function = getattr(kernels, name)
    for end in (np.inf, np.finfo(dtype).max, 1000):
        assert np.array_equal(function(np.array([-end, end], dtype)), np.array(LIMITS[name], dtype))


def test_zeros(isa, dtype):
    zeros = np.array([0.0, -0.0], dtype)
    assert np.array_equal(kernels.sigmoid(zeros), np.array([0.5, 0.5], dtype))
    assert np.array_equal(np.signbit(kernels.tanh(zeros)), [False, True])
    assert np.array_equal(kernels.tanh(zeros), zeros)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_stays_in_its_lane(name, isa, dtype):
    x = np.linspace(-3, 3, 67).astype(dtype)
    clean = getattr(kernels, name)(x)
    for k in (0, 5, 66):
        dirty = x.copy()
        dirty[k] = np.nan
        y = getattr(kernels, name)(dirty)
        assert np.isnan(y[k])
        assert np.array_equal(np.delete(y, k), np.delete(clean, k))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_lane_and_tail_gives_the_same_bits(name, isa, dtype):
    x = np.linspace(-9, 9, 70).astype(dtype)
    whole = getattr(kernels, name)(x)
    for first in range(5):
        for last in range(first, 70):
            assert np.array_equal(getattr(kernels, name)(x[first:last]), whole[first:last])


@pytest.mark.skipif(not {"avx2", "avx512"} <= set(fastrnn.available_isas()), reason="needs AVX2 and AVX-512")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_instruction_sets_with_fused_multiply_add_give_the_same_bits(name, dtype, restored_isa):
    x = sample(dtype)
    found = []
    for isa in ("avx2", "avx512"):
        fastrnn.set_isa(isa)
        found.append(getattr(kernels, name)(x))
    assert np.array_equal(*found, equal_nan=True)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_shape_and_order_and_a_new_array(name, dtype):
    function = getattr(kernels, name)
    x = np.linspace(-2, 2, 24).astype(dtype).reshape(2, 3, 4)
    before = x.copy()
    x.flags.writeable = False
    y = function(x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert np.array_equal(function(x.T), y.T)
    assert np.array_equal(x, before)
    assert function(x[:, :0]).shape == (2, 0, 4)
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        function(x.astype(np.int64))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_control_errors_are_counted_in_ulps(dtype):
    exact = np.array([0.75, 1.0, 1e-40, 0.0], WIDER[dtype])
    got = off = exact.astype(dtype)
    for _ in range(3):
        off = np.nextafter(off, np.array(np.inf, dtype))
    assert np.all(ulps(got, exact) <= 0.5)
    assert np.all(np.abs(ulps(off, exact) - 3) <= 0.5)
    assert np.array_equal(
        ulps(np.array([np.nan, 1, np.nan], dtype), np.array([1, np.nan, np.nan], WIDER[dtype])), [np.inf, np.inf, 0]
    )
