"""Gradients against central differences in float64; and that deliberate mistakes do not pass."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from cases import (
    CASES,
    CELL_NAMES,
    GRADIENT_CASES,
    LARGE_CASES,
    PAIRS,
    TOLERANCES,
    VARIANTS,
    Case,
    make_problem,
    outputs,
)
from differences import derivative, gradient, gradient_errors, loss

import fastrnn
from fastrnn import orders, reference
from fastrnn.activations import SIGMOID, TANH
from fastrnn.scan import SILENT

TOLERANCE = TOLERANCES["gradient", "float64"]
# a variance has to be of some numbers for quotients of it to be exact
OPTION_CASES = (
    Case("ragged", 4, 4, 2, 8, lengths=(2, 4, 0, 3)),
    Case("reverse, holes", 4, 5, 2, 8, reverse=True, holes=True),
)
PAIR_CASE = Case("reverse, ragged", 4, 4, 3, 9, lengths=(2, 4, 0, 4), reverse=True)


@pytest.mark.parametrize("case", GRADIENT_CASES, ids=str)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_every_entry_of_every_gradient(backend, cell, case):
    errors = gradient_errors(make_problem(cell, case))
    assert all(error <= TOLERANCE for error in errors.values()), errors


@pytest.mark.parametrize("case", OPTION_CASES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_options(backend, variant, case):
    """Small arrays entry by entry, large ones along directions."""
    errors = gradient_errors(make_problem(variant, case), entries=24)
    assert all(error <= TOLERANCE for error in errors.values()), errors


@pytest.mark.parametrize("variant", [name for name in VARIANTS if "layer_norm" not in name])
def test_every_entry_with_an_option(variant):
    with fastrnn.use_backend("numpy"):
        errors = gradient_errors(make_problem(variant, GRADIENT_CASES[0]))
    assert all(error <= TOLERANCE for error in errors.values()), errors


@pytest.mark.parametrize("variant", PAIRS)
def test_pairs_of_options(backend, variant):
    errors = gradient_errors(make_problem(variant, PAIR_CASE), entries=9)
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
        if problem.lengths is None and problem.mask is None:
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


def _output(cell, c_new, h, saved, y):
    """h of the step, as the tape of an option-free cell has it."""
    if y is not None:
        return y
    if cell.kind == "lstm":
        return saved[-1] * np.tanh(c_new)
    return (1 - saved[1]) * saved[-1] + saved[1] * h


def output_of_this_step_in_dU(step):
    def wrong(cell, params, dh, dc, y, left, h, c_new, c, saved, norm):
        *found, terms = step(cell, params, dh, dc, y, left, h, c_new, c, saved, norm)
        h_new = _output(cell, c_new, h, saved, y)
        return *found, [(name, columns, h_new if side is left else side, d) for name, columns, side, d in terms]

    return wrong


def first_step_skipped(step):
    """Wrong for scans of GRADIENT_CASES[0]: its fourth call is the first step of time."""
    calls = count(1)

    def wrong(cell, params, dh, *rest):
        dleft, dh_past, dc, da, terms = step(cell, params, dh, *rest)
        if next(calls) % GRADIENT_CASES[0].T:
            return dleft, dh_past, dc, da, terms
        return 0 * dleft, dh, dc, 0 * da, [(name, columns, side, 0 * d) for name, columns, side, d in terms]

    return wrong


def gates_in_another_order(step):
    def wrong(*args):
        dleft, dh, dc, da, terms = step(*args)
        H = args[2].shape[1]
        return dleft, dh, dc, np.concatenate([da[:, H : 2 * H], da[:, :H], da[:, 2 * H :]], axis=1), terms

    return wrong


def recurrent_gradient_dropped(step):
    def wrong(*args):
        dleft, _, *rest = step(*args)
        return 0 * dleft, 0, *rest

    return wrong


def carry_past_the_gates_dropped(step):
    def wrong(*args):
        dleft, _, *rest = step(*args)
        return dleft, 0, *rest

    return wrong


def cell_gradient_without_forget_gate(step):
    def wrong(*args):
        dleft, dh, dc, *rest = step(*args)
        return dleft, dh, dc / args[9][1], *rest

    return wrong


def cell_gradient_not_passed_on(step):
    def wrong(*args):
        dleft, dh, dc, *rest = step(*args)
        return dleft, dh, 0 * dc, *rest

    return wrong


def reset_gate_missing_in_dU(step):
    """Of the n block: reset-after takes dn for dn*r, reset-before takes h for r*h."""

    def wrong(cell, params, dh, dc, y, left, *rest):
        *found, da, terms = step(cell, params, dh, dc, y, left, *rest)
        H, (name, columns, side, du) = dh.shape[1], terms[-1]
        if side is left:
            du = np.concatenate([du[:, : 2 * H], da[:, 2 * H :]], axis=1)
        return *found, da, [*terms[:-1], (name, columns, left, du)]

    return wrong


ALL, GATED, GRUS = CELL_NAMES, ("lstm", "gru", "gru_before"), ("gru", "gru_before")
MISTAKES = [
    *((cell, output_of_this_step_in_dU) for cell in ALL),
    *((cell, first_step_skipped) for cell in ALL),
    *((cell, recurrent_gradient_dropped) for cell in ALL),
    *((cell, gates_in_another_order) for cell in GATED),
    *((cell, reset_gate_missing_in_dU) for cell in GRUS),
    *((cell, carry_past_the_gates_dropped) for cell in GRUS),
    ("lstm", cell_gradient_without_forget_gate),
    ("lstm", cell_gradient_not_passed_on),
]


def errors_with(step_mistake, name, case, monkeypatch):
    """Errors of the reference's gradients once its backward step has been changed."""
    kind = make_problem(name, case).cell.kind
    forward_step, backward_step = reference._STEPS[kind]
    monkeypatch.setitem(reference._STEPS, kind, (forward_step, step_mistake(backward_step)))
    with fastrnn.use_backend("numpy"):
        return gradient_errors(make_problem(name, case), entries=9)


