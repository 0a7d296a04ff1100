"""Optimisers and gradient clipping: each one pass over the flat buffers of parameters and gradients, in place."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

from . import flat
from ._arrays import as_flag, as_size
from .params import Params

Array = np.ndarray


def as_number_in(name: str, value: Any, least: float, below: float = math.inf, *, open_end: bool = False) -> float:
    """Return ``value`` as a float with least <= value < below, or least < value with ``open_end``."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    number = float(value)
    if not (least < number if open_end else least <= number) or not number < below:
        interval = f"{'(' if open_end else '['}{least:g}, {below:g})"
        raise ValueError(f"{name} must lie in {interval}, got {value!r}")
    return number


def _eps_in(dtype: np.dtype, eps: float) -> float:
    """``eps``, or the smallest normal number where ``dtype`` has none so small: a step of 0 / (0 + eps) stays 0."""
    return max(eps, float(np.finfo(dtype).tiny))


def _as_params(name: str, value: Any) -> Params:
    if not isinstance(value, Params):
        raise TypeError(
            f"{name} must be a Params (a layer's params, or the grads of backward), got {type(value).__name__}"
        )
    return value


class Optimizer:
    """What optimisers share: a learning rate, a count of steps, and moments, flat arrays that go with the parameters.

    A subclass names its moments and makes one step in ``_step``.

    Parameters
    ----------
    lr : float
        Learning rate, at least 0; the attribute may be changed between updates.
    """

    _moments: tuple[str, ...] = ()

    def __init__(self, lr: float):
        self.lr = lr
        self._t = 0
        self._kept: dict[str, Array | None] = dict.fromkeys(self._moments)

    @property
    def lr(self) -> float:
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = as_number_in("lr", value, 0)

    def update(self, params: Params, grads: Params, *, scale: float = 1.0) -> None:
        """Make one step: ``params`` change in place, ``grads`` do not.

        Parameters
        ----------
        params, grads : Params
            Of one layout.
        scale : float
            Factor of the gradient, at least 0. With that of `clip_scale`, clipping needs no pass of its own.

        Raises
        ------
        TypeError, ValueError
            Not a `Params`, ``grads`` laid out unlike ``params``, or other parameters than at the first update.
        """
        _as_params("params", params)
        if not params.same_layout(_as_params("grads", grads)):
            raise ValueError("grads must have the names, shapes and dtype of params")
        scale = as_number_in("scale", scale, 0)
        moments = [self._moment(name, params.flat) for name in self._moments]
        self._t += 1
        self._step(params.flat, grads.flat, moments, scale)

    def _step(self, params: Array, grads: Array, moments: list[Array], scale: float) -> None:
        raise NotImplementedError

    def _moment(self, name: str, params: Array) -> Array:
        moment = self._kept[name]
        if moment is None:
            moment = self._kept[name] = np.zeros_like(params)
        if moment.shape != params.shape or moment.dtype != params.dtype:
            first, got = (f"{a.size} numbers of {a.dtype}" for a in (moment, params))
            raise ValueError(f"params must be those of the first update, {first}, got {got}")
        return moment

    def get_state(self) -> dict[str, Any]:
        """What a resumed run needs besides the constructor's arguments: ``"t"``, ``"lr"`` and the moments, copies.

        Moments are None before the first update.
        """
        moments = {name: None if a is None else a.copy() for name, a in self._kept.items()}
        return {"t": self._t, "lr": self.lr, **moments}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from the state that `get_state` gave."""
        keys = ("t", "lr", *self._moments)
        if missing := set(keys) - set(state):
            raise ValueError(f"state must have the keys {', '.join(keys)}, lacks {', '.join(sorted(missing))}")
        kept = {name: None if state[name] is None else np.array(state[name], order="C") for name in self._moments}
        shapes = [None if a is None else a.shape for a in kept.values()]
        if len(set(shapes)) > 1:
            raise ValueError(f"state must have {' and '.join(kept)} of one shape, got {' and '.join(map(str, shapes))}")
        t = as_size("t", state["t"], 0)
        self.lr = state["lr"]
        self._t, self._kept = t, kept


class SGD(Optimizer):
    """Stochastic gradient descent, with a heavy ball's or Nesterov's momentum where asked for.

    m = momentum m + g; params -= lr m, or with ``nesterov`` params -= lr (g + momentum m).
    Without momentum params -= lr g.

    Parameters
    ----------
    lr : float
        Learning rate; the attribute may be changed between updates.
    momentum : float
        In [0, 1); its state is called m.
    nesterov : bool
        Needs a momentum above 0.

    References
    ----------
    Sutskever, Martens, Dahl & Hinton 2013, "On the importance of initialization and momentum in deep learning";
    the learning rate stands outside of m, so that it may change between updates.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.optim import SGD
    >>> from fastrnn.params import Params
    >>> params, grads = Params.zeros({"b": (2,)}), Params.zeros({"b": (2,)})
    >>> grads["b"] = np.array([3, -0.5], "float32")
    >>> sgd = SGD(lr=0.5, momentum=0.5)
    >>> sgd.update(params, grads)
    >>> sgd.update(params, grads)
    >>> params["b"].tolist()
    [-3.75, 0.625]
    """

    def __init__(self, lr: float = 1e-2, *, momentum: float = 0.0, nesterov: bool = False):
        self.momentum = as_number_in("momentum", momentum, 0, 1)
        self.nesterov = as_flag("nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov must go with a momentum above 0, got momentum 0")
        if self.momentum:
            self._moments = ("m",)
        super().__init__(lr)

    def _step(self, params: Array, grads: Array, moments: list[Array], scale: float) -> None:
        m = moments[0] if moments else None
        flat.kernels().sgd(params, grads, m, self.lr, self.momentum, self.nesterov, scale)


class RMSprop(Optimizer):
    """RMSprop: steps along the gradient, divided by the root of the running mean of its square.

    v = rho v + (1-rho) g*g; params -= lr * g / (sqrt(v) + eps).

    Parameters
    ----------
    lr : float
        Learning rate; the attribute may be changed between updates.
    rho : float
        Decay of the running mean, in [0, 1).
    eps : float
        Above 0.

    References
    ----------
    Tieleman & Hinton 2012, "Lecture 6.5: rmsprop", Coursera: Neural networks for machine learning.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.optim import RMSprop
    >>> from fastrnn.params import Params
    >>> params, grads = Params.zeros({"b": (2,)}), Params.zeros({"b": (2,)})
    >>> grads["b"] = np.array([3, -0.5], "float32")
    >>> RMSprop(lr=0.5, rho=0.75).update(params, grads)
    >>> params["b"].round(3).tolist()
    [-1.0, 1.0]
    """

    _moments = ("v",)

    def __init__(self, lr: float = 1e-3, *, rho: float = 0.9, eps: float = 1e-8):
        super().__init__(lr)
        self.rho, self.eps = as_number_in("rho", rho, 0, 1), as_number_in("eps", eps, 0, open_end=True)

    def _step(self, params: Array, grads: Array, moments: list[Array], scale: float) -> None:
        eps = _eps_in(params.dtype, self.eps)
        flat.kernels().rmsprop(params, grads, *moments, self.lr, self.rho, eps, scale)


class Adam(Optimizer):
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

    _moments = ("m", "v")
    weight_decay = 0.0

    def __init__(self, lr: float = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8):
        super().__init__(lr)
        self.beta1, self.beta2 = as_number_in("beta1", beta1, 0, 1), as_number_in("beta2", beta2, 0, 1)
        self.eps = as_number_in("eps", eps, 0, open_end=True)

    def _step(self, params: Array, grads: Array, moments: list[Array], scale: float) -> None:
        rate = self.lr / (1 - self.beta1**self._t)
        correction = 1 / (1 - self.beta2**self._t)
        decay = self.lr * self.weight_decay
        eps = _eps_in(params.dtype, self.eps)
        flat.kernels().adam(params, grads, *moments, rate, correction, self.beta1, self.beta2, eps, decay, scale)


class AdamW(Adam):
    """Adam with decoupled weight decay: before Adam's step, params -= lr * weight_decay * params.

    All parameters decay, biases included.

    Parameters
    ----------
    lr, beta1, beta2, eps : float
        As for `Adam`.
    weight_decay : float
        At least 0.

    References
    ----------
    Loshchilov & Hutter 2019, "Decoupled weight decay regularization", algorithm 2, with the learning rate as a factor
    of the decay too.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.optim import AdamW
    >>> from fastrnn.params import Params
    >>> params, grads = Params.zeros({"b": (1,)}), Params.zeros({"b": (1,)})
    >>> params["b"] = np.array([2], "float32")
    >>> AdamW(lr=0.5, weight_decay=0.5).update(params, grads)
    >>> params["b"].tolist()
    [1.5]
    """

    def __init__(
        self,
        lr: float = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(lr, beta1=beta1, beta2=beta2, eps=eps)
        self.weight_decay = as_number_in("weight_decay", weight_decay, 0)


def global_norm(grads: Params) -> float:
    """Common Euclidean norm of all gradients, accumulated in float64.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.optim import global_norm
    >>> from fastrnn.params import Params
    >>> grads = Params.zeros({"b": (2,)})
    >>> grads["b"] = np.array([3, 4], "float32")
    >>> global_norm(grads)
    5.0
    """
    return math.sqrt(flat.kernels().squared_norm(_as_params("grads", grads).flat))


def clip_scale(grads: Params, limit: float) -> tuple[float, float]:
    """What `clip_by_norm` would do, for ``update(params, grads, scale=...)`` to do it in its own pass.

    Returns
    -------
    norm : float
        The norm of ``grads``.
    scale : float
        limit / norm, or 1 where the norm is within the limit or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.optim import clip_scale
    >>> from fastrnn.params import Params
    >>> grads = Params.zeros({"b": (2,)})
    >>> grads["b"] = np.array([3, 4], "float32")
    >>> clip_scale(grads, 2.5)
    (5.0, 0.5)
    """
    limit = as_number_in("limit", limit, 0, open_end=True)
    norm = global_norm(grads)
    return norm, limit / norm if math.isfinite(norm) and norm > limit else 1.0


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
    limit = as_number_in("limit", limit, 0, open_end=True)
    values = _as_params("grads", grads).flat
    np.clip(values, -limit, limit, out=values)


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
    norm, scale = clip_scale(grads, limit)
    if scale != 1:
        values = grads.flat
        values *= scale
    return norm
