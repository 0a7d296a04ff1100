"""How a training ended, for the exit code."""

from __future__ import annotations

from ..history import History
from .arguments import note

FAR = 10  # times the loss of a guess: no training that goes well gets there


def exit_code(command: str, history: History, guess: float) -> int:
    """0, or 1 where the training diverged: where `fastrnn.fit` has said so, or where its losses are far above that of a
    guess, finite still and of no use. A remark tells of these.

    Parameters
    ----------
    command : str
        Whose training it was, for the remark.
    history : History
    guess : float
        The loss of whoever has learned nothing.
    """
    if history.stopped.startswith("diverged"):
        return 1
    # validation keeps the best epoch's weights, without it those of the last one stay
    left = min(history.get("val_loss") or history.get("loss", [])[-1:], default=guess)
    if left <= FAR * guess:
        return 0
    note(f"{command}: training diverged: the loss is {left:.3g}, that of a guess {guess:.3g}. Lower the learning rate")
    return 1
