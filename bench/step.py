"""Section "step": one streaming step of one row, called from Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .contest import contest
from .problem import Shape, make_problem
from .settings import Settings

SHAPES = (Shape(1, 1, 32, 32), Shape(1, 1, 128, 128))
TINY = (Shape(1, 1, 16, 16),)
THREADS = (1,)
OPTIONS = ("runners", "cells", "shapes", "rounds", "seconds")


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
            yield contest(make_problem(cell, shape), "step", runners, settings.threads, settings.schedule())
