"""The weights of PyTorch's recurrent modules as fastrnn's layers and back: arrays only, without PyTorch.

PyTorch keeps, for layer k and each direction, weight_ih_lk (G*H, D), weight_hh_lk (G*H, H), bias_ih_lk and bias_hh_lk
(G*H,) and, of an LSTM with projection, weight_hr_lk (P, H); the names of the reverse direction end in _reverse, those
of a cell have no _lk. Gate blocks lie in fastrnn's order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...bidirectional import Bidirectional
from ...dropout import Dropout
from ...layer import Layer
from ...recurrent import GRU, LSTM, RecurrentLayer, SimpleRNN
from ...sequential import Sequential

Array = np.ndarray

_NAME = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)(?:_l(\d+)(_reverse)?)?")
_KINDS = {1: "RNN", 3: "GRU", 4: "LSTM"}


@dataclass(frozen=True)
class Shape:
    """What the shapes of one direction of a module tell.

    Attributes
    ----------
    kind : "RNN", "GRU" or "LSTM"
    D, H : int
        Features of x, units.
    P : int or None
        Features of h, of an LSTM with projection.
    """

    kind: str
    D: int
    H: int
    P: int | None

    @property
    def output_size(self) -> int:
        return self.P or self.H

    @property
    def units(self) -> str:
        """In words, what all layers and directions of a module share."""
        return f"{self.kind} with H={self.H}" + (f" and P={self.P}" if self.P else "")


def layer_of(weights: Mapping[str, Array], *, nonlinearity: str = "tanh", dropout: float = 0.0) -> Layer:
    """The layer, bidirectional layer or stack that has these weights, by PyTorch's names.

    Raises
    ------
    ValueError, TypeError
        A name, a shape or a dtype that no module of PyTorch's has; the message names it.
    """
    places = _places(weights)
    dtype = _dtype(weights)
    _check_biases(places)
    directions = 2 if any(reverse for _, reverse in places) else 1
    wanted = [(k, reverse) for k in range(len(places) // directions) for reverse in (False, True)[:directions]]
    if sorted(places) != wanted:
        raise ValueError(
            f"weights must be of layers 0, 1, ... with equal directions, got the names {', '.join(weights)}"
        )
    layers: list[Any] = []
    size: int | None = None
    first: Shape | None = None
    for k in range(len(places) // directions):
        parts = []
        for reverse in (False, True)[:directions]:
            own = places[k, reverse]
            shape = _shape(own, size)
            first = first or shape
            if shape.units != first.units:
                raise ValueError(f"{own['weight_hh'][0]} must fit layer 0, {first.units}, got {shape.units}")
            parts.append(_direction(own, shape, reverse, nonlinearity, dtype))
        if dropout and k:
            layers.append(Dropout(dropout))
        layers.append(parts[0] if directions == 1 else Bidirectional(parts))
        size = layers[-1].output_size
    return layers[0] if len(layers) == 1 else Sequential(layers)


def _places(weights: Mapping[str, Array]) -> dict[tuple[int, bool], dict[str, tuple[str, Array]]]:
    """(layer, reverse) -> name without its place -> (name, array)."""
    places: dict[tuple[int, bool], dict[str, tuple[str, Array]]] = {}
    for name, array in weights.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"weights must be those of one RNN, LSTM or GRU, got {name!r}: choose one with prefix=")
        base, k, reverse = match.groups()
        places.setdefault((int(k or 0), reverse is not None), {})[base] = name, array
    if not places:
        raise ValueError("weights must hold weight_ih_l0 and weight_hh_l0, got nothing of these names")
    for own in places.values():
        for base in (
            "weight_ih",
            "weight_hh",
            *(["bias_ih", "bias_hh"] if {"bias_ih", "bias_hh"} & own.keys() else []),
        ):
            if base not in own:
                raise ValueError(f"weights must hold {base} beside {', '.join(name for name, _ in own.values())}")
    return places


def _check_biases(places: Mapping[tuple[int, bool], Mapping[str, tuple[str, Array]]]) -> None:
    """Raise unless all layers and directions have biases, or none."""
    without = [own["weight_ih"][0] for own in places.values() if "bias_ih" not in own]
    if without and len(without) < len(places):
        raise ValueError(f"weights must hold biases in all layers or in none, got none beside {', '.join(without)}")


def _dtype(weights: Mapping[str, Array]) -> np.dtype:
    dtypes = {array.dtype for array in weights.values()}
    if len(dtypes) > 1:
        raise TypeError(f"weights must be of one dtype, got {', '.join(sorted(map(str, dtypes)))}")
    return dtypes.pop()


def _shape(own: Mapping[str, tuple[str, Array]], size: int | None) -> Shape:
    """What one direction's shapes tell; ``size`` is the width of the layer before, None for the first."""
    for name, matrix in (own[base] for base in ("weight_ih", "weight_hh", "weight_hr") if base in own):
        if matrix.ndim != 2:
            raise ValueError(f"{name} must have 2 axes, got shape {matrix.shape}")
    name, w_hh = own["weight_hh"]
    rows, width = w_hh.shape
    P = width if "weight_hr" in own else None
    H = own["weight_hr"][1].shape[-1] if P else width
    gates = rows // H if H and rows % H == 0 else 0
    if gates not in _KINDS or (P and gates != 4):
        raise ValueError(f"{name} must have 1, 3 or 4 times {H} rows (RNN, GRU, LSTM), got shape {w_hh.shape}")
    name, w_ih = own["weight_ih"]
    D = w_ih.shape[-1] if size is None else size
    wanted = {"weight_ih": (rows, D), "weight_hh": (rows, width), "bias_ih": (rows,), "bias_hh": (rows,)}
    wanted["weight_hr"] = (width, H)
    for base, (name, array) in own.items():
        if array.shape != wanted[base] or 0 in array.shape:
            raise ValueError(f"{name} must have shape {wanted[base]}, got {array.shape}")
    return Shape(_KINDS[gates], D, H, P)


