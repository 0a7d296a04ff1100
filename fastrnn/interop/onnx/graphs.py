"""ONNX models as our layers.

A chain is followed from its output back to its input, then read forwards with a label for every axis: T, N, K
(directions) and D (features), so that it does not matter how an exporter turned its arrays round.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ... import init
from ...bidirectional import Bidirectional
from ...elementwise import Activation
from ...layer import Array, Layer
from ...layers import Dense, Embedding
from ...norms import BatchNorm, LayerNorm
from ...pooling import LastStep
from ...recurrent import RecurrentLayer
from ...sequential import Sequential
from .functions import OPERATORS, operator_option
from .layouts import GATES
from .nodes import INPUTS, STATES, attributes_of, layer_of, onnx_module

_DEPTH_LIMIT = 32
_INTEGERS, _DOUBLE = (6, 7), 11  # what TensorProto calls INT32 and INT64, and DOUBLE
_MOVERS = {"Expand", "Slice", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Cast", "Reshape", "Gather"}
"""Operators that make nothing but zeros of zeros."""


class _NotAChainError(Exception):
    """Why a graph is no plain chain."""


def load(model: Any) -> Sequential | dict[str, RecurrentLayer | Bidirectional]:
    """An ONNX model's recurrent layers.

    Parameters
    ----------
    model : onnx.ModelProto, bytes, str or path

    Returns
    -------
    Sequential
        Where the graph is a chain from one input to one output: embedding (Gather), RNN, LSTM, GRU, MatMul or Gemm with
        a bias, Softmax, Tanh, Relu and their like, LayerNormalization, Mul and Add of one number per feature (a
        `BatchNorm`), with the Transpose, Squeeze and Reshape nodes that exporters put between them; Y_h behind a scan
        is a `LastStep`. Initial states and lengths that are inputs of the graph are the ``state`` and ``lengths`` of a
        call, which gives 0 beyond the lengths whatever the graph puts there; a stored initial state that all rows share
        is a learned one. If the graph's input is (T, N, D), call with ``time_major=True``.
    dict
        Of any other graph, each RNN, LSTM and GRU node in it, by name (or by the name of its first output): a layer, a
        `Bidirectional` where it has both directions, with stored initial states as above. Nodes within If, Loop and
        Scan are among them; a name that comes again, as in two branches, gets "#2", "#3", ... behind it.

    Raises
    ------
    ValueError
        The file is damaged, holds no recurrent node, or one with weights that are not stored in the model or with an
        attribute that cannot be imported; the message names it.
    TypeError
        ``model`` is none of the above.
    ImportError
        onnx is not installed.
    """
    proto = _checked(model)
    graph = _Graph(proto.graph, opset=_opset(proto))
    try:
        return _Chain(graph).stack()
    except _NotAChainError as error:
        reason = str(error)
    found: dict[str, RecurrentLayer | Bidirectional] = {}
    for inner, node in graph.scans():
        name = name_of(node)
        again = sum(known == name or known.startswith(f"{name}#") for known in found)
        weights = inner.weights(node)
        layer = layer_of(attributes_of(node), weights | inner.learned(node, weights["R"]))
        found[f"{name}#{again + 1}" if again else name] = layer
    if not found:
        raise ValueError(f"model must hold an RNN, LSTM or GRU node, and holds none; it is no chain either: {reason}")
    return found


def _checked(model: Any) -> Any:
    """The model as a ModelProto that is sound."""
    onnx = onnx_module()
    from google.protobuf.message import DecodeError

    try:
        if isinstance(model, (str, os.PathLike)):
            with Path(model).open("rb"):
                model = onnx.load(os.fspath(model))
        elif isinstance(model, bytes):
            model = onnx.load_from_string(model)
        elif not isinstance(model, onnx.ModelProto):
            raise TypeError(f"model must be an onnx.ModelProto, bytes or a path, got {type(model).__name__}")
        with _with_shapes(model.graph):
            onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, RuntimeError) as error:
        raise ValueError(f"model must be a sound ONNX model: {error}") from error
    return model


def _opset(model: Any) -> int:
    """The version of ONNX's own operators that a model was written for."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)


