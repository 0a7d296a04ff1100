"""``fastrnn generate``."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import add_command, count, not_negative, probability, read_stdin_text, size
from .train_lm import DEFAULT_OUTPUT

_DESCRIPTION = """\
Write with a model of `fastrnn train-lm`: the prompt and what follows it, character by character or word by word, to
stdout as it is written. Ctrl-C ends it.
"""
_EXAMPLES = f"""\
examples:
  fastrnn generate                                          from {DEFAULT_OUTPUT}
  fastrnn generate novel.safetensors --prompt "It was " --length 1000
  fastrnn generate novel.safetensors --temperature 0.7      more soberly; 0 always takes the likeliest
  fastrnn generate novel.safetensors --top-p 0.9 --seed 1   the same text every time
  head -c 500 novel.txt | fastrnn generate novel.safetensors --prompt -   go on from a file's beginning
"""


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = add_command(
        commands, "generate", help="write with a language model", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", default=DEFAULT_OUTPUT, help="file of train-lm (default: %(default)s)"
    )
    parser.add_argument("--prompt", default="", metavar="TEXT", help='what the text begins with; "-" for stdin')
    parser.add_argument("--length", type=count, default=500, metavar="K", help="characters or words (default: 500)")
    parser.add_argument("--temperature", type=not_negative, default=1.0, metavar="X", help="default: 1")
    parser.add_argument("--top-k", type=size, metavar="K", help="draw from the likeliest K only")
    parser.add_argument(
        "--top-p", type=probability, metavar="P", help="draw from the likeliest that together have probability P"
    )
    parser.add_argument("--seed", type=count, metavar="S", help="default: another text every time")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write."""
    from ..models import LanguageModel

    model = LanguageModel.load(arguments.model)
    prompt = read_stdin_text() if arguments.prompt == "-" else arguments.prompt
    pieces = model.stream(
        prompt,
        arguments.length,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        seed=arguments.seed,
    )
    try:
        print(prompt, end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
    finally:
        print(flush=True)
    return 0
