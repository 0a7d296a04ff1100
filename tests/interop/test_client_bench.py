"""`bench.client`: a session beside ONNX Runtime on a pretrained LSTM."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from bench import client
from fastrnn.interop.torch import load_state_dict


def _file(folder):
    rng = np.random.default_rng(0)
    shapes = {"weight_ih": (16, 3), "weight_hh": (16, 4), "bias_ih": (16,), "bias_hh": (16,)}
    arrays = {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    arrays["x"] = rng.normal(size=(7, 3)).astype("float32")
    layer = load_state_dict({f"{name}_l0": arrays[name] for name in shapes})
    path = folder / "lstm.npz"
    np.savez(path, h=layer(arrays["x"])[0], **arrays)
    return path, arrays


def test_both_give_the_files_results(tmp_path, capsys):
    path, arrays = _file(tmp_path)
    cpus = os.sched_getaffinity(0)
    assert client.main([str(path), "--rounds", "2", "--out", str(tmp_path / "found.json")]) == 0
    assert "ratio" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["ratio"] > 0 and max(found["errors"].values()) <= client.TOLERANCE
    with np.load(path) as file:
        assert np.array_equal(file["x"], arrays["x"])
    assert os.sched_getaffinity(0) == cpus


def test_other_results_are_an_error(tmp_path):
    path, _ = _file(tmp_path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["h"][3] += 0.1
    np.savez(path, **arrays)
    assert client.main([str(path), "--rounds", "1"]) == 1
