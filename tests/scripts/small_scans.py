"""Run every kernel on small, odd sizes: something for a memory or undefined-behaviour checker.

Arrays have no slack behind them, so that a read or a write past an end is one past an allocation.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import fastrnn

sys.path.insert(0, str(Path(__file__).parents[1]))
from cases import CELL_NAMES, PAIRS, VARIANTS, Case, Problem, as_state, make_problem, outputs

from fastrnn import GRU, LSTM, Dense, Sequential, Session, SimpleRNN
from fastrnn.losses import SoftmaxCrossEntropy
from fastrnn.ops import rnn_backward, rnn_forward
from fastrnn.optim import SGD, Adam, AdamW, RMSprop
from fastrnn.training import train_step

UNITS, ROWS = (1, 7, 17, 33), (1, 3, 7)
T, D = 3, 5
IN_PARTS = ("lstm + zoneout", "gru + layer_norm", "gru_before + recurrent_dropout")
STREAMED = ({}, {"layer_norm": True, "zoneout": 0.1}, {"clip": 1.0, "activation": "elu", "trainable_state": True})


def cases() -> list[Case]:
    """Full, reverse and ragged batches of every size."""
    full = [Case(f"N{N} H{H}", N, T, D, H, reverse=H == 7) for N, H in itertools.product(ROWS, UNITS)]
    ragged = [Case(f"ragged H{H}", 7, T, D, H, lengths=(3, 1, 0, 2, 3, 3, 1)) for H in UNITS]
    packed = [Case(f"N45 H{H}", 45, T, D, H) for H in UNITS]
    unpacked = [Case(f"N{N} H131", N, T, D, 131) for N in (1, 3, 7)]
    narrow = Case("panels of many rows", 43, T, 193, 196)
    tape = Case("a tape that leaves L2", 80, 60, D, 40, lengths=tuple(60 - k % 30 for k in range(80)))
    return [*full, *ragged, *packed, *unpacked, narrow, tape, Case("no rows", 0, T, D, 7), Case("no steps", 3, 0, D, 7)]


def option_cases() -> list[Case]:
    """A few for every option: one row and several, whole vectors and parts of them, full, ragged and with holes."""
    return [
        Case("N1 H17", 1, T, D, 17),
        Case("N3 H33", 3, T, D, 33, reverse=True),
        Case("ragged H7", 7, T, D, 7, lengths=(3, 1, 0, 2, 3, 3, 1)),
        Case("holes H1", 4, T, D, 1, holes=True),
        Case("no steps", 3, 0, D, 7),
    ]


def scan(name: str, case: Case, dtype: str) -> None:
    """One scan, forward and backward, with matrices by rows and by columns."""
    problem = make_problem(name, case).cast(dtype)
    turned = {key: value if key == "p" else np.asfortranarray(value) for key, value in problem.params.items()}
    for params in (problem.params, turned):
        found = outputs(replace(problem, params=params))
        assert all(np.isfinite(array).all() for array in found.values()), (dtype, name, case)


def scan_in_parts(problem: Problem) -> None:
    """The same with checkpoints."""
    p = problem
    options = {"keep": True, "checkpoint": 1}
    y, _, tape = rnn_forward(p.cell, p.params, p.x, as_state(p.state), **p.options, **options)
    grads = {name: np.zeros_like(value) for name, value in p.params.items()}
    dx, _ = rnn_backward(tape, p.dy, as_state(p.dstate), grads=grads)
    assert len(tape.checkpoints) > 1
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()


def scan_in_place(problem: Problem) -> None:
    """The same, time-major: where lengths fall, y and dy are worked on where the caller has them."""
    p = problem
    x, dy = (np.ascontiguousarray(array.swapaxes(0, 1)) for array in (p.x, p.dy))
    options = {"lengths": p.lengths, "time_major": True}
    inferred, _, _ = rnn_forward(p.cell, p.params, x, as_state(p.state), **options)
    y, _, tape = rnn_forward(p.cell, p.params, x, as_state(p.state), **options, keep=True)
    grads = {name: np.zeros_like(value) for name, value in p.params.items()}
    dx, _ = rnn_backward(tape, dy, as_state(p.dstate), grads=grads)
    assert np.array_equal(inferred, y)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()


def train(dtype: str, H: int) -> None:
    """Two updates with every optimiser: the kernels over flat arrays."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, T, D)).astype(dtype)
    targets = rng.integers(0, H, (3, T))
    for optimizer in (SGD(0.1), SGD(0.1, momentum=0.9), RMSprop(0.01), Adam(0.01), AdamW(0.01)):
        model = Sequential([LSTM(D, H, dtype=dtype, seed=0), Dense(H, H, dtype=dtype, seed=1)])
        for _ in range(2):
            value, _ = train_step(model, SoftmaxCrossEntropy(), optimizer, x, targets, None, clip_norm=1.0)
            assert np.isfinite(value)


def stream(dtype: str, N: int, H: int) -> None:
    """Sessions of every layer, some steps long."""
    x = np.random.default_rng(0).normal(size=(N, T, D)).astype(dtype)
    layers = [kind(D, H, dtype=dtype, **options) for kind in (SimpleRNN, LSTM, GRU) for options in STREAMED]
    peeping = [LSTM(D, H, peephole=kind, coupled=True, dtype=dtype) for kind in ("diagonal", "full")]
    for layer in [*layers, *peeping, GRU(D, H, reset_after=False, dtype=dtype)]:
        session = Session(layer, N)
        for t in range(T):
            assert np.isfinite(session.step(x[:, t])).all()


def main() -> None:
    """Run them, and check that all results are numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    arguments = parser.parse_args()
    fastrnn.set_backend("cython")
    count = 2 * len(PAIRS)
    for name in PAIRS:
        scan(name, Case("pair", 3, T, D, 9, lengths=(3, 0, 2)), "float32")
    for threads, gemm, dtype in itertools.product(arguments.threads, ("simd", "blas"), ("float32", "float64")):
        fastrnn.set_num_threads(threads)
        fastrnn.set_gemm(gemm)
        scans = [*itertools.product(CELL_NAMES, cases()), *itertools.product(VARIANTS, option_cases())]
        for name, case in scans:
            scan(name, case, dtype)
        for name in IN_PARTS:
            scan_in_parts(make_problem(name, Case("parts", 700, 2, 1, 33)).cast(dtype))
        in_place = [*itertools.product(CELL_NAMES, UNITS)]
        for name, H in in_place:
            scan_in_place(make_problem(name, Case("falling", 7, T, D, H, lengths=(3, 3, 3, 2, 1, 1, 0))).cast(dtype))
        count += 2 * len(scans) + len(IN_PARTS) + len(in_place)
        for H in UNITS:
            train(dtype, H)
        for N, H in itertools.product(ROWS, UNITS):
            stream(dtype, N, H)
    print(f"{count} scans on {fastrnn.get_isa()}")


if __name__ == "__main__":
    main()
