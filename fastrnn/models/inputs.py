"""What models take, as arrays: numbers, standardised, or tokens, numbered.

An encoder is fitted on training data, transforms what comes later the same way, and fits into a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import as_size
from ..data import Standardizer, truncate
from .vocabulary import Tokens, as_tokenizer

Array = np.ndarray
Sequences = Array | list[Array]  # (N, T, D) or (N, T), or one array per sequence


def is_ragged(X: Any) -> bool:
    """Whether X is a list of sequences, each of a length of its own."""
    return isinstance(X, (list, tuple)) and bool(X) and all(isinstance(x, (list, tuple, str)) or np.ndim(x) for x in X)


def holds_text(X: Any) -> bool | None:
    """Whether X is a list (or array) of strings, or of lists of them; None where all its sequences are empty."""
    if isinstance(X, np.ndarray):
        return X.dtype.kind == "U"
    if any(isinstance(x, str) for x in X):
        return True
    filled: Any = next((x for x in X if not _is_empty(x)), [])
    if isinstance(filled, np.ndarray):
        return isinstance(filled.flat[0], str)
    if isinstance(filled, (list, tuple)):
        return isinstance(filled[0], str) if filled else None
    return False


def _is_empty(x: Any) -> bool:
    return not x.size if isinstance(x, np.ndarray) else hasattr(x, "__len__") and not len(x)


def as_data(X: Any, name: str = "X") -> Any:
    """X as a list, a tuple or an array, which is what all else here takes; a column of texts or arrays as a list.

    What is masked is NaN: no number.
    """
    if isinstance(X, str):
        raise TypeError(f"{name} must be a list of texts, got one string")
    if hasattr(X, "tocsr"):
        raise TypeError(f"{name} must be dense: a sparse array was passed, use X.toarray() to make it dense")
    if isinstance(X, (list, tuple)):
        return X
    array = np.asarray(unmasked(X))
    if not array.ndim:
        raise TypeError(f"{name} must be a list or an array, got {X!r}")
    return list(array) if array.ndim == 1 and array.dtype.kind in "OT" else array


def unmasked(X: Any) -> Any:
    """X with NaN where it is an array of NumPy with a mask."""
    return X.astype(np.float64).filled(np.nan) if np.ma.is_masked(X) else X


def column_names(X: Any) -> Array | None:
    """Names of a table's columns, (C,) strings; None where they are not strings, or X is no table with names."""
    names = [] if getattr(X, "columns", None) is None else list(X.columns)
    return np.array(names, object) if names and all(isinstance(name, str) for name in names) else None


def check_names(wanted: Array | None, found: Array | None) -> None:
    """Raise where both have names of columns and they differ; the messages are those of scikit-learn."""
    if wanted is None or found is None or np.array_equal(wanted, found):
        return
    text = "The feature names should match those that were passed during fit.\n"
    unseen, missing = sorted(set(found) - set(wanted)), sorted(set(wanted) - set(found))
    for kind, names in (("unseen at fit time", unseen), ("seen at fit time, yet now missing", missing)):
        if names:
            text += f"Feature names {kind}:\n" + "".join(f"- {name}\n" for name in names)
    if not unseen and not missing:
        text += "Feature names must be in the same order as they were in fit.\n"
    raise ValueError(text)


def as_numbers(name: str, value: Any) -> Array:
    """``value`` as an array of float64, or float32 where it is one; errors are those scikit-learn expects."""
    if isinstance(value, str):
        raise TypeError(f"{name} must hold numbers, got {value!r}")
    data = as_data(value, name)
    try:
        array = np.asarray(data)
        array = array.astype(np.float64) if array.dtype == object else array
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must hold numbers: {error}") from error
    if array.dtype.kind == "c":
        raise ValueError(f"{name} must hold real numbers. Complex data not supported")
    if array.dtype == np.float32:
        return array
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold numbers, got {array.dtype}")
    return array.astype(np.float64)


