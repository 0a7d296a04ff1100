"""PyTorch: its models as fastrnn's layers and back, and fastrnn's kernels inside PyTorch's programs.

==========================  =========================================================================================
`load_state_dict`           a recurrent layer from a state dict or a file of one; PyTorch itself only for its own files
`from_module`, `to_module`  a module as a layer; a layer as a module
`LSTM`, `GRU`, `RNN`        drop-in replacements of PyTorch's modules of these names
`accelerate`                puts them into a model, in place
==========================  =========================================================================================

PyTorch is imported when one of these needs it, and not before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .state_dict import load_state_dict

if TYPE_CHECKING:
    from .accelerating import Report, accelerate
    from .converting import Stack, from_module, to_module
    from .dropin import GRU, LSTM, RNN

_LAZY = {
    **dict.fromkeys(("GRU", "LSTM", "RNN"), "dropin"),
    **dict.fromkeys(("Report", "accelerate"), "accelerating"),
    **dict.fromkeys(("Stack", "from_module", "to_module"), "converting"),
}
__all__ = ["GRU", "LSTM", "RNN", "Report", "Stack", "accelerate", "from_module", "load_state_dict", "to_module"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(f"{name} needs PyTorch, which is not installed: pip install torch") from error
