"""ONNX Runtime: one RNN, LSTM or GRU node, weights as initializers (so that they are packed once), buffers bound."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ..problem import Array, Problem
from .base import Outputs, Runner, Task

_NODES = {"rnn_tanh": "RNN", "lstm": "LSTM", "gru": "GRU"}
_ORDER = {"rnn_tanh": (0,), "lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
"""Our gate blocks in ONNX's order: LSTM i o f c, GRU z r h."""


def _reorder(cell: str, blocks: Array) -> Array:
    """(…, G*H) in our gate order -> (…, G*H) in ONNX's."""
    parts = np.split(blocks, len(_ORDER[cell]), axis=-1)
    return np.concatenate([parts[k] for k in _ORDER[cell]], axis=-1)


def _weights(problem: Problem) -> dict[str, Array]:
    """The node's W (1, G*H, D), R (1, G*H, H) and B (1, 2*G*H)."""
    cell, H, params = problem.cell.name, problem.shape.H, problem.params
    b_rec = np.zeros_like(params["b"])
    if "b_rec" in params:
        b_rec[2 * H :] = params["b_rec"]
    both = np.concatenate([_reorder(cell, params["b"]), _reorder(cell, b_rec)])
    return {"W": _reorder(cell, params["W"]).T[None], "R": _reorder(cell, params["U"]).T[None], "B": both[None]}


def make_model(problem: Problem) -> bytes:
    """A model of one node: X, initial_h (and initial_c) -> Y, Y_h (and Y_c)."""
    onnx: Any = importlib.import_module("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    shape, states = problem.shape, problem.cell.states
    initial = [f"initial_{name}" for name in states]
    final = [f"Y_{name}" for name in states]
    options = {"linear_before_reset": 1} if problem.cell.name == "gru" else {}
    node = helper.make_node(
        _NODES[problem.cell.name],
        ["X", "W", "R", "B", "", *initial],
        ["Y", *final],
        hidden_size=shape.H,
        **options,
    )
    state_shape = (1, shape.N, shape.H)
    graph = helper.make_graph(
        [node],
        "cell",
        [helper.make_tensor_value_info("X", kind, (shape.T, shape.N, shape.D))]
        + [helper.make_tensor_value_info(name, kind, state_shape) for name in initial],
        [helper.make_tensor_value_info("Y", kind, (shape.T, 1, shape.N, shape.H))]
        + [helper.make_tensor_value_info(name, kind, state_shape) for name in final],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in _weights(problem).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def bind(session: Any, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    """A binding of a session's inputs and outputs to values."""
    binding = session.io_binding()
    for name, value in inputs.items():
        binding.bind_ortvalue_input(name, value)
    for name, value in outputs.items():
        binding.bind_ortvalue_output(name, value)
    return binding


class OnnxRuntime(Runner):
    """ONNX Runtime's CPU provider; inference only."""

    name = "onnxruntime"
    packages = ("onnxruntime", "onnx")
    modes = ("forward", "step")

    def session(self, problem: Problem, threads: int) -> Any:
        """A session of the problem's model."""
        ort: Any = importlib.import_module("onnxruntime")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        return ort.InferenceSession(make_model(problem), options, providers=["CPUExecutionProvider"])

    def forward(self, problem: Problem, threads: int) -> Task:
        """``run_with_iobinding`` with every input and output bound to a buffer of its own."""
        value = importlib.import_module("onnxruntime").OrtValue.ortvalue_from_numpy
        session, shape, states = self.session(problem, threads), problem.shape, problem.cell.states
        inputs = {"X": value(problem.x)}
        inputs.update({f"initial_{name}": value(part[None]) for name, part in zip(states, problem.state, strict=True)})
        outputs = {"Y": value(np.empty((shape.T, 1, shape.N, shape.H), np.float32))}
        outputs.update({f"Y_{name}": value(np.empty((1, shape.N, shape.H), np.float32)) for name in states})
        binding = bind(session, inputs, outputs)

        def call() -> Any:
            session.run_with_iobinding(binding)
            return outputs

        def read(result: Any) -> Outputs:
            return {"y": result["Y"].numpy()[:, 0], **{name: result[f"Y_{name}"].numpy()[0] for name in states}}

        return Task(call, read, binds_outputs=True)

    def step(self, problem: Problem, threads: int) -> Task:
        """The same node with T = 1; two bindings pass the state back and forth between two buffers."""
        value = importlib.import_module("onnxruntime").OrtValue.ortvalue_from_numpy
        session, shape, states = self.session(problem, threads), problem.shape, problem.cell.states
        x, y = value(problem.x), value(np.empty((1, 1, shape.N, shape.H), np.float32))
        first = [value(part[None]) for part in problem.state]
        second = [value(np.empty_like(part[None])) for part in problem.state]
        here, there = (
            bind(
                session,
                {"X": x, **{f"initial_{name}": part for name, part in zip(states, source, strict=True)}},
                {"Y": y, **{f"Y_{name}": part for name, part in zip(states, target, strict=True)}},
            )
            for source, target in ((first, second), (second, first))
        )
        turn = ((here, second), (there, first))
        k = 1

        def call() -> Any:
            nonlocal k
            k = 1 - k
            binding, target = turn[k]
            session.run_with_iobinding(binding)
            return target

        def read(result: Any) -> Outputs:
            return {name: part.numpy()[0] for name, part in zip(states, result, strict=True)}

        return Task(call, read, binds_outputs=True)
