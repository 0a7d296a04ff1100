"""LanguageModel: that it learns, judges and writes, with vocabulary, files and checkpoints; and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastrnn
from fastrnn import LSTM, Dense, Dropout, Embedding, Tied, models
from fastrnn.models import LanguageModel
from fastrnn.models.sampling import Sampler
from fastrnn.models.vocabulary import Tokens, joined, words

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 60
SMALL = {"hidden": 16, "embedding": 8, "batch_size": 4, "steps": 16, "epochs": 2, "random_state": 0}


def make(**options: object) -> LanguageModel:
    return LanguageModel(**(SMALL | options))


@pytest.mark.parametrize("level", ["char", "word"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_text_is_learned(backend, level, tied):
    model = make(level=level, tied=tied, hidden=32, epochs=40, learning_rate=0.01).fit(TEXT)
    assert model.perplexity(TEXT) < 1.5
    assert model.generate("the quick", 5, temperature=0) == " brow" if level == "char" else " brown fox jumps over the"
    assert isinstance(model.model_, Tied) is tied


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_layers_and_dropout(backend, cell):
    model = make(cell=cell, layers=2, dropout=0.2, tied=True, level="word").fit(TEXT)
    assert len(model.history_["val_loss"]) == 2
    assert len(model.generate("the fox", 4, seed=0).split()) >= 1


def test_perplexity_is_that_of_the_models_probabilities(backend):
    model = make().fit(TEXT)
    codes = model.vocabulary_.encode(TEXT[:300])
    logits = model.model_(codes[None, :-1])[0][0].astype(np.float64)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    expected = -np.log(p[np.arange(299), codes[1:]]).mean()
    assert math.isclose(model.loss(TEXT[:300]), expected, rel_tol=1e-5)
    assert math.isclose(model.perplexity(TEXT[:300]), math.exp(expected), rel_tol=1e-5)
    assert model.score(TEXT[:300]) == -model.loss(TEXT[:300])
    model.model_.params.flat[...] *= 1e6  # as wrong as a training that diverges leaves it
    assert model.loss(TEXT[:300]) > 1000 and model.perplexity(TEXT[:300]) == math.inf


@pytest.mark.parametrize("tied", [False, True])
def test_greedy_text_is_the_models_own(backend, tied):
    model = make(tied=tied).fit(TEXT)
    codes = list(model.vocabulary_.encode("the "))
    for _ in range(6):
        codes.append(int(model.model_(np.array([codes]))[0][0, -1].argmax()))
    assert model.generate("the ", 6, temperature=0) == model.vocabulary_.decode(codes[4:])


def test_streaming_and_seeds():
    model = make().fit(TEXT)
    pieces = list(model.stream("the ", 20, seed=3))
    assert len(pieces) == 20 and "".join(pieces) == model.generate("the ", 20, seed=3)
    assert model.generate("the ", 20, seed=3) != model.generate("the ", 20, seed=4)
    endless = model.stream("the ")
    assert len([next(endless) for _ in range(50)]) == 50
    assert len(model.generate("", 5, seed=0)) == 5 and model.generate("a", 0) == ""


def test_unknown_words_are_read_and_never_written(backend):
    rare = TEXT + " ".join(f"w{k}" for k in range(200))
    model = make(level="word", epochs=1, validation_fraction=0).fit(rare)
    assert "w7" not in model.vocabulary_.to_list()
    assert math.isfinite(model.perplexity("the zebra jumps over the w7"))
    written = model.generate("the zebra", 300, temperature=5.0, seed=0)
    assert "<unk>" not in written and set(words(written)) <= set(model.vocabulary_.to_list())


def test_sampling_follows_the_probabilities():
    p = np.array([0.1, 0.4, 0.3, 0.15, 0.05])
    rng = np.random.default_rng(0)

    def shares(sampler: Sampler) -> np.ndarray:
        draws = [sampler.draw(np.log(p), rng) for _ in range(4000)]
        return np.bincount(draws, minlength=5) / 4000

    assert np.abs(shares(Sampler()) - p).max() < 0.03
    assert np.abs(shares(Sampler(top_k=2)) - np.array([0, 4, 3, 0, 0]) / 7).max() < 0.03
    assert np.abs(shares(Sampler(top_p=0.8)) - np.array([0, 40, 30, 15, 0]) / 85).max() < 0.03
    assert np.abs(shares(Sampler(top_p=0.4)) - np.array([0, 1, 0, 0, 0])).max() == 0
    assert np.abs(shares(Sampler(temperature=0.5)) - p**2 / (p**2).sum()).max() < 0.03
    assert shares(Sampler(temperature=0))[1] == 1
    assert shares(Sampler(temperature=1e-310))[1] == 1
    assert shares(Sampler(top_k=3, top_p=0.5))[[0, 3, 4]].max() == 0


@pytest.mark.parametrize("options", [{"temperature": -1}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_wrong_sampling(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        make().fit(TEXT).stream("a", 3, **options)


@pytest.mark.parametrize("level", ["char", "word"])
@pytest.mark.parametrize("tied", [False, True])
def test_files(tmp_path, backend, level, tied):
    model = make(level=level, tied=tied, dropout=0.1).fit(TEXT)
    model.save(tmp_path / "m")
    loaded = models.load(tmp_path / "m")
    assert loaded.generate("the ", 30, seed=1) == model.generate("the ", 30, seed=1)
    assert loaded.perplexity(TEXT[:200]) == model.perplexity(TEXT[:200])
    bare = fastrnn.load(tmp_path / "m")
    assert np.array_equal(bare.params.flat, model.model_.params.flat)


@pytest.mark.parametrize(("level", "other"), [("char", "word"), ("word", "char")])
def test_parameters_set_after_fit_wait_for_the_next_fit(tmp_path, level, other):
    model = make(level=level).fit(TEXT)
    written, nats = model.generate("the ", 10, seed=1), model.loss(TEXT[:200])
    model.set_params(level=other, dtype="float64").save(tmp_path / "m")
    for found in (model, models.load(tmp_path / "m")):
        assert found.generate("the ", 10, seed=1) == written and found.loss(TEXT[:200]) == nats
    assert (model.level, models.load(tmp_path / "m").level) == (other, level)


def test_halves_of_surrogate_pairs_come_back_from_a_file(tmp_path):
    text = "ab\udc00 \ud800 \U00010000" * 20
    model = make().fit(text)
    model.save(tmp_path / "m")
    assert (
        models.load(tmp_path / "m").vocabulary_.characters
        == model.vocabulary_.characters
        == " ab\ud800\udc00\U00010000"
    )
    assert make().fit("abc " * 30)._learned() == {"characters": " abc"}


def test_a_vocabulary_that_does_not_fit(tmp_path):
    model = make().fit(TEXT)
    fastrnn.save(tmp_path / "m", model.model_, extras=model._extras({"characters": "abc"}))
    with pytest.raises(ValueError, match="3 tokens and a network with outputs for"):
        models.load(tmp_path / "m")


def test_checkpoints_are_models_and_resume_with_the_same_bits(tmp_path):
    path = tmp_path / "checkpoint"
    whole = make(epochs=4, dropout=0.1, patience=9).fit(TEXT)

    class Interrupt(fastrnn.Callback):
        def after_epoch(self, run):
            if run.epoch == 2:
                raise KeyboardInterrupt

    class Late(Interrupt):
        is_last = True

    with pytest.raises(KeyboardInterrupt):
        make(epochs=4, dropout=0.1, patience=9).fit(TEXT, callbacks=[Late()], checkpoint=path)
    assert len(models.load(path).generate("the", 5, seed=0)) == 5
    resumed = make(epochs=4, dropout=0.1, patience=9).fit(TEXT, resume=path)
    assert np.array_equal(resumed.model_.params.flat, whole.model_.params.flat)
    with pytest.raises(ValueError, match="another vocabulary"):
        make(epochs=4).fit(TEXT + "\u00e9", resume=path)


def test_a_long_epoch_is_not_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(models.language, "WRITE_EVERY", 3)

    class Fails(fastrnn.Callback):
        def after_step(self, run: fastrnn.fitting.Run) -> None:
            if run.step == 5:
                raise MemoryError

    path = tmp_path / "model.safetensors"
    with pytest.raises(MemoryError):
        make().fit(TEXT, checkpoint=path, callbacks=[Fails()])
    assert fastrnn.files.read(path).training["step"] == 3
    resumed, whole = make().fit(TEXT, resume=path), make().fit(TEXT)
    assert np.array_equal(resumed.model_.params.flat, whole.model_.params.flat)


def test_some_updates_begin_where_writing_begins():
    """A model that knows a new state from its first update alone may be lost there, and write nonsense."""

    class Starts(fastrnn.Callback):
        def __init__(self) -> None:
            self.carried: list[list[bool]] = [[]]

        def after_step(self, run: fastrnn.fitting.Run) -> None:
            assert run.batch is not None
            self.carried[-1].append(run.batch.carry)

        def after_epoch(self, run: fastrnn.fitting.Run) -> None:
            self.carried.append([])

    starts = Starts()
    make(hidden=4, epochs=3, patience=3).fit(TEXT * 4, callbacks=[starts])
    epochs = starts.carried[:3]
    assert not any(carried[0] for carried in epochs) and epochs[0] != epochs[1]
    assert 1 / 32 < np.mean([not carry for carried in epochs for carry in carried[1:]]) < 1 / 8


def test_a_time_limit():
    model = make(seconds=0.3, epochs=1, patience=10_000).fit(TEXT)
    assert "seconds have passed" in model.history_.stopped
    assert 0.25 < sum(model.history_["seconds"]) < 3


def test_text_from_a_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    flats = [make().fit(text).model_.params.flat for text in (TEXT, path, str(path))]
    assert all(np.array_equal(flat, flats[0]) for flat in flats)
    assert make().fit(path).perplexity(path) == make().fit(TEXT).perplexity(TEXT)
    path.write_text(TEXT, encoding="utf-8-sig")
    assert "\ufeff" not in make().fit(path).vocabulary_.characters
    path.write_bytes(b"\xff\xfe\xfa" * 100)
    with pytest.raises(ValueError, match="UTF-8"):
        make().fit(path)
    path.write_text("")
    with pytest.raises(ValueError, match="must not be empty"):
        make().fit(path)
    with pytest.raises(OSError, match="missing"):
        make().fit(tmp_path / "missing")


def test_bad_texts_and_parameters():
    fresh = make()
    for text, message in [("", "must not be empty"), ("abc", "17 tokens to learn from"), ("nofile.txt", "at least")]:
        with pytest.raises(ValueError, match=message):
            fresh.fit(text)
    with pytest.raises(TypeError, match="string or a path"):
        fresh.fit(b"bytes")
    for change in (
        {"level": "byte"},
        {"cell": "x"},
        {"hidden": 0},
        {"seconds": 0.0},
        {"dropout": 1.0},
        {"max_tokens": 1},
    ):
        with pytest.raises(ValueError, match=next(iter(change))):
            make(**change).fit(TEXT)
    assert not hasattr(fresh, "model_")
    with pytest.raises(ValueError, match="not been fitted"):
        fresh.generate("a")
    model = make().fit(TEXT)
    with pytest.raises(ValueError, match="'\u00e9'"):
        model.perplexity("caf\u00e9")
    with pytest.raises(ValueError, match="'\u00e9'"):
        model.generate("caf\u00e9")
    with pytest.raises(ValueError, match="2 tokens"):
        model.perplexity("a")


def test_words_and_back():
    text = "so (they say), it's over: well... no!\nand then"
    assert joined(words(text)) == text.replace("...", "...")
    tokens = Tokens.of([words(text)])
    assert len(tokens) == len(set(words(text))) + 1
    assert [tokens[n] for n in tokens.encode(["so", "nothing", "!"])] == ["so", "<unk>", "!"]
    with pytest.raises(ValueError, match="each there once"):
        Tokens(["a", "a"])


def tied(dtype: str = "float64", rate: float = 0.0) -> Tied:
    layers = [LSTM(3, 4, dtype=dtype, seed=1), *([Dropout(rate)] if rate else []), Dense(4, 3, dtype=dtype, seed=2)]
    return Tied(Embedding(7, 3, dtype=dtype, seed=0), layers)


@pytest.mark.parametrize("time_major", [False, True])
def test_gradients_of_tied_weights(backend, time_major):
    model, x, lengths = tied(), np.array([[1, 2, 1, 6], [3, 0, 0, 0]]), [4, 2]
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 2, 7) if time_major else (2, 4, 7))
    x = x.T if time_major else x

    def total() -> float:
        return float((model(x, lengths=lengths, time_major=time_major)[0] * weight).sum())

    y, _, tape = model.forward(x, lengths=lengths, time_major=time_major)
    dx, _, grads = model.backward(tape, weight)
    assert dx is None and y.shape == weight.shape
    for name, values in model.params.items():
        for at in np.ndindex(*values.shape):
            kept, h = values[at], 1e-6
            values[at] = kept + h
            up = total()
            values[at] = kept - h
            quotient = (up - total()) / (2 * h)
            values[at] = kept
            assert math.isclose(grads[name][at], quotient, rel_tol=1e-5, abs_tol=1e-7), (name, at)


def test_untied_computes_the_same(backend, tmp_path):
    model, x = tied(rate=0.3), np.array([[1, 2, 3], [4, 5, 6]])
    model.params["output.b"] = np.arange(7.0)
    assert np.allclose(model.untied()(x)[0], model(x)[0], rtol=1e-12)
    y, _ = model(x, lengths=[3, 1])
    assert not y[1, 1:].any()
    fastrnn.save(tmp_path / "m", model)
    assert np.array_equal(fastrnn.load(tmp_path / "m")(x)[0], model(x)[0])


def test_wrong_parts_of_tied():
    with pytest.raises(ValueError, match="take and give 3 features"):
        Tied(Embedding(7, 3), [LSTM(3, 4)])
    with pytest.raises(TypeError, match="embedding must be an Embedding"):
        Tied(Dense(7, 3), [LSTM(3, 3)])
    with pytest.raises(ValueError, match="dtype"):
        Tied(Embedding(7, 3), [LSTM(3, 3, dtype="float64")])
