"""Training PyTorch models as they are and accelerated: ``python -m bench.drop_in``, which needs PyTorch.

Whole programs, loss and optimiser included: a tagger on packed sequences, a translator with attention, a language model
and a forecaster. Each model and an accelerated copy take updates in turns, from the same weights on the same batches;
first their losses are compared.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import fastrnn
from fastrnn.interop.torch import accelerate

from .machine import environment

BARS = {"tagger": 2.5, "translator": 2.0, "language model": 1.3, "forecaster": 2.0}


@dataclass(frozen=True)
class Sizes:
    """Sequences, their length, symbols, features of a symbol and units."""

    N: int
    T: int
    vocab: int
    D: int
    H: int


class Tagger(nn.Module):
    """A tag for every word, by two bidirectional LSTM layers on sequences of unequal length."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.embedding = nn.Embedding(sizes.vocab, sizes.D)
        self.rnn = nn.LSTM(sizes.D, sizes.H, num_layers=2, bidirectional=True, batch_first=True, dropout=0.1)
        self.tags = nn.Linear(2 * sizes.H, 20)

    def forward(self, words: Tensor, lengths: Tensor, tags: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(words), lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=words.shape[1])
        valid = torch.arange(words.shape[1]) < lengths[:, None]
        return cross_entropy(self.tags(y[valid]), tags[valid])

    @staticmethod
    def batch(sizes: Sizes, rng: torch.Generator) -> tuple[Tensor, ...]:
        words = torch.randint(sizes.vocab, (sizes.N, sizes.T), generator=rng)
        lengths = torch.randint(1, sizes.T + 1, (sizes.N,), generator=rng)
        return words, lengths, (words + words.roll(1, 1)) % 20


class Translator(nn.Module):
    """A sentence from a sentence: a GRU reads, a second one writes, attending to what the first has read
    (Luong, Pham & Manning 2015)."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.embedding = nn.Embedding(sizes.vocab, sizes.D)
        self.encoder = nn.GRU(sizes.D, sizes.H, batch_first=True)
        self.decoder = nn.GRU(sizes.D, sizes.H, batch_first=True)
        self.query = nn.Linear(sizes.H, sizes.H, bias=False)
        self.combine = nn.Linear(2 * sizes.H, sizes.H)
        self.words = nn.Linear(sizes.H, sizes.vocab)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        read, state = self.encoder(self.embedding(source))
        written, _ = self.decoder(self.embedding(target[:, :-1]), state)
        attention = torch.softmax(self.query(written) @ read.transpose(1, 2), dim=2)
        attended = torch.tanh(self.combine(torch.cat((attention @ read, written), dim=2)))
        return cross_entropy(self.words(attended).flatten(0, 1), target[:, 1:].flatten())

    @staticmethod
    def batch(sizes: Sizes, rng: torch.Generator) -> tuple[Tensor, ...]:
        source = torch.randint(sizes.vocab, (sizes.N, sizes.T), generator=rng)
        return source, source.flip(1)


class LanguageModel(nn.Module):
    """The next character, by two LSTM layers."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.embedding = nn.Embedding(sizes.vocab, sizes.D)
        self.rnn = nn.LSTM(sizes.D, sizes.H, num_layers=2, dropout=0.1)
        self.characters = nn.Linear(sizes.H, sizes.vocab)

    def forward(self, text: Tensor) -> Tensor:
        y, _ = self.rnn(self.embedding(text[:-1]))
        return cross_entropy(self.characters(y).flatten(0, 1), text[1:].flatten())

    @staticmethod
    def batch(sizes: Sizes, rng: torch.Generator) -> tuple[Tensor, ...]:
        steps = torch.randint(1, 4, (sizes.T + 1, sizes.N), generator=rng)
        return (steps.cumsum(0) % sizes.vocab,)


