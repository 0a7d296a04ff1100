"""What sessions refuse, in what words; the streams stay where they were."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from sessions import assert_equal
from stacks import D, H, inputs, make

from fastrnn import LSTM, AttentionLSTM, Bidirectional, Dense, Params, Sequential, Session
from fastrnn.layer import StatelessLayer

Array = np.ndarray


@pytest.mark.parametrize(
    ("model", "batch", "error", "match"),
    [
        (lambda: Dense(3, 2), 1, TypeError, "model must be a recurrent layer or a Sequential, got Dense"),
        (lambda: "LSTM", 1, TypeError, "model must be a recurrent layer or a Sequential, got 'LSTM'"),
        (lambda: LSTM(3, 2, reverse=True), 1, ValueError, "model must scan forwards .* got LSTM"),
        (lambda: make("recurrent"), 1, ValueError, r"model must scan forwards .* got SimpleRNN\(6, 3, reverse=True\)"),
        (lambda: Bidirectional(LSTM(3, 2)), 1, ValueError, r"model must scan forwards .* got Bidirectional\(LSTM"),
        (lambda: make("bidirectional"), 1, ValueError, r"model must scan forwards .* got Bidirectional\(LSTM"),
        (lambda: AttentionLSTM(3, 2, 2), 1, ValueError, r"model must scan forwards .* got AttentionLSTM"),
        (lambda: make("pooled"), 1, ValueError, r"model must scan forwards .* got Attention\(6, 3\)"),
        (lambda: LSTM(3, 2), 0, ValueError, "batch must be at least 1, got 0"),
        (lambda: LSTM(3, 2), 1.0, TypeError, "batch must be an integer, got 1.0"),
    ],
)
def test_what_cannot_be_streamed(backend, model, batch, error, match):
    with pytest.raises(error, match=match):
        Session(model(), batch)


def unchanged(session: Session, call: Any, error: type[Exception], match: str) -> None:
    """The call raises and leaves the state alone."""
    before = session.state
    with pytest.raises(error, match=match):
        call()
    assert_equal(session.state, before)


@pytest.mark.parametrize(
    ("x_t", "error", "match"),
    [
        (np.zeros((2, D)), ValueError, r"x_t must have shape \(3, 5\), got \(2, 5\)"),
        (np.zeros((3, D + 1)), ValueError, r"x_t must have shape \(3, 5\), got \(3, 6\)"),
        (np.zeros(D), ValueError, r"x_t must have shape \(3, 5\), got \(5,\)"),
        (np.zeros((3, 1, D)), ValueError, r"x_t must have shape \(3, 5\), got \(3, 1, 5\)"),
        (np.zeros((3, D), int), TypeError, "x_t must hold floating-point numbers"),
        (np.zeros((3, D), complex), TypeError, "x_t must hold floating-point numbers"),
        (None, TypeError, "x_t must hold floating-point numbers"),
    ],
)
def test_wrong_input_of_a_step(backend, x_t, error, match):
    for name in ("LSTM", "dense ends"):
        session = Session(make(name), batch=3)
        session(inputs(name))
        unchanged(session, lambda session=session: session.step(x_t), error, match)


def test_a_wider_dtype_than_the_models(backend):
    session = Session(make("LSTM", "float32"), batch=3)
    unchanged(session, lambda: session.step(np.zeros((3, D))), TypeError, "x_t must be float32, got float64")
    unchanged(session, lambda: session(np.zeros((3, 1, D))), TypeError, "x must be float32, got float64")


@pytest.mark.parametrize(
    ("x_t", "error", "match"),
    [
        (np.array([0, 9, 1]), ValueError, r"x_t must lie in 0..8, got 9"),
        (np.array([0, -1, 1]), ValueError, r"x_t must lie in 0..8, got -1"),
        (np.zeros(3), TypeError, "x_t must hold integers, got float64"),
        (np.zeros(2, int), ValueError, r"x_t must have shape \(3,\), got \(2,\)"),
        (np.zeros((3, 1), int), ValueError, r"x_t must have shape \(3,\), got \(3, 1\)"),
    ],
)
def test_wrong_indices(backend, x_t, error, match):
    session = Session(make("embedding"), batch=3)
    session(inputs("embedding"))
    unchanged(session, lambda: session.step(x_t), error, match)


@pytest.mark.parametrize(
    ("name", "x", "match"),
    [
        ("LSTM", np.zeros((2, 4, D)), r"x must have shape \(3, T, 5\), got \(2, 4, 5\)"),
        ("LSTM", np.zeros((4, D)), r"x must have shape \(3, T, 5\), got \(4, 5\)"),
        ("embedding", np.zeros((2, 4), int), r"x must have shape \(3, T\), got \(2, 4\)"),
        ("embedding", np.zeros(4, int), r"x must have shape \(3, T\), got \(4,\)"),
        ("embedding", np.full((3, 4), 9), r"x must lie in 0..8, got 9"),
    ],
)
def test_wrong_input_of_a_call(backend, name, x, match):
    session = Session(make(name), batch=3)
    unchanged(session, lambda: session(x), ValueError, match)


def read_only() -> Array:
    array = np.zeros((3, H))
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("out", "error", "match"),
    [
        (np.zeros((3, H), "float32"), TypeError, "out must be an array of float64, got float32"),
        ([[0.0] * H] * 3, TypeError, "out must be an array of float64, got list"),
        (np.zeros((3, H + 1)), ValueError, r"out must be a writeable array of shape \(3, 7\), got \(3, 8\)"),
        (read_only(), ValueError, r"out must be .* got a read-only one of \(3, 7\)"),
    ],
)
def test_wrong_out(backend, out, error, match):
    session = Session(make("LSTM"), batch=3)
    unchanged(session, lambda: session.step(np.ones((3, D)), out=out), error, match)


@pytest.mark.parametrize(
    ("name", "state", "error", "match"),
    [
        ("GRU", np.zeros((2, H)), ValueError, r"state must have shape \(3, 7\), got \(2, 7\)"),
        ("LSTM", np.zeros((3, H)), ValueError, r"state must be a tuple \(h, c\)"),
        ("LSTM", (np.zeros((3, H)), np.zeros((1, H))), ValueError, r"state\[1\] \(c\) must have shape \(3, 7\)"),
        ("embedding", [None, None], ValueError, "state must have 3 entries"),
        ("embedding", [np.zeros(1), None, None], ValueError, r"state\[0\] must be None"),
        ("embedding", [None, (np.ones((3, 6)), np.ones((3, 7))), None], ValueError, r"state\[1\]\[1\] \(c\) must have"),
    ],
)
def test_wrong_states(backend, name, state, error, match):
    session = Session(make(name), batch=3)
    session(inputs(name))
    unchanged(session, lambda: setattr(session, "state", state), error, match)


class _WithoutMemory(StatelessLayer):
    """A layer for which there is none."""

    def __init__(self) -> None:
        self.input_size = self.output_size = H
        self._params = Params.zeros({}, "float64")

    def _run(self, x: Array, call: Any, keep: bool, valid: Any) -> Any:
        raise MemoryError("no memory for x")


def test_a_call_that_fails_in_its_midst(backend):
    """Layers in front of the one that fails have run."""
    session = Session(Sequential([make("LSTM"), _WithoutMemory()]), batch=3)
    session.state = [(np.ones((3, H)), np.ones((3, H))), None]
    unchanged(session, lambda: session(inputs("LSTM")), MemoryError, "no memory for x")


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_sessions_are_not_copied(backend, duplicate):
    """A shallow copy would step the original."""
    session = Session(make("LSTM"))
    unchanged(session, lambda: duplicate(session), TypeError, "^a Session cannot be copied or pickled")


def test_an_empty_list_of_rows(backend):
    session = Session(make("LSTM"), batch=3)
    session(inputs("LSTM"))
    before = session.state
    session.reset([])
    assert_equal(session.state, before)


@pytest.mark.parametrize(
    ("rows", "error", "match"),
    [
        ([3], ValueError, "rows must lie in 0..2, got 3"),
        (-1, ValueError, "rows must lie in 0..2, got -1"),
        ([0.0], TypeError, "rows must hold integers"),
        ([True, False, False], TypeError, "rows must hold integers"),
    ],
)
def test_wrong_rows(backend, rows, error, match):
    session = Session(make("LSTM"), batch=3)
    session(inputs("LSTM"))
    unchanged(session, lambda: session.reset(rows), error, match)


def test_repr():
    assert repr(Session(LSTM(3, 5), batch=2)) == "Session(LSTM(3, 5), batch=2)"
