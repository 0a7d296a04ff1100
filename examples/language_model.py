"""A language model of a text of your own: read, judge, write on.

Without a file it reads what every Python brings, its reference manual::

    python examples/language_model.py                                  # about a minute
    python examples/language_model.py shakespeare.txt --seconds 300 --prompt "ROMEO:"
    python examples/language_model.py novel.txt --level word --save novel.safetensors
    python examples/language_model.py --load novel.safetensors --prompt "It was"
"""

import argparse
from pathlib import Path

from fastrnn.models import LanguageModel
from fastrnn.text import python_corpus

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("file", nargs="?", type=Path, help="a text, UTF-8")
parser.add_argument("--level", choices=["char", "word"], default="char", help="what is predicted")
parser.add_argument("--cell", choices=["lstm", "gru", "rnn"], default="gru")
parser.add_argument("--hidden", type=int, default=256, help="units (256)")
parser.add_argument("--seconds", type=float, default=60, help="of training (60)")
parser.add_argument("--prompt", default="", help="what the new text begins with")
parser.add_argument("--length", type=int, default=500, help="characters or words to write (500)")
parser.add_argument("--temperature", type=float, default=0.7, help="1: as the model believes; less: more soberly (0.7)")
parser.add_argument("--save", type=Path, metavar="MODEL", help="keep the model: a .safetensors file")
parser.add_argument("--load", type=Path, metavar="MODEL", help="take this model instead of training one")
options = parser.parse_args()

try:
    model = LanguageModel.load(options.load) if options.load else None
    text = options.file.read_text(encoding="utf-8") if options.file else python_corpus()
except (OSError, ValueError) as error:
    parser.error(f"cannot read: {error}")

if model is None:
    cut = len(text) * 9 // 10
    model = LanguageModel(
        level=options.level,
        cell=options.cell,
        hidden=options.hidden,
        seconds=options.seconds,
        random_state=0,
        progress=True,
    )
    model.fit(text[:cut])
    print(f"as undecided as between {model.perplexity(text[cut:]):.2f} {options.level}s, on text it has not read\n")
if options.save:
    model.save(options.save)

print(options.prompt, end="")
for piece in model.stream(options.prompt, options.length, temperature=options.temperature, seed=0):
    print(piece, end="", flush=True)
print()
