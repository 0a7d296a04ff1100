"""The layers that do not scan time: `Dense` and `Embedding`. `fastrnn.layer` says what all layers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import backend, flat, init
from ._arrays import as_choice, as_integers, as_shape, as_size
from .activations import sigmoid
from .layer import Call, StatelessLayer
from .lookup import Lookup
from .params import Params

Array = np.ndarray


def is_time_major_view(x: Array) -> bool:
    """Whether x is (N, T, D) over contiguous time-major memory, as the y of a recurrent layer is."""
    return x.ndim == 3 and not x.flags.c_contiguous and x.swapaxes(0, 1).flags.c_contiguous


def to_rows(x: Array, swapped: bool) -> Array:
    """(..., D) -> (R, D); ``swapped``: rows in time-major order."""
    ordered = x.swapaxes(0, 1) if swapped else x
    return ordered.reshape(-1, x.shape[-1])


def from_rows(rows: Array, outer: tuple[int, ...], swapped: bool) -> Array:
    """(R, D) -> (*outer, D), the inverse of `to_rows`."""
    if not swapped:
        return rows.reshape(*outer, rows.shape[-1])
    N, T = outer
    return rows.reshape(T, N, rows.shape[-1]).swapaxes(0, 1)


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": sigmoid,
}
_DERIVATIVES: dict[str, Callable[[Array], Array]] = {  # as functions of y
    "tanh": lambda y: 1 - y * y,
    "relu": lambda y: (y > 0).astype(y.dtype),
    "sigmoid": lambda y: y * (1 - y),
}


class Dense(StatelessLayer):
    """Affine layer: y = activation(x W + b), for x of any shape (..., D).

    Parameters
    ----------
    input_size : int
        D, the features of x.
    output_size : int
        Features of y.
    activation : None, "tanh", "relu" or "sigmoid"
    dtype : "float32" or "float64"
    seed : int, numpy.random.Generator or None
        Of the first weights: W Glorot-uniform, b zero.

    Notes
    -----
    Parameters: W (D, output_size), b (output_size,). All positions are one product, in the order in which they lie in
    memory: the transposed view that a recurrent layer returns is not copied.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import Dense
    >>> layer = Dense(3, 2, seed=0)
    >>> y, tape = layer.forward(np.ones((4, 5, 3), "float32"))
    >>> dx, grads = layer.backward(tape, np.ones_like(y))
    >>> y.shape, grads["b"].tolist()
    ((4, 5, 2), [20.0, 20.0])
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        activation: str | None = None,
        *,
        dtype: Any = "float32",
        seed: Any = None,
    ):
        self.input_size: int = as_size("input_size", input_size)
        self.output_size = as_size("output_size", output_size)
        self.activation = as_choice("activation", activation, (None, *_ACTIVATIONS))
        shape = (self.input_size, self.output_size)
        self._params = Params.zeros({"W": shape, "b": (self.output_size,)}, dtype)
        self.params["W"] = init.xavier_uniform(shape, seed, dtype)

    def _config(self) -> dict[str, Any]:
        return {
            "input_size": self.input_size,
            "output_size": self.output_size,
            "activation": self.activation,
            "dtype": self.dtype.name,
        }

    def _run(self, x: Any, call: Call, keep: bool, valid: Array | None) -> tuple[Array, Any]:
        outer = tuple("..." for _ in range(max(np.ndim(x), 1) - 1))
        x = as_shape("x", x, self.dtype, (*outer, self.input_size))
        swapped = is_time_major_view(x)
        rows = np.ascontiguousarray(to_rows(x, swapped))
        y = np.empty((len(rows), self.output_size), self.dtype)
        flat.kernels().affine(rows, self.params["W"], self.params["b"], y)
        if self.activation is not None:
            y = _ACTIVATIONS[self.activation](y)
        kept = None if self.activation is None else y
        return from_rows(y, x.shape[:-1], swapped), (rows, kept, x.shape[:-1], swapped)

    def _adjoint(self, record: Any, dy: Any, grads: Params, input_gradient: bool) -> Array | None:
        x, y, outer, swapped = record
        da = to_rows(as_shape("dy", dy, self.dtype, (*outer, self.output_size)), swapped)
        da = np.ascontiguousarray(da if self.activation is None else da * _DERIVATIVES[self.activation](y))
        kernels = flat.kernels()
        kernels.add_outer(x, da, grads["W"], grads["b"])
        if not input_gradient:
            return None
        dx = np.empty_like(x)
        kernels.affine(da, self.params["W"], None, dx, transposed=True)
        return from_rows(dx, outer, swapped)

    def __repr__(self) -> str:
        activation = "" if self.activation is None else f", {self.activation!r}"
        return f"Dense({self.input_size}, {self.output_size}{activation})"


class Embedding(StatelessLayer):
    """Table of vectors: y = W[x], for integers x of any shape.

    Parameters
    ----------
    vocab : int
        V: x holds 0..V-1.
    dim : int
        Features of y.
    dtype : "float32" or "float64"
    seed : int, numpy.random.Generator or None
        Of the first vectors, uniform in +-0.05.

    Notes
    -----
    Parameters: W (vocab, dim). There is no gradient with respect to x: ``backward`` gives None for dx.

    Examples
    --------
    >>> from fastrnn import Embedding
    >>> layer = Embedding(10, 4, seed=0)
    >>> layer([[1, 2, 3], [3, 2, 1]]).shape
    (2, 3, 4)
    """

    input_size = None
    takes_integers = True

    def __init__(self, vocab: int, dim: int, *, dtype: Any = "float32", seed: Any = None):
        self.vocab, self.output_size = as_size("vocab", vocab), as_size("dim", dim)
        self._params = Params.zeros({"W": (self.vocab, self.output_size)}, dtype)
        self.params["W"] = init.as_generator(seed).uniform(-0.05, 0.05, self.params["W"].shape).astype(self.dtype)

    def _config(self) -> dict[str, Any]:
        return {"vocab": self.vocab, "dim": self.output_size, "dtype": self.dtype.name}

    def _run(self, x: Any, call: Call, keep: bool, valid: Array | None) -> tuple[Array, Any]:
        return self.look_up(x, False)

    def look_up(self, x: Any, reader_takes_lookup: bool) -> tuple[Any, Lookup | Array]:
        """y and the record; with such a reader both are a `Lookup` where that is less work."""
        found = Lookup(self.params["W"], as_indices("x", x, self.vocab))
        return (found, found) if reader_takes_lookup and found.pays() else (found.rows(), found.codes)

    def _adjoint(self, record: Any, dy: Any, grads: Params, input_gradient: bool) -> None:
        if isinstance(record, Lookup):
            grads["W"] += dy
            return
        rows = as_shape("dy", dy, self.dtype, (*record.shape, self.output_size)).reshape(-1, self.output_size)
        backend.current().add_rows(grads["W"], record.ravel(), np.ascontiguousarray(rows))

    def __repr__(self) -> str:
        return f"Embedding({self.vocab}, {self.output_size})"


def as_indices(name: str, value: Any, size: int) -> Array:
    """Return ``value`` as an array of int64, each 0..size-1, or raise."""
    array = as_integers(name, value)
    if array.size and (array.min() < 0 or array.max() >= size):
        wrong = array[(array < 0) | (array >= size)].flat[0]
        raise ValueError(f"{name} must lie in 0..{size - 1}, got {wrong}")
    return array.astype(np.int64, copy=False)
