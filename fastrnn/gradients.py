"""`check_gradients`: a layer's backward pass against difference quotients of its forward pass."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arrays import as_size
from .layer import Layer
from .optim import as_number_in

Array = np.ndarray

# five points, of fourth order: at the first step, truncation and rounding are both near 1e-12 in float64 for most
# functions; the others are for those that bend within it, such as a normalisation near zero
_STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
_STENCIL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))
_NEAR = 1e-9  # share of the largest slope that is no reason to look at shorter steps


@dataclass(frozen=True)
class Entry:
    """The worst entry of one gradient.

    Attributes
    ----------
    error : float
        |backward - difference quotient|, over the largest of the gradient's difference quotients that were looked at.
    index : tuple of int
        Where in the array.
    backward, difference : float
        The two values.
    checked : int
        Entries that were looked at.
    """

    error: float
    index: tuple[int, ...]
    backward: float
    difference: float
    checked: int


def check_gradients(
    layer: Layer,
    x: Any,
    *,
    state: Any = None,
    lengths: Any = None,
    mask: Any = None,
    entries: int | None = 50,
    tolerance: float | None = 1e-6,
    seed: int = 0,
) -> dict[str, Entry]:
    """Compare the gradients of a layer with central differences.

    The loss is a random linear function of y and of the final state. Where a difference is not what backward gives,
    shorter steps are looked at, and the one counts at which the difference quotient changes least, whatever backward
    gives. Functions with a kink (relu) still differ at the kink itself.

    Parameters
    ----------
    layer : layer
        Of dtype float64; it is not changed.
    x : array
        As for ``layer.forward``. Where x holds integers it has no gradient.
    state : like the state, optional
        Parts that are None begin as they do in a call without a state, and are left out of the report. When all of it
        is None, random numbers, unless the layer learns its own.
    lengths, mask : arrays, optional
        As for ``layer.forward``.
    entries : int, optional
        Entries of every array that are looked at, drawn at random; all when None. Each takes four forward passes,
        and 16 more where backward and difference are apart.
    tolerance : float, optional
        Error above which to raise; None only reports.
    seed : int
        Of the loss, of the entries, and of dropout, which is the same in every pass.

    Returns
    -------
    dict
        ``"x"``, ``"state"`` (its parts ``"state.0"``, ...) and the name of every parameter -> its worst `Entry`. There
        is no ``"state"`` where none is given and the layer learns its own.

    Raises
    ------
    AssertionError
        A gradient is wrong by more than the tolerance; the message names the worst parameter and entry.
    TypeError, ValueError
        As ``layer.forward`` raises; or the layer is not of float64.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import LSTM, check_gradients
    >>> report = check_gradients(LSTM(3, 4, dtype="float64", seed=0), np.ones((2, 5, 3)))
    >>> list(report), report["U"].error < 1e-9
    (['x', 'state.0', 'state.1', 'W', 'U', 'b'], True)
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"layer must be a layer, got {layer!r}")
    if layer.params and layer.dtype != np.float64:
        raise ValueError(f"layer must be of dtype float64, where differences tell, got {layer.dtype}")
    wanted = None if entries is None else as_size("entries", entries)
    if tolerance is not None:
        as_number_in("tolerance", tolerance, 0, open_end=True)
    problem = _Problem(copy.deepcopy(layer), x, state, {"lengths": lengths, "mask": mask}, as_size("seed", seed, 0))
    rng, report = np.random.default_rng([problem.seed, 1]), {}
    for name, (array, gradient) in problem.gradients().items():
        if array.size:
            report[name] = _worst(problem.loss, array, gradient, wanted, rng)
    if tolerance is not None:
        _judge(layer, report, tolerance)
    return report


class _Problem:
    """A layer, what it is run on, and a loss that is linear in what it gives."""

    def __init__(self, layer: Any, x: Any, state: Any, valid: dict[str, Any], seed: int):
        self.layer, self.valid, self.seed = layer, valid, seed
        self.x = np.array(x, order="C") if layer.takes_integers else np.array(x, np.float64)
        self.buffers = {name: array.copy() for name, array in layer.buffers.items()}
        y, final, _ = self._forward(None)
        self.is_stateful = bool(_parts(final))
        if state is not None and not self.is_stateful:
            raise ValueError(f"state must be None ({layer!r} has no state), got {type(state).__name__}")
        rng = np.random.default_rng([seed, 0])
        if state is not None:
            self.state = _given(state, final)
        elif any(name.split(".")[-1] == "h0" for name in layer.params):
            self.state = None  # which is what the layer learns
        else:
            # zeros would leave out what multiplies the state
            self.state = _mapped(lambda part: rng.normal(size=part.shape), final)
        self.dy = _mapped(lambda part: rng.normal(size=part.shape), y)
        self.dstate = _mapped(lambda part: rng.normal(size=part.shape), final)

    def _forward(self, state: Any) -> tuple[Any, Any, Any]:
        for name, array in self.buffers.items():
            self.layer.buffers[name][...] = array
        initial = () if state is None else (state,)
        result = self.layer.forward(self.x, *initial, **self.valid, rng=np.random.default_rng(self.seed))
        return (result[0], None, result[1]) if len(result) == 2 else result

    def _run(self) -> tuple[Any, Any, Any]:
        return self._forward(self.state)

    def loss(self) -> float:
        y, final, _ = self._run()
        pairs = zip(_parts((self.dy, self.dstate)), _parts((y, final)), strict=True)
        return sum(float(np.sum(d * part)) for d, part in pairs)

    def gradients(self) -> dict[str, tuple[Array, Array]]:
        """Name -> an array that the loss depends on, and its gradient."""
        _, _, tape = self._run()
        if self.is_stateful:
            dx, dstate, grads = self.layer.backward(tape, self.dy, self.dstate)
        else:
            (dx, grads), dstate = self.layer.backward(tape, self.dy), None
        found = {} if dx is None else {"x": (self.x, dx)}
        pairs = _pairs(self.state, dstate)
        for k, (array, gradient) in enumerate(pairs):
            if array is not None:
                found["state" if len(pairs) == 1 else f"state.{k}"] = array, gradient
        return found | {name: (array, grads[name]) for name, array in self.layer.params.items()}


