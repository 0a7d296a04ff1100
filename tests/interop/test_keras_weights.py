"""Keras's weights in our layers and back, without Keras: layouts, CuDNN's format, errors."""

from __future__ import annotations

import golden_files
import numpy as np
import pytest
from cases import scaled_error

from fastrnn import GRU, LSTM, BatchNorm, Bidirectional, Dense, Embedding, LayerNorm, Sequential, SimpleRNN
from fastrnn.interop.keras import from_weights, to_weights

D, H = 3, 4


def _normal(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def _like(layer, seed=1):
    """The layer with random parameters, biases too."""
    rng = np.random.default_rng(seed)
    layer.params.update({name: rng.normal(size=p.shape).astype(p.dtype) for name, p in layer.params.items()})
    return layer


LAYERS = {
    "SimpleRNN": lambda dtype: SimpleRNN(D, H, dtype=dtype),
    "LSTM": lambda dtype: LSTM(D, H, dtype=dtype),
    "GRU": lambda dtype: GRU(D, H, dtype=dtype),
    "GRU before": lambda dtype: GRU(D, H, reset_after=False, dtype=dtype),
}


@pytest.mark.parametrize("name", LAYERS)
def test_round_trip_of_a_scan(name, dtype):
    layer = _like(LAYERS[name](dtype))
    for kind in (None, name.removesuffix(" before")):
        back = from_weights(to_weights(layer), kind)
        assert type(back) is type(layer) and back.dtype == layer.dtype
        assert back.params.keys() == layer.params.keys()
        assert all((back.params[key] == layer.params[key]).all() for key in layer.params)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kind", [None, "Bidirectional"])
def test_round_trip_of_both_directions(name, kind):
    layer = _like(Bidirectional(LAYERS[name]("float64"), merge="sum"))
    back = from_weights(to_weights(layer), kind, merge="sum")
    x = _normal(2, 5, D)
    assert (back(x)[0] == layer(x)[0]).all()


def test_round_trip_of_the_others():
    for kind, layer in (("Dense", Dense(D, H)), ("Embedding", Embedding(D, H)), ("LayerNormalization", LayerNorm(D))):
        back = from_weights(to_weights(_like(layer)), kind)
        assert all((back.params[key] == layer.params[key]).all() for key in layer.params)
    layer = _like(BatchNorm(D))
    layer.buffers["mean"][...], layer.buffers["var"][...] = [1, 2, 3], [4, 5, 6]
    back = from_weights(to_weights(layer), "BatchNormalization")
    assert all((back.buffers[key] == layer.buffers[key]).all() for key in layer.buffers)


def test_weights_of_a_stack_are_those_of_its_layers():
    stack = Sequential([Embedding(9, D), LSTM(D, H), Dense(H, 2)])
    assert [array.shape for array in to_weights(stack)] == [(9, D), (D, 4 * H), (H, 4 * H), (4 * H,), (H, 2), (2,)]


def test_weights_are_copies():
    layer = _like(LSTM(D, H))
    for array in to_weights(layer):
        array[...] = 0
    assert all(value.any() for value in layer.params.values())


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_without_bias_it_is_zero(kind):
    W, U, _ = to_weights(_like(LAYERS[kind]("float64")))
    options = {"reset_after": True} if kind == "GRU" else {}
    layer = from_weights([W, U], kind, **options)
    assert not layer.params["b"].any()
    assert kind != "GRU" or not layer.params["b_rec"].any()
    both = from_weights([W, U, W, U], kind, **options)
    assert isinstance(both, Bidirectional)


def test_a_gru_sums_the_two_biases_of_r_and_z():
    W, U, b = _normal(D, 3 * H), _normal(H, 3 * H, seed=1), _normal(2, 3 * H, seed=2)
    layer = from_weights([W, U, b])
    assert (layer.params["W"] == W[:, np.r_[H : 2 * H, :H, 2 * H : 3 * H]]).all()
    assert (layer.params["b"][:H] == b.sum(axis=0)[H : 2 * H]).all()
    assert (layer.params["b"][2 * H :] == b[0, 2 * H :]).all()
    assert (layer.params["b_rec"] == b[1, 2 * H :]).all()


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_cudnn_format(backend, kind):
    """Weights that TensorFlow's own code has put into CuDNN's format, and what the plain ones compute."""
    golden = golden_files.read("keras/cudnn", kind.lower())
    weights = [golden[f"cudnn.{k}"] for k in range(3)]
    for name in (None, kind, f"CuDNN{kind}"):
        layer = from_weights(weights, name)
        assert scaled_error(layer(golden["x"])[0], golden["y"]) <= 1e-12
    W, U, _ = weights
    plain = from_weights([W, U, golden["plain.2"]])
    assert scaled_error(plain(golden["x"])[0], golden["y"]) > 0.1, "without the new layout it must be garbage"


def test_narrow_numbers_become_float32():
    W, U, b = (array.astype("float16") for array in to_weights(_like(LSTM(D, H))))
    assert from_weights([W, U, b]).dtype == np.float32
    assert from_weights([W, U, b], dtype="float64").dtype == np.float64


@pytest.mark.parametrize(
    ("weights", "kind", "message"),
    [
        ([], None, "kind must be one of"),
        ([_normal(3, 5), _normal(5)], None, "do not tell it"),
        ([_normal(3, 20), _normal(5, 15)], "LSTM", r"weights\[1\] must have shape \(H, 4\*H\)"),
        ([_normal(3, 19), _normal(5, 20)], "LSTM", r"weights\[0\] must have shape \(D, 20\), got \(3, 19\)"),
        ([_normal(3, 20), _normal(5, 20), _normal(19)], None, r"weights\[2\] must have shape \(20,\), got \(19,\)"),
        ([_normal(3, 15), _normal(5, 15)], "GRU", "reset_after must be given"),
        ([_normal(3, 15), _normal(5, 15), _normal(3, 15)], "GRU", r"weights\[2\] must have shape \(2, 15\)"),
        ([_normal(3, 15), _normal(5, 15), _normal(15)], "CuDNNGRU", r"bias of shape \(30,\) in CuDNN's format"),
        ([_normal(3, 5)] * 3, "Bidirectional", "4 or 6 arrays"),
        ([_normal(3, 5)] * 3, "Dense", "1 or 2 arrays for Dense, got 3"),
        ([_normal(3, 5)], "ConvLSTM1D", "kind must be one of"),
    ],
)
def test_errors_name_the_array(weights, kind, message):
    with pytest.raises(ValueError, match=message):
        from_weights(weights, kind)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (LSTM(D, H, output_activation="relu"), "layer must be one that Keras has, .* with output_activation='relu'"),
        (SimpleRNN(D, H, activation="thresholded_relu"), "activation must be one that .*, got 'thresholded_relu' in"),
        (GRU(D, H, activation=("elu", 0.5)), r"activation must be one that .*, got \('elu', 0\.5\) in GRU"),
        (Bidirectional(LSTM(D, H, recurrent_activation="scaled_tanh")), "recurrent_activation must be .* in LSTM"),
    ],
    ids=repr,
)
def test_options_that_keras_does_not_have(layer, message):
    with pytest.raises(ValueError, match=message):
        to_weights(layer)


