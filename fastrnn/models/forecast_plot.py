"""The picture of a forecast."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray


def draw(past: Array, quantiles: Array, levels: tuple[float, ...], names: tuple[str, ...], row: int, path: Any) -> Any:
    """A matplotlib figure with one panel per column: past (T, K), then quantiles (steps, K, Q) from ``row`` on."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plot needs matplotlib: pip install matplotlib") from error
    K, median = len(names), levels.index(0.5)
    figure = Figure(figsize=(8, 1.3 + 2.5 * K), layout="constrained")
    # the forecast begins at the last known value, so that there is no gap
    known = np.broadcast_to(past[-1][:, None], quantiles.shape[1:])
    quantiles = np.concatenate([known[None], quantiles])
    before, ahead = np.arange(row - len(past), row), np.arange(row - 1, row - 1 + len(quantiles))
    for k, axes in enumerate(figure.subplots(K, 1, sharex=True, squeeze=False)[:, 0]):
        axes.plot(before, past[:, k], color="C0", label="series")
        axes.plot(ahead, quantiles[:, k, median], color="C1", label="median")
        if len(levels) > 1:
            label = f"{levels[-1] - levels[0]:.0%} interval"
            axes.fill_between(
                ahead, quantiles[:, k, 0], quantiles[:, k, -1], color="C1", alpha=0.25, linewidth=0, label=label
            )
        axes.set_title(_title(names[k], K))
        axes.grid(alpha=0.3)
    axes.set_xlabel("step")
    # outside: there is no corner of a panel that no series reaches
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _title(name: str, K: int) -> str:
    """Of a column's panel; columns without names are numbered."""
    if not name.isdecimal():
        return name
    return f"column {name}" if K > 1 else "forecast"
