"""Text as integers, n-gram entropies, sampling."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from fastrnn import GRU, Dense, Embedding, Sequential, text
from fastrnn.text import Vocabulary, ngram_bits, sample


@pytest.mark.parametrize("words", ["abracadabra", "", "größe ∑ 🎉\n\t", "\ud800x"])
def test_vocabulary(words):
    vocabulary = Vocabulary(words)
    codes = vocabulary.encode(words)
    assert len(vocabulary) == len(set(words))
    assert vocabulary.characters == "".join(sorted(set(words)))
    assert codes.shape == (len(words),)
    assert vocabulary.decode(codes) == words


def test_characters_that_the_vocabulary_lacks():
    vocabulary = Vocabulary("bdf")
    for unknown in "aceg":
        with pytest.raises(ValueError, match=f"^text must hold characters of the vocabulary only, got '{unknown}'"):
            vocabulary.encode("bd" + unknown)
    with pytest.raises(ValueError, match=r"^indices must lie in 0\.\.2, got 3"):
        vocabulary.decode([0, 3])


def test_every_python_has_a_corpus(monkeypatch):
    manual = text.python_corpus()
    assert len(manual) > 300_000
    monkeypatch.setitem(__import__("sys").modules, "pydoc_data.topics", None)
    docstrings = text.python_corpus()
    assert len(docstrings) > 300_000
    assert docstrings != manual
    assert " the " in manual
    assert " the " in docstrings


def slow_bits(train: list[int], held_out: list[int], size: int, order: int) -> float:
    """`ngram_bits` as its formula says, character by character."""

    def p(history, a, n):
        if n == 0:
            return 1 / size
        context = tuple(history[len(history) - (n - 1) :])
        shorter = p(history, a, n - 1)
        after = Counter(train[k + n - 1] for k in range(len(train) - n + 1) if tuple(train[k : k + n - 1]) == context)
        total, different = after.total(), len(after)
        return (after[a] + different * shorter) / (total + different) if different else shorter

    history = [*train, *held_out]
    first = len(train) + 1
    return -sum(math.log2(p(history[:k], history[k], order)) for k in range(first, len(history))) / (len(held_out) - 1)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize(("M", "K"), [(60, 30), (3, 9), (200, 2)])
def test_ngram_bits_against_the_formula(order, M, K):
    rng = np.random.default_rng(M)
    train, held_out = rng.integers(0, 3, M) + rng.integers(0, 2, M), rng.integers(0, 5, K)
    assert ngram_bits(train, held_out, 5, order) == pytest.approx(
        slow_bits(train.tolist(), held_out.tolist(), 5, order), rel=1e-12
    )


def test_ngram_bits_of_what_is_certain_and_of_noise():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 4, 40_000)
    assert ngram_bits(noise[:30_000], noise[30_000:], 4, 1) == pytest.approx(2.0, abs=0.01)
    assert ngram_bits(noise[:30_000], noise[30_000:], 4, 3) == pytest.approx(2.0, abs=0.02)
    periodic = np.tile([0, 1, 2, 3], 2_000)
    assert ngram_bits(periodic, periodic, 4, 1) == pytest.approx(2.0, abs=0.01)
    assert ngram_bits(periodic, periodic, 4, 3) < 0.01
    with pytest.raises(ValueError, match=r"^held_out must hold at least 2 characters, got 1"):
        ngram_bits(noise, noise[:1], 4, 1)
    with pytest.raises(ValueError, match=r"^held_out must lie in 0\.\.3, got 4"):
        ngram_bits(noise, noise[:9] + 4 * (noise[:9] == 0), 4, 1)
    with pytest.raises(TypeError, match=r"^train must hold integers, got float64"):
        ngram_bits(noise / 2, noise, 4, 1)


def model() -> Sequential:
    return Sequential([Embedding(5, 4, seed=0), GRU(4, 8, seed=1), Dense(8, 5, seed=2)])


def test_sampling_follows_the_models_probabilities(backend):
    certain = model()
    certain.params["2.b"][...] = [0, 50, 0, 0, 0]
    assert sample(certain, [0], 8, seed=0).tolist() == [1] * 8
    even = model()
    even.params["2.W"][...] = 0
    even.params["2.b"][...] = np.log([0.5, 0.25, 0.125, 0.0625, 0.0625])
    drawn = np.bincount(sample(even, [0], 1500, seed=0), minlength=5) / 1500
    assert np.abs(drawn - [0.5, 0.25, 0.125, 0.0625, 0.0625]).max() < 0.05
    cold = np.bincount(sample(even, [0], 500, temperature=0.2, seed=0), minlength=5) / 500
    assert cold[0] > 0.9


def test_temperature_zero_takes_the_likeliest_of_the_call(backend):
    greedy, prompt = model(), [3, 1, 4]
    drawn = sample(greedy, prompt, 12, temperature=0)
    logits, _ = greedy(np.array([[*prompt, *drawn]]))
    assert logits[0, 2:-1].argmax(axis=1).tolist() == drawn.tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_nothing_is_drawn_from_what_is_not_finite(value, temperature):
    broken = model()
    broken.params["2.b"][3] = value
    with pytest.raises(ValueError, match=f"^model must give logits of which the largest is finite, got {value}"):
        sample(broken, [1], 3, temperature=temperature, seed=0)


def test_sampling_is_seeded():
    assert np.array_equal(sample(model(), [1], 20, seed=4), sample(model(), [1], 20, seed=4))
    assert not np.array_equal(sample(model(), [1], 20, seed=4), sample(model(), [1], 20, seed=5))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([], 3), {}, (TypeError, ValueError), "^prompt must"),
        (([[1]], 3), {}, ValueError, r"^prompt must have shape \(P,\)"),
        (([5], 3), {}, ValueError, r"^prompt must lie in 0\.\.4, got 5"),
        (([1], 3), {"temperature": -1.0}, ValueError, "^temperature must be at least 0"),
        (([1], 3), {"temperature": math.nan}, ValueError, "^temperature must be finite, got nan"),
        (([1], 3), {"temperature": math.inf}, ValueError, "^temperature must be finite, got inf"),
        (([1], 3), {"temperature": "hot"}, TypeError, "^temperature must be a number, got 'hot'"),
    ],
)
def test_errors_of_sampling(arguments, options, error, message):
    with pytest.raises(error, match=message):
        sample(model(), *arguments, **options)
