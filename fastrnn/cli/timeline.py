"""The steps of a time series: dates or numbers equally far apart, and how they go on."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

FORMATS = (
    *("%Y-%m-%d", "%Y%m%d", "%Y-%m", "%Y%m", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y"),
    *("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"),
)
DIGITS = {"%Y%m%d": 8, "%Y%m": 6}  # of formats without separators
NAMES = ("date", "datetime", "day", "hour", "month", "quarter", "step", "time", "timestamp", "week", "year")
DAY, WEEK, YEAR = timedelta(days=1), timedelta(days=7), timedelta(days=365.25)


@dataclass(frozen=True)
class Timeline:
    """Names of steps.

    Attributes
    ----------
    label : function of int
        The name of step k, from 0; also beyond the end.
    spacing : str
        How far they are apart, in words.
    season : float or None
        Steps that are likely to be a season: a day of what is taken more often, a week of days, a year of weeks,
        months and quarters.
    """

    label: Callable[[int], str]
    spacing: str
    season: float | None = None


def numbered() -> Timeline:
    """Steps without names: 1, 2, ..."""
    return Timeline(lambda k: str(k + 1), "no dates")


def timeline(cells: Sequence[str]) -> Timeline | None:
    """What these cells, at least two, are the names of; None where they are not equally far apart.

    Raises
    ------
    ValueError
        They go back in time.

    Examples
    --------
    >>> from fastrnn.cli.timeline import timeline
    >>> months = timeline(["2001-10-31", "2001-11-30", "2001-12-31"])
    >>> months.label(4), months.spacing, months.season
    ('2002-02-28', '1 month', 12.0)
    >>> timeline(["1990", "1992"]).label(2)
    '1994'
    """
    found = [_dated(cells, dates, form) for form in FORMATS if (dates := _dates(cells, form))]
    return next((line for line in [*found, _counted(cells)] if line is not None), None)


def looks_like_time(cells: Sequence[str], name: str = "") -> bool:
    """Whether a column is made of dates, or of whole numbers that are equally far apart; where its name is one of time,
    of any numbers that rise, or fall."""
    is_named = name.lower() in NAMES
    gaps = _gaps(cells, float if is_named else int)
    is_counted = (_all_above(gaps) or _all_below(gaps)) and (is_named or len(set(gaps)) == 1)
    return is_counted or any(_dates(cells, form) for form in FORMATS)


def _dates(cells: Sequence[str], form: str) -> list[datetime]:
    """All cells as dates of a format; none where one is not."""
    if form in DIGITS and not all(len(cell) == DIGITS[form] for cell in cells):
        return []
    try:
        return [datetime.strptime(cell, form) for cell in cells]
    except ValueError:
        return []


def _dated(cells: Sequence[str], dates: list[datetime], form: str) -> Timeline | None:
    _check_order([later >= earlier for earlier, later in pairwise(dates)], cells)
    return _by_month(dates, form) or _by_gap(dates, form)


def _by_gap(dates: list[datetime], form: str) -> Timeline | None:
    """Dates as many seconds apart each time."""
    gaps = {later - earlier for earlier, later in pairwise(dates)}
    if len(gaps) != 1 or (gap := gaps.pop()) <= timedelta():
        return None
    return Timeline(lambda k: (dates[0] + k * gap).strftime(form), _in_words(gap), _season(gap))


def _by_month(dates: list[datetime], form: str) -> Timeline | None:
    """Dates as many months apart each time, on the same day, or on the last one of months without that day."""
    numbers = [12 * date.year + date.month - 1 for date in dates]
    months = {later - earlier for earlier, later in pairwise(numbers)}
    if len(months) != 1 or 0 in months:
        return None
    step = months.pop()
    day = 31 if all(date.day == _last_day(date.year, date.month) for date in dates) else max(date.day for date in dates)

    def date_of(k: int) -> datetime:
        year, month = divmod(numbers[0] + k * step, 12)
        return dates[0].replace(year=year, month=month + 1, day=min(day, _last_day(year, month + 1)))

    if any(date != date_of(k) for k, date in enumerate(dates)):
        return None

    spacing = f"{step} month{'s' if step > 1 else ''}"
    return Timeline(lambda k: date_of(k).strftime(form), spacing, 12 / step if 12 / step >= 2 else None)


def _last_day(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def _counted(cells: Sequence[str]) -> Timeline | None:
    """Whole numbers that rise by the same each time, such as years."""
    if _all_below(_gaps(cells, float)):
        _check_order([False], cells)
    gaps = _gaps(cells, int)
    if len(set(gaps)) != 1 or gaps[0] < 1:
        return None
    return Timeline(lambda k: str(int(cells[0]) + k * gaps[0]), str(gaps[0]))


def _gaps(cells: Sequence[str], number: Callable[[str], Any]) -> list[Any]:
    """Differences of neighbours; none where not all cells are numbers of that kind."""
    try:
        numbers = [number(cell) for cell in cells]
    except ValueError:
        return []
    return [later - earlier for earlier, later in pairwise(numbers)]


def _all_above(gaps: Sequence[Any]) -> bool:
    return bool(gaps) and all(gap > 0 for gap in gaps)


def _all_below(gaps: Sequence[Any]) -> bool:
    return bool(gaps) and all(gap < 0 for gap in gaps)


def _check_order(rises: Sequence[bool], cells: Sequence[str]) -> None:
    if False in rises:
        k = list(rises).index(False)
        raise ValueError(f"rows must go from the oldest to the newest, got {cells[k + 1]!r} after {cells[k]!r}")


def _in_words(gap: timedelta) -> str:
    if gap % DAY:
        return str(gap)
    return f"{gap.days} day{'s' if gap.days > 1 else ''}"


def _season(gap: timedelta) -> float | None:
    period = DAY if gap < DAY else WEEK if gap == DAY else YEAR
    steps = period / gap
    return steps if steps >= 2 else None
