"""Sessions: the bits of the plain call, states kept, weights of their own, one thread at a time, no memory per step."""

from __future__ import annotations

import os
import signal
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from stacks import EMBEDDED, RECURRENT, D, H, inputs, make, with_random_parameters

import fastrnn
from fastrnn import GRU, LSTM, Dense, Sequential, Session, SimpleRNN, reference_session

Array = np.ndarray


def _modules() -> list[Any]:
    """What there is of the two modules with `Stream` and `fits`."""
    compiled = [fastrnn.backend._MODULES["cython"]] if "cython" in fastrnn.available_backends() else []
    return [reference_session, *compiled]


FORWARD_STACKS = {
    "two": lambda **o: Sequential([LSTM(D, 33, **o), GRU(33, H, **o)]),
    "three": lambda **o: Sequential([GRU(D, 6, **o), SimpleRNN(6, 40, **o), LSTM(40, H, **o)]),
    "nested": lambda **o: Sequential([Sequential([LSTM(D, 4, **o), GRU(4, 17, **o)]), SimpleRNN(17, H, **o)]),
}
WITH_DENSE = ("dense ends", "dense between", "nested", *EMBEDDED)


@pytest.fixture
def simd(compiled: None) -> Iterator[None]:
    """The packed kernels, which alone promise the same bits for any chunks."""
    before = fastrnn.get_gemm()
    fastrnn.set_gemm("simd")
    yield
    fastrnn.set_gemm(before)


def assert_equal(got: Any, expected: Any) -> None:
    """The same structure, shapes and bits."""
    if isinstance(expected, (list, tuple)):
        assert type(got) is type(expected) and len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_equal(one, other)
    elif expected is None:
        assert got is None
    else:
        assert got.dtype == expected.dtype and got.shape == expected.shape
        assert np.array_equal(got, expected)


def assert_near(got: Any, expected: Any) -> None:
    """The same structure and shapes, and numbers within the rounding of products in another order."""
    if isinstance(expected, (list, tuple)):
        assert type(got) is type(expected) and len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_near(one, other)
    elif expected is None:
        assert got is None
    else:
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 if expected.dtype == np.float32 else 1e-12)


def stepped(session: Session, x: Array) -> Array:
    """y (N, T, O), one step at a time; every y_t copied, since its array is used again."""
    return np.stack([session.step(np.ascontiguousarray(x[:, t])).copy() for t in range(x.shape[1])], axis=1)


def stepped_model(model: Any, x: Array, state: Any = None) -> tuple[Array, Any]:
    """The same through ``model.step``."""
    y = []
    for t in range(x.shape[1]):
        if isinstance(model, Sequential):
            y_t, state = model.step(x[:, t], state)
        else:
            state = model.step(x[:, t], state)
            y_t = state[0] if isinstance(state, tuple) else state
        y.append(y_t)
    return np.stack(y, axis=1), state


def wide(name: str, dtype: str, size: int) -> Any:
    """A recurrent layer (D, size) with random parameters."""
    classes = {"SimpleRNN": SimpleRNN, "LSTM": LSTM, "GRU": GRU}
    options: dict[str, Any] = {"SimpleRNN relu": {"activation": "relu"}, "GRU reset before": {"reset_after": False}}
    layer = classes[name.split()[0]](D, size, dtype=dtype, **options.get(name, {}))
    layer = with_random_parameters(layer)
    layer.params["U"] /= np.sqrt(size)
    return layer


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


@pytest.mark.parametrize("name", RECURRENT)
def test_any_number_of_threads(simd, name, threads):
    """Wide enough for steps that are shared; the number may change under way."""
    layer = wide(name, "float32", 700)
    x = inputs(name, 2, 6, "float32")
    fastrnn.set_num_threads(1)
    y, state = layer(x)
    session = Session(layer, batch=2)
    for t, n in enumerate([1, 2, 3, 8, 2, 1]):
        fastrnn.set_num_threads(n)
        assert_equal(session.step(np.ascontiguousarray(x[:, t])), y[:, t])
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


def leaves(state: Any) -> list[Array]:
    """The arrays of a state."""
    if isinstance(state, (list, tuple)):
        return [leaf for entry in state for leaf in leaves(entry)]
    return [] if state is None else [state]


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


# ---- errors ------------------------------------------------------------------------------------------------------


class Other(fastrnn.layer.StatelessLayer):
    """A layer that sessions know nothing of."""

    def __init__(self) -> None:
        self.input_size, self.output_size = H, H
        self._params = fastrnn.Params.zeros({"W": (1,)}, "float64")


