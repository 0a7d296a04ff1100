"""Training: truncated backpropagation through time over streams of text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ._arrays import as_size
from .optim import Optimizer, clip_scale
from .sequential import Sequential

Array = np.ndarray


def streams(codes: Any, N: int) -> tuple[Array, Array]:
    """Cut a text into N streams of equal length, side by side.

    Parameters
    ----------
    codes : array of int (M,)
        M at least N + 1.
    N : int

    Returns
    -------
    x, y : arrays of int (N, L), L = (M - 1) // N
        Row n holds characters n*L .. (n+1)*L - 1; y is the character that follows each one of x. At most N - 1
        characters at the end of the text are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.training import streams
    >>> x, y = streams(np.arange(8), 2)
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [3, 4, 5]], [[1, 2, 3], [4, 5, 6]])
    """
    codes, N = np.asarray(codes), as_size("N", N)
    if codes.ndim != 1:
        raise ValueError(f"codes must have shape (M,), got {codes.shape}")
    L = (len(codes) - 1) // N
    if L < 1:
        raise ValueError(f"codes must hold at least {N + 1} characters for {N} streams, got {len(codes)}")
    return codes[: N * L].reshape(N, L), codes[1 : N * L + 1].reshape(N, L)


def windows(x: Array, y: Array, T: int) -> Iterator[tuple[Array, Array, bool]]:
    """Go through streams once, T steps at a time.

    Yields ``(x, y, is_first)``, both (N, T) but for a shorter last pair; every position exactly once, in order. The
    state that a model has after a window is the initial state of the next one; where ``is_first`` is true, it starts
    from zero.

    References
    ----------
    Williams & Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.training import windows
    >>> x = np.arange(5)[None]
    >>> [(x.tolist(), is_first) for x, y, is_first in windows(x, x + 1, 3)]
    [([[0, 1, 2]], True), ([[3, 4]], False)]
    """
    T = as_size("T", T)
    if x.shape != y.shape:
        raise ValueError(f"y must have the shape of x, {x.shape}, got {y.shape}")
    for first in range(0, x.shape[1], T):
        yield x[:, first : first + T], y[:, first : first + T], first == 0


def endless_windows(x: Array, y: Array, T: int) -> Iterator[tuple[Array, Array, bool]]:
    """`windows` again and again."""
    if not x.shape[1]:
        raise ValueError(f"x must have at least one step, got shape {x.shape}")
    while True:
        yield from windows(x, y, T)


def cosine_decay(step: int, steps: int, floor: float = 0.05) -> float:
    """Factor of the learning rate at ``step`` of ``steps``: half a cosine from 1 down to ``floor``.

    References
    ----------
    Loshchilov & Hutter 2017, "SGDR: stochastic gradient descent with warm restarts".

    Examples
    --------
    >>> from fastrnn.training import cosine_decay
    >>> cosine_decay(0, 10), cosine_decay(10, 10)
    (1.0, 0.05)
    """
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1)))


def train_step(
    model: Sequential,
    loss: Any,
    optimizer: Optimizer,
    x: Any,
    y: Any,
    state: Any = None,
    lengths: Any = None,
    *,
    clip_norm: float | None = None,
) -> tuple[float, Any]:
    """Forward, loss, backward, clip, update.

    Parameters
    ----------
    model : Sequential
        Its parameters change in place.
    loss : callable
        ``loss(outputs, y, lengths) -> value, gradient``, as in `fastrnn.losses`.
    optimizer : Optimizer
    x, y : arrays
        Inputs and targets.
    state : list, optional
        Initial state; zeros when None. No gradient flows through it: that is the truncation.
    lengths : array of int (N,), optional
    clip_norm : float, optional
        Limit of the gradient's global norm.

    Returns
    -------
    loss : float
        Before the update.
    state : list
        Final state.

    Raises
    ------
    FloatingPointError
        The loss is not finite; the parameters are left as they were.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import Dense, Embedding, LSTM, Sequential
    >>> from fastrnn.losses import SoftmaxCrossEntropy
    >>> from fastrnn.optim import Adam
    >>> from fastrnn.training import train_step
    >>> model = Sequential([Embedding(3, 4, seed=0), LSTM(4, 8, seed=1), Dense(8, 3, seed=2)])
    >>> x, y = np.array([[0, 1, 2, 0]]), np.array([[1, 2, 0, 1]])
    >>> optimizer = Adam(0.05)
    >>> losses = [train_step(model, SoftmaxCrossEntropy(), optimizer, x, y)[0] for _ in range(40)]
    >>> losses[-1] < 0.1 < losses[0]
    True
    """
    outputs, final, tape = model.forward(x, state, lengths)
    value, gradient = loss(outputs, y, lengths)
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value}: lower the learning rate or clip the gradient")
    _, _, grads = model.backward(tape, gradient, input_gradient=False)
    scale = 1.0 if clip_norm is None else clip_scale(grads, clip_norm)[1]
    optimizer.update(model.params, grads, scale=scale)
    return value, final


def mean_loss(model: Sequential, loss: Any, x: Array, y: Array, T: int) -> float:
    """Mean loss over streams (N, L), the state carried from each window of T steps to the next."""
    state, total = None, 0.0
    for x_window, y_window, is_first in windows(x, y, T):
        outputs, state = model(x_window, None if is_first else state)
        total += loss(outputs, y_window)[0] * x_window.size
    return total / x.size
