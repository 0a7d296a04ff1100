"""The packed kernels give the same bits whatever the batch, the threads, the chunk of time, the instruction set.

Everything here is compared with ``==``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import (
    CELL_NAMES,
    PAIRS,
    TOLERANCES,
    VARIANTS,
    Case,
    Problem,
    as_parts,
    as_state,
    make_problem,
    map_noise,
    outputs,
    scaled_error,
)

import fastrnn
from fastrnn import Dense
from fastrnn.ops import rnn_backward, rnn_forward

pytestmark = pytest.mark.usefixtures("simd", "isa")

CASE = Case("N9 T37 D40 H65", 9, 37, 40, 65)
CASES = (
    CASE,
    Case("N1 T20 D3 H130", 1, 20, 3, 130),
    Case("N23 T5 D7 H17", 23, 5, 7, 17),
    # panels that one row and many have cut otherwise, with one, two and no vectors of units left over
    Case("N50 T3 D200 H200", 50, 3, 200, 200),
    # packed, as their first rows alone are not
    Case("N45 T3 D5 H210", 45, 3, 5, 210),
    Case("N43 T3 D193 H230, reverse", 43, 3, 193, 230, reverse=True),
    Case("N5 T3 D9 H180", 5, 3, 9, 180),  # no matrix is packed
    Case("N2 T6 D11 H20", 2, 6, 11, 20),
    Case("N3 T25 D9 H50", 3, 25, 9, 50),
    Case("N20 T4 D20 H100", 20, 4, 20, 100),
    Case("N2 T1 D5 H300", 2, 1, 5, 300),  # by columns, threads that split units project the input of their own
    Case("ragged", 13, 20, 7, 33, lengths=(20, 3, 0, 20, 7, 1, 19, 20, 2, 8, 20, 11, 5)),
    Case("reverse", 9, 20, 7, 33, reverse=True),
)
RAGGED = next(case for case in CASES if case.lengths)
ISAS = fastrnn.available_isas()
# with options: the best instruction set and the least, AVX2 and AVX-512 being compared below
on_some_choices = pytest.mark.parametrize(
    ("isa", "dtype"), [(ISAS[0], "float32"), (ISAS[-1], "float64")] if ISAS else [], indirect=True
)
on_avx512 = pytest.mark.parametrize("isa", ["avx512"], indirect=True)
both_fused = pytest.mark.skipif(not {"avx2", "avx512"} <= set(ISAS), reason="needs AVX2 and AVX-512")
on_amx = pytest.mark.parametrize("isa", ["amx"] if "amx" in ISAS else [], indirect=True)
# large enough for its products, beyond tiles, strips and what it splits at a time
AMX_CASES = (
    Case("N12 T30 D97 H150", 12, 30, 97, 150),
    Case("N50 T12 D70 H192", 50, 12, 70, 192),  # the GRU's gradient of x in one product
    Case("N40 T14 D70 H150, ragged", 40, 14, 70, 150, lengths=tuple(k % 15 for k in range(40))),
    Case("N1 T150 D130 H260, reverse", 1, 150, 130, 260, reverse=True),
    Case("N40 T14 D1 H150, ragged", 40, 14, 1, 150, lengths=tuple(k % 15 for k in range(40))),
)
OPTION_CASES = (
    Case("N21 T28 D5 H66", 21, 28, 5, 66),  # two chunks of time
    Case("N1 T40 D3 H160", 1, 40, 3, 160),  # threads split units
    RAGGED,
    Case("reverse, holes", 11, 9, 7, 33, reverse=True, holes=True),
)


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
        mask=None if problem.mask is None else problem.mask[rows],
        noise=map_noise(lambda part: part if len(part) == 1 else part[rows], problem.noise),
        dcells=None if problem.dcells is None else problem.dcells[rows],
    )


def times_of(problem: Problem, times: slice) -> Problem:
    """The same problem for some of its steps; initial and final states stay what they are."""

    def cut(part: np.ndarray | None) -> np.ndarray | None:
        return None if part is None else part[:, times] if part.ndim == 3 else part

    return replace(
        problem,
        x=problem.x[:, times],
        dy=problem.dy[:, times],
        mask=None if problem.mask is None else problem.mask[:, times],
        noise=map_noise(cut, problem.noise),
        dcells=cut(problem.dcells),
        lengths=None,
    )


def by_columns(problem: Problem, names: tuple[str, ...] = ("W", "U", "P", "W_proj")) -> Problem:
    """The same problem with matrices of these names in Fortran's order."""
    params = {name: np.asfortranarray(a) if name in names else a for name, a in problem.params.items()}
    return replace(problem, params=params)


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
    for rows in ([0], [N - 1], list(range(N // 2 + 1)), list(range(N))[::-1], [0] * 2, [0] * 3, [0] * 7):
        assert_same(of_rows(rows_of(problem, rows)), {name: array[rows] for name, array in whole.items()})


@on_some_choices
@pytest.mark.parametrize("case", OPTION_CASES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_row_in_any_batch_with_an_option(variant, case, dtype):
    problem = make_problem(variant, case).cast(dtype)
    whole = of_rows(problem)
    order = np.random.default_rng(3).permutation(case.N).tolist()
    for rows in ([case.N // 2], order, order[:5]):
        assert_same(of_rows(rows_of(problem, rows)), {name: array[rows] for name, array in whole.items()})


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_a_padded_row_and_the_sequence_alone(cell, dtype):
    check_padded_rows(make_problem(cell, RAGGED).cast(dtype))


@on_some_choices
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_padded_row_and_the_sequence_alone_with_an_option(variant, dtype):
    check_padded_rows(make_problem(variant, replace(RAGGED, T=12, lengths=(12, 3, 0, 7, 1), N=5)).cast(dtype))


def check_padded_rows(problem: Problem) -> None:
    whole = of_rows(problem)
    for n, length in enumerate(problem.lengths):
        alone = of_rows(times_of(rows_of(problem, [n]), slice(length)))
        cut = {
            name: array[n : n + 1, :length] if array.ndim == 3 else array[n : n + 1] for name, array in whole.items()
        }
        assert_same(alone, cut)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_any_number_of_threads(cell, case, dtype, threads):
    """The gradients of parameters too."""
    check_threads(make_problem(cell, case).cast(dtype), (2, 3, 8))


@on_some_choices
@pytest.mark.parametrize("case", OPTION_CASES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_any_number_of_threads_with_an_option(variant, case, threads, dtype):
    check_threads(make_problem(variant, case).cast(dtype), (2, 3))


@pytest.mark.parametrize("isa", ISAS[:1], indirect=True)
@pytest.mark.parametrize("variant", PAIRS)
def test_any_number_of_threads_with_two_options(variant, threads):
    """By rows and by units."""
    for case in (Case("ragged", 9, 11, 5, 33, lengths=(11, 3, 0, 7, 11, 1, 9, 10, 2)), Case("N2 T9 H65", 2, 9, 3, 65)):
        check_threads(make_problem(variant, case).cast("float32"), (3,))


@pytest.mark.parametrize(("D", "H"), [(150, 70), (70, 150), (2200, 1)])
def test_any_number_of_threads_of_a_dense_layer(D, H, dtype, threads):
    """Threads share rows of the product, and of its gradient the longer side; few rows have the bits of many."""
    layer, rng = Dense(D, H, dtype=dtype, seed=0), np.random.default_rng(1)
    x, dy = rng.normal(size=(500, D)).astype(dtype), rng.normal(size=(500, H)).astype(dtype)
    found = []
    for number in (1, 2, 3, 8):
        fastrnn.set_num_threads(number)
        y, tape = layer.forward(x)
        dx, grads = layer.backward(tape, dy)
        found.append((y, dx, grads["W"], grads["b"]))
    for got in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(got, found[0], strict=True))
    for few in (1, 3, 7, 500 // 4):  # W as it lies
        assert np.array_equal(layer(x[:few]), found[0][0][:few])
    x, dy, W = x.astype("float64"), dy.astype("float64"), layer.params["W"].astype("float64")
    for a, b in zip(found[0], (x @ W + layer.params["b"], dy @ W.T, x.T @ dy, dy.sum(axis=0)), strict=True):
        assert scaled_error(a, b) <= TOLERANCES["agreement", dtype]


def check_threads(problem: Problem, numbers: tuple[int, ...]) -> None:
    fastrnn.set_num_threads(1)
    alone = outputs(problem)
    for n in numbers:
        fastrnn.set_num_threads(n)
        assert_same(outputs(problem), alone)


@pytest.mark.parametrize("chunks", [[1] * 37, [36, 1], [5, 0, 20, 12]], ids=["steps", "36 + 1", "5 + 0 + 20 + 12"])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_any_chunks_of_time(cell, dtype, chunks):
    check_chunks(make_problem(cell, CASE).cast(dtype), chunks)


@on_some_choices
@pytest.mark.parametrize("chunks", [[1] * 28, [9, 0, 19]], ids=["steps", "9 + 0 + 19"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_any_chunks_of_time_with_an_option(variant, dtype, chunks):
    check_chunks(make_problem(variant, OPTION_CASES[0]).cast(dtype), chunks)


def check_chunks(p: Problem, chunks: list[int]) -> None:
    """States handed on, their gradients handed back: all that comes out but the gradients of the parameters."""
    whole, ends = outputs(p), np.cumsum(chunks)
    parts = [times_of(p, slice(end - n, end)) for end, n in zip(ends, chunks, strict=True)]
    state, tapes, y, inferred, inferred_state = as_state(p.state), [], [], [], as_state(p.state)
    for part in parts:
        some, inferred_state, _ = rnn_forward(p.cell, p.params, part.x, inferred_state, noise=part.noise)
        inferred.append(some)
        some, state, tape = rnn_forward(p.cell, p.params, part.x, state, noise=part.noise, keep=True)
        y.append(some)
        tapes.append(tape)
    dstate, dx = as_state(p.dstate), []
    for tape, part in zip(tapes[::-1], parts[::-1], strict=True):
        grads = {name: np.zeros_like(value) for name, value in p.params.items()}
        some, dstate = rnn_backward(tape, part.dy, dstate, grads=grads, dcells=part.dcells)
        dx.insert(0, some)
    found = {"y": np.concatenate(y, 1), "inferred_y": np.concatenate(inferred, 1), "dx": np.concatenate(dx, 1)}
    for k, name in enumerate(p.cell.states):
        found |= {name: as_parts(state)[k], f"inferred_{name}": as_parts(inferred_state)[k]}
        found[f"d{name}0"] = as_parts(dstate)[k]
    assert_same(found, {name: whole[name] for name in found})


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_instruction_sets_with_fused_multiply_add(cell, case, dtype, isa):
    """AMX makes float32 gradients of inputs and matrices; all else is the others'."""
    problem = make_problem(cell, case).cast(dtype)
    left_out = ("dx", "dW", "dU") if (isa, dtype) == ("amx", "float32") else ()

    def here() -> dict[str, np.ndarray]:
        return {name: array for name, array in outputs(problem).items() if name not in left_out}

    expected = here()
    for other in {"avx2", "avx512"} & set(fastrnn.available_isas()) if isa != "baseline" else ():
        fastrnn.set_isa(other)
        assert_same(here(), expected)


@both_fused
@on_avx512
@pytest.mark.parametrize("case", OPTION_CASES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_instruction_sets_with_fused_multiply_add_and_an_option(variant, case, dtype):
    check_instruction_sets(make_problem(variant, case).cast(dtype))


@both_fused
@on_avx512
@pytest.mark.parametrize("variant", PAIRS)
def test_instruction_sets_with_fused_multiply_add_and_two_options(variant, dtype):
    case = Case("ragged", 5, 6, 5, 35, lengths=(6, 3, 0, 5, 1))
    check_instruction_sets(make_problem(variant, case).cast(dtype))


def check_instruction_sets(problem: Problem) -> None:
    here = outputs(problem)
    fastrnn.set_isa("avx2")
    assert_same(outputs(problem), here)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_matrices_by_columns(cell, case, dtype, threads):
    problem = make_problem(cell, case).cast(dtype)
    expected = outputs(problem)
    for n in (1, 2, 3):
        fastrnn.set_num_threads(n)
        assert_same(outputs(by_columns(problem)), expected)
    assert_same(outputs(by_columns(problem, ("W",))), expected)
    assert_same(outputs(by_columns(problem, ("U",))), expected)


@on_some_choices
@pytest.mark.parametrize("case", OPTION_CASES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_matrices_by_columns_with_an_option(variant, case, dtype):
    problem = make_problem(variant, case).cast(dtype)
    assert_same(outputs(by_columns(problem)), outputs(problem))


@on_amx
@pytest.mark.parametrize("case", AMX_CASES, ids=str)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_products_of_amx(cell, case, threads):
    """Rows in any batch, any number of threads, matrices by columns."""
    problem = make_problem(cell, case).cast("float32")
    whole = of_rows(problem)
    order = np.random.default_rng(3).permutation(case.N).tolist()
    for rows in ([case.N // 2], order):
        assert_same(of_rows(rows_of(problem, rows)), {name: array[rows] for name, array in whole.items()})
    check_threads(problem, (2, 3))
    expected = outputs(problem)
    for names in (("W", "U"), ("W",)):
        assert_same(outputs(by_columns(problem, names)), expected)
    fastrnn.set_isa("avx512")
    fused = outputs(problem)
    others = {name: array for name, array in expected.items() if name not in ("dx", "dW", "dU")}
    assert_same(others, {name: fused[name] for name in others})
    with pytest.raises(AssertionError):  # it was AMX that made them
        assert_same({"dW": expected["dW"]}, {"dW": fused["dW"]})


def test_gradients_lie_as_they_are_asked_for(dtype):
    problem = by_columns(make_problem("lstm", CASE).cast(dtype))
    found = outputs(problem)
    assert found["dW"].flags.f_contiguous and found["dU"].flags.f_contiguous and found["dU"].any()


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_control_another_order_of_sums_is_seen(cell):
    """BLAS sums in another order: were its bits the same, the tests above would show nothing."""
    problem = make_problem(cell, CASE).cast("float32")
    packed = outputs(problem)
    fastrnn.set_gemm("blas")
    with pytest.raises(AssertionError):
        assert_same(outputs(problem), packed)
