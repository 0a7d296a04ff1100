"""Watch a stream of numbers: learn what comes next, then tell of what should not have come.

A GRU learns to predict the next number from the first part of a series. The rest is streamed through a `Session`, one
number at a time, as a sensor would give it; what lies further from the prediction than nearly all of the training data
did is printed::

    python examples/streaming.py                        # an electrocardiogram of sorts, made up, with two faults
    python examples/streaming.py series.txt             # one number per line
    sensor | python examples/streaming.py series.txt -  # learn from the file, then watch standard input
"""

import argparse
import sys
import time

import numpy as np

import fastrnn
from fastrnn import GRU, Dense, Sequential, Session
from fastrnn.data import Standardizer, windows
from fastrnn.losses import MeanSquaredError
from fastrnn.optim import Adam

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("series", nargs="?", help="a file with one number per line (made up without)")
parser.add_argument("live", nargs="?", choices=["-"], help="watch standard input instead of the rest of the file")
parser.add_argument("--train", type=float, default=0.5, help="share of the series to learn from (0.5); all with -")
parser.add_argument("--window", type=int, default=100, help="steps of a training example (100)")
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--hidden", type=int, default=32, help="units (32)")
options = parser.parse_args()
if not 0 < options.train <= 1:
    parser.error(f"--train must be above 0 and at most 1, got {options.train}")


def numbers(lines, name):
    """The numbers of a file or a pipe, as they come: one per line, empty lines are skipped."""
    for k, line in enumerate(filter(str.strip, lines), 1):
        try:
            number = float(line)
        except ValueError:
            number = np.nan
        if not np.isfinite(number):
            sys.exit(f"{name}, number {k}: must be a finite number, got {line.strip()!r}")
        yield number


def read(path):
    """The numbers of a file (T,)."""
    try:
        with open(path, encoding="utf-8") as file:
            return np.array(list(numbers(file, path)))
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"cannot read {path}: {error}")


def heart(T):
    """A heart that beats every 50 steps or so, with noise; it misses a beat, and later a wire comes loose."""
    rng = np.random.default_rng(0)
    phase = np.cumsum(1 + 0.02 * rng.standard_normal(T)) % 50
    beats = np.exp(-((phase - 20) ** 2) / 8) + 0.25 * np.exp(-((phase - 35) ** 2) / 20)
    series = beats + 0.02 * rng.standard_normal(T)
    missed, loose = T * 7 // 10, T * 9 // 10
    series[missed : missed + 50] = 0.02 * rng.standard_normal(50)
    series[loose : loose + 5] = 1.5
    return series


series = heart(6000) if options.series is None else read(options.series)
cut = len(series) if options.live else int(len(series) * options.train)
if cut <= options.window:
    sys.exit(f"a series of {len(series)} numbers is too short to learn from {options.window} at a time")
scaler = Standardizer().fit(series[:cut, None])
known = scaler.transform(series[:cut, None]).astype("float32")

x, y = windows(known, options.window, stride=10)
targets = np.concatenate([x[:, 1:], y], axis=1)  # for each number the next one
model = Sequential([GRU(1, options.hidden, seed=0), Dense(options.hidden, 1, seed=1)])
fastrnn.fit(model, MeanSquaredError(), Adam(0.01), (x, targets), epochs=options.epochs, clip_norm=1.0, seed=0)

session = Session(model)  # weights packed once, the state kept from step to step
expected = session(known[None])[0]
limit = 2 * np.quantile(np.abs(expected[:-1] - known[1:]), 0.99)
print(f"learnt from {cut} numbers; telling of errors above {limit * scaler.scale_[0]:.3g}")

prediction, spent, count = expected[-1], 0.0, 0
live = numbers(sys.stdin, "standard input") if options.live else series[cut:]
for count, value in enumerate(live, 1):
    seen = scaler.transform([[value]]).astype("float32")
    if abs(seen[0, 0] - prediction[0]) > limit:
        wanted = scaler.inverse_transform(prediction[None])[0, 0]
        print(f"step {cut + count - 1}: {value:.4g}, expected {wanted:.4g}", flush=True)
    began = time.perf_counter()
    prediction = session.step(seen)[0]
    spent += time.perf_counter() - began
print(f"{count} steps watched, {1e6 * spent / max(count, 1):.1f} µs of the model for each")
