"""Sessions: the bits of the plain call, states kept, weights of their own, arrays of any kind."""

from __future__ import annotations

import numpy as np
import pytest
from differences import leaves
from sessions import WITH_DENSE, assert_equal, assert_near, stepped, stepped_model, wide
from stacks import RECURRENT, D, H, inputs, make, with_random_parameters

import fastrnn
from fastrnn import GRU, LSTM, Dense, Sequential, Session, SimpleRNN

FORWARD_STACKS = {
    "two": lambda **o: Sequential([LSTM(D, 33, **o), GRU(33, H, **o)]),
    "three": lambda **o: Sequential([GRU(D, 6, **o), SimpleRNN(6, 40, **o), LSTM(40, H, **o)]),
    "nested": lambda **o: Sequential([Sequential([LSTM(D, 4, **o), GRU(4, 17, **o)]), SimpleRNN(17, H, **o)]),
}


# ---- the same bits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 33, 130])
@pytest.mark.parametrize("N", [1, 3])
@pytest.mark.parametrize("name", RECURRENT)
def test_steps_and_the_call_have_the_same_bits(simd, isa, name, N, dtype, size):
    layer = wide(name, dtype, size)
    x = inputs(name, N, 9, dtype)
    y, state = layer(x)
    session = Session(layer, batch=N)
    assert_equal(stepped(session, x), y)
    assert_equal(session.state, state)


@pytest.mark.parametrize("cuts", [[], [4], [1, 2, 8], [3, 3, 3]], ids=str)
@pytest.mark.parametrize("name", RECURRENT)
def test_chunks_and_the_call_have_the_same_bits(simd, name, dtype, cuts):
    layer = wide(name, dtype, 33)
    x = inputs(name, 3, 9, dtype)
    y, state = layer(x)
    session = Session(layer, batch=3)
    chunks = [session(part) for part in np.split(x, cuts, axis=1)]
    assert_equal(np.concatenate(chunks, axis=1), y)
    assert_equal(session.state, state)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_session_and_a_call_that_project_in_several_chunks(simd, name):
    """So many rows that not all of a call's are projected at once."""
    layer = wide(name, "float32", 130)
    x = inputs(name, 40, 60, "float32")
    assert_equal(Session(layer, batch=40)(x), layer(x)[0])


@pytest.mark.parametrize("N", [1, 3])
@pytest.mark.parametrize("name", FORWARD_STACKS)
def test_stacks_of_recurrent_layers_have_the_same_bits(simd, name, N, dtype):
    model = with_random_parameters(FORWARD_STACKS[name](dtype=dtype))
    x = inputs(name, N, 9, dtype)
    y, state = model(x)
    session = Session(model, batch=N)
    assert_equal(stepped(session, x), y)
    assert_equal(session.state, state)
    session.reset()
    assert_equal(session(x), y)


@pytest.mark.parametrize("name", [*RECURRENT, "one layer", *WITH_DENSE])
def test_steps_have_the_bits_of_the_models_steps(backend, gemm, name, dtype):
    """Products that are BLAS's, which a Dense's always are, have the bits of the same number of rows."""
    model = make(name, dtype)
    x = inputs(name, 3, 6, dtype)
    y, state = stepped_model(model, x)
    session = Session(model, batch=3)
    assert_equal(stepped(session, x), y)
    assert_equal(session.state, state)


@pytest.mark.parametrize("name", [*RECURRENT, "one layer", *WITH_DENSE])
def test_a_call_and_the_models_call_agree(backend, gemm, name, dtype):
    model = make(name, dtype)
    x = inputs(name, 3, 6, dtype)
    y, state = model(x)
    session = Session(model, batch=3)
    assert_near(session(x[:, :2]), y[:, :2])
    assert_near(session(x[:, 2:]), y[:, 2:])
    assert_near(session.state, state)


