"""The elementwise functions that a gate may use: their names, their numbers, their values and their slopes.

==================  ==========================================  ================
name                value                                       numbers, default
==================  ==========================================  ================
tanh                tanh(a)
sigmoid             1 / (1 + exp(-a))
relu                max(0, a)
linear              a
softsign            a / (1 + |a|)
softplus            log(1 + exp(a))
hard_sigmoid        min(1, max(0, alpha*a + beta))              1/6, 1/2
leaky_relu          a where a > 0, else alpha*a                 0.01
thresholded_relu    a where a > alpha, else 0                   1
scaled_tanh         alpha*tanh(beta*a)                          1, 1
affine              alpha*a + beta                              1, 0
elu                 a where a > 0, else alpha*(exp(a) - 1)      1
==================  ==========================================  ================

These are ONNX's functions for recurrent operators; hard_sigmoid's numbers are Keras's (ONNX's own are 0.2 and 0.5).
Slopes come from values: alpha is at least 0 for leaky_relu, thresholded_relu and elu, and not 0 for scaled_tanh.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Function:
    """One of the functions, with its numbers; 0 where it has none."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def value(self, a: Array) -> Array:
        """The function of a."""
        return _FUNCTIONS[self.name].value(a, self.alpha, self.beta)

    def slope(self, y: Array) -> Array:
        """Its derivative, from its value y."""
        return _FUNCTIONS[self.name].slope(y, self.alpha, self.beta)

    @property
    def numbers(self) -> tuple[float, ...]:
        """Those that the function has."""
        return (self.alpha, self.beta)[: len(_FUNCTIONS[self.name].defaults)]

    @property
    def option(self) -> Any:
        """The function in the form in which a layer takes it."""
        return self.name if self.numbers == _FUNCTIONS[self.name].defaults else (self.name, *self.numbers)


@dataclass(frozen=True)
class _Formula:
    value: Callable[[Array, float, float], Array]
    slope: Callable[[Array, float, float], Array]
    defaults: tuple[float, ...] = ()


def sigmoid(a: Array) -> Array:
    """Logistic sigmoid, 1 / (1 + exp(-a))."""
    with np.errstate(over="ignore"):  # to infinity, which is right
        return 1 / (1 + np.exp(-a))


def _where(condition: Array, value: Array | float, other: Array | float, like: Array) -> Array:
    return np.where(condition, value, other).astype(like.dtype, copy=False)


def _elu(a: Array, alpha: float, beta: float) -> Array:
    return _where(a > 0, a, alpha * np.expm1(np.minimum(a, 0)), a)


def _softplus(a: Array, alpha: float, beta: float) -> Array:
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))


_FUNCTIONS = {
    "tanh": _Formula(lambda a, p, q: np.tanh(a), lambda y, p, q: 1 - y * y),
    "sigmoid": _Formula(lambda a, p, q: sigmoid(a), lambda y, p, q: y * (1 - y)),
    "relu": _Formula(lambda a, p, q: np.maximum(a, 0), lambda y, p, q: (y > 0).astype(y.dtype)),
    "linear": _Formula(lambda a, p, q: a, lambda y, p, q: np.ones_like(y)),
    "softsign": _Formula(lambda a, p, q: a / (1 + np.abs(a)), lambda y, p, q: (1 - np.abs(y)) ** 2),
    "softplus": _Formula(_softplus, lambda y, p, q: -np.expm1(-y)),
    "hard_sigmoid": _Formula(
        lambda a, p, q: np.minimum(np.maximum(a * p + q, 0), 1),
        lambda y, p, q: _where((y > 0) & (y < 1), p, 0, y),
        (1 / 6, 1 / 2),
    ),
    "leaky_relu": _Formula(lambda a, p, q: _where(a > 0, a, p * a, a), lambda y, p, q: _where(y > 0, 1, p, y), (0.01,)),
    "thresholded_relu": _Formula(
        lambda a, p, q: _where(a <= p, 0, a, a), lambda y, p, q: _where(y > p, 1, 0, y), (1.0,)
    ),
    "scaled_tanh": _Formula(lambda a, p, q: p * np.tanh(q * a), lambda y, p, q: q * (p - y * y / p), (1.0, 1.0)),
    "affine": _Formula(lambda a, p, q: p * a + q, lambda y, p, q: np.full_like(y, p), (1.0, 0.0)),
    "elu": _Formula(_elu, lambda y, p, q: _where(y > 0, 1, y + p, y), (1.0,)),
}
NAMES = tuple(_FUNCTIONS)
TANH, SIGMOID, RELU = Function("tanh"), Function("sigmoid"), Function("relu")


def as_function(argument: str, value: Any) -> Function:
    """A name, or a tuple of a name and its numbers, as a `Function`; or raise.

    Examples
    --------
    >>> from fastrnn.activations import as_function
    >>> as_function("activation", ("hard_sigmoid", 0.2)).numbers
    (0.2, 0.5)
    """
    name, *numbers = value if isinstance(value, (tuple, list)) and value else (value,)
    names = ", ".join(map(repr, NAMES))
    if not isinstance(name, str):
        raise TypeError(f"{argument} must be one of {names}, or a tuple of it and its numbers, got {value!r}")
    if name not in _FUNCTIONS:
        raise ValueError(f"{argument} must be one of {names}, or a tuple of it and its numbers, got {value!r}")
    defaults = _FUNCTIONS[name].defaults
    if len(numbers) > len(defaults):
        raise ValueError(f"{argument} must have at most {len(defaults)} numbers for {name!r}, got {value!r}")
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, float, np.floating, np.integer)):
            raise TypeError(f"{argument} must have numbers behind {name!r}, got {value!r}")
        if not math.isfinite(number):
            raise ValueError(f"{argument} must have finite numbers behind {name!r}, got {value!r}")
    numbers = [float(n) for n in numbers] + list(defaults[len(numbers) :])
    if name == "scaled_tanh" and numbers[0] == 0:
        raise ValueError(f"{argument} must have an alpha other than 0 for 'scaled_tanh', got {value!r}")
    if name in ("leaky_relu", "thresholded_relu", "elu") and numbers[0] < 0:
        raise ValueError(f"{argument} must have an alpha of at least 0 for {name!r}, got {value!r}")
    return Function(name, *numbers)
