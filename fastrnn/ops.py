"""The scan as two functions: check, pack, allocate, call the current backend.

`rnn_forward` and `rnn_backward` are the only way from the layers to a backend. They own the door between what users
pass, (N, T, D) with optional lengths, and what kernels work on: the packed rows of `fastrnn.orders`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from . import backend
from ._arrays import as_shape
from .cells import Cell, unique
from .lookup import Lookup, table_gradient
from .orders import Batch, Order, PackedRows, Ragged, as_batch_sizes, full_batch, order_of
from .params import Params
from .scan import SILENT, Noise, Placed, Trace, in_order

Array = np.ndarray


@dataclass(slots=True, eq=False)  # frozen ones are slow to make
class Tape:
    """What `rnn_backward` needs of one `rnn_forward`.

    It may be used more than once. It refers to x, to the initial state, to the parameters and to the y that was
    returned: a program that changes one of them in place between the two calls changes the gradients.
    """

    cell: Cell
    module: ModuleType
    params: Mapping[str, Array]
    order: Order
    noise: Noise
    x: Array | Placed | Lookup
    h0: Array
    c0: Array | None
    trace: Trace
    checkpoints: tuple[_Checkpoint, ...] = ()
    table: Array | None = None  # where x is a `Lookup` of its products with W

    def on(self, x: Array | Placed, trace: Trace) -> Tape:
        """The same scan with other memory for x and what it has left; `dataclasses.replace` takes its time."""
        return Tape(
            self.cell,
            self.module,
            self.params,
            self.order,
            self.noise,
            x,
            self.h0,
            self.c0,
            trace,
            self.checkpoints,
            self.table,
        )


@dataclass(frozen=True)
class _Checkpoint:
    """Steps first..last of a scan, and the state c before them; h is in y."""

    first: int
    last: int
    c: Array | None


def _widths(cell: Cell, H: int) -> tuple[int, ...]:
    """Of every state."""
    return (cell.output_size(H), H)[: len(cell.states)]


@lru_cache(maxsize=16)
def _zeros(N: int, widths: tuple[int, ...], dtype: np.dtype) -> list[Array]:
    """Zeros that nobody writes to, one array for every width."""
    zeros = [np.zeros((N, width), dtype) for width in widths]
    for array in zeros:
        array.flags.writeable = False
    return zeros


def _states(cell: Cell, name: str, state: Any, N: int, H: int, dtype: np.dtype) -> list[Array]:
    """``state`` as one fresh-or-borrowed array (N, P), and (N, H) for c, per state of the cell; zeros for None."""
    widths = _widths(cell, H)
    if state is None:
        return _zeros(N, widths, dtype)
    if len(widths) == 1:
        return [as_shape(name, state, dtype, (N, widths[0]))]
    if not isinstance(state, (tuple, list)) or len(state) != len(widths):
        wanted = ", ".join(cell.states)
        got = f"{len(state)} values" if isinstance(state, (tuple, list)) else type(state).__name__
        raise ValueError(f"{name} must be a tuple ({wanted}), got {got}")
    found = []
    for k, part in enumerate(state):
        shape = (N, widths[k])
        # a name is made for what is to be looked at more closely
        if type(part) is not np.ndarray or part.shape != shape or part.dtype != dtype or not part.flags.aligned:
            part = as_shape(f"{name}[{k}] ({cell.states[k]})", part, dtype, shape)
        found.append(part)
    return found


def _as_state(parts: list[Array]) -> Any:
    return parts[0] if len(parts) == 1 else tuple(parts)


def _parts(state: Any) -> tuple[Array, ...]:
    """The opposite of `_as_state`."""
    return state if isinstance(state, tuple) else (state,)


def _check_order(params: Mapping[str, Array]) -> None:
    """Raise where a kernel cannot read a parameter as it lies."""
    for name, array in params.items():
        if not array.flags.c_contiguous and (name == "p" or not array.flags.f_contiguous):
            wanted = "C-contiguous" if name == "p" else "C- or Fortran-contiguous"
            raise ValueError(f"params must be {wanted}, got strides {array.strides} of {name}, shape {array.shape}")


def _hidden_size(cell: Cell, params: Mapping[str, Array]) -> int:
    return params["W"].shape[1] // len(cell.gates)


def _trace(cell: Cell, module: ModuleType, R: int, H: int, dtype: np.dtype, noise: Noise, y: Array) -> Trace:
    """A tape's arrays for R packed rows."""

    def rows(width: int) -> Array:
        return module.empty((R, width), dtype)

    c = rows(H) if len(cell.states) > 1 else None
    gates = rows(len(cell.saved) * H) if cell.saved else None
    if noise.new_c is None and not cell.layer_norm:
        return Trace(y, c, gates)
    width = len(cell.gates) * H
    return Trace(
        y,
        c,
        gates,
        None if noise.new_c is None else rows(H),
        *(rows(width) if cell.layer_norm else None for _ in range(2)),
        *(rows(len(cell.norms)) if cell.layer_norm else None for _ in range(2)),
    )


