"""`Checkpoint`: the whole state of a run in a file, again and again, and how a run goes on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import files
from ._arrays import as_size
from .callbacks import Callback
from .schedules import Schedule

if TYPE_CHECKING:
    from .fitting import Run

_OPTIONS = (bool, int, float, str, Schedule)  # what an option must be for a resumed run to be asked for the same


class Checkpoint(Callback):
    """Write model and training to a file, from which ``fit(..., resume=path)`` goes on with the same bits.

    The file has the model (`fastrnn.load` reads it), the optimiser's and the schedule's state, the place in the order
    of the data, the generator, the best weights, early stopping's memory and the history. It is written atomically:
    whatever stops the program, the last whole one stays. On Ctrl-C one more is written. That
    ``path`` can be written is checked before any training.

    Parameters
    ----------
    path : str or path
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
        self.path, self.extras = files.as_path("path", path), extras
        files.as_json("extras", extras)
        self.steps = None if steps is None else as_size("steps", steps)
        if epochs is None and steps is None:
            epochs = 1
        self.epochs = None if epochs is None else as_size("epochs", epochs)

    def begin(self, run: Run) -> None:
        files.check_writable(self.path)

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
    except (LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{saved.path!r} must hold a training's state, got a broken one: {error!r}") from error
    except ValueError as error:
        raise ValueError(f"{error} ({saved.path!r})") from error


def described(owner: Any) -> Any:
    """The class of an optimiser, schedule or callback, its options and its state."""
    if owner is None:
        return None
    options = {
        key: described(value) if isinstance(value, Schedule) else value
        for key, value in vars(owner).items()
        if not key.startswith("_") and (value is None or isinstance(value, _OPTIONS))
    }
    state = owner.get_state() if hasattr(owner, "get_state") else {}
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