@pytest.mark.parametrize(("size", "T"), [(300, 1500), (550, 400)])
@pytest.mark.parametrize("N", [1, 2, 9])
@pytest.mark.parametrize("name", RECURRENT)
def test_any_number_of_threads(simd, name, N, threads, size, T):
    """Steps wide enough to be shared, and so many one after the other that they are; the number changes under way."""
    layer = wide(name, "float32", size)
    x = inputs(name, N, T, "float32")
    fastrnn.set_num_threads(1)
    y, state = layer(x)
    session = Session(layer, batch=N)
    x = np.ascontiguousarray(x.swapaxes(0, 1))
    for t, x_t in enumerate(x):
        fastrnn.set_num_threads(2 if t < T - 100 else (3, 8, 1, 2)[t % 4])
        assert np.array_equal(session.step(x_t), y[:, t]), t
    assert_equal(session.state, state)


@pytest.mark.parametrize("name", RECURRENT)
def test_steps_that_release_the_gil(simd, name):
    layer = wide(name, "float32", 300)
    x = inputs(name, 8, 4, "float32")
    assert_equal(stepped(Session(layer, batch=8), x), layer(x)[0])


# ---- what a session is made with, and keeps -----------------------------------------------------------------------


@pytest.mark.parametrize("name", RECURRENT)
def test_the_choices_of_the_time_when_it_was_made(compiled, isa, gemm, name):
    layer = make(name, "float32")
    x = inputs(name, 3, 6, "float32")
    y = stepped_model(layer, x)[0]
    session = Session(layer, batch=3)
    before, by = fastrnn.get_isa(), fastrnn.get_gemm()
    try:
        for other in fastrnn.available_isas():
            fastrnn.set_isa(other)
            for way in ("simd", "blas"):
                fastrnn.set_gemm(way)
                session.reset()
                assert_equal(stepped(session, x), y)
                with fastrnn.use_backend("numpy"):
                    session.reset()
                    assert_equal(stepped(session, x), y)
    finally:
        fastrnn.set_isa(before)
        fastrnn.set_gemm(by)


@pytest.mark.parametrize("name", [*RECURRENT, *WITH_DENSE])
def test_weights_of_its_own(backend, gemm, name):
    model = make(name)
    x = inputs(name)
    session, later = Session(model, batch=3), Session(model, batch=3)
    y = session(x)
    model.params.flat[...] = np.nan
    assert_equal(later(x), y)
    assert np.isnan(Session(model, batch=3)(x)).any()


@pytest.mark.parametrize("name", [*RECURRENT, "nested", "embedding"])
def test_reset(backend, name):
    model = make(name)
    x = inputs(name)
    session = Session(model, batch=3)
    first = session(x)
    second = session(x)
    assert not np.array_equal(first, second)
    session.reset()
    assert_equal(session(x), first)


@pytest.mark.parametrize("rows", [[1], 1, np.array([0, 2], "uint8"), [-0]], ids=str)
def test_reset_of_some_streams(backend, rows):
    model = make("nested")
    x = inputs("nested")
    session = Session(model, batch=3)
    session(x)
    before, zeros = session.state, Session(model, batch=3).state
    session.reset(rows)
    kept = np.ones(3, bool)
    kept[rows] = False
    for old, new, zero in zip(leaves(before), leaves(session.state), leaves(zeros), strict=True):
        assert np.any(old[~kept])
        assert_equal(new, np.where(kept[:, None], old, zero))


@pytest.mark.parametrize("name", [*RECURRENT, "nested", "embedding"])
def test_state_can_be_kept_and_set(backend, name):
    model = make(name)
    x = inputs(name)
    session = Session(model, batch=3)
    session(x)
    state = session.state
    y = session(x)
    assert not np.array_equal(leaves(session.state)[0], leaves(state)[0])  # the one that was read did not move
    session.state = state
    assert_equal(session(x), y)
    other = Session(model, batch=3)
    other.state = state
    assert_equal(other(x), y)
    other.state = None
    assert not any(part.any() for part in leaves(other.state))


def test_reading_and_setting_the_state_copies(backend):
    session = Session(make("LSTM"), batch=3)
    read = session.state
    read[0][...] = 1
    assert not session.state[0].any()
    given = (np.ones((3, H)), np.ones((3, H)))
    session.state = given
    given[0][...] = 5
    session.step(np.zeros((3, D)))
    assert given[1].min() == 1
    session.state = given[::-1]
    assert_equal(session.state, given[::-1])


