"""The packed orders of a batch: what the door does with the caller's rows.

A scan works on packed rows, which `fastrnn.reference` describes. Where the caller's rows are in that order already, or
can be read where they stand, they are not copied.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from . import backend
from ._arrays import as_integers, as_lengths, as_mask
from .scan import Placed

Array = np.ndarray

KEPT_ROWS = 16 * 1024
"""Places of more rows are made anew for each call: beside its steps that is little work, and there are many orders."""


class Order:
    """A packed order; what the door does where packed rows are the caller's own, or have to be copied.

    Attributes
    ----------
    N : int
        Sequences.
    outer : tuple of int
        Of what the caller passes, the shape without the features.
    start, rows : array of int64
        As `fastrnn.reference` has them.
    door : object
        What a backend has made of it, for the next call.
    """

    N: int
    outer: tuple[int, ...]
    start: Array
    rows: Array
    door: Any = None
    is_ragged = False

    def pack(self, x: Array) -> Array:
        """The caller's order, ``outer`` and features -> (R, D)."""
        raise NotImplementedError

    def unpack(self, packed: Any) -> Array:
        """(R, H), or what `blank_like` or `outputs` made -> ``outer`` and features; zeros where no step is."""
        raise NotImplementedError

    def unpack_output(self, packed: Any) -> Array:
        """Like `unpack`, for y: a step that a mask skips shows the output before it."""
        return self.unpack(packed)

    def pack_gradient(self, dy: Array) -> Array:
        """The adjoint of `unpack_output`."""
        return self.pack(dy)

    def place(self, x: Array) -> Array | Placed:
        """Like `pack`, but rows may stay where they are."""
        return self.pack(x)

    def place_gradient(self, dy: Array) -> Array | Placed:
        """Like `pack_gradient`, but rows may stay where they are."""
        return self.pack_gradient(dy)

    def blank_like(self, module: ModuleType, x: Array | Placed) -> Array | Placed:
        """Where a backend is to write the gradient of what `place` made, for `unpack`."""
        empty: Array = module.empty(x.shape, x.dtype)
        return empty

    def outputs(self, module: ModuleType, R: int, width: int, dtype: np.dtype, keep: bool) -> tuple[Any, Placed | None]:
        """Where a backend is to write y, which it reads again, and where it is to write it besides or None."""
        return module.empty((R, width), dtype), None

    def sort(self, state: Array) -> Array:
        """(N, H) in the caller's order -> contiguous, in packed order."""
        return state if state.flags.c_contiguous else np.ascontiguousarray(state)

    def restore(self, state: Array) -> Array:
        """(N, H) in packed order -> in the caller's order."""
        return state

    def last(self, packed: Any, initial: Array) -> Array:
        """Each sequence's row of its last step; ``initial`` where it has none."""
        raise NotImplementedError


class Batch(Order):
    """The packed order of a full batch: step s holds all N rows of one time step.

    With ``batch_first`` y lies in memory as an array (N, T, H) does, else as (T, N, H).
    """

    def __init__(self, N: int, T: int, time_major: bool, reverse: bool, batch_first: bool):
        self.N, self.T, self.time_major, self.batch_first = N, T, time_major, batch_first
        self.outer: tuple[int, ...] = (T, N) if time_major else (N, T)
        times = np.arange(T, dtype=np.int64)
        self.start = np.ascontiguousarray(times[::-1] if reverse else times) * N
        self.rows = np.full(T, N, np.int64)
        self._last = 0 if reverse else T - 1  # the time of the last step
        self._kept: Array | None = None

    @property
    def _at(self) -> Array:
        """The place of each packed row in an array (N, T, .)."""
        if self._kept is not None:
            return self._kept
        at: Array = np.arange(self.N * self.T, dtype=np.int64).reshape(self.N, self.T).T.ravel()
        if len(at) <= KEPT_ROWS:
            self._kept = at
        return at

    def pack(self, x: Array) -> Array:
        """(N, T, D), or (T, N, D) with time_major, -> (R, D)."""
        time_first = x if self.time_major else x.swapaxes(0, 1)
        return np.ascontiguousarray(time_first).reshape(self.T * self.N, x.shape[2])

    def place(self, x: Array) -> Array | Placed:
        if self.time_major and x.flags.c_contiguous:  # in a hurry
            return x.reshape(self.T * self.N, x.shape[2])
        rows = x.swapaxes(0, 1) if self.time_major else x
        if self.N == 1 or self.T == 1 or not rows.flags.c_contiguous:
            return self.pack(x)
        return Placed(_flat(rows), self._at)

    def place_gradient(self, dy: Array) -> Array | Placed:
        return self.place(dy)

    def blank_like(self, module: ModuleType, x: Array | Placed) -> Array | Placed:
        return self._blank(module, *x.shape, x.dtype) if isinstance(x, Placed) else super().blank_like(module, x)

    def _blank(self, module: ModuleType, R: int, width: int, dtype: np.dtype) -> Placed:
        return Placed(module.empty((R, width), dtype), self._at)

    def outputs(self, module: ModuleType, R: int, width: int, dtype: np.dtype, keep: bool) -> tuple[Any, Placed | None]:
        if not self.batch_first:
            return super().outputs(module, R, width, dtype, keep)
        return module.empty((R, width), dtype) if keep else None, self._blank(module, R, width, dtype)

    def unpack(self, packed: Any) -> Array:
        """(R, H) -> (N, T, H), or (T, N, H) with time_major: a view, transposed where memory has the other order."""
        if isinstance(packed, Placed):
            rows: Array = packed.array.reshape(self.N, self.T, packed.shape[1])
            return rows.swapaxes(0, 1) if self.time_major else rows
        time_first: Array = packed.reshape(self.T, self.N, packed.shape[1])
        return time_first if self.time_major else time_first.swapaxes(0, 1)

    def last(self, packed: Any, initial: Array) -> Array:
        if not self.T:
            return initial.copy()
        if isinstance(packed, Placed):
            final: Array = packed.array[self._last :: self.T].copy()
            return final
        return packed[self._last * self.N : (self._last + 1) * self.N].copy()


