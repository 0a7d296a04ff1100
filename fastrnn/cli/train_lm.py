"""``fastrnn train-lm``."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import Any

from .arguments import (
    add_command,
    add_quiet,
    check_outputs,
    count,
    given,
    note,
    positive,
    read_stdin_text,
    share,
    size,
)
from .outcome import exit_code

DEFAULT_OUTPUT = "model.safetensors"
_PARAMS = (
    *("level", "cell", "hidden", "layers", "embedding", "tied", "dropout", "min_count", "max_tokens", "epochs"),
    *("seconds", "batch_size", "steps", "learning_rate", "validation_fraction", "patience"),
)
_OF_WORDS = ("min_count", "max_tokens")
_DESCRIPTION = """\
Learn to write like a text: train a language model of characters or words, and keep it in a file that
`fastrnn generate` writes from. The end of the text is held out; how well the model predicts it is printed.

The file is renewed after every epoch, and every 1000 updates. Ctrl-C renews it once more and stops; it can be written
from then, and --resume goes on as if there had been no break, also where the program was killed. The same arguments
give the same model, unless --seconds lets the clock decide.
"""
_EXAMPLES = """\
examples:
  fastrnn train-lm novel.txt                              a model of characters in model.safetensors
  fastrnn train-lm novel.txt -o novel.safetensors --seconds 300       as good as five minutes make it
  fastrnn train-lm novel.txt --cell gru --hidden 512 --dropout 0.2 --epochs 30
  fastrnn train-lm news.txt --level word --tied           words instead of characters
  fastrnn train-lm novel.txt --resume novel.safetensors   go on after Ctrl-C, with the same settings
  cat *.txt | fastrnn train-lm - -o all.safetensors       text from a pipe
then:
  fastrnn generate novel.safetensors --prompt "It was "
"""


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = add_command(
        commands, "train-lm", help="learn to write like a text", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.add_argument("file", metavar="FILE", help='the text, in UTF-8; "-" for stdin')
    parser.add_argument(
        "-o", "--output", metavar="MODEL", help=f"file for the model (default: {DEFAULT_OUTPUT}, or that of --resume)"
    )
    parser.add_argument(
        "--resume",
        metavar="MODEL",
        help="go on with a training that was stopped, on the same text and with its settings; --patience may be"
        " another, and --seconds (from now on) where it had some",
    )
    parser.add_argument("--seed", type=count, default=0, metavar="S", help="of everything random (default: 0)")
    model = parser.add_argument_group("model")
    model.add_argument("--level", choices=("char", "word"), help="what is predicted (default: char)")
    model.add_argument("--cell", choices=("lstm", "gru", "rnn"), help="default: lstm")
    model.add_argument("--hidden", type=size, metavar="H", help="units of a layer (default: 256)")
    model.add_argument("--layers", type=size, metavar="L", help="recurrent layers (default: 1)")
    model.add_argument("--embedding", type=size, metavar="E", help="features of a token (default: 64; of a word 256)")
    model.add_argument("--tied", action="store_true", default=None, help="the output reads the embedding's matrix")
    model.add_argument("--dropout", type=share, metavar="P", help="share of features left out (default: 0)")
    model.add_argument("--min-count", type=size, metavar="K", help="a word is known if there so often (default: 2)")
    model.add_argument("--max-tokens", type=size, metavar="V", help="words known at most (default: 20000)")
    training = parser.add_argument_group("training")
    training.add_argument("--epochs", type=size, metavar="K", help="passes over the text, at most (default: 10)")
    training.add_argument("--seconds", type=positive, metavar="S", help="train for so long instead")
    training.add_argument("--batch-size", type=size, metavar="N", help="streams of text side by side (default: 32)")
    training.add_argument("--steps", type=size, metavar="T", help="tokens an update looks back on (default: 64)")
    training.add_argument(
        "--learning-rate", type=positive, metavar="R", help="default: 0.004; of gru 0.003, of rnn 0.001"
    )
    training.add_argument(
        "--validation-fraction", type=share, metavar="P", help="share of the text held out (default: 0.05)"
    )
    training.add_argument(
        "--patience", type=size, metavar="K", help="epochs without improvement after which to stop (default: 3)"
    )
    add_quiet(training)  # type: ignore[arg-type]
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train and save."""
    from ..models import LanguageModel

    output = next(path for path in (arguments.output, arguments.resume, DEFAULT_OUTPUT) if path is not None)
    check_outputs({"--output": output}, [arguments.file])
    text = read_stdin_text() if arguments.file == "-" else Path(arguments.file)
    if arguments.file == "-" and not text:
        raise ValueError("stdin must not be empty")
    if isinstance(text, Path) and text.is_dir():
        raise IsADirectoryError(f"{arguments.file!r} must be a file with text, got a folder")
    chosen, kept = given(arguments, _PARAMS), {}
    if arguments.resume is not None:
        kept = LanguageModel.load(arguments.resume).get_params()
        _check_same(kept, chosen)
    if (kept | chosen).get("level", "char") != "word" and (strange := [name for name in _OF_WORDS if name in chosen]):
        raise ValueError(f"--{strange[0].replace('_', '-')} is for --level word")
    params = kept | chosen | {"random_state": arguments.seed, "progress": not arguments.quiet}
    model, before = LanguageModel(**params), _stamp(output)
    try:
        model.fit(text, checkpoint=output, resume=arguments.resume)
    except KeyboardInterrupt:
        _say_what_is_left(arguments.file, output, is_new=_stamp(output) != before)
        raise
    model.save(output)
    _report(model, output)
    return exit_code("train-lm", model.history_, math.log(len(model.vocabulary_)))


def _check_same(kept: dict[str, Any], chosen: dict[str, Any]) -> None:
    """Raise where an option differs from that of the training to go on with, and may not."""
    free = {"patience"} if kept["seconds"] is None else {"patience", "seconds"}
    for name, value in chosen.items():
        if name not in free and value != kept[name]:
            wanted = "be left out" if kept[name] in (None, False) else f"be {kept[name]}"
            option = "--" + name.replace("_", "-")
            raise ValueError(f"{option} must {wanted}, as in the training that --resume goes on with, got {value}")


def _stamp(path: str) -> tuple[int, int] | None:
    """What tells one version of a file from another."""
    if not os.path.exists(path):
        return None
    status = os.stat(path)
    return status.st_ino, status.st_mtime_ns


def _say_what_is_left(source: str, output: str, *, is_new: bool) -> None:
    if not is_new:
        note("train-lm: stopped before the first update; nothing was written")
        return
    note(f"train-lm: stopped; what was learned so far is in {output}. To write from it, or to go on:")
    note(f"generate {output}")
    note(f"train-lm {source} --resume {output}")


def _report(model: Any, output: str) -> None:
    """How good it is, and where."""
    from ..models.language import as_perplexity

    history, token = model.history_, {"char": "character", "word": "word"}[model.level]
    losses = history.get("val_loss")
    print(f"vocabulary  {len(model.vocabulary_):,} {token}s")
    if losses:
        nats = min(losses)
        bits, perplexity = nats / math.log(2), as_perplexity(nats)
        measures = f"{nats:.4f} nats per {token}, {bits:.4f} bits, perplexity {perplexity:.3f}"
        print(f"held out    {measures} (after epoch {history.best_epoch + 1} of {len(history.epochs)})")
    print(f"model       {output}, {model.model_.params.flat.size:,} parameters")
