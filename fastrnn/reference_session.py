"""What a session keeps of one recurrent layer, in plain NumPy: the specification of the compiled `Stream` too.

Like `fastrnn.reference` this is handed checked arrays and never checks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import reference
from .cells import Cell

Array = np.ndarray


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
    W : array (D, G*H)
    U : array (H, G*H)
    b : array (G*H,)
    b_rec : array (H,), or None
    N : int

    Attributes
    ----------
    states : tuple of arrays (N, H)
        One per state of the cell, zeros at first. They may be read and written in place between two runs.
    """

    def __init__(self, cell: Cell, W: Array, U: Array, b: Array, b_rec: Array | None, N: int):
        self.states = tuple(np.zeros((N, U.shape[0]), W.dtype) for _ in cell.states)
        self._cell, self._N = cell, N
        self._W, self._U, self._b = W.copy(), U.copy(), b.copy()
        self._b_rec = None if b_rec is None else b_rec.copy()

    def run(self, x: Array, y: Array) -> None:
        """Advance by the R/N steps of x (R, D), and write y (R, H).

        The N rows of a step stand together, the steps one after another. y must not overlap the states.
        """
        N, R = self._N, x.shape[0]
        if R == 0:
            return
        h = self.states[0]
        c = self.states[1] if len(self.states) > 1 else None
        start, rows = np.arange(0, R, N), np.full(R // N, N)
        reference.forward(self._cell, x, self._W, self._U, self._b, self._b_rec, h, c, start, rows, y, None, c, False)
        h[...] = y[R - N :]
