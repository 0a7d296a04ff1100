"""What `bench/learn` trains, in sizes that take a second each: its data are what they should be, and it learns."""

from __future__ import annotations

import argparse
import doctest
import importlib
import math
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fastrnn import LSTM, Dense, LastStep, Sequential, check_gradients

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # bench is a folder of the project, not of the installed package

adding = importlib.import_module("bench.learn.adding")
addition = importlib.import_module("bench.learn.addition")
digits = importlib.import_module("bench.learn.digits")
shakespeare = importlib.import_module("bench.learn.shakespeare")
trials = importlib.import_module("bench.learn.trials")

WORDS = ["fox", "jumps", "over", "lazy", "dog", "packs", "my", "box", "five", "dozen", "liquor", "jugs"]


@pytest.mark.parametrize("module", [adding, addition, shakespeare, trials], ids=lambda module: module.__name__)
def test_examples_in_docstrings(module):
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_seeds_and_their_median(capsys):
    parser = argparse.ArgumentParser()
    trials.add_seeds(parser)
    assert parser.parse_args([]).seeds == (0, 1, 2)
    assert parser.parse_args(["--seeds", "7,5"]).seeds == (7, 5)
    with pytest.raises(SystemExit):
        parser.parse_args(["--seeds", "1,x"])
    assert "must be integers" in capsys.readouterr().err
    assert trials.report("error", [0.5, 0.1, 0.2]) == 0.2
    assert capsys.readouterr().out == "error: median 0.2 of 0.5, 0.1, 0.2\n"


# ---------------------------------------------------------------------------------------------------------------------
# Adding


def test_two_numbers_are_marked_one_in_each_half():
    x, y = adding.examples(500, 9, np.random.default_rng(0))
    numbers, marks = x[:, :, 0], x[:, :, 1]
    assert set(np.unique(marks)) == {0, 1}
    assert (marks[:, :4].sum(axis=1) == 1).all()
    assert (marks[:, 4:].sum(axis=1) == 1).all()
    assert (marks.sum(axis=0) > 0).all()
    assert y == pytest.approx((numbers * marks).sum(axis=1, keepdims=True))
    assert np.var(y) == pytest.approx(1 / 6, rel=0.2)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_adding_is_learned(cell, backend):
    outcome = adding.learn(cell, 16, T=8, updates=400, lr=0.02, seed=0)
    assert outcome.error < 0.01
    assert outcome.updates == 400


def test_adding_reports_every_seed(capsys):
    adding.main(["--cell", "gru", "--hidden", "8", "--steps", "4", "--updates", "150", "--seeds", "0,3"])
    printed = capsys.readouterr().out
    assert re.findall(r"seed (\d): test error \S+ after 150 updates", printed) == ["0", "3"]
    assert "test error: median" in printed


def test_the_first_epoch_below_the_limit_is_found():
    outcome = adding.learn("gru", 16, T=2, updates=1000, lr=0.02, seed=0)
    assert outcome.first is not None
    assert outcome.first % adding.UPDATES_PER_EPOCH == 0
    assert 0 < outcome.first <= 1000
    assert adding.learn("gru", 4, T=8, updates=100, lr=1e-4, seed=0).first is None


# ---------------------------------------------------------------------------------------------------------------------
# Addition


def as_text(codes):
    return "".join(addition.CHARACTERS[code] for code in codes)


def test_answers_are_sums_and_no_question_comes_twice():
    x, y = addition.examples(800, np.random.default_rng(0))
    assert x.shape == (800, 5, 12)
    assert y.shape == (800, 3)
    questions = [as_text(row)[::-1] for row in x.argmax(axis=2)]
    pairs = [tuple(map(int, question.split("+"))) for question in questions]
    assert [int(as_text(row)) for row in y] == [a + b for a, b in pairs]
    assert len({frozenset(pair) for pair in pairs}) == 800
    assert {len(str(number)) for pair in pairs for number in pair} == {1, 2}