def _direction(
    own: Mapping[str, tuple[str, Array]], shape: Shape, reverse: bool, nonlinearity: str, dtype: np.dtype
) -> RecurrentLayer:
    """A layer with these weights."""
    options: dict[str, Any] = {"reverse": reverse, "dtype": dtype, "seed": 0}
    layer: RecurrentLayer
    if shape.kind == "LSTM":
        if shape.P:
            options["proj_size"] = shape.P
        layer = LSTM(shape.D, shape.H, **options)
    elif shape.kind == "GRU":
        layer = GRU(shape.D, shape.H, **options)
    else:
        layer = SimpleRNN(shape.D, shape.H, activation=nonlinearity, **options)
    layer.params.update(params_of({base: array for base, (_, array) in own.items()}, shape.kind == "GRU"))
    return layer


def params_of(own: Mapping[str, Array], inner_bias: bool) -> dict[str, Array]:
    """fastrnn's parameters from one direction's weights by PyTorch's names without their place.

    ``inner_bias``: the last block of bias_hh stays apart, as b_rec; a GRU multiplies it by r.
    """
    w_ih, w_hh = own["weight_ih"], own["weight_hh"]
    params = {"W": w_ih.T, "U": w_hh.T}
    if "bias_ih" in own:
        b_ih, b_hh = own["bias_ih"], own["bias_hh"]
    else:
        b_ih = b_hh = np.zeros(w_ih.shape[0], w_ih.dtype)
    params["b"] = b_ih + b_hh
    if inner_bias:
        H = w_hh.shape[1]
        params["b"][-H:] = b_ih[-H:]
        params["b_rec"] = b_hh[-H:]
    if "weight_hr" in own:
        params["W_proj"] = own["weight_hr"].T
    return params


def weights_of(params: Mapping[str, Array]) -> dict[str, Array]:
    """One direction's weights by PyTorch's names without their place: `params_of` turned round.

    Everything that can be is in bias_ih.
    """
    b = params["b"]
    found = {"weight_ih": params["W"].T, "weight_hh": params["U"].T, "bias_ih": b, "bias_hh": np.zeros_like(b)}
    if "b_rec" in params:
        found["bias_hh"][-len(params["b_rec"]) :] = params["b_rec"]
    if "W_proj" in params:
        found["weight_hr"] = params["W_proj"].T
    return found
