"""Layers made of layers (directions, poolings, dropouts, norms): what holds for any of them, whatever is in it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from cases import TOLERANCES
from differences import layer_gradient_errors, leaves, map_state, relative_error
from stacks import BIDIRECTIONAL, COMPOSED, POOLED, RANDOM, D, inputs, make

import fastrnn

LENGTHS = np.array([4, 0, 6])
HOLES = np.array([[1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 1, 1]], bool)
RAGGED = {"full": {}, "lengths": {"lengths": LENGTHS}, "mask": {"mask": HOLES}}
INFERRED = [*BIDIRECTIONAL, *POOLED]  # training and inference give the same


def train(layer, x, state=None, dy_padding=0.0, padding=None, **options):
    """One training pass and its gradients; every array that comes out, x's and the state's gradients included."""
    y, final, tape = layer.forward(x, state, **options, rng=np.random.default_rng(3))
    rng = np.random.default_rng(5)
    dy, dfinal = map_state(lambda part: rng.normal(size=part.shape).astype(part.dtype), [y, final])
    if padding is not None and not layer.pools:
        for part in leaves(dy):
            part[padding] = dy_padding
    dx, dstate, grads = layer.backward(tape, dy, dfinal)
    return leaves([y, final, dx, dstate, list(grads.values())])


def initial(layer, x):
    """A random state for as many sequences as x has."""
    rng = np.random.default_rng(9)
    return map_state(lambda part: rng.uniform(-1, 1, part.shape).astype(part.dtype), layer(x)[1])


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert np.array_equal(a, b)


def near(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert relative_error(a, b) <= TOLERANCES["agreement", "float64"]


@pytest.mark.parametrize("options", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize("name", INFERRED)
def test_training_runs_as_inference_does(backend, name, options, dtype):
    layer, x = make(name, dtype), inputs(name, dtype=dtype)
    state = initial(layer, x)
    same(leaves(layer.forward(x, state, **options)[:2]), leaves(layer(x, state, **options)))


@pytest.mark.parametrize("options", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize("name", COMPOSED)
def test_gradients(backend, name, options):
    layer, x = make(name), inputs(name)
    errors = layer_gradient_errors(layer, x, initial(layer, x), **options, seed=4, entries=10)
    assert all(error <= TOLERANCES["gradient", "float64"] for error in errors.values()), errors


@pytest.mark.parametrize("name", ["LSTM, mul", "AttentionLSTM"])
def test_a_wrong_gradient_is_noticed(name, monkeypatch):
    """A negative control: one entry of one gradient off by a millionth of the largest."""
    layer, x = make(name), inputs(name)
    backward = layer.backward

    def slightly_wrong(*arguments):
        dx, dstate, grads = backward(*arguments)
        flat = next(iter(grads.values())).reshape(-1)
        flat[3] += 1e-6 * np.abs(flat).max()
        return dx, dstate, grads

    monkeypatch.setattr(layer, "backward", slightly_wrong)
    errors = layer_gradient_errors(layer, x, seed=4, entries=10)
    assert [name for name, error in errors.items() if error > TOLERANCES["gradient", "float64"]] == [next(iter(errors))]


@pytest.mark.parametrize("name", COMPOSED)
def test_the_backends_agree(name):
    layer, x = make(name), inputs(name)
    found = {}
    for backend in fastrnn.available_backends():
        with fastrnn.use_backend(backend):
            found[backend] = train(layer, x, initial(layer, x), **RAGGED["lengths"])
    for results in found.values():
        near(results, found["numpy"])


@pytest.mark.parametrize("kind", ["lengths", "mask"])
@pytest.mark.parametrize("name", COMPOSED)
def test_padding_reaches_nothing(backend, name, kind):
    layer, x = make(name), inputs(name)
    padding = ~HOLES if kind == "mask" else np.arange(6) >= LENGTHS[:, None]
    beyond = padding if kind == "lengths" else None  # dy counts on a skipped step: its y is that of the step before
    clean = train(layer, x, padding=beyond, **RAGGED[kind])
    x[padding] = np.nan
    same(train(layer, x, padding=beyond, dy_padding=np.inf, **RAGGED[kind]), clean)
    inferred = leaves(layer(x, **RAGGED[kind]))
    assert all(np.isfinite(part).all() for part in inferred)


@pytest.mark.parametrize("name", COMPOSED)
def test_a_mask_may_change_after_the_forward_pass(backend, name):
    layer, x, mask = make(name), inputs(name), HOLES.copy()
    y, _, tape = layer.forward(x, mask=mask, rng=np.random.default_rng(3))
    dy = map_state(lambda part: np.random.default_rng(5).normal(size=part.shape), y)
    results = []
    for _ in range(2):
        dx, _, grads = layer.backward(tape, dy)
        results.append([dx, grads.flat])
        mask[...] = ~mask
    same(*results)


@pytest.mark.parametrize("name", COMPOSED)
def test_y_beyond_a_rows_length_is_zero(backend, name):
    layer, x = make(name), inputs(name)
    for y in leaves([layer(x, lengths=LENGTHS)[0], layer.forward(x, lengths=LENGTHS, rng=np.random.default_rng(0))[0]]):
        if name in ("classifier", "batch norm of contexts"):
            assert y.shape == (3, 7)  # what follows the pooling gives a vector to an empty sequence too
        elif layer.pools:
            assert not y[1].any() and y[0].any()
        else:
            assert not y[np.arange(6) >= LENGTHS[:, None]].any() and y[0, 3].any()


@pytest.mark.parametrize("options", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize("name", COMPOSED)
def test_time_major(backend, name, options):
    layer, x = make(name), inputs(name)
    turned = {key: value.T if key == "mask" else value for key, value in options.items()}
    y, state, tape = layer.forward(x, **options, rng=np.random.default_rng(3))
    y2, state2, tape2 = layer.forward(x.swapaxes(0, 1), **turned, time_major=True, rng=np.random.default_rng(3))

    def turn(part):
        return part if layer.pools else part.swapaxes(0, 1)

    near(leaves([map_state(turn, y2), state2]), leaves([y, state]))
    dx, dstate, grads = layer.backward(tape, y, state)
    dx2, dstate2, grads2 = layer.backward(tape2, map_state(turn, y), state)
    near(leaves([dx2.swapaxes(0, 1), dstate2, list(grads2.values())]), leaves([dx, dstate, list(grads.values())]))


@pytest.mark.parametrize("options", RAGGED, ids=RAGGED)
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("name", COMPOSED)
def test_one_sequence_without_a_batch_axis(backend, name, time_major, options):
    layer, x = make(name), inputs(name, N=1)
    ragged = {"full": {}, "lengths": {"lengths": [4]}, "mask": {"mask": HOLES[:1]}}[options]
    alone = {"mask": HOLES[0]} if options == "mask" else ragged
    y, state, tape = layer.forward(x, **ragged, rng=np.random.default_rng(3))
    y1, state1, tape1 = layer.forward(x[0], **alone, time_major=time_major, rng=np.random.default_rng(3))
    near(leaves([y1, state1]), leaves([map_state(lambda part: part[0], y), state]))
    dx, dstate, grads = layer.backward(tape, y, state)
    dx1, dstate1, grads1 = layer.backward(tape1, y1, state)
    assert dx1.shape == (6, D)
    near(leaves([dx1, dstate1, list(grads1.values())]), leaves([dx[0], dstate, list(grads.values())]))
    with pytest.raises(ValueError, match=r"^dy.* must have shape"):
        layer.backward(tape1, y, state)


@pytest.mark.parametrize("name", COMPOSED)
def test_a_row_of_a_batch_is_the_row_alone(backend, name):
    layer, x = make(name), inputs(name)
    state = initial(layer, x)
    y, final = layer(x, state, LENGTHS)
    for n, length in enumerate(LENGTHS):
        alone, alone_final = layer(x[n : n + 1, :length], map_state(lambda part, n=n: part[n : n + 1], state))
        row = map_state(lambda part, n=n, k=length: part[n : n + 1] if layer.pools else part[n : n + 1, :k], y)
        near(leaves([row, map_state(lambda part, n=n: part[n : n + 1], final)]), leaves([alone, alone_final]))


@pytest.mark.parametrize("name", BIDIRECTIONAL)
def test_a_row_of_a_batch_has_the_bits_of_the_row_alone(simd, name, dtype):
    layer, x = make(name, dtype), inputs(name, dtype=dtype)
    state, dy = initial(layer, x), map_state(np.cos, layer(x)[0])
    y, final, tape = layer.forward(x, state, LENGTHS)
    dx, dstate, _ = layer.backward(tape, dy, final)
    for n, k in enumerate(LENGTHS):

        def row(results, n=n, k=k):
            return map_state(lambda part: part[n : n + 1, :k] if part.ndim == 3 else part[n : n + 1], results)

        y1, final1, tape1 = layer.forward(row(x), row(state))
        dx1, dstate1, _ = layer.backward(tape1, row(dy), final1)
        same(leaves([y1, final1, dx1, dstate1]), leaves(row([y, final, dx, dstate])))


@pytest.mark.parametrize("options", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize("name", COMPOSED)
def test_permuting_the_batch_permutes_the_result(backend, name, options):
    layer, x = make(name), inputs(name)
    order = np.array([2, 0, 1])
    state = initial(layer, x)
    permuted = layer(x[order], map_state(lambda part: part[order], state), **{k: v[order] for k, v in options.items()})
    near(leaves(permuted), leaves(map_state(lambda part: part[order], list(layer(x, state, **options)))))


@pytest.mark.parametrize("name", COMPOSED)
def test_a_mask_without_holes_gives_the_state_and_the_steps_of_lengths(backend, name):
    layer, x = make(name), inputs(name)
    valid = np.arange(6) < LENGTHS[:, None]
    y, state = layer(x, lengths=LENGTHS)
    y2, state2 = layer(x, mask=valid)
    near(leaves(state2), leaves(state))
    for a, b in zip(leaves([y2]), leaves([y]), strict=True):
        near([a if layer.pools else a[valid]], [b if layer.pools else b[valid]])


@pytest.mark.parametrize("name", ["dropouts", "batch norms"])
def test_chunks_of_time_chain_to_the_whole(backend, name):
    layer, x = make(name), inputs(name)
    y, state = layer(x)
    first, running = layer(x[:, :2])
    second, running = layer(x[:, 2:], running)
    near(leaves([np.concatenate([first, second], axis=1), running]), leaves([y, state]))
    running = None
    for t in range(6):
        y_t, running = layer.step(x[:, t], running)
        near([y_t], [y[:, t]])
    near(leaves(running), leaves(state))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("name", COMPOSED)
def test_copies_stand_on_their_own(name, duplicate):
    layer, x = make(name), inputs(name)
    twin = duplicate(layer)
    before = leaves(layer(x))
    assert repr(twin) == repr(layer) and list(twin.params) == list(layer.params)
    same(leaves(twin(x)), before)
    same(train(twin, x), train(layer, x))
    for name, value in twin.params.items():
        assert np.shares_memory(value, twin.params.flat)
        assert not np.may_share_memory(value, layer.params[name])
    same(list(twin.buffers.values()), list(layer.buffers.values()))
    before = leaves(layer(x))
    twin.params.flat[...] = 0
    for value in twin.buffers.values():
        value[...] = 1
    same(leaves(layer(x)), before)
    assert not any(part.any() for part in leaves(twin(x)[0]))


@pytest.mark.parametrize("name", COMPOSED)
def test_parts_live_in_the_buffer_of_the_whole(name):
    layer = make(name)
    assert list(layer.params) == [f"{part}.{key}" for part, inner in layer._parts.items() for key in inner.params]
    for part, inner in layer._parts.items():
        for key, value in inner.params.items():
            assert np.shares_memory(value, layer.params.flat)
            assert value.__array_interface__["data"] == layer.params[f"{part}.{key}"].__array_interface__["data"]
        for key, value in inner.buffers.items():
            assert value is layer.buffers[f"{part}.{key}"]


@pytest.mark.parametrize("name", COMPOSED)
def test_empty_batches(backend, name):
    layer = make(name)
    for N, T in [(0, 4), (3, 0), (0, 0)]:
        x = np.zeros((N, T, D))
        state = initial(layer, x)
        for options in ({}, {"lengths": np.zeros(N, int)}, {"mask": np.zeros((N, T), bool)}):
            y, final, tape = layer.forward(x, state, **options, rng=np.random.default_rng(0))
            assert all(
                part.shape[: 1 if layer.pools else 2] == ((N,) if layer.pools else (N, T)) for part in leaves([y])
            )
            same(leaves(final), leaves(state))
            dx, dstate, _ = layer.backward(tape, y, final)
            assert dx.shape == x.shape
            same(leaves(dstate), leaves(final))


@pytest.mark.parametrize("name", COMPOSED)
def test_gradients_that_are_left_out(backend, name):
    """No dy is zeros, no dstate is zeros; without the input gradient the rest is the same; a tape serves twice."""
    layer, x = make(name), inputs(name)
    y, state, tape = layer.forward(x, rng=np.random.default_rng(0))
    zero_y, zero_state = map_state(np.zeros_like, [y, state])
    for given, explicit in [((None, state), (zero_y, state)), ((y, None), (y, zero_state)), ((), (zero_y, zero_state))]:
        found, expected = layer.backward(tape, *given), layer.backward(tape, *explicit)
        same(leaves([*found[:2], found[2].flat]), leaves([*expected[:2], expected[2].flat]))
    _, dstate, grads = layer.backward(tape, y, state)
    dx, dstate2, grads2 = layer.backward(tape, y, state, input_gradient=False)
    assert dx is None
    same(leaves([dstate2, grads2.flat]), leaves([dstate, grads.flat]))
    assert grads.flat.any()


@pytest.mark.parametrize("options", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize("name", COMPOSED)
def test_checkpoints_give_the_same(backend, name, options):
    layer, x = make(name), inputs(name)
    state = initial(layer, x)
    for checkpoint in (True, 2):
        near(train(layer, x, state, **options, checkpoint=checkpoint), train(layer, x, state, **options))


@pytest.mark.parametrize("name", RANDOM)
def test_the_same_generator_gives_the_same_bits(backend, name):
    layer, x = make(name), inputs(name)
    first, second = (train(layer, x) for _ in range(2))
    same(first, second)
    other = layer.forward(x, rng=np.random.default_rng(4))[0]
    assert not np.array_equal(leaves([other])[0], first[0])


@pytest.mark.parametrize("name", RANDOM)
def test_training_draws_from_the_rng_that_is_given(backend, name):
    layer, x = make(name), inputs(name)
    with pytest.raises(ValueError, match=r"^rng must be a numpy.random.Generator: Dropout\(0\.\d.*\) draws from it"):
        layer.forward(x)
    for bad in (0, np.random, np.random.RandomState(0)):
        with pytest.raises(TypeError, match=r"^rng must be a numpy.random.Generator, got"):
            layer.forward(x, rng=bad)
    with pytest.raises(TypeError, match="rng"):
        layer(x, rng=np.random.default_rng(0))


@pytest.mark.parametrize("name", COMPOSED)
def test_wrong_lengths_and_masks(backend, name):
    layer, x = make(name), inputs(name)
    before, buffers = leaves(layer(x)), [value.copy() for value in layer.buffers.values()]
    for options, error, match in [
        ({"lengths": LENGTHS, "mask": HOLES}, ValueError, "^lengths and mask must not both be given"),
        ({"lengths": [1, 2]}, ValueError, r"^lengths must have shape \(3,\), got \(2,\)"),
        ({"lengths": [1, 7, 0]}, ValueError, r"^lengths must lie in 0..6, got 7"),
        ({"mask": HOLES.T}, ValueError, r"^mask must have shape \(3, 6\), got \(6, 3\)"),
        ({"mask": HOLES[0]}, ValueError, r"^mask must have shape \(3, 6\), got \(6,\)"),
        ({"mask": HOLES.astype(int)}, TypeError, r"^mask must hold True and False \(bool\), got int64"),
        ({"mask": "all"}, TypeError, "^mask must hold True and False"),
        ({"mask": HOLES, "time_major": True}, ValueError, r"^mask must have shape \(6, 3\), got \(3, 6\)"),
    ]:
        given = x.swapaxes(0, 1) if "time_major" in options else x
        for call in (layer, lambda *a, **k: layer.forward(*a, **k, rng=np.random.default_rng(0))):
            with pytest.raises(error, match=match):
                call(given, **options)
    same([*leaves(layer(x)), *layer.buffers.values()], [*before, *buffers])


@pytest.mark.parametrize("name", COMPOSED)
def test_wrong_gradients(backend, name):
    layer, x = make(name), inputs(name)
    y, state, tape = layer.forward(x, rng=np.random.default_rng(0))
    other = make(name).forward(x, rng=np.random.default_rng(0))[2]
    for arguments, error, match in [
        ((other, y), ValueError, "^tape must come from this layer's forward, got one of another"),
        ((None, y), TypeError, "^tape must come from this layer's forward, got NoneType"),
        ((tape, map_state(lambda part: part[:2], y)), ValueError, r"^dy(\[0\])? must have shape"),
        ((tape, map_state(lambda part: part.astype(int), y)), TypeError, r"^dy(\[0\])? must hold floating-point"),
        ((tape, y, map_state(lambda part: part[:2], state)), ValueError, r"^dstate.* must have shape"),
    ]:
        with pytest.raises(error, match=match):
            layer.backward(*arguments)
