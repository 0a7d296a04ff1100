"""The demo: train a character-level language model on real text in about a minute, and say how good it is.

Results go to stdout and depend on the arguments and the backend alone; progress and timings go to stderr. So that the
clock decides nothing, ``seconds`` is turned into a number of updates by a cost model, `updates_for`.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .backend import available_backends, get_backend, use_backend
from .layers import Dense, Embedding
from .losses import SoftmaxCrossEntropy
from .optim import Adam
from .recurrent import GRU, LSTM, SimpleRNN
from .schedules import Cosine
from .sequential import Sequential
from .text import Vocabulary, ngram_bits, python_corpus, sample
from .training import endless_windows, mean_loss, streams, train_step

Array = np.ndarray

CELLS = {"rnn": SimpleRNN, "lstm": LSTM, "gru": GRU}
LEARNING_RATES = {"rnn": 1e-3, "lstm": 4e-3, "gru": 3e-3}  # peaks, reached by the first update
EMBEDDING = 64
ROWS, STEPS = 32, 64  # of one update: streams side by side, steps of truncated backpropagation
RESTART_EVERY = 16  # updates: held-out text begins from a new state, which a model that seldom sees one is lost in
CLIP_NORM = 1.0
MIN_CHARACTERS = 200
HELD_OUT = 0.1
SAMPLE_CHARACTERS, TEMPERATURE = 400, 0.7
COMPARED_UPDATES = 3

# Training flops a second that one core of a current machine brings to a whole update on the compiled backend.
NOMINAL_FLOPS = 100e9


class TextError(ValueError):
    """A text that cannot be read, or is too short to learn from."""


@dataclass(frozen=True)
class Settings:
    """What the demo's result depends on, besides the backend."""

    text: str | None = None
    cell: str = "lstm"
    hidden: int = 256
    layers: int = 1
    seconds: float = 60.0
    updates: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Corpus:
    """A text as integers, cut in two."""

    vocabulary: Vocabulary
    train: Array
    held_out: Array


def read_corpus(path: str | None) -> Corpus:
    """Read a text file (UTF-8), or the corpus that Python brings, and hold out its last tenth."""
    try:
        text = python_corpus() if path is None else Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TextError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TextError(f"{path} must be text in UTF-8: {error}") from error
    if len(text) < MIN_CHARACTERS:
        raise TextError(f"the text must have at least {MIN_CHARACTERS} characters, {path} has {len(text)}")
    vocabulary = Vocabulary(text)
    codes = vocabulary.encode(text)
    cut = round(len(codes) * (1 - HELD_OUT))
    return Corpus(vocabulary, codes[:cut], codes[cut:])


def make_model(settings: Settings, size: int) -> Sequential:
    """Embedding, the recurrent layers, and a dense layer that gives a logit for each of ``size`` characters."""
    rng, Layer = np.random.default_rng(settings.seed), CELLS[settings.cell]
    widths = [EMBEDDING] + [settings.hidden] * settings.layers
    scans = [Layer(D, H, seed=rng) for D, H in pairwise(widths)]
    return Sequential([Embedding(size, EMBEDDING, seed=rng), *scans, Dense(settings.hidden, size, seed=rng)])


def flops_per_update(model: Sequential) -> int:
    """Multiplications and additions of an update's products: two per weight and position forward, four backward."""
    weights = sum(W.size for layer in model.layers[1:] for W in layer.params.values() if W.ndim == 2)
    return 6 * weights * ROWS * STEPS


def updates_for(settings: Settings, model: Sequential) -> int:
    """How many updates to make: those asked for, or as many as `NOMINAL_FLOPS` allows in ``settings.seconds``."""
    if settings.updates is not None:
        return settings.updates
    return max(1, round(settings.seconds * NOMINAL_FLOPS / flops_per_update(model)))


class Trainer:
    """A model, its optimiser and its place in the text: `update` makes the next update."""

    def __init__(self, model: Sequential, corpus: Corpus, learning_rate: float, updates: int):
        self.model, self.updates = model, updates
        self.schedule = Cosine(learning_rate, updates, final=0.05 * learning_rate)
        self.optimizer, self.loss = Adam(learning_rate, beta2=0.99), SoftmaxCrossEntropy()
        self.data: Iterator[tuple[Array, Array, bool]] = endless_windows(*streams(corpus.train, ROWS), STEPS)
        self.state: Any = None
        self.done = 0

    def update(self) -> tuple[float, int]:
        """Return the loss before the update, in nats, and the characters it was measured on."""
        x, y, is_first = next(self.data)
        self.optimizer.lr = self.schedule(self.done)
        state = None if is_first or self.done % RESTART_EVERY == 0 else self.state
        value, self.state = train_step(self.model, self.loss, self.optimizer, x, y, state, clip_norm=CLIP_NORM)
        self.done += 1
        return value, x.size


