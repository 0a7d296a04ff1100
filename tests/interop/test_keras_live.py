"""Live Keras layers, models and files against what we make of them."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest
from cases import scaled_error

from fastrnn import (
    GRU,
    LSTM,
    Bidirectional,
    Dense,
    Embedding,
    LastStep,
    MaskedSequential,
    Sequential,
    Session,
    SimpleRNN,
)
from fastrnn.interop.keras import from_layer, load, to_weights

# of Keras's backends, one that is installed: its "numpy" needs JAX as well
os.environ.setdefault("KERAS_BACKEND", "torch" if importlib.util.find_spec("torch") else "jax")
keras = pytest.importorskip("keras")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras calls NumPy in former ways

N, T, D, H = 3, 6, 4, 5
TOLERANCE = 1e-6  # of scaled_error, float32 against float32
ONE = {
    "SimpleRNN": lambda **options: keras.layers.SimpleRNN(H, **options),
    "LSTM": lambda **options: keras.layers.LSTM(H, **options),
    "GRU": lambda **options: keras.layers.GRU(H, **options),
    "GRU before": lambda **options: keras.layers.GRU(H, reset_after=False, **options),
}


def _x(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape or (N, T, D)).astype("float32")


def _random(model, seed=1):
    """The layer or model with random weights, biases too."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=w.shape).astype(w.dtype) / 2 for w in model.get_weights()])
    return model


def _numpy(value):
    return keras.ops.convert_to_numpy(value)


def _built(layer):
    layer.build((N, T, D))
    return _random(layer)


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("bias", [True, False])
class TestFromLayer:
    def test_forward(self, backend, name, bias):
        layer = _built(ONE[name](use_bias=bias, return_sequences=True, return_state=True))
        y, *final = (_numpy(part) for part in layer(_x()))
        got, state = from_layer(layer)(_x())
        assert scaled_error(got, y) <= TOLERANCE
        for part, expected in zip(state if isinstance(state, tuple) else (state,), final, strict=True):
            assert scaled_error(part, expected) <= TOLERANCE

    def test_go_backwards_is_reverse_in_the_order_of_time(self, name, bias):
        layer = _built(ONE[name](use_bias=bias, return_sequences=True, go_backwards=True))
        got, _ = from_layer(layer)(_x())
        assert scaled_error(got[:, ::-1], _numpy(layer(_x()))) <= TOLERANCE

    @pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
    def test_bidirectional(self, backend, name, bias, merge):
        inner = ONE[name](use_bias=bias, return_sequences=True)
        layer = _built(keras.layers.Bidirectional(inner, merge_mode=merge))
        got, expected = from_layer(layer)(_x())[0], layer(_x())
        pairs = zip(got, expected, strict=True) if merge is None else [(got, expected)]
        for part, wanted in pairs:
            assert scaled_error(part, _numpy(wanted)) <= TOLERANCE


@pytest.mark.parametrize("name", ONE)
def test_back_to_keras(name):
    layer, other = _built(ONE[name]()), _built(ONE[name]())
    other.set_weights([0 * weight for weight in other.get_weights()])
    other.set_weights(to_weights(from_layer(layer)))
    assert scaled_error(_numpy(other(_x())), _numpy(layer(_x()))) <= TOLERANCE


@pytest.mark.parametrize(
    "layer",
    [SimpleRNN(D, H, seed=0), LSTM(D, H, seed=0), GRU(D, H, seed=0), GRU(D, H, reset_after=False, seed=0)],
    ids=repr,
)
def test_ours_run_in_keras(layer):
    kind = type(layer).__name__
    options = {"reset_after": layer.reset_after} if kind == "GRU" else {}
    other = getattr(keras.layers, kind)(H, return_sequences=True, **options)
    other.build((N, T, D))
    other.set_weights(to_weights(layer))
    assert scaled_error(_numpy(other(_x())), layer(_x())[0]) <= TOLERANCE


FUNCTIONS = ("relu", "sigmoid", "hard_sigmoid", "linear", "softsign", "softplus", "elu", "leaky_relu")


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ONE)
def test_activations(backend, name, function):
    layer = _built(ONE[name](activation=function, return_sequences=True))
    layer.set_weights([weight / 2 for weight in layer.get_weights()])
    assert scaled_error(from_layer(layer)(_x())[0], _numpy(layer(_x()))) <= 5 * TOLERANCE


@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRU before"])
def test_recurrent_activations(backend, name):
    layer = _built(ONE[name](recurrent_activation="hard_sigmoid", return_sequences=True))
    assert scaled_error(from_layer(layer)(_x())[0], _numpy(layer(_x()))) <= TOLERANCE


