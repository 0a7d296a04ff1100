"""``fastrnn classify``."""

from __future__ import annotations

import csv
import re
import signal
from pathlib import Path

import commands
import numpy as np
import pytest

from fastrnn.cli.interrupt import StopOnCtrlC
from fastrnn.models import LanguageModel, SequenceClassifier

NUMERIC = ("--hidden", 8, "--dropout", 0.1, "--learning-rate", 0.03, "--epochs", 20, "--quiet")
FAST = (*NUMERIC, "--embedding", 8)
GOOD, BAD = ("warm", "clever", "a joy", "moving"), ("dull", "cold", "a mess", "silly")


def _texts(words: tuple[str, ...], count: int = 60) -> list[str]:
    rng, subjects = np.random.default_rng(0), ("the film", "its story", "the ending")
    return [f"{rng.choice(subjects)} is {rng.choice(words)}" for _ in range(count)]


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    with (tmp_path / "reviews.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["number", "review", "stars"])
        for k, (good, bad) in enumerate(zip(_texts(GOOD), _texts(BAD), strict=True)):
            writer.writerows([[k, good, "five"], [k, bad, "one"]])
    return tmp_path / "reviews.csv"


@pytest.fixture
def films(tmp_path: Path) -> tuple[Path, Path]:
    """A file per class, in Latin-1; one line has a NEL in it, which ends none."""
    (tmp_path / "films.neg").write_bytes("\n".join(_texts(BAD)).encode("latin-1"))
    (tmp_path / "films.pos").write_bytes("\n".join([*_texts(GOOD), "café\x85 moving"]).encode("latin-1"))
    return tmp_path / "films.neg", tmp_path / "films.pos"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _accuracy(printed: str) -> float:
    found = re.search(r"^accuracy ([\d.]+)$", printed, re.M)
    assert found is not None, printed
    return float(found[1])


def test_a_table_of_texts_to_a_model_measures_and_predictions(reviews, tmp_path):
    options = ("--label", "stars", "--text", "review", *FAST)
    outputs = ("-o", tmp_path / "stars.safetensors", "--predictions", tmp_path / "tested.csv")
    found = commands.succeed("classify", reviews, *options, *outputs)
    assert "learned 108 sequences, measured on 12 others" in found.stdout
    assert re.search(r"^five +1\.000", found.stdout, re.M)
    rows = _rows(tmp_path / "tested.csv")
    right = [row["label"] == row["predicted"] for row in rows]
    assert (len(rows), np.mean(right)) == (12, pytest.approx(_accuracy(found.stdout), abs=1e-3))
    lines = reviews.read_text().splitlines()
    for row in rows:
        assert row["text"] in lines[int(row["line"]) - 1]
        assert float(row["p_five"]) + float(row["p_one"]) == pytest.approx(1, abs=1e-5)
    again = commands.succeed("classify", reviews, *options, *outputs)
    assert again.stdout == found.stdout
    other = commands.succeed("classify", reviews, *options, *outputs, "--seed", 1)
    assert {row["line"] for row in _rows(tmp_path / "tested.csv")} != {row["line"] for row in rows}
    assert "measured on 12 others" in other.stdout


def test_a_file_for_each_class_in_latin_1(films, tmp_path):
    found = commands.succeed("classify", *films, *FAST, cwd=tmp_path)
    assert "learned 109 sequences, measured on 12 others" in found.stdout
    assert _accuracy(found.stdout) == 1
    assert "is not in UTF-8 and is read as Latin-1" in found.stderr
    assert SequenceClassifier.load(tmp_path / "classifier.safetensors").classes_.tolist() == ["neg", "pos"]
    commands.fail("must be text in utf-8", "classify", *films, "--encoding", "utf-8", cwd=tmp_path)


def test_a_model_labels_lines_tables_and_pipes(films, tmp_path):
    commands.succeed("classify", *films, *FAST, cwd=tmp_path)
    model = ("--model", tmp_path / "classifier.safetensors")
    found = commands.succeed("classify", *model, "-", given="a joy\n\nthe film is dull\n")
    rows = list(csv.DictReader(found.stdout.splitlines()))
    assert [(row["file"], row["line"], row["predicted"]) for row in rows] == [
        ("stdin", "1", "pos"),
        ("stdin", "3", "neg"),
    ]
    (tmp_path / "new.csv").write_text("text,label\nthe film is cold,neg\nthe film is warm,neg\n")
    found = commands.succeed("classify", *model, tmp_path / "new.csv", "--predictions", tmp_path / "out.csv")
    assert _accuracy(found.stdout) == 0.5
    assert [row["predicted"] for row in _rows(tmp_path / "out.csv")] == ["neg", "pos"]


def test_a_table_in_another_code_page(tmp_path):
    """Byte 0x85 is an ellipsis there and the end of a line in Latin-1, which is no end of a row."""
    rows = [f"{text}\x85 and more,{name}" for texts, name in ((GOOD, "pos"), (BAD, "neg")) for text in _texts(texts, 8)]
    (tmp_path / "cp.csv").write_bytes("\n".join(["text,label", *rows]).encode("latin-1"))
    for encoding in ((), ("--encoding", "cp1252")):
        found = commands.succeed("classify", "cp.csv", *FAST, "--epochs", 1, *encoding, cwd=tmp_path)
        assert "learned 14 sequences, measured on 2 others" in found.stdout


def _write_numbers(path: Path, header: bool, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    lines = ["\t".join(["kind", *map(str, range(8))])] if header else []
    for k in range(80):
        label, count = k % 2, 8 - k % 3
        numbers = [f"{(1 if label else -1) * t / 8 + 0.1 * rng.normal():.4f}" for t in range(count)]
        lines.append("\t".join([str(label), *numbers, *[""] * (8 - count)]))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("header", [False, True], ids=["without header", "with header"])
def test_sequences_of_numbers_with_a_test_file(tmp_path, header):
    train = _write_numbers(tmp_path / "train.tsv", header, 0)
    test = _write_numbers(tmp_path / "test.tsv", header, 1)
    named = ("--label", "kind") if header else ()
    found = commands.succeed("classify", train, "--test", test, *named, *NUMERIC, cwd=tmp_path)
    assert header or f"labels are those of column '1' of {train}, the first" in found.stderr
    assert "learned 80 sequences, measured on 80 others" in found.stdout
    assert _accuracy(found.stdout) > 0.95
    model = ("--model", tmp_path / "classifier.safetensors", "--label", "kind" if header else "1")
    assert _accuracy(commands.succeed("classify", *model, test, "--predictions", tmp_path / "p.csv").stdout) > 0.95
    texts = tmp_path / "texts.csv"
    texts.write_text("text\nwords\n")
    commands.fail("the model was trained on numbers, ", "classify", *model[:2], texts)


def test_a_test_file_has_its_labels_where_the_first_has_them(tmp_path):
    rows = [("warm", "dull", "good"), ("warm", "kind", "good"), ("cold", "dull", "bad"), ("cold", "kind", "bad")] * 10
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("\n".join(["text,remark,verdict", *(",".join(row) for row in rows)]))
    test.write_text("\n".join(["verdict,text,remark", *(",".join((row[2], *row[:2])) for row in rows)]))
    found = commands.succeed("classify", train, "--test", test, *FAST, cwd=tmp_path)
    assert _accuracy(found.stdout) == 1
    test.write_text("warm,dull,good\n" * 2)
    commands.fail("no column 'verdict'", "classify", train, "--test", test, *FAST, cwd=tmp_path)


def test_labels_are_not_read_as_numbers(tmp_path):
    rng = np.random.default_rng(0)
    rows = [",".join([str(k % 2), *(f"{k % 2 + 0.1 * rng.normal():.3f}" for _ in range(5))]) for k in range(40)]
    (tmp_path / "some.csv").write_text("\n".join(rows))
    commands.succeed("classify", "some.csv", *NUMERIC, cwd=tmp_path)
    model = ("--model", "classifier.safetensors", "some.csv")
    message = "some.csv must have 5 numbers in a row, as in training, got "
    commands.fail(f"{message}6: --label names that of labels", "classify", *model, cwd=tmp_path)
    (tmp_path / "wide.csv").write_text("\n".join(f"{row},7,8" for row in rows))
    wide = message.replace("some", "wide") + "7"
    commands.fail(wide, "classify", *model[:2], "wide.csv", "--label", 1, cwd=tmp_path)
    commands.fail(wide, "classify", "some.csv", "--test", "wide.csv", "-o", "m", cwd=tmp_path)
    assert not (tmp_path / "m").exists()
    assert _accuracy(commands.succeed("classify", *model, "--label", 1, cwd=tmp_path).stderr) == 1
    (tmp_path / "some.csv").write_text("\n".join(row.partition(",")[2] for row in rows))
    assert len(commands.succeed("classify", *model, cwd=tmp_path).stdout.splitlines()) == 41
    (tmp_path / "some.csv").write_text("\n".join(["kind,a,b,c,d,e", *rows]))
    message = "the last, 'e', has numbers that are no integers: --label says which one it is"
    commands.fail(message, "classify", "some.csv", cwd=tmp_path)


@pytest.mark.parametrize(
    ("labels", "written"),
    [
        ((0, 1), ("0.0", "1")),
        ((0.0, 1.0), ("0", "1.0")),
        ((False, True), ("False", "True")),
        (("0", "1"), ("0.0", "1")),
        (("1", "01"), ("1", "01")),
    ],
    ids=["int", "float", "bool", "numbers in a file", "numbers that are equal"],
)
def test_a_model_whose_labels_are_written_otherwise_is_measured(tmp_path, labels, written):
    model = SequenceClassifier(hidden=8, epochs=40, random_state=0).fit(["dull", "warm"] * 20, list(labels) * 20)
    model.save(tmp_path / "m.safetensors")
    (tmp_path / "some.csv").write_text(f"text,label\ndull,{written[0]}\nwarm,{written[1]}\n")
    found = commands.succeed("classify", "--model", "m.safetensors", "some.csv", cwd=tmp_path)
    assert _accuracy(found.stderr) == 1
    assert [row["predicted"] for row in csv.DictReader(found.stdout.splitlines())] == list(map(str, labels))


def test_a_model_that_diverged_without_nan(films, tmp_path):
    options = ("--learning-rate", 1e5, "--epochs", 2, "--hidden", 4, "--quiet")
    found = commands.run("classify", *films, *options, cwd=tmp_path)
    assert found.returncode == 1 and "classify: training diverged: the loss is " in found.stderr, found.stderr


def test_a_class_of_its_own_files_for_testing(films, tmp_path):
    for path in films:
        path.with_stem("test").write_bytes(path.read_bytes())
    tests = [path.with_stem("test") for path in films]
    found = commands.succeed("classify", *films, "--test", *tests, *FAST, cwd=tmp_path)
    assert "measured on 121 others" in found.stdout
    commands.fail("--test must have a file for each class, neg, pos", "classify", *films, "--test", tests[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\ngood,yes\nbad,yes\n", "at least two classes to learn from, got only one class"),
        ("text,label\ngood,yes\nbad,\n", "line 3, column 'label': must be a label, the cell is empty"),
        ("text,title,label\ngood,so,yes\nbad,la,no\n", "several columns with text, 'text', 'title'"),
        ("a,b,label\n1,2,yes\n3,nan,no\n", "line 3, column 'b': must be a finite number, got 'nan'"),
        ("a,b,label\n1,2,yes\n,,no\n", "line 3: must have numbers, got none"),
        ("a,b,label\n1,2,yes\n3,x,no\n4,5,no\n6,7,yes\n", "line 3, column 'b': must be a number, got 'x'"),
        ("label\nyes\nno\n", "to learn from"),
    ],
    ids=["one class", "no label", "several texts", "nan", "no numbers", "a word", "labels only"],
)
def test_tables_that_will_not_do(tmp_path, content, message):
    (tmp_path / "some.csv").write_text(content)
    commands.fail(message, "classify", "some.csv", cwd=tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["some.csv"]


def test_arguments_that_do_not_go_together(films, reviews, tmp_path):
    commands.fail("has no labels", "classify", films[0])
    commands.fail("one table is read at a time", "classify", reviews, films[0])
    commands.fail("exclude each other", "classify", *films, "--test", *films, "--test-fraction", 0.2)
    commands.fail("--hidden for learning", "classify", "--model", "m", films[0], "--hidden", 3)
    commands.fail("see --test-fraction", "classify", *films, "--test-fraction", 0, "--predictions", tmp_path / "p")
    commands.fail("--encoding must be one that Python knows", "classify", *films, "--encoding", "latin-99")
    table = _write_numbers(tmp_path / "some.tsv", True, 0)
    commands.fail("--tokenizer is for texts", "classify", table, "--label", "kind", "--tokenizer", "chars")
    commands.fail("--embedding is for texts", "classify", table, "--label", "kind", "--embedding", 3)


def test_a_model_of_another_kind(films, tmp_path):
    path = tmp_path / "lm.safetensors"
    LanguageModel(hidden=4, batch_size=1, steps=8, epochs=1, random_state=0).fit("to be or not " * 20).save(path)
    commands.fail("must hold a SequenceClassifier, got a LanguageModel", "classify", "--model", path, films[0])
    commands.fail("must be a whole safetensors file", "classify", "--model", films[0], films[0])


def test_ctrl_c_before_training_says_that_nothing_is_left(capsys):
    with pytest.raises(KeyboardInterrupt), StopOnCtrlC("classify"):
        signal.raise_signal(signal.SIGINT)
    assert "classify: stopped before the first update; nothing was written" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_keeps_and_measures_the_best_model(films, tmp_path):
    options = ("--epochs", 1_000_000, "--patience", 1_000_000)
    out, err = commands.stopped_by_ctrl_c("classify", *films, *options, cwd=tmp_path)
    assert "this is the best model so far" in err
    assert 0 <= _accuracy(out) <= 1
    assert len(SequenceClassifier.load(tmp_path / "classifier.safetensors").predict(["warm"])) == 1
