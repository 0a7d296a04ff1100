"""Normalisation over features: `LayerNorm`, each position by itself, and `BatchNorm`, each feature over the batch."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ._arrays import as_number, as_shape, as_size
from .layer import Array, Call, StatelessLayer
from .params import Params
from .reference import silent

# two threads that train one layer must not lose each other's update
_SETTLING = threading.Lock()


def _total(x: Array) -> Array:
    """Sum over all positions of (..., D), in float64: (D,)."""
    return x.sum(axis=tuple(range(x.ndim - 1)), dtype=np.float64)


class _Norm(StatelessLayer):
    """What the two have in common: y = x_hat * gain + b."""

    input_size: int

    def __init__(self, size: int, eps: float, dtype: Any):
        self.input_size = self.output_size = as_size("size", size)
        self.eps = as_number("eps", eps)
        self._params = Params.zeros({"gain": (self.input_size,), "b": (self.input_size,)}, dtype)
        if self.dtype.type(self.eps) <= 0:
            raise ValueError(f"eps must be above 0 in {self.dtype}, got {eps!r}")
        self.params["gain"][...] = 1

    def _config(self) -> dict[str, Any]:
        return {"size": self.input_size, "eps": self.eps, "dtype": self.dtype.name}

    def _checked(self, name: str, x: Any) -> Array:
        outer = tuple("..." for _ in range(max(np.ndim(x), 1) - 1))
        return as_shape(name, x, self.dtype, (*outer, self.input_size))

    def _scaled(self, x_hat: Array) -> Array:
        y = x_hat * self.params["gain"]
        y += self.params["b"]
        return y

    def _output_gradient(self, dy: Any, x_hat: Array, grads: Params) -> Array:
        """dy, checked; adds the gradients of gain and b."""
        dy = as_shape("dy", dy, self.dtype, x_hat.shape)
        grads["gain"] += _total(dy * x_hat)
        grads["b"] += _total(dy)
        return dy


class LayerNorm(_Norm):
    """Normalise the features of every position: y = (x - mean) / sqrt(variance + eps) * gain + b.

    For x of any shape (..., D); mean and variance over D.

    Parameters
    ----------
    size : int
        D.
    eps : float
    dtype : "float32" or "float64"

    Notes
    -----
    Parameters: gain (D,), ones at first, and b (D,), zeros.

    References
    ----------
    Ba, Kiros & Hinton 2016, "Layer normalization".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import LayerNorm
    >>> LayerNorm(2)(np.array([[3.0, 7.0]], "float32")).round(3).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(self, size: int, eps: float = 1e-5, *, dtype: Any = "float32"):
        super().__init__(size, eps, dtype)

    @silent
    def _run(self, x: Any, call: Call, keep: bool, valid: Array | None) -> tuple[Array, Any]:
        x = self._checked("x", x)
        D = self.input_size
        x_hat = x - np.add.reduce(x, axis=-1, keepdims=True) / D
        inverse = 1 / np.sqrt(np.add.reduce(x_hat * x_hat, axis=-1, keepdims=True) / D + self.eps)
        x_hat *= inverse
        return self._scaled(x_hat), (x_hat, inverse)

    @silent
    def _adjoint(self, record: Any, dy: Any, grads: Params, input_gradient: bool) -> Array | None:
        x_hat, inverse = record
        dy = self._output_gradient(dy, x_hat, grads)
        if not input_gradient:
            return None
        d = dy * self.params["gain"]
        along = (d * x_hat).mean(axis=-1, keepdims=True)
        return (d - d.mean(axis=-1, keepdims=True) - x_hat * along) * inverse

    def __repr__(self) -> str:
        return f"LayerNorm({self.input_size})"


class _Statistics(NamedTuple):
    """Mean and variance of the n positions of a batch that count."""

    n: int
    mean: Array
    var: Array


class _BatchRecord(NamedTuple):
    """What `BatchNorm` keeps of a forward pass. ``batch`` is None where no position counts."""

    x_hat: Array
    inverse: Array
    valid: Array | None
    batch: _Statistics | None