@pytest.mark.parametrize(("cell", "mistake"), MISTAKES, ids=lambda value: getattr(value, "__name__", value))
def test_control_a_mistake_in_the_backward_step_is_caught(cell, mistake, monkeypatch):
    errors = errors_with(mistake, cell, GRADIENT_CASES[0], monkeypatch)
    assert max(errors.values()) > 1e-3, errors


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_control_a_mistake_in_the_forward_step_is_caught(cell, monkeypatch):
    """The projected input scaled by 1.001: the gradients then belong to another function."""
    problem = make_problem(cell, GRADIENT_CASES[0])
    forward_step, backward_step = reference._STEPS[problem.cell.kind]

    def wrong(cell, params, a, *rest):
        return forward_step(cell, params, 1.001 * a, *rest)

    monkeypatch.setitem(reference._STEPS, problem.cell.kind, (wrong, backward_step))
    with fastrnn.use_backend("numpy"):
        errors = gradient_errors(problem)
    assert errors["dx"] > 1e-5, errors


# Mistakes in what options add.


def output_gate_sees_the_old_cell(step):
    """Diagonal: in the gradient of p; full: in that of P."""

    def wrong(cell, params, dh, dc, y, left, h, c_new, c, saved, norm):
        *found, da, terms = step(cell, params, dh, dc, y, left, h, c_new, c, saved, norm)
        H = c.shape[1]
        changed = []
        for name, columns, side, d in terms:
            if name == "p":
                d = np.concatenate([d[:, :-1], (da[:, -H:] * c)[:, None]], axis=1)
            changed.append((name, columns, c if name == "P" and side is c_new else side, d))
        return *found, da, changed

    return wrong


