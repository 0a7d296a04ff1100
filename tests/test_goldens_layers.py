"""Layers with their options against results of PyTorch, Keras and ONNX Runtime; ``golden_files`` says how those lie.

Cells without options are in ``test_goldens.py``.
"""

from __future__ import annotations

from typing import Any

import golden_files
import numpy as np
import pytest
from cases import assert_agree, scaled_error
from differences import leaves, map_state

Array = np.ndarray

FRAMEWORKS = ("torch", "keras", "onnx")
CASES = [(framework, name) for framework in FRAMEWORKS for name in golden_files.names(framework)]

# what scaled_error, relative to the output's size, may reach
TOLERANCES = {
    ("torch", "float64"): 1e-12,
    ("torch", "float32"): 2e-5,
    ("keras", "float64"): 1e-12,
    ("keras", "float32"): 2e-5,
    ("onnx", "float64"): 5e-6,  # ONNX Runtime computes in float32
    ("onnx", "float32"): 5e-6,
}


def _cast(arrays: dict[str, Array], dtype: str) -> dict[str, Array]:
    return {key: value.astype(dtype) if value.dtype.kind == "f" else value for key, value in arrays.items()}


def _layer(golden: dict[str, Array], dtype: str, **changes: Any) -> Any:
    """The golden's layer with its parameters; ``changes`` drop (None) or replace options."""
    spec = _changed(golden_files.layer_spec(golden), changes)
    layer = golden_files.build(spec, dtype)
    layer.params.update({name: value.astype(dtype) for name, value in golden_files.under("param", golden).items()})
    return layer


def _changed(spec: list[Any], changes: dict[str, Any]) -> list[Any]:
    if not isinstance(spec[-1], dict):
        return [_changed(inner, changes) if isinstance(inner, list) else inner for inner in spec]
    options = {key: value for key, value in (spec[-1] | changes).items() if value is not None}
    return [*spec[:-1], options]


def _call(golden: dict[str, Array]) -> dict[str, Array]:
    """lengths or mask, as keyword arguments."""
    return {key: golden[key] for key in ("lengths", "mask") if key in golden}


def _state(layer: Any, golden: dict[str, Array], prefix: str) -> Any:
    """The numbered arrays as a state of the layer."""
    parts = iter(golden_files.under(prefix, golden).values())
    empty = np.empty((len(golden["x"]), 0, golden["x"].shape[2]), layer.dtype)
    state = map_state(lambda _: next(parts), layer(empty)[1])
    assert next(parts, None) is None
    return state


@pytest.mark.parametrize(("framework", "name"), CASES)
def test_results(backend, framework, name, dtype):
    golden = _cast(golden_files.read(framework, name), dtype)
    layer = _layer(golden, dtype)
    y, final = layer(golden["x"], _state(layer, golden, "state"), **_call(golden))
    got = {"y": y} | golden_files.numbered("final", leaves(final))
    assert_agree(got, {key: golden[key] for key in got}, TOLERANCES[framework, dtype])


@pytest.mark.parametrize(("framework", "name"), [case for case in CASES if case[0] != "onnx"])
def test_gradients(backend, framework, name, dtype):
    golden = _cast(golden_files.read(framework, name), dtype)
    layer = _layer(golden, dtype)
    y, final, tape = layer.forward(golden["x"], _state(layer, golden, "state"), **_call(golden))
    dx, dstate, grads = layer.backward(tape, golden["dy"], _state(layer, golden, "dfinal"))
    got = {"y": y, "dx": dx, **{f"grad.{key}": value for key, value in grads.items()}}
    got |= golden_files.numbered("final", leaves(final)) | golden_files.numbered("dstate", leaves(dstate))
    assert_agree(got, {key: golden[key] for key in got}, TOLERANCES[framework, dtype])


def test_goldens_are_there():
    """Every framework has its cases, and gradients where it computes them."""
    found = {framework: golden_files.names(framework) for framework in FRAMEWORKS}
    assert {framework: len(cases) for framework, cases in found.items()} == {"torch": 24, "keras": 23, "onnx": 40}
    for framework, name in CASES:
        golden = golden_files.read(framework, name)
        assert golden["x"].dtype == (np.float32 if framework == "onnx" else np.float64)
        assert np.any(golden["y"]) and all(np.any(part) for part in golden_files.under("state", golden).values())
        assert all(np.any(value) for value in golden_files.under("grad", golden).values())
        assert framework == "onnx" or {f"grad.{key}" for key in golden_files.under("param", golden)} <= set(golden)


def _options(spec: list[Any]) -> dict[str, Any]:
    return (
        spec[-1] if isinstance(spec[-1], dict) else _options(next(inner for inner in spec if isinstance(inner, list)))
    )


_NOT_IN_SHAPES = (
    "activation",
    "recurrent_activation",
    "output_activation",
    "clip",
    "reverse",
)  # in both layers' parameters alike


@pytest.mark.parametrize(("framework", "name"), CASES)
def test_control_every_option_counts(framework, name):
    """Without one of its options a layer with the same parameters does not pass."""
    golden = golden_files.read(framework, name)
    for option in set(_options(golden_files.layer_spec(golden))) & set(_NOT_IN_SHAPES):
        layer = _layer(golden, str(golden["x"].dtype), **{option: None})
        y, _ = layer(golden["x"], _state(layer, golden, "state"), **_call(golden))
        assert scaled_error(y, golden["y"]) > 1e-3, option


@pytest.mark.parametrize(("framework", "name"), [case for case in CASES if "ragged" in case[1] or "mask" in case[1]])
def test_control_lengths_and_masks_count(framework, name):
    golden = golden_files.read(framework, name)
    layer = _layer(golden, str(golden["x"].dtype))
    y, _ = layer(golden["x"], _state(layer, golden, "state"))
    assert _call(golden)
    assert scaled_error(y, golden["y"]) > 1e-3