def test_activations_that_keras_has():
    for option in ("elu", "hard_sigmoid", ("hard_sigmoid", 0.2, 0.5), ("leaky_relu", 0.2), "linear"):
        assert len(to_weights(LSTM(D, H, activation=option, recurrent_activation="hard_sigmoid"))) == 3


def test_reset_after_must_fit_the_bias():
    with pytest.raises(ValueError, match=r"reset_after=True does not fit weights\[2\] of shape \(12,\)"):
        from_weights([_normal(D, 12), _normal(H, 12), _normal(12)], reset_after=True)


def test_options_of_other_layers():
    lstm = [_normal(3, 20), _normal(5, 20), _normal(20)]
    with pytest.raises(TypeError, match=r"merge must not be given for LSTM.*, which has one direction, got 'sum'"):
        from_weights(lstm, merge="sum")
    for weights in (lstm, lstm * 2):
        with pytest.raises(TypeError, match=r"reset_after must not be given for .*, which is no GRU, got False"):
            from_weights(weights, reset_after=False)


def test_wrong_types():
    with pytest.raises(TypeError, match=r"weights must be a list of arrays, got ndarray"):
        from_weights(_normal(3, 20))
    with pytest.raises(TypeError, match=r"weights\[1\] must hold floating-point numbers, got int64"):
        from_weights([_normal(3, 20), np.zeros((5, 20), int)])
    with pytest.raises(TypeError, match=r"layer must be one that Keras has, got 3"):
        to_weights(3)
