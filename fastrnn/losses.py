"""Losses: a number to make small, and its gradient; and `Accuracy`, a number to look at.

Every loss is called ``loss(outputs, targets, lengths=None, *, mask=None, time_major=False)`` and gives the mean over
what is valid, and its gradient with respect to the outputs. What lies beyond a row's length, or where the mask is
False, is never read: NaN there reaches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from . import backend, flat
from ._arrays import as_array, as_lengths, as_number, as_shape
from .layers import as_indices, from_rows, is_time_major_view, to_rows

Array = np.ndarray


class Loss:
    """What losses share: `weight` says what a value is a mean over, so that means of batches can be joined."""

    def __call__(
        self, outputs: Any, targets: Any, lengths: Any = None, *, mask: Any = None, time_major: bool = False
    ) -> tuple[float, Array]:
        """Loss and gradient; see the subclass."""
        raise NotImplementedError

    def weight(self, targets: Any, lengths: Any = None, *, mask: Any = None, time_major: bool = False) -> float:
        """The number of elements, or the sum of their weights, that the loss of these targets is a mean over."""
        raise NotImplementedError


class SoftmaxCrossEntropy(Loss):
    """Mean of -log softmax(logits)[target] over all valid positions, in nats.

    Parameters
    ----------
    class_weight : sequence of V numbers, optional
        Weight of every class, at least 0: the loss is then a weighted mean, divided by the sum of the weights. A class
        of weight 0 is left out.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.losses import SoftmaxCrossEntropy
    >>> loss, dlogits = SoftmaxCrossEntropy()(np.zeros((1, 2, 4), "float32"), np.array([[3, 0]]))
    >>> round(loss, 4), dlogits[0, 0].tolist()
    (1.3863, [0.125, 0.125, 0.125, -0.375])
    """

    def __init__(self, class_weight: Sequence[float] | None = None):
        self.class_weight = None if class_weight is None else _weights(class_weight)

    def __call__(
        self, logits: Any, targets: Any, lengths: Any = None, *, mask: Any = None, time_major: bool = False
    ) -> tuple[float, Array]:
        """Loss and gradient.

        Parameters
        ----------
        logits : array (..., V); (N, T, V) with ``lengths``, (T, N, V) with ``time_major``
        targets : array of int (...)
            Each 0..V-1.
        lengths : array of int (N,), optional
            Valid steps of every row; positions beyond are not read, and their gradient is 0.
        mask : array of bool (...), optional
            False where a position is to be left out.

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
        logits = as_shape("logits", logits, _dtype(logits), _outer(logits, lengths, "V"))
        targets = as_array("targets", targets)
        if targets.shape != logits.shape[:-1]:
            raise ValueError(f"targets must have shape {logits.shape[:-1]}, got {targets.shape}")
        self._check_classes(logits.shape[-1])
        valid = valid_positions(targets.shape, lengths, mask, time_major)
        swapped = is_time_major_view(logits)
        rows, expected = to_rows(logits, swapped), _in_order(targets, swapped)
        chosen = None if valid is None else _in_order(valid, swapped)
        as_indices("targets", expected if chosen is None else expected[chosen], logits.shape[-1])
        loss, drows = softmax_cross_entropy(rows, expected, chosen, self.class_weight)
        return loss, from_rows(drows, targets.shape, swapped)

    def _check_classes(self, V: int) -> None:
        if self.class_weight is not None and len(self.class_weight) != V:
            raise ValueError(f"class_weight must have {V} numbers, one per class, got {len(self.class_weight)}")

    def weight(self, targets: Any, lengths: Any = None, *, mask: Any = None, time_major: bool = False) -> float:
        targets = np.asarray(targets)
        valid = valid_positions(targets.shape, lengths, mask, time_major)
        if self.class_weight is None:
            return float(targets.size if valid is None else np.count_nonzero(valid))
        return float(self.class_weight[targets if valid is None else targets[valid]].sum())


