"""`Activation`: a function of each vector, as a layer of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arrays import as_shape, as_size
from .activations import NAMES, Function, as_function
from .layer import Array, Call, StatelessLayer
from .params import Params
from .reference import silent


@silent
def softmax(a: Array) -> Array:
    """exp(a) / sum exp(a) over the last axis."""
    e = np.exp(a - a.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _function(activation: Any) -> Function:
    """The function of this name, or an error that counts softmax among the names."""
    name = activation[0] if isinstance(activation, (tuple, list)) and activation else activation
    if isinstance(name, str) and name not in NAMES:
        known = ", ".join(map(repr, (*NAMES, "softmax")))
        raise ValueError(f"activation must be one of {known}, or a tuple of it and its numbers, got {activation!r}")
    return as_function("activation", activation)


class Activation(StatelessLayer):
    """y = activation(x), for x of any shape (..., D).

    Where the function belongs to a `Dense`, its ``activation`` does the same. A softmax before a loss belongs to the
    loss: `losses.SoftmaxCrossEntropy` takes what comes before it.

    Parameters
    ----------
    size : int
        D, the features of x and of y.
    activation : str, or a tuple of a name and its numbers
        One of those in `fastrnn.activations`, or "softmax", which is over the features.
    dtype : "float32" or "float64"

    Examples
    --------
    >>> from fastrnn import Activation
    >>> Activation(2, "softmax")([[0.0, 0.0]]).tolist()
    [[0.5, 0.5]]
    """

    input_size: int

    def __init__(self, size: int, activation: Any, *, dtype: Any = "float32"):
        self.input_size = self.output_size = as_size("size", size)
        self._function = None if activation == "softmax" else _function(activation)
        self.activation = "softmax" if self._function is None else self._function.option
        self._params = Params.zeros({}, dtype)

    def _config(self) -> dict[str, Any]:
        return {"size": self.input_size, "activation": self.activation, "dtype": self.dtype.name}

    @silent
    def _run(self, x: Any, call: Call, keep: bool, valid: Array | None) -> tuple[Array, Array]:
        outer = tuple("..." for _ in range(max(np.ndim(x), 1) - 1))
        x = as_shape("x", x, self.dtype, (*outer, self.input_size))
        y = softmax(x) if self._function is None else self._function.value(x)
        return y, y

    @silent
    def _adjoint(self, record: Array, dy: Any, grads: Params, input_gradient: bool) -> Array | None:
        y = record
        dy = as_shape("dy", dy, self.dtype, y.shape)
        if not input_gradient:
            return None
        if self._function is None:
            return y * (dy - (y * dy).sum(axis=-1, keepdims=True))
        return dy * self._function.slope(y)

    def __repr__(self) -> str:
        return f"Activation({self.input_size}, {self.activation!r})"
