"""Every script in `examples/` runs, from a file and from data of its own, and says what it promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastrnn

ROOT = Path(__file__).resolve().parent.parent


def run(script, *arguments, stdin=""):
    """stdout of an example."""
    result = ended(script, *arguments, stdin=stdin)
    assert result.returncode == 0, result.stderr
    return result.stdout


def fail(script, *arguments, stdin=""):
    """stderr of an example that must end with a message and no traceback."""
    result = ended(script, *arguments, stdin=stdin)
    assert result.returncode and "Traceback" not in result.stderr, result.stderr
    return result.stderr


def ended(script, *arguments, stdin):
    """An example, run to its end."""
    path = [os.environ.get("PYTHONPATH"), str(ROOT), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
    return subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / f"{script}.py"), *map(str, arguments)],
        env=environment | {"PYTHONIOENCODING": "utf-8"},
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("script", sorted(path.stem for path in (ROOT / "examples").glob("*.py")))
def test_help_shows_how_to_call(script):
    assert f"python examples/{script}.py" in run(script, "--help")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_adding_problem(cell):
    printed = run("adding_problem", "--cell", cell, "--steps", "6", "--hidden", "16", "--epochs", "5")
    assert float(re.findall(r"after ([\d.]+)", printed)[0]) < 0.05
    answers = np.array(re.findall(r"^(\S+) for (\S+)$", printed, re.M), float)
    assert answers.shape == (3, 2)
    assert np.abs(answers[:, 0] - answers[:, 1]).max() < 0.5


@pytest.fixture(scope="module")
def wave():
    """A sine with one number that is none of it, and where that is."""
    series = np.sin(np.arange(800) * 0.3)
    series[600] = 3
    return series, 600


def test_streaming_tells_of_what_does_not_fit(tmp_path, wave):
    series, wrong = wave
    path = tmp_path / "series.txt"
    np.savetxt(path, series)
    printed = run("streaming", path, "--window", "40", "--hidden", "8", "--epochs", "40")
    told = list(map(int, re.findall(r"^step (\d+):", printed, re.M)))
    assert told[0] == wrong
    assert "400 steps watched" in printed


def test_streaming_watches_standard_input(tmp_path, wave):
    series, wrong = wave
    path = tmp_path / "series.txt"
    np.savetxt(path, series[:400])
    live = "\n".join(map(str, series[400:700]))
    printed = run("streaming", path, "-", "--window", "40", "--hidden", "8", "--epochs", "40", stdin=live)
    assert int(re.findall(r"^step (\d+):", printed, re.M)[0]) == wrong
    assert "300 steps watched" in printed


@pytest.mark.parametrize("wrong", ["a", "1 2", "nan"])
def test_streaming_says_what_is_no_number(tmp_path, wrong):
    path, series = tmp_path / "series.txt", "\n".join(map(str, range(60)))
    path.write_text(f"{series}\n\n{wrong}\n", encoding="utf-8")
    assert f"series.txt, number 61: must be a finite number, got {wrong!r}" in fail("streaming", path)
    path.write_text(series, encoding="utf-8")
    said = fail("streaming", path, "-", "--window", "10", "--epochs", "1", stdin=f"1\n\n{wrong}\n")
    assert f"standard input, number 2: must be a finite number, got {wrong!r}" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("streaming", "nowhere"), "cannot read nowhere"),
        (("streaming", "--train", "5"), "--train must be above 0 and at most 1, got 5.0"),
        (("forecasting", "nowhere"), "cannot read numbers from nowhere"),
        (("forecasting", "words.csv"), "could not convert string to float: 'b'"),
        (("forecasting", "words.csv", "--column", "c"), "cannot read numbers from words.csv"),
        (("language_model", "nowhere"), "cannot read: "),
        (("language_model", "--load", "nowhere"), "cannot read: "),
        (("sentiment", "words.csv", "nowhere"), "cannot read: "),
        (("sentiment", "words.csv", "words.csv", "--encoding", "none"), "cannot read: unknown encoding"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_read_is_named(tmp_path, monkeypatch, arguments, message):
    (tmp_path / "words.csv").write_text("a\nb\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert message in fail(*arguments)


def test_a_picture_needs_matplotlib_before_anything_else(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['matplotlib'] = None\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "--plot needs matplotlib: pip install matplotlib" in fail("forecasting", "--plot", "some.png")


def test_streaming_of_made_up_data_finds_the_faults():
    printed = run("streaming", "--hidden", "16", "--epochs", "20")
    told = list(map(int, re.findall(r"^step (\d+):", printed, re.M)))
    assert set(range(5400, 5405)) <= set(told)


def test_sentiment_of_made_up_data(tmp_path):
    model = tmp_path / "model.safetensors"
    printed = run("sentiment", "--epochs", "12", "--text", "the story is moving", "--save", model)
    assert float(re.findall(r"([\d.]+) % of 30 others right", printed)[0]) >= 90
    assert float(re.findall(r"^praise +([\d.]+)$", printed, re.M)[0]) > 0.5
    assert [word for word, _ in re.findall(r"(\w+) (\d\.\d\d)\b", printed)] == ["the", "story", "is", "moving"]
    assert model.exists()


def test_sentiment_from_files(tmp_path):
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("a lovely day at the café\nlovely food\n" * 40, encoding="latin-1")
    bad.write_text("a dreadful day at the café\ndreadful food\n" * 40, encoding="latin-1")
    printed = run("sentiment", good, bad, "--encoding", "latin-1", "--text", "dreadful weather", "--epochs", "12")
    assert "144 sentences learned" in printed
    assert float(re.findall(r"^complaint +([\d.]+)$", printed, re.M)[0]) > 0.5


@pytest.mark.parametrize("level", ["char", "word"])
def test_language_model_is_trained_saved_and_loaded(tmp_path, level):
    path, model = tmp_path / "text.txt", tmp_path / "model.safetensors"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 200, encoding="utf-8")
    options = ["--prompt", "the quick ", "--length", "5", "--temperature", "0"]
    seconds = "4" if "cython" in fastrnn.available_backends() else "20"
    printed = run(
        "language_model", path, "--level", level, "--hidden", "32", "--seconds", seconds, "--save", model, *options
    )
    assert 1 <= float(re.findall(rf"between ([\d.]+) {level}s", printed)[0]) < 3
    written = printed.split("\n\n", 1)[1]
    assert written == {"char": "the quick brown\n", "word": "the quick  brown fox jumps over the\n"}[level]
    assert run("language_model", "--load", model, *options) == written


def test_language_model_of_pythons_manual():
    printed = run("language_model", "--hidden", "8", "--seconds", "0.5", "--length", "40")
    assert len(printed.split("\n\n", 1)[1]) == 41


def forecasts(printed):
    """Rows of step, median, and the ends of the interval."""
    found = re.findall(r"^ +(\d+) +(\S+) +(\S+) to (\S+)$", printed, re.M)
    return np.array(found, float)


def test_forecasting_of_made_up_data():
    printed = run("forecasting", "--epochs", "5")
    mase, naive = map(float, re.findall(r"MASE ([\d.]+) \(seasonal naive ([\d.]+)\)", printed)[0])
    assert mase < naive
    steps, median, low, high = forecasts(printed).T
    t = np.arange(240, 252)
    assert steps.tolist() == list(range(1, 13))
    assert (low <= median).all()
    assert (median <= high).all()
    assert np.abs(median - (100 + 0.5 * t + 30 * np.sin(2 * np.pi * t / 12))).max() < 15


def test_forecasting_from_a_file_with_gaps(tmp_path):
    path, picture = tmp_path / "series.csv", tmp_path / "forecast.png"
    noise = 0.02 * np.random.default_rng(0).standard_normal(120)
    rows = [f"{k},{np.sin(2 * np.pi * k / 10) + noise[k]:.4f},7" for k in range(120)]
    rows[50] = "50,,7"
    path.write_text("day,wave,other\n" + "\n".join(rows) + "\n", encoding="utf-8")
    options = ["--column", "wave", "--horizon", "5", "--season", "10", "--epochs", "5"]
    pytest.importorskip("matplotlib")
    found = forecasts(run("forecasting", path, *options, "--plot", picture))
    np.testing.assert_allclose(found[:, 1], np.sin(2 * np.pi * np.arange(120, 125) / 10), atol=0.2)
    assert picture.read_bytes().startswith(b"\x89PNG")
