"""How good forecasts would have been: errors over rolling origins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

ROUNDING = 1e-9  # of the largest value: where errors are smaller all along, a ratio of them says nothing


def naive(past: Array, horizon: int) -> Array:
    """The season before each origin, (M, season, K), repeated over (M, horizon, K): the forecast to beat.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models.backtest import naive
    >>> naive(np.array([[[4.0], [5.0]]]), 3)[0, :, 0].tolist()
    [4.0, 5.0, 4.0]
    """
    return past[:, np.arange(horizon) % past.shape[1]]


def naive_scale(values: Array, season: int) -> Array:
    """(K,) mean absolute error of the seasonal naive forecast within a series (T, K), one step of it after another."""
    if len(values) <= season:
        raise ValueError(f"series must have more than {season} rows, one season, to scale errors by, got {len(values)}")
    return np.abs(values[season:] - values[:-season]).mean(axis=0)


@dataclass(frozen=True)
class Backtest:
    """Forecasts from every origin, beside what came.

    Attributes
    ----------
    origins : array of int (M,)
        Row of the series at which each forecast begins.
    actual, predicted, naive : arrays (M, horizon, K)
        The series, the forecasts' medians, and the seasonal naive forecasts.
    quantiles : array (M, horizon, K, Q)
    levels : tuple of Q numbers
        Which quantiles these are.
    scale : array (K,)
        Mean absolute error of the seasonal naive forecast on what came before the first origin.

    References
    ----------
    Tashman 2000, "Out-of-sample tests of forecasting accuracy: an analysis and review" (rolling origins); Hyndman &
    Koehler 2006, "Another look at measures of forecast accuracy" (MASE).
    """

    origins: Array
    actual: Array
    predicted: Array
    naive: Array
    quantiles: Array
    levels: tuple[float, ...]
    scale: Array

    @property
    def mae(self) -> float:
        """Mean absolute error."""
        return float(np.abs(self.actual - self.predicted).mean())

    @property
    def rmse(self) -> float:
        """Root of the mean squared error."""
        return float(np.sqrt(np.square(self.actual - self.predicted).mean()))

    @property
    def mase(self) -> float:
        """Mean absolute scaled error, below 1 where forecasts are better than naive ones were in the past.

        Where those were exact, as in a series that repeats itself, a forecast without an error counts 0 and any other
        one infinity; what is below 1e-9 of the largest value is no error there.
        """
        return self._scaled(self.predicted)

    @property
    def naive_mase(self) -> float:
        """That of the seasonal naive forecast from the same origins."""
        return self._scaled(self.naive)

    @property
    def mase_by_step(self) -> Array:
        """(horizon,) the same for each step ahead."""
        return self._scaled_errors(self.predicted).mean(axis=(0, 2))

    @property
    def coverage(self) -> float:
        """Share of the values that lie between the outermost quantiles."""
        inside = (self.quantiles[..., 0] <= self.actual) & (self.actual <= self.quantiles[..., -1])
        return float(inside.mean())

    def _scaled(self, predicted: Array) -> float:
        return float(self._scaled_errors(predicted).mean())

    def _scaled_errors(self, predicted: Array) -> Array:
        """(M, horizon, K)."""
        errors = np.abs(self.actual - predicted)
        rounding = ROUNDING * np.abs(self.actual).max(axis=(0, 1))
        unscaled = np.where(errors > rounding, np.inf, 0.0)
        return np.divide(errors, self.scale, out=unscaled, where=self.scale > rounding)

    def __str__(self) -> str:
        wanted = self.levels[-1] - self.levels[0]
        return (
            f"{len(self.origins)} origins, {self.actual.shape[1]} steps ahead: MASE {self.mase:.3f} "
            f"(seasonal naive {self.naive_mase:.3f}), MAE {self.mae:.4g}, RMSE {self.rmse:.4g}, "
            f"{self.coverage:.0%} within the {wanted:.0%} interval"
        )
