"""Our stacks as ONNX models."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..._arrays import as_flag
from ...bidirectional import Bidirectional
from ...dropout import Dropout
from ...elementwise import Activation
from ...files import as_path, check_writable, replacing
from ...layer import Array, Layer, StatelessLayer
from ...layers import Dense, Embedding
from ...masking import MaskedSequential
from ...norms import BatchNorm, LayerNorm
from ...pooling import LastStep
from ...recurrent import GRU, LSTM, RecurrentLayer, SimpleRNN
from ...sequential import Sequential
from .functions import from_option, option_operator
from .layouts import from_params
from .nodes import onnx_module

OPSET, IR_VERSION = 17, 8
_OPERATORS: dict[type, str] = {SimpleRNN: "RNN", GRU: "GRU", LSTM: "LSTM"}
_DENSE = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid"}
_PARAMS = {"W", "U", "b", "b_rec", "p", "h0", "c0"}


def export(
    model: Layer, path: str | os.PathLike[str], *, lengths: bool = False, states: bool = False, name: str = "fastrnn"
) -> None:
    """Write a model as an ONNX file that ONNX Runtime runs to the same result.

    Parameters
    ----------
    model : Layer
        A recurrent layer, a Bidirectional, or a Sequential of these, Embedding, Dense, Activation, LayerNorm,
        BatchNorm, LastStep and Dropout (which inference leaves out).
    path : str or path
        Written anew, opset 17; atomically, so that a file that was there is lost for a whole new one only.
    lengths : bool
        Take a second input "lengths", int32 (N,). A `MaskedSequential` needs it: ONNX has no mask.
    states : bool
        Take initial states and give final ones: inputs "state.0.h", "state.0.c", ... and outputs "final.0.h", ..., the
        numbers those of the recurrent layers in order, each (K, N, H) with K directions.
    name : str
        Of the graph, not empty.

    Notes
    -----
    The model's input is "x", (N, T, D) floating or (N, T) int64, its output "y"; N and T are free. It computes in the
    layers' dtype: ONNX Runtime has recurrent operators in float32 only.

    Raises
    ------
    ValueError
        A layer or option that ONNX does not have: projections, full peepholes, layer_norm within a cell, zoneout,
        the mask of a `MaskedSequential` without ``lengths``.
    TypeError
        ``model`` is no layer, or one that cannot be exported; an argument of another type.
    OSError
        The file cannot be written; what was there is untouched.
    ImportError
        onnx is not installed.

    Examples
    --------
    >>> from fastrnn import GRU, Dense, Sequential
    >>> from fastrnn.interop.onnx import export
    >>> model = Sequential([GRU(3, 8, seed=0), Dense(8, 2, seed=1)])
    >>> export(model, "model.onnx")  # doctest: +SKIP
    """
    onnx = onnx_module()
    target = as_path("path", path)
    check_writable(target)
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {name!r}")
    if not name:
        raise ValueError("name must not be empty, got ''")
    graph = _Writer(model, as_flag("lengths", lengths), as_flag("states", states))
    graph.write()
    proto = onnx.helper.make_model(
        graph.proto(name),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="fastrnn",
    )
    onnx.checker.check_model(proto)
    with replacing(target) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def _leaves(model: Any, lengths: bool) -> Iterator[Layer]:
    """The layers of a stack, those of stacks within it included; with ``lengths`` a mask is of no account."""
    if isinstance(model, MaskedSequential) and not lengths:
        raise ValueError(f"lengths must be True for a model with a mask_value, which ONNX does not have, got {model!r}")
    if isinstance(model, Sequential):
        for layer in model.layers:
            yield from _leaves(layer, lengths)
    elif isinstance(model, Layer):
        yield model
    else:
        raise TypeError(f"model must be a layer, got {type(model).__name__}")


class _Writer:
    """Collects a graph: nodes, stored arrays, inputs and outputs. Values are (T, N, .) within it."""

    def __init__(self, model: Layer, lengths: bool, states: bool):
        self.layers = [layer for layer in _leaves(model, lengths) if not isinstance(layer, Dropout)]
        if not self.layers:
            raise ValueError(f"model must hold a layer besides dropouts, got {model!r}")
        self.helper = onnx_module().helper
        self.dtype = self.layers[0].dtype
        self.kind = self.helper.np_dtype_to_tensor_dtype(self.dtype)
        self.lengths, self.states = lengths, states
        self.nodes: list[Any] = []
        self.stored: dict[str, Array] = {}
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.scans = 0
        self.is_last = False  # the value is (N, .)

    # building blocks

    def store(self, array: Array) -> str:
        """The name of a stored array."""
        name = f"array.{len(self.stored)}"
        self.stored[name] = np.asarray(array, order="C")
        return name

    def integers(self, *values: int) -> str:
        return self.store(np.array(values, np.int64))

    def add(self, operator: str, inputs: list[str], outputs: int | list[str] = 1, **attributes: Any) -> Any:
        """Add a node; the name of its output, or the list of them."""
        number = len(self.nodes)
        names = [f"{operator}.{number}.{k}" for k in range(outputs)] if isinstance(outputs, int) else outputs
        self.nodes.append(self.helper.make_node(operator, inputs, names, name=f"{operator}.{number}", **attributes))
        return names[0] if len(names) == 1 else names

    def info(self, name: str, shape: list[Any], kind: int | None = None) -> Any:
        return self.helper.make_tensor_value_info(name, self.kind if kind is None else kind, shape)

    # the graph

    def write(self) -> None:
        first, int64 = self.layers[0], self.helper.np_dtype_to_tensor_dtype(np.dtype("int64"))
        if first.takes_integers:
            self.inputs.append(self.info("x", ["N", "T"], int64))
            value = self.add("Transpose", ["x"], perm=[1, 0])
        else:
            self.inputs.append(self.info("x", ["N", "T", first.input_size]))
            value = self.add("Transpose", ["x"], perm=[1, 0, 2])
        if self.lengths:
            self.inputs.append(self.info("lengths", ["N"], self.helper.np_dtype_to_tensor_dtype(np.dtype("int32"))))
        skip = False
        for k, layer in enumerate(self.layers):
            if not skip:
                following = self.layers[k + 1] if k + 1 < len(self.layers) else None
                value, skip = self._layer(layer, following, value)
            else:
                skip = False
        self._end(value)

    def _end(self, value: str) -> None:
        last = self.layers[-1]
        if not self.is_last:
            if self.lengths and isinstance(last, StatelessLayer):
                value = self._zero_beyond(value)
            value = self.add("Transpose", [value], perm=[1, 0, 2])
        self.add("Identity", [value], ["y"])
        width = [layer.output_size for layer in self.layers if layer.output_size][-1]
        self.outputs.insert(0, self.info("y", ["N", width] if self.is_last else ["N", "T", width]))

    def _zero_beyond(self, value: str) -> str:
        """value (T, N, .) with zeros from each row's length on."""
        T = self.add("Gather", [self.add("Shape", [value]), self.store(np.array(0, np.int64))])
        zero, one = (self.store(np.array(number, np.int64)) for number in (0, 1))
        steps = self.add("Unsqueeze", [self.add("Range", [zero, T, one]), self.integers(1, 2)])
        ends = self.add("Cast", ["lengths"], to=self.helper.np_dtype_to_tensor_dtype(np.dtype("int64")))
        ends = self.add("Unsqueeze", [ends, self.integers(0, 2)])
        valid = self.add("Less", [steps, ends])
        return self.add("Where", [valid, value, self.store(np.zeros((), self.dtype))])

    def _layer(self, layer: Layer, following: Layer | None, value: str) -> tuple[str, bool]:
        """The value behind a layer, and whether the LastStep that follows is already in it."""
        if isinstance(layer, (RecurrentLayer, Bidirectional)):
            return self._scan(layer, following, value)
        if isinstance(layer, Embedding):
            return self.add("Gather", [self.store(layer.params["W"]), value], axis=0), False
        if isinstance(layer, Dense):
            value = self.add("MatMul", [value, self.store(layer.params["W"])])
            value = self.add("Add", [value, self.store(layer.params["b"])])
            return (value if layer.activation is None else self.add(_DENSE[layer.activation], [value])), False
        if isinstance(layer, Activation):
            if layer.activation == "softmax":
                return self.add("Softmax", [value], axis=-1), False
            operator, numbers = option_operator(layer.activation)
            return self.add(operator, [value], 1, **numbers), False
        if isinstance(layer, LayerNorm):
            arrays = [self.store(layer.params[name]) for name in ("gain", "b")]
            return self.add("LayerNormalization", [value, *arrays], axis=-1, epsilon=layer.eps), False
        if isinstance(layer, BatchNorm):
            scale = layer.params["gain"] / np.sqrt(layer.buffers["var"] + layer.dtype.type(layer.eps))
            shift = layer.params["b"] - layer.buffers["mean"] * scale
            return self.add("Add", [self.add("Mul", [value, self.store(scale)]), self.store(shift)]), False
        if isinstance(layer, LastStep):
            raise ValueError(f"model must have LastStep right behind a recurrent layer, got {self.layers!r}")
        raise TypeError(f"model must hold layers that ONNX has, got {layer!r}")

    def _scan(self, layer: RecurrentLayer | Bidirectional, following: Layer | None, value: str) -> tuple[str, bool]:
        parts = layer.layers if isinstance(layer, Bidirectional) else (layer,)
        operator, attributes, arrays = scan_node(parts)
        stored = {name: self.store(array) for name, array in arrays.items()}
        states = self._initial(parts, value)
        inputs = [value, stored["W"], stored["R"], stored["B"], "lengths" if self.lengths else "", *states]
        if operator == "LSTM":
            inputs += [""] * (7 - len(inputs)) + [stored.get("P", "")]
        while not inputs[-1]:
            inputs.pop()
        outputs = self.add(operator, inputs, 3 if operator == "LSTM" else 2, **attributes)
        self._final(parts, outputs[1:])
        if isinstance(following, LastStep):
            return self._last(layer, following, outputs[1]), True
        return self._merged(layer, outputs[0]), False

    def _initial(self, parts: tuple[RecurrentLayer, ...], value: str) -> list[str]:
        """Names of the initial states: inputs of the graph, learned ones, or none."""
        names = "hc" if isinstance(parts[0], LSTM) else "h"
        if self.states:
            found = [f"state.{self.scans}.{name}" for name in names]
            shape = [len(parts), "N", parts[0].hidden_size]
            self.inputs += [self.info(name, shape) for name in found]
            return found
        if "h0" not in parts[0].params:
            return []
        N = self.add("Gather", [self.add("Shape", [value]), self.integers(1)], axis=0)
        shape = self.add("Concat", [self.integers(1), N, self.integers(1)], axis=0)
        learned = [np.stack([part.params[f"{name}0"][None] for part in parts]) for name in names]
        return [self.add("Expand", [self.store(array), shape]) for array in learned]

    def _final(self, parts: tuple[RecurrentLayer, ...], outputs: list[str]) -> None:
        if self.states:
            for name, output in zip("hc", outputs, strict=False):
                self.add("Identity", [output], [f"final.{self.scans}.{name}"])
                shape = [len(parts), "N", parts[0].hidden_size]
                self.outputs.append(self.info(f"final.{self.scans}.{name}", shape))
        self.scans += 1

    def _last(self, layer: RecurrentLayer | Bidirectional, last: LastStep, final: str) -> str:
        """(N, K*H) out of a final state (K, N, H)."""
        self.is_last = True
        if isinstance(layer, Bidirectional):
            if layer.merge != "concat" or 2 * last.reverse_size != layer.output_size:
                raise ValueError(f"model must take the ends of both scans side by side, got {layer!r} and {last!r}")
            return self.add("Reshape", [self.add("Transpose", [final], perm=[1, 0, 2]), self.integers(0, -1)])
        if last.reverse_size != (layer.output_size if layer.reverse else 0):
            raise ValueError(f"model must take the end of the scan, got {layer!r} and {last!r}")
        return self.add("Squeeze", [final, self.integers(0)])

    def _merged(self, layer: RecurrentLayer | Bidirectional, y: str) -> str:
        """(T, N, .) out of Y (T, K, N, H)."""
        if not isinstance(layer, Bidirectional):
            return self.add("Squeeze", [y, self.integers(1)])
        if layer.merge == "concat":
            return self.add("Reshape", [self.add("Transpose", [y], perm=[0, 2, 1, 3]), self.integers(0, 0, -1)])
        if layer.merge == "sum":
            return self.add("ReduceSum", [y, self.integers(1)], keepdims=0)
        if layer.merge is None:
            raise ValueError(f"model must have one output, got {layer!r}, which gives a pair")
        operator = {"ave": "ReduceMean", "mul": "ReduceProd"}[layer.merge]
        return self.add(operator, [y], axes=[1], keepdims=0)

    def proto(self, name: str) -> Any:
        to_tensor = onnx_module().numpy_helper.from_array
        tensors = [to_tensor(array, key) for key, array in self.stored.items()]
        return self.helper.make_graph(self.nodes, name, self.inputs, self.outputs, tensors)


