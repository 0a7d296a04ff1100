"""``fastrnn train-lm`` and ``fastrnn generate``."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import commands
import numpy as np
import pytest

import fastrnn
from fastrnn.models import LanguageModel

SMALL = ("--hidden", 12, "--embedding", 6, "--batch-size", 4, "--steps", 16, "--quiet")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return commands.write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def model(text: Path) -> Path:
    commands.succeed("train-lm", text, *SMALL, "--epochs", 12, cwd=text.parent)
    return text.parent / "model.safetensors"


def _killed_or_left(command: list[str], cwd: Path, number: int, after: float) -> subprocess.Popen[bytes]:
    """Start a training, wait until it has written its file (anew), and send it a signal."""
    path = cwd / "model.safetensors"
    before = path.stat().st_mtime_ns if path.exists() else None
    process = subprocess.Popen(
        command, env=commands.environment(), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    began = time.monotonic()
    while not path.exists() or path.stat().st_mtime_ns == before:
        assert process.poll() is None and time.monotonic() - began < 60
        time.sleep(0.01)
    time.sleep(after)
    process.send_signal(number)
    return process


def test_it_learns_and_says_how_much(text, model, tmp_path):
    found = commands.succeed("train-lm", text, *SMALL, "--epochs", 12, cwd=tmp_path)
    said = re.search(r"held out +([\d.]+) nats per character, .* perplexity ([\d.]+)", found.stdout)
    assert said is not None
    nats = float(said[1])
    assert nats < 0.8 * np.log(len(set(text.read_text())))
    assert float(said[2]) == pytest.approx(np.exp(nats), rel=1e-3)
    first, again = (LanguageModel.load(path).model_.params.flat for path in (model, tmp_path / "model.safetensors"))
    assert np.array_equal(first, again)  # the same arguments, the same model


def test_a_model_that_diverged_without_nan(text, tmp_path):
    found = commands.run("train-lm", text, *SMALL, "--epochs", 2, "--learning-rate", 1e5, cwd=tmp_path)
    assert found.returncode == 1 and "train-lm: training diverged: the loss is " in found.stderr, found.stderr
    assert "perplexity inf" in found.stdout
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("option", ["--min-count", "--max-tokens"])
def test_options_of_words_are_not_for_characters(text, option):
    commands.fail(f"{option} is for --level word", "train-lm", text, option, 3)
    commands.fail(f"{option} is for --level word", "train-lm", text, "--level", "char", option, 3)


def test_generate_writes_the_prompt_and_what_the_model_does(model):
    options = ("--length", 40, "--temperature", 0.5, "--seed", 3)
    found = commands.succeed("generate", model, "--prompt", "the ", *options)
    wanted = LanguageModel.load(model).generate("the ", 40, temperature=0.5, seed=3)
    assert found.stdout == f"the {wanted}\n"
    assert commands.succeed("generate", model, "--prompt", "-", *options, given="the ").stdout == found.stdout
    assert commands.succeed("generate", "--prompt", "the ", *options, cwd=model.parent).stdout == found.stdout
    other = commands.succeed("generate", model, "--prompt", "the ", *options[:-1], 4)
    assert other.stdout != found.stdout
    assert commands.succeed("generate", model, "--length", 0).stdout == "\n"


def test_top_k_and_top_p_reach_the_model(model):
    likeliest = commands.succeed("generate", model, "--length", 30, "--temperature", 0).stdout
    assert commands.succeed("generate", model, "--length", 30, "--top-k", 1).stdout == likeliest
    assert commands.succeed("generate", model, "--length", 30, "--top-p", 1e-9).stdout == likeliest


def test_words_from_a_pipe(text, tmp_path):
    options = ("--level", "word", "--cell", "gru", "--tied", "--epochs", 2, "-o", "words.safetensors")
    found = commands.succeed("train-lm", "-", *SMALL, *options, given=text.read_bytes(), cwd=tmp_path)
    assert "nats per word" in found.stdout
    written = commands.succeed("generate", tmp_path / "words.safetensors", "--length", 10, "--seed", 0).stdout
    assert set(re.findall(r"\w+", written)) <= set(re.findall(r"\w+", text.read_text()))
    loaded = LanguageModel.load(tmp_path / "words.safetensors")
    assert (loaded.level, loaded.cell, loaded.tied, loaded.hidden) == ("word", "gru", True, 12)


def test_seconds_end_a_training(text, tmp_path):
    began = time.monotonic()
    commands.succeed("train-lm", text, *SMALL, "--seconds", 0.3, "--patience", 1000, cwd=tmp_path)
    assert time.monotonic() - began < 30
    assert LanguageModel.load(tmp_path / "model.safetensors").seconds == 0.3


def test_ctrl_c_leaves_a_model_and_resume_gives_the_same_bits(text, tmp_path):
    options = (text, *SMALL, "--epochs", 60, "--patience", 1000)
    whole = tmp_path / "whole.safetensors"
    commands.succeed("train-lm", *options, "-o", whole)
    process = _killed_or_left(commands.command("train-lm", *options), tmp_path, signal.SIGINT, 0.05)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == b""
    assert b"Traceback" not in err and b"--resume model.safetensors" in err
    path = tmp_path / "model.safetensors"
    assert fastrnn.files.read(path).training["step"] > 0
    assert len(commands.succeed("generate", path, "--length", 5).stdout) == 6
    commands.succeed("train-lm", text, "--resume", path, "--quiet")
    assert np.array_equal(LanguageModel.load(path).model_.params.flat, LanguageModel.load(whole).model_.params.flat)


def test_ctrl_c_before_training_writes_nothing(tmp_path):
    process = subprocess.Popen(
        commands.command("train-lm", "-"),
        env=commands.environment(),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT), err
    assert list(tmp_path.iterdir()) == []


def test_sigkill_never_loses_the_last_model(text, tmp_path):
    rng, steps, path = np.random.default_rng(0), [], tmp_path / "model.safetensors"
    first = commands.command("train-lm", text, *SMALL, "--epochs", 2000, "--patience", 2000)
    again = commands.command("train-lm", text, "--resume", "model.safetensors", "--quiet")
    for wait in rng.uniform(0.0, 0.3, 4):
        process = _killed_or_left(
            again if path.exists() else first, tmp_path, signal.SIGKILL, float(wait) + bool(steps)
        )
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert LanguageModel.load(path).hidden == 12
        steps.append(fastrnn.files.read(path).training["step"])
    assert all(earlier < later for earlier, later in pairwise(steps))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"short", "must have at least 65 tokens"),
        (b"\xff\xfe\xfa" * 200, "must be text in UTF-8"),
        (b"", "must not be empty"),
    ],
    ids=["short", "not UTF-8", "empty"],
)
def test_texts_that_will_not_do(tmp_path, content, message):
    (tmp_path / "text.txt").write_bytes(content)
    commands.fail(message, "train-lm", "text.txt", cwd=tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["text.txt"]


def test_models_that_will_not_do(text, model, tmp_path):
    other = tmp_path / "other.safetensors"
    fastrnn.save(other, fastrnn.Dense(2, 2))
    commands.fail("must hold a model of fastrnn.models", "generate", other)
    commands.fail("must be a whole safetensors file", "generate", text)
    commands.fail("text must hold characters of the vocabulary only, got 'ß'", "generate", model, "--prompt", "ß")
    commands.fail("must be a checkpoint", "train-lm", text, "--resume", model)
    before = model.read_bytes()
    (tmp_path / "other.txt").write_text("0123456789" * 100)
    commands.fail("another vocabulary", "train-lm", tmp_path / "other.txt", "--resume", model)
    assert model.read_bytes() == before


RUN = {"hidden": 8, "batch_size": 4, "steps": 16, "epochs": 2, "dropout": 0.25, "patience": 2}


@pytest.fixture(scope="module")
def checkpoint(text: Path) -> Path:
    path = text.parent / "checkpoint.safetensors"
    LanguageModel(**RUN, random_state=0).fit(text, checkpoint=path)
    return path


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--hidden", 9), "--hidden must be 8, as in the training that --resume goes on with, got 9"),
        (("--dropout", 0.5), "--dropout must be 0.25, as"),
        (("--epochs", 3), "--epochs must be 2, as"),
        (("--batch-size", 3), "--batch-size must be 4, as"),
        (("--learning-rate", 0.1), "--learning-rate must be left out, as"),
        (("--seconds", 1), "--seconds must be left out, as"),
        (("--tied",), "--tied must be left out, as"),
        (("--level", "word"), "--level must be char, as"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_resume_names_the_option_that_differs(text, checkpoint, option, message):
    before = checkpoint.read_bytes()
    commands.fail(f"train-lm: {message}", "train-lm", text, "--resume", checkpoint, *option)
    assert checkpoint.read_bytes() == before


def test_resume_takes_the_same_options_and_another_patience(text, checkpoint, tmp_path):
    same = [part for name, value in RUN.items() for part in (f"--{name.replace('_', '-')}", value)]
    output = tmp_path / "model.safetensors"
    commands.succeed("train-lm", text, "--resume", checkpoint, *same, "--patience", 9, "--quiet", "-o", output)
    assert LanguageModel.load(output).patience == 9


def test_resume_goes_on_for_other_seconds(text, tmp_path):
    paths = tmp_path / "begun.safetensors", tmp_path / "model.safetensors"
    LanguageModel(**RUN | {"seconds": 0.05, "patience": 1000}).fit(text, checkpoint=paths[0])
    commands.succeed("train-lm", text, "--resume", paths[0], "--seconds", 0.1, "--quiet", "-o", paths[1])
    assert LanguageModel.load(paths[1]).seconds == 0.1


@pytest.mark.parametrize("end", ["\r\n", "\r"], ids=ascii)
def test_a_pipe_is_read_as_a_file_is(text, model, tmp_path, end):
    given = text.read_text().replace("\n", end).encode("utf-8-sig")
    commands.succeed("train-lm", "-", *SMALL, "--epochs", 12, given=given, cwd=tmp_path)
    piped, filed = (LanguageModel.load(path) for path in (tmp_path / "model.safetensors", model))
    assert piped.vocabulary_.characters == filed.vocabulary_.characters
    assert np.array_equal(piped.model_.params.flat, filed.model_.params.flat)
    prompt = f"dog{end}the ".encode("utf-8-sig")
    assert commands.succeed("generate", model, "--prompt", "-", "--length", 1, given=prompt).stdout[:8] == "dog\nthe "


def test_a_pipe_that_is_no_text(tmp_path):
    commands.fail("stdin must be text in UTF-8", "train-lm", "-", given=b"\xff\xfe\xfa", cwd=tmp_path)


def test_a_folder_is_no_text(tmp_path):
    commands.fail("must be a file with text, got a folder", "train-lm", tmp_path, cwd=tmp_path)
