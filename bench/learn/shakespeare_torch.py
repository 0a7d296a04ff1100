"""PyTorch's side of `shakespeare`: the same model, weights, windows and optimiser, time-major and fused as it likes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import fastrnn
from fastrnn.data import streams
from fastrnn.interop.torch import to_module
from fastrnn.training import windows

from .shakespeare import BETA2, CLIP_NORM, EVALUATION_STEPS, Recipe

Array = np.ndarray


class Torch:
    """The model in PyTorch."""

    def __init__(self, recipe: Recipe, model: fastrnn.Sequential, seed: int):
        torch.set_num_threads(fastrnn.get_num_threads())
        torch.manual_seed(seed)
        self.modules = torch.nn.ModuleList(to_module(layer, batch_first=False) for layer in model.layers)
        self.optimizer = torch.optim.AdamW(
            self.modules.parameters(), recipe.lr, betas=(0.9, BETA2), weight_decay=recipe.decay, fused=True
        )
        self.state: list[Any] = [None] * len(self.modules)

    def update(self, x: Array, y: Array, is_first: bool, lr: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.modules.train()
        value, state = self._run(x, y, [None] * len(self.modules) if is_first else self.state)
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.modules.parameters(), CLIP_NORM)
        self.optimizer.step()
        self.state = [_detached(part) for part in state]
        return float(value.detach())

    def held_out(self, codes: Array) -> float:
        self.modules.eval()
        x, y = streams(codes, 1)
        total, state = 0.0, [None] * len(self.modules)
        with torch.inference_mode():
            for x_window, y_window, _ in windows(x, y, EVALUATION_STEPS):
                value, state = self._run(x_window, y_window, state)
                total += float(value) * x_window.size
        return total / x.size

    def _run(self, x: Array, y: Array, state: list[Any]) -> tuple[Any, list[Any]]:
        """Loss and final state of a window (N, T)."""
        out, final = torch.from_numpy(np.ascontiguousarray(x.T)), list(state)
        for k, module in enumerate(self.modules):
            if isinstance(module, torch.nn.RNNBase):
                out, final[k] = module(out, state[k])
            else:
                out = module(out)
        targets = torch.from_numpy(np.ascontiguousarray(y.T))
        return cross_entropy(out.reshape(-1, out.shape[-1]), targets.reshape(-1)), final


def _detached(state: Any) -> Any:
    if isinstance(state, tuple):
        return tuple(part.detach() for part in state)
    return None if state is None else state.detach()