class _Elementwise(Loss):
    """A loss that is a (weighted) mean of one term per output; subclasses say what the terms are."""

    def __call__(
        self, outputs: Any, targets: Any, lengths: Any = None, *, mask: Any = None, time_major: bool = False
    ) -> tuple[float, Array]:
        """Loss and gradient.

        Parameters
        ----------
        outputs : array (..., K); (N, T, K) with ``lengths``, (T, N, K) with ``time_major``
        targets : array
            Of the shape of ``outputs``, or as the class says.
        lengths : array of int (N,), optional
            Valid steps of every row; positions beyond are not read, and their gradient is 0.
        mask : array of bool (...), optional
            False where a position is to be left out.

        Returns
        -------
        loss : float
            0 where no position is valid.
        gradient : array like outputs

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape, or a target out of range.
        """
        outputs = as_shape("outputs", outputs, _dtype(outputs), _outer(outputs, lengths, "K"))
        targets = self._targets(targets, outputs)
        valid = valid_positions(outputs.shape[:-1], lengths, mask, time_major)
        at: Any = Ellipsis if valid is None else valid
        terms, slopes, weights = self._terms(outputs[at], self._checked(targets[at], outputs.dtype))
        total = float(terms.size if weights is None else weights.sum(dtype=np.float64))
        gradient = np.empty_like(outputs) if valid is None else np.zeros_like(outputs)
        if not total:
            gradient[...] = 0
            return 0.0, gradient
        gradient[at] = slopes / outputs.dtype.type(total)
        return float(terms.sum(dtype=np.float64) / total), gradient

    def weight(self, targets: Any, lengths: Any = None, *, mask: Any = None, time_major: bool = False) -> float:
        targets = np.asarray(targets)
        valid = valid_positions(targets.shape[:-1], lengths, mask, time_major)
        return float((targets if valid is None else targets[valid]).size)

    def _targets(self, targets: Any, outputs: Array) -> Array:
        """``targets`` as an array of the right shape; the values of its padding are not looked at."""
        targets = _as_targets(targets, outputs.dtype)
        if targets.shape != outputs.shape:
            raise ValueError(f"targets must have the shape of outputs, {outputs.shape}, got {targets.shape}")
        return targets

    def _checked(self, targets: Array, dtype: np.dtype) -> Array:
        """The valid targets in the dtype of the outputs."""
        return as_shape("targets", targets, dtype, targets.shape)

    def _terms(self, outputs: Array, targets: Array) -> tuple[Array, Array, Array | None]:
        """One term per output, its derivative, and its weight (None: 1), which both have as a factor already."""
        raise NotImplementedError


class MeanSquaredError(_Elementwise):
    """Mean of (output - target)^2 over all valid elements.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.losses import MeanSquaredError
    >>> loss, dy = MeanSquaredError()(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]]))
    >>> loss, dy.tolist()
    (2.0, [[0.0, -2.0]])
    """

    def _terms(self, outputs: Array, targets: Array) -> tuple[Array, Array, Array | None]:
        with np.errstate(over="ignore", invalid="ignore"):
            error = outputs - targets
            return error * error, 2 * error, None


class BinaryCrossEntropy(_Elementwise):
    """Mean of -log of the probability sigmoid(logit) of a yes, or 1 - sigmoid(logit) of a no, in nats.

    Targets are 0 or 1 (integers, bool), or probabilities, of the shape of the logits.

    Parameters
    ----------
    class_weight : (weight of 0, weight of 1), optional
        At least 0: the loss is then a weighted mean, divided by the sum of the weights.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.losses import BinaryCrossEntropy
    >>> loss, dy = BinaryCrossEntropy()(np.zeros((2, 1)), np.array([[1], [0]]))
    >>> round(loss, 4), dy.tolist()
    (0.6931, [[-0.25], [0.25]])
    """

    def __init__(self, class_weight: Sequence[float] | None = None):
        self.class_weight = None if class_weight is None else _weights(class_weight)
        if self.class_weight is not None and len(self.class_weight) != 2:
            raise ValueError(f"class_weight must have 2 numbers, got {len(self.class_weight)}")

    def _checked(self, targets: Array, dtype: np.dtype) -> Array:
        if targets.dtype.kind in "biu":
            targets = targets.astype(dtype)
        targets = as_shape("targets", targets, dtype, targets.shape)
        outside = ~((targets >= 0) & (targets <= 1))
        if outside.any():
            raise ValueError(f"targets must lie in 0..1, got {targets[outside].flat[0]}")
        return targets

    def _terms(self, outputs: Array, targets: Array) -> tuple[Array, Array, Array | None]:
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            small = np.exp(-np.abs(outputs))
            terms = np.maximum(outputs, 0) - outputs * targets + np.log1p(small)
            slopes = np.where(outputs >= 0, 1, small) / (1 + small) - targets
        if self.class_weight is None:
            return terms, slopes, None
        no, yes = self.class_weight.astype(outputs.dtype)
        weights = no + (yes - no) * targets
        return terms * weights, slopes * weights, weights

    def weight(self, targets: Any, lengths: Any = None, *, mask: Any = None, time_major: bool = False) -> float:
        if self.class_weight is None:
            return super().weight(targets, lengths, mask=mask, time_major=time_major)
        targets = np.asarray(targets)
        valid = valid_positions(targets.shape[:-1], lengths, mask, time_major)
        chosen = (targets if valid is None else targets[valid]).astype(np.float64)
        no, yes = self.class_weight
        return float((no + (yes - no) * chosen).sum())