def early_gates_see_the_new_cell(step):
    def wrong(cell, params, dh, dc, y, left, h, c_new, c, saved, norm):
        *found, terms = step(cell, params, dh, dc, y, left, h, c_new, c, saved, norm)
        return *found, [(name, columns, c_new if side is c else side, d) for name, columns, side, d in terms]

    return wrong


def peephole_of_o_carries_nothing(step):
    def wrong(cell, params, *rest):
        changed = dict(params)
        name, last = ("p", np.s_[-1]) if "p" in params else ("P", np.s_[:, -rest[1].shape[1] :])
        changed[name] = params[name].copy()
        changed[name][last] = 0
        return step(cell, changed, *rest)

    return wrong


def early_peepholes_carry_nothing(step):
    def wrong(cell, params, *rest):
        changed = dict(params)
        name, first = ("p", np.s_[:-1]) if "p" in params else ("P", np.s_[:, : -rest[1].shape[1]])
        changed[name] = params[name].copy()
        changed[name][first] = 0
        return step(cell, changed, *rest)

    return wrong


def coupled_gate_forgets_what_it_holds_back(step):
    """di = dc*g for dc*(g - c)."""

    def wrong(cell, params, dh, dc, y, left, h, c_new, c, saved, norm):
        *found, da, terms = step(cell, params, dh, dc, y, left, h, c_new, c, saved, norm)
        H = c.shape[1]
        da = da.copy()
        da[:, :H] *= saved[1] / (saved[1] - c)
        return *found, da, terms

    return wrong


def gradient_passes_the_clip(step):
    def wrong(cell, *rest):
        return step(replace(cell, clip=None), *rest)

    return wrong


def slopes_of_the_usual_functions(step):
    def wrong(cell, *rest):
        return step(replace(cell, activation=TANH, recurrent_activation=SIGMOID), *rest)

    return wrong


def slope_of_tanh_at_the_output(step):
    def wrong(cell, *rest):
        return step(replace(cell, output_activation=TANH), *rest)

    return wrong


def projection_of_the_cell(step):
    """dW_proj from o*c."""

    def wrong(cell, params, dh, dc, y, left, h, c_new, c, saved, norm):
        *found, terms = step(cell, params, dh, dc, y, left, h, c_new, c, saved, norm)
        o_c = saved[-1] * c_new
        return *found, [(name, columns, o_c if name == "W_proj" else side, d) for name, columns, side, d in terms]

    return wrong


def term_dropped(parameter):
    def mistake(step):
        def wrong(*args):
            *found, terms = step(*args)
            return *found, [term for term in terms if term[0] != parameter]

        return wrong

    mistake.__name__ = f"d{parameter}_dropped"
    return mistake


def dU_of_h_without_its_mask(step):
    def wrong(cell, params, dh, dc, y, left, h, *rest):
        *found, terms = step(cell, params, dh, dc, y, left, h, *rest)
        return *found, [(name, columns, h if side is left else side, d) for name, columns, side, d in terms]

    return wrong


OPTION_MISTAKES = [
    *((f"lstm + {kind}", output_gate_sees_the_old_cell) for kind in ("diagonal", "full")),
    *((f"lstm + {kind}", peephole_of_o_carries_nothing) for kind in ("diagonal", "full")),
    *((f"lstm + {kind}", early_peepholes_carry_nothing) for kind in ("diagonal", "full")),
    ("lstm + full", early_gates_see_the_new_cell),
    ("lstm + diagonal", term_dropped("p")),
    ("lstm + coupled", coupled_gate_forgets_what_it_holds_back),
    ("lstm + output", slope_of_tanh_at_the_output),
    ("lstm + projection", projection_of_the_cell),
    *(("lstm + layer_norm", term_dropped(name)) for name in ("gain_c", "bias_c")),
    *((f"{cell} + layer_norm", term_dropped("gain_U")) for cell in ("rnn_tanh", *GATED)),
    *((f"{cell} + clip", gradient_passes_the_clip) for cell in ("rnn_tanh", *GATED)),
    *((f"{cell} + functions", slopes_of_the_usual_functions) for cell in ("rnn_tanh", *GATED)),
    *((f"{cell} + kinked", slopes_of_the_usual_functions) for cell in ("rnn_tanh", *GATED)),
    *((f"{cell} + recurrent_dropout", dU_of_h_without_its_mask) for cell in ("rnn_tanh", *GATED)),
]


