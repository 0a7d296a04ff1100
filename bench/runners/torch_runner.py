"""PyTorch: nn.RNN, nn.LSTM, nn.GRU, and the nn.*Cell modules for a streaming step."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

from ..problem import Problem
from .base import Outputs, Runner, Task

_MODULES = {"rnn_tanh": "RNN", "lstm": "LSTM", "gru": "GRU"}


def _load(torch: Any, module: Any, problem: Problem, suffix: str) -> Any:
    """Copy the problem's weights into a module; the second bias is 0 but for the GRU's n block."""
    H = problem.shape.H
    with torch.no_grad():
        for name, key in (("weight_ih", "W"), ("weight_hh", "U"), ("bias_ih", "b")):
            getattr(module, name + suffix).copy_(torch.from_numpy(problem.params[key].T.copy()))
        bias_hh = getattr(module, "bias_hh" + suffix)
        bias_hh.zero_()
        if "b_rec" in problem.params:
            bias_hh[2 * H :] = torch.from_numpy(problem.params["b_rec"])
    return module


def _unpack(torch: Any, problem: Problem, y: Any) -> Any:
    if problem.lengths is None:
        return y
    return torch.nn.utils.rnn.pad_packed_sequence(y, total_length=problem.shape.T)[0]


def _final(problem: Problem, state: Any) -> Outputs:
    parts = state if isinstance(state, tuple) else (state,)
    return {name: part.detach().numpy()[0] for name, part in zip(problem.cell.states, parts, strict=True)}


class Torch(Runner):
    """PyTorch on the CPU, eager."""

    name = "torch"
    packages = ("torch",)
    ragged = True

    def _prepare(self, problem: Problem, threads: int) -> tuple[Any, Any, Any, Any]:
        """The module, its input (packed when the problem has lengths), the input's values, its state."""
        torch: Any = importlib.import_module("torch")
        torch.set_num_threads(threads)
        module = getattr(torch.nn, _MODULES[problem.cell.name])(problem.shape.D, problem.shape.H)
        _load(torch, module, problem, "_l0")
        x = values = torch.from_numpy(problem.x.copy())
        if problem.lengths is not None:
            x = torch.nn.utils.rnn.pack_padded_sequence(values, torch.from_numpy(problem.lengths))
            values = x.data
        parts = tuple(torch.from_numpy(part.copy())[None] for part in problem.state)
        return module, x, values, parts if len(parts) > 1 else parts[0]

    def forward(self, problem: Problem, threads: int) -> Task:
        """``module.eval()`` under ``inference_mode``."""
        torch: Any = importlib.import_module("torch")
        module, x, _, state = self._prepare(problem, threads)
        module.eval()

        def call() -> Any:
            return module(x, state)

        def read(result: Any) -> Outputs:
            y, final = result
            return {"y": _unpack(torch, problem, y).numpy(), **_final(problem, final)}

        return Task(call, read, torch.inference_mode)

    def training(self, problem: Problem, threads: int) -> Task:
        """Forward, then ``autograd.grad`` of x, the initial state and all weights."""
        torch: Any = importlib.import_module("torch")
        module, x, values, state = self._prepare(problem, threads)
        parts = state if isinstance(state, tuple) else (state,)
        values.requires_grad_()
        for part in parts:
            part.requires_grad_()
        dy = torch.from_numpy(problem.dy.copy())
        if problem.lengths is not None:
            dy = torch.nn.utils.rnn.pack_padded_sequence(dy, torch.from_numpy(problem.lengths)).data
        weights = [module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0, module.bias_hh_l0]
        inputs = [values, *parts, *weights]

        def call() -> Any:
            y, final = module(x, state)
            return y, final, torch.autograd.grad(y if problem.lengths is None else y.data, inputs, dy)

        return Task(call, partial(_read_training, torch, problem, x))

    def step(self, problem: Problem, threads: int) -> Task:
        """One call of nn.RNNCell, nn.LSTMCell or nn.GRUCell, the state carried along."""
        torch: Any = importlib.import_module("torch")
        torch.set_num_threads(threads)
        kind = getattr(torch.nn, _MODULES[problem.cell.name] + "Cell")
        cell = _load(torch, kind(problem.shape.D, problem.shape.H), problem, "").eval()
        x_t = torch.from_numpy(problem.x[0].copy())
        parts = tuple(torch.from_numpy(part.copy()) for part in problem.state)
        state = parts if len(parts) > 1 else parts[0]

        def call() -> Any:
            nonlocal state
            state = cell(x_t, state)
            return state

        def read(result: Any) -> Outputs:
            final = result if isinstance(result, tuple) else (result,)
            return {name: part.numpy() for name, part in zip(problem.cell.states, final, strict=True)}

        return Task(call, read, torch.inference_mode)


def _read_training(torch: Any, problem: Problem, x: Any, result: Any) -> Outputs:
    y, final, (dvalues, *grads) = result
    states = problem.cell.states
    outputs = {"y": _unpack(torch, problem, y).detach().numpy(), **_final(problem, final)}
    dx = dvalues if problem.lengths is None else _unpack(torch, problem, x._replace(data=dvalues))
    outputs["dx"] = dx.numpy()
    outputs.update({f"d{name}0": grad.numpy()[0] for name, grad in zip(states, grads, strict=False)})
    dW, dU, db, db_hh = (grad.numpy().T for grad in grads[len(states) :])
    outputs.update(dW=dW, dU=dU, db=db)
    if "b_rec" in problem.params:
        outputs["db_rec"] = db_hh[2 * problem.shape.H :]
    return outputs
