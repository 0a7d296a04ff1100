"""`LSTM`, `GRU` and `RNN`: PyTorch's modules of these names, running on fastrnn's kernels."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.fx import Proxy
from torch.nn.utils.rnn import PackedSequence

from ...cells import CELLS
from .scan import Plan, Scan, run

_CELLS = {"LSTM": CELLS["lstm"], "GRU": CELLS["gru"], "RNN_TANH": CELLS["rnn_tanh"], "RNN_RELU": CELLS["rnn_relu"]}
LARGE_WEIGHTS = 64 * 1024
FEW_ROWS, FEW_TRAINED_ROWS = 16, 8
"""A call with fewer rows than this (the second with gradients) and a weight at least as large does not pay for having
the weights packed. Nor does one of a single time step, whatever its size; but an LSTM's with gradients always does."""
_warned: set[tuple[str, str]] = set()


def _say_once(name: str, reason: str) -> None:
    """Warn that a call is PyTorch's; the same words once per process."""
    if (name, reason) not in _warned:
        _warned.add((name, reason))
        in_the_program = 6  # behind this, two of the module's own and two of torch.nn.Module's
        warnings.warn(f"{name} runs on PyTorch, not on fastrnn: {reason}", stacklevel=in_the_program)


def _foreign_context() -> str | None:
    """Why nothing may run on the kernels at this moment, or None."""
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return "it is being traced or compiled"
    if torch._C._are_functorch_transforms_active():
        return "torch.func transforms need PyTorch's own operators"
    if forward_ad._current_level >= 0:
        return "forward-mode derivatives need PyTorch's own operators"
    if torch.is_autocast_enabled("cpu"):
        return "autocast computes in half precision"
    if torch._C._len_torch_dispatch_stack():
        return "what watches or records operators (a TorchDispatchMode) sees PyTorch's own alone"
    return None


def _foreign_tensor(tensor: Any) -> str | None:
    """Why the kernels cannot read this tensor, or None."""
    if type(tensor) not in (Tensor, nn.Parameter):
        return f"{type(tensor).__name__} is not a plain tensor"
    if tensor.device.type != "cpu":
        return f"the kernels run on the CPU, a tensor is on {tensor.device.type}"
    if tensor.dtype not in (torch.float32, torch.float64):
        return f"the kernels take float32 and float64, not {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.layout != torch.strided:
        return f"the kernels take dense tensors, not {tensor.layout}"
    return None


def _alike(tensors: tuple[Any, ...]) -> bool:
    """Whether the kernels can read them all and they are of one dtype: what `_foreign_tensor` asks, in a hurry."""
    dtype = getattr(tensors[0], "dtype", None)
    if dtype is not torch.float32 and dtype is not torch.float64:
        return False
    for tensor in tensors:
        kind = type(tensor)
        if (
            (kind is not nn.Parameter and kind is not Tensor)
            or tensor.dtype is not dtype
            or not tensor.is_cpu
            or tensor.layout is not torch.strided
        ):
            return False
    return True


def unsupported(module: nn.RNNBase) -> str | None:
    """Why the kernels cannot run this module as it is, or None."""
    return next((reason for weight in module._flat_weights if (reason := _foreign_tensor(weight))), None)


@lru_cache
def _plan(
    mode: str, proj_size: int, bias: bool, directions: int, keep: bool, time_major: bool, batch_first: bool
) -> Plan:
    """What every layer of a module of these options computes."""
    cell = _CELLS[mode]
    names = (
        "weight_ih",
        "weight_hh",
        *(("bias_ih", "bias_hh") if bias else ()),
        *(("weight_hr",) if proj_size else ()),
    )
    cell = replace(cell, proj_size=proj_size) if proj_size else cell
    return Plan(cell, names, directions, keep, time_major, batch_first)


def _permuted(states: tuple[Tensor, ...], order: Tensor | None) -> tuple[Tensor, ...]:
    """The states with their sequences in another order; as they are for None."""
    return states if order is None else tuple(part.index_select(1, order) for part in states)


