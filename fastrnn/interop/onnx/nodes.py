"""One RNN, LSTM or GRU node of ONNX: its attributes, the layer that it is, and its execution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import init
from ..._arrays import as_array, as_lengths, as_shape
from ...bidirectional import Bidirectional
from ...layer import Array
from ...recurrent import GRU, LSTM, RecurrentLayer, SimpleRNN
from .functions import to_options
from .layouts import GATES, to_params

INPUTS = {
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
}
STATES = {"RNN": ("initial_h",), "GRU": ("initial_h",), "LSTM": ("initial_h", "initial_c")}
_FUNCTIONS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
_COMMON = {
    **dict.fromkeys(("activation_alpha", "activation_beta"), ("FLOATS", "INTS")),
    "activations": ("STRINGS",),
    "clip": ("FLOAT", "INT"),
    "direction": ("STRING",),
    **dict.fromkeys(("hidden_size", "layout"), ("INT",)),
}
"""Attributes of all three operators, and the types that each may have."""
_OWN = {"RNN": {}, "GRU": {"linear_before_reset": ("INT",)}, "LSTM": {"input_forget": ("INT",)}}
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def onnx_module() -> Any:
    """The onnx package, or an ImportError that says how to get it."""
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError("ONNX's models need the onnx package: pip install 'fastrnn[onnx]'") from error
    return onnx


@dataclass(frozen=True)
class Attributes:
    """What a node says besides its inputs.

    Attributes
    ----------
    operator : "RNN", "LSTM" or "GRU"
    reverse : tuple of bool
        One for each direction.
    options : tuple of dict
        Keyword arguments of each direction's layer.
    batch_first : bool
        ONNX's layout 1.
    hidden_size : int or None
    """

    operator: str
    reverse: tuple[bool, ...]
    options: tuple[dict[str, Any], ...]
    batch_first: bool
    hidden_size: int | None

    @property
    def coupled(self) -> bool:
        return bool(self.options[0].get("coupled"))


def attributes_of(node: Any) -> Attributes:
    """The attributes of an RNN, LSTM or GRU node; raises for what ONNX does not have there."""
    onnx = onnx_module()
    operator = getattr(node, "op_type", None)
    if operator not in GATES:
        raise ValueError(f"node must be an RNN, LSTM or GRU, got {operator or type(node).__name__}")
    known = {**_COMMON, **_OWN[operator]}
    unknown = sorted({attribute.name for attribute in node.attribute} - set(known))
    if unknown:
        raise ValueError(f"{operator} must not have attribute {', '.join(unknown)}")
    given: dict[str, Any] = {}
    for attribute in node.attribute:
        kind = onnx.AttributeProto.AttributeType.Name(attribute.type)
        if kind not in known[attribute.name]:
            raise ValueError(f"{attribute.name} must be of type {known[attribute.name][0]}, got {kind}")
        given[attribute.name] = onnx.helper.get_attribute_value(attribute)
    direction = given.get("direction", b"forward").decode()
    if direction not in _DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(_DIRECTIONS)}, got {direction}")
    hidden_size = given.get("hidden_size")
    if hidden_size is not None and hidden_size < 1:
        raise ValueError(f"hidden_size must be at least 1, got {hidden_size}")
    layout = given.get("layout", 0)
    if layout not in (0, 1):
        raise ValueError(f"layout must be 0 or 1, got {layout}")
    reverse = _DIRECTIONS[direction]
    shared = _shared_options(operator, given)
    options = tuple(shared | own for own in _activations(operator, given, len(reverse)))
    return Attributes(operator, reverse, options, bool(layout), hidden_size)


def _shared_options(operator: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options that all directions have: only those that differ from our defaults."""
    options: dict[str, Any] = {}
    if "clip" in given:
        if not given["clip"] > 0:
            raise ValueError(f"clip must be greater than 0, got {given['clip']}")
        options["clip"] = float(given["clip"])
    for name, option in (("input_forget", "coupled"), ("linear_before_reset", "reset_after")):
        if given.get(name, 0) not in (0, 1):
            raise ValueError(f"{name} must be 0 or 1, got {given[name]}")
        if name == "linear_before_reset" and operator == "GRU":
            options[option] = bool(given.get(name, 0))
        elif given.get(name, 0):
            options[option] = True
    return options


