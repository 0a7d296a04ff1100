"""``fastrnn classify``."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from .arguments import add_command, add_quiet, check_outputs, count, given, note, positive, share, size
from .interrupt import StopOnCtrlC
from .labelled import Labelled, class_names, is_table, read_labelled, read_unlabelled
from .outcome import exit_code
from .tables import is_number, write_table

DEFAULT_OUTPUT = "classifier.safetensors"
_PARAMS = (
    *("cell", "hidden", "layers", "bidirectional", "pooling", "embedding", "tokenizer", "dropout", "class_weight"),
    *("max_length", "epochs", "batch_size", "learning_rate", "validation_fraction", "patience"),
)
_OF_TEXTS = ("embedding", "tokenizer")
_DESCRIPTION = """\
Learn to label texts, or sequences of numbers; then label others.

Learn from a table (CSV or TSV) with a column of labels, and either a column of texts or, in each row, a sequence of
numbers, one per column. Or give a file for each class, with a text on each line. A tenth of the rows is kept aside to
measure with. What is printed: accuracy, and precision, recall and F1 of every class. The model is kept in a file.

With --model nothing is learned: FILE is labelled, a text per line or a table, and CSV comes out.
Ctrl-C stops training, and the best model so far is kept and measured.
"""
_EXAMPLES = """\
examples:
  fastrnn classify reviews.csv --label stars --text review -o stars.safetensors
  fastrnn classify rt-polarity.neg rt-polarity.pos            a file per class, "neg" and "pos"
  fastrnn classify gestures_TRAIN.tsv --test gestures_TEST.tsv   numbers, measured on another file
  fastrnn classify reviews.csv --predictions tested.csv       what it says about the rows kept aside
then:
  fastrnn classify --model stars.safetensors new.txt --predictions new.csv
  echo "what a film" | fastrnn classify --model stars.safetensors -
"""


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = add_command(
        commands, "classify", help="learn to label texts or sequences", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help='a table with labels, or a file for each class; "-" for stdin'
    )
    parser.add_argument("--label", metavar="NAME", help="column of the labels (default: by its name, or the last)")
    parser.add_argument("--text", metavar="NAME", help="column of the texts (default: the one with words)")
    parser.add_argument("--encoding", help="of the files (default: UTF-8, else Latin-1)")
    parser.add_argument("--model", metavar="MODEL", help="label FILE with this model; nothing is learned")
    parser.add_argument(
        "--predictions", metavar="CSV", help='file for what the model says; "-" for stdout, the default with --model'
    )
    training = parser.add_argument_group("learning")
    training.add_argument("-o", "--output", metavar="MODEL", help=f"file for the model (default: {DEFAULT_OUTPUT})")
    training.add_argument("--test", nargs="+", metavar="FILE", help="measure on these, of the same kind as FILE")
    training.add_argument(
        "--test-fraction", type=share, metavar="P", help="share of the rows to measure with (default: 0.1)"
    )
    training.add_argument("--cell", choices=("lstm", "gru", "rnn"), help="default: lstm")
    training.add_argument("--hidden", type=size, metavar="H", help="units of a layer (default: 64)")
    training.add_argument("--layers", type=size, metavar="L", help="recurrent layers (default: 1)")
    training.add_argument("--bidirectional", action="store_true", default=None, help="read from both ends")
    training.add_argument(
        "--pooling",
        choices=("last", "mean", "max", "attention"),
        help="how steps become one vector (default: attention; of numbers last)",
    )
    training.add_argument("--embedding", type=size, metavar="E", help="features of a word (default: 128)")
    training.add_argument("--tokenizer", choices=("words", "chars"), help="default: words")
    training.add_argument("--max-length", type=size, metavar="T", help="steps that are read (default: all)")
    training.add_argument(
        "--dropout", type=share, metavar="P", help="share of features left out (default: 0.7; of numbers 0)"
    )
    training.add_argument("--class-weight", choices=("balanced",), help="rare classes count for more")
    training.add_argument(
        "--epochs", type=size, metavar="K", help="passes over the data, at most (default: 5; over numbers 100)"
    )
    training.add_argument("--batch-size", type=size, metavar="N", help="sequences of an update (default: 32)")
    training.add_argument("--learning-rate", type=positive, metavar="R", help="default: 0.003")
    training.add_argument(
        "--validation-fraction", type=share, metavar="P", help="share that says when to stop (default: 0.1)"
    )
    training.add_argument(
        "--patience", type=size, metavar="K", help="epochs without improvement after which to stop (default: 5)"
    )
    training.add_argument("--seed", type=count, metavar="S", help="of everything random (default: 0)")
    add_quiet(training)  # type: ignore[arg-type]
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Learn, or label."""
    return _learn(arguments) if arguments.model is None else _label(arguments)


def _learn(arguments: argparse.Namespace) -> int:
    from ..models import SequenceClassifier

    output = DEFAULT_OUTPUT if arguments.output is None else arguments.output
    _check_outputs(arguments, output)
    model = SequenceClassifier(
        random_state=arguments.seed or 0, progress=not arguments.quiet, **given(arguments, _PARAMS)
    )
    with StopOnCtrlC("classify") as stopping:
        train, test = _parts(arguments)
        model.fit(train.data, np.array(train.labels), callbacks=[stopping])
    model.save(output)
    if stopping.struck:
        note("classify: stopped; this is the best model so far")
    measured = sys.stderr if arguments.predictions == "-" else sys.stdout
    print(f"learned {len(train.X):,} sequences, measured on {len(test.X):,} others", file=measured)
    if test.X:
        _report(model, test, arguments.predictions, measured)
    print(f"model {output}, {model.model_.params.flat.size:,} parameters", file=measured)
    return 130 if stopping.struck else exit_code("classify", model.history_, math.log(len(model.classes_)))


