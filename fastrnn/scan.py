"""What a backend is handed besides a cell, its parameters and x: what is random in a scan, and what a scan leaves.

All arrays are in packed order, which `fastrnn.reference` describes. P is the width of h, H without a projection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


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

    mask: Array | None = None
    new_h: Array | None = None
    new_c: Array | None = None


SILENT = Noise()


@dataclass(frozen=True)
class Trace:
    """What a forward scan writes, and a backward scan reads; None for what a cell or a call without tape lacks.

    Attributes
    ----------
    y : array (R, P)
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

    y: Array
    c: Array | None = None
    gates: Array | None = None
    c_new: Array | None = None
    x_hat: Array | None = None
    u_hat: Array | None = None
    x_scale: Array | None = None
    u_scale: Array | None = None