def _activations(operator: str, given: Mapping[str, Any], directions: int) -> list[dict[str, Any]]:
    """``activation`` and ``recurrent_activation`` of each direction, where they are not our defaults."""
    defaults = _FUNCTIONS[operator]
    names = [name.decode() for name in given.get("activations", [])] or [*defaults] * directions
    if len(names) != len(defaults) * directions:
        raise ValueError(
            f"activations must be {len(defaults) * directions} names, got {len(names)}: {', '.join(names)}"
        )
    found = to_options(names, given.get("activation_alpha", []), given.get("activation_beta", []))
    return [_scan_options(operator, found[k : k + len(defaults)]) for k in range(0, len(found), len(defaults))]


def _scan_options(operator: str, functions: list[Any]) -> dict[str, Any]:
    """One direction's functions as keyword arguments."""
    named = {"activation": functions[0 if operator == "RNN" else 1]}
    if operator != "RNN":
        named["recurrent_activation"] = functions[0]
    if operator == "LSTM" and functions[2] != functions[1]:
        named["output_activation"] = functions[2]
    defaults = {"activation": "tanh", "recurrent_activation": "sigmoid", "output_activation": None}
    return {name: function for name, function in named.items() if function != defaults[name]}


def layer_of(attributes: Attributes, weights: Mapping[str, Any]) -> RecurrentLayer | Bidirectional:
    """The layer that a node with these W, R and perhaps B and P is: a Bidirectional where it has both directions.

    initial_h and initial_c, (K, 1, H), are states that every row starts from: learned ones.
    """
    operator, K = attributes.operator, len(attributes.reverse)
    G = GATES[operator]
    R = as_array("R", weights["R"])
    dtype = np.dtype("float64" if R.dtype == np.float64 else "float32")
    R = as_shape("R", R, dtype, (K, "G*H", "H"))
    H = attributes.hidden_size or R.shape[2]
    R = as_shape("R", R, dtype, (K, G * H, H))
    W = as_shape("W", weights["W"], dtype, (K, G * H, "D"))
    B, P = weights.get("B"), weights.get("P")
    B = np.zeros((K, 2 * G * H), dtype) if B is None else as_shape("B", B, dtype, (K, 2 * G * H))
    P = None if P is None else as_shape("P", P, dtype, (K, 3 * H))
    names = STATES[operator] if weights.keys() & set(STATES[operator]) else ()
    learned = {name: as_shape(name, weights.get(name, np.zeros((K, 1, H), dtype)), dtype, (K, 1, H)) for name in names}
    layers = []
    for k, (reverse, options) in enumerate(zip(attributes.reverse, attributes.options, strict=True)):
        params = to_params(
            operator,
            W[k],
            R[k],
            B[k],
            None if P is None else P[k],
            attributes.coupled,
            bool(options.get("reset_after")),
        )
        params |= {f"{name[-1]}0": array[k, 0] for name, array in learned.items()}
        layers.append(_make(operator, params, {**options, "reverse": reverse, "dtype": dtype.name}))
    return Bidirectional(tuple(layers)) if K == 2 else layers[0]


_CLASSES: dict[str, Any] = {"RNN": SimpleRNN, "LSTM": LSTM, "GRU": GRU}


def _make(operator: str, params: Mapping[str, Array], options: dict[str, Any]) -> RecurrentLayer:
    if "p" in params:
        options["peephole"] = "diagonal"
    if "h0" in params:
        options["trainable_state"] = True
    with init.skipped():  # every weight comes from the params
        layer = _CLASSES[operator](params["W"].shape[0], params["U"].shape[0], **options)
    layer.params.update(params)
    return layer


