"""Scans that keep some states only and run their steps again: the same gradients, of far fewer numbers kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import TOLERANCES, VARIANTS, Case, Problem, as_parts, as_state, make_problem, scaled_error

import fastrnn
from fastrnn import GRU, LSTM, SimpleRNN
from fastrnn.ops import Tape, rnn_backward, rnn_forward

CELLS = ("rnn_tanh", "lstm", "gru", "gru_before")
NAMES = [name for name in (*CELLS, *VARIANTS) if name != "lstm + cells"]
CASE = Case("N250 T64 H17", 250, 64, 3, 17)  # of three chunks of time at least, the first shorter than the others
CASES = (
    CASE,
    replace(CASE, name="ragged", lengths=tuple(0 if n == 7 else 64 - n // 5 for n in range(250))),
    replace(CASE, name="reverse", reverse=True),
)


def run(p: Problem, checkpoint: int, dy: bool = True) -> tuple[dict[str, np.ndarray], Tape]:
    y, state, tape = rnn_forward(
        p.cell, p.params, p.x, as_state(p.state), **p.options, keep=True, checkpoint=checkpoint
    )
    grads = {name: np.zeros_like(value) for name, value in p.params.items()}
    dx, dstate = rnn_backward(tape, p.dy if dy else None, as_state(p.dstate), grads=grads)
    found = {"y": y, "dx": dx, **grads}
    for name, final, initial in zip(p.cell.states, as_parts(state), as_parts(dstate), strict=True):
        found |= {name: final, f"d{name}0": initial}
    return found, tape


def same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert got.keys() == expected.keys()
    assert not [name for name in got if not np.array_equal(got[name], expected[name])]


def parts_of(tape: Tape, checkpoint: int) -> int:
    """In how many parts a scan falls that keeps the state of every so many steps, in whole chunks of the backend."""
    D, H = tape.x.shape[1], tape.params["b"].shape[0] // len(tape.cell.gates)
    unit = tape.module.chunk_steps(tape.cell, tape.order.N, D, H, tape.x.dtype)
    return -(-64 // (-(-checkpoint // unit) * unit))


def kept(tape: Tape) -> int:
    """Numbers that a tape keeps of its scan besides x and y."""
    arrays = [getattr(tape.trace, name) for name in ("c", "gates", "c_new", "x_hat", "u_hat", "x_scale", "u_scale")]
    arrays += [point.c for point in tape.checkpoints]
    return sum(array.size for array in arrays if array is not None)


@pytest.mark.usefixtures("simd")
@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name in NAMES for case in (CASES if name in CELLS else CASES[1:2])], ids=str
)
def test_the_same_bits(name, case):
    problem = make_problem(name, case).cast("float32")
    expected, whole = run(problem, 0)
    assert not whole.checkpoints
    for checkpoint in (1, 35, 1000):
        found, tape = run(problem, checkpoint)
        same(found, expected)
        assert len(tape.checkpoints) == parts_of(tape, checkpoint)
        assert checkpoint > 1 or len(tape.checkpoints) >= 3


@pytest.mark.usefixtures("simd")
@pytest.mark.parametrize("name", CELLS)
def test_the_same_bits_in_float64_and_without_dy(name):
    problem = make_problem(name, CASES[1])
    for dy in (True, False):
        same(run(problem, 5, dy)[0], run(problem, 0, dy)[0])


@pytest.mark.usefixtures("simd")
@pytest.mark.parametrize("name", CELLS)
def test_any_number_of_threads(name, threads):
    problem = make_problem(name, CASES[1]).cast("float32")
    fastrnn.set_num_threads(1)
    expected, _ = run(problem, 5)
    for n in (2, 3):
        fastrnn.set_num_threads(n)
        same(run(problem, 5)[0], expected)


def check_agreement(problem: Problem, checkpoint: int) -> None:
    expected, _ = run(problem, 0)
    found, _ = run(problem, checkpoint)
    for key, array in expected.items():
        assert scaled_error(found[key], array) <= TOLERANCES["agreement", "float64"], key


@pytest.mark.usefixtures("compiled", "gemm")
@pytest.mark.parametrize("name", CELLS)
def test_agreement_by_any_products(name):
    """Through BLAS sums may take another order."""
    check_agreement(make_problem(name, CASES[1]), 1)


@pytest.mark.parametrize(
    "case", (Case("N4 T9 H5", 4, 9, 3, 5), Case("ragged", 4, 9, 3, 5, lengths=(8, 0, 3, 7))), ids=str
)
@pytest.mark.parametrize("name", NAMES)
def test_agreement_of_the_reference(name, case):
    with fastrnn.use_backend("numpy"):
        check_agreement(make_problem(name, case), 2)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "rnn_tanh"])
def test_less_is_kept(name):
    problem = make_problem(name, CASE)
    assert kept(run(problem, 1)[1]) <= 0.1 * kept(run(problem, 0)[1])


def test_holes_and_nothing_at_all(backend):
    for case in (Case("holes", 5, 9, 3, 7, holes=True), Case("no steps", 3, 0, 3, 7), Case("no rows", 0, 4, 3, 7)):
        problem = make_problem("lstm", case)
        expected, _ = run(problem, 0)
        for key, array in run(problem, 2)[0].items():
            assert scaled_error(array, expected[key]) <= TOLERANCES["agreement", "float64"]


def test_only_zero_lengths(backend):
    problem = replace(make_problem("lstm", Case("N3 T4", 3, 4, 2, 5)), lengths=np.zeros(3, int))
    same(run(problem, 1)[0], run(problem, 0)[0])


@pytest.mark.usefixtures("compiled")
def test_a_tape_may_be_used_again():
    problem = make_problem("gru", CASE)
    _, _, tape = rnn_forward(problem.cell, problem.params, problem.x, keep=True, checkpoint=1)
    found = []
    for _ in range(2):
        grads = {name: np.zeros_like(value) for name, value in problem.params.items()}
        dx, dstate = rnn_backward(tape, problem.dy, grads=grads)
        found.append({"dx": dx, "dstate": dstate, **grads})
    same(*found)


# ---------------------------------------------------------------------------------------------------------------------
# Layers


def trained(layer: Any, checkpoint: Any, **options: Any) -> dict[str, np.ndarray]:
    """One training pass; noise from a generator of one seed."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(250, 64, layer.input_size)).astype(layer.dtype)
    dy = rng.normal(size=(250, 64, layer.output_size)).astype(layer.dtype)
    y, state, tape = layer.forward(x, rng=np.random.default_rng(1), checkpoint=checkpoint, **options)
    dx, dstate, grads = layer.backward(tape, dy)
    ends = {f"state {k}": part for k, part in enumerate((*as_parts(state), *as_parts(dstate)))}
    return {"y": y, "dx": dx, **ends, **dict(grads)}


