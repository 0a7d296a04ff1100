"""Where does a series go? A forecast with its interval for a column of a CSV file, and how good such forecasts were.

Without a file, twenty years of months are made up, with a trend and a season::

    python examples/forecasting.py
    python examples/forecasting.py co2.csv --horizon 52 --season 52.18 --plot co2.png
    python examples/forecasting.py sunspots.csv --column SUNACTIVITY --horizon 11 --season 11
"""

import argparse
import csv
import importlib.util
from pathlib import Path

import numpy as np

from fastrnn.models import Forecaster

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("file", nargs="?", type=Path, help="a CSV file with a header, a row per step; gaps may be empty")
parser.add_argument("--column", help="which one (the last)")
parser.add_argument("--horizon", type=int, default=12, help="steps ahead (12)")
parser.add_argument("--season", type=float, default=12, help="steps of a season (12)")
parser.add_argument("--epochs", type=int, default=100, help="at most (100)")
parser.add_argument("--plot", type=Path, metavar="PICTURE", help="draw the forecast; needs matplotlib")
options = parser.parse_args()
if options.plot and importlib.util.find_spec("matplotlib") is None:
    parser.error("--plot needs matplotlib: pip install matplotlib")


def read(path, column):
    """A column of a CSV file, (T,), NaN where it is empty."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        place = header.index(column) if column else len(header) - 1
        return np.array([float(row[place] or "nan") for row in rows if row])
    except (OSError, ValueError, IndexError) as error:
        parser.error(f"cannot read numbers from {path}: {error}")


def made_up():
    """Sales of ice cream in 240 months."""
    t, rng = np.arange(240), np.random.default_rng(0)
    return 100 + 0.5 * t + 30 * np.sin(2 * np.pi * t / 12) + 5 * rng.standard_normal(240)


series = read(options.file, options.column) if options.file else made_up()
model = Forecaster(
    horizon=options.horizon, season=options.season, missing="interpolate", epochs=options.epochs, random_state=0
)
print(model.backtest(series, stride=options.horizon))

model.fit(series)
lower, upper = model.predict_interval()
for step, (median, low, high) in enumerate(zip(model.predict(), lower, upper, strict=True), 1):
    print(f"{step:>4}  {median:10.4g}   {low:.4g} to {high:.4g}")
if options.plot:
    model.plot(path=options.plot)
