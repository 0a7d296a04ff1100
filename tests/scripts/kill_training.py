"""Kill trainings with SIGKILL at random moments: the last checkpoint is always whole, and a run that goes on from one
ends with the same bits as one without a break.

    python tests/scripts/kill_training.py [kills] [seed]

Each process trains the same model, writes a checkpoint after every update, and goes on from the one that is there.
After so many kills a last process is left alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit

import fastrnn
from fastrnn import Checkpoint, EarlyStopping
from fastrnn.schedules import Cosine

EPOCHS = 30


def train_on(path: Path) -> None:
    """Train to the end, from the checkpoint at ``path`` where there is one; then save the model beside it."""
    callbacks = [EarlyStopping(patience=100), Checkpoint(path, steps=1)]
    resume = path if path.exists() else None
    print("begun", flush=True)
    model, _ = toolkit.train(epochs=EPOCHS, callbacks=callbacks, schedule=Cosine(0.02, 4 * EPOCHS), resume=resume)
    fastrnn.save(path.with_suffix(".end"), model)


def process(path: Path) -> subprocess.Popen[bytes]:
    """A process that trains, with the packages that this one has."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, __file__, "--train", str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def killed_after(path: Path, seconds: float) -> bool:
    """Run a training and kill it so long after there is a checkpoint; False where it had ended by then."""
    with process(path) as training:
        assert training.stdout is not None
        training.stdout.readline()
        while not path.exists() and training.poll() is None:
            time.sleep(0.001)
        time.sleep(seconds)
        training.kill()
    return training.returncode != 0


def survive(folder: Path, kills: int, seed: int) -> tuple[int, list[int]]:
    """Kills that struck, and the updates that the checkpoint had after each; raises where one was lost."""
    rng, path, struck, steps = np.random.default_rng(seed), folder / "run.safetensors", 0, []
    for _ in range(kills):
        struck += killed_after(path, float(rng.uniform(0.0, 0.1)))
        if path.exists():
            fastrnn.load(path)
            steps.append(int(fastrnn.files.read(path).training["step"]))
    assert steps == sorted(steps), steps
    with process(path) as training:
        training.communicate()
    assert training.returncode == 0
    whole = folder / "whole.safetensors"
    train_on(whole)
    ends = [fastrnn.load(p.with_suffix(".end")) for p in (path, whole)]
    assert np.array_equal(ends[0].params.flat, ends[1].params.flat)
    for name, buffer in ends[0].buffers.items():
        assert np.array_equal(buffer, ends[1].buffers[name])
    return struck, steps


def main() -> None:
    if sys.argv[1:2] == ["--train"]:
        train_on(Path(sys.argv[2]))
        return
    kills, seed = (int(value) for value in (*sys.argv[1:], 20, 0)[:2]) if len(sys.argv) != 2 else (int(sys.argv[1]), 0)
    with tempfile.TemporaryDirectory() as folder:
        struck, steps = survive(Path(folder), kills, seed)
    print(f"{struck} of {kills} kills struck; updates in the checkpoint after each: {steps}; the same bits at the end")


if __name__ == "__main__":
    main()
