"""`LanguageModel`: a recurrent network that has read a text, judges others and goes on writing."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from .._arrays import as_choice, as_flag, as_rate, as_size
from ..callbacks import Callback, EarlyStopping, StopAfter
from ..checkpoint import Checkpoint
from ..data import TextBatches, streams
from ..fitting import fit
from ..init import as_generator
from ..layer import Layer
from ..layers import Dense, Embedding
from ..losses import SoftmaxCrossEntropy
from ..optim import Adam, as_number_in
from ..schedules import Cosine
from ..sequential import Sequential
from ..session import Session
from ..text import Vocabulary
from ..tied import Tied
from ..training import evaluate
from . import network
from .estimator import Estimator
from .sampling import Sampler
from .vocabulary import Tokens, spaced, words

Array = np.ndarray

LEVELS = ("char", "word")
LEARNING_RATES = {"rnn": 1e-3, "lstm": 4e-3, "gru": 3e-3}
EMBEDDINGS = {"char": 64, "word": 256}
FINAL_RATE = 0.05  # of the first one, at the end of the training
RESTART = 1 / 16  # share of the updates that begin with a new state, as writing and judging do
WRITE_EVERY = 1000  # updates after which a checkpoint is written within an epoch: those of a long text take long
CHUNK = 256  # steps of evaluation at a time
STREAM = 2048  # tokens that a stream of evaluation has at least
PATH_LENGTH = 260  # characters beyond which a string is no path


@dataclass(eq=False, repr=False, kw_only=True)
class LanguageModel(Estimator):
    """A recurrent language model of characters or words.

    Parameters
    ----------
    level : "char" or "word"
        What is predicted: the next character, or the next word, punctuation mark or line break.
    cell : "lstm", "gru" or "rnn"
    hidden : int
        Units of each layer.
    layers : int
    embedding : int or None
        Features of a token's vector; None: 64 for characters, 256 for words.
    tied : bool
        The output reads the embedding's matrix, as `fastrnn.Tied` does: fewer parameters where there are many words.
    cell_options : dict, optional
        More options of the recurrent layers, such as ``{"weight_drop": 0.5}``.
    dropout : float
        Share of the features left out in training, before each layer and the output.
    min_count, max_tokens : int, int or None
        How often a word must be there to be known, and how many are; all others are one token, "<unk>".
    epochs : int
        Passes over the text, at most.
    seconds : float or None
        Train for so long instead; the learning rate falls by the clock, so that the result is not reproducible.
    batch_size, steps : int
        Streams of text side by side, and tokens of each that an update looks back on (truncated backpropagation; the
        state goes on, but for one update in sixteen, which begins anew).
    learning_rate : float or None
        Of Adam at the beginning, it falls to a twentieth along half a cosine. None: 0.004 for LSTM, 0.003 for GRU,
        0.001 for RNN.
    clip_norm : float or None
        Limit of the gradient's norm.
    validation_fraction : float
        Share of the text, its end, that training does not see and that says which epoch's weights stay.
    patience : int
        Epochs without improvement after which to stop.
    dtype : "float32" or "float64"
    random_state : int, generator or None
    progress : bool
        Show a bar on stderr.

    Attributes
    ----------
    model_ : Sequential or Tied
        The network.
    vocabulary_ : fastrnn.text.Vocabulary, or Tokens
        The characters or words.
    history_ : History
        Losses of every epoch, in nats per token.

    Examples
    --------
    >>> from fastrnn.models import LanguageModel
    >>> text = "the quick brown fox jumps over the lazy dog. " * 60
    >>> model = LanguageModel(hidden=32, batch_size=4, steps=32, epochs=30, random_state=0).fit(text)
    >>> model.generate("the quick ", 20, temperature=0)
    'brown fox jumps over'
    >>> model.perplexity(text[:450]) < 1.5
    True
    """

    level: str = "char"
    cell: str = "lstm"
    hidden: int = 256
    layers: int = 1
    embedding: int | None = None
    tied: bool = False
    cell_options: dict[str, Any] | None = None
    dropout: float = 0.0
    min_count: int = 2
    max_tokens: int | None = 20_000
    epochs: int = 10
    seconds: float | None = None
    batch_size: int = 32
    steps: int = 64
    learning_rate: float | None = None
    clip_norm: float | None = 1.0
    validation_fraction: float = 0.05
    patience: int = 3
    dtype: str = "float32"
    random_state: Any = None
    progress: bool = False

    def fit(
        self,
        text: Any,
        y: Any = None,
        *,
        callbacks: Sequence[Callback] = (),
        checkpoint: Any = None,
        resume: Any = None,
    ) -> LanguageModel:
        """Read a text; what was learned before is forgotten.

        Parameters
        ----------
        text : str or path
            The text, or a file with it, in UTF-8; a byte order mark at its beginning is none of it. A string of one
            line that names a file is a path.
        y : ignored
            There for scikit-learn.
        callbacks : sequence of Callback
            For `fastrnn.fit`.
        checkpoint : path, optional
            Write the whole state of the training there after every epoch, every 1000 updates, and at Ctrl-C; `load`
            reads it as a model.
        resume : path, optional
            Go on from such a file, with the same text and parameters.

        Raises
        ------
        TypeError, ValueError
            Wrong parameters; a text that is empty, or has fewer tokens than an update looks back on. Before any
            training.
        OSError
            The file cannot be read.
        """
        self._check_params()
        tokens, params = _split(read_text(text), self.level), self._params()
        cut = len(tokens) - math.floor(self.validation_fraction * len(tokens))
        if cut < self.steps + 1:
            wanted = f"{self.steps + 1} tokens to learn from, for updates of {self.steps} steps"
            raise ValueError(f"text must have at least {wanted}, got {cut}: take a longer text, or fewer steps")
        vocabulary = self._new_vocabulary(tokens, cut)
        codes, rng = vocabulary.encode(tokens), self._rng()
        train = self._batches(codes[:cut], self.batch_size, self.steps, restart=RESTART)
        held_out = self._batches(codes[cut:], self.batch_size, CHUNK) if len(codes) - cut > 1 else None
        model = self._network(len(vocabulary), rng)
        extras = self._extras(_described(vocabulary), params)
        if resume is not None and (files.load_extras(resume) or {}).get("learned") != extras["learned"]:
            raise ValueError(f"{os.fspath(resume)!r} must be of a training with the same text, got another vocabulary")
        rate = self.learning_rate or LEARNING_RATES[self.cell]
        schedule, stops = self._schedule(rate, self.epochs * len(train))
        history = fit(
            model,
            SoftmaxCrossEntropy(),
            Adam(rate, beta2=0.99),
            train,
            held_out,
            epochs=self.epochs if self.seconds is None else None,
            clip_norm=self.clip_norm,
            schedule=schedule,
            callbacks=[
                *([EarlyStopping(self.patience)] if held_out else []),
                *stops,
                *callbacks,
                *([] if checkpoint is None else [Checkpoint(checkpoint, steps=WRITE_EVERY, epochs=1, extras=extras)]),
            ],
            progress=self.progress,
            seed=rng,
            resume=resume,
        )
        self.model_, self.vocabulary_, self.history_, self._fit_params = model, vocabulary, history, params
        return self

    def loss(self, text: Any) -> float:
        """Mean cross-entropy of each token of a text given those before it, in nats.

        Parameters
        ----------
        text : str or path
            At least two tokens; the first one is given. A long text is read as up to 32 streams side by side, which
            leaves out less than one token for each.

        Raises
        ------
        ValueError
            A character that the model does not know; fewer than two tokens.
        """
        self._check_fitted()
        tokens = _split(read_text(text), self._fit_params["level"])
        if len(tokens) < 2:
            raise ValueError(f"text must have at least 2 tokens, got {len(tokens)}")
        batches = self._batches(self.vocabulary_.encode(tokens), 32, CHUNK, STREAM)
        return evaluate(self.model_, {"loss": SoftmaxCrossEntropy()}, batches)["loss"]

    def perplexity(self, text: Any) -> float:
        """e to the `loss` of a text: among how many tokens the model is as undecided, on average."""
        return as_perplexity(self.loss(text))

    def score(self, text: Any, y: Any = None) -> float:
        """Mean logarithm of a token's probability: the negative `loss`, more is better."""
        return -self.loss(text)

    def generate(
        self,
        prompt: str = "",
        length: int = 200,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: Any = None,
    ) -> str:
        """Write on.

        Parameters
        ----------
        prompt : str
            What the text begins with; it is not repeated. Empty: a new line.
        length : int
            Tokens to write.
        temperature : float
            1 draws as the model believes, less more soberly; 0 takes the likeliest token each time.
        top_k : int, optional
            Draw from the likeliest so many only.
        top_p : float, optional
            In (0, 1]: draw from the likeliest ones that together have at least this probability.
        seed : int, numpy.random.Generator or None

        Returns
        -------
        str
            An unknown word is never written.

        Raises
        ------
        TypeError, ValueError
            A wrong argument, or a prompt with a character that the model does not know.
        """
        return "".join(self.stream(prompt, length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed))

    def stream(
        self,
        prompt: str = "",
        length: int | None = None,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: Any = None,
    ) -> Iterator[str]:
        """What `generate` writes, token by token, as it is written: an iterator over pieces of text.

        ``length=None`` writes for ever.

        Examples
        --------
        >>> from fastrnn.models import LanguageModel
        >>> model = LanguageModel(hidden=16, batch_size=4, steps=16, epochs=2, random_state=0).fit("to be or not " * 50)
        >>> len(list(model.stream("to ", 5, seed=0)))
        5
        """
        self._check_fitted()
        if not isinstance(prompt, str):
            raise TypeError(f"prompt must be a string, got {prompt!r}")
        sampler = Sampler(temperature, top_k, top_p)
        count = None if length is None else as_size("length", length, 0)
        tokens = _split(prompt, self._fit_params["level"]) or self._beginning()
        return self._write(self.vocabulary_.encode(tokens), tokens[-1], count, sampler, as_generator(seed))

    def _write(
        self, codes: Array, before: str, count: int | None, sampler: Sampler, rng: np.random.Generator
    ) -> Iterator[str]:
        model = self.model_.untied() if isinstance(self.model_, Tied) else self.model_
        session, code, has_words = Session(model), int(codes[-1]), isinstance(self.vocabulary_, Tokens)
        if len(codes) > 1:
            session(codes[:-1])
        while count is None or count > 0:
            logits = session.step([code])[0]
            if has_words:
                logits[0] = -np.inf
            code = sampler.draw(logits, rng)
            token = self._token(code)
            yield spaced(before, token) if has_words else token
            before = token
            count = None if count is None else count - 1

    # tokens

    def _token(self, code: int) -> str:
        vocabulary = self.vocabulary_
        return vocabulary.decode([code]) if isinstance(vocabulary, Vocabulary) else vocabulary[code]

    def _beginning(self) -> Any:
        """The token that stands before a text that begins with nothing."""
        if isinstance(self.vocabulary_, Vocabulary):
            known = self.vocabulary_.characters
            return next((c for c in "\n ." if c in known), known[0])
        return ["\n"]

    def _new_vocabulary(self, tokens: Any, cut: int) -> Vocabulary | Tokens:
        if self.level == "char":
            return Vocabulary(tokens)
        vocabulary = Tokens.of([tokens[:cut]], min_count=self.min_count, max_size=self.max_tokens)
        if len(vocabulary) < 2:
            raise ValueError(f"text must have words that are there at least min_count = {self.min_count} times")
        return vocabulary

    # training

    def _check_params(self) -> None:
        as_choice("level", self.level, LEVELS)
        as_choice("cell", self.cell, tuple(network.CELLS))
        for name in ("hidden", "layers", "epochs", "batch_size", "steps", "patience"):
            as_size(name, getattr(self, name))
        for name in ("dropout", "validation_fraction"):
            as_rate(name, getattr(self, name))
        for name in ("tied", "progress"):
            as_flag(name, getattr(self, name))
        as_size("min_count", self.min_count)
        if self.max_tokens is not None:
            as_size("max_tokens", self.max_tokens, 2)
        for name in ("seconds", "learning_rate"):
            if getattr(self, name) is not None:
                as_number_in(name, getattr(self, name), 0, open_end=True)

    def _network(self, size: int, rng: np.random.Generator) -> Layer:
        dim = EMBEDDINGS[self.level] if self.embedding is None else as_size("embedding", self.embedding)
        embedding = Embedding(size, dim, dtype=self.dtype, seed=rng)
        options = {"dropout": self.dropout, "dtype": self.dtype, "options": self.cell_options}
        stack = network.scans(self.cell, dim, self.hidden, self.layers, rng, **options)  # type: ignore[arg-type]
        width = stack[-1].output_size
        if not self.tied:
            return Sequential(
                [embedding, *stack, *network.head(width, size, rng, dropout=self.dropout, dtype=self.dtype)]
            )
        if width != dim:
            stack.append(Dense(width, dim, dtype=self.dtype, seed=rng))
        return Tied(embedding, [*stack, *network.dropouts(self.dropout)])

    def _batches(
        self, codes: Array, rows: int, T: int, least: int | None = None, *, restart: float = 0.0
    ) -> TextBatches:
        """Streams of at least ``least`` tokens (T when None), at most ``rows`` of them; one where there is less."""
        return TextBatches(*streams(codes, min(rows, max(1, (len(codes) - 1) // (least or T)))), T, restart)

    def _schedule(self, rate: float, updates: int) -> tuple[Callable[[Any], float], list[Callback]]:
        """The learning rate as a function of the updates made, and what ends the training besides."""
        if self.seconds is None:
            return Cosine(rate, updates, FINAL_RATE * rate), []
        by_second, began = Cosine(rate, max(1, round(1000 * self.seconds)), FINAL_RATE * rate), time.perf_counter()
        return lambda _: by_second(1000 * (time.perf_counter() - began)), [StopAfter(seconds=self.seconds)]

    # files

    def _learned(self) -> dict[str, Any]:
        return _described(self.vocabulary_)

    def _adopt(self, learned: dict[str, Any]) -> None:
        vocabulary: Any = (
            Vocabulary("".join(learned["characters"])) if self.level == "char" else Tokens(learned["tokens"])
        )
        if len(vocabulary) != self.model_.output_size:
            got = f"{len(vocabulary)} tokens and a network with outputs for {self.model_.output_size}"
            raise ValueError(f"the vocabulary must fit the network, got {got}")
        self.vocabulary_ = vocabulary

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.input_tags.two_d_array = tags.input_tags.three_d_array = False
        return tags


def as_perplexity(nats: float) -> float:
    """e to a loss; infinity where that is too large for a number."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


def _split(text: str, level: str) -> Any:
    """The tokens of a text."""
    return text if level == "char" else words(text)


def _described(vocabulary: Vocabulary | Tokens) -> dict[str, Any]:
    """What JSON can hold of a vocabulary."""
    if isinstance(vocabulary, Tokens):
        return {"tokens": vocabulary.to_list()}
    characters = vocabulary.characters
    # JSON makes one character of two halves of a surrogate pair that come together
    return {"characters": characters if json.loads(json.dumps(characters)) == characters else list(characters)}


def read_text(text: Any) -> str:
    """The text itself, or that of the file that it names; a ValueError where there is none.

    Examples
    --------
    >>> from fastrnn.models.language import read_text
    >>> read_text("not a file")
    'not a file'
    """
    path = text if isinstance(text, os.PathLike) else None
    if isinstance(text, str) and len(text) <= PATH_LENGTH and text.isprintable() and os.path.isfile(text):
        path = Path(text)
    if path is None and not isinstance(text, str):
        raise TypeError(f"text must be a string or a path, got {type(text).__name__}")
    if path is not None:
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{os.fspath(path)!r} must be text in UTF-8: {error}") from error
    if not text:
        raise ValueError("text must not be empty" if path is None else f"{os.fspath(path)!r} must not be empty")
    return text
