"""`run_node` against ONNX Runtime: every attribute, input and direction."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cases import scaled_error

from fastrnn.interop.onnx import run_node

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

T, N, D, H = 5, 4, 3, 4
LENGTHS = np.array([3, 5, 0, 1], np.int32)
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
OUTPUTS = {"RNN": ("Y", "Y_h"), "GRU": ("Y", "Y_h"), "LSTM": ("Y", "Y_h", "Y_c")}
TOLERANCE = 1e-6  # of scaled_error, float32 against float32


def arrays(operator, K=1, names=("B", "initial_h", "initial_c"), seed=0, dtype="float32"):
    """Random inputs: X, W, R and those of the names that the operator has."""
    rng, G = np.random.default_rng(seed), GATES[operator]
    shapes = {"X": (T, N, D), "W": (K, G * H, D), "R": (K, G * H, H), "B": (K, 2 * G * H), "initial_h": (K, N, H)}
    if operator == "LSTM":
        shapes |= {"initial_c": (K, N, H), "P": (K, 3 * H)}
    found = {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    found["R"] /= 2
    found = {name: value for name, value in found.items() if name in ("X", "W", "R", *names)}
    return found | ({"sequence_lens": LENGTHS} if "sequence_lens" in names else {})


def make_node(operator, inputs, **attributes):
    names = [name if name in inputs else "" for name in INPUTS[: 8 if operator == "LSTM" else 6]]
    while not names[-1]:
        names.pop()
    return onnx.helper.make_node(operator, names, OUTPUTS[operator], **{"hidden_size": H} | attributes)


def model_of(node, inputs, opset=14):
    infos = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in inputs.items()
    ]
    results = [
        onnx.helper.make_tensor_value_info(name, infos[0].type.tensor_type.elem_type, None) for name in node.output
    ]
    graph = onnx.helper.make_graph([node], "scan", infos, results)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)


def expected(node, inputs, opset=14):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    model = model_of(node, inputs, opset).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return dict(zip(node.output, session.run(list(node.output), inputs), strict=True))


def assert_same(node, inputs, tolerance=TOLERANCE, opset=14):
    wanted, got = expected(node, inputs, opset), run_node(node, inputs)
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert got[name].shape == value.shape and got[name].dtype == value.dtype
        assert scaled_error(got[name], value) <= tolerance, name


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
class TestDirections:
    @pytest.mark.parametrize(
        "names", [(), ("B",), ("initial_h",), ("initial_c",), ("B", "initial_h", "initial_c", "sequence_lens")]
    )
    def test_inputs(self, backend, operator, direction, names):
        if names == ("initial_c",) and operator != "LSTM":
            names = ("sequence_lens",)
        inputs = arrays(operator, 2 if direction == "bidirectional" else 1, names)
        assert_same(make_node(operator, inputs, direction=direction), inputs)

    def test_layout(self, operator, direction):
        """ONNX Runtime has layout 0 only: layout 1 is its transpose."""
        inputs = arrays(
            operator, 2 if direction == "bidirectional" else 1, ("B", "initial_h", "initial_c", "sequence_lens")
        )
        time_major = run_node(make_node(operator, inputs, direction=direction), inputs)
        swapped = dict(
            inputs, **{name: inputs[name].swapaxes(0, 1) for name in ("X", "initial_h", "initial_c") if name in inputs}
        )
        batch_major = run_node(make_node(operator, inputs, direction=direction, layout=1), swapped)
        assert (batch_major["Y"] == time_major["Y"].transpose(2, 0, 1, 3)).all()
        for name in OUTPUTS[operator][1:]:
            assert (batch_major[name] == time_major[name].swapaxes(0, 1)).all()

    @pytest.mark.parametrize("opset", [7, 14, 22])
    def test_opsets(self, operator, direction, opset):
        inputs = arrays(operator, 2 if direction == "bidirectional" else 1)
        assert_same(make_node(operator, inputs, direction=direction), inputs, opset=opset)

    def test_clip(self, backend, operator, direction):
        inputs = arrays(operator, 2 if direction == "bidirectional" else 1, ("B", "initial_h", "sequence_lens"))
        assert_same(make_node(operator, inputs, direction=direction, clip=0.4), inputs)


@pytest.mark.parametrize("clip", [{}, {"clip": 0.5}])
@pytest.mark.parametrize("input_forget", [0, 1])
@pytest.mark.parametrize("names", [("B", "P"), ("P", "initial_c", "initial_h", "sequence_lens"), ("B",)])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_peepholes_and_coupled_gates(backend, direction, names, input_forget, clip):
    inputs = arrays("LSTM", 2 if direction == "bidirectional" else 1, names)
    assert_same(make_node("LSTM", inputs, direction=direction, input_forget=input_forget, **clip), inputs)


@pytest.mark.parametrize("linear_before_reset", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_both_resets(backend, linear_before_reset, direction):
    inputs = arrays("GRU", 2 if direction == "bidirectional" else 1, ("B", "initial_h", "sequence_lens"))
    assert_same(make_node("GRU", inputs, direction=direction, linear_before_reset=linear_before_reset), inputs)


FUNCTIONS = {
    "Tanh": [()],
    "Relu": [()],
    "Sigmoid": [()],
    "Softsign": [()],
    "Softplus": [()],
    "HardSigmoid": [(), (0.3,), (0.3, 0.4)],
    "LeakyRelu": [(), (0.3,)],
    "ThresholdedRelu": [(0.3,)],
    "Elu": [(), (0.3,)],
    "ScaledTanh": [(1.7, 0.6)],
    "Affine": [(0.3,), (0.3, 0.1)],
}
WITH_NUMBERS = [(name, numbers) for name, choices in FUNCTIONS.items() for numbers in choices]


def numbers_of(numbers):
    return {key: [number] for key, number in zip(("activation_alpha", "activation_beta"), numbers, strict=False)}


class TestActivations:
    @pytest.mark.parametrize(("name", "numbers"), WITH_NUMBERS)
    def test_rnn(self, backend, name, numbers):
        inputs = arrays("RNN")
        assert_same(make_node("RNN", inputs, activations=[name], **numbers_of(numbers)), inputs, 5 * TOLERANCE)

    @pytest.mark.parametrize("linear_before_reset", [0, 1])
    @pytest.mark.parametrize(("name", "numbers"), WITH_NUMBERS)
    def test_gru_candidate(self, backend, name, numbers, linear_before_reset):
        inputs = arrays("GRU")
        attributes = {"activations": ["Sigmoid", name], "linear_before_reset": linear_before_reset}
        assert_same(make_node("GRU", inputs, **attributes, **numbers_of(numbers)), inputs, 5 * TOLERANCE)

    @pytest.mark.parametrize("linear_before_reset", [0, 1])
    @pytest.mark.parametrize("name", ["HardSigmoid", "Tanh", "Softsign"])
    def test_gru_gates(self, backend, name, linear_before_reset):
        inputs = arrays("GRU")
        attributes = {"activations": [name, "Tanh"], "linear_before_reset": linear_before_reset}
        assert_same(make_node("GRU", inputs, **attributes), inputs, 5 * TOLERANCE)

    @pytest.mark.parametrize(("name", "numbers"), WITH_NUMBERS)
    def test_lstm(self, backend, name, numbers):
        inputs = arrays("LSTM", names=("B", "P"))
        twice = {key: value * 2 for key, value in numbers_of(numbers).items()}
        attributes = {"activations": ["Sigmoid", name, name]}
        assert_same(make_node("LSTM", inputs, **attributes, **twice), inputs, 5 * TOLERANCE)

    @pytest.mark.parametrize("name", ["HardSigmoid", "Tanh", "Relu", "Softsign"])
    def test_lstm_gates(self, backend, name):
        inputs = arrays("LSTM")
        inputs["R"] /= 4
        assert_same(make_node("LSTM", inputs, activations=[name, "Tanh", "Tanh"]), inputs, 5 * TOLERANCE)

    @pytest.mark.parametrize(("name", "numbers"), WITH_NUMBERS)
    def test_lstm_output(self, backend, name, numbers):
        """The third function, that of c on its way to h, may be another than the second."""
        inputs = arrays("LSTM", names=("B", "P", "initial_c"))
        attributes = {"activations": ["Sigmoid", "Softsign", name]}
        assert_same(make_node("LSTM", inputs, **attributes, **numbers_of(numbers)), inputs, 5 * TOLERANCE)

    def test_numbers_are_taken_in_order_by_those_that_have_any(self):
        inputs = arrays("GRU", 2)
        attributes = {"activations": ["HardSigmoid", "LeakyRelu", "Sigmoid", "ScaledTanh"]}
        attributes |= {"activation_alpha": [0.3, 0.1, 1.7], "activation_beta": [0.4, 0.6]}
        assert_same(make_node("GRU", inputs, direction="bidirectional", **attributes), inputs, 5 * TOLERANCE)

    def test_names_in_any_case(self):
        inputs = arrays("RNN")
        got = run_node(make_node("RNN", inputs, activations=["relu"]), inputs)
        assert (got["Y"] == run_node(make_node("RNN", inputs, activations=["Relu"]), inputs)["Y"]).all()


def test_float64_and_float16():
    """ONNX Runtime has neither: float64 agrees with float32, float16 is computed in float32 and rounded."""
    inputs = arrays("LSTM", names=("B",), dtype="float64")
    node = make_node("LSTM", inputs)
    double = run_node(node, inputs)
    single = run_node(node, {name: value.astype("float32") for name, value in inputs.items()})
    assert double["Y"].dtype == np.float64 and scaled_error(single["Y"], double["Y"]) <= 1e-6
    assert scaled_error(single["Y"], double["Y"]) > 0
    half = {name: value.astype("float16") for name, value in inputs.items()}
    got = run_node(node, half)["Y"]
    assert got.dtype == np.float16
    assert (
        got == run_node(node, {name: value.astype("float32") for name, value in half.items()})["Y"].astype("float16")
    ).all()


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize(("steps", "rows"), [(0, 2), (2, 0), (0, 0)])
def test_no_steps_and_no_rows(backend, operator, steps, rows):
    for layout in (0, 1):
        inputs = arrays(operator, 2, ("B",)) | {"X": np.zeros((rows, steps, D) if layout else (steps, rows, D), "f4")}
        found = run_node(make_node(operator, inputs, direction="bidirectional", layout=layout), inputs)
        assert found["Y"].shape == ((rows, steps, 2, H) if layout else (steps, 2, rows, H))
        for name in OUTPUTS[operator][1:]:
            assert found[name].shape == ((rows, 2, H) if layout else (2, rows, H)) and not found[name].any()


class TestErrors:
    def _run(self, operator="LSTM", changes=None, **attributes):
        inputs = arrays(operator) | (changes or {})
        return run_node(make_node(operator, inputs, **attributes), inputs)

    @pytest.mark.parametrize(
        ("attributes", "message"),
        [
            ({"direction": "sideways"}, "direction must be one of forward, reverse, bidirectional, got sideways"),
            ({"layout": 2}, "layout must be 0 or 1, got 2"),
            ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
            ({"clip": -1.0}, r"clip must be greater than 0, got -1\.0"),
            ({"clip": 0.0}, r"clip must be greater than 0, got 0\.0"),
            ({"input_forget": 2}, "input_forget must be 0 or 1, got 2"),
            ({"direction": 3}, "direction must be of type STRING, got INT"),
            ({"activations": [1.0]}, "activations must be of type STRINGS, got FLOATS"),
            ({"clip": "a"}, "clip must be of type FLOAT, got STRING"),
            ({"layout": "a"}, "layout must be of type INT, got STRING"),
            ({"output_sequence": 1}, "LSTM must not have attribute output_sequence"),
            ({"linear_before_reset": 1}, "LSTM must not have attribute linear_before_reset"),
            ({"activations": ["Tanh"]}, "activations must be 3 names, got 1: Tanh"),
            ({"activations": ["Sigmoid", "Gelu", "Gelu"]}, "activations must be among Tanh, .*, got Gelu"),
            ({"activations": ["Sigmoid", "Affine", "Affine"]}, "activation_alpha must be given for Affine"),
            (
                {"activations": ["Sigmoid", "ScaledTanh", "ScaledTanh"], "activation_alpha": [1.0, 1.0]},
                "activation_beta must be given",
            ),
            ({"activation_alpha": [1.0]}, "activation_alpha must have no more numbers than .* take, got 1 more"),
        ],
    )
    def test_attributes(self, attributes, message):
        with pytest.raises(ValueError, match=message):
            self._run(**attributes)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"X": np.zeros((T, N, D + 1), "f4")}, r"X must have shape \(T, N, 3\), got \(5, 4, 4\)"),
            ({"X": np.zeros((T, D), "f4")}, r"X must have shape \(T, N, 3\), got \(5, 3\)"),
            ({"X": [[1.0], [1.0, 2.0]]}, "X must be one array"),
            ({"R": [[1.0], [1.0, 2.0]]}, "R must be one array"),
            ({"W": np.zeros((1, 4 * H + 1, D), "f4")}, r"W must have shape \(1, 16, D\), got \(1, 17, 3\)"),
            ({"R": np.zeros((2, 4 * H, H), "f4")}, r"R must have shape \(1, G\*H, H\), got \(2, 16, 4\)"),
            ({"R": np.zeros((1, 4 * H, H + 1), "f4")}, r"R must have shape \(1, 16, 4\), got \(1, 16, 5\)"),
            ({"B": np.zeros((1, 4 * H), "f4")}, r"B must have shape \(1, 32\), got \(1, 16\)"),
            ({"P": np.zeros((1, 4 * H), "f4")}, r"P must have shape \(1, 12\), got \(1, 16\)"),
            ({"initial_h": np.zeros((1, N + 1, H), "f4")}, r"initial_h must have shape \(1, 4, 4\), got \(1, 5, 4\)"),
            ({"sequence_lens": np.array([1, 2, 3, 6])}, "sequence_lens must lie in 0..5, got 6 in row 3"),
            ({"sequence_lens": np.array([1, 2])}, r"sequence_lens must have shape \(4,\), got \(2,\)"),
            ({"W": None}, "inputs must hold X, W and R, got none for W"),
            ({"Z": np.zeros(3)}, "inputs must be among X, .* for LSTM, got Z"),
            ({3: np.zeros(3), "Z": np.zeros(3)}, "inputs must be among X, .* for LSTM, got 3, Z"),
        ],
    )
    def test_inputs(self, changes, message):
        inputs = arrays("LSTM")
        with pytest.raises(ValueError, match=message):
            run_node(make_node("LSTM", inputs), inputs | changes)

    def test_dtypes(self):
        with pytest.raises(TypeError, match="X must be of the dtype of R, float32, or narrower, got float64"):
            self._run(changes={"X": np.zeros((T, N, D))})
        with pytest.raises(TypeError, match=r"X must be .*, got int64"):
            self._run(changes={"X": np.zeros((T, N, D), int)})
        with pytest.raises(TypeError, match="sequence_lens must hold integers, got float64"):
            self._run(changes={"sequence_lens": np.ones(N)})
        with pytest.raises(TypeError, match="inputs must be a mapping from ONNX's names to arrays, got list"):
            run_node(onnx.helper.make_node("RNN", ["X"], ["Y"]), [1])

    def test_other_operators(self):
        with pytest.raises(ValueError, match="node must be an RNN, LSTM or GRU, got Relu"):
            run_node(onnx.helper.make_node("Relu", ["X"], ["Y"]), {})


def test_every_pair_of_inputs_and_attributes():
    """All at once, for what only shows in combination."""
    for direction, forget, clip, seed in itertools.product(("reverse", "bidirectional"), (0, 1), (0.3, 2.0), range(3)):
        K = 2 if direction == "bidirectional" else 1
        inputs = arrays("LSTM", K, ("B", "P", "initial_h", "initial_c", "sequence_lens"), seed)
        names = ["HardSigmoid", "Softsign", "Softsign"] * K
        assert_same(
            make_node("LSTM", inputs, direction=direction, input_forget=forget, clip=clip, activations=names), inputs
        )
