"""Optimisers and gradient clipping: each one pass over the flat buffers of parameters and gradients, in place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Real
from typing import Any

import numpy as np

from ._arrays import as_size
from .params import Params

Array = np.ndarray

_BLOCK = 1 << 14  # elements: what one pass reads and writes of a block stays in the L2 cache between its operations


def _blocks(size: int) -> Iterator[slice]:
    for first in range(0, size, _BLOCK):
        yield slice(first, min(first + _BLOCK, size))


def _number(name: str, value: Any, least: float, below: float = math.inf, *, open_end: bool = False) -> float:
    """``value`` as a float with least <= value < below, or least < value with ``open_end``."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    number = float(value)
    if not (least < number if open_end else least <= number) or not number < below:
        interval = f"{'(' if open_end else '['}{least:g}, {below:g})"
        raise ValueError(f"{name} must lie in {interval}, got {value!r}")
    return number


def _as_params(name: str, value: Any) -> Params:
    if not isinstance(value, Params):
        raise TypeError(
            f"{name} must be a Params (a layer's params, or the grads of backward), got {type(value).__name__}"
        )
    return value


class Adam:
    """Adam: steps along the running mean of the gradient, divided by the root of that of its square.

    m = beta1 m + (1-beta1) g; v = beta2 v + (1-beta2) g*g;
    params -= lr * (m / (1-beta1^t)) / (sqrt(v / (1-beta2^t)) + eps).

    Parameters
    ----------
    lr : float
        Learning rate; the attribute may be changed between updates.
    beta1, beta2 : float
        Decay of the two running means, in [0, 1).
    eps : float
        Above 0.

    References
    ----------
    Kingma & Ba 2015, "Adam: a method for stochastic optimization", algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.optim import Adam
    >>> from fastrnn.params import Params
    >>> params, grads = Params.zeros({"b": (2,)}), Params.zeros({"b": (2,)})
    >>> grads["b"] = np.array([3, -0.5], "float32")
    >>> Adam(lr=0.5).update(params, grads)
    >>> params["b"].round(3).tolist()
    [-0.5, 0.5]
    """

    def __init__(self, lr: float = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8):
        self.lr = lr
        self.beta1, self.beta2 = _number("beta1", beta1, 0, 1), _number("beta2", beta2, 0, 1)
        self.eps = _number("eps", eps, 0, open_end=True)
        self._t = 0
        self._m: Array | None = None
        self._v: Array | None = None
        self._scratch: Array | None = None

    @property
    def lr(self) -> float:
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = _number("lr", value, 0)

    def update(self, params: Params, grads: Params) -> None:
        """Make one step: ``params`` change in place, ``grads`` do not.

        Raises
        ------
        TypeError, ValueError
            Not a `Params`, ``grads`` laid out unlike ``params``, or other parameters than at the first update.
        """
        _as_params("params", params)
        if not params.same_layout(_as_params("grads", grads)):
            raise ValueError("grads must have the names, shapes and dtype of params")
        m, v, scratch = self._buffers(params.flat)
        self._t += 1
        rate = self.lr / (1 - self.beta1**self._t)
        correction = 1 / (1 - self.beta2**self._t)
        adam(params.flat, grads.flat, m, v, scratch, rate, correction, self.beta1, self.beta2, self.eps)

    def _buffers(self, flat: Array) -> tuple[Array, Array, Array]:
        if self._m is None or self._v is None:
            self._m, self._v = np.zeros_like(flat), np.zeros_like(flat)
        if self._m.shape != flat.shape or self._m.dtype != flat.dtype:
            first, got = (f"{a.size} numbers of {a.dtype}" for a in (self._m, flat))
            raise ValueError(f"params must be those of the first update, {first}, got {got}")
        if self._scratch is None:
            self._scratch = np.empty(min(_BLOCK, flat.size), flat.dtype)
        return self._m, self._v, self._scratch

    def get_state(self) -> dict[str, Any]:
        """What a resumed run needs besides the constructor's arguments: ``{"t", "lr", "m", "v"}``, copies.

        m and v are None before the first update.
        """
        m, v = (None if a is None else a.copy() for a in (self._m, self._v))
        return {"t": self._t, "lr": self.lr, "m": m, "v": v}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from the state that `get_state` gave."""
        if missing := {"t", "lr", "m", "v"} - set(state):
            raise ValueError(f"state must have the keys t, lr, m, v, lacks {', '.join(sorted(missing))}")
        m, v = (None if state[name] is None else np.array(state[name]) for name in ("m", "v"))
        got = [None if a is None else a.shape for a in (m, v)]
        if got[0] != got[1]:
            raise ValueError(f"state must have m and v of one shape, got {got[0]} and {got[1]}")
        self._t, self.lr, self._m, self._v = as_size("t", state["t"], 0), state["lr"], m, v
        self._scratch = None


def adam(
    params: Array,
    grads: Array,
    m: Array,
    v: Array,
    scratch: Array,
    rate: float,
    correction: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """Adam's update over flat arrays of one size; ``rate`` and ``correction`` hold the two bias corrections.

    params, m and v are read and written, grads is read, scratch (one block) is overwritten.
    """
    for block in _blocks(params.size):
        g, m_, v_ = grads[block], m[block], v[block]
        s = scratch[: g.size]
        np.subtract(g, m_, out=s)
        s *= 1 - beta1
        m_ += s
        np.multiply(g, g, out=s)
        s -= v_
        s *= 1 - beta2
        v_ += s
        np.multiply(v_, correction, out=s)
        np.sqrt(s, out=s)
        s += eps
        np.divide(m_, s, out=s)
        s *= rate
        params[block] -= s


def squared_norm(flat: Array) -> float:
    """Sum of squares, accumulated in float64."""
    return sum(float(np.square(flat[block], dtype=np.float64).sum()) for block in _blocks(flat.size))


def clip_by_value(grads: Params, limit: float) -> None:
    """Clip every gradient to -limit..limit, in place.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.optim import clip_by_value
    >>> from fastrnn.params import Params
    >>> grads = Params.zeros({"b": (2,)})
    >>> grads["b"] = np.array([3, -0.5], "float32")
    >>> clip_by_value(grads, 1.0)
    >>> grads["b"].tolist()
    [1.0, -0.5]
    """
    limit = _number("limit", limit, 0, open_end=True)
    flat = _as_params("grads", grads).flat
    np.clip(flat, -limit, limit, out=flat)


def clip_by_norm(grads: Params, limit: float) -> float:
    """Scale all gradients together, in place, so that their common Euclidean norm is at most ``limit``.

    Returns
    -------
    norm : float
        The norm before clipping. Where it is not finite the gradients are left as they are.

    References
    ----------
    Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.optim import clip_by_norm
    >>> from fastrnn.params import Params
    >>> grads = Params.zeros({"b": (2,)})
    >>> grads["b"] = np.array([3, 4], "float32")
    >>> clip_by_norm(grads, 2.5), grads["b"].tolist()
    (5.0, [1.5, 2.0])
    """
    limit = _number("limit", limit, 0, open_end=True)
    flat = _as_params("grads", grads).flat
    norm = math.sqrt(squared_norm(flat))
    if math.isfinite(norm) and norm > limit:
        flat *= limit / norm
    return norm
