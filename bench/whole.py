"""Whether the CPUs of this process are whole.

On a virtual machine they need not be: the hypervisor may run two of them on the two threads of one core, or one of them
beside another machine's, for seconds on end. What keeps a core busy then takes up to twice as long. The system within
does not tell, but a loop of fused multiply-adds on all CPUs at once does.
"""

from __future__ import annotations

import importlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from .pinning import pinned_cpus

WHOLE = 0.8
"""Share of the fastest speed seen below which a CPU is not whole: it is 0.5 to 0.7 then, else above 0.9."""
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


class Watch:
    """Waits before samples for CPUs that are whole.

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
        self._patience = patience
        self._samples = self._shared = 0

    def wait(self) -> None:
        """A sample is to follow."""
        self._samples += 1
        while not self._are_whole():
            if self._patience <= 0:
                self._shared += 1
                return
            start = time.perf_counter()
            time.sleep(PAUSE_SECONDS)
            self._patience -= time.perf_counter() - start

    def _are_whole(self) -> bool:
        found = speeds()
        if self.peak is None or not found:
            return True
        self.peak = max(self.peak, *found)
        return min(found) >= WHOLE * self.peak

    @property
    def shared(self) -> float | None:
        """The share of samples that began on CPUs that were not whole; None where nobody can tell."""
        return None if self.peak is None or not self._samples else self._shared / self._samples
