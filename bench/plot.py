"""The ratios of results.json as a chart: one PNG per thread count."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .problem import Shape

_COLOURS = {"torch": "#d95f02", "onnxruntime": "#1b6ca8", "jax": "#3a923a"}
_MARKERS = {"torch": "o", "onnxruntime": "s", "jax": "^"}
_TITLES = {"rnn_tanh": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}
_TICKS = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)


def _pyplot() -> Any:
    try:
        importlib.import_module("matplotlib").use("Agg")
        return importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise ImportError("plotting needs matplotlib: pip install 'fastrnn[bench]'") from error


def _panel(axes: Any, records: Sequence[dict[str, Any]]) -> None:
    """One dot per peer and shape; the best peer's is filled, the others are hollow."""
    shapes = [str(Shape(record["N"], record["T"], record["D"], record["H"])) for record in records]
    for row, record in enumerate(records):
        for peer in _COLOURS.keys() & record["ratios"].keys():
            best = peer == record["best_peer"]
            axes.plot(
                record["ratios"][peer],
                row,
                _MARKERS[peer],
                color=_COLOURS[peer],
                markerfacecolor=_COLOURS[peer] if best else "white",
                markersize=7,
                zorder=3 + best,
            )
    axes.axvline(1, color="black", linewidth=1.2)
    axes.set_yticks(range(len(shapes)), shapes)
    axes.set_ylim(len(shapes) - 0.5, -0.5)
    axes.grid(axis="both", color="0.9")
    axes.set_axisbelow(True)


def _limits(records: Sequence[dict[str, Any]]) -> tuple[float, float]:
    ratios = [record["ratios"][peer] for record in records for peer in _COLOURS.keys() & record["ratios"].keys()]
    return min([0.8, *ratios]) / 1.15, max([2.0, *ratios]) * 1.15


def _figure(pyplot: Any, run: dict[str, Any]) -> Any:
    records = run["records"]
    cells = [cell for cell in _TITLES if any(record["cell"] == cell for record in records)]
    modes = [mode for mode in ("forward", "training") if any(record["mode"] == mode for record in records)]
    height = 1.9 + len(modes) * (0.6 + 0.3 * len(run["settings"]["shapes"]))
    figure, grid = pyplot.subplots(
        len(modes),
        len(cells),
        figsize=(2.2 + 3.6 * len(cells), height),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    low, high = _limits(records)
    for axes_row, mode in zip(grid, modes, strict=True):
        for axes, cell in zip(axes_row, cells, strict=True):
            _panel(axes, [record for record in records if record["mode"] == mode and record["cell"] == cell])
            axes.set_title(f"{_TITLES[cell]}, {mode}", fontsize=10)
            axes.set_xscale("log")
            ticks = [tick for tick in _TICKS if low <= tick <= high]
            axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
            axes.set_xticks([], minor=True)
            axes.set_xlim(low, high)
    handles = [
        pyplot.Line2D([], [], color=_COLOURS[peer], marker=_MARKERS[peer], linestyle="none", label=peer)
        for peer in _COLOURS
        if any(peer in record["ratios"] for record in records)
    ]
    ours = next((record["ours"] for record in records if record["ours"]), "fastrnn")
    threads = f"{run['threads']} thread{'s' if run['threads'] > 1 else ''}"
    figure.suptitle(f"Peer's time over {ours}'s, {threads}: right of 1x fastrnn is faster; filled: the best peer")
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    """Draw every run of the grid and return the PNG files.

    Raises
    ------
    ImportError
        matplotlib is missing.
    ValueError
        The results hold no grid.
    """
    pyplot = _pyplot()
    runs = [run for run in results["sections"].get("grid", []) if run["records"]]
    if not runs:
        raise ValueError("the results hold no grid: run `python -m bench` first")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for run in runs:
        figure = _figure(pyplot, run)
        path = folder / f"ratios-{run['threads']}-thread{'s' if run['threads'] > 1 else ''}.png"
        figure.savefig(path, dpi=130)
        pyplot.close(figure)
        paths.append(path)
    return paths