class Forecaster(nn.Module):
    """The next value of a series, by a simple recurrent network."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.rnn = nn.RNN(sizes.D, sizes.H, batch_first=True)
        self.value = nn.Linear(sizes.H, sizes.D)

    def forward(self, series: Tensor) -> Tensor:
        y, _ = self.rnn(series[:, :-1])
        return nn.functional.mse_loss(self.value(y), series[:, 1:])

    @staticmethod
    def batch(sizes: Sizes, rng: torch.Generator) -> tuple[Tensor, ...]:
        phase = torch.rand(sizes.N, 1, sizes.D, generator=rng)
        return (torch.sin(0.2 * torch.arange(sizes.T + 1)[:, None] + 6 * phase),)


MODELS: dict[str, tuple[Any, Sizes]] = {
    "tagger": (Tagger, Sizes(N=32, T=50, vocab=2000, D=100, H=128)),
    "translator": (Translator, Sizes(N=32, T=30, vocab=100, D=64, H=128)),
    "language model": (LanguageModel, Sizes(N=50, T=50, vocab=100, D=64, H=128)),
    "forecaster": (Forecaster, Sizes(N=32, T=100, vocab=0, D=8, H=64)),
}
"""Words of a sentence; characters of a word; char-rnn's defaults, 50 sequences of 50 characters and 128 units; a series
of a few variables."""
TINY = Sizes(N=8, T=8, vocab=20, D=16, H=32)
RATE = 1e-3
"""Of learning, Adam's default. At 3e-3 the translator magnifies what rounding leaves: over 100 updates PyTorch's own
losses on one thread and on two differ by 3e-4."""


def pair(name: str, sizes: Sizes) -> tuple[nn.Module, nn.Module]:
    """A model as PyTorch has it, and an accelerated copy of it."""
    torch.manual_seed(0)
    model = MODELS[name][0](sizes)
    fast = copy.deepcopy(model)
    accelerate(fast)
    return model, fast


def trainer(model: nn.Module, batches: Sequence[tuple[Tensor, ...]], rate: float = RATE) -> Callable[[], float]:
    """A function that takes one update and returns its loss; batches and dropout are the same for all trainers."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    updates = 0

    def update() -> float:
        nonlocal updates
        torch.default_generator.manual_seed(updates)
        loss = model(*batches[updates % len(batches)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        updates += 1
        return loss.item()

    return update


def losses(name: str, sizes: Sizes, updates: int, rate: float = RATE) -> tuple[list[float], list[float]]:
    """Losses of the first updates: PyTorch's, and of the accelerated copy."""
    rng = torch.Generator().manual_seed(0)
    model, fast = pair(name, sizes)
    batches = [type(model).batch(sizes, rng) for _ in range(8)]
    ours, theirs = trainer(fast, batches, rate), trainer(model, batches, rate)
    return [theirs() for _ in range(updates)], [ours() for _ in range(updates)]


def measure(name: str, sizes: Sizes, rounds: int) -> dict[str, Any]:
    """Median seconds per update of both, and of the ratio pair by pair."""
    rng = torch.Generator().manual_seed(0)
    model, fast = pair(name, sizes)
    batches = [type(model).batch(sizes, rng) for _ in range(8)]
    tasks = {"torch": trainer(model, batches), "fastrnn": trainer(fast, batches)}
    seconds: dict[str, list[float]] = {key: [] for key in tasks}
    for k in range(rounds + 3):
        for key, update in tasks.items():
            start = time.perf_counter()
            update()
            if k >= 3:
                seconds[key].append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(seconds["torch"], seconds["fastrnn"], strict=True)]
    return {key: statistics.median(times) for key, times in seconds.items()} | {"ratio": statistics.median(ratios)}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the models; 1 if losses differ."""
    parser = argparse.ArgumentParser(prog="python -m bench.drop_in", description=__doc__)
    parser.add_argument("--models", default=",".join(MODELS), help="of " + ", ".join(MODELS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40, help="updates of each model (40)")
    parser.add_argument("--updates", type=int, default=100, help="updates whose losses are compared first (100)")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    fastrnn.set_num_threads(options.threads)
    records, failed = {}, False
    for name in options.models.split(","):
        sizes = MODELS[name][1]
        theirs, ours = losses(name, sizes, options.updates)
        difference = max(abs(a - b) for a, b in zip(theirs, ours, strict=True))
        failed |= not difference <= 1e-4
        records[name] = record = measure(name, sizes, options.rounds) | {"loss_difference": difference}
        print(
            f"{name}: torch {record['torch'] * 1e3:.1f} ms, fastrnn {record['fastrnn'] * 1e3:.1f} ms,"
            f" ratio {record['ratio']:.2f} (bar {BARS[name]}), losses differ by {difference:.1e}",
            flush=True,
        )
    if options.out is not None:
        sizes_of = {name: vars(MODELS[name][1]) for name in records}
        document = {"environment": environment(options.threads), "sizes": sizes_of, "records": records}
        options.out.write_text(json.dumps(document, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
