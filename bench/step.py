"""Section "step": one streaming step of one row, called from Python.

Ours is ``Session.step``, which packs the weights once; ``layer.step``, which keeps nothing from call to call, has a row
of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .contest import contest
from .problem import Shape, make_problem
from .runners.fastrnn_runner import Fastrnn, Streaming
from .settings import Settings

SHAPES = (Shape(1, 1, 32, 32), Shape(1, 1, 128, 128))
TINY = (Shape(1, 1, 16, 16),)
THREADS = (1, 2)
OPTIONS = ("runners", "cells", "shapes", "rounds", "seconds")


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