@lru_cache(maxsize=64)
def full_batch(N: int, T: int, time_major: bool, reverse: bool, batch_first: bool) -> Batch:
    """`Batch`, made once."""
    return Batch(N, T, time_major, reverse, batch_first)


class PackedRows(Order):
    """The order of rows that come packed already: step t's rows follow step t-1's, sequences by falling length."""

    def __init__(self, rows: Array, reverse: bool):
        self.N, self.T = int(rows[0]) if len(rows) else 0, len(rows)
        self.rows = rows
        self.start = np.cumsum(rows) - rows
        self.outer = (int(rows.sum()),)
        self.sorted_lengths = np.searchsorted(-rows, -np.arange(self.N), side="left")
        self.final = _final(self)
        self._at = None
        if reverse:  # place n of step s <-> place n of the sequence's step length-1-s
            step = np.repeat(np.arange(self.T), rows)
            place = np.arange(len(step)) - np.repeat(self.start, rows)
            self._at = self.start[self.sorted_lengths[place] - 1 - step] + place

    def pack(self, x: Array) -> Array:
        x = np.ascontiguousarray(x)
        return x if self._at is None else backend.current().gather(x, self._at)

    def unpack(self, packed: Array) -> Array:
        return packed if self._at is None else backend.current().gather(packed, self._at)

    def last(self, packed: Array, initial: Array) -> Array:
        return _last(self, packed, self.final, initial)


class Ragged(Order):
    """The packed order of a batch of which only some steps are valid: sequences by falling number of those.

    ``lengths`` counts each row's valid steps; ``times`` (N, T) has their times in front, in order: where there is no
    mask, those are 0, 1, 2, ...
    """

    is_ragged = True

    def __init__(self, lengths: Array, T: int, time_major: bool, reverse: bool, times: Array | None = None):
        N = len(lengths)
        self.N, self.T, self.time_major = N, T, time_major
        self.outer = (T, N) if time_major else (N, T)
        self.order = np.argsort(-lengths, kind="stable")
        self.inverse = np.empty_like(self.order)
        self.inverse[self.order] = np.arange(N)
        self.sorted_lengths = lengths[self.order]
        step = np.arange(lengths.max(initial=0))[:, None]
        is_step = step < self.sorted_lengths
        self.rows = is_step.sum(axis=1)
        self.start = np.cumsum(self.rows) - self.rows
        self.final = _final(self)
        time = self.sorted_lengths - 1 - step if reverse else step
        if times is not None:
            time = times[self.order, np.maximum(time, 0)]
        # the place in the batch of each packed row, and the packed row of each place, -1 where there is none
        self.at = (time * N + self.order if time_major else self.order * T + time)[is_step]
        self.seen = np.full(N * T, -1)
        self.seen[self.at] = np.arange(len(self.at))
        self.padding = np.flatnonzero(self.seen < 0)
        self.final_at = np.where(self.final >= 0, self.at[self.final], -1) if len(self.at) else self.final
        # the same two in the caller's order
        self.last_rows, self.last_places = self.final[self.inverse], self.final_at[self.inverse]
        # whether the caller's rows have the order of the packed ones: all of them, those of each step
        self.is_sorted = bool((self.order == np.arange(N)).all())
        beside = np.arange(len(self.at)) - np.repeat(self.start, self.rows)
        self.together = bool((self.at == np.repeat(self.at[self.start], self.rows) + beside).all())

    def pack(self, x: Array) -> Array:
        return backend.current().gather(_flat(x), self.at)

    def unpack(self, packed: Any) -> Array:
        rows: Array = packed.array if isinstance(packed, Placed) else backend.current().gather(packed, self.seen)
        return rows.reshape(*self.outer, packed.shape[1])

    def place(self, x: Array) -> Array | Placed:
        return Placed(_flat(x), self.at, self.together)

    def place_gradient(self, dy: Array) -> Array | Placed:
        return self.place(dy)

    def blank_like(self, module: ModuleType, x: Array | Placed) -> Placed:
        return self._blank(module, x.shape[1], x.dtype)

    def _blank(self, module: ModuleType, width: int, dtype: np.dtype) -> Placed:
        return Placed(module.blank((len(self.seen), width), dtype, self.padding), self.at, self.together)

    def outputs(self, module: ModuleType, R: int, width: int, dtype: np.dtype, keep: bool) -> tuple[Any, Placed | None]:
        out = self._blank(module, width, dtype)
        if self.together:
            return out, None
        return module.empty((R, width), dtype) if keep else None, out

    def sort(self, state: Array) -> Array:
        return np.ascontiguousarray(state) if self.is_sorted else state[self.order]

    def restore(self, state: Array) -> Array:
        return state if self.is_sorted else state[self.inverse]

    def last(self, packed: Any, initial: Array) -> Array:
        if isinstance(packed, Placed):
            return _last(self, packed.array, self.final_at, initial)
        return _last(self, packed, self.final, initial)