def run_node(node: Any, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """Execute one RNN, LSTM or GRU node.

    Parameters
    ----------
    node : onnx.NodeProto
        Of any opset from 7 to 22.
    inputs : mapping from ONNX's names of inputs to arrays
        "X", "W", "R" and, where there are any, "B", "sequence_lens", "initial_h", "initial_c", "P", whatever the node's
        own inputs are called. float16, float32 or float64, sequence_lens integers.

    Returns
    -------
    dict
        "Y", "Y_h" and for an LSTM "Y_c", in ONNX's shapes and X's dtype. As in ONNX Runtime, Y is 0 beyond a row's
        length, and the final state of a row of length 0 is 0.

    Raises
    ------
    TypeError, ValueError
        An attribute or input that ONNX does not have, or of another dtype or shape; an activation without the number
        that it needs. The message names it.

    Examples
    --------
    >>> import numpy as np, onnx.helper  # doctest: +SKIP
    >>> node = onnx.helper.make_node("GRU", ["X", "W", "R"], ["Y"], hidden_size=2)  # doctest: +SKIP
    >>> x, W, R = (np.ones(shape, "float32") for shape in ((5, 1, 3), (1, 6, 3), (1, 6, 2)))  # doctest: +SKIP
    >>> run_node(node, {"X": x, "W": W, "R": R})["Y"].shape  # doctest: +SKIP
    (5, 1, 1, 2)
    """
    attributes = attributes_of(node)
    _check_names(attributes.operator, inputs)
    X = as_array("X", inputs["X"])
    weights = {name: inputs.get(name) for name in ("W", "R", "B", "P")}
    layer = layer_of(attributes, weights)
    if X.dtype.kind != "f" or X.dtype.itemsize > layer.dtype.itemsize:
        raise TypeError(f"X must be of the dtype of R, {layer.dtype}, or narrower, got {X.dtype}")
    time_major = not attributes.batch_first
    axes = ("T", "N") if time_major else ("N", "T")
    sizes = dict(zip(axes, as_shape("X", X, layer.dtype, (*axes, layer.input_size)).shape, strict=False))
    state = _initial(attributes, layer, inputs, sizes["N"])
    lengths = inputs.get("sequence_lens")
    if lengths is not None:
        lengths = as_lengths(lengths, sizes["N"], sizes["T"], "sequence_lens")
    y, final = layer(X, state, lengths, time_major=time_major)
    found = {"Y": _by_direction(y, len(attributes.reverse), attributes.batch_first)}
    ended = None if lengths is None else lengths == 0
    for name, part in zip(("Y_h", "Y_c"), _final_parts(attributes, final), strict=False):
        if ended is not None:
            part[:, ended] = 0
        found[name] = part.swapaxes(0, 1) if attributes.batch_first else part
    return {name: array.astype(X.dtype, copy=False) for name, array in found.items()}


def _check_names(operator: str, inputs: Any) -> None:
    if not isinstance(inputs, Mapping):
        raise TypeError(f"inputs must be a mapping from ONNX's names to arrays, got {type(inputs).__name__}")
    unknown = sorted(str(name) for name in inputs if name not in INPUTS[operator])
    if unknown:
        raise ValueError(f"inputs must be among {', '.join(INPUTS[operator])} for {operator}, got {', '.join(unknown)}")
    missing = [name for name in ("X", "W", "R") if inputs.get(name) is None]
    if missing:
        raise ValueError(f"inputs must hold X, W and R, got none for {', '.join(missing)}")


def _initial(attributes: Attributes, layer: RecurrentLayer | Bidirectional, inputs: Mapping[str, Any], N: int) -> Any:
    """The initial state as the layer takes it; None where none is given."""
    names = STATES[attributes.operator]
    if all(inputs.get(name) is None for name in names):
        return None
    K = len(attributes.reverse)
    H = layer.layers[0].hidden_size if isinstance(layer, Bidirectional) else layer.hidden_size
    parts = []
    for name in names:
        part = inputs.get(name)
        shape = (N, K, H) if attributes.batch_first else (K, N, H)
        part = np.zeros(shape, layer.dtype) if part is None else as_shape(name, part, layer.dtype, shape)
        parts.append(part.swapaxes(0, 1) if attributes.batch_first else part)
    states = [tuple(part[k] for part in parts) if len(parts) > 1 else parts[0][k] for k in range(K)]
    return tuple(states) if K == 2 else states[0]


def _by_direction(y: Array, K: int, batch_first: bool) -> Array:
    """(T, N, K*H) -> (T, K, N, H); (N, T, K*H) -> (N, T, K, H) with ``batch_first``."""
    parts = y.reshape(*y.shape[:2], K, y.shape[2] // K)
    return parts if batch_first else parts.swapaxes(1, 2)


def _final_parts(attributes: Attributes, final: Any) -> list[Array]:
    """Y_h and Y_c, (K, N, H) each: arrays of their own."""
    directions = final if len(attributes.reverse) == 2 else (final,)
    if attributes.operator != "LSTM":
        return [np.stack(directions)]
    return [np.stack([state[k] for state in directions]) for k in range(2)]