def test_gradients_of_encoder_and_decoder():
    encoder = Sequential([LSTM(3, 4, seed=0, dtype="float64"), LastStep(4, dtype="float64")])
    decoder = Sequential([LSTM(4, 5, seed=1, dtype="float64"), Dense(5, 2, seed=2, dtype="float64")])
    model = addition.EncoderDecoder(encoder, decoder, 6)
    x = np.random.default_rng(3).standard_normal((2, 7, 3))
    assert model(x)[0].shape == (2, 6, 2)
    assert model(x.swapaxes(0, 1), time_major=True)[0].shape == (6, 2, 2)
    check_gradients(model, x)


def test_addition_is_learned():
    outcome = addition.learn(1000, 32, epochs=30, lr=0.02, seed=0)
    _, y = addition.examples(1000, np.random.default_rng([0, 1]))
    commonest = np.mean([Counter(column.tolist()).most_common(1)[0][1] / 1000 for column in y.T])
    assert outcome.characters > commonest + 0.15
    assert outcome.answers > 0.05
    assert outcome.first is None or outcome.first <= 30


# ---------------------------------------------------------------------------------------------------------------------
# Digits


def test_digits_are_split_once_and_for_all():
    pytest.importorskip("sklearn")
    train, test = digits.load()
    assert train.x.shape == (1437, 8, 8)
    assert test.x.shape == (360, 8, 8)
    assert train.x.min() == 0
    assert train.x.max() == 1
    assert np.bincount(test.y).min() >= 34
    np.testing.assert_array_equal(digits.load()[1].x, test.x)
    seen = {image.tobytes() for image in train.x}
    assert not any(image.tobytes() in seen for image in test.x)


def test_patterns_are_learned():
    rng = np.random.default_rng(0)
    patterns = rng.random((10, 8, 8)) < 0.5

    def drawn(N):
        y = rng.integers(0, 10, N)
        return digits.Digits((patterns[y] + 0.3 * rng.standard_normal((N, 8, 8))).astype("float32"), y)

    accuracy = digits.learn(drawn(300), drawn(200), hidden=16, dropout=0.1, epochs=10, lr=0.02, seed=0)
    assert accuracy > 0.9


# ---------------------------------------------------------------------------------------------------------------------
# A language model


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    order = np.random.default_rng(0).integers(0, len(WORDS), 4000)
    path.write_text(" ".join(WORDS[k] for k in order), encoding="utf-8")
    return path


def unigram_nats(codes):
    p = np.bincount(codes)[codes] / len(codes)
    return float(-np.log(p).mean())


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_language_is_learned(text, cell):
    corpus = shakespeare.read(text)
    recipe = shakespeare.Recipe(cell, hidden=24, embedding=8, dropout=0.1, weight_drop=0.1, rows=8, steps=16, lr=0.02)
    trainer = shakespeare.make_trainer("fastrnn", recipe, corpus.size, seed=0)
    before = trainer.held_out(corpus.held_out)
    outcome = shakespeare.train(trainer, corpus, recipe, shakespeare.Budget(60, 150), seed=0)
    assert before == pytest.approx(math.log(corpus.size), rel=0.1)
    assert outcome.nats < unigram_nats(corpus.held_out) - 1
    assert outcome.updates == 150


def test_the_end_of_the_text_is_held_out(text):
    corpus = shakespeare.read(text)
    written = text.read_text(encoding="utf-8")
    assert len(corpus.train) + len(corpus.held_out) == len(written)
    assert len(corpus.held_out) == pytest.approx(len(written) / 10, abs=1)
    letters = sorted(set(written))
    assert "".join(letters[code] for code in corpus.held_out) == written[-len(corpus.held_out) :]


def test_windows_of_the_next_round_are_cut_elsewhere():
    codes, recipe = np.arange(1000), shakespeare.Recipe(rows=2, steps=50)
    firsts = []
    for x, y, is_first in shakespeare.endless(codes, recipe, 0):
        np.testing.assert_array_equal(y, x + 1)
        if is_first:
            firsts.append(int(x[0, 0]))
        if len(firsts) == 5:
            break
    assert max(firsts) <= 50
    assert len(set(firsts)) > 2


