"""The one timing loop: warm up, calibrate, then let the tasks take turns."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .runners.base import Task

SAMPLE_SECONDS = 5e-3
SETTLE_SECONDS = 0.5
"""Longest wait for the worker threads of other libraries to stop spinning, in a process with several threads. After
their last call OpenBLAS spins for about 110 ms, ONNX Runtime for 50 ms, OpenMP for 5 ms: without the wait they would
take the next runner's CPU."""
PATIENCE_SECONDS = 5.0
"""Longest wait of a race for CPUs that are whole and near each other."""
SLOW_SECONDS = 0.2
"""A call that lasts longer is not repeated to warm the caches before a sample: their refill is lost in it. It is
6 ms of 50 ms of an LSTM with 30 MB of arrays."""


@dataclass(frozen=True)
class Schedule:
    """How long a race lasts.

    Attributes
    ----------
    rounds : int
        Rounds at least.
    seconds : float
        Rounds go on until this time is spent, up to four times ``rounds``.
    settle : float
        Wait before each sample until this process is idle, at most so many seconds.
    sample : float
        Seconds that one sample lasts at least.
    patience : float
        Seconds of the whole race to wait at most for CPUs that are whole and near: see `bench.whole`.
    """

    rounds: int = 7
    seconds: float = 1.0
    settle: float = 0.0
    sample: float = SAMPLE_SECONDS
    patience: float = 0.0


@dataclass(frozen=True)
class Samples:
    """Seconds per call, one sample per round, each over ``repeats`` calls."""

    seconds: list[float]
    repeats: int


def _sample(task: Task, repeats: int) -> float:
    """Seconds per call over ``repeats`` calls."""
    call = task.call
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - start) / repeats
    finally:
        if collecting:
            gc.enable()


def settle(longest: float, interval: float = 0.02) -> bool:
    """Sleep until no thread of this process is busy, at most ``longest`` seconds; return whether that was so."""
    end = time.perf_counter() + longest
    while time.perf_counter() < end:
        busy = time.process_time()
        time.sleep(interval)
        if time.process_time() - busy < interval / 4:
            return True
    return False


def calibrate(task: Task, least: float) -> int:
    """Warm the task up and return how many calls last ``least`` seconds."""
    repeats = 1
    with task.scope():
        while (seconds := _sample(task, repeats) * repeats) < least:
            growth = 2.0 if seconds < least / 10 else 1.1 * least / seconds
            repeats = max(repeats + 1, int(repeats * growth))
    return repeats


def race(
    tasks: Mapping[str, Task], schedule: Schedule, before: Callable[[], None] = lambda: None
) -> dict[str, Samples]:
    """Time the tasks in turns, A B C A B C; ``before`` is called before every sample.

    A task with ``max_rounds`` leaves after as many rounds; the samples of all tasks start at round 0, so that equal
    indices are neighbours in time.
    """
    repeats, slow = {}, {}
    for name, task in tasks.items():
        settle(schedule.settle)
        start = time.perf_counter()
        repeats[name] = calibrate(task, schedule.sample)
        slow[name] = repeats[name] == 1 and time.perf_counter() - start > SLOW_SECONDS
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    end = time.perf_counter() + schedule.seconds
    for k in range(4 * schedule.rounds):
        if k >= schedule.rounds and time.perf_counter() > end:
            break
        for name, task in tasks.items():
            if task.max_rounds is not None and k >= task.max_rounds:
                continue
            settle(schedule.settle)
            before()
            with task.scope():
                if not slow[name]:
                    _sample(task, repeats[name])  # wakes the threads, warms the caches
                seconds[name].append(_sample(task, repeats[name]))
    return {name: Samples(seconds[name], repeats[name]) for name in tasks}


def pairwise_ratio(other: list[float], ours: list[float]) -> float:
    """Median over the rounds of other / ours; rounds that only one of them ran do not count.

    Examples
    --------
    >>> pairwise_ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0])
    2.0
    """
    return statistics.median(a / b for a, b in zip(other, ours, strict=False))
