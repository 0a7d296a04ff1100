"""Tapes of so many megabytes that their gates are written past the caches: what smaller batches leave, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from cases import Case, make_problem

import fastrnn
from fastrnn.ops import rnn_forward


@pytest.mark.usefixtures("simd", "isa", "threads")
@pytest.mark.parametrize("H", [128, 136, 130])  # whole registers of every type, of some, of none
@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_before"])
def test_gates_are_those_of_smaller_batches(cell, H, dtype):
    fastrnn.set_num_threads(2)
    N, T = 160, 40
    p = make_problem(cell, Case("large", N, T, 3, H)).cast(dtype)
    whole = rnn_forward(p.cell, p.params, p.x, keep=True)[2].trace.gates
    gates = whole.reshape(T, N, -1)
    assert gates.nbytes > 8 << 20
    for rows in (slice(0, 20), slice(20, 40), slice(150, 160)):
        part = rnn_forward(p.cell, p.params, p.x[rows], keep=True)[2].trace.gates
        assert np.array_equal(gates[:, rows], part.reshape(T, rows.stop - rows.start, -1))
