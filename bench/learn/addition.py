"""Addition, character by character: an encoder reads "12+7 ", reversed, a decoder writes "19 ".

Keras's example with numbers of two digits: one LSTM reads the question, its last output is repeated for every
character of the answer, and a second LSTM with a dense layer writes them all. 5,000 different questions (12+7 and 7+12
are one), of which a tenth is held out; 32 a batch, Adam. That example promises 99 % within 55 epochs, where accuracy is
that of the single characters of held-out answers, the blanks that fill them included. Here that, and the share of
answers that are right from end to end::

    python -m bench.learn.addition

References
----------
Sutskever, Vinyals & Le 2014, "Sequence to sequence learning with neural networks"; Chollet 2015, "An implementation of
sequence to sequence learning for performing addition", Keras's examples.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import fastrnn
from fastrnn import LSTM, Dense, LastStep, Sequential
from fastrnn.composite import Composite
from fastrnn.layer import Call
from fastrnn.losses import Accuracy, SoftmaxCrossEntropy
from fastrnn.optim import Adam
from fastrnn.params import Params
from fastrnn.schedules import Cosine

from .trials import add_seeds, report

Array = np.ndarray

CHARACTERS = "0123456789+ "
DIGITS = 2
QUESTION, ANSWER = 2 * DIGITS + 1, DIGITS + 1  # characters
QUESTIONS, HELD_OUT = 5000, 0.1
REACHED = 0.99
ROWS = 32


class EncoderDecoder(Composite):
    """A layer that answers sequences with sequences: what the encoder makes of one is the decoder's x at every step.

    Parameters
    ----------
    encoder : Sequential that pools, x (N, T, D) -> (N, H)
    decoder : Sequential, (N, steps, H) -> (N, steps, K)
    steps : int
        Of every answer.

    Notes
    -----
    Parameters: ``"encoder.0.W"``, ..., ``"decoder.0.W"``, ... State: a tuple (encoder's, decoder's).
    """

    def __init__(self, encoder: Sequential, decoder: Sequential, steps: int):
        self.encoder, self.decoder, self.steps = encoder, decoder, steps
        self.input_size, self.output_size = encoder.input_size, decoder.output_size
        self._join({"encoder": encoder, "decoder": decoder}, encoder.dtype)

    def _run(self, x: Any, state: Any, call: Call, keep: bool) -> tuple[Array, Any, Any]:
        of_encoder, of_decoder = state or (None, None)
        h, of_encoder, encoded = self.encoder._run(x, of_encoder, call, keep)
        repeated = np.broadcast_to(h, (self.steps, *h.shape))
        y, of_decoder, decoded = self.decoder._run(repeated, of_decoder, Call(time_major=True, rng=call.rng), keep)
        y = y if call.time_major else y.swapaxes(0, 1)
        return y, (of_encoder, of_decoder), (encoded, decoded, call.time_major)

    def _adjoint(
        self, record: Any, dy: Any, dstate: Any, grads: Params, input_gradient: bool
    ) -> tuple[Array | None, Any]:
        encoded, decoded, time_major = record
        of_encoder, of_decoder = dstate or (None, None)
        encoder_grads, decoder_grads = self._grads(grads)
        dy = dy if time_major or dy is None else dy.swapaxes(0, 1)
        repeated, of_decoder = self.decoder._adjoint(decoded, dy, of_decoder, decoder_grads, True)
        dx, of_encoder = self.encoder._adjoint(encoded, repeated.sum(axis=0), of_encoder, encoder_grads, input_gradient)
        return dx, (of_encoder, of_decoder)


class Sums(NamedTuple):
    """Questions as one-hot vectors (N, QUESTION, V), backwards, and answers as integers (N, ANSWER)."""

    x: Array
    y: Array


def questions(count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """So many pairs of numbers of one or two digits, no two of them the same two numbers."""
    pairs: dict[tuple[int, int], tuple[int, int]] = {}
    while len(pairs) < count:
        digits = rng.integers(1, DIGITS + 1, 2)
        a, b = (int(rng.integers(10**n)) for n in digits)
        pairs.setdefault((min(a, b), max(a, b)), (a, b))
    return list(pairs.values())


def encode(text: str) -> list[int]:
    return [CHARACTERS.index(character) for character in text]


def examples(count: int, rng: np.random.Generator) -> Sums:
    """Questions and answers, each filled up with blanks.

    Examples
    --------
    >>> x, y = examples(2, np.random.default_rng(5))
    >>> ["".join(CHARACTERS[k] for k in row.argmax(axis=1)) for row in x]
    [' 08+2', ' 82+6']
    >>> ["".join(CHARACTERS[k] for k in row) for row in y]
    ['82 ', '34 ']
    """
    pairs = questions(count, rng)
    asked = np.array([encode(f"{a}+{b}".ljust(QUESTION)[::-1]) for a, b in pairs])
    answers = np.array([encode(str(a + b).ljust(ANSWER)) for a, b in pairs])
    return Sums(np.eye(len(CHARACTERS), dtype=np.float32)[asked], answers)


def make_model(hidden: int, seed: int) -> EncoderDecoder:
    rng, V = np.random.default_rng(seed), len(CHARACTERS)
    encoder = Sequential([LSTM(V, hidden, seed=rng), LastStep(hidden)])
    decoder = Sequential([LSTM(hidden, hidden, seed=rng), Dense(hidden, V, seed=rng)])
    return EncoderDecoder(encoder, decoder, ANSWER)


class Outcome(NamedTuple):
    """Accuracy of characters and of whole answers, held out, after the last epoch; the first epoch (from 1) with
    `REACHED` of the characters; seconds of the training."""

    characters: float
    answers: float
    first: int | None
    seconds: float


def learn(count: int, hidden: int, epochs: int, lr: float, seed: int) -> Outcome:
    """Train a model on 9 of 10 questions."""
    sums, cut = examples(count, np.random.default_rng([seed, 1])), round(count * (1 - HELD_OUT))
    train, held_out = Sums(sums.x[:cut], sums.y[:cut]), Sums(sums.x[cut:], sums.y[cut:])
    model, began = make_model(hidden, seed), time.perf_counter()
    history = fastrnn.fit(
        model,
        SoftmaxCrossEntropy(),
        Adam(lr),
        train,
        held_out,
        epochs=epochs,
        batch_size=ROWS,
        clip_norm=1.0,
        schedule=Cosine(lr, epochs * -(-cut // ROWS)),
        metrics={"accuracy": Accuracy()},
        progress=False,
        seed=seed,
    )
    seconds = time.perf_counter() - began
    accuracy = history["val_accuracy"]
    first = next((epoch + 1 for epoch, value in enumerate(accuracy) if value >= REACHED), None)
    right = (model(held_out.x)[0].argmax(axis=2) == held_out.y).all(axis=1)
    return Outcome(accuracy[-1], float(right.mean()), first, seconds)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=128, help="units of encoder and decoder (128)")
    parser.add_argument("--epochs", type=int, default=55)
    parser.add_argument("--samples", type=int, default=QUESTIONS, help=f"questions ({QUESTIONS})")
    parser.add_argument("--lr", type=float, default=5e-3, help="Adam's first learning rate (0.005)")
    add_seeds(parser)
    options = parser.parse_args(argv)
    print(f"addition of {DIGITS} digits reversed, LSTM {options.hidden}, {options.samples} questions")
    outcomes = []
    for seed in options.seeds:
        outcome = learn(options.samples, options.hidden, options.epochs, options.lr, seed)
        when = "never" if outcome.first is None else f"in epoch {outcome.first}"
        print(
            f"  seed {seed}: {100 * outcome.characters:.2f} % of characters, {100 * outcome.answers:.1f} % of answers "
            f"after {options.epochs} epochs, {outcome.seconds:.1f} s; {100 * REACHED:.0f} % of characters {when}",
            flush=True,
        )
        outcomes.append(outcome)
    report("accuracy of characters", [100 * outcome.characters for outcome in outcomes], " %")
    report("accuracy of answers", [100 * outcome.answers for outcome in outcomes], " %")


if __name__ == "__main__":
    main()
