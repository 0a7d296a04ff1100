"""Backend "numpy": the scan in plain NumPy. The readable specification of what every backend computes.

A backend is a module with ``forward`` and ``backward`` of these signatures. Both are handed checked arrays by
`fastrnn.ops` and write their results into arrays that `fastrnn.ops` allocated.

Packed rows
-----------
Sequences arrive packed: step s of the scan works on the ``rows[s]`` consecutive rows that begin at ``start[s]`` of
every (R, .) array, R being the number of all steps of all sequences. ``rows`` never grows: sequences are ordered by
falling length, so the first rows[s+1] rows of step s are the ones that go on. A full batch has start = s*N (or the
same backwards for the reverse direction) and rows = N.

Shapes
------
x, dx (R, D); h0, dh (N, P); c0, dc (N, H); y, dy (R, P); dcells (R, H); P = H without a projection. Parameters and
gradients as `Cell.shapes` has them, the rest as `fastrnn.scan` has it. What a cell does not have is None.

x, dy and dx may be `Placed` instead: their rows are read and written where they stand.

x may be a `Lookup` with codes (R,), whose table (V, G*H) holds x W + b already. dx (V, G*H), never None, are then the
sums by row of the table to which the gradients of those products are added; W has no part in the scan.

``empty(shape, dtype)`` makes the (R, .) arrays: NumPy's own here, recycled memory in the compiled backend; ``blank``
those of which only some rows will be written, ``new_parts`` those of gradients. ``gather`` brings rows of ragged
batches into packed order and back, ``add_rows`` is its adjoint.
``forward_at_once`` and ``backward_at_once`` may do all of `fastrnn.ops`'s work for a batch; here they leave it there.
``chunk_steps(cell, N, D, H, dtype)`` is the number of steps whose weight gradients the backend sums at a time, counted
from the end of the scan: a scan cut there has the same sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy import empty as empty

from .activations import sigmoid as sigmoid
from .cells import Cell
from .lookup import Lookup
from .params import Place, parts_of
from .scan import Noise, Placed, Trace, in_order

Array = np.ndarray
Params = Mapping[str, Array]
# One part of a parameter's gradient: its name, the columns, left and right side of left.T @ right; the sum of right's
# rows where there is no left side.
Term = tuple[str, slice, Any, Array]

# Infinities pass through in silence, as in compiled kernels. And what the processor says of a product may be wrong:
# with five columns, sgemv of OpenBLAS 0.3.31 for AVX-512 adds to the lanes it does not use what lay on the stack.
silent = np.errstate(over="ignore", invalid="ignore")

EPS = 1e-5  # added to a variance before its root is taken


def new_parts(size: int, dtype: np.dtype, places: list[Place], into: dict[str, Array]) -> Array:
    """Like ``empty``, (size,); `fastrnn.params.parts_of` it go into a dict."""
    flat = empty(size, dtype)
    dict.update(into, parts_of(flat, places))
    return flat


def gather(source: Array, index: Array) -> Array:
    """Rows of ``source`` (M, .) in the order of ``index`` (R,); zeros for -1. Fresh (R, .)."""
    if len(source) and index.min(initial=0) >= 0:
        return source.take(index, axis=0)
    rows = np.zeros((len(index), source.shape[1]), source.dtype)
    seen = index >= 0
    rows[seen] = source[index[seen]]
    return rows


def blank(shape: tuple[int, int], dtype: np.dtype, index: Array) -> Array:
    """Like ``empty``, with zeros in the rows of these numbers."""
    rows = empty(shape, dtype)
    rows[index] = 0
    return rows


def forward_at_once(cell: Any, params: Params, order: Any, x: Any, state: Any, keep: bool) -> None:
    """What `fastrnn.ops.rnn_forward` gives for x in the order of a `fastrnn.orders.Batch` or `Ragged`, with packed x,
    h0, c0 and trace in the place of the tape; or None where it is to be done there."""


def backward_at_once(
    cell: Any,
    params: Params,
    order: Any,
    x: Any,
    h0: Array,
    c0: Any,
    trace: Any,
    dy: Any,
    dstate: Any,
    input_gradient: bool,
    grads: Params,
    add: bool,
) -> None:
    """The same for `fastrnn.ops.rnn_backward`."""


def add_rows(out: Array, index: Array, rows: Array) -> None:
    """Add row r of ``rows`` (R, .) to row index[r] of ``out`` (M, .); -1: to none."""
    order = np.argsort(index, kind="stable")[np.count_nonzero(index < 0) :]
    if len(order):
        used, first = np.unique(index[order], return_index=True)
        out[used] += np.add.reduceat(rows[order], first, axis=0)


def chunk_steps(cell: Cell, N: int, D: int, H: int, dtype: np.dtype) -> int:
    """All: the gradient of W is one product."""
    return np.iinfo(np.int64).max


@silent
def forward(
    cell: Cell,
    params: Params,
    x: Array | Placed | Lookup,
    h0: Array,
    c0: Array | None,
    noise: Noise,
    start: Array,
    rows: Array,
    trace: Trace,
    keep: bool,
    out: Placed | None = None,
) -> None:
    """Run the scan and write what the trace has: everything where ``keep`` is true, else y and the last c.

    ``out`` is written with y, and may be all that is wanted of it: trace.y is None then.
    """
    step = _STEPS[cell.kind][0]
    a = x.rows() if isinstance(x, Lookup) else _projected(cell, params, in_order(x), trace, keep)
    h, c = h0, c0
    for first, n in zip(start.tolist(), rows.tolist(), strict=True):
        now = slice(first, first + n)
        h_old, c_old = h[:n], None if c is None else c[:n]
        left = h_old if noise.mask is None else h_old * noise.mask[:n]
        h, c, saved, norm = step(cell, params, a[now], left, h_old, c_old)
        c_new = c
        if noise.new_h is not None:
            h = h_old + _share(noise.new_h, now) * (h - h_old)
        if noise.new_c is not None:
            c = c_old + _share(noise.new_c, now) * (c - c_old)
        if trace.y is not None:
            trace.y[now] = h
        if out is not None:
            out[now] = h
        if c is not None:
            trace.c[now if keep else slice(n)] = c
        if keep:
            if trace.gates is not None:
                trace.gates[now] = np.concatenate(saved, axis=1)
            if trace.c_new is not None:
                trace.c_new[now] = c_new
            if norm is not None:
                trace.u_hat[now], trace.u_scale[now] = norm


@silent
def backward(
    cell: Cell,
    params: Params,
    x: Array | Placed | Lookup,
    h0: Array,
    c0: Array | None,
    noise: Noise,
    start: Array,
    rows: Array,
    trace: Trace,
    dy: Array | Placed | None,
    dcells: Array | None,
    dh: Array,
    dc: Array | None,
    dx: Array | Placed | None,
    grads: Params,
    add: bool = True,
) -> None:
    """Run the scan's adjoint.

    dh and dc hold the gradient of the final states and are overwritten by that of the initial states. dx is written;
    the gradients of the parameters are added to what ``grads`` hold, or without ``add`` written over it, but W's of a
    `Lookup`, which is not made here. dx may be None: nobody wants it.
    """
    if not add:
        for array in grads.values():
            array[...] = 0
    step = _STEPS[cell.kind][1]
    y, dy = in_order(trace.y), in_order(dy)
    H = params["W"].shape[1] // len(cell.gates)
    da = np.empty((x.shape[0], params["W"].shape[1]), x.dtype)
    for s in reversed(range(len(start))):
        n = int(rows[s])
        now = slice(int(start[s]), int(start[s]) + n)
        before = slice(int(start[s - 1]), int(start[s - 1]) + n) if s else slice(n)
        h_old = (y if s else h0)[before]
        c_old = None if trace.c is None or c0 is None else (trace.c if s else c0)[before]
        c_new = trace.c if trace.c_new is None else trace.c_new
        left = h_old if noise.mask is None else h_old * noise.mask[:n]
        dh_new = dh[:n] if dy is None else dh[:n] + dy[now]
        dc_new = None if dc is None else dc[:n] if dcells is None else dc[:n] + dcells[now]
        dh_old = dc_old = 0
        if noise.new_h is not None:
            dh_old = dh_new - _share(noise.new_h, now) * dh_new
            dh_new = _share(noise.new_h, now) * dh_new
        if noise.new_c is not None:
            dc_old = dc_new - _share(noise.new_c, now) * dc_new
            dc_new = _share(noise.new_c, now) * dc_new
        dleft, dh_past, dc_past, da[now], terms = step(
            cell,
            params,
            dh_new,
            dc_new,
            y[now] if trace.gates is None else None,
            left,
            h_old,
            None if c_new is None else c_new[now],
            c_old,
            () if trace.gates is None else tuple(trace.gates[now, k * H : (k + 1) * H] for k in range(len(cell.saved))),
            None if trace.u_hat is None else (trace.u_hat[now], trace.u_scale[now]),
        )
        for name, columns, side, right in terms:  # which may be views of dh
            grads[name][..., columns] += right.sum(axis=0) if side is None else side.T @ right
        dh[:n] = dh_old + dh_past + (dleft if noise.mask is None else dleft * noise.mask[:n])
        if dc is not None:
            dc[:n] = dc_old + dc_past
    grads["b"][...] += da.sum(axis=0)
    if cell.layer_norm:
        grads["gain_W"][...] += (da * trace.x_hat).sum(axis=0)
        da = _normalise_back(cell, da * params["gain_W"], trace.x_hat, trace.x_scale)
    if isinstance(x, Lookup):
        assert isinstance(dx, np.ndarray)
        add_rows(dx, x.codes, da)
        return
    grads["W"][...] += in_order(x).T @ da
    if dx is not None:
        dx[:] = da @ params["W"].T


def _projected(cell: Cell, params: Params, x: Array, trace: Trace, keep: bool) -> Array:
    """x W, normalised where the cell is, + b."""
    a = x @ params["W"]
    if cell.layer_norm:
        hat, scale = _normalise(cell, a)
        a = hat * params["gain_W"]
        if keep:
            trace.x_hat[...], trace.x_scale[...] = hat, scale
    return a + params["b"]


def _share(share: Array, now: slice) -> Array:
    return share if len(share) == 1 else share[now]


# ---------------------------------------------------------------------------------------------------------------------
# Layer normalisation


def _normalise_rows(v: Array) -> tuple[Array, Array]:
    """v with mean 0 and variance 1 in every row, and the factor that made the variance so, (n, 1)."""
    centred = v - v.mean(axis=1, keepdims=True)
    scale = 1 / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + EPS)
    return centred * scale, scale


def _normalise_rows_back(d: Array, hat: Array, scale: Array) -> Array:
    """Gradient of v from d, that of hat."""
    return scale * (d - d.mean(axis=1, keepdims=True) - hat * (d * hat).mean(axis=1, keepdims=True))


def _groups(cell: Cell, v: Array) -> list[slice]:
    """Columns of all gate blocks that are normalised together."""
    H = v.shape[1] // len(cell.gates)
    return [slice(first * H, last * H) for first, last in cell.norms]


def _normalise(cell: Cell, v: Array) -> tuple[Array, Array]:
    """Each group of gate blocks normalised, and the groups' factors, (n, groups)."""
    parts = [_normalise_rows(v[:, columns]) for columns in _groups(cell, v)]
    return np.concatenate([hat for hat, _ in parts], axis=1), np.concatenate([scale for _, scale in parts], axis=1)