def _packed_noise(order: Order, noise: Noise) -> Noise:
    """Noise in the caller's order -> in packed order."""
    if noise is SILENT:
        return noise

    def share(new: Array | None) -> Array | None:
        return new if new is None or (new.ndim == 2 and len(new) == 1) else order.pack(new)

    mask = None if noise.mask is None else np.ascontiguousarray(order.sort(noise.mask))
    return Noise(mask, share(noise.new_h), share(noise.new_c))


def rnn_forward(
    cell: Cell,
    params: Mapping[str, Array],
    x: Any,
    state: Any = None,
    lengths: Any = None,
    *,
    mask: Any = None,
    reverse: bool = False,
    time_major: bool = False,
    keep: bool = False,
    noise: Noise = SILENT,
    checkpoint: int = 0,
    batch_sizes: Any = None,
    batch_first: bool = False,
) -> tuple[Array, Any, Tape | None]:
    """Run a layer's scan over a batch of sequences.

    Parameters
    ----------
    cell : Cell
    params : mapping
        Parameters by name, with the shapes of ``cell.shapes``, all of one dtype, C-contiguous. The matrices W, U, P and
        W_proj may be Fortran-contiguous instead, which is how PyTorch keeps them: they are read as they lie.
    x : array (N, T, D), or (T, N, D) with ``time_major``; or a `Lookup` of that shape, but not
        with layer normalisation
    state : array (N, P), or a tuple of it and c (N, H), optional
        Initial state; zeros when None. P is H without a projection.
    lengths : array of int (N,), optional
        Valid steps of every row, 0..T; all T when None.
    mask : array of bool (N, T), (T, N) with ``time_major``, optional
        In the place of lengths: False where a step is skipped. The state stays, y repeats the output before it, zeros
        before the first valid step.
    reverse : bool
        Scan from each row's last valid step to its first.
    time_major : bool
        x, y, mask and noise have time first.
    keep : bool
        Keep a tape for `rnn_backward`.
    noise : Noise
        With ``mask`` (N, P); ``new_h`` and ``new_c`` (N, T, .), (T, N, .) with ``time_major``, or (1, .) for all.
    checkpoint : int
        With ``keep``: keep the state of every so many steps, rounded up to what the backend sums at a time, and compute
        the rest again in `rnn_backward`. 0 keeps everything.

    batch_sizes : array of int (T,), never growing, optional
        Rows of every step, where x (R, D) holds valid steps only: the rows of time 0, of time 1, ..., sequences by
        falling length in all of them, as in a PackedSequence of PyTorch. y is then (R, P), and states are in the same
        order. In the place of lengths and mask.
    batch_first : bool
        y of a full batch is to lie in memory as an array (N, T, P) does, else it lies as one (T, N, P) does; its axes
        are the same. With lengths or a mask it lies as its axes say.

    Returns
    -------
    y : array (N, T, P), or (T, N, P) with ``time_major``
    state : like ``state``, fresh arrays
    tape : Tape, or None without ``keep``

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong dtype or shape; the message names it.
    """
    W = params["W"]
    if not isinstance(params, Params):
        _check_order(params)
    if mask is None and batch_sizes is None and noise is SILENT and not checkpoint:
        found = _forward_at_once(cell, params, x, state, lengths, (time_major, reverse, batch_first), keep)
        if found is not None:
            return found
    dtype, D, H = W.dtype, W.shape[0], _hidden_size(cell, params)
    order: Order
    if batch_sizes is not None:
        x = as_shape("x", x, dtype, ("R", D))
        order = PackedRows(as_batch_sizes(batch_sizes, len(x), lengths, mask), reverse)
    else:
        if not isinstance(x, Lookup):
            x = as_shape("x", x, dtype, ("T", "N", D) if time_major else ("N", "T", D))
        T, N = x.shape[:2] if time_major else x.shape[1::-1]
        order = order_of(lengths, mask, N, T, time_major, reverse, batch_first)
    initial = [order.sort(part) for part in _states(cell, "state", state, order.N, H, dtype)]
    h0, c0 = initial[0], initial[1] if len(initial) > 1 else None
    module, table = backend.current(), None
    packed: Array | Placed | Lookup
    if isinstance(x, Lookup):
        table = x.table
        packed = Lookup(table, order.pack(x.codes[:, :, None]).ravel()).projected(params, module)
    else:
        packed = order.place(x)
    noise = _packed_noise(order, noise)
    if noise is not SILENT and not cell.zoneout and (noise.new_h is not None or noise.new_c is not None):
        cell = unique(replace(cell, zoneout=True))
    y, out = order.outputs(module, len(packed), h0.shape[1], dtype, keep)
    c: Any  # each sequence's last one
    if keep and checkpoint and len(packed):
        whole = Tape(cell, module, params, order, noise, packed, h0, c0, Trace(y), table=table)
        tape, c = _forward_in_parts(whole, checkpoint, out)
    elif keep:
        trace = _trace(cell, module, len(packed), H, dtype, noise, y)
        module.forward(cell, params, packed, h0, c0, noise, order.start, order.rows, trace, True, out)
        tape = Tape(cell, module, params, order, noise, packed, h0, c0, trace, table=table)
        c = None if c0 is None else order.last(trace.c, c0)
    else:
        tape, c = None, None if c0 is None else c0.copy()
        module.forward(cell, params, packed, h0, c0, noise, order.start, order.rows, Trace(y, c), False, out)
    final = [order.last(out if y is None else y, h0)]
    if c0 is not None:
        final.append(c)
    return order.unpack_output(y if out is None else out), _as_state([order.restore(part) for part in final]), tape


