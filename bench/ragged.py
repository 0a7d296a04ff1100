"""Section "ragged": lengths evenly over 1..T against the padded batch, and against a peer's packed sequences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .agreement import reference
from .contest import agreeing, compare, first_of_ours, summary, watched_race
from .problem import Problem, Shape, make_problem
from .settings import Settings
from .timing import pairwise_ratio

SHAPES = (Shape(32, 100, 128, 128), Shape(64, 50, 256, 256))
TINY = (Shape(4, 6, 8, 24),)
THREADS = (1, 2)
OPTIONS = ("runners", "cells", "shapes", "modes", "rounds", "seconds")


def measure(settings: Settings, runners: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One record per cell, shape and mode; only runners that know lengths take part."""
    for cell in settings.cells:
        for shape in settings.parsed_shapes():
            problems = {"padded": make_problem(cell, shape), "ragged": make_problem(cell, shape, ragged=True)}
            for mode in settings.modes:
                able = {name: runner for name, runner in runners.items() if runner.runs(mode, problems["ragged"])}
                yield _record(problems, mode, able, settings)


def _record(
    problems: Mapping[str, Problem], mode: str, runners: Mapping[str, Any], settings: Settings
) -> dict[str, Any]:
    truth = {kind: reference(problem, mode) for kind, problem in problems.items()}
    candidates = {f"{name} {kind}": (runners[name], problems[kind]) for name in runners for kind in problems}
    expected = {f"{name} {kind}": truth[kind] for name in runners for kind in problems}
    tasks, errors, failed = agreeing(candidates, mode, settings.threads, expected)
    samples, conditions = watched_race(tasks, settings.schedule())
    ragged = {name: samples[f"{name} ragged"] for name in runners if f"{name} ragged" in samples}
    over = {
        name: pairwise_ratio(ragged[name].seconds, samples[f"{name} padded"].seconds)
        for name in ragged
        if f"{name} padded" in samples
    }
    problem = problems["ragged"]
    return {
        "cell": problem.cell.name,
        **vars(problem.shape),
        "mode": mode,
        "flops": problem.flops(mode),
        "runners": {label: summary(samples[label], candidates[label][1].flops(mode), errors[label]) for label in tasks},
        "failed": failed,
        **conditions,
        **compare(ragged, first_of_ours(ragged, runners)),
        "ragged_over_padded": over,
    }
