"""What all commands have in common: help, exit codes, where things are printed."""

from __future__ import annotations

import argparse
import csv
import re
import shlex
import subprocess
from pathlib import Path

import commands
import pytest

import fastrnn
from fastrnn import cli, models
from fastrnn.cli import classify, forecast, train_lm
from fastrnn.cli.tables import read_table, write_table

COMMANDS = ("info", "demo", "train-lm", "generate", "forecast", "classify")


@pytest.mark.parametrize("name", COMMANDS[1:])
def test_help_teaches_by_example(name):
    shown = commands.succeed(name, "--help").stdout
    assert shown.startswith(f"usage: fastrnn {name}")
    assert len(re.findall(rf"^  .*fastrnn {name}", shown, re.M)) >= 3


def test_help_names_every_command_and_the_exit_codes():
    shown = commands.succeed("--help").stdout
    assert all(re.search(rf"^    {name} ", shown, re.M) for name in COMMANDS)
    assert "130 when stopped by Ctrl-C" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["train-lm"],
        ["train-lm", "x", "--level", "byte"],
        ["train-lm", "x", "--dropout", "1"],
        ["train-lm", "x", "--learning-rate", "inf"],
        ["generate", "--temperature", "-1"],
        ["generate", "--top-p", "0"],
        ["generate", "--length", "-1"],
        ["forecast"],
        ["forecast", "x", "--season", "summer"],
        ["forecast", "x", "--season", "1.9"],
        ["forecast", "x", "--season", "1e300"],
        ["forecast", "x", "--interval", "1"],
        ["forecast", "x", "--interval", "1e-10"],
        ["forecast", "x", "--interval", "0.9999999999"],
        ["forecast", "x", "--steps", "99999999999999999999"],
        ["forecast", "x", "--steps", "0"],
        ["classify"],
        ["classify", "x", "--test-fraction", "1"],
        ["classify", "x", "--pooling", "sum"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_told_of_before_files_are_read(arguments):
    found = commands.fail("usage: ", *arguments)
    assert "No such file" not in found.stderr


@pytest.mark.parametrize(
    "arguments",
    [["train-lm", "no.txt"], ["generate", "no.safetensors"], ["forecast", "no.csv"], ["classify", "no.csv"]],
    ids=" ".join,
)
def test_files_that_are_not_there_are_named(tmp_path, arguments):
    commands.fail(f"fastrnn {arguments[0]}: '{arguments[1]}': No such file", *arguments, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["train-lm", "forecast", "classify"])
def test_empty_files_and_pipes(tmp_path, name):
    path = tmp_path / "empty.csv"
    path.write_bytes(b"")
    commands.fail("empty.csv", name, path, cwd=tmp_path)
    commands.fail("stdin must not be empty", name, "-", cwd=tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["empty.csv"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["train-lm", "x", "-o"],
        ["forecast", "x", "-o"],
        ["forecast", "x", "--plot"],
        ["forecast", "x", "--save"],
        ["classify", "x", "-o"],
        ["classify", "x", "--predictions"],
    ],
    ids=" ".join,
)
def test_results_that_cannot_be_written_are_told_of_first(tmp_path, arguments):
    commands.fail("there is no folder", *arguments, tmp_path / "nowhere" / "result.png")
    commands.fail("it is a folder", *arguments, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train-lm", "in.csv", "-o", "./in.csv"], "--output must not be a file that is read or written otherwise"),
        (["forecast", "in.csv", "-o", "in.csv"], "--output must not be a file that is read or written otherwise"),
        (["forecast", "in.csv", "-o", "out", "--save", "out"], "--save must not be a file that is read or written"),
        (["classify", "in.csv", "-o", "in.csv"], "--output must not be a file that is read or written otherwise"),
        (["classify", "x.csv", "--test", "in.csv", "--predictions", "in.csv"], "--predictions must not be a file"),
        (["classify", "x.csv", "--model", "in.csv", "--predictions", "in.csv"], "--predictions must not be a file"),
        (["train-lm", "in.csv", "-o", ""], "--output must be the name of a file, got ''"),
        (["forecast", "in.csv", "-o", ""], "--output must be the name of a file, got ''"),
        (["train-lm", "in.csv", "-o", "-"], "--output must be the name of a file, got '-'"),
        (["forecast", "in.csv", "--save", "/dev/null"], "--save must be the name of a file, got '/dev/null'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_no_result_takes_the_place_of_what_is_not_its_own(tmp_path, arguments, message):
    (tmp_path / "in.csv").write_text("kept")
    commands.fail(message, *arguments, cwd=tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["kept"]


def test_what_needs_more_memory_than_there_is(tmp_path):
    text = commands.write_text(tmp_path / "text.txt")
    commands.fail("train-lm: there is not enough memory", "train-lm", text, "--hidden", 10_000_000, cwd=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [("info >&-", 0), ("forecast no.csv 2>&-", 2), ("forecast - <&-", 2), ("train-lm - <&-", 2)],
)
def test_closed_streams(tmp_path, arguments, code):
    line = f"{shlex.join(commands.command())} {arguments}"
    found = subprocess.run(
        ["sh", "-c", line], env=commands.environment(), cwd=tmp_path, capture_output=True, check=False
    )
    assert (found.returncode, found.stdout) == (code, b"")
    assert b"Traceback" not in found.stderr


def test_a_reader_that_has_enough(tmp_path):
    text = commands.write_text(tmp_path / "text.txt")
    options = ("--hidden", 4, "--epochs", 1, "--batch-size", 2, "--steps", 16, "--quiet")
    commands.succeed("train-lm", text, *options, cwd=tmp_path)
    process = subprocess.Popen(
        commands.command("generate", "--length", 1_000_000),
        env=commands.environment(),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    with process:
        assert process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


# tables


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"], ids=ascii)
def test_only_line_feeds_and_carriage_returns_end_rows(tmp_path, separator):
    path = tmp_path / "some.csv"
    path.write_text(f"a{separator}b,c\r\nd{separator}e,1\nf,2\r", encoding="utf-8", newline="")
    found = read_table(str(path))
    assert found.columns == (f"a{separator}b", "c")
    assert (found.rows, found.lines) == ([[f"d{separator}e", "1"], ["f", "2"]], [2, 3])


def test_cells_of_any_length(tmp_path):
    long, limit = "word " * 30_000 + "end", csv.field_size_limit()
    path = tmp_path / "some.csv"
    path.write_text(f"{long},label\n{long},1\n")
    found = read_table(str(path))
    assert (found.columns, found.rows) == ((long, "label"), [[long, "1"]])
    assert csv.field_size_limit() == limit < len(long)


@pytest.mark.parametrize("content", ["\ufeff", "\u2028\n", "\ufeff,,\n,,\n"], ids=ascii)
def test_tables_of_nothing(tmp_path, content):
    path = tmp_path / "some.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"some\.csv must (not be empty|have rows, got empty cells only)"):
        read_table(str(path))


def test_a_byte_order_mark_is_none_of_the_text(tmp_path):
    path = tmp_path / "some.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8-sig")
    assert read_table(str(path)).columns == read_table(str(path), "utf-8").columns == ("a", "b")


def test_a_table_that_cannot_be_made_leaves_the_old_one(tmp_path):
    path, rows = tmp_path / "some.csv", [["a", "b"], ["1", "x,y"]]
    write_table(str(path), rows)
    assert path.read_bytes() == b'a,b\n1,"x,y"\n'
    with pytest.raises(ZeroDivisionError):
        write_table(str(path), ([1 / k] for k in (1, 0)))
    assert path.read_bytes() == b'a,b\n1,"x,y"\n'
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    write_table(str(link), rows[:1])
    assert link.is_symlink()
    assert path.read_bytes() == b"a,b\n"
    write_table("/dev/null", rows)
    assert not Path("/dev/null").is_file()
    assert sorted(tmp_path.iterdir()) == [link, path]


# what --help says


def _parsers() -> dict[str, argparse.ArgumentParser]:
    actions = cli._parser()._actions
    return next(action.choices for action in actions if isinstance(action, argparse._SubParsersAction))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("name", "module", "model"),
    [
        ("train-lm", train_lm, models.LanguageModel),
        ("forecast", forecast, models.Forecaster),
        ("classify", classify, models.SequenceClassifier),
    ],
    ids=["train-lm", "forecast", "classify"],
)
def test_the_defaults_of_help_are_the_models_own(name, module, model):
    defaults, checked = model().get_params(), 0
    for action in _parsers()[name]._actions:
        if action.dest in module._PARAMS:
            assert action.default is None
            said = re.search(r"\(?default: ([\w.]+)", action.help or "")
            value = defaults[action.dest]
            if said and value is not None:
                checked += 1
                assert said[1] == f"{value:g}" if isinstance(value, float) else str(value)
    assert checked >= 5
    assert set(module._PARAMS) <= set(defaults)


def test_the_version_of_info():
    assert re.search(rf"^fastrnn +{re.escape(fastrnn.__version__)}$", commands.succeed("info").stdout, re.M)
