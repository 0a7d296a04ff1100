"""A model that Keras trained, in a process of its own, predicts the same here."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import scaled_error

from fastrnn.interop.keras import load

pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = [name for name in ("tensorflow", "torch", "jax") if importlib.util.find_spec(name)]
    if not (found and importlib.util.find_spec("keras")):
        pytest.skip("Keras is not installed, or none of tensorflow, torch and jax, with which it trains")
    path = tmp_path_factory.mktemp("trained")
    script = Path(__file__).with_name("train_keras.py")
    environment = {**os.environ, "KERAS_BACKEND": found[0], "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-W", "ignore", str(script), str(path)], check=True, env=environment, timeout=300)
    return path


@pytest.mark.parametrize("source", [("model.keras", None), ("model.weights.h5", "config.json")])
def test_same_predictions(backend, folder, source):
    name, config = source
    with np.load(folder / "data.npz") as data:
        ids, predicted = data["ids"], data["predicted"]
    model = load(folder / name, None if config is None else folder / config)
    y, _ = model(ids)
    assert scaled_error(y, predicted) <= 2e-6
    assert np.ptp(predicted[:, 0]) > 0.01