class Quantile(_Elementwise):
    """Pinball loss: its minimum is at the quantiles of the target, so a model learns prediction intervals.

    Mean over quantiles q and valid elements of max(q e, (q - 1) e), e = target - output.

    Targets (..., K), outputs (..., K·Q): the Q quantiles of each target side by side.

    Parameters
    ----------
    quantiles : sequence of Q numbers
        Each in (0, 1).

    References
    ----------
    Koenker & Bassett 1978, "Regression quantiles".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.losses import Quantile
    >>> loss, dy = Quantile([0.25, 0.75])(np.array([[1.0, 3.0]]), np.array([[2.0]]))  # 2 lies between them
    >>> loss, dy.tolist()
    (0.25, [[-0.125, 0.125]])
    """

    def __init__(self, quantiles: Sequence[float]):
        if not isinstance(quantiles, Iterable):
            raise TypeError(f"quantiles must be a sequence of numbers, got {quantiles!r}")
        self.quantiles = tuple(as_number(f"quantiles[{k}]", q) for k, q in enumerate(quantiles))
        if not self.quantiles or not all(0 < q < 1 for q in self.quantiles):
            raise ValueError(f"quantiles must lie in (0, 1), got {self.quantiles}")

    def _targets(self, targets: Any, outputs: Array) -> Array:
        targets, Q = _as_targets(targets, outputs.dtype), len(self.quantiles)
        wanted = (*outputs.shape[:-1], outputs.shape[-1] // Q)
        if outputs.shape[-1] % Q:
            raise ValueError(f"outputs must have {Q} columns per target, one per quantile, got shape {outputs.shape}")
        if targets.shape != wanted:
            raise ValueError(f"targets must have shape {wanted}, got {targets.shape}")
        return targets

    def _terms(self, outputs: Array, targets: Array) -> tuple[Array, Array, Array | None]:
        q = np.array(self.quantiles, outputs.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            error = targets[..., None] - outputs.reshape(*targets.shape, len(q))
            terms = np.maximum(q * error, (q - 1) * error)
            slopes = np.where(error > 0, -q, np.where(error < 0, 1 - q, 0 * error))
        return terms.reshape(outputs.shape), slopes.reshape(outputs.shape), None


class Accuracy(Loss):
    """Share of valid positions that are right: a metric, not a loss to train with.

    Outputs (..., V) with integers (...) as targets: the largest output is at the target. Outputs and targets of one
    shape: the output, a logit, is above 0 where the target is 1 (or above a half). NaN is never right.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.losses import Accuracy
    >>> logits = np.array([[[0.0, 1.0], [2.0, 1.0]]])
    >>> Accuracy()(logits, np.array([[1, 1]]))[0]
    0.5
    """

    def __call__(
        self, outputs: Any, targets: Any, lengths: Any = None, *, mask: Any = None, time_major: bool = False
    ) -> tuple[float, Array]:
        """Accuracy (0 where no position is valid), and zeros like the outputs: it has no slope."""
        outputs, targets = as_array("outputs", outputs), as_array("targets", targets)
        if targets.shape == outputs.shape[:-1]:
            right = (outputs.argmax(axis=-1) == targets) & ~np.isnan(outputs).any(axis=-1)
        elif targets.shape == outputs.shape:
            right = ((outputs > 0) == (targets > 0.5)) & ~np.isnan(outputs)
        else:
            wanted = f"{outputs.shape[:-1]} or {outputs.shape}"
            raise ValueError(f"targets must have shape {wanted}, got {targets.shape}")
        valid = valid_positions(outputs.shape[:-1], lengths, mask, time_major)
        right = right if valid is None else right[valid]
        return (float(right.mean()) if right.size else 0.0), np.zeros_like(outputs)

    def weight(self, targets: Any, lengths: Any = None, *, mask: Any = None, time_major: bool = False) -> float:
        targets = np.asarray(targets)
        if lengths is None and mask is None:
            return float(targets.size)
        outer = np.shape(mask) if mask is not None else targets.shape[:2]
        valid = valid_positions(outer, lengths, mask, time_major)
        return float(targets[valid].size)


def _weights(values: Sequence[float]) -> Array:
    try:
        weights = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"class_weight must be a sequence of numbers, one per class, got {values!r}") from error
    if weights.ndim != 1 or not np.all(np.isfinite(weights) & (weights >= 0)):
        raise ValueError(f"class_weight must hold numbers of at least 0, one per class, got {values!r}")
    return weights


def _dtype(outputs: Any) -> np.dtype:
    """float32 for what it can hold, else float64."""
    size = getattr(getattr(outputs, "dtype", None), "itemsize", 8)
    return np.dtype("float32" if size <= 4 else "float64")


def _as_targets(targets: Any, dtype: np.dtype) -> Array:
    """``targets`` as an array; floating-point numbers in lists take the dtype of the outputs."""
    array = as_array("targets", targets)
    return array if hasattr(targets, "dtype") or array.dtype.kind != "f" else array.astype(dtype)


def _in_order(values: Array, swapped: bool) -> Array:
    """(...) -> (R,), in the order of `to_rows`."""
    return (values.swapaxes(0, 1) if swapped else values).ravel()


def _outer(outputs: Any, lengths: Any, last: str) -> tuple[int | str, ...]:
    """Shape that outputs must have."""
    if lengths is not None:
        return ("N", "T", last)
    return (*("..." for _ in range(np.ndim(outputs) - 1)), last)


def _steps(lengths: Any, N: int, T: int, time_major: bool) -> Array:
    """(N, T), or (T, N) with time_major: true on valid steps."""
    valid = np.arange(T) < as_lengths(lengths, N, T)[:, None]
    return valid.T if time_major else valid


def _as_mask(mask: Any, shape: tuple[int, ...]) -> Array:
    mask = np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"mask must hold bool, got {mask.dtype}")
    if mask.shape != shape:
        raise ValueError(f"mask must have shape {shape}, got {mask.shape}")
    return mask


