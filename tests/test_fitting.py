"""fit: that models learn, what is measured, and what it refuses."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from toolkit import Recorder, V, make_model, sequences, train

import fastrnn
from fastrnn import (
    GRU,
    LSTM,
    AttentionLSTM,
    Bidirectional,
    Callback,
    Dense,
    Dropout,
    EarlyStopping,
    Embedding,
    LastStep,
    Sequential,
    SimpleRNN,
    StopAfter,
)
from fastrnn.data import Batch, batches, text_batches
from fastrnn.losses import Accuracy, BinaryCrossEntropy, MeanSquaredError, SoftmaxCrossEntropy
from fastrnn.optim import SGD, Adam, AdamW, RMSprop, clip_by_norm, clip_by_value
from fastrnn.schedules import Cosine, InverseTime, ReduceOnPlateau, Warmup
from fastrnn.training import evaluate, loss_and_gradient

MODELS = {
    "sequential": lambda: make_model(),
    "bidirectional": lambda: Sequential([Bidirectional(SimpleRNN(2, 6, seed=0)), Dense(12, V, seed=1)]),
    "dense": lambda: Dense(2, V, seed=0),
    "recurrent": lambda: GRU(2, V, seed=0),
}
POOLING = {
    "attention": lambda: Sequential([AttentionLSTM(2, 8, 4, seed=0), Dense(8, 1, seed=1)]),
    "last step": lambda: Sequential([LSTM(2, 8, seed=0), LastStep(8), Dense(8, 1, seed=1)]),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_learns_labels_of_steps(backend, name):
    _, history = train(MODELS[name](), epochs=12, optimizer=Adam(0.03), metrics={"accuracy": Accuracy()})
    assert len(history["loss"]) == 12
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    assert history["val_accuracy"][-1] > 0.45


@pytest.mark.parametrize("name", POOLING)
def test_models_that_answer_once_for_a_sequence(backend, name):
    x, _, lengths = sequences(80)
    total = np.array([row[:n, 0].sum() for row, n in zip(x, lengths, strict=True)])
    y = (total > 0).astype(int)[:, None]
    model = POOLING[name]()
    data = (x[:60], y[:60], lengths[:60])
    history = fastrnn.fit(
        model,
        BinaryCrossEntropy(),
        Adam(0.02),
        data,
        data,
        epochs=30,
        metrics={"accuracy": Accuracy()},
        progress=False,
        seed=0,
    )
    assert history["val_accuracy"][-1] > 0.85
    assert math.isfinite(history["loss"][0])


def test_one_update_is_the_one_made_by_hand(backend):
    x, y, lengths = sequences(8)
    for options in ({"clip_norm": 0.05}, {"clip_value": 0.01}, {"clip_norm": 0.05, "clip_value": 0.01}, {}):
        model, other = MODELS["recurrent"](), MODELS["recurrent"]()
        data = [Batch(x, y, lengths)]
        history = fastrnn.fit(model, SoftmaxCrossEntropy(), SGD(0.5), data, epochs=1, progress=False, **options)
        found = loss_and_gradient(other, SoftmaxCrossEntropy(), data[0])
        norm = float(np.sqrt(np.sum(found.grads.flat.astype("float64") ** 2)))
        assert norm > 0.05
        if "clip_value" in options:
            clip_by_value(found.grads, 0.01)
        if "clip_norm" in options:
            clip_by_norm(found.grads, 0.05)
        SGD(0.5).update(other.params, found.grads)
        assert np.allclose(model.params.flat, other.params.flat, rtol=1e-6, atol=0)
        assert history["loss"] == [found.value]
        assert history["grad_norm"] == [pytest.approx(norm, rel=1e-6)]


def test_the_epochs_loss_is_a_mean_over_valid_steps():
    x, y, lengths = sequences()
    model = MODELS["recurrent"]()
    expected = SoftmaxCrossEntropy()(model(x, lengths=lengths)[0], y, lengths)[0]
    data = (x, y, lengths)
    history = fastrnn.fit(model, SoftmaxCrossEntropy(), SGD(0.0), data, data, epochs=1, batch_size=7, progress=False)
    assert history["loss"][0] == pytest.approx(expected, rel=1e-6)
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-6)


def test_moments_come_in_order():
    recorder = Recorder()
    _, history = train(epochs=2, callbacks=[recorder])
    steps = [("step", k) for k in range(1, 9)]
    epochs = [("epoch", k + 1, history["loss"][k]) for k in range(2)]
    assert recorder.moments == ["begin", *steps[:4], epochs[0], *steps[4:], epochs[1], "end"]
    assert history.stopped == "all epochs were made"
    assert set(history) == {"loss", "val_loss", "grad_norm", "lr", "seconds"}


def test_a_seed_makes_the_run(backend):
    (a, first), (b, second), (c, _) = train(), train(), train(seed=6)
    assert np.array_equal(a.params.flat, b.params.flat)
    assert first["loss"] == second["loss"]
    assert not np.array_equal(a.params.flat, c.params.flat)
    generator, _ = train(seed=np.random.default_rng(5))
    assert np.array_equal(a.params.flat, generator.params.flat)


@pytest.mark.parametrize(
    "optimizer",
    [SGD(0.1, momentum=0.9, nesterov=True), RMSprop(), Adam(), AdamW()],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_schedules_go_with_every_optimizer(optimizer):
    recorder = Recorder()
    train(epochs=3, optimizer=optimizer, schedule=InverseTime(0.01, 1.0), callbacks=[recorder])
    assert recorder.rates == [0.01] * 4 + [0.005] * 4 + [0.01 / 3] * 4
    recorder, schedule = Recorder(), Warmup(Cosine(0.01, 10), 2)
    _, history = train(epochs=3, optimizer=optimizer, schedule=schedule, callbacks=[recorder])
    assert recorder.rates == [schedule(t) for t in range(12)]
    assert history["lr"] == [schedule(t) for t in (3, 7, 11)]
    recorder = Recorder()
    train(epochs=1, optimizer=optimizer, schedule=lambda t: 0.5 / (t + 1), callbacks=[recorder])
    assert recorder.rates == [0.5, 0.25, 0.5 / 3, 0.125]


def test_a_plateau_is_told_what_is_monitored():
    schedule = ReduceOnPlateau(0.0, factor=0.5, patience=2)
    told = []
    schedule.observe = lambda value: told.append(value)
    _, history = train(epochs=3, schedule=schedule)
    assert told == history["val_loss"]


def test_a_metric_can_say_what_is_best():
    options = {"metrics": {"accuracy": Accuracy()}, "monitor": "val_accuracy", "maximize": True, "epochs": 8}
    _, history = train(optimizer=Adam(0.05), **options)
    assert history.best_epoch == int(np.argmax(history["val_accuracy"]))
    _, history = train(validation=None)
    assert history.best_epoch == int(np.argmin(history["loss"]))


def test_validation_must_have_a_valid_target(backend):
    x, y, lengths = sequences()
    for nothing in ((x, y, 0 * lengths), lambda rng: iter(())):
        with pytest.raises(ValueError, match=r"^validation must give at least one valid target, gave none in epoch 0"):
            train(validation=nothing)


def test_batches_of_ones_own(backend):
    x, y, lengths = sequences()
    parts = [(x[k : k + 10], y[k : k + 10], lengths[k : k + 10]) for k in (0, 10, 20)]

    def shuffled(rng):
        return (parts[k] for k in rng.permutation(3))

    for source in (parts, shuffled, batches(x, y, lengths, size=10)):
        _, history = train(MODELS["recurrent"](), train=source)
        assert history["loss"][-1] < history["loss"][0]
    recorder = Recorder()
    train(MODELS["recurrent"](), train=shuffled, callbacks=[recorder])
    orders = [[int(b.lengths[0]) for b in recorder.batches[k : k + 3]] for k in (0, 3, 6, 9)]
    assert len(set(map(tuple, orders))) > 1


def test_lists_of_unequal_length():
    x, y, lengths = sequences()
    lists = [[a[:n] for a, n in zip(array, lengths, strict=True)] for array in (x, y)]
    found = [
        fastrnn.fit(
            MODELS["recurrent"](), SoftmaxCrossEntropy(), Adam(0.01), data, data, epochs=3, progress=False, seed=0
        )
        for data in ((x, y, lengths), tuple(lists))
    ]
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], rel=1e-6)


@pytest.mark.parametrize("name", ["dense", "recurrent", "sequential"])
def test_holes_in_sequences_are_skipped(name):
    x, y, lengths = sequences()
    mask = np.arange(9) < lengths[:, None]
    by_mask, by_lengths = MODELS[name](), MODELS[name]()
    for model, batch in ((by_mask, Batch(x, y, mask=mask)), (by_lengths, Batch(x, y, lengths))):
        fastrnn.fit(model, SoftmaxCrossEntropy(), SGD(0.1), [batch], epochs=2, progress=False, seed=0)
    assert np.allclose(by_mask.params.flat, by_lengths.params.flat, rtol=1e-5, atol=1e-7)
    assert not np.array_equal(by_mask.params.flat, MODELS[name]().params.flat)


def test_a_state_is_carried_where_batches_say_so(backend):
    """Learned by heart: symbols whose successors are clear only from further back than a window."""
    codes = np.tile([0, 1, 1, 2], 60)
    losses = {}
    for carry in (True, False):
        model = Sequential([Embedding(3, 4, seed=0), GRU(4, 8, seed=1), Dense(8, 3, seed=2)])
        data = [b._replace(carry=b.carry and carry) for b in text_batches(codes, 2, 1)]
        losses[carry] = fastrnn.fit(model, SoftmaxCrossEntropy(), Adam(0.02), data, data, epochs=4, progress=False)[
            "val_loss"
        ][-1]
    assert losses[True] < 0.2 < 0.34 < losses[False]


def test_evaluation_does_not_depend_on_the_batches():
    x, y, lengths = sequences()
    model, measures = make_model(), {"loss": SoftmaxCrossEntropy(), "accuracy": Accuracy()}
    whole = evaluate(model, measures, [(x, y, lengths)])
    for size in (1, 7, 40):
        found = evaluate(model, measures, batches(x, y, lengths, size=size, bucket=True))
        assert found == pytest.approx(whole, rel=1e-6)
    assert all(map(math.isnan, evaluate(model, measures, []).values()))
    rows = evaluate(
        model, {"rows": lambda outputs, y, **_: (float(len(y)), None)}, [(x[:30], y[:30]), (x[:10], y[:10])]
    )
    assert rows["rows"] == (30 * 30 + 10 * 10) / 40
    with pytest.raises(TypeError, match=r"^measure 'half' must give a tuple \(value, gradient\), got 0.5"):
        evaluate(model, {"half": lambda outputs, y, **_: 0.5}, [(x, y, lengths)])


class Slow(Callback):
    def begin(self, run):
        time.sleep(0.15)

    def after_step(self, run):
        time.sleep(0.05)


def test_progress_says_where_the_run_is(capsys):
    train(epochs=3, progress=True)
    bar = capsys.readouterr().err
    for word in ("epoch 3/3: 100%", "12/12", "loss ", "val_loss ", "steps/s"):
        assert word in bar
    train(epochs=None, callbacks=[Slow(), StopAfter(seconds=0.2), Slow()], progress=True)
    assert re.search(r"epoch \d+: 100%\|.*\| 0/0.2 s, loss ", capsys.readouterr().err)
    train(epochs=None, callbacks=[StopAfter(steps=7)], progress=True)
    assert "epoch 2: 100%" in (bar := capsys.readouterr().err) and "7/7" in bar
    train(epochs=50, callbacks=[EarlyStopping(1, min_delta=9.0)], progress=True)
    assert re.search(r"loss .*steps/s; val_loss has not become better for 1 epochs", capsys.readouterr().err)
    train(epochs=1, progress=False)
    assert capsys.readouterr() == ("", "")


def test_progress_without_a_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert train(epochs=1, progress=True)[1].epochs == range(1)


def test_batches_that_have_no_length(capsys):
    class Stream:
        """As a loader over a stream is."""

        def __len__(self):
            raise TypeError("there is no length")

        def __iter__(self):
            return iter([sequences()])

    _, history = train(train=Stream(), validation=Stream(), epochs=2, progress=True)
    assert history.epochs == range(2)
    assert "epoch 2/2: 2update" in capsys.readouterr().err


def test_nothing_of_the_callers_is_written_to():
    x, y, lengths = sequences()
    copies = [a.copy() for a in (x, y, lengths)]
    for a in (x, y, lengths):
        a.flags.writeable = False
    fastrnn.fit(
        make_model(), SoftmaxCrossEntropy(), Adam(), (x, y, lengths), (x, y, lengths), epochs=1, progress=False, seed=0
    )
    for a, b in zip((x, y, lengths), copies, strict=True):
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def test_dropout_is_the_seeds_and_nothing_is_dropped_in_validation():
    x, y, lengths = sequences()
    model = Sequential([GRU(2, 8, seed=0), Dropout(0.5), Dense(8, V, seed=1)])
    still = fastrnn.fit(
        model, SoftmaxCrossEntropy(), SGD(0.0), (x, y, lengths), (x, y, lengths), epochs=3, progress=False, seed=0
    )
    assert len(set(still["val_loss"])) == 1
    assert len(set(still["loss"])) == 3


def test_memory_can_be_saved(compiled):
    saved, plain = train(checkpoint=2), train()
    assert saved[1]["loss"] == plain[1]["loss"]
    assert np.array_equal(saved[0].params.flat, plain[0].params.flat)
    with pytest.raises(TypeError, match=r"^checkpoint must be False for a layer without a state, Dense\(2, 3\), got"):
        train(Dense(2, V), checkpoint=True)


def generator():
    yield from ()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "^epochs must be at least 1"),
        ({"clip_norm": 0}, ValueError, "^clip_norm must lie in"),
        ({"clip_value": "1"}, TypeError, "^clip_value must be a number"),
        ({"optimizer": 0.1}, TypeError, "^optimizer must be one of fastrnn.optim, got 0.1"),
        ({"callbacks": [print]}, TypeError, r"^callbacks\[0\] must be a Callback"),
        ({"monitor": "accuracy"}, ValueError, "^monitor must be one of loss, val_loss, got 'accuracy'"),
        ({"monitor": "val_loss", "validation": None}, ValueError, "^monitor must be one of loss, got 'val_loss'"),
        (
            {"metrics": {"a": Accuracy()}, "validation": None},
            ValueError,
            "^metrics must go with validation data, got a",
        ),
        ({"train": generator()}, TypeError, "^train must give batches in every epoch: pass a list or a function"),
        ({"validation": generator()}, TypeError, "^validation must give batches in every epoch"),
        ({"train": []}, ValueError, "^train must give at least one batch in every epoch, got an empty list"),
        (
            {"train": lambda rng: iter(())},
            ValueError,
            "^train must give at least one batch in every epoch, gave none in epoch 0",
        ),
        ({"validation": []}, ValueError, "^validation must give at least one batch in every epoch, got an empty list"),
        ({"train": [1]}, TypeError, "^a batch must be a tuple"),
        ({"train": 5}, TypeError, r"^train must be a tuple \(x, y\), or give batches, got int"),
        ({"train": (1,)}, ValueError, r"^train must be \(x, y\) or \(x, y, lengths\)"),
        ({"validation": ([], [])}, ValueError, r"^x must have at least one row, got none \(validation\)"),
        ({"train": (np.ones((3, 2, 2)), np.ones(3), 2.5)}, TypeError, r"^lengths must hold integers.* \(train\)"),
        ({"train": (np.ones((3, 2, 2), "f"), np.ones(2, int))}, ValueError, "^y must have as many rows as x, 3, got 2"),
        ({"train": (np.ones((3, 2, 7), "f"), np.ones((3, 2), int))}, ValueError, r"^x must have shape \(N, T, 2\)"),
        ({"seed": "x"}, TypeError, "^seed must be an integer"),
        ({"schedule": 0.1}, TypeError, "^schedule must be a Schedule or a function of the number of updates, got 0.1"),
        ({"schedule": Cosine}, TypeError, "^schedule must be a Schedule or a function"),
        ({"callbacks": EarlyStopping()}, TypeError, "^callbacks must be a sequence of Callback, got <"),
        ({"metrics": [Accuracy()]}, TypeError, "^metrics must be a mapping from names to what to measure, got"),
        ({"metrics": {"a": Accuracy}}, TypeError, r"^metrics\['a'\] must be one of fastrnn.losses, or a function, got"),
        (
            {"metrics": {"loss": Accuracy()}},
            ValueError,
            "^metrics must have strings as names, other than 'loss', got 'l",
        ),
        ({"metrics": {3: Accuracy()}}, ValueError, "^metrics must have strings as names, other than 'loss', got 3"),
        ({"batch_size": 0}, ValueError, "^batch_size must be at least 1, got 0"),
        ({"maximize": "no"}, TypeError, "^maximize must be True or False, got 'no'"),
        ({"progress": "no"}, TypeError, "^progress must be True or False, got 'no'"),
        ({"checkpoint": "yes"}, TypeError, "^checkpoint must be an integer, got 'yes'"),
        ({"checkpoint": -1}, ValueError, "^checkpoint must be at least 0, got -1"),
        ({"resume": 3}, TypeError, "^resume must be a path, a string or a pathlib.Path, got 3"),
    ],
)
def test_errors_leave_the_model_alone(options, error, message):
    model = make_model()
    before = model.params.flat.copy()
    with pytest.raises(error, match=message):
        train(model, **options)
    assert np.array_equal(model.params.flat, before)


@pytest.mark.parametrize(
    ("model", "loss", "message"),
    [
        (None, MeanSquaredError(), "^model must be a layer, got None"),
        (Dense, MeanSquaredError(), "^model must be a layer, got <class"),
        (Dense(1, 1), None, "^loss must be one of fastrnn.losses, or a function, got None"),
        (Dense(1, 1), MeanSquaredError, "^loss must be one of fastrnn.losses, or a function, got <class"),
        (Dense(1, 1), lambda outputs, targets: 0.5, r"^loss must give a tuple \(value, gradient\), got 0.5"),
    ],
)
def test_errors_of_model_and_loss(model, loss, message):
    x = np.ones((2, 1), "float32")
    with pytest.raises(TypeError, match=message):
        fastrnn.fit(model, loss, SGD(), (x, x), progress=False)


def test_callbacks_from_a_generator_are_told():
    recorder = Recorder()
    train(epochs=1, callbacks=(callback for callback in [recorder]))
    assert recorder.moments[-1] == "end"


def test_the_import_stays_light():
    code = "import sys, fastrnn; print([m for m in ('tqdm', 'safetensors', 'matplotlib') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
