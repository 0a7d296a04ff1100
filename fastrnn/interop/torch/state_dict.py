"""`load_state_dict`: a layer from PyTorch's weights, in memory or in a file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..._arrays import as_choice, as_rate
from ...layer import Layer
from .weights import layer_of

Array = np.ndarray


def load_state_dict(source: Any, prefix: str = "", *, nonlinearity: str = "tanh", dropout: float = 0.0) -> Layer:
    """A layer with the weights of a `torch.nn.RNN`, `LSTM` or `GRU`, or of one of their cells.

    The shapes decide: 4 gate blocks are an LSTM, 3 a GRU, 1 an RNN; names that end in ``_reverse`` a second direction;
    ``weight_hr_l0`` a projection.

    Parameters
    ----------
    source : str, path or mapping
        A ``.safetensors`` file, which needs no PyTorch; a file of ``torch.save``, of which weights only are read; or a
        state dict, of tensors or arrays.
    prefix : str
        Where the module is in a larger model: ``"encoder.rnn."``, the last dot may be missing.
    nonlinearity : "tanh" or "relu"
        Of an RNN, whose weights do not tell.
    dropout : float
        Between the layers of a stack, in training; the weights do not tell either.

    Returns
    -------
    SimpleRNN, LSTM or GRU, a `fastrnn.Bidirectional` of it, or a `fastrnn.Sequential` of several
        Its calls take (N, T, D), whatever the module's ``batch_first``. float16 and bfloat16 become float32.

    Raises
    ------
    ValueError, TypeError
        An argument, name, shape or dtype that does not fit, named; a file that is damaged or not of this kind.
    ImportError
        A file of ``torch.save``, and PyTorch is not installed.
    OSError
        The file cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.interop.torch import load_state_dict
    >>> weights = {"rnn.weight_ih_l0": np.ones((12, 3), "f"), "rnn.weight_hh_l0": np.ones((12, 4), "f")}
    >>> load_state_dict(weights, "rnn.")
    GRU(3, 4)
    """
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a string, got {prefix!r}")
    nonlinearity = as_choice("nonlinearity", nonlinearity, ("tanh", "relu"))
    dropout = as_rate("dropout", dropout)
    if isinstance(source, Mapping):
        weights = {name: array_of(name, source[name]) for name in _chosen(source, prefix)}
    elif not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"source must be a path or a state dict, got {type(source).__name__}")
    elif Path(source).suffix == ".safetensors":
        weights = _read_safetensors(Path(source), prefix)
    else:
        state = _read_torch(Path(source))
        weights = {name: array_of(name, state[name]) for name in _chosen(state, prefix)}
    return layer_of(
        {name[len(_full(prefix)) :]: array for name, array in weights.items()},
        nonlinearity=nonlinearity,
        dropout=dropout,
    )


def _full(prefix: str) -> str:
    return prefix if not prefix or prefix.endswith(".") else f"{prefix}."


def _chosen(names: Iterable[Any], prefix: str) -> list[str]:
    """The names below ``prefix``."""
    names = list(names)
    chosen = [name for name in names if isinstance(name, str) and name.startswith(_full(prefix))]
    if not chosen:
        raise ValueError(f"prefix must be the beginning of a name, got {prefix!r}; {_places(names)}")
    foreign = [name for name in chosen if "." in name[len(_full(prefix)) :]]
    if foreign:
        raise ValueError(
            f"prefix must name one RNN, LSTM or GRU, but {foreign[0]!r} is below {prefix!r}; {_places(names)}"
        )
    return chosen


def _places(names: list[Any]) -> str:
    """Where a state dict has recurrent modules, in words."""
    ends = ("weight_ih_l0", "weight_ih")
    found = [name.removesuffix(end) for name in map(str, names) for end in ends if name.endswith(end)]
    if found:
        return f"it could be {', '.join(map(repr, found))}"
    shown = [*map(repr, names[:5]), *["..."][: len(names) > 5]]
    return f"there is no weight_ih_l0 nor weight_ih among {', '.join(shown)}"


def array_of(name: str, value: Any) -> Array:
    """A tensor or array as an array of float32 or float64."""
    if hasattr(value, "detach"):
        if value.is_meta:
            raise ValueError(f"{name} must hold numbers, got a tensor on the meta device")
        value = value.detach().cpu()
        if value.is_floating_point() and value.element_size() < 4:
            value = value.float()
        value = value.numpy()
    if isinstance(value, Mapping):
        raise TypeError(f"{name} must be a tensor or an array, got a mapping: is that the state dict?")
    array = np.asarray(value)
    if array.dtype == np.float16 or array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must hold float16, bfloat16, float32 or float64, got {array.dtype}")
    return array


def _read_safetensors(path: Path, prefix: str) -> dict[str, Array]:
    """The tensors below ``prefix``. The library checks sizes and offsets before a tensor is read."""
    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):
        pass  # what cannot be read is an OSError, which the library's own is not always
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: _read_tensor(path, file, name) for name in _chosen(file.keys(), prefix)}
    except SafetensorError as error:
        raise ValueError(f"source must be a whole safetensors file, got {str(path)!r}: {error}") from error


def _read_tensor(path: Path, file: Any, name: str) -> Array:
    kind = file.get_slice(name).get_dtype()
    if kind == "BF16":
        return _read_bfloat16(path, name)
    if kind not in ("F64", "F32", "F16"):
        raise TypeError(f"{name} must hold float16, bfloat16, float32 or float64, got {kind}")
    return array_of(name, file.get_tensor(name))


def _read_bfloat16(path: Path, name: str) -> Array:
    """A tensor of a dtype that NumPy lacks: the upper halves of float32. Its place in the file was checked before."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(size))[name]
    halves = np.fromfile(path, "<u2", math.prod(entry["shape"]), offset=8 + size + entry["data_offsets"][0])
    return (halves.astype("<u4") << 16).view("<f4").astype(np.float32).reshape(entry["shape"])


def _read_torch(path: Path) -> Mapping[Any, Any]:
    """The state dict in a file of `torch.save`."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ImportError(f"{str(path)!r} needs PyTorch (a .safetensors file does not): pip install torch") from error
    with open(path, "rb") as file:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # of many kinds, from what is not such a file or is more than weights
            raise ValueError(
                f"source must be a file of torch.save that holds weights only, got {str(path)!r}"
            ) from error
    if not isinstance(state, Mapping):
        raise ValueError(f"source must hold a state dict, got {type(state).__name__} in {str(path)!r}")
    return state
