"""`LastStep`: values, gradients against difference quotients, errors."""

from __future__ import annotations

import numpy as np
import pytest
from cases import TOLERANCES
from differences import gradient, layer_gradient_errors, relative_error

from fastrnn import GRU, LSTM, Activation, Bidirectional, Dense, LastStep, Sequential

N, T, D, H = 4, 5, 3, 4
LENGTHS = np.array([3, 5, 1, 0])
MASK = np.array([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], bool)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(N, T, D))


def _ragged(kind):
    return {"full": {}, "lengths": {"lengths": LENGTHS}, "mask": {"mask": MASK}}[kind]


class TestLastStep:
    def test_is_the_final_state_of_a_scan(self, backend, x):
        layer = GRU(D, H, dtype="float64", seed=0)
        y, h = layer(x, lengths=LENGTHS)
        last = LastStep(H, dtype="float64")
        assert (last(y, LENGTHS) == h).all()
        assert not last(y, LENGTHS)[3].any()
        assert (last(y) == y[:, -1]).all()

    def test_after_a_backward_scan_it_is_the_first_step(self, backend, x):
        both = Bidirectional(LSTM(D, H, dtype="float64", seed=0))
        y, ((h_fwd, _), (h_bwd, _)) = both(x, lengths=LENGTHS)
        pooled = LastStep(2 * H, H, dtype="float64")(y, LENGTHS)
        assert (pooled == np.hstack([h_fwd, h_bwd])).all()

    def test_a_mask_says_which_is_the_last(self, x):
        y = LastStep(D, 1, dtype="float64")(x, mask=MASK)
        assert (y[:3, :2] == [x[0, 3, :2], x[1, 4, :2], x[2, 4, :2]]).all()
        assert (y[:3, 2] == [x[0, 0, 2], x[1, 1, 2], x[2, 4, 2]]).all()
        assert not y[3].any()

    def test_layouts_agree(self, x):
        layer = LastStep(D, 1, dtype="float64")
        y = layer(x, LENGTHS)
        assert (layer(x.swapaxes(0, 1), LENGTHS, time_major=True) == y).all()
        assert all((layer(x[k], [LENGTHS[k]]) == y[k]).all() for k in range(N))
        assert (layer(x[0]) == layer(x)[0]).all()
        assert not LastStep(D)(np.zeros((2, 0, D), "float32")).any()

    @pytest.mark.parametrize("kind", ["full", "lengths", "mask"])
    @pytest.mark.parametrize("time_major", [False, True])
    def test_gradient(self, x, kind, time_major):
        layer, call = LastStep(D, 1, dtype="float64"), _ragged(kind)
        if time_major:
            x = np.ascontiguousarray(x.swapaxes(0, 1))
            call = {key: value.T for key, value in call.items()}
        dy = np.random.default_rng(1).normal(size=(N, D))
        _, tape = layer.forward(x, **call, time_major=time_major)
        dx, _ = layer.backward(tape, dy)
        quotient = gradient(lambda: float(np.sum(dy * layer(x, **call, time_major=time_major))), x)
        assert relative_error(dx, quotient) <= TOLERANCES["gradient", "float64"]

    def test_in_a_stack(self, backend, x):
        stack = Sequential(
            [
                Bidirectional(GRU(D, H, dtype="float64", seed=0)),
                LastStep(2 * H, H, dtype="float64"),
                Dense(2 * H, 2, "tanh", dtype="float64", seed=1),
                Activation(2, "softmax", dtype="float64"),
            ]
        )
        errors = layer_gradient_errors(stack, x, lengths=LENGTHS)
        assert max(errors.values()) <= TOLERANCES["gradient", "float64"], errors

    def test_errors(self):
        with pytest.raises(ValueError, match=r"reverse_size must lie in 0\.\.3, got 4"):
            LastStep(3, 4)
        with pytest.raises(ValueError, match=r"x must have shape \(N, T, 3\), got \(2, 4, 5\)"):
            LastStep(3)(np.zeros((2, 4, 5), "float32"))
