"""`fit`: the loop of a training, and `Run`, a training under way."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from ._arrays import as_checkpoint, as_flag, as_size
from .callbacks import Callback, StopAfter, TrainingWarning
from .checkpoint import as_bits, as_count, as_history, as_like, check_best, check_kind, described
from .checkpoint import resume as go_on_from
from .data import Batch, as_batch, batches
from .files import as_path
from .history import History
from .init import as_generator
from .interrupts import Interrupts
from .layer import Layer, StatefulLayer
from .optim import Optimizer, as_number_in, clip_by_value, clip_scale, global_norm
from .params import Params
from .progress import Progress
from .schedules import ReduceOnPlateau, Schedule, rate
from .training import loss_and_gradient, totals

Array = np.ndarray


class Best:
    """The model as it was when what is monitored was best; at first, as it was before training."""

    def __init__(self, model: Any):
        self.take(model, math.inf, None)

    def take(self, model: Any, value: float, epoch: int | None) -> None:
        """Keep a copy of the model's parameters and buffers."""
        self.params = model.params.flat.copy()
        self.buffers = {name: array.copy() for name, array in getattr(model, "buffers", {}).items()}
        self.value, self.epoch = value, epoch

    @property
    def moment(self) -> str:
        """When the model was so."""
        return "before training" if self.epoch is None else f"after epoch {self.epoch}"

    def checked(self, kept: dict[str, Any], model: Any) -> dict[str, Any]:
        """What was kept of another run, if it fits this model; else a ValueError."""
        buffers = {name: as_like(name, kept["buffers"][name], array) for name, array in self.buffers.items()}
        epoch = None if kept["epoch"] is None else as_count("epoch", kept["epoch"])
        params = as_like("the best weights", kept["params"], model.params.flat)
        return {"params": params, "buffers": buffers, "value": float(kept["value"]), "epoch": epoch}

    def restore(self, model: Any) -> None:
        """Give the model what was kept."""
        model.params.flat[...] = self.params
        for name, array in self.buffers.items():
            model.buffers[name][...] = array


