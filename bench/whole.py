"""Whether the CPUs of this process are whole, and near each other.

On a virtual machine they need not be: the hypervisor may run two of them on the two threads of one core, or one of them
beside another machine's, for seconds on end. What keeps a core busy then takes up to twice as long. The system within
does not tell, but a loop of fused multiply-adds on all CPUs at once does. It hardly sees a neighbour who has other
work, though, beside whom a training step on two threads takes 1.15 times as long; a loop of Python's integers does,
and takes 1.6 times as long. Or the hypervisor may run the CPUs on two chips: a cache line then takes five times as long
from one to the other, and a training step of 0.2 ms on two threads up to 1.7 times as long. A barrier of these threads
tells.
"""

from __future__ import annotations

import importlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from .pinning import pinned_cpus

WHOLE = 0.8
"""Share of the fastest speed seen below which a CPU is not whole: it is 0.5 to 0.7 then, else above 0.9. Of either
loop."""
FAR_SECONDS = 1e-7
"""What a barrier of two threads takes longer if they are far apart: it is 27 to 33 ns on one chip, 155 to 170 ns on two
(AMD Zen 4)."""
SPINNING_SECONDS = 0.01
"""OpenMP's threads have gone to sleep then, after their last call: they spin for up to 5 ms."""
PAUSE_SECONDS = 0.05
"""Between two looks."""


def speeds(milliseconds: int = 5) -> list[float]:
    """GFLOP/s of float32 fused multiply-adds on all CPUs of this process at once, of each in each of so many
    milliseconds. Empty without the compiled backend; of one CPU where the system has no affinity."""
    try:
        measure = importlib.import_module("fastrnn.kernels").fma_peak
    except ImportError:
        return []
    cpus = pinned_cpus() or []
    if len(cpus) < 2:
        return [float(measure()) for _ in range(milliseconds)]
    together = threading.Barrier(len(cpus))

    def on(cpu: int) -> list[float]:
        os.sched_setaffinity(0, {cpu})  # of this thread
        together.wait()
        return [float(measure()) for _ in range(milliseconds)]

    with ThreadPoolExecutor(len(cpus)) as pool:
        return [speed for found in pool.map(on, cpus) for speed in found]


def interpreter_speeds() -> list[float]:
    """Turns per microsecond of a loop of Python's integers, on each CPU of this process in turn: the best of six."""

    def turns() -> float:
        start, total = time.perf_counter(), 0
        for k in range(3_000):
            total += k * k
        return 3e-3 / (time.perf_counter() - start)

    cpus = pinned_cpus() or []
    if len(cpus) < 2:
        return [max(turns() for _ in range(6))]
    found = []
    try:
        for cpu in cpus:
            os.sched_setaffinity(0, {cpu})  # of this thread
            found.append(max(turns() for _ in range(6)))
    finally:
        os.sched_setaffinity(0, cpus)
    return found


def far_apart() -> bool:
    """Whether the CPUs that threads of the compiled backend run on are. False without it, and on one thread."""
    try:
        kernels = importlib.import_module("fastrnn.kernels")
    except ImportError:
        return False
    threads = importlib.import_module("fastrnn").get_num_threads()
    if threads == 1:
        return False
    seconds = kernels.barrier_seconds()
    time.sleep(SPINNING_SECONDS)
    return bool(seconds > FAR_SECONDS * (threads - 1))


class Watch:
    """Waits before samples for CPUs that are whole and near each other.

    Parameters
    ----------
    patience : float
        Seconds to wait at most, in all.

    Attributes
    ----------
    peak : float or None
        The fastest that a CPU has been, in GFLOP/s.
    """

    def __init__(self, patience: float):
        self.peak = max(speeds(10), default=None)
        self._quickest = max(interpreter_speeds())
        self._patience = patience
        self._samples = self._shared = self._far = 0

    def wait(self) -> None:
        """A sample is to follow."""
        self._samples += 1
        while True:
            far, shared = far_apart(), not self._are_whole()
            if self._patience <= 0 or not (shared or far):
                self._shared += shared
                self._far += far
                return
            start = time.perf_counter()
            time.sleep(PAUSE_SECONDS)
            self._patience -= time.perf_counter() - start

    def _are_whole(self) -> bool:
        found, turns = speeds(), interpreter_speeds()
        if self.peak is None or not found:
            return True
        self.peak, self._quickest = max(self.peak, *found), max(self._quickest, *turns)
        return min(found) >= WHOLE * self.peak and min(turns) >= WHOLE * self._quickest

    @property
    def shared(self) -> float | None:
        """The share of samples that began on CPUs that were not whole; None where nobody can tell."""
        return None if self.peak is None or not self._samples else self._shared / self._samples

    @property
    def far(self) -> float | None:
        """The share of samples that began on CPUs that were far apart; None where nobody can tell."""
        return None if self.peak is None or not self._samples else self._far / self._samples
