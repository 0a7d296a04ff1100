"""Full batches in every layout of memory: the same bits, rows read and written where the caller has them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from cases import CELL_NAMES, Case, Problem, as_parts, as_state, make_problem

import fastrnn
from fastrnn import orders
from fastrnn.ops import rnn_backward, rnn_forward
from fastrnn.scan import Placed

MANY = Case("N12 T9 D7 H33", 12, 9, 7, 33)
FEW = Case("N3 T9 D5 H160", 3, 9, 5, 160)  # threads split units
AXES = {"batch-first": False, "time-major": True}
ALIKE = {"as its axes say": False, "the other way": True}


def laid_out(array: np.ndarray, time_major: bool, turned: bool) -> np.ndarray:
    """An array (N, T, .) with the axes asked for, in memory as they say or ``turned``."""
    with_axes = np.ascontiguousarray(array.swapaxes(0, 1) if time_major else array)
    return np.ascontiguousarray(with_axes.swapaxes(0, 1)).swapaxes(0, 1) if turned else with_axes


def run(p: Problem, time_major: bool, turned: bool, batch_first: bool, **options):
    """Everything that comes out, (N, T, .), and the tape; y, dx as they came."""
    x, dy = (laid_out(part, time_major, turned) for part in (p.x, p.dy))
    layout = {"reverse": p.reverse, "time_major": time_major, "batch_first": batch_first}
    inferred, inferred_state, _ = rnn_forward(p.cell, p.params, x, as_state(p.state), **layout)
    y, state, tape = rnn_forward(p.cell, p.params, x, as_state(p.state), **layout, keep=True, **options)
    grads = {name: np.zeros_like(value) for name, value in p.params.items()}
    dx, dstate = rnn_backward(tape, dy, as_state(p.dstate), grads=grads)
    rows = [part.swapaxes(0, 1) if time_major else part for part in (inferred, y, dx)]
    return [*rows, *as_parts(inferred_state), *as_parts(state), *as_parts(dstate), *grads.values()], tape, y, dx


def same(got, expected):
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape and np.array_equal(a, b)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("case", [MANY, FEW], ids=str)
def test_the_same_bits_in_any_layout(backend, cell, case, reverse, dtype):
    p = make_problem(cell, replace(case, reverse=reverse)).cast(dtype)
    expected, *_ = run(p, True, False, False)
    for layout in itertools.product((False, True), repeat=3):
        same(run(p, *layout)[0], expected)


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("case", [MANY, FEW], ids=str)
@pytest.mark.usefixtures("simd")
def test_threads_do_not_change_them(cell, case, threads):
    p = make_problem(cell, case).cast("float32")
    expected, *_ = run(p, True, False, False)
    for n in (2, 3):
        fastrnn.set_num_threads(n)
        same(run(p, False, False, True)[0], expected)


@pytest.mark.parametrize("batch_first", [False, True])
def test_checkpoints(backend, batch_first):
    p = make_problem("lstm", MANY)
    same(run(p, False, False, batch_first, checkpoint=2)[0], run(p, True, False, False)[0])


@pytest.mark.parametrize("turned", ALIKE.values(), ids=ALIKE)
@pytest.mark.parametrize("time_major", AXES.values(), ids=AXES)
def test_rows_stay_where_they_are(backend, time_major, turned):
    p = make_problem("gru", MANY)
    rows_first = time_major == turned
    for batch_first in (False, True):
        _, tape, y, dx = run(p, time_major, turned, batch_first)
        assert isinstance(tape.x, Placed) == rows_first
        for part, by_batch in ((y, batch_first), (dx, rows_first)):
            assert (part.swapaxes(0, 1) if by_batch == time_major else part).flags.c_contiguous


@pytest.mark.parametrize(("N", "T"), [(0, 4), (4, 0), (1, 4), (4, 1), (1, 1)])
def test_few_rows(backend, N, T):
    p = make_problem("lstm", Case("few", N, T, 3, 5))
    same(run(p, False, False, True)[0], run(p, True, False, False)[0])


def test_places_of_many_rows_are_not_kept(backend, monkeypatch):
    monkeypatch.setattr(orders, "KEPT_ROWS", 3)
    orders.full_batch.cache_clear()
    p = make_problem("lstm", MANY)
    same(run(p, False, False, True)[0], run(p, True, False, False)[0])
    assert orders.order_of(None, None, 12, 9, False, False, True)._kept is None
    orders.full_batch.cache_clear()


def test_memory_in_no_order_is_copied(backend):
    p = make_problem("lstm", MANY)
    wide = np.repeat(p.x, 2, axis=2)
    expected, *_ = run(p, True, False, False)
    same(run(replace(p, x=wide[..., ::2]), False, False, True)[0], expected)
    y, _, tape = rnn_forward(p.cell, p.params, wide[..., ::2], as_state(p.state), keep=True)
    assert not isinstance(tape.x, Placed)
    assert np.array_equal(y, expected[1])
