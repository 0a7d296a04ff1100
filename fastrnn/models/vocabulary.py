"""Words as integers: tokenizers, and the vocabulary of the tokens that were seen in training."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .._arrays import as_size

Array = np.ndarray

UNKNOWN = "<unk>"
_WORDS = re.compile(r"\w+(?:['\u2019]\w+)*|\n|[^\w\s]")
_NO_SPACE_BEFORE, _NO_SPACE_AFTER = frozenset(".,;:!?)]}%\u2019"), frozenset("([{\n")


def words(text: str) -> list[str]:
    """Words, punctuation marks and line breaks of a text; other white space goes.

    Examples
    --------
    >>> from fastrnn.models.vocabulary import words
    >>> words("Don't panic: it's (mostly) harmless.")
    ["Don't", 'panic', ':', "it's", '(', 'mostly', ')', 'harmless', '.']
    """
    return _WORDS.findall(text)


def joined(tokens: Iterable[str]) -> str:
    """A text of these words, with spaces where English has them: about the opposite of `words`.

    Examples
    --------
    >>> from fastrnn.models.vocabulary import joined
    >>> joined(["so", "long", ",", "and", "thanks", "!"])
    'so long, and thanks!'
    """
    text, before = [], "\n"
    for token in tokens:
        text.append(spaced(before, token))
        before = token
    return "".join(text)


def spaced(before: str, token: str) -> str:
    """``token`` with the space that it needs after the token ``before``."""
    is_close = token in _NO_SPACE_BEFORE or token == "\n" or before in _NO_SPACE_AFTER
    return token if is_close else f" {token}"


def as_tokenizer(tokenizer: Any) -> Callable[[str], Sequence[str]]:
    """The function that makes tokens of a string: "words", "chars", or one's own."""
    if callable(tokenizer):
        return tokenizer
    known: dict[Any, Callable[[str], Sequence[str]]] = {"words": words, "chars": list}
    if tokenizer not in known:
        raise ValueError(f"tokenizer must be 'words', 'chars' or a function, got {tokenizer!r}")
    return known[tokenizer]


class Tokens:
    """Tokens, numbered from 1 in the order of how often they were seen; 0 stands for all others.

    Parameters
    ----------
    tokens : sequence of str
        Those numbered 1, 2, ...

    Examples
    --------
    >>> from fastrnn.models.vocabulary import Tokens
    >>> tokens = Tokens.of([["to", "be", "or", "not", "to", "be"]], min_count=2)
    >>> len(tokens), tokens.encode(["to", "dream"]).tolist(), tokens[2]
    (3, [2, 0], 'to')
    """

    def __init__(self, tokens: Sequence[str]):
        self._tokens = [UNKNOWN, *tokens]
        self._numbers = {token: number for number, token in enumerate(self._tokens) if number}
        if len(self._numbers) != len(tokens) or not all(isinstance(token, str) for token in tokens):
            raise ValueError("tokens must be strings, each there once")

    @classmethod
    def of(cls, sequences: Iterable[Iterable[str]], *, min_count: int = 1, max_size: int | None = None) -> Tokens:
        """Those that are there at least ``min_count`` times, at most ``max_size`` of them, the unknown one included."""
        least = as_size("min_count", min_count)
        most = None if max_size is None else as_size("max_size", max_size, 2) - 1
        counts: Counter[str] = Counter()
        for sequence in sequences:
            counts.update(sequence)
        order = sorted((token for token, count in counts.items() if count >= least), key=lambda t: (-counts[t], t))
        return cls(order[:most])

    def encode(self, tokens: Iterable[str]) -> Array:
        """(T,) numbers."""
        find = self._numbers.get
        return np.array([find(token, 0) for token in tokens], np.int64)

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, number: int) -> str:
        return self._tokens[number]

    def to_list(self) -> list[str]:
        """What the constructor takes."""
        return self._tokens[1:]