@contextmanager
def _with_shapes(graph: Any) -> Iterator[None]:
    """Give inputs and outputs without a shape an empty one for a while: the checker wants one, programs do not."""
    values = [*graph.input, *graph.output]
    bare = [
        v.type.tensor_type
        for v in values
        if v.type.HasField("tensor_type") and not v.type.tensor_type.HasField("shape")
    ]
    for tensor in bare:
        tensor.shape.SetInParent()
    try:
        yield
    finally:
        for tensor in bare:
            tensor.ClearField("shape")


class _Graph:
    """A graph with its constants and the nodes that make its values; a subgraph sees those of its outer graph."""

    def __init__(self, graph: Any, outer: _Graph | None = None, opset: int = 1):
        self.graph, self.outer, self.helper = graph, outer, onnx_module().helper
        self.opset: int = opset if outer is None else outer.opset
        self.depth: int = 0 if outer is None else outer.depth + 1
        if self.depth > _DEPTH_LIMIT:
            raise ValueError(f"model must not nest more than {_DEPTH_LIMIT} graphs")
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.producers = {name: (node, k) for node in graph.node for k, name in enumerate(node.output) if name}
        self.inputs = [value for value in graph.input if value.name not in self.stored]

    def attribute(self, node: Any, name: str, default: Any = None) -> Any:
        for attribute in node.attribute:
            if attribute.name == name:
                return self.helper.get_attribute_value(attribute)
        return default

    def constant(self, name: str) -> Array | None:
        """The array of this name if the model stores it, else None."""
        tensor = self.stored.get(name)
        if tensor is None and name in self.producers:
            node, _ = self.producers[name]
            if node.op_type == "Identity":
                return self.constant(node.input[0])
            tensor = self.attribute(node, "value") if node.op_type == "Constant" else None
        if tensor is None:
            return None if self.outer is None or name in self.producers else self.outer.constant(name)
        try:
            return onnx_module().numpy_helper.to_array(tensor)
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise ValueError(f"tensor {name!r} is damaged: {error}") from error

    def weights(self, node: Any) -> dict[str, Array]:
        """W, R, B and P of a recurrent node, by ONNX's names; all must be stored."""
        found = {}
        for label, name in zip(INPUTS[node.op_type], node.input, strict=False):
            if label in ("W", "R", "B", "P") and name:
                array = self.constant(name)
                if array is None:
                    raise ValueError(f"{label} of node {name_of(node)!r} must be stored in the model, {name!r} is not")
                if array.dtype.kind != "f":
                    raise ValueError(f"{label} of node {name_of(node)!r} must be floating-point, got {array.dtype}")
                found[label] = array
        return found

    def learned(self, node: Any, R: Array) -> dict[str, Array]:
        """A recurrent node's initial states that are stored and not zero, by ONNX's names: one for all rows or for a
        single one."""
        found = {}
        for label, name in zip(INPUTS[node.op_type], node.input, strict=False):
            if label in STATES[node.op_type] and name and not self.is_zero(name):
                expand = self.made_by("Expand", name)
                array = self.constant(name if expand is None else expand.input[0])
                if array is not None and array.shape == (*R.shape[:1], 1, *R.shape[-1:]):
                    found[label] = array
        return found

    def scans(self) -> Iterator[tuple[_Graph, Any]]:
        """Every recurrent node, those of subgraphs too, and the graph that it is in."""
        for node in self.graph.node:
            if node.op_type in GATES and node.domain in ("", "ai.onnx"):
                yield self, node
            for attribute in node.attribute:
                for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                    yield from _Graph(inner, self).scans()

    def made_by(self, operator: str, name: str | None) -> Any:
        """The node that makes this value where it is one of this type, else None."""
        node, _ = self.producers.get(name, (None, 0))
        return node if node is not None and node.op_type == operator else None

    def is_zero(self, name: str, depth: int = 0) -> bool:
        """Whether a value is zeros of any shape: how exporters write an initial state that is not given."""
        array = self.constant(name)
        if array is not None:
            return not np.any(array)
        if name not in self.producers or depth > _DEPTH_LIMIT:
            return False
        node, _ = self.producers[name]
        if node.op_type == "ConstantOfShape":
            value = self.attribute(node, "value")
            return value is None or not np.any(onnx_module().numpy_helper.to_array(value))
        if node.op_type in _MOVERS:
            return self.is_zero(node.input[0], depth + 1)
        return node.op_type == "Concat" and all(self.is_zero(part, depth + 1) for part in node.input)

    def is_state(self, name: str, depth: int = 0) -> bool:
        """Whether a value is the final state of recurrent nodes, in whatever shape."""
        if name not in self.producers or depth > _DEPTH_LIMIT:
            return False
        node, k = self.producers[name]
        if node.op_type in GATES:
            return k > 0
        passed = node.op_type in ("Identity", "Squeeze", "Unsqueeze", "Transpose")
        inputs = node.input[:1] if passed else node.input if node.op_type == "Concat" else []
        return bool(inputs) and all(self.is_state(part, depth + 1) for part in inputs)