class Run:
    """A training under way, which is what callbacks are given.

    Attributes
    ----------
    model, loss, optimizer, schedule, history
    epoch, step : int
        Epochs that were finished, updates that were made.
    epochs : int or None
        Where the run is to end; None where a callback ends it.
    batch : Batch
        Of the update under way, or of the last one.
    grads : Params or None
        Its gradient, between the backward pass and the update.
    value : float
        Its loss.
    monitor : str
        Name of the measure that decides which weights are best.
    monitored : float
        Its value after the last epoch, negative where larger is better; inf where it is not finite, so that such an
        epoch is never the best.
    is_resumed : bool
    stopped : str
        Why the run is to end; empty while it goes on.
    """

    def __init__(
        self,
        model: Any,
        loss: Any,
        optimizer: Optimizer,
        train: Any,
        validation: Any,
        *,
        epochs: int | None,
        clip_norm: float | None,
        clip_value: float | None,
        schedule: Schedule | Callable[[int], float] | None,
        callbacks: Sequence[Callback],
        metrics: Mapping[str, Any],
        monitor: str | None,
        maximize: bool,
        checkpoint: bool | int,
        rng: np.random.Generator,
    ):
        self.model, self.loss, self.optimizer, self.schedule = model, loss, optimizer, schedule
        self.train, self.validation, self.measures = train, validation, {"loss": loss, **metrics}
        self.epochs, self.clip_norm, self.clip_value = epochs, clip_norm, clip_value
        self.callbacks = tuple(sorted(callbacks, key=lambda callback: callback.is_last))
        self._validated = () if validation is None else tuple(f"val_{name}" for name in self.measures)
        self.monitor, self._maximize = _monitor(monitor, ("loss", *self._validated)), maximize
        self._checkpoint = checkpoint
        self.rng, self.history, self.best = rng, History(), Best(model)
        self.epoch = self.step = 0
        self.batch: Batch | None = None
        self.grads: Params | None = None
        self.value = self.monitored = math.nan
        self.is_resumed, self.stopped = False, ""
        self.carried: Any = None
        self._epoch_seed: int | None = None
        self._is_whole = True  # no update or end of an epoch is half done
        self._clear()

    def _clear(self) -> None:
        """Begin to count an epoch."""
        self.done, self._sums = 0, {"loss": 0.0, "weight": 0.0, "grad_norm": 0.0}

    def stop(self, reason: str) -> None:
        """End the run after the update or epoch under way."""
        self.stopped = self.stopped or reason

    def restore_best(self) -> None:
        """Give the model the weights of its best epoch."""
        self.best.restore(self.model)

    def go(self, progress: bool) -> None:
        """Train to the end."""
        began = time.perf_counter()
        self._tell("begin")
        bar = self._bar(progress, began)
        with Interrupts() as interrupts:
            try:
                if self.stopped and self.done:  # a resumed run that had stopped within this epoch
                    self._end_epoch(bar, time.perf_counter())
                while (self.epochs is None or self.epoch < self.epochs) and not self.stopped:
                    self._run_epoch(bar, interrupts)
                interrupts.check()
            except KeyboardInterrupt:
                if self._is_whole:
                    self._tell("interrupted")
                raise
            finally:
                bar.close(self.stopped)
        self.history.stopped = self.stopped or "all epochs were made"
        self._tell("end")

    def _bar(self, shown: bool, began: float) -> Progress:
        """A bar over the updates of all epochs, or over what else is known to end the run."""
        limits = [callback for callback in self.callbacks if isinstance(callback, StopAfter)]
        ends = [limit.steps for limit in limits if limit.steps is not None]
        if self.epochs is not None and (count := _count(self.train)) is not None:
            ends.append(count * self.epochs)
        seconds = [limit.seconds for limit in limits if limit.seconds is not None and not ends]
        return Progress(shown, min(ends, default=None), self.step, began, min(seconds, default=None))

    def _tell(self, moment: str) -> None:
        for callback in self.callbacks:
            getattr(callback, moment)(self)

    def _run_epoch(self, bar: Progress, interrupts: Interrupts) -> None:
        began = time.perf_counter()
        if self._epoch_seed is None:
            self._epoch_seed = int(self.rng.integers(2**63))
        for batch in self._to_come(_open(self.train, self._epoch_seed)):
            self._is_whole = False
            if not self._update(as_batch(batch)):
                return
            epoch = str(self.epoch + 1) if self.epochs is None else f"{self.epoch + 1}/{self.epochs}"
            bar.update(epoch, self._mean("loss"), _steps(self.batch))
            self._tell("after_step")
            self._is_whole = True
            interrupts.check()
            if self.stopped:
                break
        if not self.done:
            raise ValueError(f"train must give at least one batch in every epoch, gave none in epoch {self.epoch}")
        self._end_epoch(bar, began)

    def _to_come(self, source: Iterator[Any]) -> Iterator[Any]:
        """The batches of the epoch that a resumed run has not made yet."""
        count = sum(1 for _ in islice(source, self.done))
        if count < self.done:
            wanted = f"the batches of the run that is resumed, at least {self.done} in epoch {self.epoch}"
            raise ValueError(f"train must give {wanted}, gave {count}")
        return source

    def _mean(self, name: str) -> float:
        """Mean over the epoch so far."""
        count = self._sums["weight"] if name == "loss" else self.done
        return self._sums[name] / count if count else math.nan

    def _update(self, batch: Batch) -> bool:
        """Make one update; False where the loss or its gradient was not finite, and none was made."""
        self.batch = batch
        if self.schedule is not None:
            self.optimizer.lr = rate(self.schedule, self.step, self.epoch)
        state = self.carried if batch.carry else None
        found = loss_and_gradient(self.model, self.loss, batch, state, self.rng, checkpoint=self._checkpoint)
        self.value, self.grads = found.value, found.grads
        if found.grads is None:
            return self._diverged(f"the loss is {found.value}")
        self._tell("after_backward")
        norm, scale = self._clip(found.grads)
        if not math.isfinite(norm):
            return self._diverged(f"the gradient's norm is {norm}")
        self.optimizer.update(self.model.params, found.grads, scale=scale)
        self.grads, self.carried = None, found.state
        self.step += 1
        self.done += 1
        self._sums["loss"] += found.value * found.weight
        self._sums["weight"] += found.weight
        self._sums["grad_norm"] += norm
        return True

    def _clip(self, grads: Params) -> tuple[float, float]:
        """The norm before clipping, and the factor that is left to the optimiser."""
        norm = global_norm(grads)
        if not math.isfinite(norm):
            return norm, 1.0
        if self.clip_value is not None:
            clip_by_value(grads, self.clip_value)
        if self.clip_norm is None:
            return norm, 1.0
        if self.clip_value is not None:
            return norm, clip_scale(grads, self.clip_norm)[1]
        return norm, min(1.0, self.clip_norm / norm) if norm else 1.0

    def _diverged(self, what: str) -> bool:
        """Stop, warn, and go back to the best weights."""
        where = _blame(self.model.params, self.grads)
        self.stop(f"diverged at step {self.step}: {what}")
        self.grads, self._is_whole = None, False
        self.restore_best()
        warnings.warn(
            f"training diverged at step {self.step}: {what}; {where}. The model has its best weights, those "
            f"{self.best.moment}. Lower the learning rate, or clip the gradient",
            TrainingWarning,
            stacklevel=6,
        )
        return False

    def _end_epoch(self, bar: Progress, began: float) -> None:
        # what the last update has broken shows up in no loss that trains
        if not np.isfinite(self.model.params.flat).all():
            self._diverged("the parameters are not finite")
            return
        values = {"loss": self._mean("loss"), "grad_norm": self._mean("grad_norm"), "lr": self.optimizer.lr}
        if self.validation is not None:
            found = totals(self.model, self.measures, _open(self.validation, self._epoch_seed))
            if not found["loss"].weight:
                raise ValueError(f"validation must give at least one valid target, gave none in epoch {self.epoch}")
            values |= {f"val_{name}": total.mean for name, total in found.items()}
        bar.validated(values)
        self._is_whole = False
        self.history.append(values | {"seconds": time.perf_counter() - began})
        self.monitored = self._to_least(values[self.monitor])
        if self.monitored == math.inf and sum(not math.isfinite(v) for v in self.history[self.monitor]) == 1:
            warnings.warn(
                f"{self.monitor} is {values[self.monitor]} after epoch {self.epoch}, at step {self.step}: no such "
                f"epoch is the best. The best weights are those {self.best.moment}. Look for NaN in the data, or lower "
                "the learning rate",
                TrainingWarning,
                stacklevel=5,
            )
        if self.monitored < self.best.value:
            self.best.take(self.model, self.monitored, self.epoch)
            self.history.best_epoch = self.epoch
        if isinstance(self.schedule, ReduceOnPlateau):
            self.schedule.observe(self.monitored)
        self.epoch += 1
        self._epoch_seed = None
        self._clear()
        self._tell("after_epoch")
        self._is_whole = True

    def _to_least(self, value: float) -> float:
        """What is monitored as a number of which less is better; inf where it is not finite."""
        return (-value if self._maximize else value) if math.isfinite(value) else math.inf

    def get_state(self) -> dict[str, Any]:
        """All that a resumed run needs besides the model and the arguments of `fit`: numbers, strings, arrays."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "done": self.done,
            "epoch_seed": self._epoch_seed,
            "sums": dict(self._sums),
            "carried": self.carried,
            "rng": self.rng.bit_generator.state,
            "history": {"values": dict(self.history), "best_epoch": self.history.best_epoch},
            "best": vars(self.best),
            "optimizer": described(self.optimizer),
            "schedule": described(self.schedule),
            "callbacks": [described(callback) for callback in self._remembering()],
        }

    def _remembering(self) -> list[Callback]:
        """The callbacks that have a state."""
        return [callback for callback in self.callbacks if type(callback).get_state is not Callback.get_state]

    def set_state(self, state: dict[str, Any], apply: Callable[[Any], None]) -> None:
        """Go on from the state that `get_state` gave, ``apply`` giving the model its weights.

        A ValueError or TypeError where it is the state of another kind of run, or none; then the model is as it was.
        """
        check_kind("optimizer", state["optimizer"], self.optimizer)
        check_kind("schedule", state["schedule"], self.schedule)
        callbacks, kept_callbacks = self._remembering(), state["callbacks"]
        classes, kept_classes = [type(c).__name__ for c in callbacks], [kept["class"] for kept in kept_callbacks]
        if classes != kept_classes:
            raise ValueError(f"callbacks must be those of the run that is resumed, {kept_classes}, got {classes}")
        moments = state["optimizer"]["state"]
        for name in set(moments) - {"t", "lr"}:
            if moments[name] is not None:
                as_like(f"the optimizer's {name}", moments[name], self.model.params.flat)
        as_count("t", moments["t"])
        best = self.best.checked(state["best"], self.model)
        epoch, step = as_count("epoch", state["epoch"]), as_count("step", state["step"])
        done, carried = as_count("done", state["done"], step), state["carried"]
        seed = None if state["epoch_seed"] is None else as_count("epoch_seed", state["epoch_seed"])
        sums = {name: float(state["sums"][name]) for name in self._sums}
        names = ("loss", "grad_norm", "lr", *self._validated, "seconds")
        history = as_history(state["history"], epoch, names)
        check_best(best, self.monitor, list(map(self._to_least, history.get(self.monitor, ()))))
        rng = as_bits(state["rng"], self.rng)
        self.optimizer.set_state(moments)
        for kept, owner in zip((state["schedule"], *kept_callbacks), (self.schedule, *callbacks), strict=True):
            if owner is not None and hasattr(owner, "set_state"):
                owner.set_state(kept["state"])
        apply(self.model)
        self.epoch, self.step, self.done, self.carried = epoch, step, done, carried
        self._epoch_seed, self._sums, self.history = seed, sums, history
        vars(self.best).update(best)
        self.rng.bit_generator.state = rng
        self.is_resumed = True


def _monitor(monitor: str | None, names: Sequence[str]) -> str:
    if monitor is None:
        return "val_loss" if "val_loss" in names else "loss"
    if monitor not in names:
        raise ValueError(f"monitor must be one of {', '.join(names)}, got {monitor!r}")
    return monitor


def _steps(batch: Batch | None) -> int:
    """Valid steps of a batch."""
    if batch is None:
        return 0
    if batch.lengths is not None:
        return int(np.sum(batch.lengths))
    return math.prod(np.shape(batch.x)[:2])


def _blame(params: Params, grads: Params | None) -> str:
    """Which parameter is most likely to be the one that went wrong."""
    for name, value in params.items():
        if not np.isfinite(value).all():
            return f"parameter {name!r} holds numbers that are not finite"
    for name, grad in ({} if grads is None else grads).items():
        if not np.isfinite(grad).all():
            return f"the gradient of parameter {name!r} is not finite"
    largest = {name: float(np.abs(value).max(initial=0)) for name, value in params.items()}
    name = max(largest, key=lambda key: largest[key])
    return f"the largest weight, {largest[name]:.3g}, is in parameter {name!r}"


def _as_function(name: str, value: Any, wanted: str) -> Any:
    """``value`` if it can be called as it is, not a class of such things; else a TypeError."""
    if isinstance(value, type) or not callable(value):
        raise TypeError(f"{name} must be {wanted}, got {value!r}")
    return value


def _as_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a sequence of Callback, got {callbacks!r}")
    found = tuple(callbacks)
    for k, callback in enumerate(found):
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks[{k}] must be a Callback, got {callback!r}")
    return found


def _as_metrics(metrics: Any, validated: bool) -> dict[str, Any]:
    if metrics is not None and not isinstance(metrics, Mapping):
        raise TypeError(f"metrics must be a mapping from names to what to measure, got {metrics!r}")
    found = {
        name: _as_function(f"metrics[{name!r}]", metric, "one of fastrnn.losses, or a function")
        for name, metric in (metrics or {}).items()
    }
    if wrong := [name for name in found if not isinstance(name, str) or name == "loss"]:
        raise ValueError(f"metrics must have strings as names, other than 'loss', got {wrong[0]!r}")
    if found and not validated:
        raise ValueError(f"metrics must go with validation data, got {', '.join(found)} and none")
    return found


def _as_checkpoint(checkpoint: Any, model: Layer) -> bool | int:
    every = as_checkpoint(checkpoint)
    if every and not isinstance(model, StatefulLayer):
        raise TypeError(f"checkpoint must be False for a layer without a state, {model!r}, got {checkpoint!r}")
    return every


def _as_source(name: str, data: Any, size: int, shuffle: bool) -> Any:
    """What gives the batches of an epoch, again and again."""
    if isinstance(data, tuple):
        if not 2 <= len(data) <= 3:
            raise ValueError(f"{name} must be (x, y) or (x, y, lengths), or give batches, got {len(data)} values")
        try:
            return batches(*data, size=size, shuffle=shuffle)
        except (TypeError, ValueError) as error:
            raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{error} ({name})") from error
    if callable(data):
        return data
    if not isinstance(data, Iterable):
        raise TypeError(f"{name} must be a tuple (x, y), or give batches, got {type(data).__name__}")
    if isinstance(data, Iterator):
        raise TypeError(f"{name} must give batches in every epoch: pass a list or a function, not a generator")
    if _count(data) == 0:
        raise ValueError(f"{name} must give at least one batch in every epoch, got an empty {type(data).__name__}")
    return data


def _count(source: Any) -> int | None:
    """Batches of an epoch; None where the source does not know, though it may have a ``__len__`` that says so."""
    try:
        return len(source)
    except TypeError:
        return None


def _open(source: Any, seed: int | None) -> Iterator[Any]:
    """The batches of one epoch."""
    return iter(source(np.random.default_rng(seed)) if callable(source) else source)


def fit(
    model: Any,
    loss: Any,
    optimizer: Optimizer,
    train: Any,
    validation: Any = None,
    *,
    epochs: int | None = 10,
    batch_size: int = 32,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    schedule: Schedule | Callable[[int], float] | None = None,
    callbacks: Sequence[Callback] = (),
    metrics: Mapping[str, Any] | None = None,
    monitor: str | None = None,
    maximize: bool = False,
    checkpoint: bool | int = False,
    progress: bool = True,
    seed: Any = None,
    resume: Any = None,
) -> History:
    """Train a model.

    Parameters
    ----------
    model : layer
        `Sequential` or any other; its parameters change in place.
    loss : Loss
        As in `fastrnn.losses`.
    optimizer : Optimizer
    train, validation : tuple (x, y) or (x, y, lengths); or batches
        Tuples are cut into batches of ``batch_size``, the training data in a new order every epoch; x and y as in
        `fastrnn.data.batches`, which can also put like lengths together. Batches: an object that gives tuples
        (x, y, lengths, mask, carry), y and lengths onwards as in `fastrnn.data.Batch`, whenever it is iterated over;
        or a function that does, given the epoch's own `numpy.random.Generator`.
    epochs : int or None
        Passes over the training data, those of a resumed run included. None: until a callback stops the run, such as
        `StopAfter`.
    batch_size : int
    clip_norm, clip_value : float, optional
        Limits of the gradient's global norm and of each of its elements, which goes first.
    schedule : Schedule, or function of the number of updates, optional
        Gives the learning rate before every update; see `fastrnn.schedules`.
    callbacks : sequence of Callback
        `EarlyStopping`, `Checkpoint`, `GradientMonitor`, ...
    metrics : mapping, optional
        Name -> what to measure on the validation data besides the loss, such as `fastrnn.losses.Accuracy`.
    monitor : str, optional
        The measure that says which weights are best: "val_loss" (with validation) or "loss" by default.
    maximize : bool
        Whether more of it is better.
    checkpoint : bool or int
        Save memory on long sequences at the price of time: as in the ``forward`` of layers with a state.
    progress : bool
        Show a bar on stderr.
    seed : int, numpy.random.Generator or None
        Of everything random: the order of batches, dropout.
    resume : path, optional
        A file of `Checkpoint`: go on from there. With the arguments of the run that wrote it, the result has the same
        bits as that of a run without a break. The model must be one of the same architecture.

    Returns
    -------
    History
        Measures of every epoch.

    Raises
    ------
    TypeError, ValueError
        Arguments that do not go together; before any training, but for what only a batch can show.
    OSError
        ``resume`` cannot be read, or a `Checkpoint` not be written.
    KeyboardInterrupt
        Ctrl-C, after the update under way and after the callbacks were told: model and optimiser are usable.

    Warns
    -----
    TrainingWarning
        The loss, its gradient, or at the end of an epoch a parameter is not finite: the run stops, and the model gets
        its best weights back. Or what is monitored is NaN or infinite: such an epoch is never the best.

    Examples
    --------
    >>> import numpy as np
    >>> import fastrnn
    >>> from fastrnn import LSTM, Dense, LastStep, Sequential
    >>> from fastrnn.losses import MeanSquaredError
    >>> from fastrnn.optim import Adam
    >>> x = np.random.default_rng(0).standard_normal((256, 6, 1), dtype="float32")
    >>> y = x.sum(axis=1)  # (256, 1): to add up six numbers
    >>> model = Sequential([LSTM(1, 16, seed=0), LastStep(16), Dense(16, 1, seed=1)])
    >>> history = fastrnn.fit(
    ...     model, MeanSquaredError(), Adam(0.01), (x[:192], y[:192]), (x[192:], y[192:]),
    ...     epochs=40, clip_norm=1.0, callbacks=[fastrnn.EarlyStopping(patience=10)], progress=False, seed=0,
    ... )
    >>> history["val_loss"][-1] < 0.2 < 2 < history["val_loss"][0]
    True
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a layer, got {model!r}")
    for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        if limit is not None:
            as_number_in(name, limit, 0, open_end=True)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be one of fastrnn.optim, got {optimizer!r}")
    if schedule is not None:
        _as_function("schedule", schedule, "a Schedule or a function of the number of updates")
    size, is_shown = as_size("batch_size", batch_size), as_flag("progress", progress)
    before = None if resume is None else as_path("resume", resume)
    run = Run(
        model,
        _as_function("loss", loss, "one of fastrnn.losses, or a function"),
        optimizer,
        _as_source("train", train, size, True),
        None if validation is None else _as_source("validation", validation, size, False),
        epochs=None if epochs is None else as_size("epochs", epochs),
        clip_norm=clip_norm,
        clip_value=clip_value,
        schedule=schedule,
        callbacks=_as_callbacks(callbacks),
        metrics=_as_metrics(metrics, validation is not None),
        monitor=monitor,
        maximize=as_flag("maximize", maximize),
        checkpoint=_as_checkpoint(checkpoint, model),
        rng=as_generator(seed),
    )
    if before is not None:
        go_on_from(before, run)
    run.go(is_shown)
    return run.history