def _forward_at_once(
    cell: Cell,
    params: Mapping[str, Array],
    x: Any,
    state: Any,
    lengths: Any,
    layout: tuple[bool, bool, bool],
    keep: bool,
) -> tuple[Array, Any, Tape | None] | None:
    """`rnn_forward` of a batch in arrays that the backend reads as they lie; None where it does not. ``layout``:
    time_major, reverse and batch_first."""
    if type(x) is not np.ndarray or x.ndim != 3:
        return None
    T, N = x.shape[:2] if layout[0] else x.shape[1::-1]
    order: Order = full_batch(N, T, *layout) if lengths is None else order_of(lengths, None, N, T, *layout)
    module = backend.current()
    found = module.forward_at_once(cell, params, order, x, state, keep)
    if found is None:
        return None
    y, final, left = found
    return y, final, Tape(cell, module, params, order, SILENT, *left) if keep else None


def rnn_backward(
    tape: Tape,
    dy: Any = None,
    dstate: Any = None,
    *,
    grads: Mapping[str, Array],
    input_gradient: bool = True,
    dcells: Any = None,
    add: bool = True,
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
        Arrays like the parameters, contiguous as those may be, for their gradients.
    input_gradient : bool
        False leaves dx out.
    dcells : array (N, T, H), (T, N, H) with ``time_major``, optional
        Gradient with respect to what `cells_of` gives; zeros when None.
    add : bool
        Add to what ``grads`` hold; else it is written over, whatever it is.

    Returns
    -------
    dx : array like x, or like its table where it is a `Lookup`; or None
    dstate : like the state
        Gradient with respect to the initial state.
    """
    cell, order = tape.cell, tape.order
    is_plain = (
        type(order) in (Batch, Ragged) and type(tape.x) is not Lookup and tape.noise is SILENT and not tape.checkpoints
    )
    if is_plain and dcells is None:
        found: tuple[Array | None, Any] | None = tape.module.backward_at_once(
            cell,
            tape.params,
            order,
            tape.x,
            tape.h0,
            tape.c0,
            tape.trace,
            dy,
            dstate,
            input_gradient,
            grads,
            add,
        )
        if found is not None:
            return found
    H = _hidden_size(cell, tape.params)
    dtype = tape.params["W"].dtype
    if dy is not None:
        dy = order.place_gradient(as_shape("dy", dy, dtype, (*order.outer, tape.h0.shape[1])))
    if dcells is not None:
        dcells = order.pack_gradient(as_shape("dcells", dcells, dtype, (*order.outer, H)))
    parts = [np.array(order.sort(part)) for part in _states(cell, "dstate", dstate, order.N, H, dtype)]
    dh, dc = parts[0], parts[1] if len(parts) > 1 else None
    run = _backward_in_parts if tape.checkpoints else _backward
    dx: Any
    if isinstance(tape.x, Lookup):
        assert tape.table is not None
        sums = np.zeros_like(tape.x.table)
        run(tape, dy, dcells, dh, dc, sums, grads, add)
        if not add:
            grads["W"][...] = 0
        dx = table_gradient(tape.table, sums, tape.params, grads, tape.module)
    else:
        dx = order.blank_like(tape.module, tape.x) if input_gradient else None
        run(tape, dy, dcells, dh, dc, dx, grads, add)
        dx = None if dx is None else order.unpack(dx)
    return dx, _as_state([order.restore(part) for part in parts])


def _backward(
    tape: Tape, dy: Any, dcells: Any, dh: Array, dc: Any, dx: Any, grads: Mapping[str, Array], add: bool
) -> None:
    order = tape.order
    tape.module.backward(
        tape.cell,
        tape.params,
        tape.x,
        tape.h0,
        tape.c0,
        tape.noise,
        order.start,
        order.rows,
        tape.trace,
        dy,
        dcells,
        dh,
        dc,
        dx,
        grads,
        add,
    )


def again(tape: Tape) -> Tape:
    """Run the forward scan of a tape without checkpoints once more, where its y is no longer what it was: a tape with a
    y of its own."""
    trace = replace(tape.trace, y=np.empty_like(tape.trace.y))
    order = tape.order
    tape.module.forward(
        tape.cell, tape.params, tape.x, tape.h0, tape.c0, tape.noise, order.start, order.rows, trace, True
    )
    return replace(tape, trace=trace)


def cells_of(tape: Tape) -> Array:
    """Every c[t] of a forward scan, in the order of y; zeros in padding and before a mask's first valid step."""
    assert tape.trace.c is not None
    return tape.order.unpack_output(tape.trace.c)


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints: a scan cut into parts, whose steps are run again when their gradients are wanted [Chen et al. 2016,
# "Training deep nets with sublinear memory cost"]


@dataclass(frozen=True)
class _Part:
    """A view of the packed order for steps first..last; its packed rows are low..high of the whole."""

    start: Array
    rows: Array
    low: int
    high: int

    def __call__(self, packed: Any) -> Any:
        return None if packed is None else packed[self.low : self.high]


def _part(order: Order, first: int, last: int) -> _Part:
    start, rows = order.start[first:last], order.rows[first:last]
    low = int(start.min())
    return _Part(start - low, rows, low, int((start + rows).max()))


def _noise_of(part: _Part, noise: Noise) -> Noise:
    def share(new: Array | None) -> Array | None:
        return new if new is None or len(new) == 1 else part(new)

    return noise if noise is SILENT else Noise(noise.mask, share(noise.new_h), share(noise.new_c))


def _h_before(tape: Tape, step: int) -> Array:
    """h (N, P) before a step; rows that have ended hold anything."""
    if step == 0:
        return tape.h0
    h = np.zeros_like(tape.h0)
    first, n = int(tape.order.start[step - 1]), int(tape.order.rows[step - 1])
    h[:n] = in_order(tape.trace.y[first : first + n])
    return h


def _forward_in_parts(tape: Tape, checkpoint: int, out: Placed | None) -> tuple[Tape, Array | None]:
    """Run the scan part by part into tape.trace.y and ``out``; the tape with checkpoints, and the last c."""
    steps = len(tape.order.rows)
    D, H = tape.params["W"].shape[0], _hidden_size(tape.cell, tape.params)
    unit = min(tape.module.chunk_steps(tape.cell, tape.order.N, D, H, tape.x.dtype), max(steps, 1))
    length = -(-checkpoint // unit) * unit
    ends = list(range(steps, 0, -length))[::-1]
    c = None if tape.c0 is None else tape.c0.copy()
    checkpoints = []
    for first, last in zip([0, *ends], ends, strict=False):
        part = _part(tape.order, first, last)
        before = None if c is None else c.copy()
        checkpoints.append(_Checkpoint(first, last, before))
        tape.module.forward(
            tape.cell,
            tape.params,
            part(tape.x),
            _h_before(tape, first),
            before,
            _noise_of(part, tape.noise),
            part.start,
            part.rows,
            Trace(part(tape.trace.y), c),
            False,
            part(out),
        )
    return replace(tape, checkpoints=tuple(checkpoints)), c


def _backward_in_parts(
    tape: Tape, dy: Any, dcells: Any, dh: Array, dc: Any, dx: Any, grads: Mapping[str, Array], add: bool
) -> None:
    H = _hidden_size(tape.cell, tape.params)
    for point in reversed(tape.checkpoints):
        part = _part(tape.order, point.first, point.last)
        x, h0, noise = part(tape.x), _h_before(tape, point.first), _noise_of(part, tape.noise)
        y = tape.module.empty((part.high - part.low, tape.h0.shape[1]), tape.x.dtype)
        trace = _trace(tape.cell, tape.module, len(y), H, tape.x.dtype, noise, y)
        scan = (tape.cell, tape.params, x, h0, point.c, noise, part.start, part.rows, trace)
        tape.module.forward(*scan, True)
        dx_part = dx if isinstance(tape.x, Lookup) else part(dx)
        tape.module.backward(*scan, part(dy), part(dcells), dh, dc, dx_part, grads, add)
        add = True