class BatchNorm(_Norm):
    """Normalise every feature over the batch: y = (x - mean) / sqrt(variance + eps) * gain + b.

    For x of any shape (..., D). Training takes mean and variance of each feature over all positions of the batch that
    count: within ``lengths``, where ``mask`` is true. A call, which is inference, takes the running statistics.

    Parameters
    ----------
    size : int
        D.
    momentum : float
        Above 0, at most 1: running statistics move by this share of the way to those of a batch.
    eps : float
    dtype : "float32" or "float64"

    Attributes
    ----------
    buffers : mapping
        The running statistics: mean (D,), zeros at first, and var (D,), ones. Every ``forward`` moves them, var towards
        the batch's sum of squares / (n - 1).

    Notes
    -----
    Parameters: gain (D,), ones at first, and b (D,), zeros. A batch in which no position counts is normalised with the
    running statistics, and leaves them as they are.

    References
    ----------
    Ioffe & Szegedy 2015, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift"; over the steps of sequences: Laurent et al. 2016, "Batch normalized recurrent neural networks".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import BatchNorm
    >>> layer = BatchNorm(1, momentum=0.5)
    >>> x = np.array([[[1.0], [3.0]], [[5.0], [99.0]]], "float32")
    >>> y, tape = layer.forward(x, lengths=[2, 1])
    >>> y.astype(int).ravel().tolist()
    [-1, 0, 1, 0]
    >>> layer.buffers["mean"].tolist(), layer.buffers["var"].tolist()
    ([1.5], [2.5])
    """

    def __init__(self, size: int, momentum: float = 0.1, eps: float = 1e-5, *, dtype: Any = "float32"):
        super().__init__(size, eps, dtype)
        self.momentum = as_number("momentum", momentum)
        if not 0 < self.momentum <= 1:
            raise ValueError(f"momentum must be above 0 and at most 1, got {momentum!r}")
        self._buffers = {"mean": np.zeros(self.input_size, self.dtype), "var": np.ones(self.input_size, self.dtype)}

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "momentum": self.momentum}

    @property
    def buffers(self) -> Mapping[str, Array]:
        return MappingProxyType(self._buffers)

    def _scale(self) -> Array:
        """What inference multiplies with: gain / sqrt(running variance + eps)."""
        return self.params["gain"] / np.sqrt(self._buffers["var"] + self.dtype.type(self.eps))

    @silent
    def _run(self, x: Any, call: Call, keep: bool, valid: Array | None) -> tuple[Array, Any]:
        x = self._checked("x", x)
        if keep:
            return self._train(x, valid)
        y = x - self._buffers["mean"]
        y *= self._scale()
        y += self.params["b"]
        return y, None

    def _train(self, x: Array, valid: Array | None) -> tuple[Array, _BatchRecord]:
        batch = self._statistics(x if valid is None else x[valid])
        mean, var = (self._buffers["mean"], self._buffers["var"]) if batch is None else (batch.mean, batch.var)
        inverse = 1 / np.sqrt(var + self.dtype.type(self.eps))
        x_hat = x - mean
        x_hat *= inverse
        return self._scaled(x_hat), _BatchRecord(x_hat, inverse, valid, batch)

    def _statistics(self, x: Array) -> _Statistics | None:
        """Of all positions of (..., D); None where there are none."""
        n = x.size // self.input_size
        if n == 0:
            return None
        mean = (_total(x) / n).astype(self.dtype)
        deviation = x - mean
        return _Statistics(n, mean, (_total(deviation * deviation) / n).astype(self.dtype))

    @silent
    def _settle(self, record: _BatchRecord) -> None:
        batch = record.batch
        if batch is None:
            return
        found = {"mean": batch.mean, "var": batch.var * (batch.n / max(batch.n - 1, 1))}
        with _SETTLING:
            for name, running in self._buffers.items():
                running[...] = (1 - self.momentum) * running + self.momentum * found[name]

    @silent
    def _adjoint(self, record: _BatchRecord, dy: Any, grads: Params, input_gradient: bool) -> Array | None:
        x_hat, inverse, valid, batch = record
        dy = self._output_gradient(dy, x_hat, grads)
        if not input_gradient:
            return None
        d = dy * self.params["gain"]
        if batch is not None:
            # every position of y depends on the statistics, and these on the positions that count
            through = (_total(d) / batch.n).astype(self.dtype) + x_hat * (_total(d * x_hat) / batch.n).astype(
                self.dtype
            )
            d -= through if valid is None else np.where(valid[..., None], through, 0)
        d *= inverse
        return d

    def __repr__(self) -> str:
        return f"BatchNorm({self.input_size})"
