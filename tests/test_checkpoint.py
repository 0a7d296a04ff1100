"""Checkpoints: a run that goes on from one ends with the same bits as a run without a break."""

from __future__ import annotations

import os
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
from fastrnn.losses import Accuracy, SoftmaxCrossEntropy
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


class Rates:
    """A schedule that goes on by itself."""

    def __init__(self):
        self.asked = 0

    def __call__(self, step):
        self.asked += 1
        return 0.1 / self.asked

    def get_state(self):
        return {"asked": self.asked}

    def set_state(self, state):
        self.asked = state["asked"]


def test_a_schedule_of_ones_own_is_remembered(path):
    whole = train(schedule=Rates())
    with pytest.raises(BreakError):
        train(schedule=Rates(), callbacks=[Checkpoint(path, steps=3), BreakAt(7)])
    same(whole, train(make_model(seed=9), schedule=Rates(), resume=path))


def test_a_schedule_may_be_a_function_of_pythons(path):
    rates = [0.1 / (k + 1) for k in range(16)]
    whole = train(schedule=rates.__getitem__, callbacks=[Checkpoint(path, epochs=3)])
    same(whole, train(make_model(seed=9), schedule=rates.__getitem__, resume=path))


class Memory(Callback):
    """Remembers something, which is nothing at first."""

    def __init__(self, first=None):
        self.kept = {} if first is None else {"first": first}

    def after_epoch(self, run):
        self.kept[f"epoch {run.epoch}"] = run.step

    def get_state(self):
        return self.kept

    def set_state(self, state):
        self.kept = dict(state)


def test_what_a_callback_remembers_may_be_nothing_at_first(path):
    train(epochs=2, callbacks=[Memory(), Checkpoint(path)])
    memory = Memory()
    train(epochs=3, callbacks=[memory], resume=path)
    assert memory.kept == {"epoch 1": 4, "epoch 2": 8, "epoch 3": 12}


@pytest.mark.parametrize(
    "value", [np.array(3.0), np.zeros((0, 2)), np.arange(6)[::2], (1, (2.5, None)), "\ud800"], ids=str
)
def test_what_a_callback_remembers_comes_back(path, value):
    train(epochs=1, callbacks=[Memory(value), Checkpoint(path)])
    memory = Memory()
    train(epochs=1, callbacks=[memory], resume=path)
    found = memory.kept["first"]
    assert type(found) is type(value)
    assert np.shape(found) == np.shape(value) if isinstance(value, np.ndarray) else found == value
    assert not isinstance(value, np.ndarray) or (found.dtype == value.dtype and np.array_equal(found, value))


class Unknown(Dense):
    """A layer that no file can name."""


@pytest.mark.parametrize(
    ("model", "first", "message"),
    [
        (make_model(), {1: "a"}, "^a state must have strings as keys, got 1"),
        (make_model(), {1, 2}, "^a state must be made of numbers, strings, lists, dicts and arrays, got {1, 2}"),
        (make_model(), np.array(["a"]), "^a state must have arrays of numbers, got one of <U1"),
        (Unknown(2, 3, seed=0), None, "^model must be made of fastrnn's layers, or of registered ones, got a Unknown"),
    ],
)
def test_what_no_file_can_hold_is_told_before_any_training(path, model, first, message):
    before = model.params.flat.copy()
    with pytest.raises(TypeError, match=message):
        train(model, callbacks=[Memory(first), Checkpoint(path)])
    assert np.array_equal(model.params.flat, before)
    assert not path.exists()


def test_another_monitor_is_not_resumed(path):
    options = {"metrics": {"accuracy": Accuracy()}, "epochs": 2}
    train(callbacks=[Checkpoint(path)], monitor="val_accuracy", maximize=True, **options)
    message = r"^monitor and maximize must be those of the run that is resumed, best at -0\.\d+ after epoch \d, got '"
    for other in ({}, {"monitor": "val_accuracy"}, {"monitor": "loss"}):
        model = make_model(seed=9)
        before = model.params.flat.copy()
        with pytest.raises(ValueError, match=message):
            train(model, resume=path, **options, **other)
        assert np.array_equal(model.params.flat, before)
    train(resume=path, monitor="val_accuracy", maximize=True, **options)


