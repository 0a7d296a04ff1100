"""Models of sequences: that they learn on numbers and text, what they give, files, and what they refuse."""

from __future__ import annotations

import enum
import math
import re

import numpy as np
import pytest

import fastrnn
from fastrnn import models
from fastrnn.models import SequenceClassifier, SequenceRegressor, SequenceTagger

GOOD, BAD = "a very good film", "a very bad film"
TEXTS = [GOOD, "good fun", "so good", BAD, "bad , just bad", "so bad"] * 6
LABELS = ["yes", "yes", "yes", "no", "no", "no"] * 6
POOLINGS = ("last", "mean", "max", "attention")


def numbers(N: int = 80, T: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x (N, T, 2) and whether the sum of its first feature is positive."""
    x = np.random.default_rng(seed).normal(size=(N, T, 2)) * [1, 50] + [0, 100]
    return x, (x[:, :, 0].sum(axis=1) > 0).astype(int)


def ragged(x: np.ndarray) -> list[np.ndarray]:
    """Sequences of 3 to T steps."""
    return [row[: 3 + k % (x.shape[1] - 2)] for k, row in enumerate(x)]


def tags(x: np.ndarray) -> np.ndarray:
    """Which steps come before a larger one: a label that depends on the future."""
    return np.concatenate([x[:, 1:, 0] > x[:, :-1, 0], np.zeros((len(x), 1), bool)], axis=1).astype(int)


def make(kind: type, **options: object) -> models.SequenceClassifier:
    return kind(**({"hidden": 8, "epochs": 3, "random_state": 0} | options))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_numbers_are_learned(backend, cell, pooling):
    x, y = numbers()
    model = make(SequenceClassifier, cell=cell, pooling=pooling, epochs=40, learning_rate=0.02).fit(x[:60], y[:60])
    assert model.score(x[60:], y[60:]) >= 0.7
    assert np.array_equal(model.classes_, [0, 1])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_text_is_learned(backend, bidirectional):
    model = make(SequenceClassifier, bidirectional=bidirectional, epochs=20, dropout=0.1, token_dropout=0.05)
    assert model.fit(TEXTS, LABELS).predict([GOOD, BAD, "GOOD", "bad"]).tolist() == ["yes", "no", "yes", "no"]


def test_texts_and_their_tokens_are_the_same():
    split = [text.split() for text in TEXTS]
    one, other = make(SequenceClassifier).fit(TEXTS, LABELS), make(SequenceClassifier).fit(split, LABELS)
    assert np.array_equal(one.model_.params.flat, other.model_.params.flat)


def test_a_tokenizer_of_ones_own():
    model = make(SequenceClassifier, tokenizer=lambda text: text.split(" ")).fit(TEXTS, LABELS)
    assert "," in model._encoder.tokens.to_list()
    chars = make(SequenceClassifier, tokenizer="chars").fit(TEXTS, LABELS)
    assert set(chars._encoder.tokens.to_list()) == set("".join(TEXTS))


def test_rare_and_many_tokens_are_unknown():
    model = make(SequenceClassifier, max_tokens=3).fit(TEXTS, LABELS)
    assert len(model._encoder.tokens) == 3
    kept = make(SequenceClassifier, min_count=10, validation_fraction=0).fit(TEXTS, LABELS)._encoder.tokens.to_list()
    assert set(kept) == {"a", "very", "film", "good", "bad", "so"}


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor, SequenceTagger])
def test_ragged_sequences_do_not_see_each_other(backend, kind):
    x, y = numbers(30)
    sequences = ragged(x)
    targets = [row[: len(s)] for row, s in zip(tags(x), sequences, strict=True)] if kind is SequenceTagger else y
    model = make(kind, validation_fraction=0.0).fit(sequences, targets)
    found = model.predict(sequences)
    for k, sequence in enumerate(sequences):
        alone = model.predict([sequence])[0]
        assert np.allclose(alone, found[k], atol=1e-5)
        if kind is SequenceTagger:
            assert len(alone) == len(sequence)


def test_whole_and_ragged_give_the_same():
    x, y = numbers(20)
    model = make(SequenceClassifier).fit(x, y)
    assert np.allclose(model.predict_proba(x), model.predict_proba(list(x)), atol=1e-6)
    table = make(SequenceClassifier).fit(x[:, :, 0], y)
    deep = make(SequenceClassifier).fit(x[:, :, :1], y)
    assert np.array_equal(table.predict_proba(x[:, :, 0]), deep.predict_proba(x[:, :, :1]))


def test_probabilities(backend):
    x, y = numbers(40)
    model = make(SequenceClassifier).fit(x, y + (x[:, 0, 0] > 1))
    p = model.predict_proba(x)
    assert p.shape == (40, 3) and np.allclose(p.sum(axis=1), 1) and (p >= 0).all()
    assert np.allclose(np.log(p), model.predict_log_proba(x))
    assert np.array_equal(model.classes_[p.argmax(axis=1)], model.predict(x))
    assert model.decision_function(x).shape == (40, 3)


def test_standardizing_uses_training_data_only():
    x, y = numbers(100)
    model = make(SequenceClassifier, validation_fraction=0.5).fit(x, y)
    rng = np.random.default_rng(0)
    held_out = models.sequences.held_out_rows(100, 0.5, rng, y)
    train = np.delete(x, held_out, axis=0).reshape(-1, 2)
    assert np.allclose(model._encoder.scaler.mean_, train.mean(axis=0))


def test_held_out_rows_have_every_class_alike():
    labels = np.repeat([0, 1], [90, 10])
    rows = models.sequences.held_out_rows(100, 0.2, np.random.default_rng(0), labels)
    assert np.bincount(labels[rows]).tolist() == [18, 2]
    assert not len(models.sequences.held_out_rows(5, 0.1, np.random.default_rng(0), labels[:5]))


def test_class_weights_move_the_decision():
    x = np.random.default_rng(0).normal(size=(200, 4, 1))
    y = (x[:, -1, 0] + np.random.default_rng(1).normal(size=200) > 1.8).astype(int)
    found = {}
    for weight in (None, "balanced", {1: 50.0}):
        model = make(SequenceClassifier, epochs=10, class_weight=weight, validation_fraction=0).fit(x, y)
        found[str(weight)] = model.predict(x).mean()
    assert found["None"] < found["balanced"] < found["{1: 50.0}"]


def test_balanced_weights():
    weights = models.targets.class_weights("balanced", np.array(["a", "b"]), np.array([0, 0, 0, 1]))
    assert np.allclose(weights, [4 / 6, 2])


def test_attention_weights(backend):
    x, y = numbers(30)
    sequences = ragged(x)
    model = make(SequenceClassifier, pooling="attention", bidirectional=True).fit(sequences, y)
    weights = model.attention_weights(sequences)
    assert [len(w) for w in weights] == [len(s) for s in sequences]
    assert np.allclose([w.sum() for w in weights], 1, atol=1e-5)
    assert np.ptp(weights[3]) > 0
    with pytest.raises(ValueError, match="pooling='attention', got 'last'"):
        make(SequenceClassifier).fit(x, y).attention_weights(x)


def test_attention_finds_the_step_that_matters():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 8, 2)) * [1, 0]
    at = rng.integers(0, 8, 300)
    x[np.arange(300), at, 1] = 3
    y = (x[np.arange(300), at, 0] > 0).astype(int)
    model = make(SequenceClassifier, pooling="attention", epochs=60, learning_rate=0.01).fit(x, y)
    assert model.score(x, y) > 0.9
    weights = np.array(model.attention_weights(x))
    before = np.arange(8) < at[:, None]  # what is not known there yet cannot help
    assert weights[before].sum() < 0.6 * before.sum() / 8


@pytest.mark.parametrize("columns", [None, 2])
def test_regression(backend, columns):
    x = np.random.default_rng(0).uniform(size=(200, 5))
    total = 1000 + 100 * x.sum(axis=1)
    y = total if columns is None else np.stack([total, -x[:, -1]], axis=1)
    model = make(SequenceRegressor, hidden=16, epochs=60, learning_rate=0.01).fit(x, y)
    assert model.predict(x).shape == y.shape
    assert model.score(x, y) > 0.9
    errors = ((y - model.predict(x)) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    assert math.isclose(model.score(x, y), float(np.mean(1 - errors)), rel_tol=1e-9)


def test_tagger_looks_ahead(backend):
    x, _ = numbers(80)
    y = tags(x)
    model = make(SequenceTagger, hidden=16, epochs=40, learning_rate=0.02).fit(x[:60], y[:60])
    assert model.score(x[60:], y[60:]) > 0.85
    assert model.predict(x).shape == y.shape
    assert [p.shape for p in model.predict_proba(x[:2])] == [(6, 2)] * 2


def test_tagger_of_words():
    words = [["the", "dog", "barks"], ["a", "cat", "sleeps", "now"], ["cats", "sleep"]] * 8
    labels = [["D", "N", "V"], ["D", "N", "V", "A"], ["N", "V"]] * 8
    model = make(SequenceTagger, epochs=40, dropout=0.0, token_dropout=0.0, validation_fraction=0).fit(words, labels)
    assert [tagged.tolist() for tagged in model.predict(words[:3])] == labels[:3]
    report = model.report(words, labels)
    assert report.accuracy == 1 and report["N"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 24}
    assert "precision" in str(report)


def test_a_report_by_hand():
    report = models.tagger.Report(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 2]))
    assert report[0] == {"precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3}
    assert report[1] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert report[2] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert report.accuracy == 0.6


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor, SequenceTagger])
def test_the_same_seed_gives_the_same_model(kind):
    x, y = numbers(40)
    y = tags(x) if kind is SequenceTagger else y
    flats = [make(kind, random_state=seed, dropout=0.2).fit(x, y).model_.params.flat for seed in (1, 1, 2)]
    assert np.array_equal(flats[0], flats[1]) and not np.array_equal(flats[0], flats[2])


def test_early_stopping_keeps_the_best_weights():
    x, y = numbers(60)
    y = np.random.default_rng(3).permutation(y)
    model = make(SequenceClassifier, epochs=60, patience=4, hidden=32, learning_rate=0.02).fit(x, y)
    history = model.history_
    assert len(history["val_loss"]) == history.best_epoch + 5 < 60
    assert history.best_epoch == int(np.argmin(history["val_loss"]))


def test_a_run_that_diverges_keeps_the_best_weights():
    x, y = numbers(40)
    model = make(SequenceRegressor, learning_rate=1e30, clip_norm=None, dtype="float32")
    with pytest.warns(fastrnn.TrainingWarning, match="diverged"):
        model.fit(x, y)
    assert np.isfinite(model.predict(x)).all()


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor, SequenceTagger])
@pytest.mark.parametrize("source", ["numbers", "ragged", "text"])
def test_files(tmp_path, backend, kind, source):
    x, y = numbers(36)
    X = TEXTS if source == "text" else ragged(x) if source == "ragged" else x
    steps = [len(models.vocabulary.words(t)) if source == "text" else len(t) for t in X]
    y = [tags(x)[k, :1].repeat(T) for k, T in enumerate(steps)] if kind is SequenceTagger else y
    model = make(kind, cell_options={"zoneout": 0.1}, dropout=0.1).fit(X, y)
    path = tmp_path / "model.safetensors"
    model.save(path)
    for loaded in (models.load(path), kind.load(path)):
        assert type(loaded) is kind
        expected = model.get_params() | {"random_state": None}
        assert loaded.get_params() == expected
        pairs = zip(loaded.predict(X), model.predict(X), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_labels_of_another_kind_than_those_of_fit_are_not_compared():
    x, y = numbers(30)
    model = make(SequenceClassifier).fit(x, y)
    assert model.score(x, y.astype(float)) == model.score(x, y.astype(bool)) == model.score(x, y)
    tagger = make(SequenceTagger).fit(x, tags(x).astype(str))
    for fitted, labels in ((model, y.astype(str)), (tagger, tags(x))):
        with pytest.raises(ValueError, match=r"^y must hold labels of one kind, like '?0'?, got '?[01]'?$"):
            fitted.score(x, labels)
    regressor = make(SequenceRegressor).fit(x, x[:, 0])
    with pytest.raises(ValueError, match=r"^y must have 2 columns, as in fit, got 1$"):
        regressor.score(x, y)


def test_labels_that_are_members_of_an_enumeration():
    class Verdict(str, enum.Enum):
        GOOD = "splendid"
        BAD = "poor"

    x, y = numbers(30)
    labels = [Verdict.GOOD if one else Verdict.BAD for one in y]
    assert make(SequenceClassifier).fit(x, labels).classes_.tolist() == ["poor", "splendid"]


def test_labels_of_every_kind_come_back_from_a_file(tmp_path):
    x, y = numbers(30)
    for labels in (np.array(["nö", "ja"])[y], y.astype(bool), y + 5, y.astype(np.int8)):
        model = make(SequenceClassifier, class_weight={labels[0].item(): 2.0}).fit(x, labels)
        model.save(tmp_path / "m")
        loaded = SequenceClassifier.load(tmp_path / "m")
        assert loaded.classes_.dtype == model.classes_.dtype and np.array_equal(loaded.predict(x), model.predict(x))
        assert loaded.class_weight == model.class_weight


def test_files_that_do_not_fit(tmp_path):
    x, y = numbers(30)
    model = make(SequenceClassifier).fit(x, y)
    path = tmp_path / "m"
    model.save(path)
    with pytest.raises(ValueError, match="must hold a SequenceTagger, got a SequenceClassifier"):
        SequenceTagger.load(path)
    fastrnn.save(path, model.model_)
    with pytest.raises(ValueError, match="got a bare network"):
        models.load(path)
    extras = model._extras(model._learned() | {"classes": {"$array": [1, 2, 3], "dtype": "<i8"}})
    fastrnn.save(path, model.model_, extras=extras)
    with pytest.raises(ValueError, match="2 classes, the labels are 3"):
        models.load(path)
    fastrnn.save(path, model.model_, extras=extras | {"learned": {}})
    with pytest.raises(ValueError, match="whole SequenceClassifier"):
        models.load(path)
    text = make(SequenceClassifier).fit(TEXTS, LABELS)
    learned = text._learned()
    learned["encoder"]["tokens"].append("more")
    fastrnn.save(path, text.model_, extras=text._extras(learned))
    with pytest.raises(ValueError, match=r"vocabulary has \d+ tokens, which does not fit"):
        models.load(path)
    with pytest.raises(TypeError, match="JSON"):
        make(SequenceClassifier, tokenizer=str.split).fit(TEXTS, LABELS).save(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": "elman"}, "cell"),
        ({"pooling": "sum"}, "pooling"),
        ({"hidden": 0}, "hidden"),
        ({"dropout": 1.0}, "dropout"),
        ({"epochs": 0}, "epochs"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"class_weight": "even"}, "class_weight"),
        ({"class_weight": {7: 1.0}}, "class_weight"),
        ({"token_dropout": 0.5}, "token_dropout"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"cell_options": [1]}, r"cell_options must be a dict of options of LSTM, or None, got \[1\]"),
        ({"cell_options": {"zone": 0.1}}, "cell_options must be options of LSTM, peephole.*, got 'zone'"),
        ({"cell_options": {"dtype": "float64"}}, "cell_options must be options of LSTM.*, got 'dtype'"),
        ({"class_weight": {0: "a"}}, r"class_weight\[0\] must be a number, got 'a'"),
        ({"max_tokens": 1}, "max_tokens must be at least 2, got 1"),
        ({"min_count": 0}, "min_count"),
        ({"random_state": "x"}, "random_state must be an integer of at least 0, a generator or None, got 'x'"),
    ],
)
def test_wrong_parameters(change, message):
    x, y = numbers(20)
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        make(SequenceClassifier, **change).fit(x, y)


def test_bad_data_is_refused_before_any_training():
    x, y = numbers(20)
    holed = x.copy()
    holed[3, 2, 1] = np.nan
    fresh = make(SequenceClassifier)
    for X, labels, message in [
        (x, np.zeros(20, int), "got only one class, 0$"),
        (x, np.full(20, "x"), "got only one class, 'x'$"),
        (holed, y, r"NaN or inf\) at \[3, 2, 1\]"),
        (x, y[:-1], "20 sequences"),
        (x[:0], y[:0], "at least"),
        (["", " "] * 10, y, "tokens"),
        (x[:, 0, 0], y, "shape"),
        (x, y + 0.5, "Unknown label type"),
        (x, y.astype("S"), r"^y must hold labels, strings, integers or bool, got \|S"),
        (x, y.astype("M8[D]"), r"^y must hold labels, .*got datetime64\[D\]"),
        (x, np.ma.masked_equal(y, 1), "^y must have a label everywhere, got masked ones"),
        (np.ma.masked_greater(x, 150.0), y, r"NaN or inf\) at"),
        ([np.zeros((3, 2)), np.zeros((3, 4))] * 10, y, r"X\[1\] must have shape \(T, 2\)"),
        (["a", "b"] * 10, ["a", None] * 10, r"^y must have a label everywhere, got None at \[1\]"),
        (["a", "b"] * 10, ["a", math.nan] * 10, r"^y must have a label everywhere, got nan at \[1\]"),
        (["a", "b"] * 10, ["a", 1] * 10, "^y must hold labels of one kind.*got int, str"),
        (["a", "b"] * 10, [[1], [1, 2]] * 10, r"^y must have shape \(N,\), one label per sequence"),
        ([None, [1.0]] * 10, y, "^X must hold numbers: .*inhomogeneous"),
        ([[[1], [2, 3]], [[1], [2]]] * 10, y, r"^X\[0\] must hold numbers: .*inhomogeneous"),
        (np.array([[1.0, "a"]] * 20, object), y, "^X must hold numbers: could not convert"),
        (x * 1e200, y, "deviation is finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            fresh.fit(X, labels)
    for X, message in [
        ("a text", "one string"),
        (None, "^X must be a list or an array, got None"),
        ([None, "a"], r"^X\[0\] must be a text or a list of tokens like the others, got None"),
        ([[1.0], "a"], r"^X\[0\] must be a text"),
    ]:
        with pytest.raises(TypeError, match=message):
            fresh.fit(X, [1, 0])
    for tokenizer in (iter, lambda text: [len(text)], lambda text: None):
        with pytest.raises(TypeError, match=r"^tokenizer must give a list of strings, got .* for X\[0\]"):
            make(SequenceClassifier, tokenizer=tokenizer).fit(TEXTS, LABELS)
    with pytest.raises(ValueError, match=r"^class_weight must hold numbers of at least 0, one of them above"):
        make(SequenceClassifier, class_weight={0: 0, 1: 0}).fit(x, y)
    assert not hasattr(fresh, "model_")
    with pytest.raises(ValueError, match="y\\[0\\] must have 6 labels"):
        make(SequenceTagger).fit(x, tags(x)[:, :-1])
    with pytest.raises(ValueError, match=r"^y must hold labels of one kind, like 1, got 'a'"):
        make(SequenceTagger).fit([["so"], ["good"]] * 10, [[1], ["a"]] * 10)


def test_what_fails_leaves_the_model_as_it_was():
    x, y = numbers(20)
    model = make(SequenceClassifier).fit(x, y)
    before = model.predict_proba(x)
    with pytest.raises(ValueError, match="one class"):
        model.fit(x, y * 0)
    assert np.array_equal(model.predict_proba(x), before)


def test_other_data_than_in_fit():
    x, y = numbers(20)
    model = make(SequenceClassifier).fit(x, y)
    with pytest.raises(ValueError, match="2 features per step"):
        model.predict(x[:, :, :1])
    with pytest.raises(TypeError, match="must hold numbers"):
        model.predict(TEXTS)
    with pytest.raises(TypeError, match="must hold texts"):
        make(SequenceClassifier).fit(TEXTS, LABELS).predict(x)


def test_empty_texts_among_others(backend):
    model = make(SequenceClassifier).fit([*TEXTS, "", ""], [*LABELS, "no", "yes"])
    assert np.isfinite(model.predict_proba(["", "good", ""])).all()
    assert np.isfinite(model.predict_proba([""])).all()


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceTagger])
def test_only_empty_sequences_may_be_held_out(backend, kind):
    texts = [*["good", "bad", ""] * 4, "good"]
    arrays = [np.full((len(text) // 3, 2), len(text)) for text in texts]
    for X in (texts, arrays):
        steps = [int(text != "") for text in texts]
        labels = [int(text == "good") for text in texts]
        y = labels if kind is SequenceClassifier else [[label] * T for label, T in zip(labels, steps, strict=True)]
        for seed in range(6):
            model = make(kind, hidden=2, epochs=1, random_state=seed).fit(X, y)
            assert np.isfinite(model.history_["loss"]).all()


def test_empty_sequences_do_not_change_the_kind_of_labels():
    texts, y = [*[["a"], ["b"]] * 8, []], [*[[0], [1]] * 8, []]
    model = make(SequenceTagger, epochs=1).fit(texts, y)
    assert model.classes_.dtype == np.int64 and model.classes_.tolist() == [0, 1]
    assert list(model.report(texts, y)) == [0, 1]
    assert make(SequenceTagger, epochs=1).fit(texts, [*[[True], [False]] * 8, []]).classes_.dtype == bool


def test_nothing_but_empty_sequences():
    assert make(SequenceRegressor, epochs=1).fit(["a", "b"] * 8, np.arange(16.0)).predict([]).shape == (0,)
    pair = np.ones((16, 2))
    assert make(SequenceRegressor, epochs=1).fit(["a", "b"] * 8, pair).predict([]).shape == (0, 2)
    assert make(SequenceClassifier, epochs=1).fit(["a", "b"] * 8, [0, 1] * 8).predict([]).shape == (0,)
    tokens = make(SequenceClassifier, epochs=1).fit([["a"], ["b", "c"]] * 8, [0, 1] * 8)
    assert np.array_equal(tokens.predict_proba([[]]), tokens.predict_proba([[], ["a"]])[:1])
    for shape in ((2,), (2, 3)):
        model = make(SequenceClassifier, epochs=1).fit([np.ones(shape), np.ones((1, *shape[1:]))] * 8, [0, 1] * 8)
        expected = model.predict_proba([[], np.ones(shape)])[:1]
        assert np.array_equal(model.predict_proba([np.zeros(0)]), expected)
        assert np.array_equal(model.predict_proba([[]]), expected)


CHANGES = {
    "numbers": {"standardize": False, "dtype": "float64", "max_length": 1},
    "text": {"lowercase": False, "tokenizer": "chars", "dtype": "float64", "max_length": 1},
}


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor, SequenceTagger])
@pytest.mark.parametrize("source", list(CHANGES))
def test_parameters_set_after_fit_wait_for_the_next_fit(tmp_path, backend, kind, source):
    x, y = numbers(18)
    X = TEXTS[:18] if source == "text" else x
    steps = [len(models.vocabulary.words(t)) if source == "text" else len(t) for t in X]
    y = [tags(x)[k, :1].repeat(T) for k, T in enumerate(steps)] if kind is SequenceTagger else y
    options: dict = {"zoneout": 0.1}
    model = make(kind, epochs=1, cell_options=options).fit(X, y)
    before, score = model.predict(X), model.score(X, y)
    options["zoneout"] = 0.2
    model.set_params(**CHANGES[source]).save(tmp_path / "m")
    loaded = models.load(tmp_path / "m")
    for found in (model, loaded):
        assert all(np.array_equal(a, b) for a, b in zip(found.predict(X), before, strict=True))
        assert found.score(X, y) == score
    assert loaded.cell_options == {"zoneout": 0.1} and loaded.dtype == "float32" and loaded.max_length is None
    assert model.dtype == "float64"
    with pytest.raises(ValueError, match="pooling='attention', got 'last'"):
        make(SequenceClassifier, epochs=1).fit(x, y=numbers(18)[1]).set_params(pooling="max").attention_weights(x)


class Frame:
    """A table with names, as those of pandas have them."""

    def __init__(self, values: np.ndarray, columns: tuple[str, ...]):
        self.values, self.columns = values, columns

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return self.values


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor, SequenceTagger])
def test_names_of_columns(tmp_path, kind):
    x, y = numbers(12)[0][:, :2, 0], np.arange(12) % 2
    y = np.stack([y, y], axis=1) if kind is SequenceTagger else y
    model = make(kind, epochs=1).fit(Frame(x, ("a", "b")), y)
    model.save(tmp_path / "m")
    for found in (model, models.load(tmp_path / "m")):
        assert found.feature_names_in_.tolist() == ["a", "b"]
        assert np.array_equal(found.predict(x), found.predict(Frame(x, ("a", "b"))))
        for columns, message in [(("b", "a"), "same order"), (("a", "c"), "unseen at fit time:\n- c\n.*missing:\n- b")]:
            for call in (lambda X, model=found: model.predict(X), lambda X, model=found: model.score(X, y)):
                with pytest.raises(ValueError, match=message):
                    call(Frame(x, columns))
    assert not hasattr(model.fit(x, y), "feature_names_in_")


def test_columns_of_objects():
    """A column of pandas, or an array of objects, is like the list that it holds."""
    column = np.empty(12, object)
    column[:] = [np.arange(2.0 + k % 3) for k in range(12)]
    y = [0, 1] * 6
    one, other = (make(SequenceClassifier, epochs=1).fit(X, y) for X in (column, list(column)))
    assert np.array_equal(one.predict_proba(column), other.predict_proba(list(column)))
    texts = np.array(["a", "b c"] * 6, object)
    assert len(make(SequenceClassifier, epochs=1).fit(texts, y).predict(texts)) == 12
    table = Frame(np.array([[0, 1]] * 12), ("0", "1"))
    assert make(SequenceTagger, epochs=1).fit(np.ones((12, 2)), table).classes_.tolist() == [0, 1]


def test_inputs_are_not_written_to():
    x, y = numbers(20)
    x.setflags(write=False)
    y.setflags(write=False)
    make(SequenceClassifier).fit(x, y).predict(x)


def test_parameters_are_shown_and_set():
    model = SequenceClassifier(hidden=8, cell="gru")
    assert repr(model) == "SequenceClassifier(cell='gru', hidden=8)"
    assert model.set_params(hidden=9).get_params()["hidden"] == 9
    with pytest.raises(ValueError, match="no parameter 'units'"):
        model.set_params(units=3)
    with pytest.raises(ValueError, match="has not been fitted"):
        model.predict(numbers(3)[0])


def test_a_file_with_a_broken_part_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    model = SequenceClassifier(hidden=3, epochs=1, random_state=0).fit(["good", "bad"] * 8, [10, 20] * 8)
    model.save(path)
    extras = fastrnn.load_extras(path)
    for part, broken in (
        ({"learned": {}}, "KeyError"),
        (
            {"learned": {**extras["learned"], "encoder": {"kind": "tokens", "tokens": ["good"]}}},
            "does not fit Embedding",
        ),
        ({"learned": {**extras["learned"], "classes": {"$array": [1e30, 20], "dtype": "<i8"}}}, "OverflowError"),
    ):
        fastrnn.save(path, model.model_, extras={**extras, **part})
        message = f"^{re.escape(repr(str(path)))} must hold a whole SequenceClassifier, got a broken one: .*({broken})"
        with pytest.raises(ValueError, match=message):
            SequenceClassifier.load(path)
