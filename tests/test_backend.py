"""Choosing a backend: per process, per block, thread and task, from the environment, and when one is missing."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from cases import CASES, as_state, make_problem, outputs

import fastrnn
from fastrnn import backend as backends
from fastrnn.ops import rnn_backward, rnn_forward

needs_both = pytest.mark.skipif(
    fastrnn.available_backends() != ["cython", "numpy"], reason="the compiled backend is not installed"
)
WITHOUT_EXTENSION = """
import importlib.abc, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "fastrnn.kernels":
            raise ImportError("kernels are blocked")
sys.meta_path.insert(0, Blocker())
"""


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh Python; warnings are errors there too."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("FASTRNN_")}
    env |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | environment
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def restored():
    """Restore what `set_backend` and `set_num_threads` changed."""
    default, threads = backends._default, backends._threads
    blas_threads = fastrnn.get_num_threads()
    yield
    backends._default = default
    fastrnn.set_num_threads(blas_threads)
    backends._threads = threads


def test_available_backends_begin_with_the_preferred_one():
    assert fastrnn.available_backends() in (["cython", "numpy"], ["numpy"])


@pytest.mark.usefixtures("restored")
def test_set_backend_holds_for_all_threads(backend):
    seen = []
    with fastrnn.use_backend("numpy"):
        fastrnn.set_backend(backend)
        assert fastrnn.get_backend() == "numpy"
    thread = threading.Thread(target=lambda: seen.append(fastrnn.get_backend()))
    thread.start()
    thread.join()
    assert seen == [backend]


@pytest.mark.usefixtures("restored")
def test_auto_is_the_preferred_one():
    fastrnn.set_backend("numpy")
    fastrnn.set_backend("auto")
    assert fastrnn.get_backend() == fastrnn.available_backends()[0]


@pytest.mark.parametrize("name", ["torch", "", "NumPy", "cython "])
def test_unknown_backend(name):
    before = fastrnn.get_backend()
    with pytest.raises(ValueError, match=f"^backend must be one of 'auto', 'cython', 'numpy', got {name!r}"):
        fastrnn.set_backend(name)
    with pytest.raises(ValueError, match=r"^backend must be one of"), fastrnn.use_backend(name):
        pass
    assert fastrnn.get_backend() == before


@needs_both
def test_blocks_nest_and_end_with_an_exception():
    outside = fastrnn.get_backend()
    with fastrnn.use_backend("numpy"):
        with fastrnn.use_backend("cython"):
            assert fastrnn.get_backend() == "cython"
        assert fastrnn.get_backend() == "numpy"
        with pytest.raises(RuntimeError, match="inside"), fastrnn.use_backend("cython"):
            raise RuntimeError("inside")
        assert fastrnn.get_backend() == "numpy"
    assert fastrnn.get_backend() == outside


@needs_both
def test_blocks_are_per_thread():
    """Eight threads stand inside their blocks at the same time."""
    names, seen = ["numpy", "cython"] * 4, {}
    barrier = threading.Barrier(len(names), timeout=30)

    def run(k):
        with fastrnn.use_backend(names[k]):
            barrier.wait()
            inside = fastrnn.get_backend()
            barrier.wait()
        barrier.wait()
        seen[k] = inside, fastrnn.get_backend()

    outside = fastrnn.get_backend()
    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(names))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {k: (name, outside) for k, name in enumerate(names)}


@needs_both
def test_blocks_are_per_task():
    async def run(name):
        seen = []
        with fastrnn.use_backend(name):
            for _ in range(3):
                await asyncio.sleep(0)
                seen.append(fastrnn.get_backend())
        return seen

    async def all_of_them():
        return await asyncio.gather(run("numpy"), run("cython"), run("numpy"))

    assert asyncio.run(all_of_them()) == [["numpy"] * 3, ["cython"] * 3, ["numpy"] * 3]


@needs_both
@pytest.mark.parametrize(("name", "other"), [("cython", "numpy"), ("numpy", "cython")])
def test_a_tape_is_read_by_the_backend_that_made_it(name, other, monkeypatch):
    def fail(*args):
        raise AssertionError(f"{other} was handed a tape of {name}")

    problem = make_problem("lstm", CASES[0])
    with fastrnn.use_backend(name):
        _, _, tape = rnn_forward(problem.cell, problem.params, problem.x, as_state(problem.state), keep=True)
        expected = outputs(problem)["dx"]
    monkeypatch.setattr(backends._MODULES[other], "backward", fail)
    grads = {key: np.zeros_like(value) for key, value in problem.params.items()}
    with fastrnn.use_backend(other):
        dx, _ = rnn_backward(tape, problem.dy, as_state(problem.dstate), grads=grads)
    assert np.array_equal(dx, expected)


@pytest.mark.usefixtures("restored")
def test_threads():
    for n in (1, 2):
        fastrnn.set_num_threads(n)
        assert fastrnn.get_num_threads() == n
        assert set(backends._blas.get_threads().values()) <= {n}


@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, "^n must be at least 1, got 0"),
        (-1, ValueError, "^n must be at least 1, got -1"),
        (1.0, TypeError, "^n must be an integer, got 1.0"),
        (True, TypeError, "^n must be an integer, got True"),
        ("2", TypeError, "^n must be an integer, got '2'"),
        (None, TypeError, "^n must be an integer, got None"),
        (2**40, ValueError, "^n must be at most 1024, got 1099511627776"),
    ],
)
def test_wrong_number_of_threads(n, error, message):
    before = fastrnn.get_num_threads()
    with pytest.raises(error, match=message):
        fastrnn.set_num_threads(n)
    assert fastrnn.get_num_threads() == before


def test_show_config_prints_what_it_returns(capsys, backend):
    config = fastrnn.show_config()
    printed = capsys.readouterr().out
    keys = "fastrnn python numpy scipy backend available_backends missing_backends blas blas_threads threads"
    assert set(keys.split()) <= config.keys()
    assert config["fastrnn"] == fastrnn.__version__
    assert config["backend"] == backend
    assert config["available_backends"] == fastrnn.available_backends()
    assert config["threads"] == fastrnn.get_num_threads()
    lines = {line.split(maxsplit=1)[0]: line for line in printed.splitlines()}
    assert lines.keys() == config.keys()
    assert lines["backend"].endswith(backend)
    json.dumps(config)


@pytest.mark.parametrize("name", ["auto", *fastrnn.available_backends()])
def test_environment_chooses_the_backend(name):
    result = python("import fastrnn; print(fastrnn.get_backend())", FASTRNN_BACKEND=name)
    assert result.stdout.strip() == (fastrnn.available_backends()[0] if name == "auto" else name), result.stderr


def test_environment_names_no_backend():
    result = python("import fastrnn", FASTRNN_BACKEND="nonsense")
    assert result.returncode == 1
    assert "ValueError: backend must be one of 'auto', 'cython', 'numpy', got 'nonsense'" in result.stderr


@pytest.mark.parametrize(("environment", "threads"), [("FASTRNN_NUM_THREADS", 1), ("OMP_NUM_THREADS", 1)])
def test_environment_sets_threads(environment, threads):
    result = python("import fastrnn; print(fastrnn.get_num_threads())", **{environment: str(threads)})
    assert result.stdout.strip() == str(threads), result.stderr


@pytest.mark.parametrize("text", ["99999999999", "9" * 5000])
def test_more_threads_than_any_program_may_have(text):
    result = python("import fastrnn; print(fastrnn.get_num_threads())", OMP_NUM_THREADS=text)
    assert result.stdout.strip() == "1024", result.stderr


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "", "1025", "99999999999", "\u00b2", "9" * 5000])
def test_environment_sets_impossible_threads(text):
    result = python("import fastrnn", FASTRNN_NUM_THREADS=text)
    assert result.returncode == 1
    assert f"FASTRNN_NUM_THREADS must be an integer of 1 to 1024, got {text!r}" in result.stderr


@pytest.mark.parametrize("text", ["\u00b2", "two", "0"])
def test_what_openmp_cannot_read_either(text):
    result = python("import fastrnn; print(fastrnn.get_num_threads())", OMP_NUM_THREADS=text)
    assert int(result.stdout) == backends._cpus(), result.stderr


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    ("choose", "name", "message"),
    [
        (fastrnn.set_isa, "sse9", "^isa must be one of .*'baseline'.* here, got 'sse9'"),
        (fastrnn.set_isa, "", "^isa must be one of"),
        (fastrnn.set_gemm, "mkl", "^gemm must be one of 'auto', 'simd', 'blas', got 'mkl'"),
    ],
)
def test_unknown_instruction_set_or_gemm(choose, name, message):
    before = fastrnn.get_isa(), fastrnn.get_gemm()
    with pytest.raises(ValueError, match=message):
        choose(name)
    assert (fastrnn.get_isa(), fastrnn.get_gemm()) == before


@pytest.mark.usefixtures("simd")
@pytest.mark.parametrize("lengths", [None, [3, 1]], ids=str)
def test_a_call_during_which_another_thread_chooses_blas(monkeypatch, lengths):
    """A call in its midst, where Python may let another thread run, goes on as it began."""
    layer = fastrnn.LSTM(3, 4, seed=0, dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 3, 3))
    y, _, tape = layer.forward(x, lengths=lengths)
    dx, _, grads = layer.backward(tape, np.ones_like(y))
    kernels = backends._MODULES["cython"]
    make = kernels.Trace

    def trace_and_choose(*arrays):
        fastrnn.set_gemm("blas")
        return make(*arrays)

    monkeypatch.setattr(kernels, "Trace", trace_and_choose)
    y2, _, tape = layer.forward(x, lengths=lengths)
    assert np.array_equal(y2, y)
    dx2, _, grads2 = layer.backward(tape, np.ones_like(y))
    assert np.allclose(dx2, dx, rtol=0, atol=1e-14)
    assert all(np.allclose(grads2[name], grads[name], rtol=0, atol=1e-13) for name in grads)


@pytest.mark.usefixtures("simd")
def test_gradients_of_a_dense_while_another_thread_chooses():
    rng = np.random.default_rng(0)
    layer, x = fastrnn.Dense(64, 64, seed=0), rng.normal(size=(256, 64)).astype("float32")
    tape, dy = layer.forward(x)[1], rng.normal(size=(256, 64)).astype("float32")
    expected = layer.backward(tape, dy)[1]["W"].copy()
    done = threading.Event()

    def choose():
        for name in itertools.cycle(["blas", "simd"]):
            fastrnn.set_gemm(name)
            if done.wait(1e-4):
                return

    chooser = threading.Thread(target=choose)
    chooser.start()
    try:
        for _ in range(1000):
            assert np.allclose(layer.backward(tape, dy)[1]["W"], expected, rtol=0, atol=1e-3)
    finally:
        done.set()
        chooser.join()


@pytest.mark.usefixtures("compiled", "isa", "gemm")
def test_environment_chooses_instruction_set_and_gemm(isa, gemm):
    result = python("import fastrnn; print(fastrnn.get_isa(), fastrnn.get_gemm())", FASTRNN_ISA=isa, FASTRNN_GEMM=gemm)
    assert result.stdout.split() == [isa, gemm], result.stderr


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(("variable", "argument"), [("FASTRNN_ISA", "isa"), ("FASTRNN_GEMM", "gemm")])
def test_environment_names_no_instruction_set_or_gemm(variable, argument):
    result = python("import fastrnn", **{variable: "nonsense"})
    assert result.returncode == 1
    assert f"ValueError: {argument} must be one of" in result.stderr


@pytest.mark.usefixtures("compiled")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_process_forked_after_use_does_not_hang():
    result = python("""
