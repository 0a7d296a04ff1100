"""One record: check that the runners agree on a problem, time them in turns, compare."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

from . import limits
from .agreement import check, reference
from .machine import busy_seconds
from .problem import Problem
from .runners import PEERS
from .runners.base import Task
from .timing import Samples, Schedule, pairwise_ratio, race
from .whole import Watch


def agreeing(
    candidates: Mapping[str, tuple[Any, Problem]], mode: str, threads: int, expected: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Task], dict[str, float], dict[str, str]]:
    """Prepare each (runner, problem) and check it.

    Returns
    -------
    tasks, errors, failed : dict
        By label: what may be timed, its largest scaled error, and why the others may not.
    """
    tasks, errors, failed = {}, {}, {}
    for label, (runner, problem) in candidates.items():
        outcome = _prepare(runner, problem, mode, threads, expected[label])
        if isinstance(outcome, str):
            failed[label] = outcome
        else:
            tasks[label], errors[label] = outcome
    return tasks, errors, failed


def _prepare(
    runner: Any, problem: Problem, mode: str, threads: int, expected: Mapping[str, Any]
) -> tuple[Task, float] | str:
    """The task and its error, or why there is none."""
    try:
        task = runner.task(mode, problem, threads)
        return task, check(task, expected)
    except Exception as error:  # a peer may raise anything; it is named in the record and the others go on
        return f"{type(error).__name__}: {error}"


def watched_race(tasks: Mapping[str, Task], schedule: Schedule) -> tuple[dict[str, Samples], dict[str, float | None]]:
    """`race`, and what the machine was like: a record's keys that end in ``_cpus``, and ``fma_peak``."""
    started, own, machine = time.perf_counter(), time.process_time(), busy_seconds()
    watch = Watch(schedule.patience)
    samples = race(tasks, schedule, watch.wait)
    own, seconds, after = time.process_time() - own, time.perf_counter() - started, busy_seconds()
    others = None if machine is None or after is None else max(0.0, after - machine - own) / seconds
    seen = {"shared_cpus": watch.shared, "far_cpus": watch.far, "fma_peak": watch.peak}
    return samples, {"others_cpus": others, **seen}


def summary(samples: Samples, flops: float, error: float) -> dict[str, Any]:
    """A runner's part of a record."""
    median = statistics.median(samples.seconds)
    return {
        "median": median,
        "best": min(samples.seconds),
        "samples": samples.seconds,
        "repeats": samples.repeats,
        "gflops": flops / median / 1e9,
        "error": error,
    }


def compare(samples: Mapping[str, Samples], ours: str | None) -> dict[str, Any]:
    """``ratios`` of every other runner to ours, and the ``ratio`` to the best peer: the smallest among the peers."""
    ratios = {}
    if ours is not None:
        ratios = {
            name: pairwise_ratio(other.seconds, samples[ours].seconds)
            for name, other in samples.items()
            if name != ours
        }
    peers = {name: ratio for name, ratio in ratios.items() if name in PEERS}
    best = min(peers, key=lambda name: peers[name], default=None)
    return {"ours": ours, "ratios": ratios, "best_peer": best, "ratio": None if best is None else peers[best]}


def first_of_ours(names: Any, runners: Mapping[str, Any]) -> str | None:
    """The first of the names that is one of fastrnn's backends: the compiled one where it ran."""
    return next((name for name in names if runners[name].ours), None)


def contest(
    problem: Problem, mode: str, runners: Mapping[str, Any], threads: int, schedule: Schedule
) -> dict[str, Any]:
    """Measure one problem with all runners; return the record that the package's docstring describes."""
    able = {name: (runner, problem) for name, runner in runners.items() if runner.runs(mode, problem)}
    expected = reference(problem, mode)
    tasks, errors, failed = agreeing(able, mode, threads, dict.fromkeys(able, expected))
    samples, conditions = watched_race(tasks, schedule)
    flops = problem.flops(mode)
    record: dict[str, Any] = {
        "cell": problem.cell.name,
        **vars(problem.shape),
        "mode": mode,
        "flops": flops,
        "runners": {name: summary(samples[name], flops, errors[name]) for name in tasks},
        "failed": failed,
        **conditions,
        **compare(samples, first_of_ours(tasks, runners)),
    }
    record["share"] = share_of_peak(record, threads)
    record["limit"] = limits.seconds(problem, mode, threads, record["fma_peak"])
    return record


def share_of_peak(record: Mapping[str, Any], threads: int) -> float | None:
    """Our GFLOP/s over the FMA peak of as many cores, or None where either is unknown."""
    if record["fma_peak"] is None or record["ours"] is None:
        return None
    return float(record["runners"][record["ours"]]["gflops"] / (record["fma_peak"] * threads))
