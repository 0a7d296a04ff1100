"""`accelerate`: the recurrent modules of a model replaced by those that run on fastrnn's kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .dropin import GRU, LSTM, RNN, unsupported

_REPLACEMENTS: dict[type, type] = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}


@dataclass(frozen=True)
class Report:
    """What `accelerate` did; printing it gives a line per module.

    Attributes
    ----------
    replaced : tuple of str
        Names of the modules that now run on fastrnn; "" is the model itself.
    left : dict
        Name -> reason, of the recurrent modules that are as they were.
    """

    replaced: tuple[str, ...]
    left: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{name or 'the model'}: replaced" for name in self.replaced]
        lines += [f"{name or 'the model'}: left, {reason}" for name, reason in self.left.items()]
        return "\n".join(lines) or "no recurrent modules"


def accelerate(model: nn.Module) -> Report:
    """Let every `torch.nn.LSTM`, `torch.nn.GRU` and `torch.nn.RNN` of a model run on fastrnn, in place.

    The modules stay the same objects, with the same parameters, hooks and names, so that optimizers, state dicts and
    whatever else refers to them go on working; only their class changes, to fastrnn's class of the same name.

    Parameters
    ----------
    model : torch.nn.Module

    Returns
    -------
    Report
        What was replaced, and what was left and why: a recurrent cell, a subclass, a scripted module, one with a
        ``forward`` of its own, weights that the kernels cannot read.

    Raises
    ------
    TypeError
        ``model`` is not a module.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> from fastrnn.interop.torch import accelerate
    >>> model = torch.nn.ModuleDict({"encoder": torch.nn.GRU(8, 16), "decoder": torch.nn.GRUCell(8, 16)})
    >>> print(accelerate(model))
    encoder: replaced
    decoder: left, a cell runs one step a call, for which there is nothing to gain
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    replaced, left = {}, {}
    for name, module in model.named_modules():
        reason = _reason(module)
        if reason is None:
            replaced[name] = module
        elif reason:
            left[name] = reason
    for module in replaced.values():
        module.__class__ = _REPLACEMENTS[type(module)]
    return Report(tuple(replaced), left)


def _reason(module: Any) -> str | None:
    """Why this module stays as it is: None if it does not, "" if it is not recurrent at all."""
    kind = type(module)
    if kind in _REPLACEMENTS:
        return "its forward is not that of its class" if "forward" in vars(module) else unsupported(module)
    if kind in _REPLACEMENTS.values():
        return "runs on fastrnn already"
    if isinstance(module, nn.RNNCellBase):
        return "a cell runs one step a call, for which there is nothing to gain"
    if isinstance(module, torch.jit.ScriptModule):
        scripted = module.original_name in ("LSTM", "GRU", "RNN")
        return f"a scripted {module.original_name} cannot be changed" if scripted else ""
    if isinstance(module, nn.RNNBase):
        return f"{kind.__name__} may do other things than the class of PyTorch's that it extends"
    return ""
