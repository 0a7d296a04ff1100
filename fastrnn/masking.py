"""`MaskedSequential`: a stack that finds out by itself which steps to skip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ._arrays import as_number
from .layer import Call, Layer
from .sequential import Sequential


class MaskedSequential(Sequential):
    """A `Sequential` that skips steps whose input is one certain value, as Keras does with ``mask_zero`` and Masking.

    Parameters
    ----------
    layers : sequence of layers
        As for `Sequential`.
    mask_value : float
        A step is skipped where x is this, in all its features.

    Notes
    -----
    A call with ``lengths`` or a ``mask`` of its own goes by that instead. `step` and `Session` advance by one step
    whatever is in it.

    Examples
    --------
    >>> from fastrnn import GRU, Embedding, LastStep, MaskedSequential
    >>> model = MaskedSequential([Embedding(9, 4, seed=0), GRU(4, 5, seed=1), LastStep(5)])
    >>> y, _ = model([[3, 1, 4, 0, 0], [3, 1, 4, 1, 5]])
    >>> bool((y[0] == model([[3, 1, 4]])[0][0]).all())
    True
    """

    def __init__(self, layers: Sequence[Layer], mask_value: float = 0.0):
        self.mask_value = as_number("mask_value", mask_value)
        super().__init__(layers)
        self.takes_lookup = False  # which steps to skip is in x itself

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "mask_value": self.mask_value}

    def _run(self, x: Any, state: Any, call: Call, keep: bool) -> tuple[Any, Any, Any]:
        if call.lengths is None and call.mask is None:
            kept = np.asarray(x) != self.mask_value
            call = replace(call, mask=kept if self.takes_integers else kept.any(axis=-1))
        return super()._run(x, state, call, keep)

    def __repr__(self) -> str:
        return f"Masked{super().__repr__()[:-1]}, mask_value={self.mask_value})"