def _normalise_back(cell: Cell, d: Array, hat: Array, scale: Array) -> Array:
    return np.concatenate(
        [
            _normalise_rows_back(d[:, columns], hat[:, columns], scale[:, [k]])
            for k, columns in enumerate(_groups(cell, d))
        ],
        axis=1,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Steps
#
# Forward: (cell, params, a, left, h, c) -> h', c', saved blocks, (u_hat, u_scale) or None; a belongs to x_t W, left is
# h as the product with U sees it.
# Backward: (cell, params, dh', dc', y or None, left, h, c', c, saved, norm) -> gradient of left, of h and of c where
# they act otherwise than through left, da, and terms of the parameters' gradients.


def _cut(cell: Cell, a: Array) -> Array:
    return a if cell.clip is None else np.clip(a, -cell.clip, cell.clip)


def _gate(cell: Cell, a: Array) -> Array:
    return cell.recurrent_activation.value(_cut(cell, a))


def _candidate(cell: Cell, a: Array) -> Array:
    return cell.activation.value(_cut(cell, a))


def _slope(cell: Cell, function: Any, y: Array) -> Array:
    """Of a function behind the clip, from its value: where that is the value at the limit, the input was cut."""
    slope = function.slope(y)
    if cell.clip is not None:
        for limit in (-cell.clip, cell.clip):
            slope = np.where(y == function.value(np.array(limit, y.dtype)), 0, slope).astype(y.dtype)
    return slope


def _gate_slope(cell: Cell, y: Array) -> Array:
    return _slope(cell, cell.recurrent_activation, y)


def _candidate_slope(cell: Cell, y: Array) -> Array:
    return _slope(cell, cell.activation, y)


def _recurrent(cell: Cell, params: Params, u: Array) -> tuple[Array, tuple[Array, Array] | None]:
    """The product with U, normalised where the cell is; and what its adjoint needs of that."""
    if not cell.layer_norm:
        return u, None
    hat, scale = _normalise(cell, u)
    return hat * params["gain_U"], (hat, scale)


def _recurrent_back(cell: Cell, params: Params, du: Array, norm: Any, terms: list[Term]) -> Array:
    """Gradient of the product with U."""
    if norm is None:
        return du
    terms.append(("gain_U", slice(None), None, du * norm[0]))
    return _normalise_back(cell, du * params["gain_U"], *norm)


def _rnn_forward(cell, params, a, left, h, c):
    u, norm = _recurrent(cell, params, left @ params["U"])
    h = _candidate(cell, a + u)
    return h, None, (h,), norm


def _rnn_backward(cell, params, dh, dc, y, left, h, c_new, c, saved, norm):
    terms: list[Term] = []
    da = dh * _candidate_slope(cell, saved[0] if saved else y)
    du = _recurrent_back(cell, params, da, norm, terms)
    terms.append(("U", slice(None), left, du))
    return du @ params["U"].T, 0, None, da, terms


def _lstm_forward(cell, params, a, left, h, c):
    u, norm = _recurrent(cell, params, left @ params["U"])
    i, *f, g, o = np.split(a + u, len(cell.gates), axis=1)
    early = [i, *f]
    if cell.peephole == "diagonal":
        early = [gate + c * p for gate, p in zip(early, params["p"], strict=False)]
    if cell.peephole == "full":
        peeps = np.split(c @ params["P"][:, : len(early) * c.shape[1]], len(early), axis=1)
        early = [gate + peep for gate, peep in zip(early, peeps, strict=True)]
    i, *f = (_gate(cell, gate) for gate in early)
    g = _candidate(cell, g)
    c_new = (1 - i if cell.coupled else f[0]) * c + i * g
    if cell.peephole == "diagonal":
        o = o + c_new * params["p"][-1]
    if cell.peephole == "full":
        o = o + c_new @ params["P"][:, -c.shape[1] :]
    o = _gate(cell, o)
    h = o * cell.output_activation.value(_squashed(cell, params, c_new)[0])
    return h @ params["W_proj"] if cell.proj_size else h, c_new, (i, *f, g, o), norm


def _squashed(cell: Cell, params: Params, c: Array) -> tuple[Array, Any, Any]:
    """What the output's function is given: c, or c normalised; then also c_hat and its factor."""
    if not cell.layer_norm:
        return c, None, None
    hat, scale = _normalise_rows(c)
    return hat * params["gain_c"] + params["bias_c"], hat, scale


def _lstm_backward(cell, params, dh, dc, y, left, h, c_new, c, saved, norm):
    terms: list[Term] = []
    i, *f, g, o = saved
    f = 1 - i if cell.coupled else f[0]
    H = c.shape[1]
    squashed, hat, scale = _squashed(cell, params, c_new)
    out = cell.output_activation.value(squashed)
    if cell.proj_size:
        terms.append(("W_proj", slice(None), o * out, dh))
        dh = dh @ params["W_proj"].T
    do = dh * out * _gate_slope(cell, o)
    dsquashed = dh * o * cell.output_activation.slope(out)
    if cell.layer_norm:
        terms += [("gain_c", slice(None), None, dsquashed * hat), ("bias_c", slice(None), None, dsquashed)]
        dsquashed = _normalise_rows_back(dsquashed * params["gain_c"], hat, scale)
    dc = dc + dsquashed
    if cell.peephole == "diagonal":
        dc = dc + do * params["p"][-1]
    if cell.peephole == "full":
        dc = dc + do @ params["P"][:, -H:].T
        terms.append(("P", slice(-H, None), c_new, do))
    di = dc * (g - c if cell.coupled else g) * _gate_slope(cell, i)
    early = [di] if cell.coupled else [di, dc * c * _gate_slope(cell, f)]
    dg = dc * i * _candidate_slope(cell, g)
    dc_old = dc * f
    if cell.peephole == "diagonal":
        terms.append(("p", slice(None), None, np.stack([*(d * c for d in early), do * c_new], axis=1)))
        dc_old = dc_old + sum(d * p for d, p in zip(early, params["p"], strict=False))
    if cell.peephole == "full":
        columns = slice(0, len(early) * H)
        together = np.concatenate(early, axis=1)
        terms.append(("P", columns, c, together))
        dc_old = dc_old + together @ params["P"][:, columns].T
    da = np.concatenate([*early, dg, do], axis=1)
    du = _recurrent_back(cell, params, da, norm, terms)
    terms.append(("U", slice(None), left, du))
    return du @ params["U"].T, 0, dc_old, da, terms


def _gru_forward(cell, params, a, left, h, c):
    H = h.shape[1]
    u, norm = _recurrent(cell, params, left @ params["U"])
    r = _gate(cell, a[:, :H] + u[:, :H])
    z = _gate(cell, a[:, H : 2 * H] + u[:, H : 2 * H])
    m = u[:, 2 * H :] + params["b_rec"]
    n = _candidate(cell, a[:, 2 * H :] + r * m)
    return (1 - z) * n + z * h, None, (r, z, m, n), norm


def _gru_backward(cell, params, dh, dc, y, left, h, c_new, c, saved, norm):
    terms: list[Term] = []
    r, z, m, n = saved
    dn = dh * (1 - z) * _candidate_slope(cell, n)
    dz = dh * (h - n) * _gate_slope(cell, z)
    dr = dn * m * _gate_slope(cell, r)
    dm = dn * r
    terms.append(("b_rec", slice(None), None, dm))
    du = _recurrent_back(cell, params, np.concatenate([dr, dz, dm], axis=1), norm, terms)
    terms.append(("U", slice(None), left, du))
    return du @ params["U"].T, dh * z, None, np.concatenate([dr, dz, dn], axis=1), terms


def _gru_before_forward(cell, params, a, left, h, c):
    H = h.shape[1]
    U = params["U"]
    u_rz, norm_rz = _part(cell, params, left @ U[:, : 2 * H], 0)
    r, z = np.split(_gate(cell, a[:, : 2 * H] + u_rz), 2, axis=1)
    u_n, norm_n = _part(cell, params, (r * left) @ U[:, 2 * H :], 1)
    n = _candidate(cell, a[:, 2 * H :] + u_n)
    norm = None
    if norm_rz is not None and norm_n is not None:
        norm = tuple(np.concatenate(both, axis=1) for both in zip(norm_rz, norm_n, strict=True))
    return (1 - z) * n + z * h, None, (r, z, n), norm


def _part(cell: Cell, params: Params, u: Array, group: int) -> tuple[Array, tuple[Array, Array] | None]:
    """`_recurrent` of one group alone."""
    if not cell.layer_norm:
        return u, None
    hat, scale = _normalise_rows(u)
    return hat * params["gain_U"][_groups(cell, params["gain_U"][None])[group]], (hat, scale)


def _part_back(cell: Cell, params: Params, du: Array, norm: Any, group: int, terms: list[Term]) -> Array:
    """`_recurrent_back` of one group alone."""
    if norm is None:
        return du
    columns = _groups(cell, params["gain_U"][None])[group]
    hat = norm[0][:, columns]
    terms.append(("gain_U", columns, None, du * hat))
    return _normalise_rows_back(du * params["gain_U"][columns], hat, norm[1][:, [group]])


def _gru_before_backward(cell, params, dh, dc, y, left, h, c_new, c, saved, norm):
    terms: list[Term] = []
    r, z, n = saved
    H, U = h.shape[1], params["U"]
    dn = dh * (1 - z) * _candidate_slope(cell, n)
    dz = dh * (h - n) * _gate_slope(cell, z)
    du_n = _part_back(cell, params, dn, norm, 1, terms)
    drh = du_n @ U[:, 2 * H :].T
    dr = drh * left * _gate_slope(cell, r)
    drz = np.concatenate([dr, dz], axis=1)
    du_rz = _part_back(cell, params, drz, norm, 0, terms)
    terms += [("U", slice(2 * H), left, du_rz), ("U", slice(2 * H, None), r * left, du_n)]
    return du_rz @ U[:, : 2 * H].T + drh * r, dh * z, None, np.concatenate([drz, dn], axis=1), terms


_STEPS: dict[str, tuple[Callable, Callable]] = {
    "rnn": (_rnn_forward, _rnn_backward),
    "lstm": (_lstm_forward, _lstm_backward),
    "gru": (_gru_forward, _gru_backward),
    "gru_before": (_gru_before_forward, _gru_before_backward),
}
