"""``fastrnn forecast``."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from .arguments import (
    LARGEST,
    add_command,
    add_quiet,
    check_outputs,
    count,
    given,
    note,
    positive,
    probability,
    share,
    size,
)
from .interrupt import StopOnCtrlC
from .outcome import exit_code
from .tables import MISSING, Table, is_number, read_table, write_table
from .timeline import Timeline, looks_like_time, numbered, timeline

Array = np.ndarray

STEPS = 10  # ahead, where neither --steps nor a season says how many
SEASONS = 5  # that a series must have before one is taken for granted
NARROWEST, WIDEST = 0.00001, 0.99999  # of intervals
_PARAMS = ("inputs", "cell", "hidden", "layers", "dropout", "epochs", "learning_rate", "validation_fraction")
_DESCRIPTION = """\
Say where a time series goes. FILE is CSV (or TSV) with a row per step, from the oldest to the newest, equally far
apart. A first column of dates, years or other steps is recognised; all other columns are forecast together, unless
--column says which.

What comes out is CSV: a row per step ahead, and for every column its median and the two ends of an interval. Empty
cells (and NA) are gaps, filled along the line between their neighbours, with a remark; rows without a value at the end
are cut off. NaN is an error. Ctrl-C stops training, and what was learned so far makes the forecast, the plot and,
with --save, a model.
"""
_EXAMPLES = """\
examples:
  fastrnn forecast co2.csv                                    a season ahead, to stdout
  fastrnn forecast co2.csv --steps 104 -o ahead.csv --plot ahead.png
  fastrnn forecast sunspots.csv --season 11 --interval 0.95   years have no season of their own: say it
  fastrnn forecast shop.csv --column sales --column visits    two of many columns, each learning from the other
  fastrnn forecast co2.csv --backtest                         how good such forecasts would have been
  some-program | fastrnn forecast - --steps 24                from a pipe
