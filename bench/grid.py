"""Section "grid": forward and training of every cell in every shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .contest import contest
from .problem import GRID_SHAPES, QUICK_SHAPES, make_problem
from .settings import Settings

SHAPES, TINY = GRID_SHAPES, QUICK_SHAPES
THREADS = (1, 2)
OPTIONS = ("runners", "cells", "shapes", "modes", "rounds", "seconds")


def measure(settings: Settings, runners: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One record per cell, shape and mode."""
    for cell in settings.cells:
        for shape in settings.parsed_shapes():
            problem = make_problem(cell, shape)
            for mode in settings.modes:
                yield contest(problem, mode, runners, settings.threads, settings.schedule())