def test_fewer_batches_are_not_resumed(path):
    x, y, lengths = sequences()
    data = [(x[k : k + 4], y[k : k + 4], lengths[k : k + 4]) for k in range(0, 40, 4)]
    with pytest.raises(BreakError):
        train(train=data, callbacks=[Checkpoint(path, steps=7), BreakAt(8)])
    message = "^train must give the batches of the run that is resumed, at least 7 in epoch 0, gave 3"
    with pytest.raises(ValueError, match=message):
        train(train=data[:3], resume=path)


def state_with(path, change, **options):
    """Write the checkpoint of a run within its second epoch again, its state changed."""
    with pytest.raises(BreakError):
        train(callbacks=[Checkpoint(path, steps=1), BreakAt(7)], **options)
    saved = fastrnn.files.read(path)
    state = fastrnn.files.restored(saved.training, saved.tensors)
    change(state)
    fastrnn.files.write(path, make_model(seed=9), None, state)


@pytest.mark.parametrize("value", [2**63, 10**30, 10**400], ids=["2**63", "10**30", "10**400"])
@pytest.mark.parametrize("key", ["epoch", "step", "done", "epoch_seed", "t"])
def test_numbers_too_large_to_count_are_refused(path, key, value):
    state_with(path, lambda state: (state["optimizer"]["state"] if key == "t" else state).update({key: value}))
    model = make_model()
    before = model.params.flat.copy()
    with pytest.raises(ValueError, match=f"^{key} must be at most .*, got {value} "):
        train(model, resume=path)
    assert np.array_equal(model.params.flat, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update(done=7), "^done must be at most 6, got 7"),
        (lambda state: state["history"].update(values={}), "^the history must have 1 epochs"),
        (lambda state: state["history"].update(best_epoch=1), "^best_epoch must be at most 0, got 1"),
        (lambda state: state["best"].update(epoch=1), "must hold a training's state, got a broken one: IndexError"),
    ],
)
def test_a_state_that_contradicts_itself_is_refused(path, change, message):
    state_with(path, change)
    with pytest.raises(ValueError, match=message):
        train(resume=path)


def test_a_state_without_end_is_refused(path):
    from safetensors.numpy import save_file

    tensors, metadata = fastrnn.files.contents(make_model(), None, None)
    save_file(tensors, path, metadata | {"training": "[" * 900 + "]" * 900})
    with pytest.raises(ValueError, match="must hold a training's state, got a broken one: RecursionError"):
        train(resume=path)


@pytest.mark.parametrize("value", [-1, 625, 2**31 - 1])
@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.Philox])
def test_a_generator_that_would_read_beyond_its_numbers_is_refused(path, bits, value):
    def change(state):
        inner, key = (state["rng"]["state"], "pos") if bits is np.random.MT19937 else (state["rng"], "buffer_pos")
        inner[key] = value

    state_with(path, change, seed=np.random.Generator(bits(3)))
    with pytest.raises(ValueError, match=rf"^the generator's (buffer_)?pos must be at (least|most) \d+, got {value}"):
        train(resume=path, seed=np.random.Generator(bits(3)))


def test_the_file_stays_in_its_folder(tmp_path, monkeypatch):
    class Wander(Callback):
        def after_epoch(self, run):
            os.chdir(tmp_path / "b")

    for name in "ab":
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "a")
    train(epochs=2, callbacks=[Wander(), Checkpoint("run")])
    assert fastrnn.files.read(tmp_path / "a" / "run").training["epoch"] == 2
    assert os.listdir(tmp_path / "b") == []


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
