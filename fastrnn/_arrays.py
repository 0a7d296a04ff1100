"""What may come through the door: checks that turn a caller's array into one the kernels can read."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

FLOATS = ("float32", "float64")


def dtype_of(dtype: Any) -> np.dtype:
    """Return float32 or float64 as a dtype, or raise a TypeError."""
    try:
        found = None if dtype is None else np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found.name not in FLOATS:
        raise TypeError(f"dtype must be float32 or float64, got {dtype!r}")
    return found.newbyteorder("=")


def as_array(name: str, value: Any) -> np.ndarray:
    """Return ``value`` as an array of any dtype; lists that do not make one are a ValueError, and so is a masked array
    that hides elements: NumPy would show them."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        hidden = np.ma.count_masked(value)
        raise ValueError(f"{name} must be an array without a mask, got one that hides {hidden} elements: fill them")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be one array, got lists of different lengths (see fastrnn.data.pad)") from error


def as_integers(name: str, value: Any) -> np.ndarray:
    """Return ``value`` as an array of integers; an empty list is one."""
    array = as_array(name, value)
    if array.dtype.kind in "iu":
        return array
    if isinstance(value, (list, tuple)) and array.size == 0:
        return array.astype(np.int64)
    raise TypeError(f"{name} must hold integers, got {array.dtype}")


def as_float(name: str, value: Any, dtype: np.dtype) -> np.ndarray:
    """Return ``value`` as an aligned array of ``dtype`` in native byte order; a copy only where it has to be.

    Floating-point numbers that ``dtype`` holds exactly are cast up (float16, bfloat16, float32 to float64; Python
    numbers in lists take the dtype); all else is a TypeError.
    """
    if type(value) is np.ndarray and value.dtype == dtype and value.flags.aligned:
        return value
    listed = not hasattr(value, "dtype")
    array = as_array(name, value)
    floating = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    if not floating:
        raise TypeError(f"{name} must hold floating-point numbers ({dtype}), got {array.dtype}")
    if not listed and array.dtype.kind == "f" and array.dtype.itemsize > dtype.itemsize:
        raise TypeError(f"{name} must be {dtype}, got {array.dtype}: cast it, or make the layer with a wider dtype")
    return np.require(array, dtype, "A")


def as_shape(name: str, value: Any, dtype: np.dtype, shape: tuple[int | str, ...]) -> np.ndarray:
    """Like `as_float`, and check the shape; a letter in ``shape`` stands for any size."""
    array = as_float(name, value, dtype)
    found = array.shape
    fits = len(found) == len(shape)
    if fits and found != shape:
        for wanted, n in zip(shape, found):  # noqa: B905 - a keyword would take as long as the loop
            if not isinstance(wanted, str) and wanted != n:
                fits = False
    if not fits:
        wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")
    return array


def as_size(name: str, value: Any, least: int = 1) -> int:
    """Return ``value`` as an int of at least ``least``."""
    try:
        size = operator.index(value)
    except TypeError:
        size = None
    if size is None or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if size < least:
        raise ValueError(f"{name} must be at least {least}, got {size}")
    return size


def as_number(name: str, value: Any) -> float:
    """Return ``value`` as a finite float."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Real, np.number)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(number := float(value)):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return number


def as_rate(name: str, value: Any) -> float:
    """Return ``value``, the share of something that is left out, as a float of at least 0 and below 1."""
    if not 0 <= (rate := as_number(name, value)) < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value!r}")
    return rate


def as_lengths(lengths: Any, N: int, T: int, name: str = "lengths") -> np.ndarray:
    """Return ``lengths`` as (N,) int64, each 0..T, or raise."""
    array = as_integers(name, lengths)
    if array.shape != (N,):
        raise ValueError(f"{name} must have shape ({N},), got {array.shape}")
    outside = (array < 0) | (array > T)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise ValueError(f"{name} must lie in 0..{T}, got {int(array[row])} in row {row}")
    return array.astype(np.int64)


def as_mask(mask: Any, N: int, T: int, time_major: bool = False) -> np.ndarray:
    """Return ``mask`` as bool (N, T), (T, N) with ``time_major``, or raise."""
    array = as_array("mask", mask)
    if array.dtype != bool:
        raise TypeError(f"mask must hold True and False (bool), got {array.dtype}")
    shape = (T, N) if time_major else (N, T)
    if array.shape != shape:
        raise ValueError(f"mask must have shape {shape}, got {array.shape}")
    return array


def as_flag(name: str, value: Any) -> bool:
    """Return ``value`` as a bool, or raise a TypeError."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def as_checkpoint(value: Any) -> bool | int:
    """Return ``value``, whether or how often to keep a state, as a bool or as an int of at least 0."""
    return bool(value) if isinstance(value, (bool, np.bool_)) else as_size("checkpoint", value, 0)


def as_choice(name: str, value: Any, choices: Sequence[str | None]) -> Any:
    """Return ``value`` if it is one of ``choices``, or raise."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value