def valid_positions(shape: tuple[int, ...], lengths: Any, mask: Any, time_major: bool) -> Array | None:
    """Mask of this shape, true where both lengths and mask say so; None where neither is given."""
    valid = None if mask is None else _as_mask(mask, shape)
    if lengths is None:
        return valid
    if len(shape) != 2:
        raise ValueError(f"lengths must go with targets for every step, got targets of {len(shape)} outer axes")
    T, N = shape if time_major else shape[::-1]
    steps = _steps(lengths, N, T, time_major)
    return steps if valid is None else steps & valid


def softmax_cross_entropy(
    logits: Array, targets: Array, valid: Array | None = None, class_weight: Array | None = None
) -> tuple[float, Array]:
    """Mean cross-entropy of the valid rows of (R, V) against targets (R,), and its gradient (R, V); 0 where none is."""
    logits, targets = np.ascontiguousarray(logits), np.ascontiguousarray(targets, np.int64)
    dlogits = backend.current().empty(logits.shape, logits.dtype)
    if class_weight is None:
        weights = None if valid is None else valid.astype(np.float64)
    else:
        chosen = slice(None) if valid is None else valid
        weights = np.zeros(len(targets))
        weights[chosen] = class_weight[targets[chosen]]
    total = float(len(targets) if weights is None else weights.sum())
    loss = flat.kernels().softmax_cross_entropy(logits, targets, weights, 1 / total if total else 1.0, dlogits)
    return loss, dlogits
