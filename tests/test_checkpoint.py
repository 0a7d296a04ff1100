"""Checkpoints: a run that goes on from one ends with the same bits as a run without a break."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from toolkit import make_model, sequences, train

import fastrnn
from fastrnn import GRU, Callback, Checkpoint, Dense, EarlyStopping, Embedding, Sequential, StopAfter
from fastrnn.data import text_batches
from fastrnn.losses import SoftmaxCrossEntropy
from fastrnn.optim import SGD, Adam, AdamW, RMSprop
from fastrnn.schedules import Cosine, ReduceOnPlateau, Warmup

sys.path.insert(0, str(Path(__file__).parent / "scripts"))

from kill_training import survive


class BreakError(Exception):
    """What stops a run in a test."""


class BreakAt(Callback):
    """Stop a run as an error would, after so many updates."""

    def __init__(self, step: int):
        self.step = step

    def after_step(self, run):
        if run.step == self.step:
            raise BreakError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.safetensors"


def same(a, b) -> None:
    """Assert that two results of `train` have the same bits."""
    (model, history), (other, others) = a, b
    assert np.array_equal(model.params.flat, other.params.flat)
    for name, buffer in model.buffers.items():
        assert np.array_equal(buffer, other.buffers[name])
    assert set(history) == set(others)
    for name in set(history) - {"seconds"}:
        assert history[name] == others[name], name
    assert history.best_epoch == others.best_epoch
    assert history.stopped == others.stopped


OPTIMIZERS = {
    "sgd": lambda: SGD(0.1),
    "nesterov": lambda: SGD(0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda: RMSprop(0.01),
    "adam": lambda: Adam(0.01),
    "adamw": lambda: AdamW(0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_run_has_the_same_bits(backend, path, optimizer):
    """Broken within an epoch, some updates after the checkpoint."""
    make = OPTIMIZERS[optimizer]
    options = {"epochs": 5, "schedule": Cosine(0.02, 20)}
    whole = train(optimizer=make(), **options)
    with pytest.raises(BreakError):
        train(optimizer=make(), callbacks=[Checkpoint(path, steps=3), BreakAt(11)], **options)
    resumed = train(make_model(seed=9), optimizer=make(), resume=path, **options)
    same(whole, resumed)


@pytest.mark.parametrize("bucket", [False, True])
@pytest.mark.parametrize("step", range(1, 13))
def test_wherever_it_was_broken(path, step, bucket):
    options = {"epochs": 3, "bucket": bucket}
    whole = train(**options)
    with pytest.raises(BreakError):
        train(callbacks=[Checkpoint(path, steps=1), BreakAt(step + 1 if step < 12 else 12)], **options)
    same(whole, train(make_model(seed=9), resume=path, **options))


def test_at_the_end_of_an_epoch(path):
    whole = train(epochs=4)
    train(epochs=2, callbacks=[Checkpoint(path)])
    same(whole, train(make_model(seed=9), epochs=4, resume=path))
    train(epochs=3, callbacks=[Checkpoint(path, epochs=2)])
    assert fastrnn.files.read(path).training["epoch"] == 2


def test_early_stopping_and_plateaus_are_remembered(path):
    def options():
        schedule = ReduceOnPlateau(0.5, patience=1)
        return {"epochs": 40, "schedule": schedule, "callbacks": [EarlyStopping(patience=3)], "optimizer": SGD(0.5)}

    whole = train(**options())
    epochs = len(whole[1].epochs)
    assert epochs < 40
    assert len(set(whole[1]["lr"])) > 1
    for step in (4 * epochs - 5, 4 * epochs - 9):
        broken = options()
        broken["callbacks"] += [Checkpoint(path, steps=1), BreakAt(step)]
        with pytest.raises(BreakError):
            train(**broken)
        same(whole, train(make_model(seed=9), resume=path, **options()))


def test_a_run_that_had_stopped_stays_stopped(path):
    options = {"epochs": 40, "optimizer": SGD(5.0)}
    whole = train(callbacks=[EarlyStopping(patience=2), Checkpoint(path)], **options)
    again = train(make_model(seed=9), callbacks=[EarlyStopping(patience=2)], resume=path, **options)
    same(whole, again)


def test_the_order_in_which_callbacks_are_given_makes_no_difference(path):
    options = {"epochs": 3}
    whole = train(callbacks=[EarlyStopping(patience=2)], **options)
    with pytest.raises(BreakError):
        train(callbacks=[Checkpoint(path), EarlyStopping(patience=2), BreakAt(9)], **options)
    resumed = train(make_model(seed=9), callbacks=[EarlyStopping(patience=2)], resume=path, **options)
    same(whole, resumed)


def test_a_carried_state_is_remembered(backend, path):
    codes = np.random.default_rng(0).integers(0, 5, 301)

    def run(**options):
        model = Sequential(
            [Embedding(5, 4, seed=0), GRU(4, 8, seed=1), fastrnn.LSTM(8, 4, seed=2), Dense(4, 5, seed=3)]
        )
        history = fastrnn.fit(
            model,
            SoftmaxCrossEntropy(),
            Adam(0.01),
            text_batches(codes, 3, 10),
            epochs=2,
            progress=False,
            seed=0,
            **options,
        )
        return model, history

    whole = run()
    with pytest.raises(BreakError):
        run(callbacks=[Checkpoint(path, steps=4), BreakAt(6)])
    same(whole, run(resume=path))


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_any_generator_is_remembered(path, bits):
    whole = train(seed=np.random.Generator(bits(3)))
    with pytest.raises(BreakError):
        train(seed=np.random.Generator(bits(3)), callbacks=[Checkpoint(path, steps=3), BreakAt(7)])
    same(whole, train(seed=np.random.Generator(bits(8)), resume=path))
    with pytest.raises(ValueError, match=f"^seed must be a generator of {bits.__name__}"):
        train(resume=path)


def test_ctrl_c_writes_a_checkpoint(path):
    class Interrupt(Callback):
        def after_backward(self, run):
            if run.step == 6:
                signal.raise_signal(signal.SIGINT)

    whole = train()
    with pytest.raises(KeyboardInterrupt):
        train(callbacks=[Interrupt(), Checkpoint(path, epochs=100)])
    assert fastrnn.files.read(path).training["step"] == 7
    same(whole, train(make_model(seed=9), resume=path))


def test_ctrl_c_at_the_end_of_the_last_epoch_writes_a_checkpoint(path):
    class Interrupt(Callback):
        def after_epoch(self, run):
            if run.epoch == 4:
                signal.raise_signal(signal.SIGINT)

    whole = train()
    with pytest.raises(KeyboardInterrupt):
        train(callbacks=[Interrupt(), Checkpoint(path, epochs=100)])
    same(whole, train(make_model(seed=9), resume=path))


def test_a_checkpoint_is_a_model_too(path):
    model, _ = train(epochs=1, callbacks=[Checkpoint(path, extras={"labels": [1, 2]})])
    again = fastrnn.load(path)
    assert np.array_equal(again.params.flat, model.params.flat)
    assert fastrnn.load_extras(path) == {"labels": [1, 2]}
    x, _, lengths = sequences()
    assert np.array_equal(again(x, lengths=lengths)[0], model(x, lengths=lengths)[0])


def test_the_best_weights_of_a_checkpoint(path):
    def run(epochs, *callbacks):
        """Learn for three epochs, and then unlearn."""
        return train(epochs=epochs, schedule=lambda step: 0.01 if step < 12 else 5.0, callbacks=callbacks)

    model, history = run(6, Checkpoint(path))
    assert history.best_epoch < 5
    best, _ = run(history.best_epoch + 1)
    for found, expected in ((fastrnn.load(path, best=True), best), (fastrnn.load(path), model)):
        assert np.array_equal(found.params.flat, expected.params.flat)
        for name, buffer in expected.buffers.items():
            assert np.array_equal(found.buffers[name], buffer)
    fastrnn.save(path, model)
    with pytest.raises(ValueError, match="must be a checkpoint to have best weights"):
        fastrnn.load(path, best=True)
    fastrnn.files.write(path, model, None, {"best": {"params": np.zeros(3), "buffers": dict(model.buffers)}})
    with pytest.raises(ValueError, match="must have as many best weights as the model"):
        fastrnn.load(path, best=True)
    fastrnn.files.write(path, model, None, {"best": {}})
    with pytest.raises(ValueError, match="must hold a training's state"):
        fastrnn.load(path, best=True)


def other_model():
    return Sequential([GRU(2, 5, seed=0), Dense(5, 3, seed=1)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": other_model()}, "must hold a model like"),
        ({"optimizer": SGD()}, "^optimizer must be that of the run that is resumed, Adam, got SGD"),
        ({"optimizer": Adam(0.01, beta1=0.5)}, "^optimizer must have beta1=0.9, as in the run that is resumed"),
        ({"schedule": None}, "^schedule must be that of the run that is resumed, Cosine, got None"),
        ({"schedule": Cosine(0.01, 9)}, "^schedule must have length=20"),
        ({"callbacks": []}, "^callbacks must be those of the run that is resumed"),
    ],
)
def test_another_run_is_not_resumed(path, options, message):
    right = {"schedule": Cosine(0.01, 20), "callbacks": [EarlyStopping()]}
    train(epochs=1, **{**right, "callbacks": [EarlyStopping(), Checkpoint(path)]})
    model = options.pop("model", None) or make_model(seed=9)
    before = model.params.flat.copy()
    with pytest.raises(ValueError, match=message) as error:
        train(model, resume=path, **{**right, **options})
    assert repr(str(path)) in str(error.value)
    assert np.array_equal(model.params.flat, before)


def test_what_follows_a_warmup_is_asked_for_too(path):
    def run(length, *callbacks, **options):
        return train(epochs=1, schedule=Warmup(Cosine(0.01, length), 3), callbacks=callbacks, **options)

    run(20, Checkpoint(path))
    with pytest.raises(ValueError, match=r"^schedule must have after=.*'length': 20"):
        run(21, resume=path)
    assert run(20, resume=path)[1].epochs == range(1)


def test_what_is_no_checkpoint_is_not_resumed(path):
    model = make_model()
    before = model.params.flat.copy()
    fastrnn.save(path, make_model(seed=9))
    with pytest.raises(ValueError, match="must be a checkpoint, got a model without a training"):
        train(model, resume=path)
    train(epochs=1, callbacks=[Checkpoint(path)])
    saved = fastrnn.files.read(path)
    state = fastrnn.files.restored(saved.training, saved.tensors)
    for key in state:
        fastrnn.files.write(path, make_model(seed=9), None, {k: v for k, v in state.items() if k != key})
        with pytest.raises(ValueError, match="must hold a training's state, got a broken one"):
            train(model, resume=path)
    assert np.array_equal(model.params.flat, before)
    fastrnn.files.write(path, make_model(seed=9), None, state)
    train(model, resume=path, epochs=1)
    assert np.array_equal(model.params.flat, make_model(seed=9).params.flat)
    with pytest.raises(FileNotFoundError):
        train(resume=path.with_name("nothing"))


def places(value, before=()):
    """The path of everything in a state."""
    yield before
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*before, key))


@pytest.mark.parametrize("wrong", ["x", None, -1, {}, np.zeros(3)], ids=str)
def test_a_state_that_is_wrong_somewhere_changes_nothing(path, wrong):
    def options():
        return {"callbacks": [EarlyStopping()], "schedule": ReduceOnPlateau(0.01)}

    broken = options()
    broken["callbacks"] += [Checkpoint(path, steps=1), BreakAt(6)]
    with pytest.raises(BreakError):
        train(**broken)
    saved, refused = fastrnn.files.read(path), 0
    for place in list(places(saved.training))[1:]:
        if place[0] == "carried":  # which the model's forward pass checks
            continue
        state = fastrnn.files.restored(saved.training, saved.tensors)
        inner = state
        for key in place[:-1]:
            inner = inner[key]
        if isinstance(inner, np.ndarray):  # within the mark that stands for an array
            continue
        inner[place[-1]] = wrong
        fastrnn.files.write(path, make_model(seed=9), None, state)
        model = make_model()
        before = model.params.flat.copy()
        try:
            train(model, resume=path, epochs=1, **options())
        except ValueError:
            refused += 1
            assert np.array_equal(model.params.flat, before), place
    assert refused > 20


@pytest.mark.parametrize("every", [{"epochs": 1}, {"steps": 5}, {"steps": 4}], ids=str)
def test_a_run_that_had_reached_its_limit_makes_no_other_update(backend, path, every):
    """Stopped within an epoch of four updates, which is closed once more where the file is from before its end."""

    def run(model=None, **options):
        return train(model, epochs=None, callbacks=[StopAfter(steps=10), Checkpoint(path, **every)], **options)

    whole = run()
    assert len(whole[1].epochs) == 3
    same(whole, run(make_model(seed=9), resume=path))


def test_other_measures_are_not_resumed(path):
    train(epochs=1, callbacks=[Checkpoint(path)], validation=None)
    model = make_model(seed=9)
    before = model.params.flat.copy()
    message = "^validation and metrics must be those .* which measured loss, grad_norm, lr, seconds, got .*val_loss"
    with pytest.raises(ValueError, match=message):
        train(model, resume=path)
    assert np.array_equal(model.params.flat, before)


def test_what_cannot_be_written_is_told_before_any_training(tmp_path):
    model = make_model()
    before = model.params.flat.copy()
    for place, error, message in (
        (tmp_path / "nowhere" / "run", FileNotFoundError, "there is no folder"),
        (tmp_path, IsADirectoryError, "it is a folder"),
    ):
        with pytest.raises(error, match=f"^cannot write to {re.escape(repr(str(place)))}: {message}"):
            train(model, callbacks=[Checkpoint(place)])
    assert np.array_equal(model.params.flat, before)


def test_limits_do_not_outlive_a_run(path):
    train(epochs=3, callbacks=[StopAfter(steps=4), Checkpoint(path)])
    _, history = train(make_model(seed=9), epochs=3, resume=path)
    assert len(history.epochs) == 3


def test_sigkill_never_loses_the_last_checkpoint(tmp_path):
    struck, steps = survive(tmp_path, kills=4, seed=1)
    assert struck
    assert steps


@pytest.mark.parametrize("options", [{"steps": 0}, {"epochs": 0}])
def test_errors(options):
    with pytest.raises(ValueError, match="must be at least 1"):
        Checkpoint("x", **options)
    with pytest.raises(TypeError, match=r"^extras must be what JSON can hold"):
        Checkpoint("x", extras={1, 2})
    with pytest.raises(TypeError, match=r"^path must be a path, a string or a pathlib\.Path, got 3"):
        Checkpoint(3)
