"""Calls that every layer with a state has: SimpleRNN, LSTM, GRU and stacks of them."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import TOLERANCES
from differences import layer_gradient_errors, leaves, map_state
from stacks import CELL_OF, EMBEDDED, RECURRENT, STACKS, WHOLE, D, H, inputs, make

import fastrnn
from fastrnn.cells import CELLS
from fastrnn.ops import rnn_backward, rnn_forward

EXACT = TOLERANCES["agreement", "float64"]
ALL = [*RECURRENT, *STACKS, *EMBEDDED]
STREAMABLE = [name for name in ALL if name not in WHOLE]
LENGTHS = np.array([4, 0, 6])


def close(a, b):
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    assert np.abs(a - b).max(initial=0.0) <= EXACT * max(1.0, np.abs(b).max(initial=0.0))


def all_close(a, b):
    for left, right in zip(leaves(a), leaves(b), strict=True):
        close(left, right)


def gradients_like(results, seed=5):
    """Random gradients for results of any nesting."""
    rng = np.random.default_rng(seed)
    return map_state(lambda part: rng.normal(size=part.shape).astype(part.dtype), results)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", RECURRENT)
def test_a_layer_is_its_cell_scanned(backend, name, reverse, dtype):
    layer, x, cell = make(name, dtype, reverse=reverse), inputs(name, dtype=dtype), CELLS[CELL_OF[name]]
    assert {key: value.shape for key, value in layer.params.items()} == cell.shapes(D, H)
    state = gradients_like(layer(x)[1])
    options = {"lengths": LENGTHS, "reverse": reverse}
    y, final, record = rnn_forward(cell, dict(layer.params), x, state, **options, keep=True)
    found_y, found_final, tape = layer.forward(x, state, LENGTHS)
    dy, dfinal = gradients_like(y), gradients_like(final)
    grads = {key: np.zeros_like(value) for key, value in layer.params.items()}
    dx, dstate = rnn_backward(record, dy, dfinal, grads=grads)
    found_dx, found_dstate, found_grads = layer.backward(tape, dy, dfinal)
    pairs = zip(
        leaves([found_y, found_final, found_dx, found_dstate, [found_grads[key] for key in grads]]),
        leaves([y, final, dx, dstate, list(grads.values())]),
        strict=True,
    )
    assert all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("name", ALL)
def test_call_and_forward_give_the_same(backend, name, lengths, dtype):
    layer, x = make(name, dtype), inputs(name, dtype=dtype)
    y, state = layer(x, None, lengths)
    y2, state2, _ = layer.forward(x, None, lengths)
    assert y.shape == (3, 6, H)
    assert y.dtype == dtype
    for a, b in zip(leaves([y, state]), leaves([y2, state2]), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("name", [*STACKS, *EMBEDDED])
def test_gradients_of_stacks(backend, name, lengths):
    layer, x = make(name), inputs(name, T=6)
    state = gradients_like(layer(x)[1])
    errors = layer_gradient_errors(layer, x, state, lengths, entries=40)
    assert all(error <= TOLERANCES["gradient", "float64"] for error in errors.values()), errors


@pytest.mark.parametrize("name", STACKS)
def test_padding_reaches_nothing(backend, name):
    layer, x = make(name), inputs(name)
    padding = np.arange(6) >= LENGTHS[:, None]

    def run():
        y, state, tape = layer.forward(x, None, LENGTHS)
        dy = gradients_like(y)
        dy[padding] = padding_gradient
        dx, dstate, grads = layer.backward(tape, dy, gradients_like(state))
        return leaves([y, state, dx, dstate, list(grads.values())])

    padding_gradient = 0.0
    clean = run()
    x[padding], padding_gradient = np.nan, np.inf
    for a, b in zip(clean, run(), strict=True):
        assert np.array_equal(a, b)
    assert np.all(clean[0][padding] == 0)


@pytest.mark.parametrize("name", ALL)
def test_time_major(backend, name):
    layer, x = make(name), inputs(name)
    for lengths in (None, LENGTHS):
        y, state, tape = layer.forward(x, None, lengths)
        y2, state2, tape2 = layer.forward(x.swapaxes(0, 1), None, lengths, time_major=True)
        dy = gradients_like(y)
        dx, dstate, grads = layer.backward(tape, dy)
        dx2, dstate2, grads2 = layer.backward(tape2, dy.swapaxes(0, 1))
        all_close([y2.swapaxes(0, 1), state2, dstate2], [y, state, dstate])
        all_close([grads2[key] for key in grads], [grads[key] for key in grads])
        if dx is None:
            assert dx2 is None
        else:
            close(dx2.swapaxes(0, 1), dx)


@pytest.mark.parametrize("name", RECURRENT)
def test_y_is_a_transposed_view_of_time_major_memory(backend, name):
    y, _ = make(name)(inputs(name))
    assert y.swapaxes(0, 1).flags.c_contiguous


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_one_sequence_without_a_batch_axis(backend, name, time_major):
    layer, x = make(name), inputs(name, N=1)
    y, state, tape = layer.forward(x)
    y1, state1, tape1 = layer.forward(x[0], time_major=time_major)
    assert y1.shape == (6, H)
    dy, dstate = gradients_like(y), gradients_like(state)
    dx, dstate0, grads = layer.backward(tape, dy, dstate)
    dx1, dstate1, grads1 = layer.backward(tape1, dy[0], dstate)
    all_close([y1, state1, dx1, dstate1], [y[0], state, None if dx is None else dx[0], dstate0])
    all_close(list(grads1.values()), list(grads.values()))
    close(layer(x[0], time_major=time_major)[0], y[0])
    with pytest.raises(ValueError, match=r"^dy must have shape \(T, 7\), got \(1, 6, 7\)"):
        layer.backward(tape1, dy)


@pytest.mark.parametrize("chunks", [[1] * 6, [2, 4], [5, 0, 1]], ids=str)
@pytest.mark.parametrize("name", STREAMABLE)
def test_chunks_of_time_chain_to_the_whole(backend, name, chunks):
    """Forward, handing the state on; backward, handing its gradient back: nothing is lost between chunks."""
    layer, x = make(name), inputs(name)
    y, state, tape = layer.forward(x)
    dy, dfinal = gradients_like(y), gradients_like(state)
    dx, dstate, grads = layer.backward(tape, dy, dfinal)

    cuts = np.cumsum(chunks)[:-1]
    parts, tapes, running = [], [], None
    for chunk in np.split(x, cuts, axis=1):
        part, running, chunk_tape = layer.forward(chunk, running)
        parts.append(part)
        tapes.append(chunk_tape)
    close(np.concatenate(parts, axis=1), y)
    all_close(running, state)

    total, dparts, running = layer.params.zeros_like(), [], dfinal
    for chunk_tape, dchunk in reversed(list(zip(tapes, np.split(dy, cuts, axis=1), strict=True))):
        dpart, running, chunk_grads = layer.backward(chunk_tape, dchunk, running)
        total.flat[...] += chunk_grads.flat
        dparts.insert(0, dpart)
    all_close(running, dstate)
    close(total.flat, grads.flat)
    if dx is not None:
        close(np.concatenate(dparts, axis=1), dx)


@pytest.mark.parametrize("name", STREAMABLE)
def test_steps_are_the_call(backend, name, dtype):
    layer, x = make(name, dtype), inputs(name, dtype=dtype)
    y, state = layer(x)
    running = None
    for t in range(x.shape[1]):
        result = layer.step(x[:, t], running)
        y_t, running = (result[0] if isinstance(result, tuple) else result, result) if name in RECURRENT else result
        assert y_t.shape == (3, H)
        assert np.abs(y_t - y[:, t]).max() <= (EXACT if dtype == "float64" else 1e-6)
    for a, b in zip(leaves(running), leaves(state), strict=True):
        assert np.abs(a - b).max() <= (EXACT if dtype == "float64" else 1e-6)


@pytest.mark.parametrize(("N", "T"), [(0, 4), (3, 0), (0, 0)])
@pytest.mark.parametrize("name", ALL)
def test_empty_batches(backend, name, N, T):
    layer, x = make(name), inputs(name)[:N, :T]
    x = x if N else x.reshape(0, T, *x.shape[2:])
    initial = gradients_like(layer(x)[1])
    lengths = np.zeros(N, int)
    for options in ({}, {"lengths": lengths}):
        y, state, tape = layer.forward(x, initial, **options)
        assert y.shape == (N, T, H)
        all_close(state, initial)
        dx, dstate, grads = layer.backward(tape, y, initial)
        assert dx is None or dx.shape == x.shape
        all_close(dstate, initial)
        assert not np.any(grads.flat)


@pytest.mark.parametrize("name", ALL)
def test_without_the_input_gradient_the_rest_is_the_same(backend, name):
    layer, x = make(name), inputs(name)
    y, state, tape = layer.forward(x)
    dy, dfinal = gradients_like(y), gradients_like(state)
    _, dstate, grads = layer.backward(tape, dy, dfinal)
    dx, dstate2, grads2 = layer.backward(tape, dy, dfinal, input_gradient=False)
    assert dx is None
    all_close(dstate2, dstate)
    assert np.array_equal(grads2.flat, grads.flat)


@pytest.mark.parametrize("name", ALL)
def test_a_tape_serves_more_than_once(backend, name):
    layer, x = make(name), inputs(name)
    y, state, tape = layer.forward(x, None, LENGTHS)
    dy, dfinal = gradients_like(y), gradients_like(state)
    first, second = (layer.backward(tape, dy, dfinal) for _ in range(2))
    for a, b in zip(leaves(first[:2]), leaves(second[:2]), strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(first[2].flat, second[2].flat)
    assert np.any(first[2].flat)


@pytest.mark.parametrize("name", ALL)
def test_grads_are_laid_out_like_params(name):
    layer, x = make(name), inputs(name)
    y, _, tape = layer.forward(x)
    grads = layer.backward(tape, gradients_like(y))[2]
    assert list(grads) == list(layer.params)
    assert grads.flat.shape == layer.params.flat.shape
    for key, value in layer.params.items():
        assert grads[key].shape == value.shape
        offset = value.__array_interface__["data"][0] - layer.params.flat.__array_interface__["data"][0]
        assert offset == grads[key].__array_interface__["data"][0] - grads.flat.__array_interface__["data"][0]


@pytest.mark.parametrize("name", ALL)
def test_many_threads_may_use_one_layer(backend, name):
    layer, x = make(name), inputs(name, T=40)

    def train(k):
        with fastrnn.use_backend(backend):
            rows = np.roll(x, k, axis=1)
            y, state, tape = layer.forward(rows)
            dx, dstate, grads = layer.backward(tape, y, state)
            return [grads.flat, *leaves([y, state, dx, dstate])]

    expected = [train(k) for k in range(6)]
    with ThreadPoolExecutor(4) as pool:
        for k, results in enumerate(pool.map(train, [k % 6 for k in range(24)])):
            for a, b in zip(results, expected[k % 6], strict=True):
                assert np.array_equal(a, b)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("name", ALL)
def test_copies_stand_on_their_own(name, duplicate):
    layer, x = make(name), inputs(name)
    twin = duplicate(layer)
    y, _, tape = layer.forward(x)
    assert repr(twin) == repr(layer)
    assert np.array_equal(twin(x)[0], y)
    assert not np.may_share_memory(twin.params.flat, layer.params.flat)
    for value in twin.params.values():
        assert np.shares_memory(value, twin.params.flat)
    twin.params.flat[...] = 0
    assert not any(np.any(value) for value in twin.params.values())
    assert np.array_equal(layer(x)[0], y)
    assert not np.array_equal(twin(x)[0], y)
    with pytest.raises(ValueError, match=r"^tape must come from this layer's forward"):
        twin.backward(tape, y)


@pytest.mark.parametrize("name", ALL)
def test_a_shallow_copy_shares_the_parameters(name):
    layer, x = make(name), inputs(name)
    twin = copy.copy(layer)
    assert twin.params.flat is layer.params.flat
    before = layer(x)[0].copy()
    for one in (layer, twin):  # parts and all
        one.params.flat[...] *= 2
        y = layer(x)[0]
        assert np.array_equal(twin(x)[0], y) and not np.array_equal(y, before)
        before = y.copy()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_has_the_same_cell(duplicate):
    """The compiled backend keeps what it knows of every cell object."""
    for layer in (
        fastrnn.GRU(2, 3),
        fastrnn.LSTM(2, 3, peephole="diagonal", clip=3.0, recurrent_activation="hard_sigmoid"),
    ):
        assert duplicate(layer).cell is layer.cell


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_layer(name, dtype):
    factory = (RECURRENT | STACKS | EMBEDDED)[name]
    layers = [factory(seed=seed, dtype=dtype) for seed in (5, 5, np.random.default_rng(5), 6)]
    assert np.array_equal(layers[0].params.flat, layers[1].params.flat)
    assert not np.array_equal(layers[0].params.flat, layers[3].params.flat)
    if name in RECURRENT:
        assert np.array_equal(layers[0].params.flat, layers[2].params.flat)


@pytest.mark.parametrize("name", RECURRENT)
def test_first_weights(name):
    layer = RECURRENT[name](seed=0, dtype="float64")
    gates = CELLS[CELL_OF[name]].gates
    W = layer.params["W"].reshape(D, len(gates), H)
    U = layer.params["U"].reshape(H, len(gates), H)
    b = layer.params["b"].reshape(len(gates), H)
    assert 0.8 * np.sqrt(6 / (D + H)) < np.abs(W).max() <= np.sqrt(6 / (D + H))
    for k, gate in enumerate(gates):
        assert np.allclose(U[:, k] @ U[:, k].T, np.eye(H), atol=1e-12)
        assert np.all(b[k] == (1 if gate == "f" else 0))
    assert not np.any(layer.params.get("b_rec", 0.0))


@pytest.mark.parametrize("order", ["<", ">", "="])
@pytest.mark.parametrize("name", ALL)
def test_parameters_are_in_native_byte_order(name, order, dtype):
    layer = (RECURRENT | STACKS | EMBEDDED)[name](dtype=np.dtype(dtype).newbyteorder(order))
    assert layer.dtype == np.dtype(dtype)
    assert layer.dtype.isnative


# What a layer refuses; after each error it is as before.


def refuses(layer, x, error, message, call):
    before, (y, state) = layer.params.flat.copy(), layer(x)
    with pytest.raises(error, match=message):
        call()
    assert np.array_equal(layer.params.flat, before)
    y2, state2 = layer(x)
    for a, b in zip(leaves([y, state]), leaves([y2, state2]), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("entry", ["__call__", "forward"])
@pytest.mark.parametrize("name", [*RECURRENT, *STACKS])
def test_bad_x(name, entry):
    layer, x = make(name), inputs(name)
    call = getattr(layer, entry)
    for bad, error, message in [
        (np.ones((3, 6, D + 1)), ValueError, r"^x must have shape \(N, T, 5\), got \(3, 6, 6\)"),
        (np.ones(5), ValueError, r"^x must have shape \(.*5\), got \(5,\)"),
        (np.ones((2, 3, 6, D)), ValueError, r"^x must have shape \(N, T, 5\), got \(2, 3, 6, 5\)"),
        (np.ones((6, D + 1)), ValueError, r"^x must have shape \(.*5\), got \(6, 6\)"),
        (np.ones((3, 6, D), int), TypeError, r"^x must hold floating-point numbers \(float64\), got int64"),
        (np.ones((3, 6, D), complex), TypeError, r"^x must hold floating-point numbers \(float64\), got complex128"),
        (None, (TypeError, ValueError), r"^x must "),
        ("text", (TypeError, ValueError), r"^x must "),
        ([[[1.0] * D], [[1.0] * D] * 2], ValueError, r"^x must be one array, got lists of different lengths"),
    ]:
        refuses(layer, x, error, message, lambda bad=bad: call(bad))


@pytest.mark.parametrize("name", RECURRENT)
def test_bad_state_and_lengths(name):
    layer, x = make(name), inputs(name)
    for arguments, error, message in [
        ({"lengths": [1, 2]}, ValueError, r"^lengths must have shape \(3,\), got \(2,\)"),
        ({"lengths": [1.0, np.nan, 2.0]}, TypeError, r"^lengths must hold integers, got float64"),
        ({"lengths": [1, 7, 2]}, ValueError, r"^lengths must lie in 0\.\.6, got 7 in row 1"),
        ({"lengths": [[1], [1, 2], [3]]}, ValueError, r"^lengths must be one array, got lists of different lengths"),
        ({"mask": [[True], [True, False]]}, ValueError, r"^mask must be one array, got lists of different lengths"),
        ({"time_major": "no"}, TypeError, r"^time_major must be True or False, got 'no'"),
        ({"time_major": np.array([True, False])}, TypeError, r"^time_major must be True or False, got array"),
        ({"state": "nothing"}, (TypeError, ValueError), r"^state must"),
        ({"state": np.ones((3, H + 1))}, ValueError, r"^state must (have shape \(3, 7\)|be a tuple \(h, c\))"),
        ({"state": [np.ones((3, H))] * 3}, ValueError, r"^state must (have shape \(3, 7\)|be a tuple \(h, c\))"),
        ({"nonsense": 1}, TypeError, r"nonsense"),
    ]:
        refuses(layer, x, error, message, lambda arguments=arguments: layer(x, **arguments))


@pytest.mark.parametrize("name", [*RECURRENT, *STACKS])
def test_bad_checkpoint(name):
    layer, x = make(name), inputs(name)
    for bad, error, message in [
        (np.array([1, 2]), TypeError, r"^checkpoint must be an integer, got array"),
        ("no", TypeError, r"^checkpoint must be an integer, got 'no'"),
        (-1, ValueError, r"^checkpoint must be at least 0, got -1"),
    ]:
        refuses(layer, x, error, message, lambda bad=bad: layer.forward(x, checkpoint=bad))
    assert np.array_equal(layer.forward(x, checkpoint=np.True_)[0], layer(x)[0])


@pytest.mark.parametrize("name", RECURRENT)
def test_bad_step(name):
    layer, x = make(name), inputs(name)
    for bad, error, message in [
        (np.ones((3, D + 1)), ValueError, r"^x_t must have shape \(N, 5\), got \(3, 6\)"),
        (np.ones((3, 1, D)), ValueError, r"^x_t must have shape \(N, 5\), got \(3, 1, 5\)"),
        (np.ones((3, D), int), TypeError, r"^x_t must hold floating-point numbers"),
    ]:
        refuses(layer, x, error, message, lambda bad=bad: layer.step(bad, None))
    refuses(layer, x, ValueError, r"^state", lambda: layer.step(x[:, 0], layer(x[:2])[1]))


@pytest.mark.parametrize("name", [*RECURRENT, *STACKS, *EMBEDDED])
def test_bad_backward(name):
    layer, x = make(name), inputs(name)
    y, state, tape = layer.forward(x)
    other = make(name).forward(x)[2]
    for arguments, error, message in [
        ((other, y), ValueError, r"^tape must come from this layer's forward, got one of another layer"),
        ((None, y), TypeError, r"^tape must come from this layer's forward, got NoneType"),
        ((y, y), TypeError, r"^tape must come from this layer's forward, got ndarray"),
        ((tape, y[:, :-1]), ValueError, r"^dy must have shape \(3, 6, 7\), got \(3, 5, 7\)"),
        ((tape, np.ones((3, 6, H), int)), TypeError, r"^dy must hold floating-point numbers"),
        ((tape, y, map_state(lambda part: part[:2], state)), ValueError, r"^dstate.* must have shape \(3, \d\)"),
    ]:
        refuses(layer, x, error, message, lambda arguments=arguments: layer.backward(*arguments))
    message = "^input_gradient must be True or False, got 'no'"
    refuses(layer, x, TypeError, message, lambda: layer.backward(tape, y, input_gradient="no"))


@pytest.mark.parametrize("layer_class", [fastrnn.SimpleRNN, fastrnn.LSTM, fastrnn.GRU])
@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((0, 4), {}, ValueError, "^input_size must be at least 1, got 0"),
        ((3, -4), {}, ValueError, "^hidden_size must be at least 1, got -4"),
        ((3.0, 4), {}, TypeError, "^input_size must be an integer, got 3.0"),
        ((3, "4"), {}, TypeError, "^hidden_size must be an integer, got '4'"),
        ((True, 4), {}, TypeError, "^input_size must be an integer, got True"),
        ((3, None), {}, TypeError, "^hidden_size must be an integer, got None"),
        ((3, 4), {"dtype": "float16"}, TypeError, "^dtype must be float32 or float64, got 'float16'"),
        ((3, 4), {"dtype": "int32"}, TypeError, "^dtype must be float32 or float64, got 'int32'"),
        ((3, 4), {"dtype": "nonsense"}, TypeError, "^dtype must be float32 or float64, got 'nonsense'"),
        ((3, 4), {"reverse": 1}, TypeError, "^reverse must be True or False, got 1"),
        ((3, 4), {"seed": 1.5}, TypeError, "^seed must be an integer, got 1.5"),
        ((3, 4), {"seed": -1}, ValueError, "^seed must be at least 0, got -1"),
        ((3, 4), {"nonsense": 1}, TypeError, "nonsense"),
        ((3, 4, True), {}, TypeError, "positional"),
    ],
)
def test_bad_construction(layer_class, arguments, options, error, message):
    with pytest.raises(error, match=message):
        layer_class(*arguments, **options)


@pytest.mark.parametrize(
    ("make_layer", "error", "message"),
    [
        (
            lambda: fastrnn.SimpleRNN(3, 4, activation="gelu"),
            ValueError,
            "^activation must be one of 'tanh', 'sigmoid'",
        ),
        (
            lambda: fastrnn.SimpleRNN(3, 4, activation=np.tanh),
            TypeError,
            "^activation must be one of 'tanh', 'sigmoid'",
        ),
        (lambda: fastrnn.SimpleRNN(3, 4, activation=None), TypeError, "^activation must be one of 'tanh', 'sigmoid'"),
        (lambda: fastrnn.SimpleRNN(3, 4, reset_after=True), TypeError, "reset_after"),
        (lambda: fastrnn.LSTM(3, 4, reset_after=True), TypeError, "reset_after"),
        (lambda: fastrnn.GRU(3, 4, reset_after="no"), TypeError, "^reset_after must be True or False, got 'no'"),
    ],
)
def test_bad_options(make_layer, error, message):
    with pytest.raises(error, match=message):
        make_layer()
