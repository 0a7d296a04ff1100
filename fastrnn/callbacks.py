"""What may watch a run of `fastrnn.fit` and act on it: early stopping, limits, monitors of gradients and activations.

A callback is called at the moments that `Callback` names, with the `fastrnn.fitting.Run`. `fastrnn.checkpoint` has the
one that writes files.
"""

from __future__ import annotations

import math
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import as_flag, as_size
from .layer import StatefulLayer
from .losses import valid_positions
from .optim import as_number_in

if TYPE_CHECKING:
    from .fitting import Run


class TrainingWarning(RuntimeWarning):
    """Something in a training that is likely to be wrong; the message names the step, and the parameter or layer.

    Examples
    --------
    >>> import warnings
    >>> import fastrnn
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", fastrnn.TrainingWarning)  # a run that diverges is now an error
    """


class Callback:
    """The moments of a run; a subclass overrides those that it wants.

    ``get_state`` and ``set_state`` are for what a resumed run must remember: a dict of numbers, strings, lists, arrays.
    Callbacks are told in the order in which they were given, but for those with ``is_last``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastrnn
    >>> from fastrnn import GRU
    >>> class Report(fastrnn.Callback):
    ...     def after_epoch(self, run):
    ...         print(f"epoch {run.epoch}: {run.step} updates")
    >>> x = np.zeros((64, 5, 3), "float32")
    >>> data = x, np.zeros((64, 5, 4), "float32")
    >>> loss, optimizer, model = fastrnn.losses.MeanSquaredError(), fastrnn.optim.SGD(), GRU(3, 4, seed=0)
    >>> _ = fastrnn.fit(model, loss, optimizer, data, epochs=2, callbacks=[Report()], progress=False, seed=0)
    epoch 1: 2 updates
    epoch 2: 4 updates
    """

    is_last = False

    def begin(self, run: Run) -> None:
        """Before the first update, also of a resumed run."""

    def after_backward(self, run: Run) -> None:
        """``run.grads`` has the gradient of an update, not clipped yet; ``run.step`` updates were made before it."""

    def after_step(self, run: Run) -> None:
        """An update was made."""

    def after_epoch(self, run: Run) -> None:
        """An epoch has ended; ``run.history`` has its measures."""

    def interrupted(self, run: Run) -> None:
        """Ctrl-C, with no update half done; the KeyboardInterrupt goes on to the caller of fit."""

    def end(self, run: Run) -> None:
        """After the last update, whatever stopped the run."""

    def get_state(self) -> dict[str, Any]:
        """What a resumed run must remember; nothing by default."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what `get_state` gave."""


class EarlyStopping(Callback):
    """Stop when what is monitored has not become better for some epochs, and go back to the best weights.

    Parameters
    ----------
    patience : int
        Epochs without improvement after which the run stops.
    min_delta : float
        An improvement is one of more than this.
    restore : bool
        Whether the model gets the weights of its best epoch back when the run ends, stopped or not.

    References
    ----------
    Prechelt 1998, "Early stopping - but when?".

    Examples
    --------
    >>> from fastrnn import EarlyStopping
    >>> stopping = EarlyStopping(patience=5, min_delta=1e-4)
    """

    def __init__(self, patience: int = 5, min_delta: float = 0.0, *, restore: bool = True):
        self.patience, self.min_delta = as_size("patience", patience), as_number_in("min_delta", min_delta, 0)
        self.restore = as_flag("restore", restore)
        self._waited, self._least = 0, math.inf

    def begin(self, run: Run) -> None:
        if not run.is_resumed:
            self._waited, self._least = 0, math.inf
        self._decide(run)

    def after_epoch(self, run: Run) -> None:
        if run.monitored < self._least - self.min_delta:
            self._least, self._waited = run.monitored, 0
        else:
            self._waited += 1
        self._decide(run)

    def _decide(self, run: Run) -> None:
        if self._waited >= self.patience:
            run.stop(f"{run.monitor} has not become better for {self._waited} epochs")

    def end(self, run: Run) -> None:
        if self.restore:
            run.restore_best()

    def get_state(self) -> dict[str, Any]:
        return {"waited": self._waited, "least": self._least}

    def set_state(self, state: dict[str, Any]) -> None:
        self._waited, self._least = as_size("waited", state["waited"], 0), float(state["least"])


class StopAfter(Callback):
    """Stop after so many updates of the run, or so many seconds of this call; the epoch under way is closed early.

    A resumed run that has made its updates makes no more.

    Examples
    --------
    >>> from fastrnn import StopAfter
    >>> an_hour = StopAfter(seconds=3600)
    """

    def __init__(self, *, steps: int | None = None, seconds: float | None = None):
        if (steps is None) == (seconds is None):
            raise ValueError("StopAfter needs either steps or seconds")
        self.steps = None if steps is None else as_size("steps", steps)
        self.seconds = None if seconds is None else as_number_in("seconds", seconds, 0)

    def begin(self, run: Run) -> None:
        self._began = time.perf_counter()
        self._count(run)

    def after_step(self, run: Run) -> None:
        self._count(run)
        if self.seconds is not None and time.perf_counter() - self._began >= self.seconds:
            run.stop(f"{self.seconds:g} seconds have passed")

    def _count(self, run: Run) -> None:
        if self.steps is not None and run.step >= self.steps:
            run.stop(f"{self.steps} updates were made")


