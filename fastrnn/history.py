"""What a run of `fastrnn.fit` has measured, epoch by epoch."""

from __future__ import annotations

from typing import Any

_TITLES = {"lr": "learning rate", "grad_norm": "norm of the gradient"}  # of measures that are not of the model


class History(dict[str, list[float]]):
    """Name of a measure -> its value after every epoch.

    Names: ``"loss"`` (training, the mean over the epoch), ``"val_loss"`` and ``"val_<metric>"`` with validation data,
    ``"lr"`` (of the epoch's last update), ``"grad_norm"`` (mean norm of the gradient before clipping), ``"seconds"``.

    Attributes
    ----------
    stopped : str
        Why the run ended.
    best_epoch : int or None
        The epoch, from 0, after which what was monitored was best.

    Examples
    --------
    >>> from fastrnn.history import History
    >>> history = History()
    >>> history.append({"loss": 0.5, "val_loss": 0.75})
    >>> history.append({"loss": 0.25, "val_loss": 0.5})
    >>> history["val_loss"], len(history.epochs)
    ([0.75, 0.5], 2)
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.stopped = ""
        self.best_epoch: int | None = None

    @property
    def epochs(self) -> range:
        """The epochs that were finished."""
        return range(max(map(len, self.values()), default=0))

    def append(self, values: dict[str, float]) -> None:
        """Add the measures of one more epoch; every epoch has the same ones."""
        if self and set(values) != set(self):
            raise ValueError(f"values must have the names {', '.join(self)}, got {', '.join(values)}")
        for name, value in values.items():
            self.setdefault(name, []).append(float(value))

    def plot(self, path: Any = None) -> Any:
        """Draw training and validation side by side, one panel per measure, over the epochs.

        Parameters
        ----------
        path : str or path, optional
            File to write to as well; its ending says the format.

        Returns
        -------
        matplotlib.figure.Figure
            Which a notebook shows.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        ValueError
            No epoch was finished.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("History.plot needs matplotlib: pip install matplotlib") from error
        panels = self._panels()
        if not panels:
            raise ValueError("there is nothing to plot: no epoch was finished")
        figure = Figure(figsize=(4.5 * len(panels), 3.5), layout="constrained")
        for axes, (title, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            self._draw(axes, title, names)
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def _panels(self) -> dict[str, list[str]]:
        """Measure -> the names that are drawn together; what says how well the model does comes first."""
        panels: dict[str, list[str]] = {}
        for name in self:
            if name != "seconds":
                panels.setdefault(name.removeprefix("val_"), []).append(name)
        return dict(sorted(panels.items(), key=lambda panel: panel[0] in _TITLES))

    def _draw(self, axes: Any, measure: str, names: list[str]) -> None:
        epochs = [epoch + 1 for epoch in self.epochs]
        for name in names:
            label, color = ("validation", "C1") if name.startswith("val_") else ("training", "C0")
            axes.plot(epochs, self[name], marker="." if len(epochs) < 30 else "", label=label, color=color)
        if self.best_epoch is not None and measure == "loss":
            axes.axvline(self.best_epoch + 1, color="grey", linestyle=":", label="best")
        if measure not in _TITLES:
            axes.legend(frameon=False)
        axes.set_title(_TITLES.get(measure, measure), parse_math=False)  # a name with $ is a name
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
