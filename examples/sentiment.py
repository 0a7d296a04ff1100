"""Praise or complaint? A classifier of sentences, from two files with one sentence per line.

Without files a few hundred sentences are put together from a handful of words::

    python examples/sentiment.py positive.txt negative.txt
    python examples/sentiment.py positive.txt negative.txt --encoding latin-1 --text "a film to fall in love with"
"""

import argparse
from pathlib import Path

import numpy as np

from fastrnn.models import SequenceClassifier, load
from fastrnn.models.vocabulary import words

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("files", nargs="*", type=Path, help="sentences of praise, sentences of complaint")
parser.add_argument("--encoding", default="utf-8", help="of the files (utf-8)")
parser.add_argument("--text", default="a warm and clever film", help="a sentence to judge")
parser.add_argument("--save", type=Path, metavar="MODEL", help="keep the model: a .safetensors file")
parser.add_argument("--epochs", type=int, default=20, help="at most (20)")
options = parser.parse_args()
if len(options.files) not in (0, 2):
    parser.error("give two files, or none")


def made_up(verdicts, rng):
    """150 sentences that say one of these things of a film."""
    subjects, degrees = ("the film", "its story", "the music", "the ending"), ("", "very ", "just ", "truly ")
    return [f"{rng.choice(subjects)} is {rng.choice(degrees)}{rng.choice(verdicts)}" for _ in range(150)]


rng = np.random.default_rng(0)
if options.files:
    try:
        praise, complaint = (path.read_text(encoding=options.encoding).splitlines() for path in options.files)
    except (OSError, LookupError, ValueError) as error:
        parser.error(f"cannot read: {error}")
else:
    praise = made_up(("warm", "clever", "funny", "a joy", "moving"), rng)
    complaint = made_up(("dull", "cold", "a mess", "silly", "too long"), rng)

texts = np.array(praise + complaint, dtype=object)
labels = np.array(["praise"] * len(praise) + ["complaint"] * len(complaint))
order = rng.permutation(len(texts))
test, train = np.split(order, [len(order) // 10])

model = SequenceClassifier(
    cell="gru", hidden=64, bidirectional=True, pooling="attention", dropout=0.3, epochs=options.epochs, random_state=0
)
model.fit(list(texts[train]), labels[train])
right = 100 * model.score(list(texts[test]), labels[test])
print(f"{len(train)} sentences learned, {right:.1f} % of {len(test)} others right")

if options.save:
    model.save(options.save)
    model = load(options.save)
(probabilities,), (weights,) = model.predict_proba([options.text]), model.attention_weights([options.text])
for label, probability in zip(model.classes_, probabilities, strict=True):
    print(f"{label:<10}{probability:.3f}")
looked_at = [f"{word} {weight:.2f}" for word, weight in zip(words(options.text), weights, strict=True)]
print("what was looked at: " + ", ".join(looked_at))