def _check_outputs(arguments: argparse.Namespace, output: str | None) -> None:
    sources = [*arguments.files, *(arguments.test or []), arguments.model]
    check_outputs({"--output": output, "--predictions": arguments.predictions}, sources, streams=["--predictions"])


def _parts(arguments: argparse.Namespace) -> tuple[Labelled, Labelled]:
    """What is learned, and what is measured with."""
    from ..models.sequences import held_out_rows

    found = read_labelled(arguments.files, arguments.label, arguments.text, arguments.encoding)
    if not found.holds_text and (strange := list(given(arguments, _OF_TEXTS))):
        raise ValueError(f"--{strange[0]} is for texts, {arguments.files[0]} has numbers")
    if arguments.test is not None:
        if arguments.test_fraction is not None:
            raise ValueError("--test and --test-fraction exclude each other")
        _check_same_kind(arguments.files, arguments.test)
        names = found.label or arguments.label, found.text or arguments.text
        test = read_labelled(arguments.test, *names, arguments.encoding)
        if test.holds_text != found.holds_text:
            raise ValueError("--test must hold what FILE holds: texts both, or numbers both")
        _check_width(test, found.width)
        return found, test
    fraction = 0.1 if arguments.test_fraction is None else arguments.test_fraction
    numbers = np.unique(np.array(found.labels), return_inverse=True)[1]
    rows = held_out_rows(len(found.X), fraction, np.random.default_rng(arguments.seed or 0), numbers)
    if arguments.predictions is not None and not len(rows):
        raise ValueError("--predictions are of the rows that are measured with, and none are: see --test-fraction")
    return found.take(np.setdiff1d(np.arange(len(found.X)), rows)), found.take(rows)


def _check_same_kind(files: list[str], test: list[str]) -> None:
    """Files of one class each must be of the same classes."""
    if len(files) == 1 or any(map(is_table, files)):
        return
    wanted, got = class_names(files), class_names(test) if len(test) > 1 else test
    if set(wanted) != set(got):
        raise ValueError(f"--test must have a file for each class, {', '.join(wanted)}, got {', '.join(got)}")


_LEARNING = (*_PARAMS, "output", "test", "test_fraction", "seed")


def _label(arguments: argparse.Namespace) -> int:
    from ..layers import Embedding
    from ..models import SequenceClassifier

    if strange := list(given(arguments, _LEARNING)):
        raise ValueError(f"--model is for labelling, --{strange[0].replace('_', '-')} for learning")
    if len(arguments.files) > 1:
        raise ValueError(f"--model labels one file at a time, got {len(arguments.files)}")
    _check_outputs(arguments, None)
    model = SequenceClassifier.load(arguments.model)
    texts = isinstance(model.model_.layers[0], Embedding)
    found = read_unlabelled(arguments.files[0], arguments.label, arguments.text, arguments.encoding, texts=texts)
    if not texts:
        _check_width(found, model.n_features_in_)
    path = arguments.predictions or "-"
    _report(model, found, path, sys.stderr if path == "-" else sys.stdout)
    return 0


def _check_width(found: Labelled, wanted: int) -> None:
    """Raise where a table has other columns than ``wanted``, those that were learned from; one more is labels, most
    likely. Sequences of lengths of their own, a width of up to 1, go with all."""
    if wanted > 1 and found.width not in (0, wanted):
        hint = ": --label names that of labels" if found.labels is None and found.width == wanted + 1 else ""
        name = found.places[0][0]
        raise ValueError(f"{name} must have {wanted} numbers in a row, as in training, got {found.width}{hint}")


def _report(model: Any, found: Labelled, predictions: str | None, measured: Any) -> None:
    """How right the model is where labels are known, to ``measured``; what it says, to ``predictions``."""
    from ..models.tagger import Report

    probabilities = model.predict_proba(found.X)
    predicted = model.classes_.astype(str)[probabilities.argmax(axis=1)]
    if found.labels is not None:
        print(Report(_as_classes(found.labels, model.classes_), predicted), file=measured)
    if predictions is not None:
        write_table(predictions, _rows(model, found, predicted, probabilities))


def _as_classes(labels: list[str], classes: Any) -> Any:
    """Labels of a file as the model's classes are written: where all of these are different numbers, 1.0 is 1."""
    written = classes.astype(str).tolist()
    known = {float(label): label for label in written if is_number(label)}
    if len(known) < len(written):
        return np.array(labels)
    return np.array([known.get(float(label), label) if is_number(label) else label for label in labels])


def _rows(model: Any, found: Labelled, predicted: Any, probabilities: Any) -> Iterator[list[Any]]:
    """File, line, label if known, what is predicted, the probability of every class, and the text; names first."""
    known, text = found.labels is not None, found.holds_text
    head = ["file", "line", *(["label"] if known else []), "predicted", *(f"p_{label}" for label in model.classes_)]
    yield [*head, *(["text"] if text else [])]
    for k, (path, line) in enumerate(found.places):
        labels = [found.labels[k]] if found.labels is not None else []
        row = [path, line, *labels, predicted[k], *(f"{p:.6f}" for p in probabilities[k])]
        yield [*row, *([found.X[k]] if text else [])]
