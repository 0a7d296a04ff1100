"""Masks with holes, Keras's meaning: a skipped step keeps the state and shows the output before it.

The meaning in one sentence: the valid steps of a row, alone and one after another, are the scan; what a skipped step
shows is the latest valid output in the scan's order, zeros before the first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import (
    TOLERANCES,
    VARIANTS,
    Case,
    Problem,
    as_state,
    make_problem,
    map_noise,
    outputs,
    scaled_error,
)

from fastrnn.ops import rnn_forward

CASE = Case("holes", 6, 7, 3, 9, holes=True)
EXACT = TOLERANCES["agreement", "float64"]
CELLS = ("rnn_tanh", "lstm", "gru", "gru_before")
NAMES = (*CELLS, *VARIANTS)


def problem_of(name: str, reverse: bool = False, dtype: str = "float64") -> Problem:
    return make_problem(name, replace(CASE, reverse=reverse)).cast(dtype)


def latest(valid: np.ndarray, reverse: bool) -> list[int]:
    """For every step of one row, which valid one it shows; -1 for none. The plain loop."""
    shown, last = [-1] * len(valid), -1
    for t in reversed(range(len(valid))) if reverse else range(len(valid)):
        last = t if valid[t] else last
        shown[t] = last
    return shown


def row_alone(problem: Problem, n: int) -> Problem:
    """Row n's valid steps as a batch of their own; its dy gathers what is shown of each output."""
    valid = problem.mask[n]

    def cut(part):
        return (
            part if len(part) == 1 and part.ndim == 2 else part[n : n + 1, valid] if part.ndim == 3 else part[n : n + 1]
        )

    def gathered(d):
        total = np.zeros_like(d[n])
        for t, s in enumerate(latest(valid, problem.reverse)):
            if s >= 0:
                total[s] += d[n, t]
        return total[None, valid]

    return replace(
        problem,
        x=problem.x[n : n + 1, valid],
        state=tuple(part[n : n + 1] for part in problem.state),
        dy=gathered(problem.dy),
        dstate=tuple(part[n : n + 1] for part in problem.dstate),
        mask=None,
        noise=map_noise(cut, problem.noise),
        dcells=None if problem.dcells is None else gathered(problem.dcells),
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_its_valid_steps_alone(backend, name, reverse):
    problem = problem_of(name, reverse)
    whole = outputs(problem)
    totals = {f"d{key}": np.zeros_like(value) for key, value in problem.params.items()}
    for n in range(CASE.N):
        alone, valid = outputs(row_alone(problem, n)), problem.mask[n]
        shown = np.array(latest(valid, problem.reverse))
        place = np.cumsum(valid) - 1  # step -> place among the valid ones
        for key in whole.keys() & {"y", "inferred_y", "cells"}:
            expected = np.array([alone[key][0, place[s]] if s >= 0 else 0 * whole[key][n, 0] for s in shown])
            assert scaled_error(whole[key][n], expected) <= EXACT, key
        assert scaled_error(whole["dx"][n, valid], alone["dx"][0]) <= EXACT
        assert np.all(whole["dx"][n, ~valid] == 0)
        for key in problem.cell.states:
            for pattern in ("{}", "inferred_{}", "d{}0"):
                assert scaled_error(whole[pattern.format(key)][n], alone[pattern.format(key)][0]) <= EXACT
        for key, total in totals.items():
            total += alone[key]
    for key, total in totals.items():
        assert scaled_error(whole[key], total) <= EXACT, key


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_its_valid_steps_alone_bit_for_bit(simd, name, reverse, dtype):
    """All that belongs to a row, where the order in which gradients of repeated outputs are added does not count."""
    problem = problem_of(name, reverse, dtype)
    problem = replace(problem, dy=np.round(problem.dy * 64) / 64, dcells=None)  # sums of these are exact
    whole = outputs(problem)
    for n in range(CASE.N):
        alone, valid = outputs(row_alone(problem, n)), problem.mask[n]
        assert np.array_equal(whole["y"][n, valid], alone["y"][0])
        assert np.array_equal(whole["dx"][n, valid], alone["dx"][0])
        for key in problem.cell.states:
            assert np.array_equal(whole[key][n], alone[key][0])
            assert np.array_equal(whole[f"d{key}0"][n], alone[f"d{key}0"][0])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_read(backend, name, reverse):
    """NaN in skipped steps' x, and in dy before the first valid step, reaches nothing."""
    problem = problem_of(name, reverse)
    clean = outputs(problem)
    unseen = np.array([[s < 0 for s in latest(valid, reverse)] for valid in problem.mask])
    assert unseen.any()
    problem.x[~problem.mask] = np.nan
    problem.dy[unseen] = np.nan
    noise = replace(
        problem.noise,
        **{
            key: np.where(problem.mask[:, :, None], value, np.nan)
            for key in ("new_h", "new_c")
            if (value := getattr(problem.noise, key)) is not None and value.ndim == 3
        },
    )
    if problem.dcells is not None:
        problem.dcells[unseen] = np.inf
    dirty = outputs(replace(problem, noise=noise))
    for key, array in clean.items():
        assert np.array_equal(dirty[key], array), key
    assert np.all(clean["y"][unseen] == 0)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_mask_without_holes_is_lengths(backend, name, reverse):
    """But for what the padding shows: the last output forwards, zeros backwards, where the scan comes from the end."""
    lengths = np.array([7, 4, 0, 1, 6, 2])
    valid = np.arange(7) < lengths[:, None]
    problem = problem_of(name, reverse)
    problem.dy[~valid] = 0
    if problem.dcells is not None:
        problem.dcells[~valid] = 0
    masked = outputs(replace(problem, mask=valid))
    ragged = outputs(replace(problem, mask=None, lengths=lengths))
    for key in masked.keys() - {"y", "inferred_y", "cells"}:
        assert np.array_equal(masked[key], ragged[key]), key
    for key in masked.keys() & {"y", "inferred_y", "cells"}:
        assert np.array_equal(masked[key][valid], ragged[key][valid])
        for n, length in enumerate(lengths):
            shown = masked[key][n, length - 1] if length and not reverse else 0
            assert np.all(masked[key][n, length:] == shown)


@pytest.mark.parametrize("name", CELLS)
def test_a_mask_that_skips_everything_keeps_the_state(backend, name):
    problem = replace(problem_of(name), mask=np.zeros((6, 7), bool))
    found = outputs(problem)
    assert np.all(found["y"] == 0)
    assert np.all(found["dx"] == 0)
    for k, key in enumerate(problem.cell.states):
        assert np.array_equal(found[key], problem.state[k])
        assert np.array_equal(found[f"d{key}0"], problem.dstate[k])
    assert not any(np.any(found[f"d{key}"]) for key in problem.params)


@pytest.mark.parametrize("name", CELLS)
def test_a_mask_that_skips_nothing_changes_nothing(backend, name):
    problem = problem_of(name)
    masked, plain = (outputs(replace(problem, mask=mask)) for mask in (np.ones((6, 7), bool), None))
    for key, array in plain.items():
        assert scaled_error(masked[key], array) <= EXACT


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mask": np.ones((7, 6), bool)}, ValueError, r"^mask must have shape \(6, 7\), got \(7, 6\)"),
        ({"mask": np.ones((6, 7, 1), bool)}, ValueError, r"^mask must have shape \(6, 7\), got \(6, 7, 1\)"),
        ({"mask": True}, ValueError, r"^mask must have shape \(6, 7\), got \(\)"),
        ({"mask": np.ones((6, 7))}, TypeError, r"^mask must hold True and False \(bool\), got float64"),
        ({"mask": np.ones((6, 7), int)}, TypeError, r"^mask must hold True and False \(bool\), got int64"),
        ({"mask": np.ones((6, 7), bool), "lengths": [7] * 6}, ValueError, "^lengths and mask must not .*together"),
        (
            {"mask": np.ones((6, 7), bool), "batch_sizes": [6] * 7},
            ValueError,
            "^(x must|batch_sizes must not be given together)",
        ),
    ],
)
def test_wrong_masks(backend, options, error, message):
    p = problem_of("gru")
    with pytest.raises(error, match=message):
        rnn_forward(p.cell, p.params, p.x, as_state(p.state), **options)