L = keras.layers


def _tagger():
    return [
        L.Embedding(20, D),
        L.Bidirectional(L.LSTM(H, return_sequences=True)),
        L.Dropout(0.3),
        L.GRU(H, return_sequences=True),
        L.LayerNormalization(),
        L.TimeDistributed(L.Dense(3, activation="tanh")),
    ]


def _classifier():
    return [
        L.Embedding(20, D, mask_zero=True),
        L.Bidirectional(L.GRU(H, return_sequences=True)),
        L.BatchNormalization(),
        L.SpatialDropout1D(0.1),
        L.Bidirectional(L.LSTM(H)),
        L.Dense(7, activation="relu"),
        L.Dense(3, activation="softmax"),
    ]


def _backwards():
    return [L.Embedding(20, D), L.SimpleRNN(H, go_backwards=True), L.Dense(1), L.Activation("sigmoid")]


def _forwards():
    return [L.Embedding(20, D), L.GRU(H, reset_after=False, return_sequences=True), L.GRU(H)]


MODELS = {"tagger": _tagger, "classifier": _classifier, "backwards": _backwards, "forwards": _forwards}


def _ids(seed=0):
    ids = np.random.default_rng(seed).integers(1, 20, (N, T))
    ids[0, 4:] = 0
    ids[1, 2] = 0
    return ids


def _sequential(name):
    return _random_positive(keras.Sequential([keras.Input((T,), dtype="int32"), *MODELS[name]()]))


def _functional(name):
    x = first = keras.Input((T,), dtype="int32")
    for layer in MODELS[name]():
        x = layer(x)
    return _random_positive(keras.Model(first, x))


def _random_positive(model):
    """Random weights; running variances stay positive."""
    rng = np.random.default_rng(3)
    model.set_weights(
        [
            np.abs(rng.normal(size=w.shape)).astype(w.dtype) / 2 * rng.choice([-1, 1]) ** (w.ndim > 1)
            for w in model.get_weights()
        ]
    )
    return model


@pytest.mark.parametrize("make", [_sequential, _functional])
@pytest.mark.parametrize("name", MODELS)
class TestModels:
    def _assert_same(self, model, found):
        y, _ = found(_ids())
        assert scaled_error(y, _numpy(model(_ids()))) <= 2 * TOLERANCE

    def test_live(self, backend, name, make):
        model = make(name)
        self._assert_same(model, from_layer(model))

    def test_keras_file(self, name, make, tmp_path):
        pytest.importorskip("h5py")
        model = make(name)
        model.save(tmp_path / "model.keras")
        self._assert_same(model, load(tmp_path / "model.keras"))

    def test_weights_file_with_a_config(self, name, make, tmp_path):
        pytest.importorskip("h5py")
        model = make(name)
        model.save_weights(tmp_path / "model.weights.h5")
        for config in (model.get_config(), model.to_json()):
            self._assert_same(model, load(tmp_path / "model.weights.h5", config))
        (tmp_path / "model.json").write_text(model.to_json())
        self._assert_same(model, load(str(tmp_path / "model.weights.h5"), tmp_path / "model.json"))


@pytest.mark.parametrize("functional", [False, True])
def test_masking(backend, functional):
    layers = [L.Masking(2.0), L.GRU(H, return_sequences=True), L.SimpleRNN(H)]
    first = keras.Input((T, D))
    if functional:
        last = first
        for layer in layers:
            last = layer(last)
        model = keras.Model(first, last)
    else:
        model = keras.Sequential([first, *layers])
    x = _x()
    x[0, 2:4] = x[1, 5] = x[2, 0] = 2
    x[2, 3, :2] = 2
    found = from_layer(_random(model))
    assert isinstance(found, MaskedSequential) and found.mask_value == 2
    assert scaled_error(found(x)[0], _numpy(model(x))) <= TOLERANCE


@pytest.mark.parametrize("function", [*FUNCTIONS, "tanh", "softmax"])
@pytest.mark.parametrize("apart", [False, True])
def test_functions_behind_a_dense(function, apart):
    behind = [L.Dense(3), L.Activation(function)] if apart else [L.Dense(3, activation=function)]
    model = _random(keras.Sequential([keras.Input((T, D)), L.GRU(H, return_sequences=True), *behind]))
    assert scaled_error(from_layer(model)(_x())[0], _numpy(model(_x()))) <= TOLERANCE


