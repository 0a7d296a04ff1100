"""README's speed table, made from a results file: how many times the best peer's time ours goes into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .bars import geometric_mean
from .problem import GRID_CELLS, GRID_SHAPES

BEGIN, END = "<!-- speed: written by python -m bench readme -->", "<!-- end of speed -->"
_TITLES = {"forward": "Inference", "training": "Training (forward and backward)"}
_CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "SimpleRNN"}


def speed_tables(results: dict[str, Any]) -> str:
    """Markdown: per mode a table of shapes by cells and thread counts; a dash where nothing was measured."""
    runs = {run["threads"]: run for run in results["sections"].get("grid", [])}
    if not runs:
        raise ValueError("results must hold a grid, got none: run python -m bench first")
    environment = next(iter(runs.values()))["environment"]
    versions = environment["versions"]
    peers = ", ".join(f"{name} {versions[name]}" for name in ("torch", "onnxruntime", "jax") if name in versions)
    parts = [f"Best peer's time over ours, above 1 is faster: {environment['cpu']['model']}, float32, beside {peers}."]
    for mode, title in _TITLES.items():
        columns = [(cell, threads) for threads in sorted(runs) for cell in GRID_CELLS]
        rows = [[f"{shape}", *(_ratio(runs[t], cell, shape, mode) for cell, t in columns)] for shape in GRID_SHAPES]
        means = [_mean([row[k + 1] for row in rows]) for k in range(len(columns))]
        heads = [f"{_CELLS[cell]}, {threads} thread{'s' * (threads > 1)}" for cell, threads in columns]
        lines = [[title, *heads], ["---", *["---:"] * len(columns)]]
        lines += [[row[0], *(_text(value) for value in row[1:])] for row in rows]
        lines.append(["geometric mean", *(_text(value) for value in means)])
        parts.append("\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))
    return "\n\n".join(parts)


def _ratio(run: dict[str, Any], cell: str, shape: Any, mode: str) -> float | None:
    for record in run["records"]:
        sizes = tuple(record[name] for name in "NTDH")
        if record["cell"] == cell and record["mode"] == mode and sizes == (shape.N, shape.T, shape.D, shape.H):
            return record["ratio"]
    return None


def _mean(ratios: list[Any]) -> float | None:
    return None if any(ratio is None for ratio in ratios) else geometric_mean(ratios)


def _text(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def write(results: dict[str, Any], readme: Path) -> None:
    """Put the tables between the two marks in ``readme``.

    Raises
    ------
    ValueError
        The marks are not there.
    """
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme} must hold the lines {BEGIN} and {END}")
    readme.write_text(f"{before}{BEGIN}\n\n{speed_tables(results)}\n\n{END}{after}", encoding="utf-8")
