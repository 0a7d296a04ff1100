"""`Dropout`: a layer that leaves out some of its input in training."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arrays import as_flag, as_float, as_rate, as_shape
from .layer import Array, Call, StatelessLayer
from .params import Params


def _dtype_for(x: Any) -> np.dtype:
    """float32 for what it can hold, else float64."""
    size = getattr(getattr(x, "dtype", None), "itemsize", 8)
    return np.dtype("float32" if size <= 4 else "float64")


class Dropout(StatelessLayer):
    """In training, set each number of x to zero with probability ``rate`` and divide the others by 1 - rate.

    For x of any shape, float32 or float64. A call, which is inference, gives x as it is.

    Parameters
    ----------
    rate : float
        At least 0, below 1.
    shared_time : bool
        Leave out the same features of a sequence at all of its time steps; ``forward`` takes x (N, T, D) then.

    Notes
    -----
    There are no parameters. ``forward`` draws from its ``rng`` one number in float32 for each number of x (of one time
    step, with ``shared_time``), in the order of x's axes; within a stack these are (T, N, D). Padding takes part, so
    that what a position draws does not depend on lengths.

    References
    ----------
    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting"; ``shared_time``: Gal &
    Ghahramani 2016, "A theoretically grounded application of dropout in recurrent neural networks".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import Dropout
    >>> layer = Dropout(0.5)
    >>> x = np.ones((2, 4), "float32")
    >>> y, tape = layer.forward(x, rng=np.random.default_rng(1))
    >>> sorted(set(y.ravel().tolist())), layer(x).min()
    ([0.0, 2.0], np.float32(1.0))
    """

    input_size = None
    output_size = 0

    def __init__(self, rate: float, *, shared_time: bool = False):
        self.rate = as_rate("rate", rate)
        self.shared_time = as_flag("shared_time", shared_time)
        self._params = Params.zeros({})

    def _config(self) -> dict[str, Any]:
        return {"rate": self.rate, "shared_time": self.shared_time}

    def _as_output(self, name: str, value: Any, outer: tuple[int | str, ...]) -> Array:
        return as_shape(name, value, _dtype_for(value), (*outer, "D"))

    def _run(self, x: Any, call: Call, keep: bool, valid: Array | None) -> tuple[Array, Any]:
        x = as_float("x", x, _dtype_for(x))
        if not (keep and self.rate):
            return x, (None, x.shape, x.dtype)
        if self.shared_time and x.ndim != 3:
            raise ValueError(f"x must have shape (N, T, D) with shared_time, got {x.shape}")
        drawn = list(x.shape)
        if self.shared_time:
            drawn[0 if call.time_major else 1] = 1
        kept = call.generator(self).random(drawn, np.float32) >= np.float32(self.rate)
        return self._scaled(x, kept), (kept, x.shape, x.dtype)

    def _scaled(self, x: Array, kept: Array) -> Array:
        return x * (kept * x.dtype.type(1 / (1 - self.rate)))  # few factors with shared_time, and one pass over x

    def _adjoint(self, record: Any, dy: Any, grads: Params, input_gradient: bool) -> Array | None:
        kept, shape, dtype = record
        dy = as_shape("dy", dy, dtype, shape)
        if not input_gradient:
            return None
        return dy if kept is None else self._scaled(dy, kept)

    def __repr__(self) -> str:
        return f"Dropout({self.rate}{', shared_time=True' if self.shared_time else ''})"
