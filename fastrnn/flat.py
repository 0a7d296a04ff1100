"""The fused kernels over flat arrays that the current backend has: the only way from optimisers and losses to them."""

from __future__ import annotations

from types import ModuleType

from . import backend, reference, reference_flat


def kernels(module: ModuleType | None = None) -> ModuleType:
    """Module with the functions of `fastrnn.reference_flat`, on the current backend or that of ``module``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import flat
    >>> flat.kernels().squared_norm(np.array([3.0, 4.0]))
    25.0
    """
    module = module or backend.current()
    return reference_flat if module is reference else module
