"""What a session keeps of one recurrent layer, in plain NumPy: the specification of the compiled `Stream` too.

Like `fastrnn.reference` this is handed checked arrays and never checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import reference
from .cells import Cell
from .scan import Noise, Trace

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
        start, rows = np.arange(0, R, N), np.full(R // N, N)
        reference.forward(self._cell, self._params, x, h, c, self._noise, start, rows, Trace(y, c), False)
        h[...] = y[R - N :]
