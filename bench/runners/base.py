"""What a runner is: one library that can run a `bench.problem.Problem`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..problem import Problem

Array = np.ndarray
Outputs = dict[str, Array]


@dataclass(frozen=True)
class Task:
    """Something to time.

    Attributes
    ----------
    call : callable
        Does the work once; everything around it was prepared before.
    read : callable
        Turns a result of ``call`` into arrays in fastrnn's names and layout, time-major: y (T, N, H), h, c (N, H);
        in training also dx (T, N, D), dh0, dc0 (N, H), dW, dU, db, db_rec.
    scope : callable
        A context manager entered around a series of calls, outside the timing.
    max_rounds : int, optional
        Rounds after which a slow task leaves the race.
    binds_outputs : bool
        Results go to buffers that were made before the call.
    """

    call: Callable[[], Any]
    read: Callable[[Any], Outputs]
    scope: Callable[[], AbstractContextManager[Any]] = nullcontext
    max_rounds: int | None = None
    binds_outputs: bool = False

    def outputs(self) -> Outputs:
        """Call once and read the result."""
        with self.scope():
            return self.read(self.call())


class Runner:
    """A library under test.

    Attributes
    ----------
    name : str
    packages : tuple of str
        Modules it needs.
    modes : tuple of str
        Of "forward", "training", "step".
    ragged : bool
        Whether it runs problems with lengths.
    ours : bool
        One of fastrnn's backends, not a peer.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    modes: ClassVar[tuple[str, ...]] = ("forward", "training", "step")
    ragged: ClassVar[bool] = False
    ours: ClassVar[bool] = False

    def missing(self) -> str | None:
        """Why this runner cannot run here, or None."""
        try:
            for package in self.packages:
                importlib.import_module(package)
        except ImportError as error:
            return f"{type(error).__name__}: {error}"
        return None

    def runs(self, mode: str, problem: Problem) -> bool:
        """Whether this library can do that at all."""
        return mode in self.modes and (self.ragged or problem.lengths is None)

    def task(self, mode: str, problem: Problem, threads: int) -> Task:
        """Prepare a problem; ``mode`` is one of ``modes``."""
        prepare: Callable[[Problem, int], Task] = getattr(self, mode)
        return prepare(problem, threads)
