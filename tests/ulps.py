"""How far computed values are from the truth, in units in the last place of the correctly rounded result."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

Array = np.ndarray

LIMITS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}  # at -inf and at inf


def exact_values(name: str, x: Array, wide: DTypeLike) -> Array:
    """sigmoid or tanh of ``x``, computed in the wider type ``wide``."""
    with np.errstate(over="ignore", invalid="ignore"):  # exp(-x) of large numbers, signalling NaNs
        x = x.astype(wide)
        return np.tanh(x) if name == "tanh" else 1 / (1 + np.exp(-x))


def ulps(got: Array, exact: Array) -> Array:
    """|got - exact| in units in the last place of got's type at exact; infinite where only one of them is finite.

    Parameters
    ----------
    got : array of float32 or float64
    exact : array of a wider type
        NaN there asks for NaN in ``got``: 0 where that holds, else infinite.
    """
    info = np.finfo(got.dtype)
    smallest = info.minexp - info.nmant
    fraction, exponent = np.frexp(exact)
    exponent = np.where(fraction == 0, smallest, np.maximum(exponent - 1 - info.nmant, smallest))
    with np.errstate(invalid="ignore"):
        error = np.abs(got.astype(exact.dtype) - exact)
        error = np.ldexp(error, -exponent).astype(np.float64)
    error[got == exact] = 0
    error[np.isnan(got) & np.isnan(exact)] = 0
    error[np.isnan(error)] = np.inf
    return error