"""


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = add_command(
        commands, "forecast", help="say where a time series goes", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.add_argument("file", metavar="FILE", help='CSV or TSV; "-" for stdin')
    parser.add_argument("--column", action="append", metavar="NAME", help="what to forecast; may be repeated")
    parser.add_argument("--time", metavar="NAME", help="column that names the steps (default: the first, if it does)")
    parser.add_argument("--encoding", help="of the file (default: UTF-8, else Latin-1)")
    parser.add_argument("--steps", type=size, metavar="K", help=f"steps ahead (default: a season, or {STEPS})")
    parser.add_argument(
        "--horizon", type=size, metavar="K", help="steps learned to be predicted at once (default: all of --steps)"
    )
    parser.add_argument(
        "--season", type=_season, default="auto", metavar="K", help='steps of a season, or "none" (default: from dates)'
    )
    parser.add_argument(
        "--interval", type=_interval, default=0.8, metavar="P", help="probability within the interval (default: 0.8)"
    )
    parser.add_argument(
        "--missing",
        choices=("auto", "error", "interpolate"),
        default="auto",
        help="auto: fill empty cells, not NaN (default); error: neither; interpolate: both",
    )
    output = parser.add_argument_group("output")
    output.add_argument("-o", "--output", default="-", metavar="CSV", help="file for the forecast (default: stdout)")
    output.add_argument("--plot", metavar="PICTURE", help="draw it: .png, .svg or .pdf; needs matplotlib")
    output.add_argument("--save", metavar="MODEL", help="keep the model, for fastrnn.Forecaster.load")
    output.add_argument(
        "--backtest", action="store_true", help="train on the first 70 %% too, and say how good forecasts were since"
    )
    model = parser.add_argument_group("model")
    model.add_argument("--inputs", type=size, metavar="T", help="steps looked back on (default: two seasons)")
    model.add_argument("--cell", choices=("lstm", "gru", "rnn"), help="default: gru")
    model.add_argument("--hidden", type=size, metavar="H", help="units of a layer (default: 32)")
    model.add_argument("--layers", type=size, metavar="L", help="recurrent layers (default: 1)")
    model.add_argument("--dropout", type=share, metavar="P", help="share of features left out (default: 0)")
    model.add_argument("--epochs", type=size, metavar="K", help="passes over the series, at most (default: 100)")
    model.add_argument("--learning-rate", type=positive, metavar="R", help="default: 0.002")
    model.add_argument(
        "--validation-fraction", type=share, metavar="P", help="share of the series held out (default: 0.2)"
    )
    model.add_argument("--seed", type=count, default=0, metavar="S", help="of everything random (default: 0)")
    add_quiet(model)  # type: ignore[arg-type]
    parser.set_defaults(run=run)


def _season(text: str) -> float | str | None:
    if text in ("none", "auto"):
        return None if text == "none" else text
    value = positive(text)
    if not 2 <= value <= LARGEST:
        raise argparse.ArgumentTypeError(f"must be from 2 to {LARGEST} steps, got {text!r}")
    return value


def _interval(text: str) -> float:
    value = probability(text)
    if not NARROWEST <= value <= WIDEST:
        raise argparse.ArgumentTypeError(f"must be from {NARROWEST:.5f} to {WIDEST}, got {text!r}")
    return value


@dataclass(frozen=True)
class Series:
    """Columns of numbers (T, K), NaN where there is a gap; `Forecaster` takes it as it takes a table of pandas."""

    columns: tuple[str, ...]
    values: Array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.array(self.values, dtype)

    def last(self, steps: int) -> Series:
        """Its end."""
        return Series(self.columns, self.values[-steps:])


def run(arguments: argparse.Namespace) -> int:
    """Read, train, forecast."""
    from ..models import Forecaster

    outputs = {"--output": arguments.output, "--plot": arguments.plot, "--save": arguments.save}
    check_outputs(outputs, [arguments.file], streams=["--output"])
    if arguments.plot is not None:
        _check_picture(arguments.plot)
    table = read_table(arguments.file, arguments.encoding)
    time = _time_column(table, arguments.time, arguments.column)
    series = _series(table, _chosen_columns(table, time, arguments.column), arguments.missing)
    steps = _timeline(table, time, len(series.values))
    season = _usable_season(steps, len(series.values)) if arguments.season == "auto" else arguments.season
    ahead = arguments.steps or (STEPS if season is None else round(season))
    _check_end(steps, len(series.values), ahead)
    note(f"forecast: {_described(table, series, steps, season)}; {ahead} steps ahead")
    tail = round((1 - arguments.interval) / 2, 9)
    model = Forecaster(
        horizon=arguments.horizon or ahead,
        season=season,
        quantiles=(tail, 0.5, round(1 - tail, 9)),
        missing="interpolate",
        random_state=arguments.seed,
        progress=not arguments.quiet,
        **given(arguments, _PARAMS),
    )
    with StopOnCtrlC("forecast") as stopping:
        model.fit(series, callbacks=[stopping])
    if stopping.struck:
        note("forecast: stopped; this is the forecast of what was learned so far")
    _write(arguments, model, series, steps, "step" if time is None else table.columns[time], ahead)
    if stopping.struck:
        return 130
    if arguments.backtest:
        _look_back(arguments.output, model, series)
    # what is left to the network has a deviation of 1; where validation finds it of no use, it is left out
    return exit_code("forecast", model.history_, math.inf if "val_loss" in model.history_ else 1.0)


def _look_back(output: str, model: Any, series: Series) -> None:
    """Print how good forecasts were since the first 70 %, where the forecast itself does not go."""
    try:
        score = model.set_params(progress=False).backtest(series)
    except KeyboardInterrupt:
        note("forecast: stopped; the forecast was written, how good such forecasts were is not known")
        raise
    print(score, file=sys.stderr if output == "-" else sys.stdout)


# what is forecast


def _time_column(table: Table, wanted: str | None, chosen: Sequence[str] | None) -> int | None:
    """The place of the column that names the steps; None where there is none."""
    if wanted is not None:
        return table.index(wanted)
    if len(table.columns) == 1 or (chosen and table.columns[0] in chosen):
        return None
    cells = table.column(0)
    numbers = all(is_number(cell) or cell in MISSING for cell in cells)
    return None if numbers and not looks_like_time(cells, table.columns[0]) else 0


def _chosen_columns(table: Table, time: int | None, wanted: Sequence[str] | None) -> list[int]:
    """The places of the columns to forecast."""
    if not wanted:
        return [k for k in range(len(table.columns)) if k != time]
    chosen = [table.index(column) for column in wanted]
    if time in chosen:
        raise ValueError(f"--column must not be that of --time, got {table.columns[time]!r}")
    return list(dict.fromkeys(chosen))


def _series(table: Table, columns: list[int], missing: str) -> Series:
    """Numbers of the columns, without the rows at the end that have none; remarks on what is filled."""
    gaps = () if missing == "error" else MISSING

    def number(row: int, column: int) -> float:
        cell = table.rows[row][column]
        if cell in gaps or (missing == "interpolate" and cell.lower() == "nan"):
            return np.nan
        if cell in MISSING:
            raise ValueError(f"{table.where(row, column)}: must be a number, the cell is empty; {_HINT}")
        try:
            return table.number(row, column)
        except ValueError as error:
            hint = _HINT if cell.lower() == "nan" else "--column says which columns to forecast"
            raise ValueError(f"{error}; {hint}") from None

    values = np.array([[number(row, column) for column in columns] for row in range(len(table.rows))])
    names = tuple(table.columns[column] for column in columns)
    known = np.flatnonzero(~np.isnan(values).all(axis=1))
    if not len(known):
        raise ValueError(f"{table.name} must have numbers in column {names[0]!r}, got none")
    end = int(known[-1]) + 1
    if end < len(values):
        note(f"note: {table.name} has no value in its last {len(values) - end} rows: the forecast begins there")
    series = Series(names, values[:end])
    if gaps_left := int(np.isnan(series.values).sum()):
        row, column = np.argwhere(np.isnan(series.values))[0]
        where = table.where(int(row), columns[int(column)])
        note(f"note: {gaps_left} gaps are filled along the line between their neighbours, the first at {where}")
    return series


_HINT = "--missing interpolate fills it along the line between its neighbours"


def _timeline(table: Table, time: int | None, rows: int) -> Timeline:
    """How the steps are named."""
    if time is None or len(table.rows) < 2:
        return numbered()
    found = timeline(table.column(time)[: max(rows, 2)])
    if found is None:
        what = f"column {table.columns[time]!r} has no dates or numbers of a known form that are equally far apart"
        note(f"note: {what}: the steps ahead are numbered")
    return found or numbered()


def _check_end(steps: Timeline, rows: int, ahead: int) -> None:
    """Raise where the last step ahead has no name."""
    try:
        steps.label(rows + ahead - 1)
    except (ValueError, OverflowError):
        raise ValueError(f"--steps must not lead beyond the year 9999, got {ahead}") from None


def _usable_season(steps: Timeline, rows: int) -> float | None:
    """The season that the dates suggest, where the series has some of them."""
    return steps.season if steps.season is not None and rows >= SEASONS * steps.season else None


def _described(table: Table, series: Series, steps: Timeline, season: float | None) -> str:
    names = ", ".join(map(repr, series.columns))
    repeats = "no season" if season is None else f"a season of {season:.6g} steps"
    return f"{len(series.values):,} rows of {names} in {table.name} ({steps.spacing} apart), {repeats}".replace(
        "(no dates apart)", "(no dates)"
    )


# what comes out


def _check_picture(path: str) -> None:
    """Raise where no picture of that kind can be drawn."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("--plot needs matplotlib: pip install matplotlib") from error
    kinds = Figure().canvas.get_supported_filetypes()
    if _kind(path) not in kinds:
        raise ValueError(f"--plot must end in .png, .svg, .pdf or another kind of picture, got {path!r}")


