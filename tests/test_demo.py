"""The command line, end to end, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastrnn
from fastrnn.demo import read_corpus

RECORDS = "the quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs.\n"


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("FASTRNN_")}
    env |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": "utf-8"} | environment
    command = [sys.executable, "-W", "error", "-m", "fastrnn", *arguments]
    return subprocess.run(
        command,
        env=env,
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    words = RECORDS.split()
    order = np.random.default_rng(0).integers(0, len(words), 4000)
    path.write_text(" ".join(words[k] for k in order) + " größe", encoding="utf-8")
    return str(path)


def held_out(stdout: str) -> dict[str, float]:
    return {
        name: float(bits) for name, bits in re.findall(r"^ +(unigram|trigram|rnn|lstm|gru) +([\d.]+)$", stdout, re.M)
    }


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_short_run_learns(text, cell):
    result = run("demo", "--text", text, "--cell", cell, "--hidden", "24", "--updates", "150", "--seed", "1")
    assert result.returncode == 0, result.stderr
    bits = held_out(result.stdout)
    assert bits.keys() == {"unigram", "trigram", cell}
    assert bits["trigram"] < bits["unigram"]
    assert bits[cell] < bits["unigram"] - 0.5
    assert "update/s" in result.stderr
    assert "bits/char" in result.stderr
    assert re.search(r"one update on the numpy backend: [\d.]+ ms", result.stderr)
    drawn = result.stdout.split("\n\n", 1)[1].removesuffix("\n")
    assert len(drawn) == 401
    assert set(drawn) <= set(Path(text).read_text(encoding="utf-8"))


@pytest.mark.parametrize("backend_name", fastrnn.available_backends())
def test_the_same_arguments_print_the_same(text, backend_name):
    arguments = ("demo", "--text", text, "--hidden", "8", "--layers", "2", "--updates", "6", "--backend", backend_name)
    first, second, other = (run(*arguments, "--seed", seed) for seed in ("5", "5", "6"))
    assert first.returncode == 0, first.stderr
    assert f"on the {backend_name} backend" in first.stdout
    assert first.stdout == second.stdout
    assert first.stdout != other.stdout


def test_seconds_become_a_number_of_updates(text):
    counts = []
    for seconds in ("0.02", "0.04"):
        result = run("demo", "--text", text, "--hidden", "48", "--seconds", seconds)
        assert result.returncode == 0, result.stderr
        counts.append(int(re.search(r"training +([\d,]+) updates", result.stdout).group(1)))
    assert 1 <= counts[0] < counts[1] <= 2 * counts[0] + 1


def test_without_a_text_it_reads_pythons_manual():
    result = run("demo", "--hidden", "4", "--updates", "1")
    assert result.returncode == 0, result.stderr
    characters = int(re.search(r"characters: ([\d,]+) to train on", result.stdout).group(1).replace(",", ""))
    assert characters > 250_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*text.txt"),
        (b"", "must have at least 200 characters, .* has 0"),
        (b"short", "must have at least 200 characters, .* has 5"),
        (b"\xff\xfe\xfa" * 200, "must be text in UTF-8"),
    ],
    ids=["missing", "empty", "short", "not UTF-8"],
)
def test_texts_that_will_not_do(tmp_path, content, message):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    result = run("demo", "--text", str(path), "--updates", "1")
    assert result.returncode == 2
    assert re.search(message, result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_the_shortest_text_that_will_do(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text((RECORDS * 3)[:200], encoding="utf-8")
    result = run("demo", "--text", str(path), "--hidden", "4", "--updates", "3")
    assert result.returncode == 0, result.stderr


def test_a_byte_order_mark_is_none_of_the_text(tmp_path):
    for name, encoding in (("plain", "utf-8"), ("marked", "utf-8-sig")):
        (tmp_path / name).write_text(RECORDS * 3, encoding=encoding)
    plain, marked = (read_corpus(str(tmp_path / name)) for name in ("plain", "marked"))
    assert marked.vocabulary.characters == plain.vocabulary.characters


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["demo", "--cell", "cnn"],
        ["demo", "--hidden", "0"],
        ["demo", "--hidden", "many"],
        ["demo", "--layers", "-1"],
        ["demo", "--seconds", "0"],
        ["demo", "--seconds", "nan"],
        ["demo", "--updates", "0"],
        ["demo", "--seed", "-1"],
        ["demo", "--backend", "torch"],
        ["demo", "--nonsense"],
    ],
    ids=" ".join,
)
def test_bad_arguments(arguments):
    result = run(*arguments)
    assert result.returncode == 2
    assert "usage: " in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]], ids=" ".join)
def test_help(arguments):
    result = run(*arguments)
    assert result.returncode == 0
    assert "usage: " in result.stdout


def test_info():
    result = run("info")
    assert result.returncode == 0, result.stderr
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if len(line.split()) > 1)
    assert lines["fastrnn"] == fastrnn.__version__
    assert lines["backend"] == fastrnn.available_backends()[0]
    assert lines["available_backends"] == ", ".join(fastrnn.available_backends())
