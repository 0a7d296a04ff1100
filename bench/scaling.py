"""Section "threads": one layer on one thread and on all of them, in turns in one process, without a peer.

The grid's own figures for one and for two threads come from two processes, minutes apart, and beside peers whose
threads go on spinning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import fastrnn

from .agreement import reference
from .contest import agreeing, summary, watched_race
from .problem import GRID_SHAPES, QUICK_SHAPES, Problem, make_problem
from .runners import Task
from .settings import Settings
from .timing import pairwise_ratio

SHAPES, TINY = tuple(shape for shape in GRID_SHAPES if shape.N > 1 or shape.H >= 256), QUICK_SHAPES
THREADS = (2,)
OPTIONS = ("cells", "shapes", "modes", "rounds", "seconds")
RUNNER = "fastrnn-cython"


class Threaded:
    """A runner with a number of threads of its own."""

    def __init__(self, runner: Any, threads: int):
        self.runner, self.threads = runner, threads

    @contextmanager
    def scope(self, inner: Any) -> Iterator[None]:
        """While the task runs."""
        before = fastrnn.get_num_threads()
        fastrnn.set_num_threads(self.threads)
        try:
            with inner():
                yield
        finally:
            fastrnn.set_num_threads(before)

    def task(self, mode: str, problem: Problem, threads: int) -> Task:
        """The runner's task, on this one's threads."""
        task = self.runner.task(mode, problem, threads)
        return replace(task, scope=lambda: self.scope(task.scope))


def measure(settings: Settings, runners: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One record per cell, shape and mode; none where the compiled backend is missing."""
    if RUNNER not in runners:
        return
    numbers = {"one": 1, "all": settings.threads}
    for cell in settings.cells:
        for shape in settings.parsed_shapes():
            problem = make_problem(cell, shape)
            for mode in settings.modes:
                able = {name: (Threaded(runners[RUNNER], n), problem) for name, n in numbers.items()}
                expected = dict.fromkeys(able, reference(problem, mode))
                tasks, errors, failed = agreeing(able, mode, settings.threads, expected)
                samples, conditions = watched_race(tasks, settings.schedule())
                flops = problem.flops(mode)
                yield {
                    "cell": cell,
                    **vars(shape),
                    "mode": mode,
                    "flops": flops,
                    "runners": {name: summary(samples[name], flops, errors[name]) for name in tasks},
                    "failed": failed,
                    **conditions,
                    "one_over_all": None if failed else pairwise_ratio(samples["one"].seconds, samples["all"].seconds),
                }
