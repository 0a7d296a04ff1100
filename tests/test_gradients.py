"""Gradients against central differences in float64; and that deliberate mistakes do not pass."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES, CELL_NAMES, GRADIENT_CASES, LARGE_CASES, TOLERANCES, Case, make_problem, outputs
from differences import derivative, gradient, gradient_errors, loss

import fastrnn
from fastrnn import reference

TOLERANCE = TOLERANCES["gradient", "float64"]


@pytest.mark.parametrize("case", GRADIENT_CASES, ids=str)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_every_entry_of_every_gradient(backend, cell, case):
    errors = gradient_errors(make_problem(cell, case))
    assert all(error <= TOLERANCE for error in errors.values()), errors


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_directional_derivatives_of_a_larger_scan(backend, cell, reverse):
    """One random direction through all entries of an array at once: sizes beyond the kernels' vectors."""
    problem = make_problem(cell, Case("larger", 5, 9, 7, 33, lengths=(9, 3, 0, 9, 5), reverse=reverse))
    got = outputs(problem)
    rng = np.random.default_rng(5)
    for name, array in problem.arrays().items():
        direction = rng.normal(size=array.shape) / np.sqrt(array.size)
        start = array.copy()

        def moved(step, array=array, start=start, direction=direction):
            array[...] = start + step * direction
            return loss(problem)

        expected = derivative(moved)
        array[...] = start
        found = float(np.sum(got[name] * direction))
        assert abs(found - expected) <= TOLERANCE * max(1.0, abs(expected)), name


@pytest.mark.parametrize("case", (*CASES, *LARGE_CASES, *GRADIENT_CASES), ids=str)
def test_relu_problems_stay_away_from_the_kink(case):
    problem = make_problem("rnn_relu", case)
    W, U, b = (problem.params[name] for name in "WUb")
    h = problem.state[0]
    for t in reversed(range(case.T)) if case.reverse else range(case.T):
        if problem.lengths is None:
            a = problem.x[:, t] @ W + b + h @ U
            assert np.abs(a).min(initial=1.0) > 0.1
            h = np.maximum(a, 0)
    bound = 3.5 / (1 - np.abs(U).sum(axis=0).max())
    assert 3 - 0.5 - np.abs(U).sum(axis=0).max() * bound > 0.1


def test_difference_quotients_are_of_fourth_order():
    x = np.array([0.3, -0.7, 1.2])
    found = gradient(lambda: float(np.sum(np.sin(x) * x)), x)
    assert np.abs(found - (np.cos(x) * x + np.sin(x))).max() < 1e-11
    assert np.array_equal(x, [0.3, -0.7, 1.2])


# Negative controls. Each takes the reference's backward step and returns one with a mistake that is easily made.


def output_of_this_step_in_dU(step):
    def wrong(dh, dc, h_new, h, *rest):
        dh, dc, da, products = step(dh, dc, h_new, h, *rest)
        return dh, dc, da, [(h_new if left is h else left, du, columns) for left, du, columns in products]

    return wrong


def first_step_skipped(step):
    """Wrong for scans of GRADIENT_CASES[0]: its fourth call is the first step of time."""
    calls = []

    def wrong(dh, *rest):
        calls.append(None)
        dh_before, dc, da, products = step(dh, *rest)
        if len(calls) % GRADIENT_CASES[0].T:
            return dh_before, dc, da, products
        return dh, dc, 0 * da, [(left, 0 * du, columns) for left, du, columns in products]

    return wrong


def gates_in_another_order(step):
    def wrong(*args):
        dh, dc, da, products = step(*args)
        H = args[3].shape[1]
        return dh, dc, np.concatenate([da[:, H : 2 * H], da[:, :H], da[:, 2 * H :]], axis=1), products

    return wrong


def recurrent_gradient_dropped(step):
    def wrong(dh, *rest):
        dh_before, dc, da, products = step(dh, *rest)
        return 0 * dh_before, dc, da, products

    return wrong


def cell_gradient_without_forget_gate(step):
    def wrong(*args):
        dh, dc, da, products = step(*args)
        return dh, dc / args[7][1], da, products

    return wrong


def cell_gradient_not_passed_on(step):
    def wrong(*args):
        dh, dc, da, products = step(*args)
        return dh, 0 * dc, da, products

    return wrong


def reset_gate_missing_in_dU(step):
    """Of the n block: reset-after takes dn for dn*r, reset-before takes h for r*h."""

    def wrong(*args):
        dh, dc, da, products = step(*args)
        H, h, (left, du, columns) = args[3].shape[1], args[3], products[-1]
        after = left is h
        return dh, dc, da, [*products[:-1], (h, da[:, 2 * H :] if after else du, columns)]

    return wrong


ALL, GATED, GRUS = CELL_NAMES, ("lstm", "gru", "gru_before"), ("gru", "gru_before")
MISTAKES = [
    *((cell, output_of_this_step_in_dU) for cell in ALL),
    *((cell, first_step_skipped) for cell in ALL),
    *((cell, recurrent_gradient_dropped) for cell in ALL),
    *((cell, gates_in_another_order) for cell in GATED),
    *((cell, reset_gate_missing_in_dU) for cell in GRUS),
    ("lstm", cell_gradient_without_forget_gate),
    ("lstm", cell_gradient_not_passed_on),
]


@pytest.mark.parametrize(("cell", "mistake"), MISTAKES, ids=lambda value: getattr(value, "__name__", value))
def test_control_a_mistake_in_the_backward_step_is_caught(cell, mistake, monkeypatch):
    forward_step, backward_step = reference._STEPS[cell]
    monkeypatch.setitem(reference._STEPS, cell, (forward_step, mistake(backward_step)))
    with fastrnn.use_backend("numpy"):
        errors = gradient_errors(make_problem(cell, GRADIENT_CASES[0]))
    assert max(errors.values()) > 1e-3, errors


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_control_a_mistake_in_the_forward_step_is_caught(cell, monkeypatch):
    """The first argument scaled by 1.001: the gradients then belong to another function."""
    forward_step, backward_step = reference._STEPS[cell]

    def wrong(a, h, c, U, b_rec):
        return forward_step(1.001 * a, h, c, U, b_rec)

    monkeypatch.setitem(reference._STEPS, cell, (wrong, backward_step))
    with fastrnn.use_backend("numpy"):
        errors = gradient_errors(make_problem(cell, GRADIENT_CASES[0]))
    assert errors["dx"] > 1e-5, errors