class GradientMonitor(Callback):
    """Watch the gradient of every parameter; warn, once for each, of one that vanishes, explodes or is not finite.

    Parameters
    ----------
    low, high : float
        Norms of a parameter's gradient, divided by the root of its size, below and above which to warn.
    every : int
        Updates from one look to the next.

    Attributes
    ----------
    norms : dict
        Parameter -> list of (step, norm of its gradient).

    References
    ----------
    Bengio, Simard & Frasconi 1994, "Learning long-term dependencies with gradient descent is difficult"; Pascanu,
    Mikolov & Bengio 2013.

    Examples
    --------
    >>> from fastrnn import GradientMonitor
    >>> monitor = GradientMonitor(every=10)
    """

    def __init__(self, low: float = 1e-9, high: float = 1e3, *, every: int = 1):
        self.low, self.high = as_number_in("low", low, 0), as_number_in("high", high, 0, open_end=True)
        self.every = as_size("every", every)
        self.norms: dict[str, list[tuple[int, float]]] = {}
        self._told: set[tuple[str, str]] = set()

    def after_backward(self, run: Run) -> None:
        if run.step % self.every or run.grads is None:
            return
        for name, grad in run.grads.items():
            norm = math.sqrt(float(np.sum(np.square(grad, dtype=np.float64))))
            self.norms.setdefault(name, []).append((run.step, norm))
            self._judge(run, name, norm / math.sqrt(max(grad.size, 1)))

    def _judge(self, run: Run, name: str, size: float) -> None:
        if not math.isfinite(size):
            self._warn(run, name, "is not finite", size)
        elif size > self.high:
            self._warn(run, name, "explodes: clip it, or lower the learning rate", size)
        elif size < self.low:
            self._warn(run, name, "vanishes", size)

    def _warn(self, run: Run, name: str, what: str, size: float) -> None:
        if (name, what) not in self._told:
            self._told.add((name, what))
            text = f"step {run.step}: the gradient of {name!r} {what} (root mean square {size:.3g})"
            warnings.warn(text, TrainingWarning, stacklevel=2)


class ActivationMonitor(Callback):
    """Watch the outputs of a stack's layers; warn, once for each, where they saturate, are dead or not finite.

    Every so many updates the update's batch is run through the layers of a `Sequential` once more, as for inference.

    Parameters
    ----------
    every : int
        Updates from one look to the next.
    limit : float
        Share of a recurrent layer's outputs beyond ±0.99 (saturated), or of any layer's at 0 (dead), above which to
        warn.

    Attributes
    ----------
    measured : dict
        Layer -> list of (step, deviation of its outputs, share saturated, share at zero).

    References
    ----------
    Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks".

    Examples
    --------
    >>> from fastrnn import ActivationMonitor
    >>> monitor = ActivationMonitor(every=100)
    """

    def __init__(self, every: int = 100, *, limit: float = 0.9):
        self.every, self.limit = as_size("every", every), as_number_in("limit", limit, 0, 1, open_end=True)
        self.measured: dict[str, list[tuple[int, float, float, float]]] = {}
        self._told: set[tuple[str, str]] = set()

    def begin(self, run: Run) -> None:
        if not hasattr(run.model, "layers"):
            raise TypeError(f"ActivationMonitor needs a Sequential, got {run.model!r}")

    def after_step(self, run: Run) -> None:
        if run.step % self.every or run.batch is None:
            return
        y, reduced = run.batch.x, False
        for k, layer in enumerate(run.model.layers):
            valid = {} if reduced else {"lengths": run.batch.lengths, "mask": run.batch.mask}
            result = layer(y, **valid)
            y = result[0] if isinstance(layer, StatefulLayer) else result
            reduced = reduced or np.ndim(y) != 3
            if isinstance(y, tuple):
                return
            self._judge(run, k, layer, self._counted(y, run))

    def _counted(self, y: np.ndarray, run: Run) -> np.ndarray:
        """The outputs without those of steps that do not count."""
        if y.ndim != 3 or run.batch is None:
            return y
        valid = valid_positions(y.shape[:2], run.batch.lengths, run.batch.mask, False)
        return y if valid is None else y[valid]

    def _judge(self, run: Run, k: int, layer: Any, y: np.ndarray) -> None:
        if not y.size:
            return
        finite = bool(np.isfinite(y).all())
        saturated = float(np.mean(np.abs(y) > 0.99)) if isinstance(layer, StatefulLayer) else 0.0
        dead, deviation = float(np.mean(y == 0)), float(y.std()) if finite else math.nan
        self.measured.setdefault(str(k), []).append((run.step, deviation, saturated, dead))
        if not finite:
            self._warn(run, k, layer, "are not finite")
        if saturated > self.limit:
            self._warn(run, k, layer, "are saturated")
        if dead > self.limit:
            self._warn(run, k, layer, "are zero")

    def _warn(self, run: Run, k: int, layer: Any, what: str) -> None:
        if (str(k), what) not in self._told:
            self._told.add((str(k), what))
            text = f"step {run.step}: the outputs of layer {k}, {layer!r}, {what}"
            warnings.warn(text, TrainingWarning, stacklevel=2)
