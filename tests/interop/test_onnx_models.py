"""Models to ONNX and back, beside ONNX Runtime; models of other exporters; damaged files."""

from __future__ import annotations

import numpy as np
import pytest
from cases import scaled_error
from differences import leaves, map_state

import fastrnn
from fastrnn import (
    GRU,
    LSTM,
    Activation,
    BatchNorm,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    LastStep,
    LayerNorm,
    MaskedSequential,
    Sequential,
    SimpleRNN,
)
from fastrnn.interop.onnx import export, load

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

N, T, D, H = 4, 6, 3, 5
LENGTHS = np.array([3, 6, 1, 4])
TOLERANCE = 1e-6  # of scaled_error, float32 against float32

MODELS = {
    "SimpleRNN": lambda: SimpleRNN(D, H),
    "SimpleRNN relu": lambda: SimpleRNN(D, H, activation="relu"),
    "LSTM": lambda: LSTM(D, H),
    "LSTM reverse": lambda: LSTM(D, H, reverse=True),
    "GRU": lambda: GRU(D, H),
    "GRU before": lambda: GRU(D, H, reset_after=False),
    "LSTM concat": lambda: Bidirectional(LSTM(D, H)),
    "GRU sum": lambda: Bidirectional(GRU(D, H), "sum"),
    "GRU mul": lambda: Bidirectional(GRU(D, H), "mul"),
    "SimpleRNN ave": lambda: Bidirectional(SimpleRNN(D, H), "ave"),
    "tagger": lambda: Sequential(
        [
            Embedding(11, D),
            Dropout(0.1),
            Bidirectional(LSTM(D, H)),
            LayerNorm(2 * H),
            GRU(2 * H, H, reset_after=False),
            Dense(H, 7, "tanh"),
            Dense(7, 3),
            Activation(3, "softmax"),
        ]
    ),
    "classifier": lambda: Sequential(
        [
            Embedding(11, D),
            Bidirectional(GRU(D, H)),
            LastStep(2 * H, H),
            Dense(2 * H, 4, "relu"),
            Dense(4, 2, "sigmoid"),
        ]
    ),
    "reverse classifier": lambda: Sequential([LSTM(D, H, reverse=True), LastStep(H, H), Dense(H, 2)]),
    "forward classifier": lambda: Sequential([Sequential([LSTM(D, H), GRU(H, 4)]), LastStep(4), Activation(4, "relu")]),
}


def made(name, seed=1):
    """The model with random parameters, biases too."""
    model = MODELS[name]()
    rng = np.random.default_rng(seed)
    model.params.update({key: rng.normal(size=p.shape).astype(p.dtype) / 2 for key, p in model.params.items()})
    return model


def an_input(model, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 11, (N, T)) if model.takes_integers else rng.normal(size=(N, T, D)).astype("float32")


