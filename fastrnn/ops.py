"""The scan as two functions: check, pack, allocate, call the current backend.

`rnn_forward` and `rnn_backward` are the only way from the layers to a backend. They own the door between what users
pass, (N, T, D) with optional lengths, and what kernels work on, the packed rows that `fastrnn.reference` describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from . import backend
from ._arrays import as_lengths, as_shape
from .cells import Cell

Array = np.ndarray


class _Batch:
    """The packed order of a full batch: step s holds all N rows of one time step."""

    def __init__(self, N: int, T: int, time_major: bool, reverse: bool):
        self.N, self.T, self.time_major = N, T, time_major
        times = np.arange(T, dtype=np.int64)
        self.start = np.ascontiguousarray(times[::-1] if reverse else times) * N
        self.rows = np.full(T, N, np.int64)

    def pack(self, x: Array) -> Array:
        """(N, T, D), or (T, N, D) with time_major, -> (R, D)."""
        time_first = x if self.time_major else x.swapaxes(0, 1)
        return np.ascontiguousarray(time_first).reshape(self.T * self.N, x.shape[2])

    def unpack(self, packed: Array) -> Array:
        """(R, H) -> (N, T, H), a transposed view, or (T, N, H) with time_major."""
        time_first = packed.reshape(self.T, self.N, packed.shape[1])
        return time_first if self.time_major else time_first.swapaxes(0, 1)

    def sort(self, state: Array) -> Array:
        """(N, H) in the caller's order -> contiguous, in packed order."""
        return np.ascontiguousarray(state)

    def restore(self, state: Array) -> Array:
        """(N, H) in packed order -> in the caller's order."""
        return state

    def last(self, packed: Array, initial: Array) -> Array:
        """Each sequence's row of its last step; ``initial`` where it has none."""
        return packed[self.start[-1] : self.start[-1] + self.N].copy() if self.T else initial.copy()


@lru_cache(maxsize=64)
def _batch(N: int, T: int, time_major: bool, reverse: bool) -> _Batch:
    return _Batch(N, T, time_major, reverse)


class _Ragged:
    """The packed order of a batch with lengths: sequences by falling length, only their valid steps."""

    def __init__(self, lengths: Array, T: int, time_major: bool, reverse: bool):
        N = len(lengths)
        self.N, self.T, self.time_major = N, T, time_major
        self.order = np.argsort(-lengths, kind="stable")
        self.place = np.argsort(self.order, kind="stable")
        self.sorted_lengths = lengths[self.order]
        longest = int(lengths.max(initial=0))
        self.rows = np.searchsorted(-self.sorted_lengths, -np.arange(longest), side="left").astype(np.int64)
        self.start = np.cumsum(self.rows) - self.rows
        step = np.repeat(np.arange(longest), self.rows)
        place = np.arange(len(step)) - np.repeat(self.start, self.rows)
        row = self.order[place]
        time = lengths[row] - 1 - step if reverse else step
        self.at = (time, row) if time_major else (row, time)

    def pack(self, x: Array) -> Array:
        return np.ascontiguousarray(x[self.at])

    def unpack(self, packed: Array) -> Array:
        outer = (self.T, self.N) if self.time_major else (self.N, self.T)
        padded = np.zeros((*outer, packed.shape[1]), packed.dtype)
        padded[self.at] = packed
        return padded

    def sort(self, state: Array) -> Array:
        return state[self.order]

    def restore(self, state: Array) -> Array:
        return state[self.place]

    def last(self, packed: Array, initial: Array) -> Array:
        final = initial.copy()
        some = self.sorted_lengths > 0
        final[some] = packed[self.start[self.sorted_lengths[some] - 1] + np.flatnonzero(some)]
        return final


@dataclass(frozen=True)
class Tape:
    """What `rnn_backward` needs of one `rnn_forward`.

    It may be used more than once. It refers to x, to the initial state, to the parameters and to the y that was
    returned: a program that changes one of them in place between the two calls changes the gradients.
    """

    cell: Cell
    module: ModuleType
    params: Mapping[str, Array]
    order: _Batch | _Ragged
    x: Array
    h0: Array
    c0: Array | None
    y: Array
    gates: Array | None
    c: Array | None


def _states(cell: Cell, name: str, state: Any, N: int, H: int, dtype: np.dtype) -> list[Array]:
    """``state`` as one fresh-or-borrowed (N, H) array per state of the cell; zeros for None."""
    if state is None:
        return [np.zeros((N, H), dtype) for _ in cell.states]
    if len(cell.states) == 1:
        parts = (state,)
    else:
        if not isinstance(state, (tuple, list)) or len(state) != len(cell.states):
            wanted = ", ".join(cell.states)
            got = f"{len(state)} values" if isinstance(state, (tuple, list)) else type(state).__name__
            raise ValueError(f"{name} must be a tuple ({wanted}), got {got}")
        parts = tuple(state)
    names = [name] if len(parts) == 1 else [f"{name}[{k}] ({part})" for k, part in enumerate(cell.states)]
    return [as_shape(label, part, dtype, (N, H)) for label, part in zip(names, parts, strict=True)]