LAYERS = {
    "SimpleRNN": lambda **more: SimpleRNN(3, 17, **more, recurrent_dropout=0.2, trainable_state=True, seed=0),
    "LSTM": lambda **more: LSTM(3, 17, **more, zoneout=(0.3, 0.2), weight_drop=0.3, peephole="full", seed=0),
    "GRU": lambda **more: GRU(3, 17, **more, layer_norm=True, zoneout=0.2, seed=0),
}


@pytest.mark.usefixtures("simd")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_give_the_same_bits(name, reverse):
    layer = LAYERS[name](reverse=reverse)
    lengths = np.arange(250) % 33 * 2
    for options in ({}, {"lengths": lengths}, {"mask": np.random.default_rng(2).random((250, 64)) < 0.7}):
        same(trained(layer, True, **options), trained(layer, False, **options))


@pytest.mark.usefixtures("compiled")
def test_true_keeps_about_the_square_root_of_the_steps():
    layer = LSTM(3, 33, seed=0)
    _, _, tape = layer.forward(np.zeros((1000, 81, 3), np.float32), checkpoint=True)
    assert len(tape.record.tape.checkpoints) == 9


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1, ValueError, "^checkpoint must be at least 0, got -1"),
        (1.5, TypeError, "^checkpoint must be an integer, got 1.5"),
        ("yes", TypeError, "^checkpoint must be an integer, got 'yes'"),
    ],
)
def test_wrong_checkpoints(value, error, message):
    with pytest.raises(error, match=message):
        GRU(3, 4).forward(np.zeros((2, 5, 3), np.float32), checkpoint=value)