def run(path, **inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.mark.parametrize("name", MODELS)
class TestExport:
    def test_onnx_runtime_gives_the_same(self, backend, name, tmp_path):
        model = made(name)
        export(model, tmp_path / "m.onnx")
        x = an_input(model)
        assert scaled_error(run(tmp_path / "m.onnx", x=x)["y"], model(x)[0]) <= TOLERANCE

    def test_sizes_are_free(self, name, tmp_path):
        model = made(name)
        export(model, str(tmp_path / "m.onnx"))
        x = an_input(model)[:1, :2]
        assert scaled_error(run(tmp_path / "m.onnx", x=x)["y"], model(x)[0]) <= TOLERANCE

    def test_lengths(self, name, tmp_path):
        model = made(name)
        export(model, tmp_path / "m.onnx", lengths=True)
        x = an_input(model)
        got = run(tmp_path / "m.onnx", x=x, lengths=LENGTHS.astype(np.int32))["y"]
        assert scaled_error(got, model(x, lengths=LENGTHS)[0]) <= TOLERANCE
        back = load(tmp_path / "m.onnx")
        assert isinstance(back, Sequential)
        assert scaled_error(back(x, lengths=LENGTHS)[0], model(x, lengths=LENGTHS)[0]) <= TOLERANCE

    def test_round_trip(self, name, tmp_path):
        model = made(name)
        export(model, tmp_path / "m.onnx")
        back, x = load(tmp_path / "m.onnx"), an_input(model)
        assert isinstance(back, Sequential)
        assert scaled_error(back(x)[0], model(x)[0]) <= TOLERANCE
        assert scaled_error(back(x, lengths=LENGTHS)[0], model(x, lengths=LENGTHS)[0]) <= TOLERANCE


def _scans(model):
    """The recurrent layers, each as its one or two directions."""
    layers = model.layers if isinstance(model, Sequential) else [model]
    found = [layer.layers if isinstance(layer, Bidirectional) else (layer,) for layer in layers]
    return [sides for sides in found if hasattr(sides[0], "reverse")]


def _named(model, state, prefix):
    """The arrays of a state as an exported model calls them."""
    parts, found = iter(leaves(state)), {}
    for k, sides in enumerate(_scans(model)):
        names = "hc" if isinstance(sides[0], LSTM) else "h"
        own = [{name: next(parts) for name in names} for _ in sides]
        found |= {f"{prefix}.{k}.{name}": np.stack([side[name] for side in own]) for name in names}
    return found


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU", "LSTM concat", "tagger"])
def test_states(name, tmp_path):
    model, rng = made(name), np.random.default_rng(5)
    export(model, tmp_path / "m.onnx", states=True)
    x = an_input(model)
    state = map_state(lambda part: rng.normal(size=part.shape).astype("float32"), model(x)[1])
    y, final = model(x, state)
    got = run(tmp_path / "m.onnx", x=x, **_named(model, state, "state"))
    wanted = {"y": y} | _named(model, final, "final")
    assert got.keys() == wanted.keys()
    assert all(scaled_error(got[key], wanted[key]) <= TOLERANCE for key in wanted)
    back = load(tmp_path / "m.onnx")
    entries = state if isinstance(model, Sequential) else [state]
    kept = [entry for k, entry in enumerate(entries) if not isinstance(getattr(model, "layers", [0])[k], Dropout)]
    assert scaled_error(back(x, kept if isinstance(model, Sequential) else entries)[0], y) <= TOLERANCE


def test_batch_norm_is_what_inference_makes_of_it(tmp_path):
    model, rng = Sequential([BatchNorm(D), GRU(D, H, seed=0), BatchNorm(H)]), np.random.default_rng(2)
    for norm in model.layers[::2]:
        size = norm.input_size
        norm.params.update(gain=rng.normal(size=size).astype("f4"), b=rng.normal(size=size).astype("f4"))
        norm.buffers["mean"][...], norm.buffers["var"][...] = rng.normal(size=size), rng.uniform(0.5, 2, size)
    export(model, tmp_path / "m.onnx")
    x = an_input(model)
    assert scaled_error(run(tmp_path / "m.onnx", x=x)["y"], model(x)[0]) <= TOLERANCE
    back = load(tmp_path / "m.onnx")
    assert [type(layer) for layer in back.layers] == [BatchNorm, GRU, BatchNorm]
    assert scaled_error(back(x)[0], model(x)[0]) <= TOLERANCE


def test_a_mask_is_of_no_account_with_lengths(tmp_path):
    model = Sequential([MaskedSequential([Embedding(11, D, seed=0), GRU(D, H, seed=1)]), Dense(H, 2, seed=2)])
    with pytest.raises(ValueError, match=r"lengths must be True for a model with a mask_value, .* MaskedSequential\("):
        export(model, tmp_path / "m.onnx")
    export(model, tmp_path / "m.onnx", lengths=True)
    x = an_input(model)
    x[:, 1] = 0
    got = run(tmp_path / "m.onnx", x=x, lengths=LENGTHS.astype(np.int32))["y"]
    assert scaled_error(got, model(x, lengths=LENGTHS)[0]) <= TOLERANCE


FUNCTIONS = [
    "tanh", "relu", "sigmoid", "softmax", "softsign", "softplus", "linear", "hard_sigmoid", "leaky_relu", "elu",
    "thresholded_relu", ("hard_sigmoid", 0.3, 0.4), ("leaky_relu", 0.3), ("elu", 0.4), ("thresholded_relu", 0.3),
]  # fmt: skip


@pytest.mark.parametrize("option", FUNCTIONS, ids=str)
@pytest.mark.parametrize("dense", [False, True])
def test_activations_as_layers(option, dense, tmp_path):
    layers = [GRU(D, H, seed=0)] + ([Dense(H, H, seed=1)] if dense else [])
    model = Sequential([*layers, Activation(H, option)])
    export(model, tmp_path / "m.onnx")
    x = an_input(model)
    assert scaled_error(run(tmp_path / "m.onnx", x=x)["y"], model(x)[0]) <= TOLERANCE
    assert scaled_error(load(tmp_path / "m.onnx")(x)[0], model(x)[0]) <= TOLERANCE


CELL_OPTIONS = {
    "peephole": (LSTM, {"peephole": "diagonal"}),
    "coupled": (LSTM, {"coupled": True}),
    "coupled, peephole": (LSTM, {"coupled": True, "peephole": "diagonal"}),
    "clip": (LSTM, {"clip": 0.4}),
    "clip, GRU": (GRU, {"clip": 0.4}),
    "clip, SimpleRNN": (SimpleRNN, {"clip": 0.4}),
    "learned state": (LSTM, {"trainable_state": True}),
    "learned state, GRU": (GRU, {"trainable_state": True}),
    "dropouts of training": (GRU, {"recurrent_dropout": 0.2, "weight_drop": 0.2}),
    **{
        f"{kind.__name__} {option}": (kind, {"activation": option})
        for kind in (SimpleRNN, GRU, LSTM)
        for option in ("relu", "sigmoid", "linear", "softsign", "softplus", "hard_sigmoid", ("hard_sigmoid", 0.2, 0.4))
    },
    **{
        f"SimpleRNN {option}": (SimpleRNN, {"activation": option})
        for option in (
            "leaky_relu", "elu", "affine", "scaled_tanh", "thresholded_relu", ("leaky_relu", 0.3), ("elu", 0.4),
            ("affine", 0.5, 0.1), ("scaled_tanh", 1.7, 0.6), ("thresholded_relu", 0.3),
        )
    },
    "output": (LSTM, {"activation": "softsign", "output_activation": "relu"}),
    "gates": (LSTM, {"recurrent_activation": "hard_sigmoid"}),
    "gates, GRU": (GRU, {"recurrent_activation": "softsign", "reset_after": False}),
}  # fmt: skip


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("name", CELL_OPTIONS)
def test_options_of_cells(backend, name, both, tmp_path):
    kind, options = CELL_OPTIONS[name]
    layer, rng = kind(D, H, **options, seed=0), np.random.default_rng(1)
    model = Bidirectional(layer) if both else layer
    model.params.update({key: rng.normal(size=p.shape).astype("f4") / 3 for key, p in model.params.items()})
    export(model, tmp_path / "m.onnx")
    x = an_input(model)
    assert scaled_error(run(tmp_path / "m.onnx", x=x)["y"], model(x)[0]) <= 5 * TOLERANCE
    assert scaled_error(load(tmp_path / "m.onnx")(x)[0], model(x)[0]) <= 5 * TOLERANCE


class TestExportErrors:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: LSTM(D, H, proj_size=2), "ONNX has, got .* with parameters W_proj"),
            (lambda: LSTM(D, H, peephole="full"), "ONNX has, got .* with parameters P"),
            (lambda: GRU(D, H, layer_norm=True), "ONNX has, got .* with parameters gain"),
            (lambda: GRU(D, H, zoneout=0.1), r"ONNX has, got .* with zoneout=0\.1"),
            (lambda: Bidirectional(GRU(D, H), None), "model must have one output, got Bidirectional"),
            (lambda: Sequential([GRU(D, H), Dense(H, 4), LastStep(4)]), "LastStep right behind a recurrent layer"),
            (
                lambda: Sequential([GRU(D, H), Activation(H, "scaled_tanh")]),
                "ONNX has as an operator, got 'scaled_tanh'",
            ),
            (lambda: Sequential([GRU(D, H), LastStep(H, H)]), "model must take the end of the scan"),
            (lambda: Sequential([Bidirectional(GRU(D, H)), LastStep(2 * H)]), "ends of both scans side by side"),
        ],
    )
    def test_what_onnx_does_not_have(self, make, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            export(make(), tmp_path / "m.onnx")
        assert not (tmp_path / "m.onnx").exists()

    def test_no_layer(self, tmp_path):
        with pytest.raises(TypeError, match="model must be a layer, got int"):
            export(3, tmp_path / "m.onnx")
        with pytest.raises(TypeError, match=r"model must hold layers that ONNX has, got Attention\("):
            export(fastrnn.Sequential([GRU(D, H), fastrnn.Attention(H, 3)]), tmp_path / "m.onnx")

    def test_arguments(self, tmp_path):
        model, path = GRU(D, H), tmp_path / "m.onnx"
        for error, message, arguments in (
            (TypeError, "path must be a path, .*got 3", {"path": 3}),
            (TypeError, "name must be a string, got 3", {"path": path, "name": 3}),
            (ValueError, "name must not be empty", {"path": path, "name": ""}),
            (IsADirectoryError, "it is a folder", {"path": tmp_path}),
            (FileNotFoundError, "there is no folder", {"path": tmp_path / "none" / "m.onnx"}),
        ):
            with pytest.raises(error, match=message):
                export(model, **arguments)
        assert not list(tmp_path.iterdir())

    def test_a_file_that_cannot_be_written_leaves_the_old_one(self, tmp_path):
        resource = pytest.importorskip("resource")
        path = tmp_path / "m.onnx"
        path.write_bytes(b"old")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                export(GRU(D, H), path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def _graph(nodes, arrays, inputs=(("x", (T, N, D)),), outputs=("y",)):
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [make(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs],
        [make(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def _gru(x="x", y="y", W="W", **attributes):
    return onnx.helper.make_node("GRU", [x, W, "R"], [y], name="scan", hidden_size=H, **attributes)


def _arrays(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"W": (1, 3 * H, D), "R": (1, 3 * H, H)}
    return {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()}


class TestLoad:
    def test_a_graph_that_is_no_chain_gives_its_nodes(self):
        nodes = [_gru(y="a"), _gru(y="b", direction="reverse"), onnx.helper.make_node("Add", ["a", "b"], ["y"])]
        nodes[1].name = ""
        model = _graph(nodes, _arrays())
        found = load(model)
        assert found.keys() == {"scan", "b"}
        x = np.random.default_rng(1).normal(size=(T, N, D)).astype("f4")
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        y = found["scan"](x, time_major=True)[0] + found["b"](x, time_major=True)[0]
        assert scaled_error(y, session.run(["y"], {"x": x})[0][:, 0]) <= TOLERANCE

    def test_nodes_of_branches(self):
        """Weights of the outer graph are seen within a branch."""
        make = onnx.helper.make_tensor_value_info
        branches = [
            onnx.helper.make_graph([node], "branch", [], [make(node.output[0], onnx.TensorProto.FLOAT, None)])
            for node in (_gru(y="then"), _gru(y="other", direction="reverse"))
        ]
        choice = onnx.helper.make_node("If", ["which"], ["y"], then_branch=branches[0], else_branch=branches[1])
        model = _graph([choice], _arrays())
        model.graph.input.append(make("which", onnx.TensorProto.BOOL, ()))
        found = load(model)
        assert found.keys() == {"scan", "scan#2"}
        assert {layer.reverse for layer in found.values()} == {False, True}

    def test_time_major_input(self):
        squeeze = onnx.helper.make_node("Squeeze", ["a", "axes"], ["y"])
        model = _graph([_gru(y="a"), squeeze], _arrays() | {"axes": np.array([1])})
        found, x = load(model), np.random.default_rng(1).normal(size=(T, N, D)).astype("f4")
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        assert isinstance(found, Sequential)
        assert scaled_error(found(x, time_major=True)[0], session.run(["y"], {"x": x})[0]) <= TOLERANCE

    @pytest.mark.parametrize(
        ("opset", "axis", "is_chain"), [(11, None, False), (11, 2, True), (13, None, True), (13, 1, False)]
    )
    def test_softmax_of_every_opset(self, opset, axis, is_chain):
        """Without an axis it was over all axes but the first until opset 13."""
        attributes = {} if axis is None else {"axis": axis}
        squeeze = onnx.helper.make_node("Squeeze", ["a"], ["b"], axes=[1])
        if opset == 13:
            squeeze = onnx.helper.make_node("Squeeze", ["a", "axes"], ["b"])
        nodes = [_gru(y="a"), squeeze, onnx.helper.make_node("Softmax", ["b"], ["y"], **attributes)]
        model = _graph(nodes, _arrays() | ({"axes": np.array([1])} if opset == 13 else {}))
        model.opset_import[0].version = opset
        found = load(model)
        assert isinstance(found, Sequential) == is_chain
        if is_chain:
            x = np.random.default_rng(1).normal(size=(T, N, D)).astype("f4")
            session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            assert scaled_error(found(x, time_major=True)[0], session.run(["y"], {"x": x})[0]) <= TOLERANCE

    def test_integers_of_another_size(self):
        arrays = _arrays() | {"table": np.random.default_rng(2).normal(size=(9, D)).astype("f4")}
        cast = onnx.helper.make_node("Cast", ["ids"], ["wide"], to=onnx.TensorProto.INT64)
        gather = onnx.helper.make_node("Gather", ["table", "wide"], ["x"])
        squeeze = onnx.helper.make_node("Squeeze", ["a", "axes"], ["y"])
        model = _graph([cast, gather, _gru(y="a"), squeeze], arrays | {"axes": np.array([1])}, ())
        model.graph.input.append(onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT32, (T, N)))
        ids = np.random.default_rng(3).integers(0, 9, (T, N)).astype(np.int32)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        y, _ = load(model)(ids, time_major=True)
        assert scaled_error(y, session.run(["y"], {"ids": ids})[0]) <= TOLERANCE

    def test_scans_with_lengths_of_their_own_are_no_chain(self):
        """One call has one set of lengths."""
        squeeze = [onnx.helper.make_node("Squeeze", [name, "axes"], [f"{name}.1"]) for name in ("a", "c")]
        arrays = _arrays() | {"axes": np.array([1]), "V": _arrays(1)["R"]}
        for second, is_chain in (("lengths", True), ("", False), ("others", False)):
            scans = [_gru(y="a"), _gru("a.1", "c", "V")]
            scans[0].input.extend(["", "lengths"])
            scans[1].input.extend(["", second])
            model = _graph([scans[0], squeeze[0], scans[1], squeeze[1]], arrays, outputs=("c.1",))
            for name in {"lengths", second} - {""}:
                model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT32, (N,)))
            assert isinstance(load(model), Sequential) == is_chain

    @pytest.mark.parametrize("is_chain", [True, False])
    def test_a_stored_state_of_the_only_row(self, is_chain):
        node = _gru(y="a")
        node.input.extend(["", "", "start"])
        squeeze = onnx.helper.make_node("Squeeze", ["a", "axes"], ["y"])
        beside = onnx.helper.make_node("Neg", ["y"], ["z"])
        rng = np.random.default_rng(2)
        arrays = _arrays() | {"axes": np.array([1]), "start": rng.normal(size=(1, 1, H)).astype("f4")}
        nodes, outputs = ([node, squeeze], ("y",)) if is_chain else ([node, squeeze, beside], ("y", "z"))
        model = _graph(nodes, arrays, (("x", (T, 1, D)),), outputs)
        x = rng.normal(size=(T, 1, D)).astype("f4")
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found = load(model)
        assert isinstance(found, Sequential) == is_chain
        y, _ = (found if is_chain else found["scan"])(x, time_major=True)
        assert scaled_error(y, session.run(None, {"x": x})[0]) <= TOLERANCE

    def test_a_norm_of_one_number_for_all_features_is_no_layer_here(self):
        nodes = [
            _gru(y="a"),
            onnx.helper.make_node("Squeeze", ["a", "axes"], ["b"]),
            onnx.helper.make_node("LayerNormalization", ["b", "gain"], ["y"]),
        ]
        for size, is_chain in ((1, False), (H, True)):
            arrays = _arrays() | {"axes": np.array([1]), "gain": np.ones(size, "f4")}
            assert isinstance(load(_graph(nodes, arrays)), Sequential) == is_chain

    def test_a_scan_beside_the_chain_is_not_left_out(self):
        squeeze = onnx.helper.make_node("Squeeze", ["a", "axes"], ["y"])
        other = onnx.helper.make_node("GRU", ["x", "W", "R"], ["", "end"], hidden_size=H)
        model = _graph([_gru(y="a"), squeeze, other], _arrays() | {"axes": np.array([1])}, outputs=("y", "end"))
        assert load(model).keys() == {"scan", "end"}

    @pytest.mark.parametrize(
        ("training", "outputs", "is_chain"),
        [(None, ["y"], True), (False, ["y"], True), (True, ["y"], False), (None, ["rest", "y"], False)],
    )
    def test_dropout_that_trains_or_gives_its_mask_is_no_layer_here(self, training, outputs, is_chain):
        given = [] if training is None else ["rate", "training"]
        nodes = [
            _gru(y="a"),
            onnx.helper.make_node("Squeeze", ["a", "axes"], ["b"]),
            onnx.helper.make_node("Dropout", ["b", *given], outputs),
        ]
        stored = {"axes": np.array([1]), "rate": np.array(0.5, "f4"), "training": np.array(bool(training))}
        assert isinstance(load(_graph(nodes, _arrays() | stored)), Sequential) == is_chain

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_an_activation_in_front(self, dtype, tmp_path):
        model = Sequential([Activation(D, "softmax", dtype=dtype), GRU(D, H, seed=0, dtype=dtype)])
        export(model, tmp_path / "m.onnx")
        found, x = load(tmp_path / "m.onnx"), np.random.default_rng(1).normal(size=(N, T, D)).astype(dtype)
        assert found.dtype == dtype
        assert (found(x)[0] == model(x)[0]).all()

    def test_a_model_in_memory_and_in_a_file_are_the_same(self, tmp_path):
        model = _graph([_gru()], _arrays())
        onnx.save(model, tmp_path / "m.onnx")
        for source in (model, model.SerializeToString(), tmp_path / "m.onnx", str(tmp_path / "m.onnx")):
            assert isinstance(load(source)["scan"], GRU)

    def test_weights_must_be_stored(self):
        model = _graph([_gru(W="given")], _arrays(), (("x", (T, N, D)), ("given", (1, 3 * H, D))))
        with pytest.raises(ValueError, match="W of node 'scan' must be stored in the model, 'given' is not"):
            load(model)

    def test_attributes_are_checked(self):
        model = _graph([_gru(activations=["Sigmoid", "Affine"])], _arrays())
        with pytest.raises(ValueError, match="activation_alpha must be given for Affine"):
            load(model)

    def test_shapes_are_checked(self):
        arrays = _arrays() | {"W": np.zeros((1, 3 * H + 1, D), "f4")}
        with pytest.raises(ValueError, match=r"W must have shape \(1, 15, D\), got \(1, 16, 3\)"):
            load(_graph([_gru()], arrays))

    def test_no_recurrent_node(self):
        model = _graph([onnx.helper.make_node("Relu", ["x"], ["y"])], {})
        with pytest.raises(ValueError, match="must hold an RNN, LSTM or GRU node, and holds none"):
            load(model)

    def test_what_is_no_model(self, tmp_path):
        with pytest.raises(TypeError, match=r"model must be an onnx\.ModelProto, bytes or a path, got int"):
            load(3)
        with pytest.raises(FileNotFoundError):
            load(tmp_path / "none.onnx")

    def test_every_cut(self, tmp_path):
        export(made("tagger"), tmp_path / "m.onnx")
        whole = (tmp_path / "m.onnx").read_bytes()
        for size in range(0, len(whole), 211):
            for source in (whole[:size], tmp_path / "cut.onnx"):
                (tmp_path / "cut.onnx").write_bytes(whole[:size])
                with pytest.raises(ValueError, match="sound ONNX model"):
                    load(source)

    def test_a_tensor_that_claims_more_than_it_holds(self):
        model = _graph([_gru()], _arrays())
        model.graph.initializer[0].dims[:] = [10**6, 10**6, 3]
        with pytest.raises(ValueError, match=r"sound ONNX model|damaged"):
            load(model)