def _parts(value: Any) -> list[Array]:
    """The arrays of a state: itself, or those within tuples and lists; None has none."""
    if value is None:
        return []
    if isinstance(value, (tuple, list)):
        return [array for entry in value for array in _parts(entry)]
    return [value]


def _given(state: Any, final: Any) -> Any:
    """Float64 copies of a state, where it is like ``final``; what is not, the layer will say."""
    if state is None or final is None:
        return state
    if not isinstance(final, (tuple, list)):
        return np.array(state, np.float64)
    if not isinstance(state, (tuple, list)) or len(state) != len(final):
        return state
    return type(final)(_given(entry, like) for entry, like in zip(state, final, strict=True))


def _pairs(state: Any, dstate: Any) -> list[tuple[Any, Array]]:
    """The arrays of a state, None where it has none, and their gradients."""
    if isinstance(dstate, (tuple, list)):
        entries = [None] * len(dstate) if state is None else state
        return [pair for entry, d in zip(entries, dstate, strict=True) for pair in _pairs(entry, d)]
    return [] if dstate is None else [(state, dstate)]


def _mapped(function: Callable[[Array], Array], value: Any) -> Any:
    """A state with ``function`` of every array."""
    if isinstance(value, (tuple, list)):
        return type(value)(_mapped(function, entry) for entry in value)
    return None if value is None else function(value)


def _worst(
    loss: Callable[[], float], array: Array, gradient: Array, entries: int | None, rng: np.random.Generator
) -> Entry:
    """The entry of ``gradient`` that differs most from the difference quotient of the loss."""
    chosen = np.arange(array.size)
    if entries is not None and entries < array.size:
        chosen = np.sort(rng.choice(array.size, entries, replace=False))
    indices = [tuple(map(int, np.unravel_index(k, array.shape))) for k in chosen]
    found = np.array([gradient[index] for index in indices])
    differences = _differences(loss, array, indices, found)
    apart = np.abs(found - differences)
    worst = int(np.argmax(np.where(np.isnan(apart), np.inf, apart)))
    scale = float(np.abs(differences).max()) or 1.0
    return Entry(
        float(apart[worst]) / scale, indices[worst], float(found[worst]), float(differences[worst]), len(indices)
    )


def _differences(loss: Callable[[], float], array: Array, indices: list[tuple[int, ...]], found: Array) -> Array:
    """Derivatives of the loss with respect to some entries; ``found`` says which of them need a closer look."""
    differences = np.array([_difference(loss, array, index, _STEPS[0]) for index in indices])
    # what rounding of the loss alone can make is no slope
    noise = 100 * np.finfo(np.float64).eps * max(abs(loss()), 1.0) / _STEPS[0]
    near = max(noise, _NEAR * float(np.abs(differences).max()))
    for k in np.flatnonzero(~(np.abs(found - differences) <= near)):
        quotients = np.array([_difference(loss, array, indices[k], step) for step in _STEPS])
        differences[k] = quotients[1 + np.argmin(np.abs(np.diff(quotients)))]
    differences[np.abs(differences) < noise] = 0
    return differences


def _difference(loss: Callable[[], float], array: Array, index: tuple[int, ...], step: float) -> float:
    """Derivative of the loss with respect to one entry, which is put back."""
    value, total = array[index], 0.0
    for steps, weight in _STENCIL:
        array[index] = value + steps * step
        total += weight * loss()
    array[index] = value
    return total / step


def _judge(layer: Layer, report: dict[str, Entry], tolerance: float) -> None:
    wrong = {name: entry for name, entry in report.items() if not entry.error <= tolerance}
    if not wrong:
        return
    name = max(wrong, key=lambda key: np.nan_to_num(wrong[key].error, nan=np.inf))
    entry, others = wrong[name], [other for other in wrong if other != name]
    raise AssertionError(
        f"the gradient of {name!r} of {layer!r} is wrong at {list(entry.index)}: backward gives {entry.backward:.10g}, "
        f"differences give {entry.difference:.10g}, an error of {entry.error:.2g}"
        + (f"; wrong too: {', '.join(others)}" if others else "")
    )