def scan_node(parts: tuple[RecurrentLayer, ...]) -> tuple[str, dict[str, Any], dict[str, Array]]:
    """A layer, or the two of a Bidirectional, as an operator, its attributes and W, R, B and perhaps P."""
    operators = [_operator(part) for part in parts]
    options = [_options(part) for part in parts]
    if len(set(operators)) > 1 or any(own["shared"] != options[0]["shared"] for own in options):
        raise ValueError(f"model must have one kind of layer in both directions, got {parts!r}")
    if len({part.hidden_size for part in parts}) > 1:
        raise ValueError(f"model must have one hidden_size in both directions, got {parts!r}")
    direction = "bidirectional" if len(parts) == 2 else "reverse" if parts[0].reverse else "forward"
    attributes = {"hidden_size": parts[0].hidden_size, "direction": direction, **options[0]["shared"]}
    functions = [function for own in options for function in own["functions"]]
    if any(own["functions"] != own["defaults"] for own in options):
        named = [from_option(function) for function in functions]
        attributes["activations"] = [name for name, _, _ in named]
        for key, k in (("activation_alpha", 1), ("activation_beta", 2)):
            numbers = [number for entry in named for number in entry[k]]
            if numbers:
                attributes[key] = numbers
    coupled = bool(options[0]["shared"].get("input_forget"))
    arrays = [from_params(operators[0], part.params, coupled) for part in parts]
    return operators[0], attributes, {name: np.stack([own[name] for own in arrays]) for name in arrays[0]}


