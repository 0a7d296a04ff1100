"""`MaskedSequential`: a stack with a mask that it finds in its input."""

from __future__ import annotations

import numpy as np
import pytest
from cases import TOLERANCES
from differences import layer_gradient_errors

import fastrnn
from fastrnn import GRU, LSTM, Dense, Embedding, LastStep, MaskedSequential, Sequential

IDS = np.array([[3, 1, 0, 4, 0], [2, 2, 2, 2, 2], [0, 5, 0, 0, 6], [0, 0, 0, 0, 0]])
D, H = 3, 4


def _layers(dtype="float64"):
    return [Embedding(9, D, dtype=dtype, seed=0), LSTM(D, H, dtype=dtype, seed=1), GRU(H, H, dtype=dtype, seed=2)]


@pytest.mark.parametrize("time_major", [False, True])
def test_is_a_sequential_with_that_mask(backend, time_major):
    ids = IDS.T if time_major else IDS
    y, state = MaskedSequential(_layers())(ids, time_major=time_major)
    wanted, final = Sequential(_layers())(ids, mask=ids != 0, time_major=time_major)
    assert (y == wanted).all()
    assert (state[2] == final[2]).all() and not final[2][3].any()


def test_features_are_masked_where_all_are_the_value(backend):
    x = np.random.default_rng(0).normal(size=(2, 5, D))
    x[0, 1:3] = x[1, 4] = 7
    x[1, 2, :2] = 7
    layer = GRU(D, H, dtype="float64", seed=0)
    mask = np.array([[1, 0, 0, 1, 1], [1, 1, 1, 1, 0]], bool)
    wanted, _ = layer(x, mask=mask)
    assert (MaskedSequential([layer], 7)(x)[0] == wanted).all()


def test_lengths_or_a_mask_of_the_caller_come_first():
    masked, plain = MaskedSequential(_layers()), Sequential(_layers())
    lengths, mask = [5, 3, 2, 1], np.ones(IDS.shape, bool)
    assert (masked(IDS, lengths=lengths)[0] == plain(IDS, lengths=lengths)[0]).all()
    assert (masked(IDS, mask=mask)[0] == plain(IDS)[0]).all()


def test_after_an_embedding_of_few_words(backend):
    """Which hands on its table, with what reads that and not x itself."""
    ids = np.tile([0, 1, 0], (2, 10))
    model = Sequential([Embedding(2, D, seed=0), MaskedSequential([LSTM(D, H, seed=1)])])
    model.params["0.W"][0] = 0
    wanted, _ = LSTM(D, H, seed=1)(model.params["0.W"][ids], mask=ids != 0)
    assert np.allclose(model(ids)[0], wanted, rtol=0, atol=1e-6)


def test_the_value_is_a_number():
    with pytest.raises(TypeError, match=r"^mask_value must be a number"):
        MaskedSequential([GRU(D, H)], mask_value="a")


def test_one_sequence():
    model = MaskedSequential([*_layers(), LastStep(H, dtype="float64")])
    assert np.allclose(model(IDS[0])[0], model(IDS)[0][0], rtol=1e-12, atol=0)


def test_gradients(backend):
    model = MaskedSequential([*_layers(), LastStep(H, dtype="float64"), Dense(H, 2, dtype="float64", seed=3)])
    errors = layer_gradient_errors(model, IDS)
    assert max(errors.values()) <= TOLERANCES["gradient", "float64"], errors


def test_a_file_keeps_it(tmp_path):
    model = MaskedSequential(_layers("float32"), mask_value=2)
    fastrnn.save(tmp_path / "model.safetensors", model)
    back = fastrnn.load(tmp_path / "model.safetensors")
    assert isinstance(back, MaskedSequential) and back.mask_value == 2
    assert (back(IDS)[0] == model(IDS)[0]).all()