@pytest.mark.parametrize("functional", [False, True])
def test_norms_that_the_layers_before_tell_of(functional, tmp_path):
    """The features as axis 1 behind a layer's last output, and a normalisation without weights."""
    pytest.importorskip("h5py")
    layers = [
        L.LSTM(H),
        L.LayerNormalization(axis=1),
        L.BatchNormalization(axis=1),
        L.Dense(3),
        L.LayerNormalization(center=False, scale=False),
        L.Dense(2),
    ]
    x = first = keras.Input((T, D))
    for layer in layers if functional else []:
        x = layer(x)
    model = keras.Model(first, x) if functional else keras.Sequential([first, *layers])
    _random_positive(model).save(tmp_path / "m.keras")
    for found in (from_layer(model), load(tmp_path / "m.keras")):
        assert scaled_error(found(_x())[0], _numpy(model(_x()))) <= 2 * TOLERANCE


@pytest.mark.parametrize("sequences", [False, True])
def test_directions_of_two_sizes(sequences):
    both = L.GRU(H, return_sequences=sequences), L.LSTM(H + 2, return_sequences=sequences, go_backwards=True)
    layer = L.Bidirectional(both[0], backward_layer=both[1])
    model = _random(keras.Sequential([keras.Input((T, D)), layer]))
    assert scaled_error(from_layer(model)(_x())[0], _numpy(model(_x()))) <= TOLERANCE


def test_an_input_and_an_output_with_names(tmp_path):
    pytest.importorskip("h5py")
    first = keras.Input((T, D), name="x")
    model = _random(keras.Model({"x": first}, {"y": L.Dense(2)(L.LSTM(H)(first))}))
    model.save(tmp_path / "m.keras")
    y = _numpy(model({"x": _x()})["y"])
    for found in (from_layer(model), load(tmp_path / "m.keras")):
        assert scaled_error(found(_x())[0], y) <= TOLERANCE


def test_what_comes_of_a_model():
    model = from_layer(_sequential("classifier"))
    assert isinstance(model, MaskedSequential) and model.mask_value == 0
    kinds = "Embedding Bidirectional BatchNorm Dropout Bidirectional LastStep Dense Dense Activation"
    assert [type(layer).__name__ for layer in model.layers] == kinds.split()
    model = from_layer(_sequential("backwards"))
    assert type(model) is Sequential
    last = next(layer for layer in model.layers if isinstance(layer, LastStep))
    assert last.reverse_size == H


def test_a_model_can_be_streamed():
    model = keras.Sequential([keras.Input((None, D)), L.LSTM(H, return_sequences=True), L.Dense(2)])
    x = _x()
    session = Session(from_layer(_random(model)), batch=N)
    y = np.stack([session.step(np.ascontiguousarray(x[:, t])).copy() for t in range(T)], axis=1)
    assert scaled_error(y, _numpy(model(x))) <= TOLERANCE


def test_training_goes_on():
    """What was imported is an ordinary stack: gradients reach every parameter."""
    model = from_layer(_sequential("backwards"))
    y, _, tape = model.forward(_ids(), rng=np.random.default_rng(0))
    _, _, grads = model.backward(tape, np.ones_like(y))
    assert all(np.any(value) for value in grads.values())


class TestWeightsFileAlone:
    def test_layers_in_the_order_in_which_they_fit(self, tmp_path):
        pytest.importorskip("h5py")
        model = keras.Sequential(
            [
                keras.Input((T,), dtype="int32"),
                L.Embedding(20, D),
                L.GRU(H, return_sequences=True),
                L.Bidirectional(L.LSTM(H, return_sequences=True)),
                L.GRU(2 * H, return_sequences=True),
                L.Dense(3),
            ]
        )
        _random(model).save_weights(tmp_path / "a.weights.h5")
        found = load(tmp_path / "a.weights.h5")
        kinds = [Embedding, GRU, Bidirectional, GRU, Dense]
        assert [type(layer) for layer in found.layers] == kinds
        assert scaled_error(found(_ids())[0], _numpy(model(_ids()))) <= 2 * TOLERANCE

    def test_more_than_one_order_is_an_error(self, tmp_path):
        pytest.importorskip("h5py")
        model = keras.Sequential([keras.Input((T, H)), L.LSTM(H, return_sequences=True), L.GRU(H)])
        model.save_weights(tmp_path / "a.weights.h5")
        with pytest.raises(ValueError, match=r"config must be given for .* sizes fit in more than one order"):
            load(tmp_path / "a.weights.h5")

    def test_layers_that_their_weights_do_not_tell(self, tmp_path):
        pytest.importorskip("h5py")
        model = keras.Sequential([keras.Input((T, H)), L.LSTM(H), L.LayerNormalization()])
        model.save_weights(tmp_path / "a.weights.h5")
        with pytest.raises(
            ValueError, match=r"config must be given for .*: weights alone do not tell what layer_normal"
        ):
            load(tmp_path / "a.weights.h5")


