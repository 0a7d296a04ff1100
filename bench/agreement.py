"""Do the runners compute the same thing? Asked before anything is timed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .problem import Array, Problem
from .runners.base import Task
from .runners.fastrnn_runner import Reference

TOLERANCE = 1e-4


class DisagreementError(Exception):
    """A runner's results differ from the reference."""


def reference(problem: Problem, mode: str) -> dict[str, Array]:
    """Every output of the problem, computed by the NumPy backend in float64."""
    return Reference().task(mode, problem, 1).outputs()


def scaled_error(found: Array, expected: Array) -> float:
    """Largest difference over the largest expected value (1 where all of those are 0).

    Raises
    ------
    ValueError
        The shapes differ.

    Examples
    --------
    >>> scaled_error(np.array([1.0, 4.5]), np.array([1.0, 5.0]))
    0.1
    """
    if found.shape != expected.shape:
        raise ValueError(f"found must have shape {expected.shape}, got {found.shape}")
    scale = float(np.abs(expected).max(initial=0)) or 1.0
    return float(np.abs(found - expected).max(initial=0)) / scale


def check(task: Task, expected: Mapping[str, Array], tolerance: float = TOLERANCE) -> float:
    """Run the task once and return its largest scaled error.

    Raises
    ------
    DisagreementError
        An output is missing, of another shape, NaN, or further off than ``tolerance``.
    """
    outputs = task.outputs()
    if absent := sorted(expected.keys() - outputs.keys()):
        raise DisagreementError(f"does not compute {', '.join(absent)}")
    worst = 0.0
    for name, array in expected.items():
        if outputs[name].shape != array.shape:
            raise DisagreementError(f"{name} has shape {outputs[name].shape}, not {array.shape}")
        error = scaled_error(outputs[name], array)
        if not error <= tolerance:
            raise DisagreementError(f"{name} is off by {error:.1e} of its scale, more than {tolerance:.0e}")
        worst = max(worst, error)
    return worst
