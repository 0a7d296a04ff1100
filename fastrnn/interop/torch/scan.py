"""A bidirectional or one-directional scan as one node of PyTorch's graph of gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import backend, ops
from ...cells import Cell
from .weights import params_of

Array = np.ndarray


@dataclass(frozen=True)
class Plan:
    """What one layer of a PyTorch module computes, apart from its tensors.

    Attributes
    ----------
    cell : Cell
    names : tuple of str
        Of the tensors of a direction, in PyTorch's order and as `fastrnn.interop.torch.weights` describes them, without
        their place.
    directions : int
        1, or 2 with the reverse direction second.
    keep : bool
        Keep what the backward pass needs.
    """

    cell: Cell
    names: tuple[str, ...]
    directions: int
    keep: bool

    @property
    def inner_bias(self) -> bool:
        """Whether a part of b_hh is a parameter of its own: inside the reset product of a GRU it cannot be added."""
        return "b_rec" in self.cell.shapes(1, 1)


def as_array(tensor: Tensor) -> Array:
    """The tensor's memory as an array."""
    return tensor.detach().resolve_neg().numpy()


def _params(plan: Plan, weights: Sequence[Tensor]) -> dict[str, Array]:
    """One direction's weights as the kernels take them: transposed, and with one bias."""
    own = dict(zip(plan.names, map(as_array, weights), strict=True))
    return {name: _contiguous(array) for name, array in params_of(own, plan.inner_bias).items()}


def _contiguous(array: Array) -> Array:
    # PyTorch transposes by blocks, several times as fast as NumPy
    return torch.from_numpy(array).contiguous().numpy()


def _zeros_like(params: Mapping[str, Array]) -> dict[str, Array]:
    empty = backend.current().empty
    grads = {
        name: empty(array.shape, array.dtype) if array.ndim == 2 else np.empty_like(array)
        for name, array in params.items()
    }
    for array in grads.values():
        array.fill(0)
    return grads


def _gradients(plan: Plan, grads: Mapping[str, Array]) -> list[Tensor]:
    """Gradients in PyTorch's order and layout from those of the kernels."""
    of = {name: torch.from_numpy(array) for name, array in grads.items()}
    b_hh = of["b"]
    if plan.inner_bias:
        b_hh = torch.cat((b_hh[: -len(of["b_rec"])], of["b_rec"]))
    found = {"weight_ih": of["W"].t(), "weight_hh": of["U"].t(), "bias_ih": of["b"], "bias_hh": b_hh}
    if "W_proj" in of:
        found["weight_hr"] = of["W_proj"].t()
    return [found[name] for name in plan.names]


@dataclass(frozen=True)
class _Slot:
    """The place of an array that is kept elsewhere."""

    index: int


def _stow(value: Any, arrays: list[Array]) -> Any:
    """A tape, or a part of one, with its arrays moved to ``arrays`` and slots in their place.

    A node gives its saved tensors back as soon as the backward pass has run, its other attributes only with the graph.
    """
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return _Slot(len(arrays) - 1)
    return _mapped(value, lambda part: _stow(part, arrays))


def _unstow(value: Any, arrays: Sequence[Array]) -> Any:
    """The inverse of `_stow`."""
    if isinstance(value, _Slot):
        return arrays[value.index]
    return _mapped(value, lambda part: _unstow(part, arrays))


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """A mapping or a part of a tape with its values changed; anything else as it is."""
    if isinstance(value, Mapping):
        return {name: change(part) for name, part in value.items()}
    if not is_dataclass(value) or isinstance(value, (type, Cell)):
        return value
    old = {field.name: getattr(value, field.name) for field in fields(value)}
    new = {name: changed for name, part in old.items() if (changed := change(part)) is not part}
    return replace(value, **new) if new else value