class TestErrors:
    def test_unsupported_layer(self):
        model = keras.Sequential([keras.Input((T, D)), L.Conv1D(3, 2)])
        with pytest.raises(ValueError, match=r"layer 'conv.*': Conv1D is not a layer that can be imported"):
            from_layer(model)

    def test_a_class_that_has_only_the_name_of_keras_own(self, tmp_path):
        class LayerNormalization(L.Layer):
            def build(self, shape):
                self.gamma, self.beta = (self.add_weight(shape=shape[-1:], name=name) for name in ("gamma", "beta"))

            def call(self, x):
                return x * self.gamma + self.beta

        message = "LayerNormalization, of another package than Keras, is not a layer that can be imported"
        model = keras.Sequential([keras.Input((T, D)), L.LSTM(H, return_sequences=True), LayerNormalization()])
        for layer in (model, model.layers[-1]):
            with pytest.raises(ValueError, match=f"layer 'layer_norm.*': {message}"):
                from_layer(layer)
        pytest.importorskip("h5py")
        model.save(tmp_path / "m.keras")
        with pytest.raises(ValueError, match=message):
            load(tmp_path / "m.keras")

    def test_unsupported_activation(self):
        layer = _built(L.LSTM(H, activation="swish"))
        with pytest.raises(ValueError, match=r"layer 'lstm.*': activation must be one of .*, got 'si"):
            from_layer(layer)
        model = keras.Sequential([keras.Input((T, D)), L.Dense(3, activation="gelu")])
        with pytest.raises(ValueError, match=r"layer 'dense.*': activation must be one of .*, got 'gelu'"):
            from_layer(model)

    def test_a_layer_that_is_not_built(self):
        with pytest.raises(ValueError, match=r"weights must be 3 arrays, got 0; is the layer built"):
            from_layer(L.LSTM(H))

    def test_what_is_no_layer(self):
        with pytest.raises(TypeError, match=r"layer must be a Keras layer, got int"):
            from_layer(3)

    def test_branches(self):
        first = keras.Input((T, D))
        model = keras.Model(first, L.Concatenate()([L.LSTM(H)(first), L.GRU(H)(first)]))
        with pytest.raises(ValueError, match=r"layer 'gru.*' must take the output of 'lstm.*' and nothing else"):
            from_layer(model)

    @pytest.mark.parametrize("k", [0, 1])
    def test_one_of_a_pair(self, k):
        first = keras.Input((T, D))
        pair = L.Bidirectional(L.GRU(H, return_sequences=True), merge_mode=None)(first)
        with pytest.raises(ValueError, match=r"layer 'bidirectional.*' must have one output, got the pair"):
            from_layer(keras.Model(first, pair[k]))

    @pytest.mark.parametrize("name", ["Dropout", "BatchNormalization", "GRU"])
    def test_a_call_that_trains(self, name):
        """Written into a functional model, it holds for predictions too."""
        options = {"Dropout": {"rate": 0.5}, "GRU": {"units": H, "dropout": 0.5}}.get(name, {})
        first = keras.Input((T, D))
        for training in (False, True):
            inner = getattr(L, name)(**options)(L.LSTM(H, return_sequences=True)(first), training=training)
            model = _random_positive(keras.Model(first, L.Dense(2)(inner)))
            if training:
                with pytest.raises(ValueError, match=r"layer '.*' must be called without training=True"):
                    from_layer(model)
            else:
                assert scaled_error(from_layer(model)(_x())[0], _numpy(model(_x()))) <= TOLERANCE

    @pytest.mark.parametrize(
        ("layers", "message"),
        [
            (
                lambda: [L.GRU(H, go_backwards=True, return_sequences=True)],
                "go_backwards must be False with return_seq",
            ),
            (lambda: [L.Bidirectional(L.GRU(H), merge_mode="sum")], "merge_mode must be 'concat' without return_seq"),
            (lambda: [L.LayerNormalization(axis=1)], "axis must be -1"),
            (
                lambda: [L.GRU(H, return_sequences=True, zero_output_for_mask=True)],
                "zero_output_for_mask must be False",
            ),
            (lambda: [L.Dense(3), L.Masking(1.0)], "a mask must come from the model's input"),
        ],
    )
    def test_options_that_would_make_another_model(self, layers, message):
        model = keras.Sequential([keras.Input((T, D)), *layers()])
        with pytest.raises(ValueError, match=message):
            from_layer(model)
