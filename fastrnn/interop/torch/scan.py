"""A bidirectional or one-directional scan as one node of PyTorch's graph of gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch._C._functorch import is_batchedtensor, is_legacy_batchedtensor

from ... import backend, ops
from ...cells import Cell
from ...scan import Placed, Trace
from .weights import params_of

Array = np.ndarray

_MATRICES = {"weight_ih": "W", "weight_hh": "U", "weight_hr": "W_proj"}
"""The matrices of a direction by PyTorch's names and by fastrnn's, which are the former's transposes."""


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
    time_major : bool
        x and y of a full batch are (T, N, .), else (N, T, .).
    batch_first : bool
        y of a full batch is to lie in memory as a tensor (N, T, .) does.
    """

    cell: Cell
    names: tuple[str, ...]
    directions: int
    keep: bool
    time_major: bool
    batch_first: bool

    @cached_property
    def inner_bias(self) -> bool:
        """Whether a part of b_hh is a parameter of its own: inside the reset product of a GRU it cannot be added."""
        return "b_rec" in self.cell.shapes(1, 1)

    @cached_property
    def weights(self) -> int:
        """Tensors of all directions."""
        return self.directions * len(self.names)


def as_array(tensor: Tensor) -> Array:
    """The tensor's memory as an array."""
    return tensor.numpy(force=True)


