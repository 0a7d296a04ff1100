"""``fastrnn forecast``."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

import commands
import numpy as np
import pytest

from fastrnn.cli.timeline import looks_like_time, timeline
from fastrnn.models import Forecaster

FAST = ("--hidden", 4, "--epochs", 2, "--quiet")
ROWS = 96


def _months(k: int) -> str:
    return f"{2000 + k // 12}-{k % 12 + 1:02}"


def _value(k: int) -> float:
    return 50 + 0.2 * k + 5 * math.sin(2 * math.pi * k / 12)


def _write(path: Path, rows: list[list[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def _monthly() -> list[list[object]]:
    return [["month", "sales"], *([_months(k), f"{_value(k):.4f}"] for k in range(ROWS))]


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    return _write(tmp_path / "sales.csv", _monthly())


def _read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_a_season_ahead_with_dates_and_an_interval(sales):
    found = commands.succeed("forecast", sales, *FAST)
    head, *rows = _read(found.stdout)
    assert head == ["month", "sales", "sales_0.1", "sales_0.9"]
    assert [row[0] for row in rows] == [_months(ROWS + k) for k in range(12)]
    numbers = np.array([row[1:] for row in rows], float)
    assert np.all((numbers[:, 1] <= numbers[:, 0]) & (numbers[:, 0] <= numbers[:, 2]))
    assert np.abs(numbers[:, 0] - [_value(ROWS + k) for k in range(12)]).max() < 1.0
    assert "a season of 12 steps; 12 steps ahead" in found.stderr
    assert commands.succeed("forecast", sales, *FAST).stdout == found.stdout


def test_files_picture_model_and_backtest(sales, tmp_path):
    names = {name: tmp_path / name for name in ("ahead.csv", "ahead.png", "model.safetensors")}
    output = ("-o", names["ahead.csv"], "--plot", names["ahead.png"], "--save", names["model.safetensors"])
    found = commands.succeed(
        "forecast", sales, *FAST, "--steps", 5, "--interval", 0.5, "--seed", 3, *output, "--backtest"
    )
    assert re.match(r"\d+ origins, 5 steps ahead: MASE [\d.]+ .*within the 50% interval\n$", found.stdout)
    head, *rows = _read(names["ahead.csv"].read_text())
    assert head == ["month", "sales", "sales_0.25", "sales_0.75"]
    assert names["ahead.png"].read_bytes().startswith(b"\x89PNG")
    model = Forecaster.load(names["model.safetensors"])
    assert model.horizon == 5
    assert np.allclose(model.predict(5)[:, 0], [float(row[1]) for row in rows], rtol=1e-6)
    shown = commands.succeed("forecast", sales, *FAST, "--steps", 5, "--interval", 0.5, "--seed", 3).stdout
    assert _read(shown) == [head, *rows]


def test_columns_and_a_pipe_without_dates(tmp_path):
    rows = [["a", "b", "c"], *([f"{_value(k)}", "word", f"{_value(k + 3)}"] for k in range(ROWS))]
    path = _write(tmp_path / "some.csv", rows)
    found = commands.succeed("forecast", path, *FAST, "--column", "a", "--column", "c", "--season", 12)
    head, *ahead = _read(found.stdout)
    assert head == ["step", "a", "a_0.1", "a_0.9", "c", "c_0.1", "c_0.9"]
    assert [row[0] for row in ahead] == [str(ROWS + 1 + k) for k in range(12)]
    numbers = "".join(f"{_value(k)}\n" for k in range(ROWS))
    lines = _read(commands.succeed("forecast", "-", *FAST, "--season", "none", given=numbers).stdout)
    assert len(lines) == 11
    commands.fail("line 2, column 'b': must be a number, got 'word'", "forecast", path, *FAST)
    commands.fail("has no column 'd': they are 'a', 'b', 'c'", "forecast", path, *FAST, "--column", "d")


def test_empty_cells_are_gaps_and_those_at_the_end_are_to_come(tmp_path):
    rows = _monthly()
    whole = commands.succeed("forecast", _write(tmp_path / "whole.csv", rows), *FAST).stdout
    for k, cell in ((10, ""), (40, "NA")):
        rows[k][1] = cell
    path = _write(tmp_path / "gaps.csv", [*rows, [_months(ROWS), ""], [_months(ROWS + 1), ""]])
    found = commands.succeed("forecast", path, *FAST)
    assert f"2 gaps are filled along the line between their neighbours, the first at {path}, line 11" in found.stderr
    assert "no value in its last 2 rows" in found.stderr
    assert [row[0] for row in _read(found.stdout)] == [row[0] for row in _read(whole)]
    commands.fail(
        "line 11, column 'sales': must be a number, the cell is empty", "forecast", path, "--missing", "error"
    )


@pytest.mark.parametrize("cell", ["nan", "NaN", "inf"])
def test_nan_is_named_by_line_and_column(tmp_path, cell):
    rows = _monthly()
    rows[20][1] = cell
    path = _write(tmp_path / "sales.csv", rows)
    commands.fail(f"{path}, line 21, column 'sales': must be a finite number, got '{cell}'", "forecast", path)
    if cell != "inf":
        assert len(_read(commands.succeed("forecast", path, *FAST, "--missing", "interpolate").stdout)) == 13


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("month,sales\n", "must have rows, got a header only"),
        ("month,sales\n2000-01,1\n2000-02\n", "line 3: must have 2 cells, as the first line, got 1"),
        ("month,sales\n2000-01,1\n2000-02,2\n2000-03,3\n", "series must have more rows"),
        ("month,sales\n2000-02,1\n2000-01,2\n", "from the oldest to the newest, got '2000-01' after '2000-02'"),
        ("year,sales\n1990,1\n1989,2\n1988,3\n", "from the oldest to the newest, got '1989' after '1990'"),
        ("sales,sales\n1,2\n3,4\n", "columns of different names, got 'sales' twice"),
        ('month,sales\n2000-01,"1\n', "must be CSV"),
        ("month,sales\n2000-01,\n2000-02,\n", "must have numbers in column 'sales', got none"),
        (
            "month;sales\n2000-01;1,5\n2000-02;2,5\n",
            "line 2, column 'sales': must be a number without commas",
        ),
        ("2000;1,5\n2001;2,5\n2002;3,5\n", "must be a number without commas, got '2,5'"),
    ],
    ids=[
        "header only",
        "ragged",
        "few",
        "newest first",
        "last year first",
        "twice",
        "open quote",
        "no numbers",
        "comma",
        "no header",
    ],
)
def test_tables_that_will_not_do(tmp_path, content, message):
    (tmp_path / "sales.csv").write_text(content)
    commands.fail(message, "forecast", "sales.csv", "-o", "ahead.csv", cwd=tmp_path)
    assert not (tmp_path / "ahead.csv").exists()


@pytest.mark.parametrize("day", [29, 30])
def test_months_without_the_day_of_the_others(tmp_path, day):
    months = [divmod(12 * 2001 + 2 + k, 12) for k in range(11)]
    rows = [["day", "v"], *([f"{year}-{month + 1:02}-{day}", k] for k, (year, month) in enumerate(months))]
    found = commands.succeed("forecast", _write(tmp_path / "some.csv", rows), *FAST, "--steps", 3)
    assert [row[0] for row in _read(found.stdout)[1:]] == ["2002-02-28", f"2002-03-{day}", f"2002-04-{day}"]


def test_years_with_a_hole_are_no_data(tmp_path):
    rows = [["Year", "v"], *([1900 + k + (k > 5), math.sin(k)] for k in range(24))]
    found = commands.succeed("forecast", _write(tmp_path / "some.csv", rows), *FAST, "--steps", 2)
    assert "column 'Year' has no dates or numbers of a known form that are equally far apart" in found.stderr
    assert [row[0] for row in _read(found.stdout)] == ["Year", "25", "26"]
    assert _read(found.stdout)[0][1:] == ["v", "v_0.1", "v_0.9"]


def test_values_that_hardly_differ_keep_their_digits(tmp_path):
    rows = [["large", "flat"], *([1e9 + k % 5, 0.1] for k in range(60))]
    found = _read(commands.succeed("forecast", _write(tmp_path / "some.csv", rows), *FAST, "--steps", 5).stdout)
    assert [round(float(row[1]) - 1e9) for row in found[1:]] == list(range(5))
    assert [row[4] for row in found[1:]] == ["0.1"] * 5


def test_a_column_of_an_unknown_form_is_told_of(tmp_path):
    rows = [["time", "v"], *([f"2000-01-01T{k:02}:00:00Z", math.sin(k)] for k in range(24))]
    _write(tmp_path / "some.csv", rows)
    found = commands.succeed("forecast", "some.csv", *FAST, "--steps", 2, cwd=tmp_path)
    assert "column 'time' has no dates or numbers of a known form that are equally far apart" in found.stderr
    assert [row[0] for row in _read(found.stdout)] == ["time", "25", "26"]


def test_a_forecast_that_grows_without_bounds_is_none(tmp_path):
    _write(tmp_path / "some.csv", [["v"], *([math.exp(k / 2)] for k in range(60))])
    options = ("--steps", 5000, "--horizon", 1, "-o", "ahead.csv", *FAST)
    commands.fail("steps must be fewer, got 5000: after step ", "forecast", "some.csv", *options, cwd=tmp_path)
    assert not (tmp_path / "ahead.csv").exists()


def test_a_network_that_diverged_and_is_not_left_out(sales):
    options = ("--learning-rate", 1e5, "--steps", 2, *FAST)
    found = commands.run("forecast", sales, *options, "--validation-fraction", 0)
    assert found.returncode == 1 and "forecast: training diverged: the loss is " in found.stderr
    found = commands.succeed("forecast", sales, *options)
    assert [float(row[1]) for row in _read(found.stdout)[1:]] == pytest.approx([_value(96), _value(97)], rel=0.02)


@pytest.mark.parametrize("unit", ["days", "months"])
def test_no_forecast_beyond_the_calendar(tmp_path, unit):
    days = [f"9999-12-{k:02}" for k in range(1, 31)]
    dates = days if unit == "days" else [f"{9990 + k // 12}-{k % 12 + 1:02}" for k in range(118)]
    path = _write(tmp_path / "some.csv", [["date", "v"], *([date, k] for k, date in enumerate(dates))])
    (tmp_path / "ahead.csv").write_text("kept")
    message = "--steps must not lead beyond the year 9999, got 3"
    commands.fail(message, "forecast", path, *FAST, "--steps", 3, "-o", "ahead.csv", cwd=tmp_path)
    assert (tmp_path / "ahead.csv").read_text() == "kept"


def test_names_that_stdout_cannot_encode(tmp_path):
    rows = [["größe"], *([_value(k)] for k in range(ROWS))]
    path = _write(tmp_path / "some.csv", rows)
    found = commands.succeed("forecast", path, *FAST, "--steps", 2, PYTHONIOENCODING="ascii")
    assert found.stdout.startswith("step,gr??e,")
    assert len(_read(found.stdout)) == 3


def test_a_picture_of_no_kind_is_told_of_first(sales):
    commands.fail("--plot must end in .png", "forecast", sales, "--plot", sales.with_suffix(".doc"))


def test_ctrl_c_forecasts_with_what_was_learned(sales, tmp_path):
    output, model = tmp_path / "ahead.csv", tmp_path / "model.safetensors"
    options = ("--epochs", 1_000_000, "--validation-fraction", 0, "--backtest")
    _, err = commands.stopped_by_ctrl_c("forecast", sales, *options, "-o", output, "--save", model, cwd=tmp_path)
    assert "stopped; this is the forecast of what was learned so far" in err
    assert len(_read(output.read_text())) == 13
    assert len(Forecaster.load(model).predict()) == 12


@pytest.mark.parametrize(
    ("cells", "ahead", "season"),
    [
        (["2000-01-01", "2000-01-02", "2000-01-03"], "2000-01-05", 7),
        (["19991218", "19991225", "20000101"], "20000115", 365.25 / 7),
        (["199911", "199912", "200001"], "200003", 12),
        (["2000-01-31", "2000-02-29", "2000-03-31"], "2000-05-31", 12),
        (["2000-03-15", "2000-06-15", "2000-09-15"], "2001-03-15", 4),
        (["2001-11-30", "2001-12-30", "2002-01-30"], "2002-03-30", 12),
        (["2001-01-30", "2001-02-28", "2001-03-30"], "2001-05-30", 12),
        (["2001-10-29 12:00", "2001-12-29 12:00", "2002-02-28 12:00"], "2002-06-29 12:00", 6),
        (["1.1.2000", "1.1.2001", "1.1.2002"], "01.01.2004", None),
        (["2000-01-01 00:00", "2000-01-01 06:00", "2000-01-01 12:00"], "2000-01-02 00:00", 4),
        (["1700", "1701", "1702"], "1704", None),
        (["-4", "-2", "0"], "4", None),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_timelines_go_on(cells, ahead, season):
    found = timeline(cells)
    assert found.label(4) == ahead
    assert found.season == (None if season is None else pytest.approx(season))
    assert [found.label(k) for k in range(3)] == cells or cells[0] == "1.1.2000"


def test_what_is_no_timeline():
    assert timeline(["2000-01-01", "2000-01-02", "2000-01-04"]) is None
    assert timeline(["2000-01-31 00:00", "2000-02-29 06:00", "2000-03-31 12:00"]) is None
    assert timeline(["2000-01-30", "2000-02-28", "2000-03-30"]) is None
    assert looks_like_time(["2000-01-01", "2000-01-02", "2000-01-04"])
    assert not looks_like_time(["3.5", "4.5", "5.5"])
    assert not looks_like_time(["3", "4", "9"])
    assert looks_like_time(["3", "4", "9"], "Year") and not looks_like_time(["3", "4", "4"], "Year")
    assert looks_like_time(["1958.2", "1958.3", "1958.5"], "year") and not looks_like_time(["3", "nan", "5"], "year")
    for cells in (["2000-01-02", "2000-01-01"], ["9", "4", "3"], ["1990.0", "1989.0"]):
        with pytest.raises(ValueError, match="oldest to the newest"):
            timeline(cells)