class _DropIn(nn.RNNBase):
    """What the three share: everything of PyTorch's module but the computation."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run the module; see `torch.nn.LSTM`, `torch.nn.GRU`, `torch.nn.RNN`."""
        data = input.data if isinstance(input, PackedSequence) else input
        is_pair = self.mode == "LSTM" and isinstance(hx, (tuple, list))
        states: tuple[Any, ...] = () if hx is None else tuple(hx) if is_pair else (hx,)
        weights = self._weights()
        tensors = (data, *states, *weights)
        if _foreign_context() is not None or not _alike(tensors):
            return self._left(input, hx, tensors)
        if not self._fits(input, data, None if hx is None else states):
            return super().forward(input, hx)  # which raises, in PyTorch's words
        keep = torch.is_grad_enabled() and any([tensor.requires_grad for tensor in tensors])
        if self._is_short(input, data, weights, keep):
            return super().forward(input, hx)
        if isinstance(input, PackedSequence):
            return self._packed(input, weights, states, keep)
        return self._padded(input, weights, states, keep)

    def _weights(self) -> list[Any]:
        """The weights in PyTorch's order, as they are now: a program may have put others in their place."""
        own = self._parameters
        try:
            return [own[name] for name in self._flat_weights_names]
        except KeyError:  # computed from others, as those of torch.nn.utils.parametrize
            self._update_flat_weights()
            return self._flat_weights

    def _left(self, input: Any, hx: Any, tensors: tuple[Any, ...]) -> Any:
        """A call that is PyTorch's: it says why, or else PyTorch raises, for several dtypes and what is no tensor."""
        if isinstance(input, Proxy):  # torch.fx records a call of torch.nn's modules, but looks into all others
            tracer: Any = input.tracer
            return tracer.create_proxy("call_module", tracer.path_of_module(self), (input, hx), {})
        found = [tensor for tensor in tensors if isinstance(tensor, Tensor)]
        reason = next(filter(None, (_foreign_context(), *map(_foreign_tensor, found))), None)
        if reason is not None:
            _say_once(type(self).__name__, reason)
        return super().forward(input, hx)

    def _fits(self, input: Any, data: Tensor, states: tuple[Tensor, ...] | None) -> bool:
        """Whether shapes are as PyTorch's module wants them, and there is a time step at all."""
        packed = isinstance(input, PackedSequence)
        if data.dim() not in ((2,) if packed else (2, 3)) or data.shape[-1] != self.input_size or not data.numel():
            return False
        if states is None:
            return True
        batch: tuple[int, ...] = ()
        if packed:
            batch = (int(input.batch_sizes[0]),)
        elif data.dim() == 3:
            batch = (data.shape[0 if self.batch_first else 1],)
        return [tuple(part.shape) for part in states] == self._state_shapes(batch)

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _is_short(self, input: Any, data: Tensor, weights: list[Tensor], keep: bool) -> bool:
        """Whether PyTorch is faster."""
        if keep and self.mode == "LSTM":
            return False
        if isinstance(input, PackedSequence):
            steps = len(input.batch_sizes)
        else:
            steps = data.shape[1 if self.batch_first and data.dim() == 3 else 0]
        large = weights[0].numel() >= LARGE_WEIGHTS
        return steps == 1 or (large and data.numel() // self.input_size < (FEW_TRAINED_ROWS if keep else FEW_ROWS))

    def _state_shapes(self, batch: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Of h and, of an LSTM, of c; ``batch`` is (N,), or () for a single sequence."""
        widths = (self.proj_size or self.hidden_size, self.hidden_size)[: len(_CELLS[self.mode].states)]
        return [(self.num_layers * self._directions, *batch, width) for width in widths]

    def _packed(self, input: PackedSequence, weights: list[Tensor], states: tuple[Tensor, ...], keep: bool) -> Any:
        sizes = input.batch_sizes.numpy()
        states = _permuted(states, input.sorted_indices)
        rows, states = self._stack(input.data, weights, states, sizes, keep)
        y = PackedSequence(rows, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
        return y, self._hidden(_permuted(states, input.unsorted_indices))

    def _padded(self, x: Tensor, weights: list[Tensor], states: tuple[Tensor, ...], keep: bool) -> Any:
        single, batch = x.dim() == 2, 0 if self.batch_first else 1
        if single:
            x, states = x.unsqueeze(batch), tuple(part.unsqueeze(1) for part in states)
        y, states = self._stack(x, weights, states, None, keep)
        if single:
            y, states = y.squeeze(batch), tuple(part.squeeze(1) for part in states)
        return y, self._hidden(states)

    def _hidden(self, states: tuple[Tensor, ...]) -> Any:
        return states[0] if len(states) == 1 else states

    def _stack(
        self, x: Tensor, weights: list[Tensor], states: tuple[Tensor, ...], sizes: np.ndarray | None, keep: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """All layers: x (T, N, D), with batch_first (N, T, D), or packed rows (R, D) -> y, final states
        (layers * directions, N, H).

        ``states`` is empty for zeros.
        """
        directions, per_layer = self._directions, len(weights) // self.num_layers
        batch_first = self.batch_first and sizes is None
        options = (self.mode, self.proj_size, self.bias, directions, keep, not batch_first)
        last = _plan(*options, batch_first and directions == 1)
        if self.num_layers == 1:
            x, *final = self._layer(last, sizes, True, x, *weights, *states)
            return x, tuple(final)
        plan = _plan(*options, False)
        finals = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = self._dropped(x, batch_first)
            initial = [part[layer * directions : (layer + 1) * directions] for part in states]
            own = weights[layer * per_layer : (layer + 1) * per_layer]
            is_last = layer == self.num_layers - 1
            x, *final = self._layer(last if is_last else plan, sizes, is_last, x, *own, *initial)
            finals.append(final)
        return x, tuple(torch.cat(part) for part in zip(*finals, strict=True))

    def _dropped(self, x: Tensor, batch_first: bool) -> Tensor:
        """x after dropout, which draws in the order of time, as PyTorch's does."""
        if batch_first:
            return nn.functional.dropout(x.transpose(0, 1), self.dropout).transpose(0, 1)
        return nn.functional.dropout(x, self.dropout)

    @staticmethod
    def _layer(plan: Plan, sizes: np.ndarray | None, last: bool, x: Tensor, *rest: Tensor) -> Any:
        return Scan.apply(plan, sizes, last, x, *rest) if plan.keep else run(plan, sizes, x, *rest)[0]


class LSTM(_DropIn, nn.LSTM):
    """`torch.nn.LSTM` on fastrnn's kernels: the same constructor, parameters, state dict, calls and results.

    It extends PyTorch's class and replaces the computation. PyTorch computes what the kernels cannot: tensors that are
    on another device, in half precision or under autocast, and what is being traced, compiled, transformed or
    differentiated in forward mode; the first time it says so in a warning. It also computes calls of one time step, and
    of few rows with large weights, where it is the faster one: a GRU's, an RNN's, and an LSTM's without gradients.
    Errors are PyTorch's. Threads are fastrnn's, see `fastrnn.set_num_threads`. With ``batch_first`` y of one direction
    is contiguous, which PyTorch's is not: it is a transposed view.

    There is no second derivative, and a backward pass takes one gradient, not a batch of them (``is_grads_batched``):
    asking for either is a RuntimeError.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> from fastrnn.interop.torch import LSTM
    >>> module = LSTM(3, 5, num_layers=2, batch_first=True)
    >>> y, (h, c) = module(torch.zeros(4, 7, 3))
    >>> y.shape, h.shape
    (torch.Size([4, 7, 5]), torch.Size([2, 4, 5]))
    """


class GRU(_DropIn, nn.GRU):
    """`torch.nn.GRU` on fastrnn's kernels; see `LSTM`.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> from fastrnn.interop.torch import GRU
    >>> module = GRU(3, 5, bidirectional=True)
    >>> y, h = module(torch.nn.utils.rnn.pack_sequence([torch.zeros(7, 3), torch.zeros(4, 3)]))
    >>> y.data.shape, h.shape
    (torch.Size([11, 10]), torch.Size([2, 2, 5]))
    """


class RNN(_DropIn, nn.RNN):
    """`torch.nn.RNN` on fastrnn's kernels; see `LSTM`.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> from fastrnn.interop.torch import RNN
    >>> y, h = RNN(3, 5, nonlinearity="relu")(torch.zeros(7, 4, 3))
    >>> y.shape, h.shape
    (torch.Size([7, 4, 5]), torch.Size([1, 4, 5]))
    """