def _flat(x: Array) -> Array:
    """(N, T, D) or (T, N, D) -> contiguous, one row after the other."""
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1])


@lru_cache(maxsize=4)
def _ragged(lengths: bytes, T: int, time_major: bool, reverse: bool) -> Ragged:
    """The layers of a stack are given the same lengths one after the other."""
    rows = np.frombuffer(lengths, np.int64)
    return Ragged(as_lengths(rows, len(rows), T), T, time_major, reverse)


def _final(order: PackedRows | Ragged) -> Array:
    """The packed row of each sequence's last step, -1 where it has none."""
    if not len(order.start):
        return np.full(order.N, -1)
    last = order.start[order.sorted_lengths - 1] + np.arange(order.N)
    return np.where(order.sorted_lengths > 0, last, -1)


def _last(order: PackedRows | Ragged, array: Array, rows: Array, initial: Array) -> Array:
    """Each sequence's row of its last step, which is one of these; ``initial`` where it has none."""
    final: Array = backend.current().gather(array, rows)
    if order.N and order.sorted_lengths[-1] == 0:
        none = rows < 0
        final[none] = initial[none]
    return final


class Masked(Ragged):
    """A batch with holes: a step that is skipped repeats the output before it, in the order of the scan."""

    def __init__(self, mask: Array, time_major: bool, reverse: bool):
        valid = mask.T if time_major else mask
        T = valid.shape[1]
        times = np.argsort(~valid, axis=1, kind="stable")  # valid ones first
        super().__init__(valid.sum(axis=1), T, time_major, reverse, times)
        # which packed row each output shows: the latest valid step's; -1 before the first
        shown = self.seen.reshape(self.outer).copy()
        along = shown.T if time_major else shown
        if reverse:
            along = along[:, ::-1]
        latest = np.maximum.accumulate(np.where(along >= 0, np.arange(T), -1), axis=1)
        along[...] = np.where(latest >= 0, np.take_along_axis(along, np.maximum(latest, 0), axis=1), -1)
        self.shown = shown

    def unpack_output(self, packed: Array) -> Array:
        return backend.current().gather(packed, self.shown.ravel()).reshape(*self.outer, packed.shape[1])

    def outputs(self, module: ModuleType, R: int, width: int, dtype: np.dtype, keep: bool) -> tuple[Any, Placed | None]:
        return module.empty((R, width), dtype), None

    def place_gradient(self, dy: Array) -> Array | Placed:
        return self.pack_gradient(dy)

    def pack_gradient(self, dy: Array) -> Array:
        packed = np.zeros((len(self.at), dy.shape[2]), dy.dtype)
        rows = np.ascontiguousarray(dy).reshape(-1, dy.shape[2])
        backend.current().add_rows(packed, self.shown.ravel(), rows)
        return packed


def order_of(lengths: Any, mask: Any, N: int, T: int, time_major: bool, reverse: bool, batch_first: bool) -> Order:
    """How the rows of a batch (N, T) are packed, by its lengths or mask; raises where these do not fit."""
    if mask is not None:
        if lengths is not None:
            raise ValueError("lengths and mask must not be given together: a mask says both")
        return Masked(as_mask(mask, N, T, time_major), time_major, reverse)
    if lengths is not None:
        if not (isinstance(lengths, np.ndarray) and lengths.dtype == np.int64 and lengths.shape == (N,)):
            lengths = as_lengths(lengths, N, T)
        return _ragged(lengths.tobytes(), T, time_major, reverse)
    return full_batch(N, T, time_major, reverse, batch_first)


def as_batch_sizes(batch_sizes: Any, R: int, lengths: Any, mask: Any) -> Array:
    """``batch_sizes`` as int64, checked."""
    if lengths is not None or mask is not None:
        raise ValueError("batch_sizes must not be given together with lengths or a mask")
    sizes = as_integers("batch_sizes", batch_sizes)
    if sizes.ndim != 1 or (len(sizes) and (sizes.min() < 1 or (np.diff(sizes.astype(np.int64)) > 0).any())):
        raise ValueError(f"batch_sizes must be positive and never grow, got {sizes.tolist()}")
    if sizes.sum() != R:
        raise ValueError(f"batch_sizes must add up to the {R} rows of x, got {sizes.sum()}")
    return np.ascontiguousarray(sizes, np.int64)
