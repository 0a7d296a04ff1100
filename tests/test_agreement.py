"""Every backend computes what the reference computes: every array, every cell, every case."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from cases import (
    CASES,
    CELL_NAMES,
    LARGE_CASES,
    PAIRS,
    TOLERANCES,
    VARIANTS,
    Case,
    Problem,
    as_state,
    assert_agree,
    make_problem,
    outputs,
    scaled_error,
)

import fastrnn
from fastrnn import backend as backends
from fastrnn import reference
from fastrnn.cells import Cell
from fastrnn.ops import rnn_backward, rnn_forward


def reference_outputs(problem: Problem) -> dict[str, np.ndarray]:
    with fastrnn.use_backend("numpy"):
        return outputs(problem.cast("float64"))


def check(cell: str, case: Case, dtype: str) -> None:
    problem = make_problem(cell, case).cast(dtype)
    got = outputs(problem)
    assert {array.dtype for array in got.values()} == {np.dtype(dtype)}
    assert_agree(got, reference_outputs(problem), TOLERANCES["agreement", dtype])


@pytest.mark.usefixtures("compiled", "isa", "gemm")
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_compiled_backend(cell, case, dtype):
    check(cell, case, dtype)


@pytest.mark.usefixtures("compiled", "isa", "gemm")
@pytest.mark.parametrize("case", LARGE_CASES, ids=str)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_compiled_backend_beyond_its_tiles(cell, case, dtype):
    check(cell, case, dtype)


MIDDLE_CASES = (
    Case("middle, ragged", 9, 7, 6, 19, lengths=(7, 3, 0, 7, 5, 1, 7, 6, 2)),
    Case("middle, reverse, holes", 6, 5, 9, 34, holes=True, reverse=True),
)
LARGE_OPTION_CASES = (
    Case("N20 T12 D40 H130", 20, 12, 40, 130),
    Case("N20 T70 D3 H65, ragged", 20, 70, 3, 65, lengths=tuple(0 if n == 7 else 70 - 3 * n for n in range(20))),
    Case("N1 T530 D3 H33, reverse", 1, 530, 3, 33, reverse=True),
)


@pytest.fixture
def choices(compiled: None) -> Iterator[list[tuple[str, str, str]]]:
    """Every instruction set, way to multiply and dtype; one test walks over them, so as to have one reference."""
    before = fastrnn.get_isa(), fastrnn.get_gemm()
    yield list(product(fastrnn.available_isas(), ("simd", "blas"), ("float32", "float64")))
    fastrnn.set_isa(before[0])
    fastrnn.set_gemm(before[1])


def check_choices(choices: list[tuple[str, str, str]], problem: Problem) -> None:
    """Agreement with one reference in float64 on all choices."""
    expected = reference_outputs(problem)
    for isa, gemm, dtype in choices:
        fastrnn.set_isa(isa)
        fastrnn.set_gemm(gemm)
        got = outputs(problem.cast(dtype))
        assert {array.dtype for array in got.values()} == {np.dtype(dtype)}
        try:
            assert_agree(got, expected, TOLERANCES["agreement", dtype])
        except AssertionError as error:
            raise AssertionError(f"{isa}, {gemm}, {dtype}: {error}") from None


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_options(variant, case, choices):
    check_choices(choices, make_problem(variant, case))


@pytest.mark.parametrize("case", MIDDLE_CASES, ids=str)
@pytest.mark.parametrize("variant", PAIRS)
def test_pairs_of_options(variant, case, choices):
    check_choices(choices, make_problem(variant, case))


@pytest.mark.parametrize("case", LARGE_OPTION_CASES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_options_beyond_the_tiles(variant, case, choices):
    """The packed kernels on every instruction set, products by BLAS on one."""
    chosen = [(isa, gemm, dtype) for isa, gemm, dtype in choices if gemm == "simd" or isa == choices[0][0]]
    check_choices(chosen, make_problem(variant, case))


def changed(cell: Cell) -> Iterator[Cell]:
    """The cell with one of its options taken away, for each that leaves the parameters as they are."""
    plain = Cell(cell.kind, peephole=cell.peephole, coupled=cell.coupled, proj_size=cell.proj_size)
    for field in ("activation", "recurrent_activation", "output_activation", "clip", "zoneout"):
        if getattr(cell, field) != getattr(plain, field):
            yield replace(cell, **{field: getattr(plain, field)})


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("variant", [name for name in VARIANTS if "functions" in name or "clip" in name])
def test_control_an_option_taken_away_is_seen(variant):
    problem = make_problem(variant, MIDDLE_CASES[0])
    expected, cells = reference_outputs(problem), list(changed(problem.cell))
    assert cells
    for cell in cells:
        with pytest.raises(AssertionError, match="beyond"):
            assert_agree(outputs(replace(problem, cell=cell)), expected, 1e-3)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("variant", [name for name in VARIANTS if "dropout" in name or "zoneout" in name])
def test_control_noise_taken_away_is_seen(variant):
    problem = make_problem(variant, MIDDLE_CASES[0])
    expected = reference_outputs(problem)
    for name in ("mask", "new_h", "new_c"):
        if (value := getattr(problem.noise, name)) is not None:
            without = replace(problem, noise=replace(problem.noise, **{name: np.ones_like(value)}))
            with pytest.raises(AssertionError, match="beyond"):
                assert_agree(outputs(without), expected, 1e-3)


@pytest.mark.parametrize("case", (*CASES, *LARGE_CASES), ids=str)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_reference_in_float32(cell, case):
    with fastrnn.use_backend("numpy"):
        check(cell, case, "float32")


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_inference_equals_the_forward_of_training(backend, cell, dtype):
    problem = make_problem(cell, Case("ragged", 9, 6, 5, 33, lengths=(4, 6, 1, 6, 3, 0, 6, 5, 2))).cast(dtype)
    got = outputs(problem)
    for name in ("y", *problem.cell.states):
        assert np.array_equal(got[f"inferred_{name}"], got[name])


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_gradients_are_added_to_what_is_there(backend, cell):
    problem = make_problem(cell, Case("small", 3, 4, 5, 7))
    expected = outputs(problem)
    _, _, tape = rnn_forward(problem.cell, problem.params, problem.x, as_state(problem.state), keep=True)
    grads = {name: np.full_like(value, 3.0) for name, value in problem.params.items()}
    rnn_backward(tape, problem.dy, as_state(problem.dstate), grads=grads)
    for name, grad in grads.items():
        assert scaled_error(grad - 3.0, expected[f"d{name}"]) <= TOLERANCES["agreement", "float64"]


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_what_backward_is_not_given_counts_as_zero(backend, cell):
    problem = make_problem(cell, Case("ragged", 3, 4, 5, 7, lengths=(2, 4, 3)))
    forward = (problem.cell, problem.params, problem.x, as_state(problem.state), problem.lengths)
    zeros = as_state(tuple(map(np.zeros_like, problem.dstate)))

    def gradients(dy, dstate):
        _, _, tape = rnn_forward(*forward, keep=True)
        grads = {name: np.zeros_like(value) for name, value in problem.params.items()}
        dx, d0 = rnn_backward(tape, dy, dstate, grads=grads)
        return [dx, *(d0 if isinstance(d0, tuple) else (d0,)), *grads.values()]

    pairs = [
        (gradients(None, as_state(problem.dstate)), gradients(np.zeros_like(problem.dy), as_state(problem.dstate))),
        (gradients(problem.dy, None), gradients(problem.dy, zeros)),
    ]
    for without, with_zeros in pairs:
        assert any(np.any(array) for array in without)
        for a, b in zip(without, with_zeros, strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_leaving_dx_out_changes_nothing_else(backend, cell):
    problem = make_problem(cell, Case("small", 3, 4, 5, 7))
    expected = outputs(problem)
    _, _, tape = rnn_forward(problem.cell, problem.params, problem.x, as_state(problem.state), keep=True)
    grads = {name: np.zeros_like(value) for name, value in problem.params.items()}
    dx, _ = rnn_backward(tape, problem.dy, as_state(problem.dstate), grads=grads, input_gradient=False)
    assert dx is None
    for name, grad in grads.items():
        assert np.array_equal(grad, expected[f"d{name}"])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_padding_reaches_nothing(backend, cell, reverse):
    problem = make_problem(cell, Case("ragged", 4, 5, 3, 17, lengths=(3, 5, 0, 1), reverse=reverse))
    clean = outputs(problem)
    padding = np.arange(5) >= problem.lengths[:, None]
    problem.x[padding] = np.nan
    problem.dy[padding] = np.inf
    dirty = outputs(problem)
    for name, array in clean.items():
        assert np.array_equal(dirty[name], array), name
    assert np.all(dirty["y"][padding] == 0)
    assert np.all(dirty["dx"][padding] == 0)
    assert np.array_equal(dirty["h"][2], problem.state[0][2])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_a_ragged_row_is_that_sequence_alone(backend, cell, reverse):
    problem = make_problem(cell, Case("ragged", 4, 5, 3, 17, lengths=(3, 5, 0, 1), reverse=reverse))
    batch = outputs(problem)
    for n, length in enumerate(problem.lengths):
        y, state, _ = rnn_forward(
            problem.cell,
            problem.params,
            problem.x[n : n + 1, :length],
            as_state(tuple(part[n : n + 1] for part in problem.state)),
            reverse=reverse,
        )
        assert scaled_error(batch["y"][n : n + 1, :length], y) <= TOLERANCES["agreement", "float64"]
        for name, part in zip(problem.cell.states, state if isinstance(state, tuple) else (state,), strict=True):
            assert scaled_error(batch[name][n : n + 1], part) <= TOLERANCES["agreement", "float64"]


def test_backends_have_equal_signatures():
    for name in backends.available_backends():
        module = backends._MODULES[name]
        for function in ("forward", "backward"):
            expected = list(inspect.signature(getattr(reference, function)).parameters)
            assert list(inspect.signature(getattr(module, function)).parameters) == expected


@pytest.mark.parametrize("name", ["y", "h", "dx", "dh0", "dW", "dU", "db", "db_rec"])
def test_control_a_deviation_is_seen(name):
    expected = reference_outputs(make_problem("gru", CASES[0]))
    deviating = expected | {name: expected[name].copy()}
    deviating[name].flat[-1] += 1e-10
    assert_agree(expected, expected, 0.0)
    with pytest.raises(AssertionError, match=f"beyond .*'{name}'"):
        assert_agree(deviating, expected, TOLERANCES["agreement", "float64"])
    deviating[name].flat[-1] = np.nan
    with pytest.raises(AssertionError, match=f"beyond .*'{name}'"):
        assert_agree(deviating, expected, TOLERANCES["agreement", "float64"])
