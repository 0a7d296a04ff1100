"""Losses: a number to make small, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import backend, flat
from ._arrays import as_lengths, as_shape
from .layers import as_indices, from_rows, is_time_major_view, to_rows

Array = np.ndarray


class SoftmaxCrossEntropy:
    """Mean of -log softmax(logits)[target] over all valid positions, in nats.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.losses import SoftmaxCrossEntropy
    >>> loss, dlogits = SoftmaxCrossEntropy()(np.zeros((1, 2, 4), "float32"), np.array([[3, 0]]))
    >>> round(loss, 4), dlogits[0, 0].tolist()
    (1.3863, [0.125, 0.125, 0.125, -0.375])
    """

    def __call__(
        self, logits: Any, targets: Any, lengths: Any = None, *, time_major: bool = False
    ) -> tuple[float, Array]:
        """Loss and gradient.

        Parameters
        ----------
        logits : array (..., V); (N, T, V) with ``lengths``, (T, N, V) with ``time_major``
        targets : array of int (...)
            Each 0..V-1.
        lengths : array of int (N,), optional
            Valid steps of every row; positions beyond are not read, and their gradient is 0.

        Returns
        -------
        loss : float
            0 where no position is valid.
        dlogits : array like logits

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape, or a target out of range.
        """
        logits = as_shape("logits", logits, _dtype(logits), _outer(logits, lengths))
        targets = np.asarray(targets)
        if targets.shape != logits.shape[:-1]:
            raise ValueError(f"targets must have shape {logits.shape[:-1]}, got {targets.shape}")
        mask = None if lengths is None else _valid(lengths, targets.shape, time_major)
        swapped = is_time_major_view(logits)
        rows, expected = to_rows(logits, swapped), _in_order(targets, swapped)
        valid = None if mask is None else _in_order(mask, swapped)
        as_indices("targets", expected if valid is None else expected[valid], logits.shape[-1])
        loss, drows = softmax_cross_entropy(rows, expected, valid)
        return loss, from_rows(drows, targets.shape, swapped)


def _dtype(logits: Any) -> np.dtype:
    """float32 for what it can hold, else float64."""
    size = getattr(getattr(logits, "dtype", None), "itemsize", 8)
    return np.dtype("float32" if size <= 4 else "float64")


def _in_order(values: Array, swapped: bool) -> Array:
    """(...) -> (R,), in the order of `to_rows`."""
    return (values.swapaxes(0, 1) if swapped else values).ravel()


def _outer(logits: Any, lengths: Any) -> tuple[int | str, ...]:
    """Shape that logits must have."""
    if lengths is not None:
        return ("N", "T", "V")
    return (*("..." for _ in range(np.ndim(logits) - 1)), "V")


def _valid(lengths: Any, shape: tuple[int, ...], time_major: bool) -> Array:
    """Mask of this shape, true on valid steps."""
    T, N = shape if time_major else shape[::-1]
    mask = np.arange(T) < as_lengths(lengths, N, T)[:, None]
    return mask.T if time_major else mask


def softmax_cross_entropy(logits: Array, targets: Array, valid: Array | None = None) -> tuple[float, Array]:
    """Mean cross-entropy of the valid rows of (R, V) against targets (R,), and its gradient (R, V); 0 where none is."""
    logits, targets = np.ascontiguousarray(logits), np.ascontiguousarray(targets, np.int64)
    dlogits = backend.current().empty(logits.shape, logits.dtype)
    count = len(targets) if valid is None else int(np.count_nonzero(valid))
    weights = None if valid is None else valid.astype(np.float64)
    loss = flat.kernels().softmax_cross_entropy(logits, targets, weights, 1 / max(count, 1), dlogits)
    return loss, dlogits
