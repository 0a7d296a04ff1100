"""The linear part of a forecast: a baseline, and a ridge regression of what comes on what was."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .._arrays import as_choice, as_size
from .estimator import decoded, encoded
from .ridge import PENALTIES, Ridge
from .series import Examples, anchors, phases

Array = np.ndarray

KINDS = ("mean", "last", "season")
ROUNDING = 1e-12  # of standardised columns: what is smaller is no difference


class Linear:
    """Forecasts from a baseline and, where there is one, a linear map; and how far they were off.

    Parameters
    ----------
    kind : "mean", "last" or "season"
        The baseline, as `series.anchors` has it.
    horizon, reach : int
        Steps ahead, and how many of them one application of the map gives: it is applied to its own forecasts until
        they reach the horizon.
    season : float or None
    penalty : float or None
        Of the regression; None: there is no map.

    Attributes
    ----------
    A : array (P, reach * K), a : array (reach, K)
        The map, of the past relative to its level, the columns known beforehand, and the phase of the season.
    scale, unit : array (K,)
        Deviation of what is left, and of the past from its last value.
    offsets : array (horizon, K, Q)
        Quantiles of what is left, in units of ``scale``.
    """

    def __init__(self, kind: str, horizon: int, reach: int, season: float | None, penalty: float | None):
        self.kind, self.horizon, self.reach, self.season, self.penalty = kind, horizon, reach, season, penalty
        self.A, self.a = np.zeros((0, 0)), np.zeros((reach, 1))
        self.scale, self.unit, self.offsets = np.ones(1), np.ones(1), np.zeros((1, 1, 1))

    def anchors(self, past: Array) -> tuple[Array, Array]:
        """As `series.anchors`, for one application."""
        return anchors(self.kind, past, self.reach, 1 if self.season is None else round(self.season))

    def features(self, past: Array, exog: Array, origin: Array) -> Array:
        """(M, P) what the map is of."""
        M = len(past)
        level = self.anchors(past)[0]
        return np.concatenate([(past - level).reshape(M, -1), exog.reshape(M, -1), phases(self.season, origin)], axis=1)

    def examples(self, given: Examples) -> tuple[Array, Array]:
        """What the regression is of: x (M, P), y (M, reach * K)."""
        assert given.future is not None
        T = given.past.shape[1]
        x = self.features(given.past, given.exog[:, : T + self.reach], given.origin)
        return x, (given.future[:, : self.reach] - self.anchors(given.past)[1]).reshape(len(x), -1)

    def with_map(self, ridge: Ridge, penalty: float) -> Linear:
        """Another one like this, whose map comes from a regression."""
        found = Linear(self.kind, self.horizon, self.reach, self.season, penalty)
        found.A, a = ridge.weights(penalty)
        found.a = a.reshape(self.reach, -1)
        found.scale, found.unit, found.offsets = self.scale, self.unit, self.offsets
        return found

    def refitted(self, given: Examples) -> Linear:
        """The same with a map learned from these examples."""
        return self if self.penalty is None else self.with_map(Ridge(*self.examples(given)), self.penalty)

    def predict(self, given: Examples) -> Array:
        """(M, horizon, K)."""
        past, found = given.past, []
        T = past.shape[1]
        # a map that grows without bounds loses against the others
        with np.errstate(over="ignore", invalid="ignore"):
            for first in range(0, self.horizon, self.reach):
                ahead = self.anchors(past)[1] + self.a
                if self.A.size:
                    exog = given.exog[:, first : first + T + self.reach]
                    ahead += (self.features(past, exog, given.origin + first) @ self.A).reshape(ahead.shape)
                found.append(ahead)
                past = np.concatenate([past, ahead], axis=1)[:, -T:]
        return np.concatenate(found, axis=1)

    def residuals(self, given: Examples) -> Array:
        """(M, horizon, K) what came, less what was predicted; 0 where that is rounding alone, which is not to be
        learned."""
        assert given.future is not None
        left = given.future - self.predict(given)
        return np.where(np.abs(left) <= ROUNDING, 0.0, left)

    def spread(self, train: Examples, quantiles: Sequence[float]) -> None:
        """Learn how far forecasts are off, and how far the past is from its last value."""
        residuals = self.residuals(train)
        self.scale, self.unit = (_deviation(a) for a in (residuals, train.past - train.past[:, -1:]))
        self.offsets = np.moveaxis(np.quantile(residuals / self.scale, quantiles, axis=0), 0, -1)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        plain = {name: getattr(self, name) for name in ("kind", "horizon", "reach", "penalty")}
        return plain | {name: encoded(getattr(self, name)) for name in ("A", "a", "scale", "unit", "offsets")}

    @classmethod
    def from_dict(cls, values: dict[str, Any], season: float | None) -> Linear:
        """The one that `to_dict` described."""
        kind, penalty = as_choice("kind", values["kind"], KINDS), values["penalty"]
        horizon, reach = as_size("horizon", values["horizon"]), as_size("reach", values["reach"])
        found = cls(kind, horizon, reach, season, None if penalty is None else float(penalty))
        for name in ("A", "a", "scale", "unit", "offsets"):
            setattr(found, name, decoded(values[name]))
        return found


def _deviation(values: Array) -> Array:
    """(K,) of (M, T, K); 1 where there is none."""
    found = values.std(axis=(0, 1))
    return np.where(found > ROUNDING, found, 1.0)


def _candidates(kinds: Sequence[str], train: Examples, season: float | None, has_map: bool) -> Iterator[Linear]:
    """Everything that there is to choose from, learned from these examples."""
    assert train.future is not None
    horizon = train.future.shape[1]
    for kind in kinds:
        if not has_map:
            yield Linear(kind, horizon, horizon, season, None)
            continue
        for reach in sorted({1, horizon}):
            bare = Linear(kind, horizon, reach, season, None)
            ridge = Ridge(*bare.examples(train))
            yield from (bare.with_map(ridge, float(penalty)) for penalty in PENALTIES)


def best(kinds: Sequence[str], train: Examples, judge: Examples, season: float | None, has_map: bool) -> Linear:
    """Of all kinds, reaches and penalties the one whose forecasts are nearest to what came in ``judge``."""
    chosen, least = None, math.inf
    for found in _candidates(kinds, train, season, has_map):
        error = float(np.abs(found.residuals(judge)).mean())
        if chosen is None or error < least:
            chosen, least = found, error
    assert chosen is not None
    return chosen
