"""Record what ONNX Runtime computes: peepholes, lengths, clip, coupled gates, activations with their numbers.

Run with a Python that has onnx and onnxruntime, from the root of the repository::

    PYTHONPATH=tests python tests/goldens/record_onnxruntime.py

ONNX Runtime computes RNN, LSTM and GRU in float32 and forwards only. (The reference evaluator of the onnx package would
do float64, but ignores lengths, clip and activations.) ``golden_files`` says how results are stored.

Two things that ONNX Runtime does of its own are left out: a row of length 0 ends in a state of zeros there, not in its
initial one; and activations without a number that ONNX has no default for take 0.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import onnx
import onnxruntime
from golden_files import numbered, write

N, T, D, H = 4, 6, 3, 4
LENGTHS = np.array([3, 6, 1, 4], np.int32)
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
LSTM, GRU = ("LSTM", "LSTM"), ("GRU", "GRU")
AFTER, BEFORE = {"linear_before_reset": 1}, {"linear_before_reset": 0}


def activations(*names: str, alpha: tuple[float, ...] = (), beta: tuple[float, ...] = ()) -> dict[str, Any]:
    numbers = {"activation_alpha": list(alpha)} if alpha else {}
    return {"activations": list(names), **numbers, **({"activation_beta": list(beta)} if beta else {})}


# name: operator, its attributes, the layer's options, with peepholes?, ragged?
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], bool, bool]] = {
    "lstm": ("LSTM", {}, {}, False, False),
    "lstm_ragged": ("LSTM", {}, {}, False, True),
    "lstm_peephole": ("LSTM", {}, {"peephole": "diagonal"}, True, False),
    "lstm_peephole_ragged": ("LSTM", {}, {"peephole": "diagonal"}, True, True),
    "lstm_clip": ("LSTM", {"clip": 0.5}, {"clip": 0.5}, False, False),
    "lstm_clip_peephole": ("LSTM", {"clip": 0.5}, {"clip": 0.5, "peephole": "diagonal"}, True, True),
    "lstm_coupled": ("LSTM", {"input_forget": 1}, {"coupled": True}, False, False),
    "lstm_coupled_peephole": ("LSTM", {"input_forget": 1}, {"coupled": True, "peephole": "diagonal"}, True, True),
    "lstm_coupled_clip": ("LSTM", {"input_forget": 1, "clip": 0.5}, {"coupled": True, "clip": 0.5}, False, False),
    "lstm_hard_sigmoid": (
        "LSTM",
        activations("HardSigmoid", "Tanh", "Tanh", alpha=(0.3,), beta=(0.4,)),
        {"recurrent_activation": ["hard_sigmoid", 0.3, 0.4]},
        False,
        False,
    ),
    "lstm_relu": (
        "LSTM",
        activations("Sigmoid", "Relu", "Relu"),
        {"activation": "relu"},
        False,
        True,
    ),
    "lstm_output": (
        "LSTM",
        activations("Sigmoid", "Softsign", "LeakyRelu", alpha=(0.2,)),
        {"activation": "softsign", "output_activation": ["leaky_relu", 0.2]},
        False,
        True,
    ),
    "lstm_scaled_tanh": (
        "LSTM",
        activations("HardSigmoid", "ScaledTanh", "ScaledTanh", alpha=(0.2, 1.7, 1.7), beta=(0.5, 0.6, 0.6)),
        {
            "recurrent_activation": ["hard_sigmoid", 0.2, 0.5],
            "activation": ["scaled_tanh", 1.7, 0.6],
            "peephole": "diagonal",
        },
        True,
        False,
    ),
    "gru_before": ("GRU", BEFORE, {"reset_after": False}, False, True),
    "gru_after": ("GRU", AFTER, {"reset_after": True}, False, True),
    "gru_before_clip": ("GRU", BEFORE | {"clip": 0.4}, {"reset_after": False, "clip": 0.4}, False, False),
    "gru_after_clip": ("GRU", AFTER | {"clip": 0.4}, {"reset_after": True, "clip": 0.4}, False, False),
    "gru_before_activations": (
        "GRU",
        BEFORE | activations("HardSigmoid", "Softsign"),
        {"reset_after": False, "recurrent_activation": ["hard_sigmoid", 0.2, 0.5], "activation": "softsign"},
        False,
        False,
    ),
    "gru_after_activations": (
        "GRU",
        AFTER | activations("HardSigmoid", "LeakyRelu", alpha=(0.25, 0.1), beta=(0.4,)),
        {"recurrent_activation": ["hard_sigmoid", 0.25, 0.4], "activation": ["leaky_relu", 0.1]},
        False,
        False,
    ),
    "rnn": ("RNN", {}, {}, False, True),
    "rnn_clip": ("RNN", {"clip": 0.5}, {"clip": 0.5}, False, False),
    "rnn_relu": ("RNN", activations("Relu"), {"activation": "relu"}, False, False),
    "rnn_sigmoid": ("RNN", activations("Sigmoid"), {"activation": "sigmoid"}, False, False),
    "rnn_softsign": ("RNN", activations("Softsign"), {"activation": "softsign"}, False, False),
    "rnn_softplus": ("RNN", activations("Softplus"), {"activation": "softplus"}, False, False),
    "rnn_elu": ("RNN", activations("Elu", alpha=(0.7,)), {"activation": ["elu", 0.7]}, False, False),
    "rnn_leaky_relu": (
        "RNN",
        activations("LeakyRelu", alpha=(0.2,)),
        {"activation": ["leaky_relu", 0.2]},
        False,
        False,
    ),
    "rnn_thresholded_relu": (
        "RNN",
        activations("ThresholdedRelu", alpha=(0.3,)),
        {"activation": ["thresholded_relu", 0.3]},
        False,
        False,
    ),
    "rnn_affine": (
        "RNN",
        activations("Affine", alpha=(0.6,), beta=(0.1,)),
        {"activation": ["affine", 0.6, 0.1]},
        False,
        False,
    ),
    "rnn_scaled_tanh": (
        "RNN",
        activations("ScaledTanh", alpha=(1.7,), beta=(0.6,)),
        {"activation": ["scaled_tanh", 1.7, 0.6]},
        False,
        False,
    ),
}
CLASSES = {"RNN": "SimpleRNN", "LSTM": "LSTM", "GRU": "GRU"}
BOTH = ("lstm_ragged", "lstm_clip_peephole", "gru_before", "gru_after", "rnn")  # in every direction


def execute(operator: str, attributes: dict[str, Any], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Y, Y_h (and Y_c) of one node."""
    outputs = ["Y", "Y_h", "Y_c"][: 3 if operator == "LSTM" else 2]
    names = [name if name in inputs else "" for name in INPUTS[: 8 if operator == "LSTM" else 6]]
    node = onnx.helper.make_node(operator, names, outputs, hidden_size=H, **attributes)
    infos = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in inputs.items()
    ]
    results = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    graph = onnx.helper.make_graph([node], "scan", infos, results)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(outputs, inputs)


