"""Gradients that are written over what was there, whatever it was: those that are added to zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CELL_NAMES, VARIANTS, Case, Problem, as_state, make_problem

import fastrnn
from fastrnn import LSTM, Dense, Embedding, Sequential
from fastrnn.cells import CELLS
from fastrnn.lookup import Lookup
from fastrnn.ops import rnn_backward, rnn_forward
from fastrnn.params import Params

CHUNKS = Case("N60 T30 H40", 60, 30, 33, 40)  # several of time; products that AMX takes
CASES = (
    Case("small", 3, 4, 5, 7),
    Case("ragged", 5, 6, 4, 17, lengths=(0, 6, 2, 3, 1)),
    Case("no step", 3, 0, 4, 17),
    Case("no step is valid", 3, 4, 4, 17, lengths=(0, 0, 0)),
    CHUNKS,
)


def gradients(p: Problem, add: bool, fill: float, **options: Any) -> dict[str, np.ndarray]:
    """All that a backward pass gives, where grads hold ``fill`` before."""
    _, _, tape = rnn_forward(p.cell, p.params, p.x, as_state(p.state), **p.options, keep=True, **options)
    grads = {name: np.full_like(value, fill) for name, value in p.params.items()}
    dx, _ = rnn_backward(tape, p.dy, as_state(p.dstate), grads=grads, add=add)
    return grads | {"dx": dx}


def same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert [name for name in expected if not np.array_equal(got[name], expected[name])] == []


@pytest.mark.usefixtures("compiled", "isa", "gemm")
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("name", (*CELL_NAMES, *VARIANTS))
def test_written_over(name, case, dtype):
    problem = make_problem(name, case).cast(dtype)
    same(gradients(problem, False, np.nan), gradients(problem, True, 0))


@pytest.mark.parametrize("name", CELL_NAMES)
def test_on_every_backend(backend, name):
    problem = make_problem(name, CASES[1])
    same(gradients(problem, False, np.nan), gradients(problem, True, 0))


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("matrices", "CF")
def test_as_other_programs_have_matrices(matrices, threads):
    """Transposed, one of them, and with threads that share them."""
    fastrnn.set_num_threads(2)
    problem = make_problem("gru", CHUNKS).cast("float32")
    expected = gradients(problem, True, 0)
    for name in ("W", "U"):
        problem.params[name] = np.asarray(problem.params[name], order="F" if name == "U" else matrices)
    for name, value in gradients(problem, False, np.nan).items():
        assert np.allclose(value, expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CELL_NAMES)
def test_the_parts_between_checkpoints_add_up(backend, name):
    problem = make_problem(name, CHUNKS)
    same(gradients(problem, False, np.nan, checkpoint=3), gradients(problem, True, 0, checkpoint=3))


def test_those_of_a_table(backend):
    rng = np.random.default_rng(0)
    x = Lookup(rng.standard_normal((4, 5)), rng.integers(0, 4, (6, 9)))
    params = Params.zeros(CELLS["gru"].shapes(5, 17), "float64")
    params.flat[...] = rng.standard_normal(params.flat.size)
    _, _, tape = rnn_forward(CELLS["gru"], params, x, keep=True)

    def found(add: bool, fill: float) -> dict[str, np.ndarray]:
        grads = {name: np.full_like(value, fill) for name, value in params.items()}
        dx, _ = rnn_backward(tape, np.ones((6, 9, 17)), grads=grads, add=add)
        return grads | {"dx": dx}

    same(found(False, np.nan), found(True, 0))


def test_a_layers_gradients_hold_nothing_else(backend, monkeypatch):
    """The memory that layers are given for them may hold anything; between two parameters there are zeros."""
    empty = fastrnn.backend.current().empty

    def dirty(shape, dtype):
        array = empty(shape, dtype)
        array.fill(np.nan)
        return array

    model = Sequential(
        [Embedding(7, 5, seed=0), LSTM(5, 9, trainable_state=True, weight_drop=0.3, seed=1), Dense(9, 3, seed=2)]
    )
    codes = np.arange(12).reshape(2, 6) % 7
    state = [None, (np.ones((2, 9), "float32"), np.ones((2, 9), "float32")), None]

    def gradient(state: Any) -> np.ndarray:
        y, _, tape = model.forward(codes, state, rng=np.random.default_rng(3))
        return model.backward(tape, np.ones_like(y))[2].flat

    for given in (None, state):
        expected = gradient(given).copy()
        with monkeypatch.context() as patch:
            patch.setattr(fastrnn.backend.current(), "empty", dirty)
            assert np.array_equal(gradient(given), expected)
        assert np.isfinite(expected).all()
        assert np.any(expected)
