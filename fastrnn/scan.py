"""What a backend is handed besides a cell, its parameters and x: what is random in a scan, and what a scan leaves.

All arrays are in packed order, which `fastrnn.reference` describes. P is the width of h, H without a projection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray


@dataclass(slots=True, eq=False)  # a frozen one is slow to make
class Placed:
    """An array whose rows are not in packed order, and where those are in it.

    Attributes
    ----------
    array : array (M, width)
    at : array of int64 (R,)
        Packed row r is array[at[r]].
    together : bool
        The rows of each step follow one another there as well.
    """

    array: Array
    at: Array
    together: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """In packed order."""
        return len(self.at), self.array.shape[1]

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def put_in(self, array: Array) -> Placed:
        """The same places in another array."""
        return Placed(array, self.at, self.together)

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, rows: slice) -> Placed:
        """A stretch of the packed rows."""
        return Placed(self.array, self.at[rows], self.together)

    def __setitem__(self, rows: slice, values: Array) -> None:
        self.array[self.at[rows]] = values


def in_order(array: Any) -> Any:
    """The array in packed order."""
    return array.array.take(array.at, axis=0) if isinstance(array, Placed) else array


@dataclass(frozen=True)
class Noise:
    """What dropouts have drawn for one scan; None for what is not used.

    Attributes
    ----------
    mask : array (N, P)
        Factors of h on its way to every product with U, the same at all steps.
    new_h, new_c : array (R, P) and (R, H); (1, P) and (1, H) where all rows have the same
        Share of the new value in each state: state + share * (new - state).
    """

    mask: Any = None
    new_h: Any = None
    new_c: Any = None


SILENT = Noise()


@dataclass(slots=True, eq=False)  # a frozen one is slow to make
class Trace:
    """What a forward scan writes, and a backward scan reads; None for what a cell or a call without tape lacks.

    Attributes
    ----------
    y : array (R, P), or `Placed` with its steps' rows together
        None where nobody wants it but in another order.
    c : array (R, H) with a tape, else (N, H)
        c[t] of every row, or each sequence's last one.
    gates : array (R, S*H), S = len(cell.saved)
    c_new : array (R, H)
        c[t] before zoneout, where it is used.
    x_hat, u_hat : array (R, G*H)
        x W and h U, normalised.
    x_scale, u_scale : array (R, len(cell.norms))
        By what they were multiplied: 1 / standard deviation.
    """

    y: Any = None
    c: Any = None
    gates: Any = None
    c_new: Any = None
    x_hat: Any = None
    u_hat: Any = None
    x_scale: Any = None
    u_scale: Any = None
