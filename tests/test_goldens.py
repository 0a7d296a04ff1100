"""Results and gradients against those of PyTorch and ONNX Runtime, recorded by goldens/record_torch.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cases import CELL_NAMES, TOLERANCES, Problem, as_state, assert_agree, outputs, scaled_error

from fastrnn.cells import CELLS
from fastrnn.ops import rnn_forward

HERE = Path(__file__).parent / "goldens"
DIRECTIONS, BATCHES = ("forward", "reverse"), ("full", "ragged")


def load(cell: str, direction: str, batch: str) -> dict[str, np.ndarray]:
    with np.load(HERE / f"{cell}_{direction}_{batch}.npz") as file:
        return dict(file)


def problem_of(cell: str, direction: str, golden: dict[str, np.ndarray]) -> Problem:
    states = CELLS[cell].states
    return Problem(
        cell=CELLS[cell],
        params={name: np.ascontiguousarray(golden[name]) for name in CELLS[cell].shapes(1, 1)},
        x=golden["x"],
        state=tuple(golden[f"{name}0"] for name in states),
        dy=golden["dy"],
        dstate=tuple(golden[f"d{name}"] for name in states),
        lengths=golden.get("lengths"),
        reverse=direction == "reverse",
    )


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_results_and_gradients(backend, cell, direction, batch, dtype):
    golden = load(cell, direction, batch)
    assert ("lengths" in golden) == (batch == "ragged")
    got = outputs(problem_of(cell, direction, golden).cast(dtype))
    expected = {name: golden[name.removeprefix("inferred_")] for name in got}
    assert all(array.dtype == np.float64 and np.any(array) for array in expected.values())
    assert_agree(got, expected, TOLERANCES["golden", dtype])


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_reset_before_against_onnx_runtime(backend, direction, batch):
    golden = load("gru_before", direction, batch)
    p = problem_of("gru_before", direction, golden)
    y, _, _ = rnn_forward(p.cell, p.params, p.x, as_state(p.state), p.lengths, reverse=p.reverse)
    assert scaled_error(y, golden["y_onnx"]) <= 1e-6


def test_every_golden_is_tested():
    tested = {f"{cell}_{d}_{b}.npz" for cell in CELL_NAMES for d in DIRECTIONS for b in BATCHES}
    assert {path.name for path in HERE.glob("*.npz")} == tested


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_control_another_cell_does_not_pass(cell):
    """The goldens tell the cells, and a full batch read backwards, apart."""
    golden = load(cell, "forward", "full")
    p = problem_of(cell, "reverse", golden)
    y, _, _ = rnn_forward(p.cell, p.params, p.x, as_state(p.state), reverse=True)
    assert scaled_error(y, golden["y"]) > 1e-2