def test_state_from_a_call_of_the_model(backend):
    model = make("LSTM")
    x = inputs("LSTM", 3, 8)
    y, _ = model(x)
    session = Session(model, batch=3)
    session.state = model(x[:, :5])[1]
    assert_near(session(x[:, 5:]), y[:, 5:])


# ---- options of the cells ----------------------------------------------------------------------------------------

OPTIONS = {
    "peephole, projection": lambda **o: LSTM(D, 9, peephole="diagonal", proj_size=H, **o),
    "full peephole, coupled": lambda **o: LSTM(D, H, peephole="full", coupled=True, **o),
    "normalised, zoneout": lambda **o: GRU(D, H, layer_norm=True, zoneout=0.3, **o),
    "before, relu": lambda **o: GRU(D, H, reset_after=False, activation="relu", **o),
    "clipped, dropouts": lambda **o: SimpleRNN(D, H, clip=0.5, recurrent_dropout=0.5, weight_drop=0.5, **o),
    "learned state": lambda **o: LSTM(D, H, trainable_state=True, **o),
    "learned state in a stack": lambda **o: Sequential(
        [GRU(D, 6, trainable_state=True, **o), Sequential([SimpleRNN(6, H, trainable_state=True, **o)])]
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_stream_as_they_run(backend, gemm, name, dtype):
    model = with_random_parameters(OPTIONS[name](dtype=dtype))
    x = inputs(name, 3, 6, dtype)
    y, state = stepped_model(model, x)
    session = Session(model, batch=3)
    assert_near(stepped(session, x), y)
    assert_near(session.state, state)
    session.reset()
    assert_near(session(x), model(x)[0])


def test_streams_start_from_the_learned_state(backend):
    model = with_random_parameters(OPTIONS["learned state in a stack"](dtype="float64"))
    session = Session(model, batch=3)
    start = session.state
    assert_equal(start[0], np.repeat(model.params["0.h0"][None], 3, axis=0))
    assert start[0].any() and start[1][0].any()
    session(inputs("GRU"))
    session.reset([1])
    assert_equal(session.state[0][1], start[0][1])
    assert not np.array_equal(session.state[0][0], start[0][0])
    session.state = [np.ones((3, 6)), None]
    assert_equal(session.state, [np.ones((3, 6)), start[1]])
    session.state = None
    assert_equal(session.state, start)


# ---- layers without a state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dropouts", "batch norms"])
def test_norms_and_dropouts_as_in_inference(backend, name, dtype):
    model, x = make(name, dtype), inputs(name, dtype=dtype)
    y, state = stepped_model(model, x)
    session, later = Session(model, batch=3), Session(model, batch=3)
    assert_equal(stepped(session, x), y)
    assert_equal(session.state, state)
    whole = model(x)[0]
    for value in (model.params.flat, *model.buffers.values()):
        value[...] = np.nan
    assert_near(later(x), whole)


class Doubled(fastrnn.layer.StatelessLayer):
    """A layer that sessions know nothing of."""

    def __init__(self) -> None:
        self.input_size = self.output_size = H
        self._params = fastrnn.Params.zeros({"factor": (1,)}, "float64")
        self.params["factor"] = np.array([2.0])

    def _run(self, x, call, keep, valid):
        return x * self.params["factor"], None


def test_layers_of_ones_own(backend):
    layer = make("LSTM")
    model = Sequential([layer, Doubled()])
    x = inputs("LSTM")
    session = Session(model, batch=3)
    model.params["1.factor"] = np.array([np.nan])
    assert_near(session(x), 2 * layer(x)[0])


# ---- arrays in and out -------------------------------------------------------------------------------------------


def test_results_take_turns(backend):
    session = Session(make("GRU"), batch=2)
    x = inputs("GRU", 2, 4)
    first = session.step(x[:, 0])
    kept = first.copy()
    second = session.step(x[:, 1])
    assert first is not second
    assert_equal(first, kept)
    assert session.step(x[:, 2]) is first
    assert not np.array_equal(first, kept)


@pytest.mark.parametrize("width", [H, 130])
@pytest.mark.parametrize("N", [1, 3])
@pytest.mark.parametrize("kind", [SimpleRNN, LSTM, GRU, Dense])
def test_a_step_may_read_the_result_before_the_last(backend, kind, N, width):
    """Its own result takes that one's place."""
    model = with_random_parameters(Sequential([kind(width, width)]))
    x = np.random.default_rng(0).normal(size=(2, N, width)).astype("float32")
    session, untouched = Session(model, batch=N), Session(model, batch=N)
    first, kept = session.step(x[0]), untouched.step(x[0]).copy()
    assert_equal(session.step(x[1]), untouched.step(x[1]))
    assert_equal(session.step(first), untouched.step(kept))


def test_writing_into_a_result_does_not_reach_the_state(backend):
    model = make("LSTM")
    x = inputs("LSTM", 2, 5)
    session, untouched = Session(model, batch=2), Session(model, batch=2)
    for t in range(5):
        y = session.step(x[:, t])
        assert_equal(y, untouched.step(x[:, t]))
        y[...] = np.nan


@pytest.mark.parametrize("name", ["LSTM", "dense ends", "embedding"])
def test_out(backend, name):
    model = make(name)
    x = inputs(name, 3, 4)
    expected = stepped(Session(model, batch=3), x)
    session = Session(model, batch=3)
    everything = np.zeros((3, 4, H))
    for t in range(4):
        out = everything[:, t]
        assert session.step(x[:, t], out=out) is out
    assert_equal(everything, expected)


def test_out_may_be_the_input(backend):
    model = with_random_parameters(LSTM(H, H, dtype="float64"))
    x = np.random.default_rng(0).normal(size=(3, 4, H))
    expected = stepped(Session(model, batch=3), x)
    session = Session(model, batch=3)
    for t in range(4):
        x_t = x[:, t].copy()
        assert_equal(session.step(x_t, out=x_t), expected[:, t])


@pytest.mark.parametrize("name", ["GRU", "dense ends"])
def test_arrays_of_many_kinds(backend, name):
    model = make(name, "float32")
    x = inputs(name, 3, 1, "float32")[:, 0]
    x = x.astype("float16").astype("float32")
    expected = Session(model, batch=3).step(x).copy()
    kinds = {
        "list": x.tolist(),
        "transposed": np.asfortranarray(x),
        "strided": np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
        "swapped bytes": x.astype(x.dtype.newbyteorder()),
        "float16": x.astype("float16"),
        "unaligned": np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view("float32").reshape(x.shape),
        "subclass": x.view(type("Mine", (np.ndarray,), {})),
    }
    for kind, array in kinds.items():
        assert np.array_equal(Session(model, batch=3).step(array), expected), kind
    x.flags.writeable = False
    assert_equal(Session(model, batch=3).step(x), expected)


@pytest.mark.parametrize("dtype_of_indices", ["int64", "int32", "uint8"])
def test_indices(backend, dtype_of_indices):
    model = make("embedding")
    x = inputs("embedding", 3, 5)
    expected = stepped(Session(model, batch=3), x)
    assert_equal(stepped(Session(model, batch=3), x.astype(dtype_of_indices)), expected)
    session = Session(model, batch=3)
    assert_equal(session.step(x[:, 0].tolist()), expected[:, 0])
    assert_near(session(x[:, 1:].tolist()), expected[:, 1:])


@pytest.mark.parametrize("name", ["LSTM", "embedding"])
def test_layouts_of_a_call(backend, name):
    model = make(name)
    x = inputs(name, 3, 5)
    y = Session(model, batch=3)(x)
    assert y.shape == (3, 5, H)
    assert_equal(Session(model, batch=3)(x.swapaxes(0, 1), time_major=True), y.swapaxes(0, 1))
    x = x[:1]
    y = Session(model)(x)
    assert_equal(Session(model)(x[0]), y[0])
    assert_equal(Session(model)(x[0], time_major=True), y[0])


def test_a_call_of_no_steps(backend):
    session = Session(make("nested"), batch=3)
    session(inputs("nested"))
    state = session.state
    assert session(np.zeros((3, 0, D))).shape == (3, 0, H)
    assert_equal(session.state, state)


def test_results_of_a_call_are_fresh(backend):
    session = Session(make("GRU"), batch=3)
    first = session(inputs("GRU"))
    kept = first.copy()
    session(inputs("GRU"))
    session.step(np.ones((3, D)))
    assert_equal(first, kept)
