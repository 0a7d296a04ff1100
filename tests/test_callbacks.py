"""Monitors: what they measure, and what they warn about."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from toolkit import V, make_model, sequences, train

from fastrnn import (
    GRU,
    LSTM,
    ActivationMonitor,
    Bidirectional,
    Callback,
    Dense,
    EarlyStopping,
    GradientMonitor,
    Sequential,
    SimpleRNN,
    StopAfter,
    TrainingWarning,
)


def warned(model, *callbacks, **options) -> list[str]:
    """The messages of a training's warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(model, callbacks=callbacks, **options)
    assert all(issubclass(w.category, TrainingWarning) for w in caught), [str(w.message) for w in caught]
    return [str(w.message) for w in caught]


class Change(Callback):
    """Change a gradient at a step."""

    def __init__(self, name, change, step=3):
        self.name, self.change, self.step = name, change, step

    def after_backward(self, run):
        if run.step >= self.step:
            self.change(run.grads[self.name])


def fill(value):
    return lambda grad: grad.fill(value)


def test_gradients_are_measured_and_a_healthy_run_is_quiet():
    monitor, kept = GradientMonitor(every=3), {}

    class Keep(Callback):
        def after_backward(self, run):
            kept[run.step] = {name: float(np.linalg.norm(grad.astype("float64"))) for name, grad in run.grads.items()}

    model = make_model()
    assert warned(model, monitor, Keep()) == []
    assert set(monitor.norms) == set(model.params)
    for name, norms in monitor.norms.items():
        assert norms == [(step, pytest.approx(kept[step][name], rel=1e-6)) for step in (0, 3, 6, 9, 12, 15)]


@pytest.mark.parametrize(
    ("value", "message"),
    [(0.0, "vanishes"), (1e8, "explodes: clip it"), (np.nan, "is not finite"), (np.inf, "is not finite")],
)
def test_gradients_that_are_ill_are_told_once_with_step_and_parameter(value, message):
    found = warned(make_model(), Change("3.U", fill(value)), GradientMonitor())
    told = [text for text in found if text.startswith("step")]
    assert len(told) == 1
    assert told[0].startswith(f"step 3: the gradient of '3.U' {message}")
    # the run itself ends where a gradient is not finite
    assert len(found) == 1 + (not np.isfinite(value))


def test_activations_are_measured_and_a_healthy_run_is_quiet():
    monitor = ActivationMonitor(every=4)
    assert warned(make_model(), monitor) == []
    assert list(monitor.measured) == ["0", "1", "2", "3", "4"]
    for measured in monitor.measured.values():
        assert [step for step, *_ in measured] == [4, 8, 12, 16]
        assert all(
            0.01 < deviation < 10 and saturated == 0 and dead < 0.1 for _, deviation, saturated, dead in measured
        )


def sick(change) -> Sequential:
    model = Sequential([Bidirectional(LSTM(2, 4, seed=0)), SimpleRNN(8, 5, seed=1), Dense(5, 3, "relu", seed=2)])
    change(model.params)
    return model


def saturate(params):
    params["1.W"][...] = 1e4


def deaden(params):
    params["2.W"][...] = 0
    params["2.b"][...] = -1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (saturate, "the outputs of layer 1, SimpleRNN(8, 5), are saturated"),
        (deaden, "the outputs of layer 2, Dense(5, 3, 'relu'), are zero"),
    ],
)
def test_activations_that_are_ill_are_told_once_with_step_and_layer(change, message):
    found = warned(sick(change), ActivationMonitor(every=2, limit=0.8))
    assert [text for text in found if "layer" in text] == [f"step 2: {message}"]


def test_activations_that_are_not_finite():
    class Break(Callback):
        def after_step(self, run):
            if run.step == 2:
                run.model.params["4.W"][...] = np.nan

    found = warned(make_model(), Break(), ActivationMonitor(every=2))
    assert found[0].startswith("step 2: the outputs of layer 4, Dense(5, 3), are not finite")
    assert "training diverged at step 2" in found[1]


def test_padding_is_not_counted_as_dead():
    monitor = ActivationMonitor(every=1)
    train(callbacks=[monitor], epochs=1)
    assert all(dead == 0 for _, _, _, dead in monitor.measured["0"])


@pytest.mark.parametrize("first", [0, 6])
def test_steps_that_a_mask_skips_are_not_counted(first):
    x, y, _ = sequences()
    mask = np.zeros(y.shape, bool)
    mask[:, first : first + 3] = True
    x[~mask], y[~mask] = np.nan, -1
    x[mask], y[mask] = 1.0, 0
    monitor = ActivationMonitor(every=1)
    model = Sequential([LSTM(2, 4, seed=0), Dense(4, V, seed=1)])
    train(model, callbacks=[monitor], epochs=1, train=[(x, y, None, mask)], validation=None)
    assert all(dead == 0 and np.isfinite(deviation) for _, deviation, _, dead in monitor.measured["0"])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EarlyStopping(0), ValueError, "^patience must be at least 1"),
        (lambda: EarlyStopping(min_delta=-1), ValueError, "^min_delta must lie in"),
        (lambda: EarlyStopping(restore=1), TypeError, "^restore must be True or False"),
        (lambda: StopAfter(steps=0), ValueError, "^steps must be at least 1"),
        (lambda: StopAfter(steps=1, seconds=1), ValueError, "either steps or seconds"),
        (lambda: GradientMonitor(high=0), ValueError, "^high must lie in"),
        (lambda: GradientMonitor(every=0), ValueError, "^every must be at least 1"),
        (lambda: ActivationMonitor(limit=1), ValueError, "^limit must lie in"),
        (lambda: train(GRU(2, 3), callbacks=[ActivationMonitor()]), TypeError, "^ActivationMonitor needs a Sequential"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
