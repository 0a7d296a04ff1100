"""A batch that the compiled backend runs in one go is the one that `fastrnn.ops` runs step by step."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cases import CELL_NAMES, VARIANTS, Case, as_parts, as_state, make_problem

import fastrnn
from fastrnn.ops import rnn_backward, rnn_forward
from fastrnn.orders import full_batch, order_of

kernels = pytest.importorskip("fastrnn.kernels")

CASES = [
    Case("N4 T6 D5 H33", 4, 6, 5, 33),
    Case("N1 T7", 1, 7, 3, 16),
    Case("N5 T1", 5, 1, 3, 8),
    Case("reverse", 3, 6, 4, 9, reverse=True),
    Case("ragged", 5, 6, 4, 9, lengths=(2, 6, 0, 5, 6)),
    Case("falling lengths", 4, 6, 4, 9, lengths=(6, 5, 2, 0)),
    Case("ragged, reverse", 3, 6, 4, 9, lengths=(1, 3, 6), reverse=True),
]


def run(p, axes, state, time_major, keep, dstate=None, **options):
    """All that comes out of a batch in memory of (T, N, .) where `axes`."""
    x, dy = (np.ascontiguousarray(part.swapaxes(0, 1)) if axes else part for part in (p.x, p.dy))
    if axes != time_major:
        x, dy = x.swapaxes(0, 1), dy.swapaxes(0, 1)
    layout = {"time_major": time_major, "reverse": p.reverse}
    y, final, tape = rnn_forward(p.cell, p.params, x, state, p.lengths, **layout, keep=keep)
    if not keep:
        return [y, *as_parts(final)]
    grads = {name: np.full_like(value, 2) for name, value in p.params.items()}
    dx, dstart = rnn_backward(tape, dy, dstate, grads=grads, **options)
    return [y, *as_parts(final), *([] if dx is None else [dx]), *as_parts(dstart), *grads.values()]


def step_by_step(monkeypatch):
    for name in ("forward_at_once", "backward_at_once"):
        monkeypatch.setattr(kernels, name, lambda *arguments: None)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("cell", [*CELL_NAMES, *VARIANTS])
def test_the_same_bits(monkeypatch, cell, case, dtype):
    p = make_problem(cell, case).cast(dtype)
    options = [{}, {"add": False}, {"input_gradient": False}]
    calls = [
        (axes, state, time_major, keep, dstate, more)
        for axes, time_major, keep in itertools.product((False, True), repeat=3)
        for state, dstate in ((None, None), (as_state(p.state), as_state(p.dstate)))
        for more in (options if keep else [{}])
    ]
    at_once = [run(p, *call, **more) for *call, more in calls]
    step_by_step(monkeypatch)
    for got, (*call, more) in zip(at_once, calls, strict=True):
        for a, b in zip(got, run(p, *call, **more), strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b)


@pytest.mark.usefixtures("simd")
@pytest.mark.parametrize("lengths", [None, [6, 1, 5, 0]], ids=["full", "ragged"])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_it_is_done_at_once(cell, lengths):
    p = make_problem(cell, CASES[0]).cast("float32")
    order, x, state = order_of(lengths, None, 4, 6, False, False, False), p.x, as_state(p.state)
    y, final, (packed, h0, c0, trace) = kernels.forward_at_once(p.cell, p.params, order, x, state, True)
    assert y.shape == (4, 6, 33) and len(as_parts(final)) == len(p.state)
    turned = np.ascontiguousarray(p.dy.swapaxes(0, 1)).swapaxes(0, 1)
    for dy in (p.dy, turned, None):
        grads = {name: np.zeros_like(value) for name, value in p.params.items()}
        arguments = (p.cell, p.params, order, packed, h0, c0, trace, dy, None, True, grads, True)
        found = kernels.backward_at_once(*arguments)
        assert (found is None) == (
            dy is turned and lengths is not None
        )  # of a ragged one, rows in another order are copied


@pytest.mark.usefixtures("simd")
@pytest.mark.parametrize("reverse", [False, True])
def test_the_first_state_of_a_tape_stands_beside_y(reverse):
    """Where the state before any other step would, so that what the gradient of U reads is in order."""
    p = make_problem("gru", CASES[0]).cast("float32")
    order = order_of(None, None, 4, 6, False, reverse, False)
    _, _, (_, h0, _, trace) = kernels.forward_at_once(p.cell, p.params, order, p.x, as_state(p.state), True)
    assert np.array_equal(h0, p.state[0]) and trace.y.ctypes.data % 64 == 0
    behind = [array.ctypes.data + array.nbytes for array in (h0, trace.y)]
    assert (h0 if reverse else trace.y).ctypes.data == behind[reverse]


@pytest.mark.usefixtures("simd")
def test_what_is_left_to_the_general_way():
    p = make_problem("lstm", CASES[0]).cast("float32")
    order, state = full_batch(4, 6, False, False, False), as_state(p.state)
    wide = np.repeat(p.x, 2, axis=2)[..., ::2]
    swapped = p.x.astype(p.x.dtype.newbyteorder())
    apart = [np.repeat(p.x, 2, axis=0)[::2], np.repeat(p.x, 2, axis=1)[:, ::2], np.concatenate([p.x, p.x], 2)[..., :5]]
    for x in (
        *apart,
        p.x[::-1],
        p.x[:, ::-1],
        p.x.astype("float64"),
        p.x.tolist(),
        p.x[:, :5],
        p.x[..., :4],
        p.x[0],
        wide,
        swapped,
    ):
        assert kernels.forward_at_once(p.cell, p.params, order, x, state, False) is None
    h, c = state
    for wrong in (h, (h,), (h, c, c), (h, c[:3]), (h, c.astype("float64")), (h, c.tolist()), (h.T.copy().T, c)):
        assert kernels.forward_at_once(p.cell, p.params, order, p.x, wrong, False) is None
    assert kernels.forward_at_once(p.cell, p.params, order, p.x, state, False) is not None


def test_given_states_stay():
    layer = fastrnn.LSTM(3, 5, seed=0)
    state = np.ones((2, 5), "float32"), np.ones((2, 5), "float32")
    x = np.ones((2, 4, 3), "float32")
    x.flags.writeable = False
    _, final = layer(x, state)
    _, _, tape = layer.forward(x, state)
    dstate = np.ones((2, 5), "float32"), np.ones((2, 5), "float32")
    _, dstart, _ = layer.backward(tape, None, dstate)
    for part in (*state, *dstate):
        assert (part == 1).all()
    for a, b in itertools.product((*state, *dstate), (*final, *dstart)):
        assert not np.shares_memory(a, b)
