"""History and its plot."""

from __future__ import annotations

import sys

import pytest

from fastrnn.history import History


def some() -> History:
    history = History()
    for k in range(5):
        history.append({"loss": 1 / (k + 1), "val_loss": 1.1 / (k + 1), "val_accuracy": k / 5, "lr": 0.1, "seconds": 1})
    history.best_epoch = 3
    return history


def test_values_are_collected():
    history = some()
    assert history["val_accuracy"] == [0, 0.2, 0.4, 0.6, 0.8]
    assert list(history.epochs) == [0, 1, 2, 3, 4]
    assert list(History().epochs) == []
    with pytest.raises(ValueError, match=r"^values must have the names loss, val_loss"):
        history.append({"loss": 1.0})
    assert len(history["loss"]) == 5


def test_the_plot_shows_training_beside_validation(tmp_path):
    figure = some().plot(tmp_path / "history.png")
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy", "learning rate"]
    lines = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert lines["training"] == some()["loss"]
    assert lines["validation"] == some()["val_loss"]
    assert list(figure.axes[0].lines[2].get_xdata()) == [4, 4]  # the best epoch, counted from 1
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="nothing to plot"):
        History().plot()


def test_the_name_of_a_measure_is_no_formula(tmp_path):
    history = History()
    history.append({"loss": 1.0, "val_loss": 1.0, "val_in $\\US$": 3.0})
    assert history.plot(tmp_path / "history.png").axes[1].get_title() == "in $\\US$"


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"^History\.plot needs matplotlib: pip install matplotlib"):
        some().plot()
