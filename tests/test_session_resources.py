"""Sessions on a machine that others use too: no memory per step, one thread at a time, threads and forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sessions import assert_equal, stepped, wide
from stacks import RECURRENT, D, H, inputs, make

import fastrnn
from fastrnn import LSTM, Session, reference_session

Array = np.ndarray


def _modules() -> list[Any]:
    """What there is of the two modules with `Stream` and `fits`."""
    compiled = [fastrnn.backend._MODULES["cython"]] if "cython" in fastrnn.available_backends() else []
    return [reference_session, *compiled]


# ---- memory ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LSTM", "GRU reset before", "dense ends", "norms", "batch norms", "embedding"])
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


@pytest.mark.parametrize("size", [200, 300])
def test_sessions_that_want_the_same_helpers(compiled, threads, size):
    """Steps that would be shared, of two sessions at once; the wider ones without the GIL."""
    fastrnn.set_num_threads(2)
    layer = wide("LSTM", "float32", size)
    x = inputs("LSTM", 1, 2_000, "float32")
    expected = stepped(Session(layer), x)
    sessions = [Session(layer) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for result in pool.map(lambda session: stepped(session, x), sessions):
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


def _wait_for(child: int) -> None:
    """For a child that must end, and say that all was well."""
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended[0] == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended == (child, 0)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # threads are there: that is the point
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("size", [130, 400])
def test_a_session_in_the_child_of_a_fork(compiled, threads, size):
    """The child has lost the threads that its parent's steps may have woken."""
    fastrnn.set_num_threads(2)
    layer = wide("LSTM", "float32", size)
    x = inputs("LSTM", 2, 200, "float32")
    y = stepped(Session(layer, batch=2), x)
    session = Session(layer, batch=2)
    stepped(session, x[:, :-1])
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(session.step(x[:, -1]), y[:, -1]) else 1)
    _wait_for(child)
    assert_equal(session.step(x[:, -1]), y[:, -1])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_of_a_fork_has_helpers_of_its_own(compiled, threads):
    """The parent's are at work when it forks, and the child, which has lost them, steps for as long."""
    fastrnn.set_num_threads(2)
    layer = wide("LSTM", "float32", 200)
    x = inputs("LSTM", 1, 4_000, "float32")
    y = stepped(Session(layer), x)
    session = Session(layer)
    assert_equal(stepped(session, x[:, :2_000]), y[:, :2_000])
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(stepped(session, x[:, 2_000:]), y[:, 2_000:]) else 1)
    _wait_for(child)
    assert_equal(stepped(session, x[:, 2_000:]), y[:, 2_000:])


@pytest.mark.parametrize("in_a_thread", [False, True])
def test_the_interpreter_ends_while_helpers_wait(compiled, in_a_thread):
    code = """
import sys, threading, time
import numpy as np
import fastrnn
fastrnn.set_num_threads(2)
session, x_t = fastrnn.Session(fastrnn.LSTM(200, 200)), np.zeros((1, 200), "float32")
def step():
    while True:
        session.step(x_t)
        if not IN_A_THREAD and time.perf_counter() > end:
            return
end = time.perf_counter() + 0.05
if IN_A_THREAD:
    threading.Thread(target=step, daemon=True).start()
    time.sleep(0.05)
else:
    step()
""".replace("IN_A_THREAD", str(in_a_thread))
    ended = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


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
