"""Section "memory": what inference takes beyond y, whatever T; each measurement in a process of its own.

Needs Linux: the peak resident set is read from, and reset in, /proc.
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .problem import Shape, make_problem
from .settings import Settings

SHAPES = (Shape(16, 100, 128, 128), Shape(16, 1000, 128, 128), Shape(16, 10000, 128, 128))
TINY = (Shape(2, 50, 16, 16),)
THREADS = (1,)
OPTIONS = ("runners", "cells", "shapes")


def measure(settings: Settings, runners: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One record per cell, shape and runner.

    Raises
    ------
    OSError
        The system does not tell the peak resident set.
    """
    if "VmHWM" not in _status():
        raise OSError("memory is measured with /proc/self/status (VmHWM), which this system does not have")
    for cell in settings.cells:
        for shape in settings.parsed_shapes():
            for name in runners:
                job = json.dumps({"runner": name, "cell": cell, "shape": str(shape), "threads": settings.threads})
                done = subprocess.run([sys.executable, "-m", "bench.memory", job], capture_output=True, text=True)
                if done.returncode:
                    raise RuntimeError(f"memory of {name} could not be measured:\n{done.stderr}")
                yield json.loads(done.stdout.splitlines()[-1])


def _status() -> dict[str, int]:
    """The kB figures of /proc/self/status, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines)
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in fields if words[2:] == ["kB"]}


def _forget_peak() -> None:
    """Give free memory back, so that reusing it counts, and lower the recorded peak to the present size."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def probe(runner: str, cell: str, shape: str, threads: int) -> dict[str, Any]:
    """Measure the growth of this process's peak resident set during one inference call.

    A tiny call first loads the code; weights, input and state are made before.
    """
    from .runners import RUNNERS

    problem = make_problem(cell, Shape.parse(shape))
    RUNNERS[runner].task("forward", make_problem(cell, Shape(1, 2, 8, 8)), threads).outputs()
    task = RUNNERS[runner].task("forward", problem, threads)
    with task.scope():
        _forget_peak()
        before = _status()["VmRSS"]
        result = task.call()
        peak = _status()["VmHWM"] - before
    y_bytes = task.read(result)["y"].nbytes
    return {
        "runner": runner,
        "cell": cell,
        **vars(problem.shape),
        "peak_bytes": peak,
        "y_bytes": y_bytes,
        "scratch_bytes": peak - (0 if task.binds_outputs else y_bytes),
    }


if __name__ == "__main__":
    print(json.dumps(probe(**json.loads(sys.argv[1]))))
