"""What a session keeps of one recurrent layer, and its steps, in plain NumPy: the specification of the compiled
`Stream` and `Steps` too.

Like `fastrnn.reference` a stream is handed checked arrays and never checks.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import reference
from .cells import Cell
from .orders import full_batch
from .scan import Noise, Trace

Array = np.ndarray

BUSY = "session is in use by another thread: make one session per thread"


def fits(x: Any, like: Array) -> bool:
    """Whether x can be read in the place of ``like``: an aligned C-contiguous array of its shape and dtype, in native
    byte order."""
    return (
        type(x) is np.ndarray
        and x.dtype == like.dtype
        and x.shape == like.shape
        and x.flags.c_contiguous
        and x.flags.aligned
    )


class Stream:
    """N streams of one recurrent layer: a copy of its weights, and the state that the streams have reached.

    Parameters
    ----------
    cell : Cell
    params : mapping
        Parameters by name.
    noise : Noise
        Of inference: zoneout's mean.
    N : int

    Attributes
    ----------
    states : tuple of arrays (N, P) and (N, H)
        One per state of the cell, zeros at first. They may be read and written in place between two runs.
    """

    def __init__(self, cell: Cell, params: Mapping[str, Array], noise: Noise, N: int):
        W = params["W"]
        H = W.shape[1] // len(cell.gates)
        widths = (cell.output_size(H), H)
        self.states = tuple(np.zeros((N, width), W.dtype) for _, width in zip(cell.states, widths, strict=False))
        self._cell, self._noise, self._N = cell, noise, N
        self._params = {name: array.copy() for name, array in params.items()}

    def run(self, x: Array, y: Array) -> None:
        """Advance by the R/N steps of x (R, D), and write y (R, P).

        The N rows of a step stand together, the steps one after another. y must not overlap the states.
        """
        N, R = self._N, x.shape[0]
        if R == 0:
            return
        h = self.states[0]
        c = self.states[1] if len(self.states) > 1 else None
        order = full_batch(N, R // N, True, False, False)
        reference.forward(self._cell, self._params, x, h, c, self._noise, order.start, order.rows, Trace(y, c), False)
        h[...] = y[R - N :]


class Steps:
    """The parts of a session, one after the other, and the turn of the thread that uses them.

    As a context manager it keeps other threads out: RuntimeError where one is in.

    Parameters
    ----------
    parts : sequence of objects with ``run(x, y)``
        A `Stream`, or a layer without a state.
    results : pair of sequences of arrays (N, .)
        Where a step puts what each part gives: the last one's array is another in every other step.
    like : array (N, D), or None
        What an x_t that needs no further look is like: see `fits`. None: all need one.
    door : object with ``checked(name, x, outer)`` and ``check_out(out)``
    """

    def __init__(self, parts: Sequence[Any], results: Sequence[Sequence[Array]], like: Array | None, door: Any):
        self._parts, self._results, self._like, self._door = parts, results, like, door
        self._odd = True
        self._turn = threading.Lock()

    def __enter__(self) -> None:
        if not self._turn.acquire(blocking=False):
            raise RuntimeError(BUSY)

    def __exit__(self, *error: object) -> None:
        self._turn.release()

    def step(self, x_t: Any, *, out: Array | None = None) -> Array:
        """See `fastrnn.session.Session.step`."""
        if self._like is None or not fits(x_t, self._like):
            x_t = self._door.checked("x_t", x_t)
        if out is not None:
            self._door.check_out(out)
        with self:
            self._odd = not self._odd
            y: Array = x_t
            for part, result in zip(self._parts, self._results[self._odd], strict=True):
                part.run(y, result)
                y = result
            if out is None:
                return y
            out[...] = y
            return out