def train(trainer: Trainer) -> float:
    """Make all updates under a progress bar; return the mean loss of the last ones, in nats."""
    from tqdm import tqdm

    recent: deque[float] = deque(maxlen=50)
    with tqdm(total=trainer.updates, unit="update", file=sys.stderr, mininterval=0.5) as bar:
        began, characters = time.perf_counter(), 0
        for _ in range(trainer.updates):
            value, count = trainer.update()
            recent.append(value)
            characters += count
            mean, rate = float(np.mean(recent)), characters / (time.perf_counter() - began)
            bar.set_postfix_str(f"loss {mean:.3f}, {_bits(mean):.3f} bits/char, {rate:,.0f} chars/s", refresh=False)
            bar.update()
    return mean


def held_out_bits(model: Sequential, corpus: Corpus) -> tuple[float, float, float]:
    """Bits per character of the model, of unigrams and of trigrams, over the same held-out characters."""
    rows = min(ROWS, max(1, len(corpus.held_out) // 2048))
    x, y = streams(corpus.held_out, rows)
    scored, size = corpus.held_out[: x.size + 1], len(corpus.vocabulary)
    unigram, trigram = (ngram_bits(corpus.train, scored, size, n) for n in (1, 3))
    return _bits(mean_loss(model, SoftmaxCrossEntropy(), x, y, 4 * STEPS)), unigram, trigram


def _bits(nats: float) -> float:
    return nats / float(np.log(2))


def timed_updates(settings: Settings, corpus: Corpus, backend: str) -> tuple[float, list[float]]:
    """Seconds that one update takes on a backend (median of a few), and the losses of these first updates."""
    with use_backend(backend):
        trainer = make_trainer(settings, corpus)
        losses, times = [trainer.update()[0]], []  # the first one warms up
        for _ in range(COMPARED_UPDATES):
            began = time.perf_counter()
            losses.append(trainer.update()[0])
            times.append(time.perf_counter() - began)
    return float(np.median(times)), losses


def make_trainer(settings: Settings, corpus: Corpus) -> Trainer:
    """A new model with all that its training needs."""
    model = make_model(settings, len(corpus.vocabulary))
    return Trainer(model, corpus, LEARNING_RATES[settings.cell], updates_for(settings, model))


def compare_backends(settings: Settings, corpus: Corpus) -> None:
    """Print, to stderr, how long the same updates take on each backend, and that they give the same losses."""
    measured = {name: timed_updates(settings, corpus, name) for name in available_backends()}
    numpy_seconds, numpy_losses = measured["numpy"]
    for name, (seconds, losses) in measured.items():
        line = f"one update on the {name} backend: {1e3 * seconds:.1f} ms"
        if name != "numpy":
            apart = max(abs(a - b) for a, b in zip(losses, numpy_losses, strict=True))
            line += f", {numpy_seconds / seconds:.1f} times as fast as numpy; losses at most {apart:.1e} apart"
        print(line, file=sys.stderr)
    if len(measured) == 1:
        print("the compiled backend is not available here: python -m fastrnn info says why", file=sys.stderr)


def run(settings: Settings) -> None:
    """Train, evaluate, sample, compare backends; raises `TextError`."""
    corpus = read_corpus(settings.text)
    trainer = make_trainer(settings, corpus)
    model, vocabulary = trainer.model, corpus.vocabulary
    counts = f"{len(corpus.train):,} to train on, {len(corpus.held_out):,} held out, {len(vocabulary)} different"
    print(f"text      {settings.text or 'what every Python brings: its reference manual'}")
    print(f"          characters: {counts}")
    print(f"model     {model!r}, {sum(a.size for a in model.params.values()):,} parameters")
    print(
        f"training  {trainer.updates} updates of {ROWS} x {STEPS} characters on the {get_backend()} backend", flush=True
    )
    loss = train(trainer)
    bits, unigram, trigram = held_out_bits(model, corpus)
    print(f"          loss of the last updates: {loss:.3f} nats, {_bits(loss):.3f} bits per character")
    print("held out  bits per character")
    for name, value in (("unigram", unigram), ("trigram", trigram), (settings.cell, bits)):
        print(f"          {name:<8}{value:.3f}")
    prompt = corpus.held_out[:1]
    drawn = sample(model, prompt, SAMPLE_CHARACTERS, temperature=TEMPERATURE, seed=settings.seed)
    print(f"sample    at temperature {TEMPERATURE}\n")
    print(vocabulary.decode(np.concatenate([prompt, drawn])), flush=True)
    compare_backends(settings, corpus)