@pytest.mark.parametrize(("variant", "mistake"), OPTION_MISTAKES, ids=lambda value: getattr(value, "__name__", value))
def test_control_a_mistake_in_an_option_is_caught(variant, mistake, monkeypatch):
    errors = errors_with(mistake, variant, OPTION_CASES[0], monkeypatch)
    assert max(errors.values()) > 1e-3, errors


# Mistakes around the step. Each takes what `reference.backward` is handed and hands it on with something missing.


def _replaced(arguments, name, value):
    place = list(BACKWARD).index(name)
    return [*arguments[:place], value, *arguments[place + 1 :]]


BACKWARD = tuple(reference.backward.__annotations__)


def noise_forgotten(run, *arguments):
    return run(*_replaced(arguments, "noise", SILENT))


def cells_forgotten(run, *arguments):
    return run(*_replaced(arguments, "dcells", None))


def old_share_dropped(run, *arguments):
    """The first of every two shares makes the gradient that passes the step by."""
    calls, share = count(), reference._share
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "_share", lambda new, now: 1.0 if next(calls) % 2 == 0 else share(new, now))
        return run(*arguments)


def mean_of_the_gradient_kept(run, *arguments):
    def wrong(d, hat, scale):
        return scale * (d - hat * (d * hat).mean(axis=1, keepdims=True))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "_normalise_rows_back", wrong)
        return run(*arguments)


def deviation_taken_for_a_constant(run, *arguments):
    def wrong(d, hat, scale):
        return scale * (d - d.mean(axis=1, keepdims=True))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "_normalise_rows_back", wrong)
        return run(*arguments)


CELLS_OF = ("rnn_tanh", *GATED)
RUN_MISTAKES = [
    *((f"{cell} + recurrent_dropout", noise_forgotten) for cell in CELLS_OF),
    *((f"{cell} + zoneout", noise_forgotten) for cell in CELLS_OF),
    *((f"{cell} + zoneout", old_share_dropped) for cell in CELLS_OF),
    *((f"{cell} + mean zoneout", old_share_dropped) for cell in CELLS_OF),
    ("lstm + zoneout of h", old_share_dropped),
    ("lstm + zoneout of c", old_share_dropped),
    ("lstm + cells", cells_forgotten),
    *((f"{cell} + layer_norm", mean_of_the_gradient_kept) for cell in CELLS_OF),
    *((f"{cell} + layer_norm", deviation_taken_for_a_constant) for cell in CELLS_OF),
]


@pytest.mark.parametrize(("variant", "mistake"), RUN_MISTAKES, ids=lambda value: getattr(value, "__name__", value))
def test_control_a_mistake_around_the_step_is_caught(variant, mistake, monkeypatch):
    run = reference.backward
    monkeypatch.setattr(reference, "backward", lambda *arguments: mistake(run, *arguments))
    with fastrnn.use_backend("numpy"):
        errors = gradient_errors(make_problem(variant, OPTION_CASES[0]), entries=9)
    assert max(errors.values()) > 1e-3, errors


@pytest.mark.parametrize("reverse", [False, True])
def test_control_the_gradients_of_repeated_outputs_count(backend, reverse, monkeypatch):
    """A masked step shows the output before it, and sends its gradient there."""
    case = Case("holes", 5, 6, 2, 3, holes=True, reverse=reverse)
    monkeypatch.setattr(orders.Masked, "pack_gradient", orders.Masked.pack)
    errors = gradient_errors(make_problem("lstm", case))
    assert max(errors.values()) > 1e-3, errors
