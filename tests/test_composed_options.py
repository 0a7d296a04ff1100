"""Options of the cells within layers made of layers: directions, attention and stacks pass them on."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from cases import TOLERANCES
from differences import layer_gradient_errors, leaves, map_state
from stacks import with_random_parameters

from fastrnn import GRU, LSTM, AttentionLSTM, Bidirectional, Dense, Sequential, SimpleRNN

LENGTHS = np.array([4, 0, 6])
HOLES = np.array([[1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 1, 1]], bool)
RAGGED = {"full": {}, "lengths": {"lengths": LENGTHS}, "mask": {"mask": HOLES}}
LSTM_OPTIONS = {
    "diagonal peephole, projected": {"peephole": "diagonal", "proj_size": 3},
    "full peephole, coupled": {"peephole": "full", "coupled": True},
    "normalised, learned state": {"layer_norm": True, "trainable_state": True},
    "clipped, softsign": {"clip": 2.0, "activation": "softsign", "recurrent_activation": ("hard_sigmoid", 0.25, 0.5)},
    "recurrent dropout, zoneout": {"recurrent_dropout": 0.3, "zoneout": (0.2, 0.1)},
    "weights dropped": {"weight_drop": 0.4},
}
LAYERS = {
    **{
        f"both ways, {name}": lambda options=options: Bidirectional(LSTM(4, 5, **options, dtype="float64"))
        for name, options in LSTM_OPTIONS.items()
    },
    **{
        f"attention, {name}": lambda options=options: AttentionLSTM(4, 5, 3, **options, dtype="float64")
        for name, options in LSTM_OPTIONS.items()
    },
    "a stack": lambda: Sequential(
        [
            Bidirectional(GRU(4, 3, layer_norm=True, zoneout=0.2, dtype="float64"), "sum"),
            SimpleRNN(3, 4, activation="softsign", trainable_state=True, recurrent_dropout=0.3, dtype="float64"),
            Dense(4, 2, dtype="float64"),
        ]
    ),
}


def made(name):
    layer = with_random_parameters(LAYERS[name]())
    for key, value in layer.params.items():
        # steps that differ, and attention that notices: else its gradients drown in rounding
        if "gain" in key:
            value += 2
        if key == "attention.v":
            value *= 5
    return layer


def x_of():
    return np.random.default_rng(7).normal(size=(3, 6, 4))


@pytest.mark.parametrize("options", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize("given", [False, True], ids=["own state", "given state"])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients(backend, name, given, options):
    layer, x = made(name), x_of()
    rng = np.random.default_rng(9)
    state = map_state(lambda part: rng.uniform(-1, 1, part.shape), layer(x)[1]) if given else None
    errors = layer_gradient_errors(layer, x, state, **options, seed=4, entries=10)
    assert all(error <= TOLERANCES["gradient", "float64"] for error in errors.values()), errors


@pytest.mark.parametrize("name", LAYERS)
def test_padding_reaches_nothing(backend, name):
    for options, padding in (({"lengths": LENGTHS}, np.arange(6) >= LENGTHS[:, None]), ({"mask": HOLES}, ~HOLES)):
        found = []
        for value in (0.0, np.nan):
            layer, x = made(name), x_of()
            x[padding] = value
            y, state, tape = layer.forward(x, **options, rng=np.random.default_rng(0))
            found.append(leaves([y, state, *layer.backward(tape, y, state)[:2], *layer(x, **options)]))
        assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("name", LAYERS)
def test_copies_and_architecture(name):
    layer, x = made(name), x_of()
    twin = copy.deepcopy(layer)
    assert repr(twin) == repr(layer)
    assert all(np.array_equal(a, b) for a, b in zip(leaves(twin(x)), leaves(layer(x)), strict=True))
    if isinstance(layer, Bidirectional):
        fwd, bwd = layer.layers
        assert {**bwd._config(), "reverse": False} == {"reverse": False, **fwd._config()}
    if isinstance(layer, AttentionLSTM):
        again = AttentionLSTM(**layer._config())
        assert repr(again) == repr(layer) and again.params.same_layout(layer.params)


def test_the_repr_of_an_attention_lstm_names_its_options():
    layer = AttentionLSTM(4, 5, 3, peephole="diagonal", proj_size=2)
    assert repr(layer).startswith("AttentionLSTM(4, 5, 3, peephole='diagonal', proj_size=2")
    assert layer.output_size == 2 and layer.params["attention.W"].shape == (2, 3)


def test_projections_in_both_directions():
    layer = Bidirectional(LSTM(4, 5, proj_size=3))
    y, ((h, c), _) = layer(np.ones((2, 6, 4), "float32"))
    assert layer.output_size == 6 and y.shape == (2, 6, 6)
    assert h.shape == (2, 3) and c.shape == (2, 5)


def test_options_that_a_cell_does_not_have():
    for call in (lambda: AttentionLSTM(4, 5, 3, reset_after=True), lambda: Bidirectional(GRU(4, 5), peephole="full")):
        with pytest.raises(TypeError, match=r"reset_after|peephole"):
            call()
