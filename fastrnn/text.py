"""Text as integers: a vocabulary of characters, a corpus that every Python has, n-gram entropies, and sampling."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ._arrays import as_number, as_size
from .init import as_generator
from .layers import as_indices

Array = np.ndarray


class Vocabulary:
    """The characters of a text, in order of their code points, numbered from 0.

    Parameters
    ----------
    text : str

    Examples
    --------
    >>> from fastrnn.text import Vocabulary
    >>> vocabulary = Vocabulary("abracadabra")
    >>> len(vocabulary), vocabulary.encode("cab").tolist(), vocabulary.decode([2, 0, 1])
    (5, [2, 0, 1], 'cab')
    """

    def __init__(self, text: str):
        self._points = np.unique(_code_points(text))

    @property
    def characters(self) -> str:
        return "".join(map(chr, self._points))

    def __len__(self) -> int:
        return len(self._points)

    def encode(self, text: str) -> Array:
        """(len(text),) indices. A character that the vocabulary lacks is a ValueError."""
        points = _code_points(text)
        indices = np.searchsorted(self._points, points)
        known = indices < len(self)
        known[known] = self._points[indices[known]] == points[known]
        if not known.all():
            raise ValueError(f"text must hold characters of the vocabulary only, got {chr(points[~known][0])!r}")
        return indices.astype(np.intp)

    def decode(self, indices: Any) -> str:
        """The text of these indices."""
        points = self._points[as_indices("indices", indices, len(self))]
        return points.tobytes().decode("utf-32-le", "surrogatepass")


def _code_points(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def python_corpus() -> str:
    """English text that every Python brings: its reference manual, or else the docstrings of its standard library."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        import sysconfig

        return "\n".join(_docstrings(Path(sysconfig.get_path("stdlib"))))
    return "\n".join(topics.values())


def _docstrings(folder: Path) -> Iterator[str]:
    """Docstrings of a folder's modules, their classes and functions; read, not imported."""
    import ast

    for path in sorted(folder.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                docstring = ast.get_docstring(node)
                if docstring:
                    yield docstring


def ngram_bits(train: Array, held_out: Array, size: int, order: int) -> float:
    """Bits per character that an n-gram model of ``train`` needs on ``held_out``.

    Witten-Bell interpolation: with n(ctx, a) the count of a after the context, n(ctx) their sum and t(ctx) the number
    of different characters seen after it,

    p(a | ctx) = (n(ctx, a) + t(ctx) p(a | shorter ctx)) / (n(ctx) + t(ctx)),

    down to 1 / size without any context.

    Parameters
    ----------
    train, held_out : arrays of int (M,), (K,)
        The text, and its continuation. The first character of ``held_out`` is context only.
    size : int
        Characters in the vocabulary.
    order : int
        1 for unigrams, 3 for trigrams.

    References
    ----------
    Witten & Bell 1991, "The zero-frequency problem"; Chen & Goodman 1999, "An empirical study of smoothing techniques
    for language modeling".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.text import ngram_bits
    >>> text = np.array([0, 1] * 500)
    >>> round(ngram_bits(text, text[:100], 2, 1), 2), ngram_bits(text, text[:100], 2, 3) < 0.01
    (1.0, True)
    """
    size, order = as_size("size", size), as_size("order", order)
    train, held_out = as_indices("train", train, size), as_indices("held_out", held_out, size)
    if len(held_out) < 2:
        raise ValueError(f"held_out must hold at least 2 characters, got {len(held_out)}")
    lead = train[max(len(train) - order, 0) :]
    scored = len(held_out) - 1
    p = np.full(scored, 1 / size)
    for n in range(1, order + 1):
        seen, asked = _ngrams(train, size, n), _ngrams(np.concatenate([lead, held_out]), size, n)[-scored:]
        if len(asked) < scored:  # a text too short for any n-gram of this order says nothing new
            break
        kinds, counts = np.unique(seen, return_counts=True)
        contexts, where = np.unique(kinds // size, return_inverse=True)
        total = np.bincount(where, counts, minlength=len(contexts))
        different = np.bincount(where, minlength=len(contexts))
        t = _look_up(contexts, different, asked // size)
        known = t > 0
        mixed = _look_up(kinds, counts, asked) + t * p
        p[known] = mixed[known] / (_look_up(contexts, total, asked // size) + t)[known]
    return float(-np.log2(p).mean())


def _ngrams(codes: Array, size: int, n: int) -> Array:
    """(M - n + 1,) numbers, each of n successive characters; the last is the lowest digit."""
    if size**n > np.iinfo(np.int64).max:
        raise ValueError(f"order must be smaller for {size} characters, got {n}")
    count = max(len(codes) - n + 1, 0)
    number = np.zeros(count, np.int64)
    for k in range(n):
        number = number * size + codes[k : k + count]
    return number


def _look_up(keys: Array, values: Array, wanted: Array) -> Array:
    """values[i] where keys[i] == wanted (keys sorted), 0 where there is none; float64."""
    if not len(keys):
        return np.zeros(len(wanted))
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0).astype(np.float64)


def sample(model: Any, prompt: Any, count: int, *, temperature: float = 1.0, seed: Any = None) -> Array:
    """Let a language model go on from a prompt, one streamed step per character.

    Parameters
    ----------
    model : Sequential
        Its ``step`` takes indices (1,) and gives logits (1, V).
    prompt : array of int (P,)
        At least one character.
    count : int
        Characters to draw.
    temperature : float
        Divides the logits; 0 takes the likeliest character each time.
    seed : int, numpy.random.Generator or None

    Returns
    -------
    array of int (count,)

    Examples
    --------
    >>> from fastrnn import Dense, Embedding, LSTM, Sequential
    >>> from fastrnn.text import sample
    >>> model = Sequential([Embedding(9, 4, seed=0), LSTM(4, 8, seed=1), Dense(8, 9, seed=2)])
    >>> sample(model, [1, 2], 5, temperature=0.5, seed=0).shape
    (5,)
    """
    if (temperature := as_number("temperature", temperature)) < 0:
        raise ValueError(f"temperature must be at least 0, got {temperature!r}")
    prompt = as_indices("prompt", prompt, model.output_size)
    if prompt.ndim != 1 or not prompt.size:
        raise ValueError(f"prompt must have shape (P,) with P at least 1, got {prompt.shape}")
    rng, state, drawn, count = as_generator(seed), None, [], as_size("count", count, 0)
    for character in prompt[:-1]:
        _, state = model.step([character], state)
    character = prompt[-1]
    for _ in range(count):
        logits, state = model.step([character], state)
        character = _draw(logits[0].astype(np.float64), temperature, rng)
        drawn.append(character)
    return np.array(drawn, np.intp)


def _draw(logits: Array, temperature: float, rng: np.random.Generator) -> int:
    """An index with probability softmax(logits / temperature)."""
    if not math.isfinite(logits.max()):
        raise ValueError(f"model must give logits of which the largest is finite, got {logits.max()}")
    if temperature == 0:
        return int(logits.argmax())
    weights = np.exp((logits - logits.max()) / temperature).cumsum()
    return int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))