class Scan(torch.autograd.Function):
    """(x, initial states, weights) -> (y, final states), on fastrnn's kernels.

    Of a full batch x is (T, N, D); of a packed one, whose ``sizes`` (T,) say how many sequences each step has, it is
    (R, D). The states are (directions, N, .), with the sequences of a packed batch in packed order; y has the
    directions side by side.
    """

    @staticmethod
    def forward(ctx: Any, plan: Plan, sizes: Array | None, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        results, tapes = run(plan, sizes, x, *rest)
        ctx.set_materialize_grads(False)
        ctx.plan = plan
        arrays: list[Array] = []
        ctx.tapes = [_stow(tape, arrays) for tape in tapes]
        # with y and the inputs among them PyTorch sees when one is changed in place before the backward pass
        ctx.checked = 2 + len(rest)
        ctx.save_for_backward(results[0], x, *rest, *map(torch.from_numpy, arrays))
        return results

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *dstate: Tensor | None) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            found = (None, None, *_adjoint(ctx, dy, dstate))
        if not torch.is_grad_enabled():
            return found
        anchor = torch.zeros((), requires_grad=True)
        return tuple(None if gradient is None else _Once.apply(gradient, anchor) for gradient in found)


class _Once(torch.autograd.Function):
    """A gradient that knows that it cannot be differentiated again; as a constant it would give wrong results."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, anchor: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise RuntimeError(
            "fastrnn's recurrent modules cannot be differentiated twice: for second derivatives use those of torch.nn"
        )


def _adjoint(ctx: Any, dy: Tensor | None, dstate: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Gradients of x, the initial states and the weights."""
    plan, saved = ctx.plan, ctx.saved_tensors
    initial, arrays = saved[2 : 2 + len(plan.cell.states)], [tensor.numpy() for tensor in saved[ctx.checked :]]
    dx: Array | None = None
    dinitial: list[list[Array]] = []
    gradients: list[Tensor] = []
    for direction, stowed in enumerate(ctx.tapes):
        tape = _unstow(stowed, arrays)
        grads = _zeros_like(tape.params)
        own_dx, dstart = ops.rnn_backward(
            tape,
            _part(plan, dy, direction),
            _part_states(dstate, initial, direction),
            grads=grads,
            input_gradient=ctx.needs_input_grad[2],
        )
        if dx is None:
            dx = own_dx
        elif own_dx is not None:
            dx += own_dx
        dinitial.append([dstart] if len(plan.cell.states) == 1 else list(dstart))
        gradients += _gradients(plan, grads)
    states = [torch.from_numpy(np.stack(parts)) for parts in zip(*dinitial, strict=True)]
    return [None if dx is None else torch.from_numpy(dx), *states, *gradients]


def _part(plan: Plan, dy: Tensor | None, direction: int) -> Array | None:
    """A direction's columns of dy."""
    if dy is None:
        return None
    width = dy.shape[-1] // plan.directions
    return as_array(dy)[..., direction * width : (direction + 1) * width]


def _part_states(dstate: Sequence[Tensor | None], initial: Sequence[Tensor], direction: int) -> Any:
    """A direction's rows of the gradients of the final states, which have the shapes of the initial ones."""
    if all(part is None for part in dstate):
        return None
    parts = [
        as_array(torch.zeros_like(like[0]) if part is None else part[direction])
        for part, like in zip(dstate, initial, strict=True)
    ]
    return parts[0] if len(parts) == 1 else tuple(parts)


def run(plan: Plan, sizes: Array | None, x: Tensor, *rest: Tensor) -> tuple[tuple[Tensor, ...], list[ops.Tape]]:
    """The scan itself: the results of `Scan`, and the tapes of its directions where ``plan.keep`` asks for them."""
    n_states = len(plan.cell.states)
    initial, weights = rest[:n_states], rest[n_states:]
    outputs, finals, tapes = [], [], []
    for direction in range(plan.directions):
        first = direction * len(plan.names)
        params = _params(plan, weights[first : first + len(plan.names)])
        states = [as_array(part)[direction] for part in initial]
        y, final, tape = ops.rnn_forward(
            plan.cell,
            params,
            as_array(x),
            states[0] if n_states == 1 else tuple(states),
            reverse=direction == 1,
            time_major=sizes is None,
            batch_sizes=sizes,
            keep=plan.keep,
        )
        outputs.append(y)
        finals.append([final] if n_states == 1 else list(final))
        if tape is not None:
            tapes.append(tape)
    y = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=-1)
    stacked = [torch.from_numpy(np.stack(parts)) for parts in zip(*finals, strict=True)]
    return (torch.from_numpy(y), *stacked), tapes
