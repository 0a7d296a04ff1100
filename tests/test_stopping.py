"""fit: what stops a run, and what it leaves behind: patience, limits, numbers that are not finite, Ctrl-C."""

from __future__ import annotations

import signal
import threading
import warnings

import numpy as np
import pytest
from toolkit import Recorder, V, make_model, sequences, train

import fastrnn
from fastrnn import GRU, Callback, Dense, EarlyStopping, Sequential, StopAfter, TrainingWarning
from fastrnn.losses import MeanSquaredError, SoftmaxCrossEntropy
from fastrnn.optim import SGD, Adam


def recurrent() -> GRU:
    return GRU(2, V, seed=0)


def test_early_stopping_goes_back_to_the_best_weights():
    class Spoil(Callback):
        """Better for three epochs, then worse and worse."""

        def after_step(self, run):
            if run.epoch >= 3:
                run.model.params.flat[...] *= 1.5

        def after_epoch(self, run):
            weights[run.epoch - 1] = run.model.params.flat.copy()
            buffers[run.epoch - 1] = {name: a.copy() for name, a in run.model.buffers.items()}

    weights, buffers = {}, {}
    model, history = train(epochs=50, callbacks=[Spoil(), EarlyStopping(patience=4)])
    best = int(np.argmin(history["val_loss"]))
    assert history.best_epoch == best
    assert len(history.epochs) == best + 1 + 4
    assert history.stopped == "val_loss has not become better for 4 epochs"
    assert np.array_equal(model.params.flat, weights[best])
    for name, array in model.buffers.items():
        assert np.array_equal(array, buffers[best][name])
    last, other = train(epochs=50, callbacks=[Spoil(), EarlyStopping(patience=4, restore=False)])
    assert np.array_equal(last.params.flat, weights[len(other.epochs) - 1])


def test_min_delta_is_what_counts_as_better():
    _, history = train(epochs=20, callbacks=[EarlyStopping(patience=3, min_delta=10.0)])
    assert len(history.epochs) == 4
    stopping = EarlyStopping(patience=3, min_delta=10.0)
    for _ in range(2):  # the same object again begins anew
        _, history = train(epochs=20, callbacks=[stopping])
        assert len(history.epochs) == 4


def test_limits_close_the_epoch_early():
    _, history = train(epochs=9, callbacks=[StopAfter(steps=6)])
    assert history.stopped == "6 updates were made"
    assert len(history["val_loss"]) == 2
    _, history = train(epochs=9, callbacks=[StopAfter(seconds=0)])
    assert len(history.epochs) == 1
    with pytest.raises(ValueError, match="either steps or seconds"):
        StopAfter()


class Infinity(Callback):
    """Keeps the weights after the second epoch, and breaks them two steps later."""

    def after_step(self, run):
        if run.step == 8:
            self.kept = run.model.params.flat.copy()
        if run.step == 10:
            run.model.params["3.U"][0, 0] = np.inf


def test_a_diverging_run_stops_with_the_best_weights(backend):
    breaks = Infinity()
    with pytest.warns(TrainingWarning) as caught:
        model, history = train(epochs=9, callbacks=[breaks])
    message = str(caught[0].message)
    assert len(caught) == 1
    assert "training diverged at step 10: the loss is nan" in message
    assert "parameter '3.U' holds numbers that are not finite" in message
    assert f"those after epoch {history.best_epoch}" in message
    assert history.stopped.startswith("diverged at step 10")
    assert len(history.epochs) == 2
    assert history.best_epoch == 1
    assert np.array_equal(model.params.flat, breaks.kept)


def test_a_run_that_diverges_at_once_keeps_what_it_began_with():
    model = recurrent()
    before = model.params.flat.copy()
    x = np.full((4, 3, 2), 1e30, "float32")
    huge = Sequential([Dense(2, 3, seed=0), Dense(3, 1, seed=0)])
    with pytest.warns(TrainingWarning, match="training diverged at step 0: the loss is inf; the largest weight"):
        fastrnn.fit(huge, MeanSquaredError(), SGD(), (x, np.zeros((4, 3, 1), "float32")), progress=False)
    with pytest.warns(TrainingWarning, match="the gradient of parameter 'W' is not finite"):
        fastrnn.fit(model, Poisoned(), SGD(), (x * 0, np.zeros((4, 3), int)), epochs=1, progress=False)
    assert np.array_equal(model.params.flat, before)


@pytest.mark.parametrize("optimizer", [Adam, SGD])
@pytest.mark.parametrize("validation", [None, sequences()], ids=["alone", "validated"])
def test_an_update_that_breaks_the_model_at_the_end_of_an_epoch_is_noticed(backend, optimizer, validation):
    model = recurrent()
    before = model.params.flat.copy()
    with pytest.warns(TrainingWarning) as caught:
        _, history = train(model, optimizer=optimizer(1e39), train=[sequences()], validation=validation)
    assert [str(warning.message) for warning in caught] == [
        "training diverged at step 1: the parameters are not finite; parameter 'W' holds numbers that are not finite. "
        "The model has its best weights, those before training. Lower the learning rate, or clip the gradient"
    ]
    assert caught[0].filename.endswith("toolkit.py")
    assert (history.stopped, len(history)) == ("diverged at step 1: the parameters are not finite", 0)
    assert np.array_equal(model.params.flat, before)


