"""Time series as arrays: tables with named columns, gaps, seasons, and examples of a past and what followed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .inputs import unmasked

Array = np.ndarray

HARMONICS = 3  # of a season
FEWEST = 20  # rows that tell a random walk
BLOCK = 4096  # rows that the test of a random walk takes at once, whatever the length of the series
RANDOM_WALK = -3.43  # of random walks, 1 in 100 has a smaller statistic


class Table(NamedTuple):
    """A series with a row per step.

    Attributes
    ----------
    values : array (T, K) float64
    names : tuple of str
        Of the columns.
    is_column : bool
        It came as (T,).
    gaps : array (T, K) of bool
        Where values were filled in.
    """

    values: Array
    names: tuple[str, ...]
    is_column: bool
    gaps: Array


def as_table(
    name: str, series: Any, missing: str, *, wanted: Sequence[str] | None = None, past: Array | None = None
) -> Table:
    """``series``, (T,) or (T, K), as a table without gaps; what is masked, or NA in pandas, is a gap, as NaN is.

    Parameters
    ----------
    name : str
        For errors.
    series : array or table
    missing : "error" or "interpolate"
    wanted : sequence of str, optional
        Names of the columns that it must have.
    past : array (S, K), optional
        The rows before the first one, where they are known: gaps at the beginning lie between them and what follows.

    Raises
    ------
    TypeError, ValueError
        Another shape, other columns, no numbers; infinity or NaN, with its column and row, unless it is interpolated.
    """
    columns = getattr(series, "columns", None)
    try:
        array = np.asarray(unmasked(series))
    except ValueError as error:
        raise ValueError(f"{name} must have shape (T,) or (T, K), got rows that are not alike: {error}") from error
    if array.dtype == object:
        array = np.where(_is_na(array), np.nan, array)
    if array.dtype.kind not in "biufO":
        raise TypeError(f"{name} must hold numbers, got {array.dtype}")
    try:
        array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must hold numbers: {error}") from error
    if array.ndim not in (1, 2) or (array.ndim == 2 and not array.shape[1]):
        raise ValueError(f"{name} must have shape (T,) or (T, K), got {array.shape}")
    table = array[:, None] if array.ndim == 1 else array
    names = tuple(map(str, range(table.shape[1]) if columns is None else columns))
    if wanted is not None:
        _check_columns(name, names, wanted, is_named=columns is not None)
    known = table[:0] if past is None else past
    values = _interpolated(name, table, names, known) if missing == "interpolate" else table
    _check_finite(name, values, names)
    return Table(values, names, array.ndim == 1, np.isnan(table))


def _is_na(array: Array) -> Array:
    """Which objects are the NA of pandas."""
    return np.array([type(value).__name__ == "NAType" for value in array.ravel()], bool).reshape(array.shape)


def _check_columns(name: str, found: Sequence[str], wanted: Sequence[str], *, is_named: bool) -> None:
    """Raise unless there are as many columns as in fit, and where both have names, the same ones.

    An array's columns have none (``is_named``). Numbers in their order are no names, in another order they are.
    """
    if len(found) != len(wanted):
        raise ValueError(f"{name} must have {len(wanted)} columns, as in fit, got {len(found)}")
    unnamed = list(map(str, range(len(wanted))))
    both_named = unnamed not in (list(found), list(wanted))
    is_other = is_named and list(found) != list(wanted)
    if is_other and (both_named or sorted(found) == sorted(wanted)):
        raise ValueError(f"{name} must have the columns {', '.join(wanted)}, as in fit, got {', '.join(found)}")


def _check_finite(name: str, values: Array, names: Sequence[str]) -> None:
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, column = map(int, wrong[0])
        more = f", and {len(wrong) - 1} more like it" if len(wrong) > 1 else ""
        where = f"{values[row, column]} in column {names[column]!r}, row {row}{more}"
        hint = "; missing='interpolate' fills gaps" if np.isnan(values[row, column]) else ""
        raise ValueError(f"{name} must hold finite numbers, got {where}{hint}")


def _interpolated(name: str, values: Array, names: Sequence[str], past: Array) -> Array:
    """NaN replaced by what lies on the line between its neighbours, the rows of ``past`` before them among these; the
    first and last known value beyond them."""
    filled = np.concatenate([past, values])
    for k, label in enumerate(names):
        known = np.flatnonzero(~np.isnan(filled[:, k]))
        if not len(known):
            raise ValueError(f"{name} must have numbers in every column, got none in column {label!r}")
        filled[:, k] = np.interp(np.arange(len(filled)), known, filled[known, k])
    return filled[len(past) :]


def phases(season: float | None, steps: Array) -> Array:
    """Sines and cosines of where in the season the steps are, (..., 2·harmonics); no column without a season.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models.series import phases
    >>> phases(4, np.arange(3)).round().astype(int).tolist()
    [[0, 1, 0, 1], [1, 0, 0, -1], [0, -1, 0, 1]]
    """
    if season is None:
        return np.empty((*np.shape(steps), 0))
    count = max(1, min(HARMONICS, int(season // 2)))
    angles = 2 * math.pi * steps[..., None] * np.arange(1, count + 1) / season
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(*np.shape(steps), 2 * count)


def reverts(values: Array) -> bool:
    """Whether all columns of a series (T, K) keep returning to their means, which a random walk does not.

    By the augmented Dickey-Fuller test, with as many steps before as Schwert takes. What repeats itself without any
    noise, and what never changes, returns; fewer than 20 rows do not tell.

    References
    ----------
    Dickey & Fuller 1979, "Distribution of the estimators for autoregressive time series with a unit root"; Schwert
    1989, "Tests for unit roots: a Monte Carlo investigation".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models.series import reverts
    >>> noise = np.random.default_rng(0).standard_normal((200, 1))
    >>> reverts(noise), reverts(noise.cumsum(axis=0))
    (True, False)
    """
    T = len(values)
    lags = min(int(12 * (T / 100) ** 0.25), (T - 4) // 3)
    return T >= FEWEST and all(_returns(column, lags) for column in values.T)


def _returns(column: Array, lags: int) -> bool:
    """The test of one column (T,)."""
    windows = np.lib.stride_tricks.sliding_window_view(np.diff(column), lags + 1)
    triangle: Any = np.empty((0, lags + 3))
    for k in range(0, len(windows), BLOCK):
        some = windows[k : k + BLOCK]
        level = column[lags + k :][: len(some)]
        x = np.column_stack([np.ones(len(some)), some[:, :-1], level, some[:, -1]])
        triangle = np.linalg.qr(np.concatenate([triangle, x]), mode="r")
    # of the level and the step, what the columns before them leave
    (level, step), (_, rest) = triangle[-2:, -2:]
    if abs(level) <= 1e-10 * np.linalg.norm(column):  # rounding: the steps before tell the level
        return True
    error = abs(rest) / math.sqrt(len(windows) - lags - 2)
    return bool(step * np.sign(level) < RANDOM_WALK * error)


class Examples(NamedTuple):
    """Pasts, and what is known of the steps that follow.

    Attributes
    ----------
    past : array (M, inputs, K)
    exog : array (M, inputs + horizon, E)
    origin : array of int (M,)
        Number of each one's first step that is to be predicted.
    future : array (M, horizon, K), or None where it is not known
    """

    past: Array
    exog: Array
    origin: Array
    future: Array | None

    def __len__(self) -> int:
        return len(self.past)

    def take(self, rows: Any) -> Examples:
        """Some of them."""
        future = None if self.future is None else self.future[rows]
        return Examples(self.past[rows], self.exog[rows], self.origin[rows], future)


def before(values: Array, gaps: Array, origins: Array, steps: int) -> Array:
    """The rows of a series (T, K) before each origin, (M, steps, K), as they were known there.

    A gap that reaches up to the origin holds the last value before it: what came after it is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models.series import before
    >>> values, gaps = np.array([[1.0], [2.0], [3.0]]), np.array([[False], [True], [False]])
    >>> before(values, gaps, np.array([2, 3]), 2)[:, :, 0].tolist()
    [[1.0, 1.0], [2.0, 3.0]]
    """
    at = np.asarray(origins)
    back = at[:, None] + np.arange(-steps, 0)
    if not gaps.any():
        return values[back]
    last = np.maximum.accumulate(np.where(gaps, 0, np.arange(len(values))[:, None]), axis=0)
    known = np.minimum(back[:, :, None], last[at - 1][:, None])
    return values[known, np.arange(values.shape[1])]


def examples(
    values: Array, gaps: Array, exog: Array, exog_gaps: Array, inputs: int, horizon: int, origins: Array
) -> Examples:
    """The examples of a series (T, K), and of columns that are known beforehand (T, E), at these origins; gaps of both
    are filled."""
    at = np.asarray(origins)
    past, known = before(values, gaps, at, inputs), before(exog, exog_gaps, at + horizon, inputs + horizon)
    return Examples(past, known, at, values[at[:, None] + np.arange(horizon)])


def anchors(kind: str, past: Array, horizon: int, season: int) -> tuple[Array, Array]:
    """What a past (M, inputs, K) is taken relative to, (M, 1, K), and what each forecast is, (M, horizon, K).

    "mean": zero, the mean of standardised columns; "last": the last value; "season": the past's last value, and the
    values one season before the forecast's steps.
    """
    M, T, K = past.shape
    if kind == "mean":
        return np.zeros((M, 1, K)), np.zeros((M, horizon, K))
    last = past[:, -1:]
    if kind == "last":
        return last, np.repeat(last, horizon, axis=1)
    return last, past[:, T - season + np.arange(horizon) % season]