def name_of(node: Any) -> str:
    """A node's name, or that of its first output."""
    return node.name or next((name for name in node.output if name), node.op_type)


class _PendingDense:
    """A product whose bias and activation may still come."""

    def __init__(self, W: Array):
        self.W = W
        self.b: Array | None = None
        self.activation: str | None = None

    def layer(self) -> Dense:
        D, size = self.W.shape
        dense = Dense(D, size, self.activation, dtype=_dtype(self.W))
        dense.params["W"] = self.W
        if self.b is not None:
            dense.params["b"] = self.b
        return dense


def _dtype(array: Array) -> str:
    if array.dtype.kind != "f":
        raise _NotAChainError(f"an array of {array.dtype}")
    return "float64" if array.dtype == np.float64 else "float32"


class _Chain:
    """Reads a graph as a chain of layers."""

    def __init__(self, graph: _Graph):
        self.graph = graph
        self.parts: list[Layer | _PendingDense] = []
        self.axes: tuple[str, ...] = ()
        self.first_axes: tuple[str, ...] = ()
        self.input_size = 0  # where the graph says it
        self.input_dtype = "float32"
        self.names: dict[str, str] = {}  # what the first recurrent node has shown the axes of the input to be
        self.pending: tuple[Bidirectional, bool] | None = None  # not yet merged, and whether only its end is taken
        self.scans = 0
        self.lengths = ""  # what all scans take as such
        self.masked: int | None = None  # how many parts were there when zeros were put beyond the lengths

    def stack(self) -> Sequential:
        graph = self.graph
        main = [value for value in graph.graph.output if not graph.is_state(value.name)] or list(graph.graph.output[:1])
        if len(main) != 1:
            raise _NotAChainError(f"it has {len(main)} outputs")
        steps, first = self._followed(main[0].name)
        self._begin(first)
        for node, k in steps:
            self._read(node, k)
        if not self.scans or self.pending is not None:
            raise _NotAChainError("no recurrent node, or both of its directions apart")
        if len(list(graph.scans())) > self.scans:
            raise _NotAChainError("there are recurrent nodes beside it")
        if self.masked not in (None, len(self.parts)):
            raise _NotAChainError("there are layers behind the zeros beyond the lengths")
        wanted = (("N", "D"), (*self._bound(self.first_axes)[:2], "D"))
        if self.axes not in wanted:
            raise _NotAChainError(f"its output has the axes {' '.join(self.axes)}")
        with init.skipped():  # every weight comes from the graph
            return Sequential([part.layer() if isinstance(part, _PendingDense) else part for part in self.parts])

    def _followed(self, name: str) -> tuple[list[tuple[Any, int]], Any]:
        """The nodes from the graph's input to this value, and the input."""
        inputs = {value.name: value for value in self.graph.inputs}
        steps: list[tuple[Any, int]] = []
        while name not in inputs:
            if name not in self.graph.producers or len(steps) > len(self.graph.graph.node):
                raise _NotAChainError(f"{name!r} comes from nowhere")
            node, k = self.graph.producers[name]
            steps.append((node, k))
            name = self._data_input(node)
        return steps[::-1], inputs[name]

    def _data_input(self, node: Any) -> str:
        """The one input of a node that is not stored: a recurrent node's is X."""
        if node.op_type in GATES:
            return node.input[0]
        if node.op_type == "Where":
            return node.input[1]
        moving = [name for name in node.input if name and self.graph.constant(name) is None]
        if len(moving) != 1:
            raise _NotAChainError(f"{node.op_type} {name_of(node)!r} takes {len(moving)} values")
        return moving[0]

    def _begin(self, value: Any) -> None:
        tensor = value.type.tensor_type
        rank = len(tensor.shape.dim) if tensor.HasField("shape") else 0
        is_integer = tensor.elem_type in _INTEGERS
        if rank != (2 if is_integer else 3):
            raise _NotAChainError(f"its input {value.name!r} has {rank} axes")
        self.axes = self.first_axes = ("0", "1") if is_integer else ("0", "1", "D")
        self.input_size = 0 if is_integer else tensor.shape.dim[2].dim_value
        self.input_dtype = "float64" if tensor.elem_type == _DOUBLE else "float32"

    def _read(self, node: Any, k: int) -> None:
        reads: dict[str, Callable[[Any, int], None]] = {
            "Identity": lambda node, k: None,
            "Dropout": self._dropout,
            "Cast": self._cast,
            "Transpose": self._transpose,
            "Squeeze": self._squeeze,
            "Reshape": self._reshape,
            "Where": self._where,
            "ReduceSum": self._merge,
            "ReduceMean": self._merge,
            "ReduceProd": self._merge,
            "Gather": self._gather,
            "MatMul": self._matmul,
            "Gemm": self._gemm,
            "Add": self._add,
            "Mul": self._mul,
            **dict.fromkeys(OPERATORS, self._activation),
            "Softmax": self._activation,
            "LayerNormalization": self._layer_norm,
            **dict.fromkeys(GATES, self._scan),
        }
        is_side_output = k > 0 and node.op_type not in GATES
        if node.op_type not in reads or node.domain not in ("", "ai.onnx") or is_side_output:
            raise _NotAChainError(f"{node.op_type} {name_of(node)!r} is no layer here")
        reads[node.op_type](node, k)

    # axes

    def _bound(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self.names.get(axis, axis) for axis in axes)

    def _cast(self, node: Any, k: int) -> None:
        if self.parts or self.first_axes[-1] == "D" or self.graph.attribute(node, "to") not in _INTEGERS:
            raise _NotAChainError(f"Cast {name_of(node)!r} does more than turn integers into integers")

    def _transpose(self, node: Any, k: int) -> None:
        order = self.graph.attribute(node, "perm") or list(range(len(self.axes)))[::-1]
        if sorted(order) != list(range(len(self.axes))):
            raise ValueError(f"perm of Transpose {name_of(node)!r} must order {len(self.axes)} axes, got {list(order)}")
        self.axes = tuple(self.axes[j] for j in order)

    def _axes_of(self, node: Any) -> list[int]:
        """The axes that a Squeeze or Reduce removes, an Unsqueeze adds: an attribute, since opset 13 an input."""
        given = self.graph.attribute(node, "axes")
        if given is None and len(node.input) > 1 and node.input[1]:
            array = self.graph.constant(node.input[1])
            given = None if array is None else array.ravel().tolist()
        if given is None:
            raise _NotAChainError(f"{node.op_type} {name_of(node)!r} does not say its axes")
        return [axis % len(self.axes) for axis in given]

    def _squeeze(self, node: Any, k: int) -> None:
        removed = self._axes_of(node)
        if [self.axes[axis] for axis in removed] != ["K"] or self.pending is not None:
            raise _NotAChainError(f"Squeeze {name_of(node)!r} removes another axis than that of one direction")
        self.axes = tuple(axis for axis in self.axes if axis != "K")

    def _reshape(self, node: Any, k: int) -> None:
        shape = self.graph.constant(node.input[1])
        if shape is None or self.axes[-2:] != ("K", "D") or len(shape) != len(self.axes) - 1 or self.pending is None:
            raise _NotAChainError(f"Reshape {name_of(node)!r} does not put two directions side by side")
        if shape[-1] not in (-1, self.pending[0].output_size) or any(size not in (0, -1) for size in shape[:-1]):
            raise _NotAChainError(f"Reshape {name_of(node)!r} makes {shape.tolist()}")
        self.axes = (*self.axes[:-2], "D")
        self._merged("concat")

    def _where(self, node: Any, k: int) -> None:
        """Zeros beyond the lengths, as `export` writes them: a call with lengths gives them by itself."""
        graph, zeros = self.graph, self.graph.constant(node.input[2])
        less = graph.made_by("Less", node.input[0])
        steps = None if less is None else graph.made_by("Range", self._along("T", less.input[0]))
        ends = None if less is None else graph.made_by("Cast", self._along("N", less.input[1]))
        arrays = [] if steps is None else [graph.constant(name) for name in steps.input]
        is_count = [None if array is None else array.ravel().tolist() for array in arrays] == [[0], None, [1]]
        is_zero = zeros is not None and zeros.size == 1 and not zeros.any()
        if not (is_count and is_zero) or ends is None or ends.input[0] != self.lengths:
            raise _NotAChainError(f"Where {name_of(node)!r} does not put zeros beyond the lengths")
        self.masked = len(self.parts)

    def _along(self, axis: str, name: str) -> str | None:
        """What an Unsqueeze lays along this one of the value's axes, or None."""
        node = self.graph.made_by("Unsqueeze", name)
        if node is None:
            return None
        added = self._axes_of(node)
        return node.input[0] if [own for k, own in enumerate(self.axes) if k not in added] == [axis] else None

    def _merge(self, node: Any, k: int) -> None:
        removed, keeps = self._axes_of(node), self.graph.attribute(node, "keepdims", 1)
        if [self.axes[axis] for axis in removed] != ["K"] or keeps or self.pending is None:
            raise _NotAChainError(f"{node.op_type} {name_of(node)!r} does not merge two directions")
        self.axes = tuple(axis for axis in self.axes if axis != "K")
        self._merged({"ReduceSum": "sum", "ReduceMean": "ave", "ReduceProd": "mul"}[node.op_type])

    # layers

    def _dropout(self, node: Any, k: int) -> None:
        """Nothing, unless it is said to train, as it can be since opset 12."""
        training = self.graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else False
        if training is None or np.any(training):
            raise _NotAChainError(f"Dropout {name_of(node)!r} trains")

    def _scan(self, node: Any, k: int) -> None:
        attributes, weights = attributes_of(node), self.graph.weights(node)
        order = (1, 0) if attributes.batch_first else (0, 1)
        if len(self.axes) != 3 or self.axes[2] != "D":
            raise _NotAChainError(f"{node.op_type} {name_of(node)!r} takes axes {' '.join(self.axes)}")
        lengths = node.input[4] if len(node.input) > 4 else ""
        if not self.scans:
            self.lengths, self.names = lengths, {self.axes[order[0]]: "T", self.axes[order[1]]: "N"}
            self.axes = self._bound(self.axes)
        if lengths != self.lengths:
            raise _NotAChainError(f"{node.op_type} {name_of(node)!r} takes other lengths than those before it")
        if (self.axes[order[0]], self.axes[order[1]]) != ("T", "N") or k > 1:
            raise _NotAChainError(f"{node.op_type} {name_of(node)!r} gives its cells or takes turned axes")
        layer = layer_of(attributes, weights | self._learned(node, weights["R"]))
        self.scans += 1
        if isinstance(layer, Bidirectional):
            self.pending = layer, k == 1
        else:
            self.parts.append(layer)
            if k == 1:
                size = layer.output_size
                self.parts.append(LastStep(size, size if attributes.reverse[0] else 0, dtype=layer.dtype))
        if k == 1:
            self.axes = ("N", "K", "D") if attributes.batch_first else ("K", "N", "D")
        else:
            self.axes = ("N", "T", "K", "D") if attributes.batch_first else ("T", "K", "N", "D")

    def _learned(self, node: Any, R: Array) -> dict[str, Array]:
        """The initial states that all rows share; lengths and others must come from the caller, or be absent."""
        outside = {value.name for value in self.graph.inputs}
        found, from_caller = self.graph.learned(node, R), False
        for label, name in zip(INPUTS[node.op_type], node.input, strict=False):
            is_state = label in STATES[node.op_type]
            if not name or label in found or not (is_state or label == "sequence_lens"):
                continue
            if name in outside:
                from_caller |= is_state
            elif not is_state or not self.graph.is_zero(name):
                raise _NotAChainError(f"{label} of {node.op_type} {name_of(node)!r} is computed in the model")
        if found and from_caller:
            raise _NotAChainError(f"{node.op_type} {name_of(node)!r} has one state stored and one from the caller")
        return found

    def _merged(self, merge: str) -> None:
        assert self.pending is not None
        (both, is_last), self.pending = self.pending, None
        if is_last and merge != "concat":
            raise _NotAChainError(f"final states merged by {merge}")
        layer = both if merge == "concat" else _with_merge(both, merge)
        self.parts.append(layer)
        if is_last:
            self.parts.append(LastStep(layer.output_size, layer.output_size // 2, dtype=layer.dtype))

    def _gather(self, node: Any, k: int) -> None:
        table = self.graph.constant(node.input[0])
        if table is None or table.ndim != 2 or self.graph.attribute(node, "axis", 0) or self.parts:
            raise _NotAChainError(f"Gather {name_of(node)!r} is no embedding")
        with init.skipped():
            layer = Embedding(*table.shape, dtype=_dtype(table))
        layer.params["W"] = table
        self.parts.append(layer)
        self.axes = (*self.axes, "D")

    def _on_features(self, node: Any) -> None:
        if self.axes[-1] != "D" or "K" in self.axes:
            raise _NotAChainError(f"{node.op_type} {name_of(node)!r} takes axes {' '.join(self.axes)}")

    def _matmul(self, node: Any, k: int) -> None:
        W = self.graph.constant(node.input[1])
        self._on_features(node)
        if W is None or W.ndim != 2:
            raise _NotAChainError(f"MatMul {name_of(node)!r} has no stored matrix on its right")
        self.parts.append(_PendingDense(W))

    def _gemm(self, node: Any, k: int) -> None:
        self._on_features(node)
        W = self.graph.constant(node.input[1])
        factors = [self.graph.attribute(node, name, 1.0) for name in ("alpha", "beta")]
        if W is None or self.graph.attribute(node, "transA", 0) or factors != [1.0, 1.0]:
            raise _NotAChainError(f"Gemm {name_of(node)!r} is no product with stored weights")
        self.parts.append(_PendingDense(W.T if self.graph.attribute(node, "transB", 0) else W))
        if len(node.input) > 2 and node.input[2]:
            self._bias(node, self.graph.constant(node.input[2]))

    def _add(self, node: Any, k: int) -> None:
        self._on_features(node)
        left = self.graph.constant(node.input[0])
        self._bias(node, self.graph.constant(node.input[1]) if left is None else left)

    def _mul(self, node: Any, k: int) -> None:
        """A factor for each feature is what inference makes of a batch normalisation; an Add may follow as its b."""
        left = self.graph.constant(node.input[0])
        scale = self.graph.constant(node.input[1]) if left is None else left
        self._on_features(node)
        if scale is None or scale.shape != (self._size,):
            raise _NotAChainError(f"Mul {name_of(node)!r} multiplies by other than one number per feature")
        norm = BatchNorm(scale.size, dtype=_dtype(scale))
        norm.params.update(gain=scale, b=np.zeros_like(scale))
        norm.buffers["var"][...] = 1 - norm.eps  # so that gain is the whole factor
        self.parts.append(norm)

    @property
    def _size(self) -> int:
        """How many features the last of the parts gives, or the graph's input has."""
        if not self.parts:
            return self.input_size
        last = self.parts[-1]
        return last.W.shape[1] if isinstance(last, _PendingDense) else last.output_size

    def _bias(self, node: Any, b: Array | None) -> None:
        last = self.parts[-1] if self.parts else None
        if b is not None and last is not None and b.shape == (self._size,):
            if isinstance(last, BatchNorm):
                last.params["b"] += b
                return
            if isinstance(last, _PendingDense) and last.b is None and last.activation is None:
                last.b = b
                return
        raise _NotAChainError(f"{node.op_type} {name_of(node)!r} adds what is no bias")

    def _activation(self, node: Any, k: int) -> None:
        last = self.parts[-1] if self.parts else None
        self._on_features(node)
        if not self._size:
            raise _NotAChainError(f"{node.op_type} {name_of(node)!r} comes first, on any number of features")
        if node.op_type == "Softmax":
            # before opset 13 all axes from this one on were one; only of the last that is the same
            axis = self.graph.attribute(node, "axis", -1 if self.graph.opset >= 13 else 1)
            if axis not in (-1, len(self.axes) - 1):
                raise _NotAChainError(f"Softmax {name_of(node)!r} is not over the features")
            option: Any = "softmax"
        else:
            numbers = {name: self.graph.attribute(node, name) for name in ("alpha", "beta")}
            option = operator_option(node.op_type, numbers)
        if isinstance(last, _PendingDense) and last.activation is None and option in ("tanh", "relu", "sigmoid"):
            last.activation = option
            return
        dtype = self.input_dtype if last is None else _dtype(last.W) if isinstance(last, _PendingDense) else last.dtype
        self.parts.append(Activation(self._size, option, dtype=dtype))

    def _layer_norm(self, node: Any, k: int) -> None:
        self._on_features(node)
        gain = self.graph.constant(node.input[1])
        b = self.graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        is_whole = gain is not None and gain.ndim == 1 and self._size in (0, gain.size)
        if gain is None or not is_whole or self.graph.attribute(node, "axis", -1) not in (-1, len(self.axes) - 1):
            raise _NotAChainError(f"LayerNormalization {name_of(node)!r} is not over the features")
        layer = LayerNorm(gain.size, eps=float(self.graph.attribute(node, "epsilon", 1e-5)), dtype=_dtype(gain))
        layer.params["gain"] = gain
        if b is not None:
            layer.params["b"] = b
        self.parts.append(layer)


def _with_merge(both: Bidirectional, merge: str) -> Bidirectional:
    """The same pair of layers under another merge."""
    layers = []
    for layer in both.layers:
        with init.skipped():
            twin = type(layer)(**layer._config())
        twin.params.update(layer.params)
        layers.append(twin)
    return Bidirectional(tuple(layers), merge=merge)
