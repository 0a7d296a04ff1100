"""Params: names for pieces of one aligned buffer."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from fastrnn.params import Params

SHAPES = {"W": (3, 5), "U": (5, 5), "b": (5,)}


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def filled(dtype="float32") -> Params:
    params = Params.zeros(SHAPES, dtype)
    for k, value in enumerate(params.values()):
        value[...] = k + np.arange(value.size).reshape(value.shape)
    return params


def test_views_share_one_aligned_buffer(dtype):
    params = Params.zeros(SHAPES, dtype)
    assert {name: value.shape for name, value in params.items()} == SHAPES
    assert params.dtype == params.flat.dtype == dtype
    assert address(params.flat) % 64 == 0
    for value in params.values():
        assert address(value) % 64 == 0
        assert value.flags.c_contiguous
        assert np.shares_memory(value, params.flat)
    params.flat[...] = 2
    assert all(np.all(value == 2) for value in params.values())


def test_padding_is_zero(dtype):
    params = Params.zeros(SHAPES, dtype)
    for value in params.values():
        value[...] = 1
    assert params.flat.sum() == sum(value.size for value in params.values())


def test_assigning_copies_into_the_view():
    params, before = filled(), filled()
    W, value = params["W"], np.full((3, 5), 9, "float32")
    params["W"] = value
    assert params["W"] is W
    assert np.all(W == 9)
    assert not np.may_share_memory(W, value)
    assert np.array_equal(params["U"], before["U"])
    params.update(b=np.full(5, 4.0, "float16"))
    params |= {"U": np.full((5, 5), 3, "float32")}
    assert np.all(params["b"] == 4)
    assert np.all(params["U"] == 3)
    assert np.all(params.flat[:15] == 9)


def test_parameters_change_places():
    params = Params.zeros({"V": (2, 2), "U": (2, 2)})
    params["V"] = V = np.array([[1, 2], [3, 4]], "float32")
    params["U"] = U = 10 * V
    params.update(V=params["U"].T, U=params["V"])
    assert np.array_equal(params["V"], U.T) and np.array_equal(params["U"], V)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda p: p.__setitem__("W", np.ones((5, 3), "float32")), ValueError, r"^W must have shape \(3, 5\)"),
        (lambda p: p.__setitem__("W", 1.0), ValueError, r"^W must have shape \(3, 5\), got \(\)"),
        (lambda p: p.__setitem__("W", np.ones((3, 5))), TypeError, "^W must be float32, got float64"),
        (lambda p: p.__setitem__("W", np.ones((3, 5), int)), TypeError, "^W must hold floating-point numbers"),
        (lambda p: p.__setitem__("X", np.ones(3, "float32")), KeyError, "no parameter 'X'"),
        (lambda p: p.update(b=np.ones(5, "float32"), W=np.ones(2, "float32")), ValueError, "^W must have shape"),
        (lambda p: p.update(b=np.ones(5, "float32"), X=np.ones(5, "float32")), KeyError, "no parameter 'X'"),
        (lambda p: p.setdefault("X", np.ones(5, "float32")), KeyError, "no parameter 'X'"),
        (lambda p: p.__delitem__("W"), TypeError, "names of a Params are fixed"),
        (lambda p: p.pop("W"), TypeError, "names of a Params are fixed"),
        (lambda p: p.popitem(), TypeError, "names of a Params are fixed"),
        (lambda p: p.clear(), TypeError, "names of a Params are fixed"),
    ],
)
def test_names_shapes_and_dtype_stay(change, error, message):
    params, before = filled(), filled()
    with pytest.raises(error, match=message):
        change(params)
    assert list(params) == list(SHAPES)
    assert np.array_equal(params.flat, before.flat)


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, Params.copy, lambda params: pickle.loads(pickle.dumps(params))]
)
def test_copies_have_a_buffer_of_their_own(duplicate):
    params = filled()
    twin = duplicate(params)
    assert isinstance(twin, Params)
    assert twin.same_layout(params)
    assert address(twin.flat) % 64 == 0
    assert np.array_equal(twin.flat, params.flat)
    assert not np.may_share_memory(twin.flat, params.flat)
    twin.flat[...] = 0
    assert not any(np.any(value) for value in twin.values())
    assert np.array_equal(params.flat, filled().flat)


def test_zeros_like():
    zeros = filled().zeros_like()
    assert zeros.same_layout(filled())
    assert not np.any(zeros.flat)


def test_same_layout():
    params = filled()
    assert not params.same_layout(dict(params))
    assert not params.same_layout(filled("float64"))
    assert not params.same_layout(Params.zeros({"W": (5, 3), "U": (5, 5), "b": (5,)}))
    assert not params.same_layout(Params.zeros({"U": (5, 5), "W": (3, 5), "b": (5,)}))


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64", "nonsense", None])
def test_dtypes_that_are_none(dtype):
    with pytest.raises(TypeError, match=r"^dtype must be float32 or float64"):
        Params.zeros(SHAPES, dtype)
