"""Section "import": how long ``import fastrnn`` takes, beside scipy.linalg and the peers."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from .problem import Shape
from .settings import Settings
from .timing import pairwise_ratio

SHAPES: tuple[Shape, ...] = ()
TINY: tuple[Shape, ...] = ()
THREADS = (1,)
OPTIONS = ("runners", "rounds")
LEAST_ROUNDS = 11
BASE = "scipy.linalg"
IGNORED = ("PYTHONDONTWRITEBYTECODE", "FASTRNN_NUM_THREADS")

_CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def _seconds(module: str) -> float:
    """Seconds of the import statement in a fresh interpreter, whose own start does not count.

    Bytecode may be written whatever the environment says: an installed package has it. Nor does a number of threads
    hold, for which fastrnn would have to load SciPy's BLAS.
    """
    environment = {name: value for name, value in os.environ.items() if name not in IGNORED}
    command = [sys.executable, "-c", _CODE.format(module)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure(settings: Settings, runners: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One record per module; rounds are at least 11 unless quick."""
    peers = [runner.packages[0] for runner in runners.values() if not runner.ours]
    modules = ["fastrnn", BASE, "numpy", *peers]
    for module in modules:  # write the bytecode, fill the file cache
        _seconds(module)
    seconds: dict[str, list[float]] = {module: [] for module in modules}
    for _ in range(settings.rounds if settings.quick else max(settings.rounds, LEAST_ROUNDS)):
        for module in modules:
            seconds[module].append(_seconds(module))
    for module in modules:
        yield {
            "module": module,
            "median": statistics.median(seconds[module]),
            "samples": seconds[module],
            "over_scipy_linalg": pairwise_ratio(seconds[module], seconds[BASE]),
        }
