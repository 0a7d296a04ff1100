"""Streaming a pretrained LSTM, frame by frame: ``python -m bench.client silero_vad.npz``, which needs ONNX Runtime.

The file holds an LSTM in PyTorch's layout (weight_ih, weight_hh, bias_ih, bias_hh), its input x (T, D), and the h and c
(T, H) that are to come out. A `fastrnn.Session` and ONNX Runtime go through all of it in turns, each given one frame a
call and keeping its own state; first their results are compared with the file's.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import fastrnn
from fastrnn.interop.torch import load_state_dict

from .machine import environment
from .pinning import pin, pinned_cpus
from .problem import Array, Problem, Shape
from .runners.base import Task
from .runners.onnx_runner import OnnxRuntime, bind
from .timing import SETTLE_SECONDS, Schedule, pairwise_ratio, race

BAR = 2.5
TOLERANCE = 5e-6
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

Pass = Callable[[], Array]
"""Goes through all frames from a state of zeros; h (T, H)."""


def ours(layer: Any, x: Array) -> Pass:
    """Through a session."""
    session = fastrnn.Session(layer)
    frames = list(x[:, None])
    h = np.empty((len(x), layer.hidden_size), np.float32)

    def run() -> Array:
        session.reset()
        step = session.step
        for t, frame in enumerate(frames):
            h[t] = step(frame)[0]
        return h

    return run


def theirs(layer: Any, x: Array, threads: int) -> Pass:
    """Through ONNX Runtime, whose inputs and outputs are bound to two states that take turns."""
    value = importlib.import_module("onnxruntime").OrtValue.ortvalue_from_numpy
    D, H = layer.params["W"].shape[0], layer.hidden_size
    zeros = np.zeros((1, H), np.float32)
    params = {name: np.asarray(array) for name, array in layer.params.items()}
    problem = Problem(layer.cell, Shape(1, 1, D, H), params, x[:1, None], (zeros, zeros), zeros[None])
    session = OnnxRuntime().session(problem, threads)
    # a value may share the array's memory
    given, y = value(problem.x.copy()), value(np.empty((1, 1, 1, H), np.float32))
    states = [[value(np.zeros((1, 1, H), np.float32)) for _ in range(2)] for _ in range(2)]
    turns = [
        bind(
            session,
            {"X": given, "initial_h": states[k][0], "initial_c": states[k][1]},
            {"Y": y, "Y_h": states[1 - k][0], "Y_c": states[1 - k][1]},
        )
        for k in range(2)
    ]
    frames = list(x[:, None, None])
    result = y.numpy()
    h = np.empty((len(x), H), np.float32)

    def run() -> Array:
        for part in states[0]:
            part.update_inplace(zeros[None])
        for t, frame in enumerate(frames):
            given.update_inplace(frame)
            session.run_with_iobinding(turns[t % 2])
            h[t] = result[0, 0, 0]
        return h

    return run


def measure(path: Path, threads: int, rounds: int) -> dict[str, Any]:
    """Median seconds per frame of both, and of the ratio pass by pass."""
    with np.load(path) as file:
        z = {name: file[name] for name in (*NAMES, "x", "h")}
    layer = load_state_dict({f"{name}_l0": z[name] for name in NAMES})
    passes = {"onnxruntime": theirs(layer, z["x"], threads), "fastrnn": ours(layer, z["x"])}
    errors = {name: float(np.abs(run() - z["h"]).max()) for name, run in passes.items()}
    tasks = {name: Task(run, lambda h: {"y": h}) for name, run in passes.items()}
    samples = race(tasks, Schedule(rounds, 0.0, SETTLE_SECONDS))
    seconds = {name: [pass_ / len(z["x"]) for pass_ in samples[name].seconds] for name in tasks}
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return medians | {"ratio": pairwise_ratio(seconds["onnxruntime"], seconds["fastrnn"]), "errors": errors}


@contextmanager
def _pinned(threads: int) -> Iterator[None]:
    """Within ``with``, this process has as many threads and CPUs."""
    before, cpus = fastrnn.get_num_threads(), pinned_cpus()
    pin(threads)
    try:
        fastrnn.set_num_threads(threads)
        yield
    finally:
        fastrnn.set_num_threads(before)
        if cpus is not None:
            os.sched_setaffinity(0, cpus)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure a file's LSTM; 1 if results differ."""
    parser = argparse.ArgumentParser(prog="python -m bench.client", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40, help="passes of each (40)")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    args = parser.parse_args(argv)
    with _pinned(args.threads):
        found = measure(args.file, args.threads, args.rounds)
    same = max(found["errors"].values()) <= TOLERANCE
    print(
        f"{args.file.stem}: onnxruntime {found['onnxruntime'] * 1e6:.2f} us, fastrnn {found['fastrnn'] * 1e6:.2f} us a"
        f" frame, ratio {found['ratio']:.2f} (bar {BAR}), errors"
        f" {found['errors']['onnxruntime']:.1e}, {found['errors']['fastrnn']:.1e}"
    )
    if args.out is not None:
        args.out.write_text(json.dumps({"environment": environment(args.threads)} | found, indent=1) + "\n")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
