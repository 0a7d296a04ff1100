"""One step of training, and what goes over text in order: truncated backpropagation through time.

`fastrnn.fit` is the loop around it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .data import Batch, TextBatches, as_batch
from .data import streams as streams
from .losses import Loss
from .optim import Optimizer, clip_scale, global_norm
from .params import Params

Array = np.ndarray


def windows(x: Array, y: Array, T: int) -> Iterator[tuple[Array, Array, bool]]:
    """Go through streams once, T steps at a time.

    Yields ``(x, y, is_first)``, both (N, T) but for a shorter last pair; every position exactly once, in order. The
    state that a model has after a window is the initial state of the next one; where ``is_first`` is true, it starts
    from zero.

    References
    ----------
    Williams & Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.training import windows
    >>> x = np.arange(5)[None]
    >>> [(x.tolist(), is_first) for x, y, is_first in windows(x, x + 1, 3)]
    [([[0, 1, 2]], True), ([[3, 4]], False)]
    """
    for batch in TextBatches(x, y, T):
        yield batch.x, batch.y, not batch.carry


def endless_windows(x: Array, y: Array, T: int) -> Iterator[tuple[Array, Array, bool]]:
    """`windows` again and again."""
    if not len(TextBatches(x, y, T)):
        raise ValueError(f"x must have at least one step, got shape {np.shape(x)}")
    while True:
        yield from windows(x, y, T)


class Gradient(NamedTuple):
    """What `loss_and_gradient` finds.

    Attributes
    ----------
    value : float
        The loss.
    weight : float
        What it counts in a mean over batches.
    grads : Params or None
        Laid out like the model's parameters; None where the loss is not finite.
    state
        The model's final state; None for a model without one.
    """

    value: float
    weight: float
    grads: Params | None
    state: Any


def loss_and_gradient(
    model: Any,
    loss: Any,
    batch: Batch,
    state: Any = None,
    rng: np.random.Generator | None = None,
    *,
    checkpoint: bool | int = False,
) -> Gradient:
    """The loss of a batch and its gradient with respect to every parameter; the model is not changed.

    Parameters
    ----------
    model : layer
    loss : callable
        ``loss(outputs, y, lengths, mask=mask) -> value, gradient``, as in `fastrnn.losses`. Where the outputs have no
        time axis (N, K), it gets neither lengths nor mask.
    batch : Batch
        Its ``carry`` is not looked at.
    state : like the model's state, optional
        Initial state; zeros when None. No gradient flows through it: that is the truncation.
    rng : numpy.random.Generator, optional
        What dropouts draw from.
    checkpoint : bool or int
        As in the model's ``forward``: save memory on long sequences.

    Returns
    -------
    Gradient

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import Dense
    >>> from fastrnn.data import Batch
    >>> from fastrnn.losses import MeanSquaredError
    >>> from fastrnn.training import loss_and_gradient
    >>> model, x = Dense(1, 1, seed=0), np.ones((4, 1), "float32")
    >>> model.params["W"][...], model.params["b"][...] = 2, 0
    >>> found = loss_and_gradient(model, MeanSquaredError(), Batch(x, 0 * x))
    >>> found.value, found.grads["b"].tolist(), found.weight
    (4.0, [4.0], 4.0)
    """
    options = {"checkpoint": checkpoint} if checkpoint else {}
    # what overflows shows up as a loss or gradient that is not finite
    with np.errstate(over="ignore", invalid="ignore"):
        result = model.forward(batch.x, *_initial(state), lengths=batch.lengths, mask=batch.mask, rng=rng, **options)
        outputs, tape = result[0], result[-1]
        value, gradient = _measured("loss", loss, outputs, batch)
        final = result[1] if len(result) == 3 else None
        weight = weight_of(loss, outputs, batch)
        if not math.isfinite(value):
            return Gradient(value, weight, None, final)
        return Gradient(value, weight, model.backward(tape, gradient, input_gradient=False)[-1], final)


def _initial(state: Any) -> tuple[Any, ...]:
    """The state as an argument that models without one do not have."""
    return () if state is None else (state,)


def _valid(outputs: Any, batch: Batch) -> dict[str, Any]:
    """lengths and mask, where the outputs have a time axis that they are about."""
    return {"lengths": batch.lengths, "mask": batch.mask} if np.ndim(outputs) == 3 else {}


def train_step(
    model: Any,
    loss: Any,
    optimizer: Optimizer,
    x: Any,
    y: Any,
    state: Any = None,
    lengths: Any = None,
    *,
    mask: Any = None,
    clip_norm: float | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[float, Any]:
    """Forward, loss, backward, clip, update.

    Parameters
    ----------
    model : layer
        Its parameters change in place.
    loss : callable
        ``loss(outputs, y, lengths, mask=mask) -> value, gradient``, as in `fastrnn.losses`.
    optimizer : Optimizer
    x, y : arrays
        Inputs and targets.
    state : list, optional
        Initial state; zeros when None. No gradient flows through it: that is the truncation.
    lengths : array of int (N,), optional
    mask : array of bool (N, T), optional
    clip_norm : float, optional
        Limit of the gradient's global norm.
    rng : numpy.random.Generator, optional
        What dropouts draw from.

    Returns
    -------
    loss : float
        Before the update.
    state : list
        Final state.

    Raises
    ------
    FloatingPointError
        The loss or the gradient's norm is not finite; the parameters are left as they were.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import Dense, Embedding, LSTM, Sequential
    >>> from fastrnn.losses import SoftmaxCrossEntropy
    >>> from fastrnn.optim import Adam
    >>> from fastrnn.training import train_step
    >>> model = Sequential([Embedding(3, 4, seed=0), LSTM(4, 8, seed=1), Dense(8, 3, seed=2)])
    >>> x, y = np.array([[0, 1, 2, 0]]), np.array([[1, 2, 0, 1]])
    >>> optimizer = Adam(0.05)
    >>> losses = [train_step(model, SoftmaxCrossEntropy(), optimizer, x, y)[0] for _ in range(40)]
    >>> losses[-1] < 0.1 < losses[0]
    True
    """
    value, _, grads, final = loss_and_gradient(model, loss, Batch(x, y, lengths, mask), state, rng)
    if grads is None:
        raise FloatingPointError(f"the loss is {value}: lower the learning rate or clip the gradient")
    norm, scale = (global_norm(grads), 1.0) if clip_norm is None else clip_scale(grads, clip_norm)
    if not math.isfinite(norm):
        raise FloatingPointError(f"the gradient's norm is {norm}: lower the learning rate or clip the gradient")
    optimizer.update(model.params, grads, scale=scale)
    return value, final


def mean_loss(model: Any, loss: Any, x: Array, y: Array, T: int) -> float:
    """Mean loss over streams (N, L), the state carried from each window of T steps to the next."""
    return evaluate(model, {"loss": loss}, TextBatches(x, y, T))["loss"]


def evaluate(model: Any, measures: Mapping[str, Any], batches: Iterable[Any]) -> dict[str, float]:
    """Losses and metrics of a model over batches, as for inference: nothing is dropped out.

    Parameters
    ----------
    model : layer
    measures : mapping
        Name -> loss or metric of `fastrnn.losses`.
    batches : iterable of `Batch` or tuples (x, y, ...)

    Returns
    -------
    dict
        Name -> the mean over all batches, of one weight per valid element; NaN where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import Dense
    >>> from fastrnn.losses import Accuracy, SoftmaxCrossEntropy
    >>> from fastrnn.training import evaluate
    >>> x, y = np.eye(3, dtype="float32"), np.arange(3)
    >>> model = Dense(3, 3)
    >>> model.params["W"] = 10 * x
    >>> evaluate(model, {"accuracy": Accuracy(), "loss": SoftmaxCrossEntropy()}, [(x, y)])["accuracy"]
    1.0
    """
    return {name: total.mean for name, total in totals(model, measures, batches).items()}


class Total(NamedTuple):
    """A measure over batches: its values times what they count, and what all of them count."""

    value: float
    weight: float

    @property
    def mean(self) -> float:
        """NaN where nothing counts."""
        return self.value / self.weight if self.weight else math.nan


def totals(model: Any, measures: Mapping[str, Any], batches: Iterable[Any]) -> dict[str, Total]:
    """Name -> the `Total` whose mean `evaluate` gives."""
    found = dict.fromkeys(measures, Total(0.0, 0.0))
    state: Any = None
    for batch in map(as_batch, batches):
        result = model(batch.x, *_initial(state if batch.carry else None), lengths=batch.lengths, mask=batch.mask)
        outputs, state = result if isinstance(result, tuple) else (result, None)
        for name, measure in measures.items():
            value, _ = _measured(f"measure {name!r}", measure, outputs, batch)
            weight, before = weight_of(measure, outputs, batch), found[name]
            found[name] = Total(before.value + (value * weight if weight else 0.0), before.weight + weight)
    return found


def _measured(name: str, measure: Any, outputs: Any, batch: Batch) -> tuple[float, Any]:
    """What a loss or metric gives for the outputs of a batch: its value and gradient."""
    found = measure(outputs, batch.y, **_valid(outputs, batch))
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(f"{name} must give a tuple (value, gradient), got {found!r}")
    return found


def weight_of(measure: Any, outputs: Any, batch: Batch) -> float:
    """What a batch's value counts in a mean of several: its valid elements, or its rows where ``measure`` is a plain
    function."""
    if isinstance(measure, Loss):
        return measure.weight(batch.y, **_valid(outputs, batch))
    return float(len(batch.y))
