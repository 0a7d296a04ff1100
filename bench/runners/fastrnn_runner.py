"""fastrnn itself: a layer, once per backend, and a session."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import fastrnn

from ..problem import Array, Problem
from .base import Outputs, Runner, Task

_LAYERS = {"rnn_tanh": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}


def make_layer(problem: Problem, dtype: str = "float32") -> Any:
    """The layer of a problem, with its weights."""
    layer = getattr(fastrnn, _LAYERS[problem.cell.name])(problem.shape.D, problem.shape.H, dtype=dtype)
    for name, value in problem.params.items():
        layer.params[name][...] = value
    return layer


def _parts(state: Any) -> tuple[Array, ...]:
    return state if isinstance(state, tuple) else (state,)


def _read_forward(problem: Problem, result: Any) -> Outputs:
    y, state = result
    return {"y": y, **dict(zip(problem.cell.states, _parts(state), strict=True))}


def _read_training(problem: Problem, result: Any) -> Outputs:
    y, state, (dx, dstate, grads) = result
    outputs = _read_forward(problem, (y, state))
    outputs["dx"] = dx
    outputs.update({f"d{name}0": part for name, part in zip(problem.cell.states, _parts(dstate), strict=True)})
    outputs.update({f"d{name}": grad for name, grad in grads.items()})
    return outputs


class Fastrnn(Runner):
    """A fastrnn layer on one backend."""

    packages = ("fastrnn",)
    ragged = True
    ours = True
    backend: ClassVar[str]
    max_rounds: ClassVar[int | None] = None
    dtype: ClassVar[str] = "float32"

    def missing(self) -> str | None:
        """Why the backend cannot be had here, or None."""
        try:
            with fastrnn.use_backend(self.backend):
                return None
        except ImportError as error:
            return f"{type(error).__name__}: {error}"

    def _task(self, call: Any, read: Any) -> Task:
        return Task(call, read, partial(fastrnn.use_backend, self.backend), self.max_rounds)

    def _state(self, problem: Problem) -> Any:
        parts = tuple(part.astype(self.dtype) for part in problem.state)
        return parts if len(parts) > 1 else parts[0]

    def forward(self, problem: Problem, threads: int) -> Task:
        """``layer(x, state)``."""
        layer, state, lengths = make_layer(problem, self.dtype), self._state(problem), problem.lengths
        x = problem.x.astype(self.dtype)

        def call() -> Any:
            return layer(x, state, lengths, time_major=True)

        return self._task(call, partial(_read_forward, problem))

    def training(self, problem: Problem, threads: int) -> Task:
        """``layer.forward(x, state)``, then ``layer.backward(tape, dy)``."""
        layer, state, lengths = make_layer(problem, self.dtype), self._state(problem), problem.lengths
        x, dy = problem.x.astype(self.dtype), problem.dy.astype(self.dtype)

        def call() -> Any:
            y, final, tape = layer.forward(x, state, lengths, time_major=True)
            return y, final, layer.backward(tape, dy)

        return self._task(call, partial(_read_training, problem))

    def step(self, problem: Problem, threads: int) -> Task:
        """``layer.step(x_t, state)``, the state carried along."""
        layer, state, x_t = make_layer(problem, self.dtype), self._state(problem), problem.x[0].astype(self.dtype)

        def call() -> Any:
            nonlocal state
            state = layer.step(x_t, state)
            return state

        def read(result: Any) -> Outputs:
            return dict(zip(problem.cell.states, _parts(result), strict=True))

        return self._task(call, read)


class FastrnnCython(Fastrnn):
    """The compiled backend."""

    name = "fastrnn-cython"
    backend = "cython"


class FastrnnNumpy(Fastrnn):
    """The reference backend; slow, so it runs fewer rounds."""

    name = "fastrnn-numpy"
    backend = "numpy"
    max_rounds = 3


class Streaming(Runner):
    """A fastrnn backend through `fastrnn.Session`, which has packed the weights before, as ONNX Runtime has."""

    packages = ("fastrnn",)
    modes = ("forward", "step")
    ours = True

    def __init__(self, runner: Fastrnn):
        self.runner = runner

    def missing(self) -> str | None:
        """Why the backend cannot be had here, or None."""
        return self.runner.missing()

    def forward(self, problem: Problem, threads: int) -> Task:
        """``session.state = state; session(x)``."""
        session, state = self._session(problem)

        def call() -> Any:
            session.state = state
            return session(problem.x, time_major=True), session.state

        return Task(call, partial(_read_forward, problem), max_rounds=self.runner.max_rounds)

    def step(self, problem: Problem, threads: int) -> Task:
        """``session.step(x_t)``."""
        session, session.state = self._session(problem)
        x_t = problem.x[0]

        def call() -> Any:
            return session.step(x_t)

        def read(y: Any) -> Outputs:
            return dict(zip(problem.cell.states, _parts(session.state), strict=True)) | {"h": y}

        return Task(call, read, max_rounds=self.runner.max_rounds)

    def _session(self, problem: Problem) -> tuple[fastrnn.Session, Any]:
        """A session, and the state to start it from."""
        with fastrnn.use_backend(self.runner.backend):
            session = fastrnn.Session(make_layer(problem), batch=problem.shape.N)
        return session, problem.state if len(problem.state) > 1 else problem.state[0]


class FastrnnSession(Streaming):
    """The compiled backend through a session. Steps are in a section of their own, which makes its sessions itself."""

    name = "fastrnn-session"
    modes = ("forward",)

    def __init__(self) -> None:
        super().__init__(FastrnnCython())


class Reference(Fastrnn):
    """The reference backend in float64: what every runner has to agree with. Never timed."""

    name = "reference"
    backend = "numpy"
    dtype = "float64"
