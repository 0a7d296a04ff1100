"""What only stacks have: one buffer for all, a state per layer, and what cannot be stacked."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from stacks import EMBEDDED, STACKS, WHOLE, D, H, inputs, make

from fastrnn import GRU, LSTM, Activation, Bidirectional, Dense, Dropout, Embedding, MaskedSequential, Sequential, Tied


@pytest.mark.parametrize("name", [*STACKS, *EMBEDDED])
def test_parts_live_in_the_buffer_of_the_stack(name):
    stack = make(name)
    parts = [(f"{k}.{key}", value) for k, layer in enumerate(stack.layers) for key, value in layer.params.items()]
    assert [key for key, _ in parts] == list(stack.params)
    for number, (key, value) in enumerate(parts):
        assert np.shares_memory(value, stack.params.flat)
        stack.params[key][...] = number + 1
        assert np.all(value == number + 1)
    stack.params.flat[...] = 0
    assert not any(np.any(layer.params.flat) for layer in stack.layers)


def test_a_stack_keeps_the_values_of_its_parts():
    layers = [LSTM(D, 4, seed=1), Dense(4, H, seed=2)]
    before = {f"{k}.{key}": value.copy() for k, layer in enumerate(layers) for key, value in layer.params.items()}
    stack = Sequential(layers)
    assert before.keys() == stack.params.keys()
    assert all(np.array_equal(stack.params[key], value) for key, value in before.items())


def test_a_stack_is_its_layers_one_after_another(backend):
    stack, x = make("dense between"), inputs("dense between")
    first, dense, last = stack.layers
    y, state = stack(x)
    h, first_state = first(x)
    expected, last_state = last(dense(h))
    assert np.array_equal(y, expected)
    assert state[1] is None
    for found, wanted in zip((*state[0], *state[2]), (*first_state, *last_state), strict=True):
        assert np.array_equal(found, wanted)


def test_state_has_an_entry_per_layer():
    _, state = make("nested")(inputs("nested"))
    assert [type(entry) for entry in state] == [list, list, type(None)]
    assert [type(entry) for entry in state[0]] == [tuple, type(None)]


def test_the_callers_state_list_stays(backend):
    stack, x = make("dense between"), inputs("dense between")
    _, state = stack(x)
    entries = list(state)
    copies = [np.copy(part) for part in (*state[0], *state[2])]
    _, _, tape = stack.forward(x, state)
    stack.backward(tape, None, state)
    stack.step(x[:, 0], state)
    assert all(a is b for a, b in zip(state, entries, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip((*state[0], *state[2]), copies, strict=True))


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        (list, ValueError, "^layers must hold at least one layer"),
        (lambda: LSTM(D, H), TypeError, r"^layers must be a sequence of layers, got LSTM\("),
        (lambda: None, TypeError, "^layers must be a sequence of layers, got None"),
        (lambda: ["LSTM"], TypeError, r"^layers\[0\] must be a layer, got 'LSTM'"),
        (lambda: [LSTM(3, 4), GRU(5, 4)], ValueError, r"^layers\[1\] must take 4 features, got one that takes 5"),
        (lambda: [LSTM(3, 4), Embedding(4, 4)], ValueError, r"^layers\[1\] must take 4 features, got .* integers"),
        (lambda: [LSTM(3, 4), GRU(4, 4, dtype="float64")], ValueError, r"^layers\[1\] must have the dtype"),
        (lambda: [LSTM(4, 4)] * 2, ValueError, r"^layers\[1\] must not be in the stack twice"),
        (lambda: [Sequential([LSTM(4, 4)]).layers[0]], ValueError, r"^layers\[0\] must not be part of another"),
    ],
)
def test_what_cannot_be_stacked(layers, error, message):
    with pytest.raises(error, match=message):
        Sequential(layers())


@pytest.mark.parametrize(
    "build",
    [
        lambda layer: Sequential([layer, Dense(5, 3)]),
        lambda layer: MaskedSequential([layer], mask_value="zero"),
        lambda layer: Tied(Embedding(9, 4), [layer]),
        lambda layer: Tied(Embedding(9, 3, dtype="float64"), [layer, Dense(4, 3)]),
        lambda layer: Bidirectional((layer, LSTM(3, 5, reverse=True)), "sum"),
    ],
)
def test_what_cannot_be_built_leaves_its_parts_free(build):
    layer = LSTM(3, 4)
    with pytest.raises((TypeError, ValueError)):
        build(layer)
    assert np.shares_memory(Sequential([layer]).params.flat, layer.params.flat)


def test_shallow_copies_of_a_stack_have_one_place():
    """Their layers are the same, and have room in one buffer only."""
    block = Sequential([GRU(4, 4), Dense(4, 4)])
    twin = copy.copy(block)
    with pytest.raises(ValueError, match=r"^layers\[1\] must not be in the stack twice: stack a copy.deepcopy"):
        Sequential([block, twin])
    whole = Sequential([block, copy.deepcopy(block)])
    with pytest.raises(ValueError, match=r"^layers\[0\] must not be part of another stack"):
        Sequential([twin])
    assert all(np.shares_memory(layer.params.flat, whole.params.flat) for layer in block.layers)


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (np.zeros((3, 4)), TypeError, "^state must be a list with one entry per layer, got ndarray"),
        ([None, None], ValueError, "^state must have 3 entries, one per layer, got 2"),
        ([None, np.zeros((3, 6)), None], ValueError, r"^state\[1\] must be None \(Dense"),
    ],
)
def test_bad_state(state, error, message):
    stack, x = make("dense between"), inputs("dense between")
    for call in (lambda: stack(x, state), lambda: stack.forward(x, state), lambda: stack.step(x[:, 0], state)):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.ones((3, 6, 1), int), ValueError, r"^x must have shape \(N, T\), got \(3, 6, 1\)"),
        (np.ones((3, 6)), TypeError, "^x must hold integers, got float64"),
        (np.full((3, 6), 9), ValueError, r"^x must lie in 0\.\.8, got 9"),
        (np.full((3, 6), -1), ValueError, r"^x must lie in 0\.\.8, got -1"),
        ([[1, 2], [3]], ValueError, "^x must be one array, got lists of different lengths"),
    ],
)
def test_bad_symbols(x, error, message):
    with pytest.raises(error, match=message):
        make("embedding")(x)


@pytest.mark.parametrize(("x", "shape"), [([[]], (1, 0, H)), ([], (0, H))])
def test_empty_lists_of_symbols(backend, x, shape):
    assert make("embedding")(x)[0].shape == shape


def test_symbols_in_the_padding_are_not_read(backend):
    stack, x, lengths = make("embedding"), inputs("embedding"), np.array([4, 0, 6])
    y, _ = stack(x, None, lengths)
    x[np.arange(6) >= lengths[:, None]] = -99
    assert np.array_equal(stack(x, None, lengths)[0], y)


@pytest.mark.parametrize("name", [name for name in (*STACKS, *EMBEDDED) if name not in WHOLE])
def test_results_of_a_step_do_not_share_memory(backend, name):
    stack, x = make(name), inputs(name)
    y_t, state = stack.step(x[:, 0])
    expected = stack.step(x[:, 1], state)[0]
    y_t[...] = 9
    assert np.array_equal(stack.step(x[:, 1], state)[0], expected)


@pytest.mark.parametrize("name", WHOLE)
def test_stacks_that_need_whole_sequences_have_no_step(name):
    with pytest.raises(ValueError, match=r"^layers\[\d\] must run step by step, got .*, which needs whole sequences"):
        make(name).step(inputs(name)[:, 0])


def test_symbols_of_a_step():
    stack = make("embedding")
    assert stack.step([])[0].shape == (0, H)
    with pytest.raises(TypeError, match=r"^x_t must hold integers, got float64"):
        stack.step([1.0])
    with pytest.raises(ValueError, match=r"^x_t must have shape \(N,\), got \(1, 2\)"):
        stack.step([[1, 2]])


@pytest.mark.parametrize("time_major", [False, True])
def test_layers_that_hand_on_what_they_are_given(time_major):
    x = np.ones((2, 3, 4))
    dy = np.ones_like(x)
    for stack in (
        Sequential([Activation(4, "linear", dtype="float64"), Dropout(0.0)]),
        Sequential([Sequential([Activation(4, "linear", dtype="float64")])]),
    ):
        y, _, tape = stack.forward(x, time_major=time_major, rng=np.random.default_rng(0))
        dx, _, _ = stack.backward(tape, dy)
        for result, given in ((y, x), (dx, dy), (stack(x, time_major=time_major)[0], x)):
            assert np.array_equal(result, given) and not np.may_share_memory(result, given)


def test_layers_that_hand_on_an_array_in_a_file(tmp_path):
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "float32", (2, 3, 4))
    for layer in (Dropout(0.0), Activation(4, "linear"), Sequential([Dropout(0.0), Activation(4, "linear")])):
        y, *_, tape = layer.forward(x)
        dx, *_ = layer.backward(tape, x)
        assert not np.may_share_memory(y, x) and not np.may_share_memory(dx, x)
