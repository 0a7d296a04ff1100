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
x, dx (R, D); W, dW (D, G*H); U, dU (H, G*H); b, db (G*H,); b_rec, db_rec (H,); h0, c0, dh, dc (N, H); y, dy (R, H);
gates (R, S*H) with S = len(cell.saved). What a cell does not have is None.

``empty(shape, dtype)`` makes the (R, .) arrays: NumPy's own here, recycled memory in the compiled backend.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy import empty as empty

from .cells import Cell

Array = np.ndarray


def forward(
    cell: Cell,
    x: Array,
    W: Array,
    U: Array,
    b: Array,
    b_rec: Array | None,
    h0: Array,
    c0: Array | None,
    start: Array,
    rows: Array,
    y: Array,
    gates: Array | None,
    c: Array | None,
    keep: bool,
) -> None:
    """Run the scan.

    Writes y; for a cell with a state c also c: every c[t] as (R, H) where ``keep`` is true, else each sequence's last
    one as (N, H). ``gates`` receives the saved blocks where ``keep`` is true and is None otherwise.
    """
    step = _STEPS[cell.name][0]
    a = x @ W + b
    h, c_prev = h0, c0
    for first, n in zip(start.tolist(), rows.tolist(), strict=True):
        now = slice(first, first + n)
        h, c_new, saved = step(a[now], h[:n], None if c_prev is None else c_prev[:n], U, b_rec)
        y[now] = h
        if c is not None:
            c[now if keep else slice(n)] = c_new
        if gates is not None:
            gates[now] = np.concatenate(saved, axis=1)
        c_prev = c_new


def backward(
    cell: Cell,
    x: Array,
    W: Array,
    U: Array,
    b_rec: Array | None,
    h0: Array,
    c0: Array | None,
    start: Array,
    rows: Array,
    y: Array,
    gates: Array | None,
    c: Array | None,
    dy: Array | None,
    dh: Array,
    dc: Array | None,
    dx: Array | None,
    dW: Array,
    dU: Array,
    db: Array,
    db_rec: Array | None,
) -> None:
    """Run the scan's adjoint.

    dh and dc hold the gradient of the final states and are overwritten by that of the initial states. dx is written;
    dW, dU, db and db_rec are added to. dx may be None: nobody wants it.
    """
    step = _STEPS[cell.name][1]
    H = U.shape[0]
    da = np.empty((x.shape[0], W.shape[1]), x.dtype)
    for s in reversed(range(len(start))):
        n = int(rows[s])
        now = slice(int(start[s]), int(start[s]) + n)
        before = slice(int(start[s - 1]), int(start[s - 1]) + n) if s else slice(n)
        h_prev = (y if s else h0)[before]
        c_prev = None if c is None or c0 is None else (c if s else c0)[before]
        dh_total = dh[:n] if dy is None else dh[:n] + dy[now]
        saved = () if gates is None else tuple(gates[now, k * H : (k + 1) * H] for k in range(len(cell.saved)))
        dh[:n], dc_prev, da[now], products = step(
            dh_total,
            None if dc is None else dc[:n],
            y[now],
            h_prev,
            None if c is None else c[now],
            c_prev,
            U,
            saved,
        )
        if dc is not None:
            dc[:n] = dc_prev
        for left, du, columns in products:
            dU[:, columns] += left.T @ du
        if db_rec is not None:
            db_rec += products[-1][1].sum(axis=0)
    dW += x.T @ da
    db += da.sum(axis=0)
    if dx is not None:
        dx[...] = da @ W.T


def sigmoid(a: Array) -> Array:
    """Logistic sigmoid, 1 / (1 + exp(-a)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * a))


# Forward steps: (a, h, c, U, b_rec) -> h', c', saved blocks; a = x_t W + b.
# Backward steps: (dh, dc, h', h, c', c, U, saved) -> dh, dc of the step before, da (the gradient of a), and the terms
# (left, du, columns) of dU[:, columns] += left.T @ du.


def _rnn(activation: Callable[[Array], Array], derivative: Callable[[Array], Array]) -> tuple[Callable, Callable]:
    def forward_step(a, h, c, U, b_rec):
        return activation(a + h @ U), None, ()

    def backward_step(dh, dc, h_new, h, c_new, c, U, saved):
        da = dh * derivative(h_new)
        return da @ U.T, None, da, [(h, da, slice(None))]

    return forward_step, backward_step


def _lstm_forward(a, h, c, U, b_rec):
    i, f, g, o = np.split(a + h @ U, 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c + i * g
    return o * np.tanh(c), c, (i, f, g, o)


def _lstm_backward(dh, dc, h_new, h, c_new, c, U, saved):
    i, f, g, o = saved
    tanh_c = np.tanh(c_new)
    dc = dc + dh * o * (1 - tanh_c**2)
    da = np.concatenate(
        [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * tanh_c * o * (1 - o)], axis=1
    )
    return da @ U.T, dc * f, da, [(h, da, slice(None))]


def _gru_forward(a, h, c, U, b_rec):
    H = h.shape[1]
    u = h @ U
    r = sigmoid(a[:, :H] + u[:, :H])
    z = sigmoid(a[:, H : 2 * H] + u[:, H : 2 * H])
    m = u[:, 2 * H :] + b_rec
    n = np.tanh(a[:, 2 * H :] + r * m)
    return (1 - z) * n + z * h, None, (r, z, m, n)


def _gru_backward(dh, dc, h_new, h, c_new, c, U, saved):
    r, z, m, n = saved
    H = h.shape[1]
    dn = dh * (1 - z) * (1 - n**2)
    dz = dh * (h - n) * z * (1 - z)
    dr = dn * m * r * (1 - r)
    drz, dm = np.concatenate([dr, dz], axis=1), dn * r
    dh = dh * z + drz @ U[:, : 2 * H].T + dm @ U[:, 2 * H :].T
    da = np.concatenate([drz, dn], axis=1)
    return dh, None, da, [(h, drz, slice(2 * H)), (h, dm, slice(2 * H, None))]


def _gru_before_forward(a, h, c, U, b_rec):
    H = h.shape[1]
    r, z = np.split(sigmoid(a[:, : 2 * H] + h @ U[:, : 2 * H]), 2, axis=1)
    n = np.tanh(a[:, 2 * H :] + (r * h) @ U[:, 2 * H :])
    return (1 - z) * n + z * h, None, (r, z, n)


def _gru_before_backward(dh, dc, h_new, h, c_new, c, U, saved):
    r, z, n = saved
    H = h.shape[1]
    dn = dh * (1 - z) * (1 - n**2)
    dz = dh * (h - n) * z * (1 - z)
    drh = dn @ U[:, 2 * H :].T
    dr = drh * h * r * (1 - r)
    drz = np.concatenate([dr, dz], axis=1)
    dh = dh * z + drh * r + drz @ U[:, : 2 * H].T
    da = np.concatenate([drz, dn], axis=1)
    return dh, None, da, [(h, drz, slice(2 * H)), (r * h, dn, slice(2 * H, None))]


_STEPS: dict[str, tuple[Callable, Callable]] = {
    "rnn_tanh": _rnn(np.tanh, lambda y: 1 - y**2),
    "rnn_relu": _rnn(lambda a: np.maximum(a, 0), lambda y: (y > 0).astype(y.dtype)),
    "lstm": (_lstm_forward, _lstm_backward),
    "gru": (_gru_forward, _gru_backward),
    "gru_before": (_gru_before_forward, _gru_before_backward),
}
