"""Rows that come packed, in PyTorch's order: the same as a ragged batch, without its padding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import VARIANTS, Case, Problem, as_parts, as_state, make_problem

from fastrnn.ops import cells_of, rnn_backward, rnn_forward

LENGTHS = np.array([7, 7, 5, 3, 1])
SIZES = (LENGTHS[:, None] > np.arange(7)).sum(axis=0)
CASE = Case("packed", 5, 7, 3, 9, lengths=tuple(LENGTHS.tolist()))
CELLS = ("rnn_tanh", "lstm", "gru", "gru_before")


def packed(a: np.ndarray) -> np.ndarray:
    """(N, T, .) -> (R, .): the rows of time 0, of time 1, ..."""
    return np.concatenate([a[:n, t] for t, n in enumerate(SIZES)])


def padded(rows: np.ndarray) -> np.ndarray:
    a = np.zeros((5, 7, rows.shape[1]), rows.dtype)
    first = 0
    for t, n in enumerate(SIZES):
        a[:n, t] = rows[first : first + n]
        first += n
    return a


def run(p: Problem, pack, **options):
    """Everything that a scan gives, (N, T, .) or (R, .)."""
    noise = replace(
        p.noise,
        **{
            key: pack(value)
            for key in ("new_h", "new_c")
            if (value := getattr(p.noise, key)) is not None and value.ndim == 3
        },
    )
    options |= {"reverse": p.reverse, "noise": noise}
    inferred, _, _ = rnn_forward(p.cell, p.params, pack(p.x), as_state(p.state), **options)
    y, state, tape = rnn_forward(p.cell, p.params, pack(p.x), as_state(p.state), **options, keep=True)
    grads = {key: np.zeros_like(value) for key, value in p.params.items()}
    dcells = None if p.dcells is None else pack(p.dcells)
    dx, dstate = rnn_backward(tape, pack(p.dy), as_state(p.dstate), grads=grads, dcells=dcells)
    rows = [inferred, y, dx] + ([] if dcells is None else [cells_of(tape)])
    return rows, [*as_parts(state), *as_parts(dstate), *grads.values()]


@pytest.mark.parametrize(
    ("name", "reverse"),
    [(name, reverse) for name in (*CELLS, *VARIANTS) for reverse in (False, True)],
)
def test_packed_rows_are_the_ragged_batch(backend, name, reverse, dtype):
    """Bit for bit: the order inside is the same, as the sequences already come by falling length."""
    p = replace(make_problem(name, CASE), reverse=reverse).cast(dtype)
    rows, rest = run(p, packed, batch_sizes=SIZES)
    expected_rows, expected_rest = run(p, lambda a: a, lengths=LENGTHS)
    for got, expected in zip(rows, expected_rows, strict=True):
        assert got.shape == (SIZES.sum(), expected.shape[2])
        assert np.array_equal(padded(got), expected)
    for got, expected in zip(rest, expected_rest, strict=True):
        assert np.array_equal(got, expected)


def test_no_rows(backend):
    p = make_problem("lstm", CASE)
    y, (h, c), tape = rnn_forward(p.cell, p.params, np.zeros((0, 3)), batch_sizes=np.array([], int), keep=True)
    grads = {key: np.zeros_like(value) for key, value in p.params.items()}
    dx, (dh, dc) = rnn_backward(tape, np.zeros((0, 9)), grads=grads)
    assert [a.shape for a in (y, h, c, dx, dh, dc)] == [(0, 9), (0, 9), (0, 9), (0, 3), (0, 9), (0, 9)]
    assert not any(np.any(grad) for grad in grads.values())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"batch_sizes": SIZES, "lengths": LENGTHS},
            ValueError,
            "^batch_sizes must not be given together with lengths",
        ),
        ({"batch_sizes": SIZES, "mask": np.ones((5, 7), bool)}, ValueError, "^batch_sizes must not be given together"),
        ({"batch_sizes": SIZES.astype(float)}, TypeError, "^batch_sizes must hold integers, got float64"),
        ({"batch_sizes": [22, 0, 1]}, ValueError, "^batch_sizes must be positive and never grow"),
        ({"batch_sizes": [11, 12]}, ValueError, "^batch_sizes must be positive and never grow"),
        ({"batch_sizes": [[23]]}, ValueError, "^batch_sizes must be positive and never grow"),
        ({"batch_sizes": [24, -1]}, ValueError, "^batch_sizes must be positive and never grow"),
        ({"batch_sizes": [12, 12]}, ValueError, "^batch_sizes must add up to the 23 rows of x, got 24"),
    ],
)
def test_wrong_batch_sizes(options, error, message):
    p = make_problem("gru", CASE)
    assert len(packed(p.x)) == 23
    with pytest.raises(error, match=message):
        rnn_forward(p.cell, p.params, packed(p.x), **options)


def test_x_and_dy_of_wrong_shape():
    p = make_problem("gru", CASE)
    with pytest.raises(ValueError, match=r"^x must have shape \(R, 3\), got \(5, 7, 3\)"):
        rnn_forward(p.cell, p.params, p.x, batch_sizes=SIZES)
    _, _, tape = rnn_forward(p.cell, p.params, packed(p.x), batch_sizes=SIZES, keep=True)
    grads = {key: np.zeros_like(value) for key, value in p.params.items()}
    with pytest.raises(ValueError, match=r"^dy must have shape \(23, 9\), got \(5, 7, 9\)"):
        rnn_backward(tape, p.dy, grads=grads)