def test_the_rate_rises_and_falls():
    rates = [shakespeare.rate(0.5, spent) for spent in np.linspace(0, 1, 201)]
    peak = int(np.argmax(rates))
    assert max(rates) == pytest.approx(0.5)
    assert peak == 4
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] == shakespeare.rate(0.5, 1.5) == pytest.approx(0.005)


def test_a_budget_of_seconds_is_kept(text):
    corpus, recipe = shakespeare.read(text), shakespeare.Recipe(hidden=4, embedding=4, rows=2, steps=4)
    trainer = shakespeare.make_trainer("fastrnn", recipe, corpus.size, seed=0)
    outcome = shakespeare.train(trainer, corpus, recipe, shakespeare.Budget(0.2, None), seed=0)
    assert 0.2 <= outcome.seconds < 5
    assert outcome.speed == pytest.approx(outcome.updates * 8 / outcome.seconds, rel=0.2)


def test_options_change_the_recipe_of_the_nearest_budget(text, capsys):
    arguments = [str(text), "--updates", "2", "--hidden", "8", "--rows", "4", "--steps", "8", "--layers", "1"]
    shakespeare.main([*arguments, "--seconds", "170", "--lr", "0.5", "--seeds", "4"])
    first = capsys.readouterr().out
    asked = shakespeare.replace(shakespeare.RECIPES[180.0], hidden=8, rows=4, steps=8, layers=1, lr=0.5)
    assert first.startswith(str(asked))
    shakespeare.main([*arguments, "--seconds", "170", "--lr", "0.5", "--seeds", "4"])
    nats = r"seed 4: ([\d.]+) nats"
    assert re.findall(nats, first) == re.findall(nats, capsys.readouterr().out)


def test_the_peer_trains_the_same_model(text):
    pytest.importorskip("torch")
    corpus = shakespeare.read(text)
    recipe = shakespeare.Recipe("lstm", hidden=16, layers=2, embedding=8, rows=4, steps=8, lr=0.01)
    ours, theirs = (shakespeare.make_trainer(name, recipe, corpus.size, 0) for name in ("fastrnn", "torch"))
    windows = shakespeare.endless(corpus.train, recipe, 0)
    assert ours.held_out(corpus.held_out) == pytest.approx(theirs.held_out(corpus.held_out), rel=1e-5)
    drawn = [window for _, window in zip(range(30), windows, strict=False)]
    mine, their = (np.array([trainer.update(*window, 0.01) for window in drawn]) for trainer in (ours, theirs))
    assert mine[0] == pytest.approx(their[0], rel=1e-5)
    assert mine[-5:].mean() < 0.95 * mine[0]
    # PyTorch has two biases where there is one here, so that they learn a little faster
    assert mine == pytest.approx(their, rel=0.02)
    assert ours.held_out(corpus.held_out) == pytest.approx(theirs.held_out(corpus.held_out), rel=0.02)


def test_speed_counts_every_character(monkeypatch):
    throughput = importlib.import_module("bench.learn.throughput")
    clock = [0.0]
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: clock[0])

    class Slow:
        def update(self, x, y, is_first, lr):
            clock[0] += 0.5

    windows = [(np.zeros((4, T)), np.zeros((4, T)), False) for T in (10, 10, 5)]
    assert throughput.speed(Slow(), windows, 0.1) == pytest.approx(100 / 1.5)


def test_throughput_names_both_libraries(text, capsys):
    pytest.importorskip("torch")
    throughput = importlib.import_module("bench.learn.throughput")
    throughput.main([str(text), "--hidden", "8", "--rounds", "3", "--updates", "2"])
    printed = capsys.readouterr().out
    middle, least, most = map(float, re.findall(r"fastrnn over torch: (\S+) \((\S+) to (\S+)\)", printed)[0])
    assert 0 < least <= middle <= most
    assert re.findall(r"(\w+): [\d,]+ characters/s", printed) == ["fastrnn", "torch"]
