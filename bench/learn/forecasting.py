"""Forecasts one year ahead from one origin after another, beside the seasonal naive forecast and an autoregression.

A CSV file with a header, whose second column is the series; gaps are interpolated. The first 70 % of the rows are
trained on once; then every origin's forecast knows all that came before it, and so does the autoregression's::

    python -m bench.learn.forecasting sunspots.csv
    python -m bench.learn.forecasting co2.csv --horizon 52 --season 52.1786 --stride 4

The autoregression is statsmodels' AutoReg, with as many lags as Akaike's criterion says, without and with a linear
trend. MASE: the mean absolute error over that of the seasonal naive forecast within the first 70 %.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastrnn import Forecaster

from .trials import add_seeds, report

Array = np.ndarray

START = 0.7


def read_series(path: Path) -> Array:
    """The second column of a CSV file with a header; NaN where it is empty.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "series.csv")
    ...     _ = path.write_text("year,number\\n1700,5\\n1701,\\n1702,16\\n")
    ...     read_series(path).tolist()
    [5.0, nan, 16.0]
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return np.array([float(row[1]) if row[1] not in ("", "NA") else np.nan for row in rows])


def autoregression(series: Array, origins: Array, horizon: int, trend: str, most: int) -> tuple[Array, int]:
    """Forecasts (M, horizon) of an AR model that was fitted before the first origin, and its number of lags."""
    from statsmodels.tsa.ar_model import AutoReg, ar_select_order

    train = series[: origins[0]]
    lags = ar_select_order(train, maxlag=most, ic="aic", trend=trend).ar_lags
    fitted = AutoReg(train, lags, trend=trend).fit()
    found = [
        AutoReg(series[:origin], lags, trend=trend).predict(fitted.params, start=origin, end=origin + horizon - 1)
        for origin in origins
    ]
    return np.array(found), max(lags)


def main(arguments: Sequence[str] | None = None) -> int:
    """1 where the median of the MASE is not below that of the naive forecast and of every autoregression."""
    parser = argparse.ArgumentParser(prog="python -m bench.learn.forecasting", description=__doc__.split("\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--horizon", type=int, default=1, help="steps of a year (1)")
    parser.add_argument("--season", type=float, help="steps of a season; none by default")
    parser.add_argument("--stride", type=int, default=1, help="rows from one origin to the next (1)")
    parser.add_argument("--lags", type=int, default=60, help="of the autoregression, at most (60)")
    parser.add_argument("--no-linear", action="store_true", help="the network alone, without a linear part")
    add_seeds(parser)
    chosen = parser.parse_args(arguments)
    series = read_series(chosen.path)
    known = np.flatnonzero(~np.isnan(series))
    series = np.interp(np.arange(len(series)), known, series[known])
    scores = []
    for seed in chosen.seeds:
        model = Forecaster(horizon=chosen.horizon, season=chosen.season, linear=not chosen.no_linear, random_state=seed)
        found = model.backtest(series, start=START, stride=chosen.stride)
        print(f"seed {seed}: {found}", flush=True)
        scores.append(found.mase)
    bars = [found.naive_mase]
    for trend, name in (("c", ""), ("ct", " with a trend")):
        predicted, lags = autoregression(series, found.origins, chosen.horizon, trend, chosen.lags)
        bars.append(float(np.abs(predicted - found.actual[:, :, 0]).mean() / found.scale[0]))
        print(f"autoregression of {lags} lags{name}: MASE {bars[-1]:.3f}", flush=True)
    return int(report("MASE", scores) >= min(bars))


if __name__ == "__main__":
    raise SystemExit(main())
