"""What `rnn_forward` and `rnn_backward` accept, what they refuse and how, and that nothing of the caller's changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import (
    CELL_NAMES,
    VARIANTS,
    Case,
    Problem,
    as_parts,
    as_state,
    assert_agree,
    make_problem,
    map_noise,
    outputs,
)

import fastrnn
from fastrnn.cells import CELLS
from fastrnn.ops import cells_of, rnn_backward, rnn_forward

CASE = Case("small", 3, 4, 5, 7)
RAGGED = Case("ragged", 3, 4, 5, 7, lengths=(2, 4, 3))
HOLES = Case("holes", 3, 4, 5, 7, holes=True)
ALL = (*CELL_NAMES, *VARIANTS)


def big_endian(a):
    return a.astype(a.dtype.newbyteorder(">"))


def transposed(a):
    return np.asfortranarray(a)


def strided(a):
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), True if a.dtype == bool else np.nan, a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def backwards(a):
    return a[::-1].copy()[::-1]


def unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = [big_endian, transposed, strided, backwards, unaligned, read_only]


def mapped(problem: Problem, change) -> Problem:
    """The problem with all that users pass to a call in another layout."""
    return replace(
        problem,
        x=change(problem.x),
        state=tuple(map(change, problem.state)),
        dy=change(problem.dy),
        dstate=tuple(map(change, problem.dstate)),
        mask=None if problem.mask is None else strided(problem.mask),
        dcells=None if problem.dcells is None else change(problem.dcells),
    )


@pytest.mark.parametrize("case", [RAGGED, HOLES], ids=str)
@pytest.mark.parametrize("layout", [strided, unaligned, read_only])
@pytest.mark.parametrize("variant", VARIANTS)
def test_layouts_make_no_difference_to_options(backend, variant, layout, case):
    problem = make_problem(variant, case)
    assert_agree(outputs(mapped(problem, layout)), outputs(problem), 0.0)


@pytest.mark.parametrize("case", [CASE, RAGGED], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_layouts_make_no_difference(backend, cell, layout, case, dtype):
    problem = make_problem(cell, case).cast(dtype)
    assert_agree(outputs(mapped(problem, layout)), outputs(problem), 0.0)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_narrower_floats_are_cast_up(backend, cell, dtype):
    problem = make_problem(cell, CASE).cast("float16")
    wide = problem.cast(dtype)
    narrow = replace(wide, x=problem.x, state=problem.state, dy=problem.dy, dstate=problem.dstate)
    assert_agree(outputs(narrow), outputs(wide), 0.0)


def test_lists_of_numbers_take_the_dtype(backend, dtype):
    problem = make_problem("lstm", CASE).cast(dtype)
    y, _, _ = rnn_forward(problem.cell, problem.params, problem.x.tolist())
    expected, _, _ = rnn_forward(problem.cell, problem.params, problem.x)
    assert y.dtype == dtype
    assert np.array_equal(y, expected)


@pytest.mark.parametrize("kind", ["int8", "int32", "int64", "uint8", "uint64"])
def test_lengths_of_every_integer_type(backend, kind):
    problem = make_problem("gru", RAGGED)
    y, _, _ = rnn_forward(problem.cell, problem.params, problem.x, None, problem.lengths.astype(kind))
    expected, _, _ = rnn_forward(problem.cell, problem.params, problem.x, None, problem.lengths)
    assert np.array_equal(y, expected)


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("case", [CASE, RAGGED, HOLES], ids=str)
@pytest.mark.parametrize("cell", ALL)
def test_nothing_of_the_callers_is_written_to(backend, cell, case, time_major):
    problem = make_problem(cell, case)
    if time_major:
        problem = turned(problem)
    passed = [problem.x, problem.dy, *problem.state, *problem.dstate, *problem.params.values()]
    passed += [problem.noise.mask, problem.noise.new_h, problem.noise.new_c]
    passed = [part for part in [*passed, problem.lengths, problem.mask, problem.dcells] if part is not None]
    copies = [array.copy() for array in passed]
    for _ in range(2):  # writable: an in-place write shows in the copies; read-only: it raises
        y, state, tape = rnn_forward(
            cell=problem.cell,
            params=problem.params,
            x=problem.x,
            state=as_state(problem.state),
            time_major=time_major,
            keep=True,
            **problem.options,
        )
        grads = {name: np.zeros_like(value) for name, value in problem.params.items()}
        dx, dstate = rnn_backward(tape, problem.dy, as_state(problem.dstate), grads=grads, dcells=problem.dcells)
        results = [y, dx, *as_parts(state), *as_parts(dstate)] + ([] if problem.dcells is None else [cells_of(tape)])
        for array, copy in zip(passed, copies, strict=True):
            assert np.array_equal(array, copy)
            array.flags.writeable = False
        for result in results:
            assert not any(np.may_share_memory(result, array) for array in passed)


def turned(problem: Problem) -> Problem:
    """The problem time-major."""

    def turn(part):
        return None if part is None else part.swapaxes(0, 1).copy()

    return replace(
        problem,
        x=turn(problem.x),
        dy=turn(problem.dy),
        mask=turn(problem.mask),
        dcells=turn(problem.dcells),
        noise=map_noise(lambda part: turn(part) if part.ndim == 3 else part, problem.noise),
    )


@pytest.mark.parametrize("case", [CASE, RAGGED, HOLES], ids=str)
@pytest.mark.parametrize("cell", ALL)
def test_results_are_the_callers(backend, cell, case):
    """Writing into the results of one call changes nothing in a second backward over the same tape."""
    p = make_problem(cell, case)
    _, state, tape = rnn_forward(p.cell, p.params, p.x, as_state(p.state), **p.options, keep=True)
    results = []
    for _ in range(2):
        grads = {name: np.zeros_like(value) for name, value in p.params.items()}
        dx, dstate = rnn_backward(tape, p.dy, as_state(p.dstate), grads=grads, dcells=p.dcells)
        results.append([array.copy() for array in (dx, *as_parts(dstate), *grads.values())])
        for array in (dx, *as_parts(dstate), *as_parts(state)):
            array[...] = np.nan
    for first, second in zip(*results, strict=True):
        assert np.array_equal(first, second)


@pytest.mark.parametrize("case", [CASE, RAGGED, HOLES], ids=str)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ALL)
def test_time_major_is_the_transpose(backend, cell, reverse, case):
    def run(p, time_major):
        def turn(a):
            return a.swapaxes(0, 1) if time_major else a

        options = {**p.options, "time_major": time_major, "keep": True}
        y, state, tape = rnn_forward(p.cell, p.params, p.x, as_state(p.state), **options)
        grads = {name: np.zeros_like(value) for name, value in p.params.items()}
        dx, dstate = rnn_backward(tape, p.dy, as_state(p.dstate), grads=grads, dcells=p.dcells)
        cells = [] if p.dcells is None else [turn(cells_of(tape))]
        return [turn(y), turn(dx), *cells, *as_parts(state), *as_parts(dstate), *grads.values()]

    problem = replace(make_problem(cell, case), reverse=reverse)
    for a, b in zip(run(problem, False), run(turned(problem), True), strict=True):
        assert np.array_equal(a, b)


def forward(problem: Problem, **changes):
    arguments = {"x": problem.x, "state": as_state(problem.state), "lengths": problem.lengths} | changes
    return rnn_forward(problem.cell, problem.params, **arguments)


NOT_FLOATS = [
    pytest.param(np.ones((3, 4, 5), np.int64), "int64", id="integers"),
    pytest.param(np.ones((3, 4, 5), np.complex128), "complex128", id="complex"),
    pytest.param(np.ones((3, 4, 5), bool), "bool", id="bool"),
    pytest.param(np.full((3, 4, 5), "1.0"), "<U3", id="text"),
    pytest.param(np.full((3, 4, 5), None), "object", id="objects"),
    pytest.param([[[1] * 5] * 4] * 3, "int64", id="list of integers"),
    pytest.param(None, "object", id="None"),
]


@pytest.mark.parametrize(("x", "got"), NOT_FLOATS)
def test_x_that_holds_no_floats(x, got):
    with pytest.raises(TypeError, match=rf"^x must hold floating-point numbers \(float64\), got {got}"):
        forward(make_problem("lstm", CASE), x=x)


def test_masked_arrays(backend):
    """One that hides nothing is an array; NumPy would show what another hides."""
    p = make_problem("lstm", CASE)
    assert np.array_equal(forward(p, x=np.ma.array(p.x))[0], forward(p)[0])
    with pytest.raises(ValueError, match=r"^x must be an array without a mask, got one that hides 20 elements"):
        forward(p, x=np.ma.array(p.x, mask=np.arange(3)[:, None, None] + np.zeros(p.x.shape) == 1))


def test_x_wider_than_the_parameters():
    problem = make_problem("lstm", CASE).cast("float32")
    with pytest.raises(TypeError, match=r"^x must be float32, got float64"):
        forward(problem, x=problem.x.astype("float64"))


@pytest.mark.parametrize("shape", [(3, 4, 6), (4, 5), (5,), (), (1, 3, 4, 5)])
def test_x_of_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"^x must have shape \(N, T, 5\), got " + str(shape).replace("(", r"\(")[:-1]):
        forward(make_problem("lstm", CASE), x=np.ones(shape))


def test_x_of_wrong_shape_time_major():
    with pytest.raises(ValueError, match=r"^x must have shape \(T, N, 5\), got \(4, 3, 6\)"):
        forward(make_problem("lstm", CASE), x=np.ones((4, 3, 6)), time_major=True)


@pytest.mark.parametrize(
    ("cell", "state", "error", "message"),
    [
        ("gru", np.ones((3, 8)), ValueError, r"^state must have shape \(3, 7\), got \(3, 8\)"),
        ("gru", np.ones((2, 7)), ValueError, r"^state must have shape \(3, 7\), got \(2, 7\)"),
        ("gru", np.ones(7), ValueError, r"^state must have shape \(3, 7\), got \(7,\)"),
        ("gru", np.ones((3, 7), int), TypeError, r"^state must hold floating-point numbers"),
        ("rnn_tanh", (np.ones((3, 7)),) * 2, ValueError, r"^state must have shape \(3, 7\), got \(2, 3, 7\)"),
        ("lstm", np.ones((3, 7)), ValueError, r"^state must be a tuple \(h, c\), got ndarray"),
        ("lstm", (np.ones((3, 7)),), ValueError, r"^state must be a tuple \(h, c\), got 1 values"),
        ("lstm", (np.ones((3, 7)),) * 3, ValueError, r"^state must be a tuple \(h, c\), got 3 values"),
        ("lstm", (np.ones((3, 7)), np.ones((3, 8))), ValueError, r"^state\[1\] \(c\) must have shape \(3, 7\)"),
        ("lstm", (np.ones((1, 7)), np.ones((3, 7))), ValueError, r"^state\[0\] \(h\) must have shape \(3, 7\)"),
        ("lstm", (np.ones((3, 7)), None), TypeError, r"^state\[1\] \(c\) must hold floating-point numbers"),
        ("lstm + projection", (np.ones((3, 7)),) * 2, ValueError, r"^state\[0\] \(h\) must have shape \(3, 4\)"),
        ("lstm + projection", (np.ones((3, 4)),) * 2, ValueError, r"^state\[1\] \(c\) must have shape \(3, 7\)"),
    ],
)
def test_state(cell, state, error, message):
    with pytest.raises(error, match=message):
        forward(make_problem(cell, CASE), state=state)
    problem = make_problem(cell, CASE)
    _, _, tape = forward(problem, keep=True)
    grads = {name: np.zeros_like(value) for name, value in problem.params.items()}
    with pytest.raises(error, match=message.replace("^state", "^dstate")):
        rnn_backward(tape, problem.dy, state, grads=grads)
    assert not any(np.any(grad) for grad in grads.values())


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([1.0, 2.0, 3.0], TypeError, r"^lengths must hold integers, got float64"),
        ([1.0, np.nan, 3.0], TypeError, r"^lengths must hold integers, got float64"),
        ([True, True, False], TypeError, r"^lengths must hold integers, got bool"),
        (["1", "2", "3"], TypeError, r"^lengths must hold integers"),
        ([1, 2], ValueError, r"^lengths must have shape \(3,\), got \(2,\)"),
        (4, ValueError, r"^lengths must have shape \(3,\), got \(\)"),
        ([[1], [2], [3]], ValueError, r"^lengths must have shape \(3,\), got \(3, 1\)"),
        ([1, 5, 3], ValueError, r"^lengths must lie in 0\.\.4, got 5 in row 1"),
        ([1, 2, -1], ValueError, r"^lengths must lie in 0\.\.4, got -1 in row 2"),
    ],
)
def test_lengths(lengths, error, message):
    with pytest.raises(error, match=message):
        forward(make_problem("lstm", CASE), lengths=lengths)


@pytest.mark.parametrize(
    ("dy", "error", "message"),
    [
        (np.ones((3, 4, 8)), ValueError, r"^dy must have shape \(3, 4, 7\), got \(3, 4, 8\)"),
        (np.ones((4, 3, 7)), ValueError, r"^dy must have shape \(3, 4, 7\), got \(4, 3, 7\)"),
        (np.ones((4, 7)), ValueError, r"^dy must have shape \(3, 4, 7\), got \(4, 7\)"),
        (np.ones((3, 4, 7), int), TypeError, r"^dy must hold floating-point numbers"),
        (np.ones((3, 4, 7), complex), TypeError, r"^dy must hold floating-point numbers"),
    ],
)
@pytest.mark.parametrize("case", [CASE, RAGGED], ids=str)
def test_dy(case, dy, error, message):
    problem = make_problem("gru", case)
    _, _, tape = forward(problem, keep=True)
    grads = {name: np.zeros_like(value) for name, value in problem.params.items()}
    with pytest.raises(error, match=message):
        rnn_backward(tape, dy, grads=grads)
    assert not any(np.any(grad) for grad in grads.values())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru", "gru_before"])
def test_extreme_numbers_in_one_row_stay_there(backend, cell, value, dtype):
    """Gates saturate without a warning, NaN comes through, other rows do not notice."""
    problem = make_problem(cell, CASE).cast(dtype)
    clean, _, _ = forward(problem)
    problem.x[1, 2, 0] = value
    with np.errstate(over="ignore", invalid="ignore"):
        y, _, _ = forward(problem)
    assert np.array_equal(y[[0, 2]], clean[[0, 2]])
    assert np.array_equal(y[1, :2], clean[1, :2])
    assert np.all(np.isnan(y[1, 2])) if np.isnan(value) else np.all(np.abs(y[1, 2]) <= 1)


def test_parameters_must_be_contiguous(backend):
    cell = CELLS["lstm"]
    params = {name: np.zeros(shape) for name, shape in cell.shapes(3, 4).items()}
    params["W"] = np.zeros((3, 32))[:, ::2]
    with pytest.raises(ValueError, match=r"params must be C- or Fortran-contiguous, got strides .* of W"):
        rnn_forward(cell, params, np.zeros((2, 5, 3)))


def test_peepholes_must_lie_by_rows(backend):
    problem = make_problem("lstm + diagonal", CASE)
    params = {**problem.params, "p": transposed(problem.params["p"])}
    with pytest.raises(ValueError, match=r"params must be C-contiguous, got strides .* of p"):
        rnn_forward(problem.cell, params, problem.x)


@pytest.mark.parametrize("case", [CASE, RAGGED], ids=str)
@pytest.mark.parametrize("name", ALL)
def test_matrices_may_lie_by_columns(backend, gemm, name, case, dtype):
    problem = make_problem(name, case).cast(dtype)
    params = {key: value if key == "p" else transposed(value) for key, value in problem.params.items()}
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    assert_agree(outputs(replace(problem, params=params)), outputs(problem), tolerance)


def test_an_empty_list_of_lengths_suits_no_rows(backend):
    y, _ = fastrnn.GRU(3, 4)(np.zeros((0, 5, 3), np.float32), lengths=[])
    assert y.shape == (0, 5, 4)