class NumberEncoder:
    """Numeric sequences, standardised column by column.

    X is (N, T, D); (N, T), sequences of one number per step; or a list of arrays (T_n, D) or (T_n,).

    Parameters
    ----------
    standardize : bool
        Subtract the training data's mean and divide by its deviation.
    """

    kind = "numbers"

    def __init__(self, standardize: bool, max_length: int | None = None):
        self.standardize = standardize
        self.max_length = None if max_length is None else as_size("max_length", max_length)
        self.scaler, self.size, self.width = Standardizer(), 0, 0

    def read(self, X: Any) -> Sequences:
        """X as numbers, (N, T, D) or a list of (T_n, D); all finite."""
        sequences = self._ragged(X) if is_ragged(X) and not _is_table(X) else self._whole(X)
        for k, part in enumerate(sequences if isinstance(sequences, list) else [sequences]):
            name = f"X[{k}]" if isinstance(sequences, list) else "X"
            wrong = np.argwhere(~np.isfinite(part))
            if len(wrong):
                at = ", ".join(map(str, wrong[0]))
                raise ValueError(f"{name} must hold finite numbers, got {part[tuple(wrong[0])]} (NaN or inf) at [{at}]")
        return sequences

    def _whole(self, X: Any) -> Array:
        array = as_numbers("X", X)
        if array.ndim not in (2, 3):
            raise ValueError(
                f"X must have shape (N, T, D), or (N, T) for one number per step, got {array.shape}. Reshape your data"
            )
        if not len(array):
            raise ValueError(
                f"X must have at least one sequence: 0 sample(s), a minimum of 1 is required, got {array.shape}"
            )
        if not array.shape[1] or not array.shape[-1]:
            raise ValueError(f"X must have steps: 0 feature(s) (shape={array.shape}) while a minimum of 1 is required.")
        return array if array.ndim == 3 else array[:, :, None]

    def _ragged(self, X: Any) -> list[Array]:
        parts = [as_numbers(f"X[{k}]", x) for k, x in enumerate(X)]
        filled = [part for part in parts if len(part)]
        if not filled and not self.size:
            raise ValueError("X must have steps: all its sequences are empty")
        D = (1 if filled[0].ndim == 1 else filled[0].shape[-1]) if filled else self.size
        # an empty sequence may come without its features
        parts = [part.reshape(-1, 1 if len(part) else D) if part.ndim == 1 else part for part in parts]
        for k, part in enumerate(parts):
            if part.ndim != 2 or part.shape[1] != D or not D:
                raise ValueError(f"X[{k}] must have shape (T, {D if k and D else 'D'}), got {part.shape}")
        return parts

    def fit(self, X: Any, rows: Array) -> NumberEncoder:
        """Learn from these rows of X."""
        sequences = self.read(X)
        self.size = (sequences[0] if isinstance(sequences, list) else sequences).shape[-1]
        self.width = table_width(X)
        if self.standardize:
            chosen = [sequences[k] for k in rows] if isinstance(sequences, list) else sequences[rows]
            self.scaler.fit(chosen)
        return self

    def transform(self, X: Any, dtype: Any) -> Sequences:
        """X as the network takes it."""
        sequences = self.read(X)
        first = sequences[0] if isinstance(sequences, list) else sequences
        if first.shape[-1] != self.size:
            raise ValueError(f"X must have {self.size} features per step, as in fit, got {first.shape[-1]}")
        if self.standardize:
            sequences = self.scaler.transform(sequences)
        if isinstance(sequences, list):
            sequences = [part.astype(dtype, copy=False) for part in sequences]
            return sequences if self.max_length is None else truncate(sequences, self.max_length)
        return sequences[:, : self.max_length].astype(dtype, copy=False)

    def to_dict(self) -> dict[str, Any]:
        scaler = self.scaler.to_dict() if self.standardize else None
        return {"kind": self.kind, "scaler": scaler, "size": self.size, "width": self.width}


class TokenEncoder:
    """Texts, or lists of tokens, as numbers of a vocabulary.

    Parameters
    ----------
    tokenizer : "words", "chars" or function
        What makes tokens of a string; lists of tokens are taken as they are.
    lowercase : bool
    min_count, max_tokens : int, int or None
        How often a token must be there to be known, and how many may be.
    max_length : int or None
        Tokens of a text that are read, the first ones.
    """

    kind = "tokens"

    def __init__(self, tokenizer: Any, lowercase: bool, min_count: int, max_tokens: int | None, max_length: int | None):
        self._tokenize, self.lowercase = as_tokenizer(tokenizer), lowercase
        self.min_count, self.max_tokens = min_count, max_tokens
        self.max_length = None if max_length is None else as_size("max_length", max_length)
        self.tokens = Tokens(())

    def read(self, X: Any) -> list[Sequence[str]]:
        """The tokens of every text."""
        return [self._one(k, x) for k, x in enumerate(X)]

    def _one(self, k: int, x: Any) -> Sequence[str]:
        if isinstance(x, str):
            tokens = self._tokenize(x.lower() if self.lowercase else x)
            if not isinstance(tokens, str) and not _are_tokens(tokens):
                raise TypeError(f"tokenizer must give a list of strings, got {tokens!r} for X[{k}]")
        elif _are_tokens(x):
            tokens = [token.lower() for token in x] if self.lowercase else list(x)
        else:
            raise TypeError(f"X[{k}] must be a text or a list of tokens like the others, got {x!r}")
        return tokens[: self.max_length]

    def fit(self, X: Any, rows: Array) -> TokenEncoder:
        """Learn the vocabulary of these rows of X."""
        texts = self.read(X)
        self.tokens = Tokens.of((texts[k] for k in rows), min_count=self.min_count, max_size=self.max_tokens)
        if len(self.tokens) < 2:
            raise ValueError(f"X must have tokens, seen at least min_count = {self.min_count} times, got none")
        return self

    def transform(self, X: Any, dtype: Any) -> list[Array]:
        """X as the network takes it: one array of integers per text."""
        return [self.tokens.encode(tokens) for tokens in self.read(X)]

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "tokens": self.tokens.to_list()}


def _are_tokens(x: Any) -> bool:
    return isinstance(x, (list, tuple, np.ndarray)) and all(isinstance(token, str) for token in x)


Encoder = NumberEncoder | TokenEncoder


def table_width(X: Any) -> int:
    """Columns of an X that is a table (N, T); 0 for other kinds."""
    return np.shape(X)[1] if _is_table(X) else 0


def _is_table(X: Any) -> bool:
    if not isinstance(X, (list, tuple)):
        return np.ndim(X) == 2
    if not is_ragged(X) or isinstance(X[0], np.ndarray) or _is_empty(X[0]):
        return False
    try:
        sizes = {np.shape(x) for x in X}
    except ValueError:  # a sequence whose steps are not alike
        return False
    return len(sizes) == 1 and len(next(iter(sizes))) == 1


def take(sequences: Sequences, rows: Array) -> Sequences:
    """These rows."""
    return [sequences[k] for k in rows] if isinstance(sequences, list) else sequences[rows]


def lengths_of(sequences: Sequences | list[Sequence[str]]) -> Array:
    """Steps of every sequence."""
    if isinstance(sequences, list):
        return np.array([len(part) for part in sequences], np.int64)
    return np.full(len(sequences), sequences.shape[1], np.int64)