def test_a_diverging_run_has_its_best_weights_where_the_warning_is_an_error():
    model, breaks = make_model(), Infinity()
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingWarning)
        with pytest.raises(TrainingWarning, match="those after epoch 1"):
            train(model, epochs=9, callbacks=[breaks])
    assert np.array_equal(model.params.flat, breaks.kept)


class Poisoned(SoftmaxCrossEntropy):
    """A finite loss with a gradient that is not."""

    def __call__(self, *arguments, **options):
        value, slopes = super().__call__(*arguments, **options)
        return value, slopes * np.float32(np.nan)


def test_no_update_is_made_with_a_gradient_that_is_not_finite():
    model, adam = recurrent(), Adam()
    with pytest.warns(TrainingWarning, match="the gradient's norm is nan"):
        history = train(model, optimizer=adam, callbacks=[Spoiled()])[1]
    assert adam.get_state()["t"] == 2
    assert np.isfinite(model.params.flat).all()
    assert len(history.epochs) == 0


class Spoiled(Callback):
    def after_backward(self, run):
        if run.step == 2:
            run.grads["b"][0] = np.nan


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_validation_that_is_not_finite_is_told_once(backend, value):
    model = recurrent()
    before = model.params.flat.copy()
    measure = {"far": lambda outputs, y, lengths=None, mask=None: (value, None)}
    with pytest.warns(TrainingWarning) as caught:
        _, history = train(
            model, validation=sequences(), metrics=measure, monitor="val_far", callbacks=[EarlyStopping(2)]
        )
    assert [str(warning.message) for warning in caught] == [
        f"val_far is {value} after epoch 0, at step 4: no such epoch is the best. The best weights are those before "
        "training. Look for NaN in the data, or lower the learning rate"
    ]
    assert caught[0].filename.endswith("toolkit.py")
    assert len(history.epochs) == 2
    assert np.array_equal(model.params.flat, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("maximize", [False, True])
def test_an_epoch_whose_measure_is_not_finite_is_never_the_best(value, maximize):
    def far(outputs, y, lengths=None, mask=None):
        values.append(value if not values else 1.0)
        return values[-1], None

    values: list[float] = []
    options = {"metrics": {"far": far}, "monitor": "val_far", "maximize": maximize, "epochs": 9}
    with pytest.warns(TrainingWarning, match="after epoch 0, at step 4: no such epoch is the best"):
        _, history = train(validation=[sequences()], callbacks=[EarlyStopping(2)], **options)
    assert history.best_epoch == 1
    assert len(history.epochs) == 4


def test_ctrl_c_comes_after_a_whole_update():
    class Interrupt(Callback):
        def after_backward(self, run):
            if run.step == 5:
                signal.raise_signal(signal.SIGINT)

    recorder, model, adam = Recorder(), make_model(), Adam(0.01)
    with pytest.raises(KeyboardInterrupt):
        train(model, optimizer=adam, callbacks=[Interrupt(), recorder])
    assert recorder.moments[-2:] == [("step", 6), "interrupted"]
    assert adam.get_state()["t"] == 6
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    whole, same = Adam(0.01), make_model()
    train(same, optimizer=whole, callbacks=[StopAfter(steps=6)])
    assert np.array_equal(model.params.flat, same.params.flat)


@pytest.mark.parametrize("moment", ["validation", "after_epoch"])
def test_ctrl_c_at_the_end_of_the_last_epoch_is_told(moment):
    class Interrupt(Callback):
        def after_epoch(self, run):
            if moment == "after_epoch" and run.epoch == 2:
                signal.raise_signal(signal.SIGINT)

    def interrupting(outputs, targets, lengths=None, *, mask=None):
        if moment == "validation" and recorder.moments[-1] == ("step", 8):
            signal.raise_signal(signal.SIGINT)
        return 0.0, None

    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        train(epochs=2, callbacks=[Interrupt(), recorder], metrics={"interrupting": interrupting})
    assert [name for name, *_ in recorder.moments[-2:-1]] == ["epoch"]
    assert recorder.moments[-1] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_strikes_at_once():
    class Interrupt(Callback):
        def after_backward(self, run):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        train(callbacks=[recorder, Interrupt()])
    assert recorder.moments == ["begin"]  # nobody is told of an update that is half done


def test_a_run_in_another_thread_leaves_signals_alone():
    found = []
    thread = threading.Thread(target=lambda: found.append(train(epochs=1)[1]))
    thread.start()
    thread.join()
    assert len(found[0].epochs) == 1


def test_ctrl_c_in_a_run_within_a_run_comes_after_the_update_of_the_inner_one():
    class Interrupt(Callback):
        def after_backward(self, run):
            if run.step == 5:
                signal.raise_signal(signal.SIGINT)

    class Train(Callback):
        def after_epoch(self, run):
            train(callbacks=[Interrupt(), inner])

    inner, outer = Recorder(), Recorder()
    with pytest.raises(KeyboardInterrupt):
        train(callbacks=[outer, Train()])
    assert inner.moments[-2:] == [("step", 6), "interrupted"]
    assert outer.moments[-1][:2] == ("epoch", 1)  # whose end is half done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
