"""What models are to predict, checked: labels as numbers of classes, numbers as columns."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arrays import as_number
from .inputs import as_numbers

Array = np.ndarray

LABELS = "strings, integers or bool"


def as_labels(name: str, y: Any) -> Array:
    """y as (N,) labels: strings, integers, bool."""
    if y is None:
        raise ValueError(f"{name} must be given: this model requires y to be passed, but the target y is None")
    if np.ma.is_masked(y):
        raise ValueError(f"{name} must have a label everywhere, got masked ones")
    try:
        labels = np.asarray(y)
    except ValueError as error:
        raise ValueError(f"{name} must have shape (N,), one label per sequence: {error}") from error
    # of a list with strings NumPy makes strings of all the rest, NaN too
    if labels.dtype.kind in "OT" or (labels.dtype.kind == "U" and isinstance(y, (list, tuple))):
        labels = _of_one_kind(name, np.asarray(y, object))
    if labels.dtype.kind not in "biufUO":
        complaint = ". Complex data not supported" if labels.dtype.kind == "c" else ""
        raise ValueError(f"{name} must hold labels, {LABELS}, got {labels.dtype}{complaint}")
    if labels.ndim == 2 and labels.shape[1] == 1:
        _warn_of_column(name, labels.shape)
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(f"{name} must have shape (N,), one label per sequence, got {labels.shape}")
    if labels.dtype.kind == "f":
        _check_finite(name, labels)
        if np.any(labels != np.floor(labels)):
            raise ValueError(f"{name} must hold labels. Unknown label type: numbers that are no integers")
    return labels


def _of_one_kind(name: str, labels: Array) -> Array:
    """Labels (dtype object) as an array of strings, of bool or of numbers."""
    for k, label in enumerate(labels.ravel()):
        is_nan = isinstance(label, (float, np.floating)) and np.isnan(label)
        if label is None or is_nan or type(label).__name__ in ("NAType", "NaTType"):
            raise ValueError(f"{name} must have a label everywhere, got {label!r} at [{k}]")
    kinds = {"str" if isinstance(label, str) else type(plain(label)).__name__ for label in labels.ravel()}
    if kinds <= {"str"}:
        # of an enumeration's members, astype would take the names
        return np.array([str.__str__(label) for label in labels.ravel()], str).reshape(labels.shape)
    if kinds not in ({"bool"}, {"int"}, {"float"}, {"int", "float"}):
        raise ValueError(f"{name} must hold labels of one kind, {LABELS}, got {', '.join(sorted(kinds))}")
    return np.array(labels.tolist())


def check_kind(name: str, labels: Array, others: Array) -> None:
    """Raise where these are strings and the others numbers, or the other way round: none would be equal."""
    if len(labels) and len(others) and (labels.dtype.kind == "U") != (others.dtype.kind == "U"):
        raise ValueError(f"{name} must hold labels of one kind, like {plain(others[0])!r}, got {plain(labels[0])!r}")


def as_columns(name: str, y: Any, N: int) -> Array:
    """y as (N, K) float64."""
    if y is None:
        raise ValueError(f"{name} must be given: this model requires y to be passed, but the target y is None")
    values = as_numbers(name, y).astype(np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(f"{name} must have shape (N,) or (N, K), got {values.shape}")
    check_count(name, len(values), N)
    _check_finite(name, values)
    return values if values.ndim == 2 else values[:, None]


def plain(label: Any) -> Any:
    """A label as Python has it, not NumPy: what messages show, and dicts are asked for."""
    return label.item() if isinstance(label, np.generic) else label


def check_count(name: str, found: int, N: int) -> None:
    """Raise unless there is one of ``name`` for each of N sequences."""
    if found != N:
        raise ValueError(f"{name} must have one entry for each of the {N} sequences of X, got {found}")


def classes_of(labels: Array) -> tuple[Array, Array]:
    """The different labels in their order, and the number of each label; a ValueError where all are of one class."""
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        found = f"only one class, {plain(classes[0])!r}" if len(classes) else "none"
        raise ValueError(f"y must have labels of at least two classes to learn from, got {found}")
    return classes, numbers.reshape(labels.shape)


def class_weights(chosen: Any, classes: Array, numbers: Array) -> list[float] | None:
    """Weight of every class, with mean 1 over the labels where it is "balanced"; None for equal weights."""
    if chosen is None:
        return None
    counts = np.bincount(numbers.ravel(), minlength=len(classes))
    if isinstance(chosen, str) and chosen == "balanced":
        return (counts.sum() / (len(classes) * counts)).tolist()
    if not isinstance(chosen, Mapping):
        raise ValueError(f"class_weight must be None, 'balanced' or a dict class -> weight, got {chosen!r}")
    known = {plain(label): k for k, label in enumerate(classes)}
    if strange := [label for label in chosen if label not in known]:
        raise ValueError(f"class_weight must have classes of y, {list(known)}, got {plain(strange[0])!r}")
    weights = np.ones(len(classes))
    for label, weight in chosen.items():
        weights[known[label]] = as_number(f"class_weight[{plain(label)!r}]", weight)
    if not np.all(np.isfinite(weights) & (weights >= 0)) or not weights.any():
        raise ValueError(f"class_weight must hold numbers of at least 0, one of them above, got {chosen!r}")
    return weights.tolist()


def _check_finite(name: str, values: Array) -> None:
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        at = ", ".join(map(str, wrong[0]))
        raise ValueError(f"{name} must hold finite numbers, got {values[tuple(wrong[0])]} (NaN or inf) at [{at}]")


def _warn_of_column(name: str, shape: tuple[int, ...]) -> None:
    exceptions = sys.modules.get("sklearn.exceptions")
    kind = UserWarning if exceptions is None else exceptions.DataConversionWarning
    text = f"A column-vector {name} was passed when a 1d array was expected: got shape {shape}, taken as ({shape[0]},)"
    warnings.warn(text, kind, stacklevel=5)