def _kind(path: str) -> str:
    """The kind of picture that a file's name says."""
    return Path(path).suffix.removeprefix(".").lower()


def _write(
    arguments: argparse.Namespace, model: Any, series: Series, steps: Timeline, time_name: str, ahead: int
) -> None:
    """The forecast, the model and the picture."""
    quantiles = model.predict_quantiles(ahead)
    names = [name if level == 0.5 else f"{name}_{level:g}" for name in series.columns for level in _middle_first(model)]
    order = [model.quantiles.index(level) for level in _middle_first(model)]
    digits = np.repeat(_digits(series.values), len(order)).tolist()
    rows = [
        [steps.label(len(series.values) + k), *(f"{value:.{n}g}" for value, n in zip(row, digits, strict=True))]
        for k, row in enumerate(quantiles[:, :, order].reshape(ahead, -1))
    ]
    if arguments.save is not None:
        model.save(arguments.save)
    write_table(arguments.output, [[time_name, *names], *rows])
    if arguments.plot is not None:
        _draw(arguments.plot, model, series, steps, time_name, ahead)


def _digits(values: Array) -> Array:
    """(K,) with how many digits the values of a series (T, K) are written: 8, and more where they hardly differ."""
    with np.errstate(all="ignore"):
        shared = np.log10(np.nanmax(np.abs(values), axis=0) / np.nanstd(values, axis=0))
    return np.clip(np.ceil(5 + np.nan_to_num(shared)), 8, sys.float_info.dig).astype(int)


def _middle_first(model: Any) -> list[float]:
    """The levels in the order of the columns: median, lower, upper."""
    return sorted(model.quantiles, key=lambda level: (level != 0.5, level))


def _draw(path: str, model: Any, series: Series, steps: Timeline, time_name: str, ahead: int) -> None:
    """The forecast after the end of the series, with the steps' own names."""
    before = min(len(series.values), max(4 * ahead, 40))
    figure = model.plot(ahead, history=series.last(before))
    last = figure.axes[-1]
    last.xaxis.get_major_locator().set_params(integer=True)
    end = len(series.values) + ahead
    last.xaxis.set_major_formatter(lambda step, _: steps.label(round(step)) if 0 <= step < end else "")
    last.set_xlabel(time_name)
    if len(series.columns) == 1:
        last.set_title(series.columns[0])
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format=_kind(path))
