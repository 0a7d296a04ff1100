"""Every backend computes what the reference computes: every array, every cell, every case."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from cases import (
    CASES,
    CELL_NAMES,
    LARGE_CASES,
    TOLERANCES,
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