@pytest.mark.parametrize(
    ("model", "batch", "error", "match"),
    [
        (lambda: Dense(3, 2), 1, TypeError, "model must be a recurrent layer or a Sequential, got Dense"),
        (lambda: "LSTM", 1, TypeError, "model must be a recurrent layer or a Sequential, got 'LSTM'"),
        (lambda: LSTM(3, 2, reverse=True), 1, ValueError, "model must scan forwards .* got LSTM"),
        (lambda: make("recurrent"), 1, ValueError, r"model must scan forwards .* got SimpleRNN\(6, 3, reverse=True\)"),
        (lambda: Sequential([make("LSTM"), Other()]), 1, TypeError, "model must hold recurrent layers, .*Other"),
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


# ---- memory ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LSTM", "GRU reset before", "dense ends", "embedding"])
def test_steps_leave_no_memory_behind(backend, name):
    session = Session(make(name, "float32"), batch=2)
    x_t = np.ascontiguousarray(inputs(name, 2, 1, "float32")[:, 0])
    steps = 100_000 if backend == "cython" and name == "LSTM" else 2_000

    def run(n: int) -> int:
        for _ in range(n):
            session.step(x_t)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = run(200)
        assert run(steps) - before < 2_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", RECURRENT)
def test_steps_allocate_nothing(compiled, name):
    """Not even for a moment: no block that NumPy or Python reports, larger than Python's own small objects."""
    session = Session(make(name, "float32"), batch=64)
    x_t = np.ones((64, D), "float32")
    session.step(x_t), session.step(x_t)
    tracemalloc.start()
    try:
        session.step(x_t)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        session.step(x_t)
        assert tracemalloc.get_traced_memory()[1] - before < 64 * H * 4  # one y_t
    finally:
        tracemalloc.stop()


def test_a_session_is_freed(compiled):
    """Its packed weights too, which no tool of Python's sees: 50 sessions of 17 MB."""
    resource = pytest.importorskip("resource")
    layer = LSTM(1024, 512)
    Session(layer)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(50):
        Session(layer)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000


# ---- threads -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [7, 300])
def test_sessions_at_the_same_time(backend, size):
    layer = wide("LSTM", "float32", size)
    x = inputs("LSTM", 8, 40, "float32")
    expected = stepped(Session(layer, batch=8), x)
    sessions = [Session(layer, batch=8) for _ in range(8)]  # here: a thread has its own choice of a backend
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda session: stepped(session, x), sessions))
    for result in results:
        assert_equal(result, expected)


class Held:
    """A part that waits in the middle of a step."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()

    def run(self, x: Array, y: Array) -> None:
        self.entered.set()
        assert self.leave.wait(10)


def test_one_session_for_one_thread_at_a_time(backend, monkeypatch):
    held = Held()
    monkeypatch.setattr(fastrnn.session, "_DensePart", lambda layer: held)
    session = Session(make("dense ends"), batch=3)
    x = inputs("dense ends")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(session.step, x[:, 0])
        try:
            assert held.entered.wait(10)
            for call in (
                lambda: session.step(x[:, 0]),
                lambda: session(x),
                lambda: session.reset(),
                lambda: session.state,
                lambda: setattr(session, "state", None),
            ):
                with pytest.raises(RuntimeError, match="in use by another thread"):
                    call()
        finally:
            held.leave.set()
        running.result(10)
    session.step(x[:, 1])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # threads are there: that is the point
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("size", [130, 700])
def test_a_session_in_the_child_of_a_fork(compiled, threads, size):
    """The child has lost the threads that its parent's steps may have woken."""
    fastrnn.set_num_threads(2)
    layer = wide("LSTM", "float32", size)
    x = inputs("LSTM", 2, 4, "float32")
    y = stepped(Session(layer, batch=2), x)
    session = Session(layer, batch=2)
    session.step(x[:, 0])
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(session.step(x[:, 1]), y[:, 1]) else 1)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended[0] == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended == (child, 0)
    assert_equal(session.step(x[:, 1]), y[:, 1])


def test_an_error_inside_a_step_ends_its_turn(backend):
    session = Session(make("embedding"), batch=3)
    with pytest.raises(ValueError, match="must lie in"):
        session.step([99, 0, 0])
    session.step([1, 0, 0])


@pytest.mark.parametrize("module", _modules(), ids=lambda module: module.__name__)
def test_what_fits(module):
    like = np.zeros((2, 3), "float32")
    read_only = like.copy()
    read_only.flags.writeable = False
    for x in (like, read_only):
        assert module.fits(x, like)
    unaligned = np.frombuffer(b"\0" + like.tobytes(), np.uint8)[1:].view("float32").reshape(like.shape)
    others = (like.T, like.T.copy(), like[:, ::-1], like[:1], like[None], like.astype("float64"), like.astype(">f4"))
    for x in (
        *others,
        unaligned,
        like.astype("int32"),
        like.view(type("Mine", (np.ndarray,), {})),
        like.tolist(),
        None,
    ):
        assert not module.fits(x, like), x
