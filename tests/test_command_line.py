"""What all commands have in common: help, exit codes, where things are printed."""

from __future__ import annotations

import argparse
import re
import subprocess

import commands
import pytest

import fastrnn
from fastrnn import cli, models
from fastrnn.cli import classify, forecast, train_lm

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
        ["forecast", "x", "--interval", "1"],
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
