"""The packed kernels give the same bits whatever the batch, the threads, the chunk of time, the instruction set.

Everything here is compared with ``==``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from cases import CELL_NAMES, Case, Problem, as_parts, as_state, make_problem, outputs

import fastrnn
from fastrnn.ops import rnn_backward, rnn_forward

CASE = Case("N9 T37 D40 H65", 9, 37, 40, 65)
CASES = (
    CASE,
    Case("N1 T20 D3 H130", 1, 20, 3, 130),
    Case("N23 T5 D7 H17", 23, 5, 7, 17),
    Case("ragged", 13, 20, 7, 33, lengths=(20, 3, 0, 20, 7, 1, 19, 20, 2, 8, 20, 11, 5)),
    Case("reverse", 9, 20, 7, 33, reverse=True),
)


@pytest.fixture(autouse=True)
def simd(compiled: None, isa: str | None) -> Iterator[None]:
    """The compiled backend with its packed kernels, on every instruction set."""
    before = fastrnn.get_gemm()
    fastrnn.set_gemm("simd")
    yield
    fastrnn.set_gemm(before)


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert got.keys() == expected.keys()
    different = [name for name in got if not np.array_equal(got[name], expected[name])]
    assert not different


def rows_of(problem: Problem, rows: list[int]) -> Problem:
    """The same problem for some of its rows, in this order."""
    return replace(
        problem,
        x=problem.x[rows],
        dy=problem.dy[rows],
        state=tuple(part[rows] for part in problem.state),
        dstate=tuple(part[rows] for part in problem.dstate),
        lengths=None if problem.lengths is None else problem.lengths[rows],
    )


def of_rows(problem: Problem) -> dict[str, np.ndarray]:
    """The outputs that belong to single rows: all but the gradients of parameters."""
    found = outputs(problem)
    return {name: array for name, array in found.items() if name.removeprefix("d") not in problem.params}


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_a_row_in_any_batch(cell, case, dtype):
    problem = make_problem(cell, case).cast(dtype)
    whole = of_rows(problem)
    N = case.N
    for rows in ([0], [N - 1], list(range(N // 2 + 1)), list(range(N))[::-1], [0] * 7):
        assert_same(of_rows(rows_of(problem, rows)), {name: array[rows] for name, array in whole.items()})


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_a_padded_row_and_the_sequence_alone(cell, dtype):
    problem = make_problem(cell, CASES[3]).cast(dtype)
    whole = of_rows(problem)
    for n, length in enumerate(problem.lengths):
        row = rows_of(problem, [n])
        alone = of_rows(replace(row, x=row.x[:, :length], dy=row.dy[:, :length], lengths=None))
        cut = {
            name: array[n : n + 1, :length] if array.ndim == 3 else array[n : n + 1] for name, array in whole.items()
        }
        assert_same(alone, cut)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_any_number_of_threads(cell, case, dtype, threads):
    """The gradients of parameters too."""
    problem = make_problem(cell, case).cast(dtype)
    fastrnn.set_num_threads(1)
    alone = outputs(problem)
    for n in (2, 3, 8):
        fastrnn.set_num_threads(n)
        assert_same(outputs(problem), alone)


@pytest.mark.parametrize("chunks", [[1] * 37, [36, 1], [5, 0, 20, 12]], ids=["steps", "36 + 1", "5 + 0 + 20 + 12"])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_any_chunks_of_time(cell, dtype, chunks):
    p = make_problem(cell, CASE).cast(dtype)
    whole = outputs(p)
    cuts = np.cumsum(chunks)[:-1]
    state, tapes, y, inferred, inferred_state = as_state(p.state), [], [], [], as_state(p.state)
    for x in np.split(p.x, cuts, axis=1):
        part, inferred_state, _ = rnn_forward(p.cell, p.params, x, inferred_state)
        inferred.append(part)
        part, state, tape = rnn_forward(p.cell, p.params, x, state, keep=True)
        y.append(part)
        tapes.append(tape)
    dstate, dx = as_state(p.dstate), []
    for tape, dy in reversed(list(zip(tapes, np.split(p.dy, cuts, axis=1), strict=True))):
        grads = {name: np.zeros_like(value) for name, value in p.params.items()}
        part, dstate = rnn_backward(tape, dy, dstate, grads=grads)
        dx.insert(0, part)
    found = {"y": np.concatenate(y, 1), "inferred_y": np.concatenate(inferred, 1), "dx": np.concatenate(dx, 1)}
    for k, name in enumerate(p.cell.states):
        found |= {name: as_parts(state)[k], f"inferred_{name}": as_parts(inferred_state)[k]}
        found[f"d{name}0"] = as_parts(dstate)[k]
    assert_same(found, {name: whole[name] for name in found})


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_instruction_sets_with_fused_multiply_add(cell, case, dtype, isa):
    problem = make_problem(cell, case).cast(dtype)
    here = outputs(problem)
    for other in {"avx2", "avx512"} & set(fastrnn.available_isas()) if isa != "baseline" else ():
        fastrnn.set_isa(other)
        assert_same(outputs(problem), here)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_control_another_order_of_sums_is_seen(cell):
    """BLAS sums in another order: were its bits the same, the tests above would show nothing."""
    problem = make_problem(cell, CASE).cast("float32")
    packed = outputs(problem)
    fastrnn.set_gemm("blas")
    with pytest.raises(AssertionError):
        assert_same(outputs(problem), packed)