def _as_state(parts: list[Array]) -> Any:
    return parts[0] if len(parts) == 1 else tuple(parts)


def rnn_forward(
    cell: Cell,
    params: Mapping[str, Array],
    x: Any,
    state: Any = None,
    lengths: Any = None,
    *,
    reverse: bool = False,
    time_major: bool = False,
    keep: bool = False,
) -> tuple[Array, Any, Tape | None]:
    """Run a layer's scan over a batch of sequences.

    Parameters
    ----------
    cell : Cell
    params : mapping
        Parameters by name, with the shapes of ``cell.shapes``, all of one dtype, C-contiguous.
    x : array (N, T, D), or (T, N, D) with ``time_major``
    state : array (N, H), or a tuple of them for a cell with several states, optional
        Initial state; zeros when None.
    lengths : array of int (N,), optional
        Valid steps of every row, 0..T; all T when None.
    reverse : bool
        Scan from each row's last valid step to its first.
    keep : bool
        Keep a tape for `rnn_backward`.

    Returns
    -------
    y : array (N, T, H) (a transposed view of time-major memory), or (T, N, H) with ``time_major``
    state : like ``state``, fresh arrays
    tape : Tape, or None without ``keep``

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong dtype or shape; the message names it.
    """
    W, U, b = params["W"], params["U"], params["b"]
    if not (W.flags.c_contiguous and U.flags.c_contiguous and b.flags.c_contiguous):
        strides = {name: array.strides for name, array in params.items()}
        raise ValueError(f"params must be C-contiguous, got strides {strides}")
    dtype, D, H = W.dtype, W.shape[0], U.shape[0]
    x = as_shape("x", x, dtype, ("T", "N", D) if time_major else ("N", "T", D))
    T, N = x.shape[:2] if time_major else x.shape[1::-1]
    order: _Batch | _Ragged
    if lengths is None:
        order = _batch(N, T, time_major, reverse)
    else:
        order = _Ragged(as_lengths(lengths, N, T), T, time_major, reverse)
    initial = [order.sort(part) for part in _states(cell, "state", state, N, H, dtype)]
    h0, c0 = initial[0], initial[1] if len(initial) > 1 else None
    packed = order.pack(x)
    R = packed.shape[0]
    module = backend.current()
    y = module.empty((R, H), dtype)
    gates = module.empty((R, len(cell.saved) * H), dtype) if keep and cell.saved else None
    c = None if c0 is None else module.empty((R, H), dtype) if keep else c0.copy()
    module.forward(cell, packed, W, U, b, params.get("b_rec"), h0, c0, order.start, order.rows, y, gates, c, keep)
    final = [order.last(y, h0)]
    if c is not None and c0 is not None:
        final.append(order.last(c, c0) if keep else c)
    tape = Tape(cell, module, params, order, packed, h0, c0, y, gates, c) if keep else None
    return order.unpack(y), _as_state([order.restore(part) for part in final]), tape


def rnn_backward(
    tape: Tape, dy: Any = None, dstate: Any = None, *, grads: Mapping[str, Array], input_gradient: bool = True
) -> tuple[Array | None, Any]:
    """Run the adjoint of the scan that ``tape`` recorded, on the backend that recorded it.

    Parameters
    ----------
    tape : Tape
    dy : array like y, optional
        Gradient of the loss with respect to y; zeros when None. Padding is not read.
    dstate : like the state, optional
        Gradient with respect to the final state; zeros when None.
    grads : mapping
        Arrays like the parameters; the gradients are added to them.
    input_gradient : bool
        False leaves dx out.

    Returns
    -------
    dx : array like x, or None
    dstate : like the state
        Gradient with respect to the initial state.
    """
    cell, order = tape.cell, tape.order
    U = tape.params["U"]
    dtype, H = U.dtype, U.shape[0]
    if dy is not None:
        outer = (order.T, order.N) if order.time_major else (order.N, order.T)
        dy = order.pack(as_shape("dy", dy, dtype, (*outer, H)))
    parts = [np.array(order.sort(part)) for part in _states(cell, "dstate", dstate, order.N, H, dtype)]
    dh, dc = parts[0], parts[1] if len(parts) > 1 else None
    dx = tape.module.empty(tape.x.shape, dtype) if input_gradient else None
    tape.module.backward(
        cell,
        tape.x,
        tape.params["W"],
        U,
        tape.params.get("b_rec"),
        tape.h0,
        tape.c0,
        order.start,
        order.rows,
        tape.y,
        tape.gates,
        tape.c,
        dy,
        dh,
        dc,
        dx,
        grads["W"],
        grads["U"],
        grads["b"],
        grads.get("b_rec"),
    )
    return None if dx is None else order.unpack(dx), _as_state([order.restore(part) for part in parts])