def _operator(layer: RecurrentLayer) -> str:
    if type(layer) not in _OPERATORS:
        raise TypeError(f"model must hold SimpleRNN, LSTM and GRU, got {layer!r}")
    extra = sorted(set(layer.params) - _PARAMS)
    if extra:
        raise ValueError(f"model must hold layers that ONNX has, got {layer!r} with parameters {', '.join(extra)}")
    return _OPERATORS[type(layer)]


def _options(layer: RecurrentLayer) -> dict[str, Any]:
    """A layer's attributes that directions share, its functions, and what ONNX takes for those by itself."""
    config: Mapping[str, Any] = layer._config()
    if config.get("zoneout", 0.0) not in (0.0, (0.0, 0.0)):
        raise ValueError(f"model must hold layers that ONNX has, got {layer!r} with zoneout={config['zoneout']!r}")
    shared: dict[str, Any] = {}
    if config.get("clip") is not None:
        shared["clip"] = float(config["clip"])
    if config.get("coupled"):
        shared["input_forget"] = 1
    if isinstance(layer, GRU):
        shared["linear_before_reset"] = int(layer.reset_after)
    activation = config.get("activation", "tanh")
    gates = config.get("recurrent_activation", "sigmoid")
    if isinstance(layer, SimpleRNN):
        functions, defaults = [activation], ["tanh"]
    elif isinstance(layer, GRU):
        functions, defaults = [gates, activation], ["sigmoid", "tanh"]
    else:
        output = config.get("output_activation")
        functions = [gates, activation, activation if output is None else output]
        defaults = ["sigmoid", "tanh", "tanh"]
    return {"shared": shared, "functions": functions, "defaults": defaults}
