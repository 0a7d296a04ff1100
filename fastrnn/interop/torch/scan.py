"""A bidirectional or one-directional scan as one node of PyTorch's graph of gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import backend, ops
from ...cells import Cell
from ...scan import Trace
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

    @cached_property
    def inner_bias(self) -> bool:
        """Whether a part of b_hh is a parameter of its own: inside the reset product of a GRU it cannot be added."""
        return "b_rec" in self.cell.shapes(1, 1)


def as_array(tensor: Tensor) -> Array:
    """The tensor's memory as an array."""
    return tensor.detach().resolve_neg().numpy()


def _params(plan: Plan, weights: Sequence[Tensor]) -> dict[str, Array]:
    """One direction's weights as the kernels take them: transposed views, and one bias."""
    own = {name: as_array(weight.contiguous()) for name, weight in zip(plan.names, weights, strict=True)}
    return params_of(own, plan.inner_bias)


def _zeros_like(params: Mapping[str, Array]) -> dict[str, Array]:
    """Zeros in the order of the parameters' memory."""
    empty = backend.current().empty
    grads = {
        name: empty(array.T.shape, array.dtype).T if array.ndim == 2 else np.empty_like(array)
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


_TRACED = tuple(field.name for field in fields(Trace))
_ELSEWHERE = np.empty((0, 0))


@dataclass(frozen=True)
class _Stowed:
    """A tape whose large arrays are kept elsewhere.

    A node gives its saved tensors back as soon as the backward pass has run, its other attributes only with the graph.

    Attributes
    ----------
    tape : Tape
        Without x and the trace.
    places : tuple of int or None
        Where x and the trace's arrays are; None for what there is not.
    """

    tape: ops.Tape
    places: tuple[int | None, ...]


def _stow(tape: ops.Tape, arrays: list[Array]) -> _Stowed:
    """Move the tape's large arrays to the end of ``arrays``."""
    places: list[int | None] = []
    for array in (tape.x, *(getattr(tape.trace, name) for name in _TRACED)):
        places.append(None if array is None else len(arrays))
        if array is not None:
            arrays.append(array)
    tape.x, tape.trace = _ELSEWHERE, Trace(_ELSEWHERE)
    return _Stowed(tape, tuple(places))


def _unstow(stowed: _Stowed, arrays: Sequence[Array]) -> ops.Tape:
    """The tape as it was."""
    held: list[Any] = [None if place is None else arrays[place] for place in stowed.places]
    return replace(stowed.tape, x=held[0], trace=Trace(*held[1:]))


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
    states = map(_side_by_side, zip(*dinitial, strict=True))
    return [None if dx is None else torch.from_numpy(dx), *states, *gradients]


def _side_by_side(parts: Sequence[Array]) -> Tensor:
    """(N, .) of every direction -> (directions, N, .)."""
    return torch.from_numpy(parts[0].reshape(1, *parts[0].shape) if len(parts) == 1 else np.stack(parts))


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
    return (torch.from_numpy(y), *map(_side_by_side, zip(*finals, strict=True))), tapes
