"""Learn to add: which model, which loss, how to train, how to see that it works. Needs no file.

Each sequence has two features, numbers and marks; two numbers are marked, and the target is their sum. Whoever ignores
the sequence has an error of 0.167::

    python examples/adding_problem.py
    python examples/adding_problem.py --cell gru --steps 200
"""

import argparse

import numpy as np

import fastrnn
from fastrnn import GRU, LSTM, Dense, LastStep, Sequential
from fastrnn.losses import MeanSquaredError
from fastrnn.optim import Adam

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--cell", choices=["lstm", "gru"], default="lstm")
parser.add_argument("--hidden", type=int, default=32, help="units (32)")
parser.add_argument("--steps", type=int, default=50, help="length of a sequence (50)")
parser.add_argument("--epochs", type=int, default=15, help="of 100 updates each (15)")
options = parser.parse_args()
if options.steps < 2:
    parser.error(f"--steps must be at least 2, got {options.steps}")


def examples(N, T, rng):
    """N sequences (N, T, 2) and their sums (N, 1)."""
    x = np.zeros((N, T, 2), "float32")
    x[:, :, 0] = rng.random((N, T))
    for first, end in ((0, T // 2), (T // 2, T)):
        x[np.arange(N), rng.integers(first, end, N), 1] = 1
    return x, (x[:, :, 0] * x[:, :, 1]).sum(axis=1, keepdims=True)


def new_batches(rng):
    """An epoch that nobody has seen before; fit calls this again for the next one."""
    for _ in range(100):
        yield examples(64, options.steps, rng)


layer = {"lstm": LSTM, "gru": GRU}[options.cell]
model = Sequential([layer(2, options.hidden, seed=0), LastStep(options.hidden), Dense(options.hidden, 1, seed=1)])
history = fastrnn.fit(
    model,
    MeanSquaredError(),
    Adam(0.01),
    new_batches,
    validation=examples(1000, options.steps, np.random.default_rng(1)),
    epochs=options.epochs,
    clip_norm=1.0,
    callbacks=[fastrnn.EarlyStopping(patience=5)],
    seed=0,
)
print(f"error before 0.167, after {min(history['val_loss']):.5f}")

x, y = examples(3, options.steps, np.random.default_rng(2))
answers, _ = model(x)
for answer, wanted in zip(answers[:, 0], y[:, 0], strict=True):
    print(f"{answer:.3f} for {wanted:.3f}")
