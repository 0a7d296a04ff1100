"""Schedules: the learning rate as a function of how far training has come.

``schedule(t)`` gives a rate to set as ``optimizer.lr``. ``schedule.per`` says what t counts, from 0: updates ("step")
or finished passes over the data ("epoch"). `fastrnn.fit` asks before every update, with t the number of updates made or
of epochs finished; a plain function that it is given counts updates. In a loop of one's own:

    optimizer.lr = schedule(t)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ._arrays import as_choice, as_size
from .optim import as_number_in


class Schedule:
    """What schedules share.

    Parameters
    ----------
    lr : float
        The first rate, at least 0.
    per : "step" or "epoch"
        What t counts.
    """

    def __init__(self, lr: float, per: str):
        self.lr = as_number_in("lr", lr, 0)
        self.per: str = as_choice("per", per, ("step", "epoch"))

    def __call__(self, t: float) -> float:
        """The rate at ``t``, at least 0."""
        return self._rate(as_number_in("t", t, 0))

    def _rate(self, t: float) -> float:
        raise NotImplementedError


class InverseTime(Schedule):
    """lr / (1 + decay t).

    Examples
    --------
    >>> from fastrnn.schedules import InverseTime
    >>> schedule = InverseTime(0.5, decay=1.0)
    >>> schedule(0), schedule(4)
    (0.5, 0.1)
    """

    def __init__(self, lr: float, decay: float, *, per: str = "epoch"):
        super().__init__(lr, per)
        self.decay = as_number_in("decay", decay, 0)

    def _rate(self, t: float) -> float:
        return self.lr / (1 + self.decay * t)


class Exponential(Schedule):
    """lr · factor^t, with factor in (0, 1].

    Examples
    --------
    >>> from fastrnn.schedules import Exponential
    >>> Exponential(0.5, factor=0.5)(2)
    0.125
    """

    def __init__(self, lr: float, factor: float, *, per: str = "epoch"):
        super().__init__(lr, per)
        self.factor = _factor(factor)

    def _rate(self, t: float) -> float:
        return self.lr * self.factor**t


class Step(Schedule):
    """lr, times ``factor`` after every ``every`` counts: lr · factor^floor(t / every).

    Examples
    --------
    >>> from fastrnn.schedules import Step
    >>> schedule = Step(0.5, every=10, factor=0.5)
    >>> schedule(9), schedule(10)
    (0.5, 0.25)
    """

    def __init__(self, lr: float, every: int, factor: float = 0.1, *, per: str = "epoch"):
        super().__init__(lr, per)
        self.every, self.factor = as_size("every", every), _factor(factor)

    def _rate(self, t: float) -> float:
        return self.lr * self.factor ** (t // self.every)


class Cosine(Schedule):
    """Half a cosine from lr at 0 down to ``final`` at ``length``, and ``final`` from there on.

    References
    ----------
    Loshchilov & Hutter 2017, "SGDR: stochastic gradient descent with warm restarts".

    Examples
    --------
    >>> from fastrnn.schedules import Cosine
    >>> schedule = Cosine(0.5, length=10, final=0.25)
    >>> schedule(0), schedule(10), schedule(11)
    (0.5, 0.25, 0.25)
    """

    def __init__(self, lr: float, length: int, final: float = 0.0, *, per: str = "step"):
        super().__init__(lr, per)
        self.length, self.final = as_size("length", length), as_number_in("final", final, 0)

    def _rate(self, t: float) -> float:
        way = 0.5 * (1 + math.cos(math.pi * min(t / self.length, 1)))
        return self.final + (self.lr - self.final) * way


class Warmup(Schedule):
    """A straight line from about 0 to the rate at which another schedule begins, and then that schedule.

    The first of ``length`` rates is 1/length of the one the line leads to, so that no update is lost. The other
    schedule begins to count after the line.

    Parameters
    ----------
    after : Schedule or float
        What follows; a number is a rate that stays.
    length : int
        Counts that the line takes, of what ``after`` counts; updates where it is a number.

    References
    ----------
    Goyal et al. 2017, "Accurate, large minibatch SGD: training ImageNet in 1 hour".

    Examples
    --------
    >>> from fastrnn.schedules import Cosine, Warmup
    >>> schedule = Warmup(Cosine(0.5, length=10), length=2)
    >>> [schedule(t) for t in (0, 1, 2, 12)]
    [0.25, 0.5, 0.5, 0.0]
    """

    def __init__(self, after: Schedule | float, length: int):
        if isinstance(after, ReduceOnPlateau):
            raise TypeError("after must be a function of the count, got a ReduceOnPlateau")
        self.after = after
        self.length = as_size("length", length)
        if isinstance(after, Schedule):
            super().__init__(after(0), after.per)
        else:
            super().__init__(as_number_in("after", after, 0), "step")

    def _rate(self, t: float) -> float:
        if t < self.length:
            return self.lr * min(t + 1, self.length) / self.length
        return self.after(t - self.length) if isinstance(self.after, Schedule) else self.lr


class ReduceOnPlateau(Schedule):
    """lr, times ``factor`` whenever a value has not become better for ``patience`` epochs.

    Its rate does not depend on t but on what it was told: `observe` takes the value after every epoch. `fastrnn.fit`
    tells it what it monitors, the validation loss where there is one.

    Parameters
    ----------
    lr : float
    factor : float
        In (0, 1).
    patience : int
        Epochs without improvement after which the rate falls.
    min_delta : float
        A value is better if it is below the best one by more than this.
    floor : float
        The rate does not fall below it.

    Examples
    --------
    >>> from fastrnn.schedules import ReduceOnPlateau
    >>> schedule = ReduceOnPlateau(0.5, factor=0.5, patience=2)
    >>> rates = []
    >>> for value in [3.0, 2.0, 2.0, 2.5, 2.0]:
    ...     schedule.observe(value)
    ...     rates.append(schedule(0))
    >>> rates
    [0.5, 0.5, 0.5, 0.25, 0.25]
    """

    def __init__(
        self, lr: float, factor: float = 0.5, patience: int = 3, *, min_delta: float = 0.0, floor: float = 0.0
    ):
        super().__init__(lr, "epoch")
        self.factor, self.patience = as_number_in("factor", factor, 0, 1, open_end=True), as_size("patience", patience)
        self.min_delta, self.floor = as_number_in("min_delta", min_delta, 0), as_number_in("floor", floor, 0)
        self._now, self._best, self._waited = self.lr, math.inf, 0

    def _rate(self, t: float) -> float:
        return self._now

    def observe(self, value: float) -> None:
        """Take the value of the epoch that has ended; smaller is better, and NaN is no improvement."""
        if value < self._best - self.min_delta:
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            self._now, self._waited = max(self._now * self.factor, min(self.floor, self._now)), 0

    def get_state(self) -> dict[str, Any]:
        """What a resumed run needs besides the constructor's arguments."""
        return {"now": self._now, "best": self._best, "waited": self._waited}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from the state that `get_state` gave."""
        now, waited = as_number_in("now", state["now"], 0), as_size("waited", state["waited"], 0)
        self._now, self._best, self._waited = now, float(state["best"]), waited


def rate(schedule: Schedule | Callable[[int], float], steps: int, epochs: int) -> float:
    """The rate after so many updates and finished epochs, whichever of them the schedule counts.

    Examples
    --------
    >>> from fastrnn.schedules import InverseTime, rate
    >>> rate(InverseTime(0.5, 1.0), steps=100, epochs=4)
    0.1
    """
    return schedule(epochs if getattr(schedule, "per", "step") == "epoch" else steps)


def _factor(value: float) -> float:
    factor = as_number_in("factor", value, 0, open_end=True)
    if factor > 1:
        raise ValueError(f"factor must lie in (0, 1], got {value!r}")
    return factor
