"""`Activation`: a function of each vector, as a layer of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arrays import as_choice, as_shape, as_size
from .layer import Array, Call, StatelessLayer
from .layers import _ACTIVATIONS, _DERIVATIVES
from .params import Params


def softmax(a: Array) -> Array:
    """exp(a) / sum exp(a) over the last axis."""
    e = np.exp(a - a.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Activation(StatelessLayer):
    """y = activation(x), for x of any shape (..., D).

    Where the function belongs to a `Dense`, its ``activation`` does the same. A softmax before a loss belongs to the
    loss: `losses.SoftmaxCrossEntropy` takes what comes before it.

    Parameters
    ----------
    size : int
        D, the features of x and of y.
    activation : "tanh", "relu", "sigmoid" or "softmax"
        softmax: over the features.
    dtype : "float32" or "float64"

    Examples
    --------
    >>> from fastrnn import Activation
    >>> Activation(2, "softmax")([[0.0, 0.0]]).tolist()
    [[0.5, 0.5]]
    """

    input_size: int

    def __init__(self, size: int, activation: str, *, dtype: Any = "float32"):
        self.input_size = self.output_size = as_size("size", size)
        self.activation = as_choice("activation", activation, (*_ACTIVATIONS, "softmax"))
        self._params = Params.zeros({}, dtype)

    def _config(self) -> dict[str, Any]:
        return {"size": self.input_size, "activation": self.activation, "dtype": self.dtype.name}

    def _run(self, x: Any, call: Call, keep: bool, valid: Array | None) -> tuple[Array, Array]:
        outer = tuple("..." for _ in range(max(np.ndim(x), 1) - 1))
        x = as_shape("x", x, self.dtype, (*outer, self.input_size))
        y = softmax(x) if self.activation == "softmax" else _ACTIVATIONS[self.activation](x)
        return y, y

    def _adjoint(self, record: Array, dy: Any, grads: Params, input_gradient: bool) -> Array | None:
        y = record
        dy = as_shape("dy", dy, self.dtype, y.shape)
        if not input_gradient:
            return None
        if self.activation == "softmax":
            return y * (dy - (y * dy).sum(axis=-1, keepdims=True))
        return dy * _DERIVATIVES[self.activation](y)

    def __repr__(self) -> str:
        return f"Activation({self.input_size}, {self.activation!r})"
