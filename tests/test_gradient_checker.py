"""check_gradients passes what is right, and names what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from stacks import EMBEDDED, RECURRENT, STACKS, inputs, make, with_random_parameters

import fastrnn
from fastrnn import (
    GRU,
    LSTM,
    Attention,
    AttentionLSTM,
    BatchNorm,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    LastStep,
    LayerNorm,
    Sequential,
    SimpleRNN,
    check_gradients,
)

OPTIONS = {"dtype": "float64", "seed": 0}
OTHERS = {
    "dense": (Dense(4, 3, "tanh", **OPTIONS), {}),
    "batch norm": (BatchNorm(4, dtype="float64"), {"lengths": [5, 0, 2], "tolerance": 1e-5}),
    "attention": (AttentionLSTM(4, 3, 2, **OPTIONS), {"lengths": [5, 1, 3]}),
    "pair": (Bidirectional(GRU(4, 3, **OPTIONS), merge=None), {"lengths": [5, 1, 3]}),
    "dropout": (Dropout(0.5), {}),
    "stack": (
        Sequential([LSTM(4, 3, **OPTIONS), Dropout(0.3), LayerNorm(3, dtype="float64"), LastStep(3, dtype="float64")]),
        {"lengths": [5, 1, 3]},
    ),
    "pooled": (Sequential([GRU(4, 3, **OPTIONS), Attention(3, 2, **OPTIONS), Dense(3, 1, **OPTIONS)]), {}),
}


def x_for(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, 5, 4))


@pytest.mark.parametrize("name", [*RECURRENT, *STACKS, *EMBEDDED])
@pytest.mark.parametrize("lengths", [None, [6, 0, 3]], ids=["full", "ragged"])
def test_recurrent_layers(name, lengths, backend):
    layer = make(name)
    report = check_gradients(layer, inputs(name), lengths=lengths, entries=8)
    assert set(layer.params) < set(report)
    assert ("x" in report) == (name not in EMBEDDED)
    assert any(key.startswith("state") for key in report)


@pytest.mark.parametrize("name", OTHERS)
def test_other_layers(name):
    layer, options = OTHERS[name]
    report = check_gradients(layer, x_for(), **options)
    assert set(report) >= {"x", *layer.params}


def test_a_given_state_and_single_sequences():
    state = (np.full((3, 4), 0.5), np.full((3, 4), -0.5))
    before = [a.copy() for a in state]
    report = check_gradients(LSTM(4, 4, **OPTIONS), x_for(), state=state)
    assert report["state.1"].error < 1e-9
    assert all(np.array_equal(a, b) for a, b in zip(state, before, strict=True))
    assert check_gradients(GRU(4, 2, **OPTIONS), x_for()[0])["U"].error < 1e-9
    assert check_gradients(GRU(4, 2, **OPTIONS), x_for(), state=[[0.5, -0.5]] * 3)["state"].error < 1e-9


def test_a_state_that_is_given_in_part():
    stack = Sequential([LSTM(4, 3, **OPTIONS), Dense(3, 2, **OPTIONS), Bidirectional(GRU(2, 2, **OPTIONS))])
    report = check_gradients(stack, x_for(), state=[None, None, (None, np.full((3, 2), 0.5))])
    assert [name for name in report if name.startswith("state")] == ["state.3"]


OPTIONAL = {
    "peepholes": LSTM(4, 3, peephole="full", **OPTIONS),
    "all of an LSTM": LSTM(
        4,
        3,
        peephole="diagonal",
        coupled=True,
        proj_size=2,
        layer_norm=True,
        recurrent_dropout=0.2,
        zoneout=(0.1, 0.2),
        trainable_state=True,
        **OPTIONS,
    ),
    "all of a GRU": GRU(4, 3, activation="softsign", weight_drop=0.3, layer_norm=True, trainable_state=True, **OPTIONS),
}


@pytest.mark.parametrize("name", OPTIONAL)
def test_options_of_cells(name, backend):
    # away from a state of zeros, whose norm has the steepest slope there is
    layer = with_random_parameters(OPTIONAL[name])
    report = check_gradients(layer, x_for(), lengths=[5, 0, 3], entries=10)
    if name != "peepholes":
        assert report["h0"].difference
        assert "state" not in report
        state = tuple(np.ones((3, 2 if k == 0 else 3)) for k in range(2)) if "LSTM" in name else np.ones((3, 3))
        given = check_gradients(layer, x_for(), state=state, lengths=[5, 0, 3], entries=10)
        assert given["h0"].error == 0
        assert any(key.startswith("state") for key in given)


@pytest.mark.parametrize("cell", [GRU, LSTM, SimpleRNN])
@pytest.mark.parametrize("seed", range(3))
def test_where_a_norm_bends_within_the_first_step(cell, seed, backend):
    layer = cell(4, 3, layer_norm=True, trainable_state=True, dtype="float64", seed=seed)
    assert not layer.params["h0"].any()
    report = check_gradients(layer, x_for(), entries=None)
    assert report["h0"].difference


def test_a_kink_within_the_first_step():
    layer = Dense(1, 1, "relu", **OPTIONS)
    layer.params["W"][...], layer.params["b"][...] = 1, -1
    x = 1 + np.array([[1e-4], [-1e-4]])
    assert check_gradients(layer, x)["x"].error < 1e-9


def test_entries_are_drawn_or_all_looked_at():
    layer = LSTM(4, 3, **OPTIONS)
    assert check_gradients(layer, x_for(), entries=7)["U"].checked == 7
    whole = check_gradients(layer, x_for(), entries=None)
    assert whole["U"].checked == layer.params["U"].size
    assert whole == check_gradients(layer, x_for(), entries=None)


class Wrong(LSTM):
    """A layer whose gradient of U, or of another parameter, is off at one place."""

    off, name, at = 1e-4, "U", (1, 2)

    def backward(self, tape, dy=None, dstate=None, *, input_gradient=True):
        dx, dstate, grads = super().backward(tape, dy, dstate, input_gradient=input_gradient)
        grads[self.name][self.at] += self.off
        return dx, dstate, grads


def test_a_wrong_gradient_is_named():
    layer = Wrong(4, 3, **OPTIONS)
    with pytest.raises(
        AssertionError, match=r"^the gradient of 'U' of Wrong\(4, 3\) is wrong at \[1, 2\]: backward gives"
    ):
        check_gradients(layer, x_for(), entries=None)
    report = check_gradients(layer, x_for(), entries=None, tolerance=None)
    entry = report["U"]
    assert entry.index == (1, 2)
    assert entry.backward - entry.difference == pytest.approx(1e-4, rel=1e-6)
    assert max(other.error for name, other in report.items() if name != "U") < 1e-9
    assert check_gradients(layer, x_for(), entries=None, tolerance=0.1)


@pytest.mark.parametrize("off", [0.01, 1.0])
def test_a_wrong_gradient_is_found_where_shorter_steps_are_looked_at(off):
    layer = Wrong(4, 3, layer_norm=True, trainable_state=True, **OPTIONS)
    layer.off, layer.name, layer.at = off, "h0", (1,)
    report = check_gradients(layer, x_for(), entries=None, tolerance=None)
    assert report["h0"].index == (1,)
    assert report["h0"].backward - report["h0"].difference == pytest.approx(off, rel=1e-4)
    with pytest.raises(AssertionError, match=r"^the gradient of 'h0' of Wrong\(.*\) is wrong at \[1\]"):
        check_gradients(layer, x_for(), entries=None)


def test_nan_is_wrong():
    layer = Wrong(4, 3, **OPTIONS)
    layer.off = np.nan
    with pytest.raises(AssertionError, match=r"'U' .* backward gives nan"):
        check_gradients(layer, x_for(), entries=None)


def test_nothing_is_changed():
    layer, x = Sequential([BatchNorm(4, dtype="float64"), GRU(4, 3, **OPTIONS)]), x_for()
    params, buffers = layer.params.flat.copy(), {name: a.copy() for name, a in layer.buffers.items()}
    x.flags.writeable = False
    check_gradients(layer, x, tolerance=1e-4)
    assert np.array_equal(layer.params.flat, params)
    for name, a in layer.buffers.items():
        assert np.array_equal(a, buffers[name])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check_gradients(LSTM(4, 3), x_for()), ValueError, "^layer must be of dtype float64"),
        (lambda: check_gradients(print, x_for()), TypeError, "^layer must be a layer"),
        (lambda: check_gradients(LSTM(5, 3, **OPTIONS), x_for()), ValueError, r"^x must have shape \(N, T, 5\)"),
        (lambda: check_gradients(LSTM(4, 3, **OPTIONS), x_for(), entries=0), ValueError, "^entries must be at least 1"),
        (lambda: check_gradients(LSTM(4, 3, **OPTIONS), x_for(), tolerance=0), ValueError, "^tolerance must lie in"),
        (lambda: check_gradients(Embedding(4, 3, **OPTIONS), [[5]]), ValueError, r"^x must lie in 0\.\.3, got 5"),
        (lambda: check_gradients(Dense(4, 3, **OPTIONS), x_for(), state=1.0), ValueError, "^state must be None"),
        (lambda: check_gradients(LSTM(4, 3, **OPTIONS), x_for(), state=(x_for(),)), ValueError, "^state must be a tup"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_it_is_public():
    assert fastrnn.check_gradients is check_gradients
