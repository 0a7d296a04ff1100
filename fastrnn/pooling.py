"""A sequence as one vector: `LastStep`, what a scan has reached at its end; `MeanSteps` and `MaxSteps`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ._arrays import as_shape, as_size
from .layer import Array, Call, StatelessLayer, masked
from .params import Params


class Layout(NamedTuple):
    """The axes of an x as it was given: (T, ...) for a single sequence, else (T, N, ...) or (N, T, ...)."""

    single: bool
    time_major: bool

    @property
    def outer(self) -> tuple[str, ...]:
        """The axes before the features."""
        return ("T",) if self.single else ("T", "N") if self.time_major else ("N", "T")

    def time_first(self, x: Array) -> Array:
        """x, or what is laid out like it, as (T, N, ...)."""
        return x[:, None] if self.single else x if self.time_major else x.swapaxes(0, 1)

    def as_given(self, x: Array) -> Array:
        """The opposite of `time_first`."""
        return x[:, 0] if self.single else x if self.time_major else x.swapaxes(0, 1)


class PoolingRecord(NamedTuple):
    """How x came, how many sequences it held, and what the layer keeps besides."""

    layout: Layout
    N: int
    kept: Any


class PoolingLayer(StatelessLayer):
    """A layer that makes one vector of each sequence's valid steps, whose number of features stays.

    Subclasses say how in ``_pooled`` and ``_spread``, of time-major arrays.
    """

    pools = True
    input_size: int

    def _pooled(self, x: Array, valid: Array | None) -> tuple[Array, Any]:
        """x (T, N, D), valid (T, N) or None for all -> y (N, D), and what `_spread` needs."""
        raise NotImplementedError

    def _spread(self, kept: Any, dy: Array, grads: Params, input_gradient: bool) -> Array | None:
        """dy (N, D) -> dx (T, N, D); the gradients of parameters are added to ``grads``."""
        raise NotImplementedError

    def _run(self, x: Any, call: Call, keep: bool, valid: Array | None) -> tuple[Array, PoolingRecord]:
        layout = Layout(np.ndim(x) == 2, call.time_major)
        x = layout.time_first(as_shape("x", x, self.dtype, (*layout.outer, self.input_size)))
        y, kept = self._pooled(x, None if valid is None else layout.time_first(valid))
        return y[0] if layout.single else y, PoolingRecord(layout, x.shape[1], kept)

    def _adjoint(self, record: PoolingRecord, dy: Any, grads: Params, input_gradient: bool) -> Array | None:
        layout, N, kept = record
        D = self.output_size
        dy = as_shape("dy", dy, self.dtype, (D,) if layout.single else (N, D)).reshape(N, D)
        dx = self._spread(kept, dy, grads, input_gradient)
        return None if dx is None else layout.as_given(dx)


class _Ends(NamedTuple):
    """The last and the first valid step of each sequence (N,), which sequences have any, (N,) or None for all, and the
    shape of x."""

    last: Array
    first: Array
    some: Array | None
    shape: tuple[int, ...]


class LastStep(PoolingLayer):
    """Each sequence's y at the end of the scan: its last valid step, or its first where the scan went backwards.

    What a classifier reads of a recurrent layer: y[n, length[n] - 1], as Keras gives with ``return_sequences=False``.

    Parameters
    ----------
    size : int
        Features of x and of y.
    reverse_size : int
        How many of them, the last ones, come from a backward scan, which ends at the first step: H after
        ``Bidirectional(layer)`` of H units, ``size`` after a layer with ``reverse=True``.
    dtype : "float32" or "float64"

    Notes
    -----
    There are no parameters. x is (N, T, D), y (N, D): zero for a sequence without a valid step.

    Examples
    --------
    >>> from fastrnn import LSTM, Dense, LastStep, Sequential
    >>> model = Sequential([LSTM(3, 8, seed=0), LastStep(8), Dense(8, 2, seed=1)])
    >>> y, _ = model([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    >>> y.shape
    (1, 2)
    """

    def __init__(self, size: int, reverse_size: int = 0, *, dtype: Any = "float32"):
        self.input_size = self.output_size = as_size("size", size)
        self.reverse_size = as_size("reverse_size", reverse_size, 0)
        if self.reverse_size > self.input_size:
            raise ValueError(f"reverse_size must lie in 0..{self.input_size}, got {self.reverse_size}")
        self._params = Params.zeros({}, dtype)

    def _config(self) -> dict[str, Any]:
        return {"size": self.input_size, "reverse_size": self.reverse_size, "dtype": self.dtype.name}

    def _pooled(self, x: Array, valid: Array | None) -> tuple[Array, _Ends]:
        T, N, D = x.shape
        last, first = np.full(N, T - 1), np.zeros(N, np.intp)
        some: Array | None = None
        if valid is not None and T:
            last, first = T - 1 - valid[::-1].argmax(axis=0), valid.argmax(axis=0)
            some = np.asarray(valid.any(axis=0))
        y = np.zeros((N, D), self.dtype)
        if T:
            rows, split = np.arange(N), D - self.reverse_size
            y[:, :split], y[:, split:] = x[last, rows, :split], x[first, rows, split:]
        if some is not None:
            y[~some] = 0
        return y, _Ends(last, first, some, x.shape)

    def _spread(self, kept: _Ends, dy: Array, grads: Params, input_gradient: bool) -> Array | None:
        if not input_gradient:
            return None
        T, N, D = kept.shape
        if kept.some is not None:
            dy = np.where(kept.some[:, None], dy, self.dtype.type(0))
        dx = np.zeros((T, N, D), self.dtype)
        if T:
            rows, split = np.arange(N), D - self.reverse_size
            dx[kept.last, rows, :split] = dy[:, :split]
            dx[kept.first, rows, split:] = dy[:, split:]
        return dx

    def __repr__(self) -> str:
        reverse = f", reverse_size={self.reverse_size}" if self.reverse_size else ""
        return f"LastStep({self.input_size}{reverse})"


class _PooledFeatures(PoolingLayer):
    """Pooling without a parameter, every feature by itself."""

    def __init__(self, size: int, *, dtype: Any = "float32"):
        self.input_size = self.output_size = as_size("size", size)
        self._params = Params.zeros({}, dtype)

    def _config(self) -> dict[str, Any]:
        return {"size": self.input_size, "dtype": self.dtype.name}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.input_size})"


class MeanSteps(_PooledFeatures):
    """The mean of each sequence's valid steps.

    Parameters
    ----------
    size : int
        Features of x and of y.
    dtype : "float32" or "float64"

    Notes
    -----
    There are no parameters. x is (N, T, D), y (N, D): zero for a sequence without a valid step.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import MeanSteps
    >>> x = np.array([[[1.0], [2.0], [6.0]]], "float32")
    >>> MeanSteps(1)(x).tolist(), MeanSteps(1)(x, lengths=[2]).tolist()
    ([[3.0]], [[1.5]])
    """

    def _pooled(self, x: Array, valid: Array | None) -> tuple[Array, Any]:
        T, N, _ = x.shape
        if valid is None:
            weights = np.full((T, N), 1 / max(T, 1), self.dtype)
        else:
            weights = (valid / np.maximum(valid.sum(axis=0), 1)).astype(self.dtype)
        return np.einsum("tn,tnd->nd", weights, masked(x, valid)), weights

    def _spread(self, kept: Array, dy: Array, grads: Params, input_gradient: bool) -> Array | None:
        return kept[:, :, None] * dy if input_gradient else None


class MaxSteps(_PooledFeatures):
    """The largest value that each feature has at any of a sequence's valid steps.

    Parameters
    ----------
    size : int
        Features of x and of y.
    dtype : "float32" or "float64"

    Notes
    -----
    There are no parameters. x is (N, T, D), y (N, D): zero for a sequence without a valid step. The gradient goes to
    the first of equal steps.

    References
    ----------
    Collobert & Weston 2008, "A unified architecture for natural language processing" (max over time).

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import MaxSteps
    >>> x = np.array([[[1.0], [2.0], [6.0]]], "float32")
    >>> MaxSteps(1)(x).tolist(), MaxSteps(1)(x, lengths=[2]).tolist()
    ([[6.0]], [[2.0]])
    """

    def _pooled(self, x: Array, valid: Array | None) -> tuple[Array, Any]:
        T, N, D = x.shape
        y, at = np.zeros((N, D), self.dtype), np.zeros((N, D), np.intp)
        some: Array = np.full(N, T > 0)
        if T:
            if valid is not None:
                x, some = x.copy("K"), np.asarray(valid.any(axis=0))
                x[~valid] = -np.inf
            at = x.argmax(axis=0)
            y[...] = np.take_along_axis(x, at[None], axis=0)[0]
            y[~some] = 0
        return y, (T, at, some)

    def _spread(self, kept: Any, dy: Array, grads: Params, input_gradient: bool) -> Array | None:
        if not input_gradient:
            return None
        T, at, some = kept
        dx = np.zeros((T, *dy.shape), self.dtype)
        if T:
            np.put_along_axis(dx, at[None], np.where(some[:, None], dy, self.dtype.type(0))[None], axis=0)
        return dx