def _copy(tensor: Tensor) -> Array:
    """The tensor's numbers in order, in memory that is kept from call to call."""
    width = tensor.shape[-1]
    array = backend.current().empty((tensor.numel() // width, width), as_array(tensor).dtype).reshape(tensor.shape)
    torch.from_numpy(array).copy_(tensor.detach())
    return array


def _in_order(tensor: Tensor) -> Array:
    """The tensor as an array that is contiguous, or that is so with its first two axes exchanged: its memory where that
    is one."""
    array = as_array(tensor)
    if array.flags.c_contiguous or (array.ndim == 3 and array.swapaxes(0, 1).flags.c_contiguous):
        return array
    return _copy(tensor)


def _params(plan: Plan, weights: Sequence[Tensor]) -> dict[str, Array]:
    """One direction's weights as the kernels take them: transposed views, and one bias."""
    own = {name: as_array(weight.contiguous()) for name, weight in zip(plan.names, weights, strict=True)}
    return params_of(own, plan.inner_bias)


def _gradients(plan: Plan, params: Mapping[str, Array]) -> tuple[dict[str, Array], Array, list[Tensor]]:
    """Memory for one direction's gradients as the kernels take them; for that of b_hh; and the same as tensors in
    PyTorch's order."""
    empty, grads, found = backend.current().empty, {}, {}
    for name, of in _MATRICES.items():
        if of in params:
            array = empty(params[of].T.shape, params[of].dtype)
            grads[of], found[name] = array.T, array
    b = params["b"]
    grads["b"], b_hh = np.empty(b.shape, b.dtype), np.empty(b.shape, b.dtype)  # empty_like takes its time
    if plan.inner_bias:
        grads["b_rec"] = b_hh[-len(params["b_rec"]) :]
    found["bias_ih"], found["bias_hh"] = grads["b"], b_hh
    return grads, b_hh, [torch.from_numpy(found[name]) for name in plan.names]


class Scan(torch.autograd.Function):
    """(x, weights, initial states) -> (y, final states), on fastrnn's kernels.

    Of a full batch x is (T, N, D) or (N, T, D); of a packed one, whose ``sizes`` (T,) say how many sequences each step
    has, it is (R, D). The states are (directions, N, .), with the sequences of a packed batch in packed order, zeros
    where they are left out; y has the directions side by side. ``last``: y is what a program gets.
    """

    @staticmethod
    def forward(ctx: Any, plan: Plan, sizes: Array | None, last: bool, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        results, tapes = run(plan, sizes, x, *rest)
        # a program may change y in place where it may change PyTorch's; it may have a copy
        is_plain_lstm = plan.cell.kind == "lstm" and plan.cell.proj_size is None
        changeable = plan.directions == 2 or not is_plain_lstm or sizes is not None
        is_copy = plan.directions == 2 or plan.batch_first
        ctx.watch = _Watch(results[0]) if last and changeable and not is_copy else None
        ctx.set_materialize_grads(False)
        arrays: list[Array] = []
        ctx.plan, ctx.tapes = plan, [_stow(tape, arrays) for tape in tapes]
        # with these among them PyTorch sees when one is changed in place before the backward pass
        checked = (x, *rest) if changeable else (x, *rest, results[0])
        ctx.checked, ctx.with_states = len(checked), len(rest) > plan.weights
        # a node gives its saved tensors back as soon as the backward pass has run, what else it has only with the graph
        ctx.save_for_backward(*checked, *map(torch.from_numpy, arrays))
        return results

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *dstate: Tensor | None) -> tuple[Tensor | None, ...]:
        if any([part is not None and _is_batched(part) for part in (dy, *dstate)]):
            raise RuntimeError(
                "fastrnn's recurrent modules take one gradient at a time: for is_grads_batched, vectorize=True and "
                "torch.func.vmap of a backward pass use those of torch.nn"
            )
        if not torch.is_grad_enabled():
            return (None, None, None, *_adjoint(ctx, dy, dstate))
        with torch.no_grad():
            found = _adjoint(ctx, dy, dstate)
        origins = (dy, *dstate, *ctx.saved_tensors[: ctx.checked])
        once = (None if gradient is None else _Once.apply(gradient, *origins) for gradient in found)
        return (None, None, None, *once)


def _is_batched(gradient: Tensor) -> bool:
    """Whether these are many gradients that pass for one."""
    return bool(is_batchedtensor(gradient) or is_legacy_batchedtensor(gradient))


class _Once(torch.autograd.Function):
    """A gradient that knows that it cannot be differentiated again; as a constant it would give wrong results.

    It hangs on all that it has come from: PyTorch runs only those nodes that lead to what it is asked for.
    """

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *origins: Tensor | None) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise RuntimeError(
            "fastrnn's recurrent modules cannot be differentiated twice: for second derivatives use those of torch.nn"
        )


class _Watch:
    """Tells whether a tensor has been changed in place, and does not keep its memory."""

    def __init__(self, tensor: Tensor):
        self.same = tensor.detach()  # shares the count of changes, also after it has let go of the memory
        self.same.data = tensor.new_empty(0)
        self.version = tensor._version

    def changed(self) -> bool:
        return bool(self.same._version != self.version)


_ELSEWHERE = np.empty((0, 0))


def _stow(tape: ops.Tape, arrays: list[Array]) -> tuple[ops.Tape, tuple[int, ...]]:
    """Move the large arrays of a tape to the end of ``arrays``; the rest of it, and where x, y, c and the gates are."""
    trace, places, x = tape.trace, [], cast("Array | Placed", tape.x)
    rows, elsewhere = (x.array, x.put_in(_ELSEWHERE)) if isinstance(x, Placed) else (x, _ELSEWHERE)
    for array in (rows, trace.y, trace.c, trace.gates):
        places.append(-1 if array is None else len(arrays))
        if array is not None:
            arrays.append(array)
    tape.x, tape.trace = elsewhere, Trace(_ELSEWHERE)
    return tape, tuple(places)


def _unstow(tape: ops.Tape, places: Sequence[int], arrays: Sequence[Array]) -> ops.Tape:
    """A tape as it was before `_stow`."""
    x, *trace = (None if place < 0 else arrays[place] for place in places)
    assert x is not None
    return tape.on(tape.x.put_in(x) if isinstance(tape.x, Placed) else x, Trace(*trace))


def _adjoint(ctx: Any, dy: Tensor | None, dstate: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Gradients of x, the weights and the initial states."""
    plan = ctx.plan
    arrays = [tensor.numpy() for tensor in ctx.saved_tensors[ctx.checked :]]
    dx: Array | None = None
    dinitial: list[list[Array]] = []
    gradients: list[Tensor] = []
    for direction, (tape, places) in enumerate(ctx.tapes):
        grads, b_hh, tensors = _gradients(plan, tape.params)
        tape = _unstow(tape, places, arrays)
        if ctx.watch is not None and ctx.watch.changed():
            tape = ops.again(tape)
        own_dx, dstart = ops.rnn_backward(
            tape,
            _part(plan, dy, direction),
            _part_states(dstate, tape, direction),
            grads=grads,
            input_gradient=ctx.needs_input_grad[3],
            add=False,
        )
        summed = slice(-len(grads["b_rec"]) if plan.inner_bias else None)
        b_hh[summed] = grads["b"][summed]
        gradients += tensors
        if dx is None:
            dx = own_dx
        elif own_dx is not None:
            dx += own_dx
        dinitial.append(_as_list(dstart))
    states = map(_side_by_side, zip(*dinitial, strict=True)) if ctx.with_states else ()
    return [None if dx is None else torch.from_numpy(dx), *gradients, *states]


def _as_list(state: Any) -> list[Array]:
    return list(state) if isinstance(state, tuple) else [state]


def _side_by_side(parts: Sequence[Array]) -> Tensor:
    """(N, .) of every direction -> (directions, N, .)."""
    return torch.from_numpy(parts[0].reshape(1, *parts[0].shape) if len(parts) == 1 else np.stack(parts))


def _part(plan: Plan, dy: Tensor | None, direction: int) -> Array | None:
    """A direction's columns of dy."""
    if dy is None or plan.directions == 1:
        return None if dy is None else _in_order(dy)
    width = dy.shape[-1] // 2
    return _in_order(dy[..., direction * width : (direction + 1) * width])


def _part_states(dstate: Sequence[Tensor | None], tape: ops.Tape, direction: int) -> Any:
    """A direction's rows of the gradients of the final states, which have the shapes of the initial ones."""
    if all(part is None for part in dstate):
        return None
    initial = [tape.h0] if tape.c0 is None else [tape.h0, tape.c0]
    parts = [
        np.zeros_like(like) if part is None else as_array(part)[direction]
        for part, like in zip(dstate, initial, strict=True)
    ]
    return parts[0] if len(parts) == 1 else tuple(parts)


def run(plan: Plan, sizes: Array | None, x: Tensor, *rest: Tensor) -> tuple[tuple[Tensor, ...], list[ops.Tape]]:
    """The scan itself: the results of `Scan`, and the tapes of its directions where ``plan.keep`` asks for them."""
    initial = [as_array(part) for part in rest[plan.weights :]]
    inputs, outputs, finals, tapes = _in_order(x), [], [], []
    for direction in range(plan.directions):
        first = direction * len(plan.names)
        states = [part[direction] for part in initial]
        y, final, tape = ops.rnn_forward(
            plan.cell,
            _params(plan, rest[first : first + len(plan.names)]),
            inputs,
            None if not states else states[0] if len(states) == 1 else tuple(states),
            reverse=direction == 1,
            time_major=plan.time_major,
            batch_sizes=sizes,
            batch_first=plan.batch_first,
            keep=plan.keep,
        )
        outputs.append(y)
        finals.append(_as_list(final))
        if tape is not None:
            tapes.append(tape)
    y = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=-1)
    return (torch.from_numpy(y), *map(_side_by_side, zip(*finals, strict=True))), tapes
