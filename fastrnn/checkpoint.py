"""`Checkpoint`: the whole state of a run in a file, again and again, and how a run goes on from there."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import files
from ._arrays import as_size
from .callbacks import Callback
from .history import History
from .schedules import Schedule

if TYPE_CHECKING:
    from .fitting import Run

_OPTIONS = (bool, int, float, str, Schedule)  # what an option must be for a resumed run to be asked for the same


class Checkpoint(Callback):
    """Write model and training to a file, from which ``fit(..., resume=path)`` goes on with the same bits.

    The file has the model (`fastrnn.load` reads it), the optimiser's and the schedule's state, the place in the order
    of the data, the generator, the best weights, early stopping's memory and the history. It is written atomically:
    whatever stops the program, the last whole one stays. On Ctrl-C one more is written. That
    ``path`` can be written, and that a file can hold the model, is checked before any training.

    Parameters
    ----------
    path : str or path
        One that is relative is so to the folder that is the current one when the callback is made.
    steps, epochs : int, optional
        Write after every so many updates, after every so many epochs, or both; after every epoch by default.
    extras : what JSON can hold, optional
        As for `fastrnn.save`.

    Examples
    --------
    >>> from fastrnn import Checkpoint
    >>> checkpoint = Checkpoint("model.safetensors", steps=1000)
    """

    is_last = True

    def __init__(self, path: Any, *, steps: int | None = None, epochs: int | None = None, extras: Any = None):
        self.path, self.extras = os.path.join(os.getcwd(), files.as_path("path", path)), extras
        files.as_json("extras", extras)
        self.steps = None if steps is None else as_size("steps", steps)
        if epochs is None and steps is None:
            epochs = 1
        self.epochs = None if epochs is None else as_size("epochs", epochs)

    def begin(self, run: Run) -> None:
        files.check_writable(self.path)
        files.contents(run.model, self.extras, run.get_state())

    def after_step(self, run: Run) -> None:
        if self.steps is not None and run.step % self.steps == 0:
            self.write(run)

    def after_epoch(self, run: Run) -> None:
        if self.epochs is not None and run.epoch % self.epochs == 0:
            self.write(run)

    def interrupted(self, run: Run) -> None:
        self.write(run)

    def write(self, run: Run) -> None:
        """Write the run as it is now."""
        files.write(self.path, run.model, self.extras, run.get_state())


def resume(path: Any, run: Run) -> None:
    """Bring a run to where the one stood that wrote a checkpoint.

    Raises
    ------
    ValueError
        The file is broken, no checkpoint, or that of another kind of run; nothing of the model is changed then.
    """
    saved = files.read(path)
    if saved.training is None:
        raise ValueError(f"{saved.path!r} must be a checkpoint, got a model without a training")
    saved.check(run.model)
    try:
        run.set_state(files.restored(saved.training, saved.tensors), saved.apply)
    except (LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{saved.path!r} must hold a training's state, got a broken one: {error!r}") from error
    except ValueError as error:
        raise ValueError(f"{error} ({saved.path!r})") from error


def described(owner: Any) -> Any:
    """The class of an optimiser, schedule or callback, its state, and its options: what else it shows of itself."""
    if owner is None:
        return None
    state = owner.get_state() if hasattr(owner, "get_state") else {}
    options = {
        key: described(value) if isinstance(value, Schedule) else value
        for key, value in getattr(owner, "__dict__", {}).items()
        if not key.startswith("_") and key not in state and (value is None or isinstance(value, _OPTIONS))
    }
    return {"class": type(owner).__name__, "options": options, "state": state}


def check_kind(name: str, kept: Any, owner: Any) -> None:
    """Raise unless ``owner`` is of the class and has the options that were kept."""
    if kept is None and owner is None:
        return
    wanted = "None" if kept is None else kept["class"]
    if kept is None or owner is None or wanted != type(owner).__name__:
        got = "None" if owner is None else type(owner).__name__
        raise ValueError(f"{name} must be that of the run that is resumed, {wanted}, got {got}")
    found = described(owner)["options"]
    for option, value in kept["options"].items():
        if found.get(option) != value:
            raise ValueError(f"{name} must have {option}={value!r}, as in the run that is resumed")


def check_best(best: dict[str, Any], monitor: str, values: Sequence[float]) -> None:
    """Raise unless the best epoch that was kept has the value of what is monitored now, ``values`` over the epochs."""
    epoch, value = best["epoch"], best["value"]
    if epoch is not None and values[epoch] != value:
        got = f"{monitor!r}, which was {values[epoch]} then"
        wanted = f"those of the run that is resumed, best at {value} after epoch {epoch}"
        raise ValueError(f"monitor and maximize must be {wanted}, got {got}")


def as_count(name: str, value: Any, most: int = sys.maxsize) -> int:
    """``value`` if it is an int of 0..most, or a TypeError or ValueError."""
    count = as_size(name, value, 0)
    if count > most:
        raise ValueError(f"{name} must be at most {most}, got {count}")
    return count


def as_like(name: str, value: Any, array: np.ndarray) -> np.ndarray:
    """``value`` if it is an array like ``array``, or a ValueError."""
    if not isinstance(value, np.ndarray) or value.shape != array.shape or value.dtype != array.dtype:
        raise ValueError(f"{name} must hold {array.dtype} {array.shape}, as the model does")
    return value


def as_history(kept: dict[str, Any], epochs: int, names: Sequence[str]) -> History:
    """The history that was kept, if it has the measures of this run; else a ValueError."""
    history = History({name: list(map(float, values)) for name, values in kept["values"].items()})
    if history and set(history) != set(names):
        wanted = f"those of the run that is resumed, which measured {', '.join(history)}"
        raise ValueError(f"validation and metrics must be {wanted}, got {', '.join(names)}")
    if any(len(history.get(name, ())) != epochs for name in names):
        raise ValueError(f"the history must have {epochs} epochs")
    history.best_epoch = None if kept["best_epoch"] is None else as_count("best_epoch", kept["best_epoch"], epochs - 1)
    return history


def as_bits(kept: Any, rng: np.random.Generator) -> Any:
    """``kept`` if it is the state of a generator like ``rng``, or a ValueError."""
    bits = type(rng.bit_generator)
    if kept["bit_generator"] != bits.__name__:
        raise ValueError(f"seed must be a generator of {kept['bit_generator']}, as in the run that is resumed")
    # where numpy takes the next number from a buffer, without a look at its end
    if bits is np.random.MT19937:
        as_count("the generator's pos", kept["state"]["pos"], 624)
    elif bits is np.random.Philox:
        as_count("the generator's buffer_pos", kept["buffer_pos"], 4)
    bits().state = kept
    return kept
