"""Section "step": one streaming step of one row, called from Python.

Ours is ``Session.step``, which packs the weights once; ``layer.step``, which keeps nothing from call to call, has a row
of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import fastrnn

from .contest import contest
from .problem import Problem, Shape, make_problem
from .runners import Runner, Task
from .runners.base import Outputs
from .runners.fastrnn_runner import Fastrnn, make_layer
from .settings import Settings

SHAPES = (Shape(1, 1, 32, 32), Shape(1, 1, 128, 128))
TINY = (Shape(1, 1, 16, 16),)
THREADS = (1, 2)
OPTIONS = ("runners", "cells", "shapes", "rounds", "seconds")


class Streaming(Runner):
    """A fastrnn backend through `fastrnn.Session`."""

    modes = ("step",)
    ours = True

    def __init__(self, runner: Fastrnn):
        self.runner = runner

    def step(self, problem: Problem, threads: int) -> Task:
        """``session.step(x_t)``."""
        with fastrnn.use_backend(self.runner.backend):
            session = fastrnn.Session(make_layer(problem), batch=problem.shape.N)
        session.state = problem.state if len(problem.state) > 1 else problem.state[0]
        x_t = problem.x[0]

        def call() -> Any:
            return session.step(x_t)

        def read(y: Any) -> Outputs:
            state = session.state if len(problem.state) > 1 else (session.state,)
            return dict(zip(problem.cell.states, state, strict=True)) | {"h": y}

        return Task(call, read, max_rounds=self.runner.max_rounds)


def contestants(runners: Mapping[str, Any]) -> dict[str, Any]:
    """The runners, each of ours twice: under its name with a session, and "NAME layer.step" without."""
    found: dict[str, Any] = {}
    for name, runner in runners.items():
        if isinstance(runner, Fastrnn):
            found |= {name: Streaming(runner), f"{name} layer.step": runner}
        else:
            found[name] = runner
    return found


def measure(settings: Settings, runners: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One record per cell and shape.

    Raises
    ------
    ValueError
        A shape has more than one time step.
    """
    for shape in settings.parsed_shapes():
        if shape.T != 1:
            raise ValueError(f"shapes of a step must have T1, got {shape}")
    for cell in settings.cells:
        for shape in settings.parsed_shapes():
            problem = make_problem(cell, shape)
            yield contest(problem, "step", contestants(runners), settings.threads, settings.schedule())