import os, numpy as np, fastrnn
fastrnn.set_num_threads(2)
layer, x = fastrnn.LSTM(32, 64, seed=0), np.ones((64, 20, 32), "float32")
expected, _ = layer(x)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(layer(x)[0], expected) else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")
    assert result.stdout.strip() == "0", result.stderr


@pytest.mark.parametrize("variable", ["FASTRNN_ISA", "FASTRNN_GEMM"])
def test_without_the_extension_there_is_no_choice_of_kernels(variable):
    result = python(
        WITHOUT_EXTENSION + "import fastrnn", **{variable: "blas" if variable == "FASTRNN_GEMM" else "avx2"}
    )
    assert result.returncode == 1
    assert "needs the cython backend: kernels are blocked" in result.stderr


def test_without_the_extension_auto_is_no_choice():
    code = WITHOUT_EXTENSION + "import fastrnn; fastrnn.set_gemm('auto'); print(fastrnn.get_gemm())"
    result = python(code, FASTRNN_GEMM="auto", FASTRNN_BACKEND="auto")
    assert result.stdout.strip() == "auto", result.stderr


def test_without_the_extension_numpy_does_the_work():
    code = (
        WITHOUT_EXTENSION
        + """
import numpy as np, fastrnn
from fastrnn.cells import CELLS
from fastrnn.ops import rnn_backward, rnn_forward
assert fastrnn.available_backends() == ["numpy"]
assert fastrnn.get_backend() == "numpy"
assert fastrnn.show_config()["missing_backends"] == {"cython": "kernels are blocked"}
params = {name: np.ones(shape) for name, shape in CELLS["lstm"].shapes(2, 3).items()}
y, state, tape = rnn_forward(CELLS["lstm"], params, np.ones((1, 2, 2)), keep=True)
grads = {name: np.zeros_like(value) for name, value in params.items()}
rnn_backward(tape, np.ones_like(y), grads=grads)
assert all(grad.any() for grad in grads.values())
try:
    fastrnn.set_backend("cython")
except ImportError as error:
    assert "backend 'cython' is not available: kernels are blocked" in str(error)
    assert str(error.__cause__) == "kernels are blocked"
    print("done")
"""
    )
    result = python(code)
    assert result.stdout.splitlines()[-1:] == ["done"], result.stderr


def test_without_the_extension_an_explicit_choice_raises():
    result = python(WITHOUT_EXTENSION + "import fastrnn", FASTRNN_BACKEND="cython")
    assert result.returncode == 1
    assert "ImportError: backend 'cython' is not available: kernels are blocked" in result.stderr
    assert "The above exception was the direct cause" in result.stderr


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux tells where a thread may run")
def test_threads_that_have_moved_apart_may_run_everywhere(compiled, threads):
    """A thread that wakes on its caller's CPU leaves it, and gives up no CPU for that."""
    fastrnn.set_num_threads(2)
    layer, x = fastrnn.LSTM(128, 128, seed=0), np.zeros((16, 50, 128), "float32")
    everywhere = os.sched_getaffinity(0)
    for _ in range(20):
        time.sleep(0.02)  # the other thread goes to sleep
        layer(x)
    for thread in map(int, os.listdir("/proc/self/task")):
        assert os.sched_getaffinity(thread) == everywhere
