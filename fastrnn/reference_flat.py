"""Backend "numpy": optimisers, norm and softmax cross-entropy in plain NumPy, the specification of the fused kernels.

Arrays are handed over checked: contiguous, of one dtype (float32 or float64) but for targets and weights, and flat ones
of one size. Elementwise results are rounded at other places than the compiled ones; NaN and infinity pass through.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .reference import silent

Array = np.ndarray

_BLOCK = 1 << 14  # elements: what one pass reads and writes of a block stays in the L2 cache between its operations


def _blocks(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """The same pieces of all arrays, and of a scratch array at the end."""
    size = arrays[0].size
    scratch = np.empty(min(_BLOCK, size), arrays[0].dtype)
    for first in range(0, size, _BLOCK):
        last = min(first + _BLOCK, size)
        yield *(array[first:last] for array in arrays), scratch[: last - first]


def adam(
    params: Array,
    grads: Array,
    m: Array,
    v: Array,
    rate: float,
    correction: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    scale: float,
) -> None:
    """One step of Adam over flat arrays; params, m and v are read and written.

    With g = scale * grads: m = beta1 * m + (1-beta1) * g; v = beta2 * v + (1-beta2) * g*g;
    params = params - decay * params - rate * m / (sqrt(correction * v) + eps).
    The caller puts the two corrections of bias into ``rate`` and ``correction``.
    """
    with np.errstate(all="ignore"):
        for p, grad, m_, v_, s in _blocks(params, grads, m, v):
            g = grad * scale if scale != 1 else grad
            np.multiply(g, 1 - beta1, out=s)
            m_ *= beta1
            m_ += s
            np.multiply(g, g, out=s)
            s *= 1 - beta2
            v_ *= beta2
            v_ += s
            np.multiply(v_, correction, out=s)
            np.sqrt(s, out=s)
            s += eps
            np.divide(m_, s, out=s)
            s *= rate
            if decay:
                p -= p * decay
            p -= s


def sgd(
    params: Array, grads: Array, m: Array | None, rate: float, momentum: float, nesterov: bool, scale: float
) -> None:
    """One step of gradient descent over flat arrays; params and m are read and written.

    With g = scale * grads: m = momentum * m + g; params -= rate * (g + momentum * m if nesterov else m). Without m,
    params -= rate * g.
    """
    with np.errstate(all="ignore"):
        if m is None:
            for p, grad, s in _blocks(params, grads):
                np.multiply(grad, scale, out=s)
                s *= rate
                p -= s
            return
        for p, grad, m_, s in _blocks(params, grads, m):
            np.multiply(grad, scale, out=s)
            m_ *= momentum
            m_ += s
            p -= rate * ((s + momentum * m_) if nesterov else m_)


def rmsprop(params: Array, grads: Array, v: Array, rate: float, rho: float, eps: float, scale: float) -> None:
    """One step of RMSprop over flat arrays; params and v are read and written.

    With g = scale * grads: v = rho * v + (1-rho) * g*g; params -= rate * g / (sqrt(v) + eps).
    """
    with np.errstate(all="ignore"):
        for p, grad, v_, s in _blocks(params, grads, v):
            g = grad * scale
            np.multiply(g, g, out=s)
            s *= 1 - rho
            v_ *= rho
            v_ += s
            np.sqrt(v_, out=s)
            s += eps
            p -= rate * (g / s)


def squared_norm(x: Array) -> float:
    """Sum of squares of a flat array, accumulated in float64."""
    with np.errstate(all="ignore"):
        return float(sum(np.square(block, dtype=np.float64).sum() for block, _ in _blocks(x)))


def softmax_cross_entropy(logits: Array, targets: Array, weights: Array | None, scale: float, dlogits: Array) -> float:
    """Return scale * sum over rows of weight * -log softmax(logits)[target]; write its gradient into dlogits.

    logits and dlogits (R, V), targets (R,) int64, weights (R,) float64 or None for 1. Where a weight is 0 neither the
    logits nor the target of the row are read, and its gradient is 0. The largest logit of a row is taken off first, so
    nothing overflows; sums over a row and over rows are made in float64.
    """
    if weights is not None:
        chosen = np.flatnonzero(weights)
        if len(chosen) < len(weights):
            part = np.empty((len(chosen), logits.shape[1]), logits.dtype)
            loss = softmax_cross_entropy(logits[chosen], targets[chosen], weights[chosen], scale, part)
            dlogits[...] = 0
            dlogits[chosen] = part
            return loss
    if not len(targets):
        return 0.0
    each = np.arange(len(targets))
    factor = np.full(len(targets), scale) if weights is None else weights * scale
    with np.errstate(all="ignore"):
        most = logits.max(axis=1)
        np.subtract(logits, most[:, None], out=dlogits)
        np.exp(dlogits, out=dlogits)
        total = dlogits.sum(axis=1, dtype=np.float64)
        losses = np.log(total) - (logits[each, targets].astype(np.float64) - most)
        dlogits *= (factor / total).astype(logits.dtype)[:, None]
        dlogits[each, targets] -= factor.astype(logits.dtype)
        return float(scale * np.sum(losses if weights is None else weights * losses))


@silent
def affine(x: Array, W: Array, b: Array | None, y: Array, transposed: bool = False) -> None:
    """y = x W + b, or x W' + b with ``transposed``: x (R, K), y (R, columns), all contiguous; b (columns,) or None."""
    np.matmul(x, W.T if transposed else W, out=y)
    if b is not None:
        y += b


@silent
def add_outer(x: Array, d: Array, dW: Array, db: Array | None) -> None:
    """dW += x' d, and db += the sums of d's columns, for x (R, M) and d (R, columns)."""
    dW += x.T @ d
    if db is not None:
        db += d.sum(axis=0)


class Affine:
    """`affine` with the same W and b again and again; it refers to both."""

    def __init__(self, W: Array, b: Array | None, transposed: bool = False):
        self._W, self._b = W.T if transposed else W, b

    @silent
    def run(self, x: Array, y: Array) -> None:
        """Write y (R, columns) for x (R, K)."""
        np.matmul(x, self._W, out=y)
        if self._b is not None:
            y += self._b
