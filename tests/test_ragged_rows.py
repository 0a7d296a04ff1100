"""Ragged batches whose rows stay where the caller has them: the same bits in any order, and no copies of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import CELL_NAMES, Case, Problem, as_parts, as_state, make_problem

import fastrnn
from fastrnn.ops import Tape, rnn_backward, rnn_forward
from fastrnn.scan import Placed

LENGTHS = {
    "falling": (20, 20, 19, 18, 18, 11, 9, 7, 7, 2, 1, 0),
    "any order": (7, 20, 0, 18, 2, 20, 9, 1, 19, 7, 11, 18),
    "rising": (0, 1, 2, 7, 7, 9, 11, 18, 18, 19, 20, 20),
}
MANY = Case("N12 T20 D7 H33", 12, 20, 7, 33, lengths=LENGTHS["any order"])
FEW = Case("N3 T30 D5 H160", 3, 30, 5, 160, lengths=(8, 30, 17))  # threads split units
in_any_order = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
time_first = pytest.mark.parametrize("time_major", [False, True], ids=["batch-first", "time-major"])


def run(p: Problem, time_major: bool, **options: Any) -> tuple[dict[str, np.ndarray], Tape]:
    """Everything that comes out, batch-first, of arguments laid out as asked; and the tape."""

    def turned(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array.swapaxes(0, 1)) if time_major else array

    x, dy = turned(p.x), turned(p.dy)
    before = x.copy(), dy.copy()
    arguments: Any = (p.cell, p.params, x, as_state(p.state), p.lengths)
    layout: Any = {"reverse": p.reverse, "time_major": time_major}
    inferred, inferred_state, _ = rnn_forward(*arguments, **layout)
    y, state, tape = rnn_forward(*arguments, **layout, keep=True, **options)
    grads = {name: np.zeros_like(value) for name, value in p.params.items()}
    dx, dstate = rnn_backward(tape, dy, as_state(p.dstate), grads=grads)
    assert np.array_equal(x, before[0], equal_nan=True) and np.array_equal(dy, before[1], equal_nan=True)
    found = {"inferred": turned(inferred), "y": turned(y), "dx": turned(dx), **grads}
    for name, parts in {"inferred": inferred_state, "last": state, "d": dstate}.items():
        found |= {f"{name} {k}": part for k, part in enumerate(as_parts(parts))}
    return found, tape


def same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert got.keys() == expected.keys()
    assert not [name for name in got if not np.array_equal(got[name], expected[name])]


def with_dirty_padding(p: Problem) -> Problem:
    padding = np.arange(p.x.shape[1]) >= p.lengths[:, None]
    x, dy = p.x.copy(), p.dy.copy()
    x[padding], dy[padding] = np.nan, np.inf
    return replace(p, x=x, dy=dy)


@in_any_order
@time_first
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.usefixtures("simd")
def test_the_same_bits_in_any_layout(cell, reverse, time_major, lengths, dtype, threads):
    problem = make_problem(cell, replace(MANY, reverse=reverse, lengths=lengths)).cast(dtype)
    expected, _ = run(problem, False)
    padding = np.arange(20) >= problem.lengths[:, None]
    assert not expected["y"][padding].any() and not expected["dx"][padding].any()
    same(expected | {"y": expected["inferred"]}, expected)
    for n in (1, 2, 3):
        fastrnn.set_num_threads(n)
        same(run(with_dirty_padding(problem), time_major)[0], expected)


@time_first
@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.usefixtures("simd")
def test_the_same_bits_where_threads_split_units(cell, time_major, threads):
    for lengths in (FEW.lengths, (30, 17, 8)):
        problem = make_problem(cell, replace(FEW, lengths=lengths)).cast("float32")
        fastrnn.set_num_threads(1)
        expected, _ = run(problem, False)
        for n in (1, 2, 3):
            fastrnn.set_num_threads(n)
            same(run(with_dirty_padding(problem), time_major)[0], expected)


@time_first
@pytest.mark.parametrize("order", ["falling", "any order"])
@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.usefixtures("simd")
def test_the_same_bits_from_checkpoints(cell, order, time_major):
    falling = (*(64 - n // 5 for n in range(249)), 0)
    lengths = falling if order == "falling" else tuple(np.random.default_rng(0).permutation(falling))
    problem = make_problem(cell, Case("N250 T64 H17", 250, 64, 3, 17, lengths=lengths)).cast("float32")
    found, tape = run(problem, time_major, checkpoint=1)
    assert len(tape.checkpoints) >= 3
    same(found, run(problem, time_major)[0])


@in_any_order
@time_first
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_every_backend_and_product(backend, gemm, cell, time_major, lengths):
    problem = make_problem(cell, replace(MANY, T=20, lengths=lengths))
    found, _ = run(with_dirty_padding(problem), time_major)
    with fastrnn.use_backend("numpy"):
        expected, _ = run(problem, False)
    for name, array in expected.items():
        assert np.abs(found[name] - array).max() <= 1e-12 * max(1.0, np.abs(array).max()), name


@time_first
@in_any_order
def test_x_is_not_copied(backend, time_major, lengths):
    problem = make_problem("lstm", replace(MANY, lengths=lengths))
    x = np.ascontiguousarray(problem.x.swapaxes(0, 1)) if time_major else problem.x
    y, _, tape = rnn_forward(problem.cell, problem.params, x, None, problem.lengths, time_major=time_major, keep=True)
    assert isinstance(tape.x, Placed) and np.shares_memory(tape.x.array, x)
    # nor y, where the rows of every step follow one another in it
    together = time_major and lengths == LENGTHS["falling"]
    assert np.shares_memory(y, tape.trace.y.array if together else tape.trace.y) == together


def test_rows_that_are_placed():
    array = np.arange(12.0).reshape(6, 2)
    placed = Placed(array, np.array([4, 1, 5]))
    assert placed.shape == (3, 2) and len(placed) == 3 and placed.dtype == array.dtype
    part = placed[1:]
    part[:] = np.full((2, 2), -1.0)
    assert part.at.tolist() == [1, 5]
    assert array[:, 0].tolist() == [0, -1, 4, 6, 8, -1]
