"""Mean and maximum over steps: values, gradients, and what padding and empty sequences are to them."""

from __future__ import annotations

import numpy as np
import pytest

from fastrnn import GRU, Dense, MaxSteps, MeanSteps, Sequential

LENGTHS = np.array([5, 2, 0])


def example() -> np.ndarray:
    """x (3, 5, 2), NaN in the padding."""
    x = np.random.default_rng(0).normal(size=(3, 5, 2))
    x[np.arange(5) >= LENGTHS[:, None]] = np.nan
    return x


@pytest.mark.parametrize(("kind", "pooled"), [(MeanSteps, np.mean), (MaxSteps, np.max)])
@pytest.mark.parametrize("time_major", [False, True])
def test_values_and_gradients(kind, pooled, time_major):
    layer, x, rng = kind(2, dtype="float64"), example(), np.random.default_rng(1)
    expected = np.array([pooled(row[:T], axis=0) if T else np.zeros(2) for row, T in zip(x, LENGTHS, strict=True)])
    given = x.swapaxes(0, 1) if time_major else x
    y, tape = layer.forward(given, LENGTHS, time_major=time_major)
    assert np.allclose(y, expected) and np.allclose(layer(given, LENGTHS, time_major=time_major), expected)
    dy = rng.normal(size=(3, 2))
    dx = layer.backward(tape, dy)[0]
    dx = dx.swapaxes(0, 1) if time_major else dx
    assert dx.shape == x.shape and not dx[np.arange(5) >= LENGTHS[:, None]].any()
    for at in np.argwhere(np.arange(5)[None, :, None] < LENGTHS[:, None, None] + np.zeros((1, 1, 2), int)):
        moved = [x.copy(), x.copy()]
        moved[0][tuple(at)] += 1e-6
        moved[1][tuple(at)] -= 1e-6
        up, down = (float((layer(part, LENGTHS) * dy).sum()) for part in moved)
        assert np.isclose(dx[tuple(at)], (up - down) / 2e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [MeanSteps, MaxSteps])
def test_in_a_stack_padding_does_not_count(backend, kind):
    model = Sequential([GRU(2, 4, seed=0), kind(4), Dense(4, 3, seed=1)])
    x = np.random.default_rng(0).normal(size=(3, 6, 2)).astype("float32")
    whole = model(x, lengths=[6, 3, 1])[0]
    for row, T in enumerate([6, 3, 1]):
        assert np.allclose(model(x[row : row + 1, :T])[0], whole[row], atol=1e-6)


def test_one_sequence_and_wrong_shapes():
    x = np.array([[1.0, 5.0], [3.0, 1.0]], "float32")
    assert MeanSteps(2)(x).tolist() == [2, 3] and MaxSteps(2)(x).tolist() == [3, 5]
    layer = MaxSteps(2)
    _, tape = layer.forward(x)
    assert layer.backward(tape, np.ones(2, "float32"))[0].tolist() == [[0, 1], [1, 0]]
    with pytest.raises(ValueError, match="x must have shape"):
        MeanSteps(3)(x)