def blocks(order: list[int]) -> np.ndarray:
    """Indices that put blocks of H into this order."""
    return np.concatenate([np.arange(k * H, (k + 1) * H) for k in order])


def in_our_layout(operator: str, inputs: dict[str, np.ndarray], k: int, options: dict[str, Any]) -> dict[str, Any]:
    """Parameters of direction k: transposed, the two biases added, the gates put in fastrnn's order.

    ONNX has an LSTM's gates in the order i o f c and a GRU's in z r h; fastrnn has i f g o, or i g o with f = 1 - i,
    and r z n. Rows of P are i o f there and i f o here.
    """
    G = GATES[operator]
    order = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1] if options.get("coupled") else [0, 2, 3, 1]}[operator]
    W, R, B = (inputs[name][k] for name in ("W", "R", "B"))
    B, B_rec = B[: G * H], B[G * H :]
    found = {"W": W[blocks(order)].T, "U": R[blocks(order)].T, "b": (B + B_rec)[blocks(order)]}
    if options.get("reset_after"):
        found["b"][2 * H :], found["b_rec"] = B[2 * H :], B_rec[2 * H :]
    if options.get("peephole"):
        found["p"] = inputs["P"][k].reshape(3, H)[[0, 1] if options.get("coupled") else [0, 2, 1]]
    return found


def record(name: str, direction: str, rng: np.random.Generator) -> None:
    operator, attributes, options, peepholes, ragged = CASES[name]
    options = ({"reset_after": True} if operator == "GRU" else {}) | options
    G, K = GATES[operator], 2 if direction == "bidirectional" else 1

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    inputs = {"X": normal(T, N, D), "W": normal(K, G * H, D), "R": normal(K, G * H, H) / 2, "B": normal(K, 2 * G * H)}
    if ragged:
        inputs["sequence_lens"] = LENGTHS
    inputs["initial_h"] = normal(K, N, H)
    if operator == "LSTM":
        inputs["initial_c"] = normal(K, N, H)
    if peepholes:
        inputs["P"] = normal(K, 3 * H)
    attributes = dict(attributes, direction=direction)
    for key in ("activations", "activation_alpha", "activation_beta"):
        if key in attributes:
            attributes[key] = attributes[key] * K
    Y, *final = execute(operator, attributes, inputs)

    initial = [inputs[part] for part in ("initial_h", "initial_c") if part in inputs]
    arrays = {"x": inputs["X"].swapaxes(0, 1), "y": np.concatenate([Y[:, k] for k in range(K)], axis=-1).swapaxes(0, 1)}
    arrays["lengths"] = inputs.get("sequence_lens")
    arrays |= numbered("state", [part[k] for k in range(K) for part in initial])
    arrays |= numbered("final", [part[k] for k in range(K) for part in final])
    for k, side in enumerate(("fwd.", "bwd.")[:K] if K == 2 else ("",)):
        own = in_our_layout(operator, inputs, k, options)
        arrays |= {f"param.{side}{key}": value for key, value in own.items()}
    layer: list[Any] = [CLASSES[operator], D, H, options | ({"reverse": True} if direction == "reverse" else {})]
    if K == 2:
        layer = ["Bidirectional", layer, "concat"]
    suffix = "" if direction == "forward" else f"_{direction}"
    write("onnx", f"{name}{suffix}", layer, arrays, f"onnxruntime {onnxruntime.__version__}")


def main() -> None:
    onnxruntime.set_default_logger_severity(3)
    for name in CASES:
        for direction in ("forward", "reverse", "bidirectional"):
            if direction == "forward" or name in BOTH:
                record(name, direction, np.random.default_rng(zlib.crc32(f"{name} {direction}".encode())))


if __name__ == "__main__":
    main()
