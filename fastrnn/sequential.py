"""A stack of layers, each one's y the next one's x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Union

import numpy as np

from ._arrays import as_lengths, as_shape
from .layer import Call, StatefulLayer, StatelessLayer
from .params import Params
from .recurrent import RecurrentLayer

Array = np.ndarray
AnyLayer = Union[RecurrentLayer, StatelessLayer, "Sequential"]


def _check_stack(layers: tuple[Any, ...]) -> None:
    """Raise unless these layers can be stacked."""
    if not layers:
        raise ValueError("layers must hold at least one layer, got none")
    for k, layer in enumerate(layers):
        if not isinstance(layer, (RecurrentLayer, StatelessLayer, Sequential)):
            raise TypeError(f"layers[{k}] must be a layer, got {layer!r}")
        if layer.params.is_part:
            raise ValueError(f"layers[{k}] must not be part of another Sequential: stack a copy.deepcopy of it")
        if any(layer is other for other in layers[:k]):
            raise ValueError(f"layers[{k}] must not be in the stack twice: stack a copy.deepcopy of it")
        if layer.dtype != layers[0].dtype:
            raise ValueError(f"layers[{k}] must have the dtype of layers[0], {layers[0].dtype}, got {layer.dtype}")
        if k and layer.input_size != layers[k - 1].output_size:
            takes = "integers" if layer.input_size is None else layer.input_size
            raise ValueError(f"layers[{k}] must take {layers[k - 1].output_size} features, got one that takes {takes}")


def _masked(x: Array, mask: Array | None) -> Array:
    """x (T, N, ...) with zeros where the mask (T, N) is false."""
    return x if mask is None else np.where(mask.reshape(mask.shape + (1,) * (x.ndim - 2)), x, x.dtype.type(0))


class Sequential(StatefulLayer):
    """A stack: each layer's y is the next one's x.

    Parameters
    ----------
    layers : sequence of layers
        All of one dtype, each taking as many features as the one before gives. They become parts of the stack: their
        parameters move into the stack's buffer, and stay reachable through ``layer.params``.

    Notes
    -----
    Parameters: ``"0.W"``, ``"1.U"``, ...: the number of the layer, a dot, its own name. State: a list with one entry
    per layer, None for a layer without state. Between the layers everything stays time-major and nothing is copied.
    With ``lengths``, y is zero beyond a row's length whatever the last layer is.

    Examples
    --------
    >>> from fastrnn import LSTM, Dense, Embedding, Sequential
    >>> model = Sequential([Embedding(50, 8, seed=0), LSTM(8, 16, seed=1), Dense(16, 50, seed=2)])
    >>> y, state = model([[1, 2, 3], [4, 5, 6]])
    >>> y.shape, [None if s is None else len(s) for s in state]
    ((2, 3, 50), [None, 2, None])
    >>> list(model.params)
    ['0.W', '1.W', '1.U', '1.b', '2.W', '2.b']
    """

    def __init__(self, layers: Sequence[AnyLayer]):
        self.layers = tuple(layers)
        _check_stack(self.layers)
        self.input_size, self.output_size = self.layers[0].input_size, self.layers[-1].output_size
        self._params = Params.join(self._parts())
        self._place()

    def _parts(self) -> list[Params]:
        return [layer.params for layer in self.layers]

    def _place(self) -> None:
        for layer, place in zip(self.layers, self.params.places(self._parts()), strict=True):
            layer._move(place)

    def _move(self, flat: Array) -> None:
        super()._move(flat)
        self._place()

    def __reduce__(self) -> Any:
        # the constructor joins the layers' own copies into one buffer again
        return type(self), (self.layers,)

    def _entries(self, name: str, state: Any) -> list[Any]:
        """``state`` as a list with one entry per layer."""
        if state is None:
            return [None] * len(self.layers)
        if not isinstance(state, (list, tuple)):
            raise TypeError(f"{name} must be a list with one entry per layer, got {type(state).__name__}")
        if len(state) != len(self.layers):
            raise ValueError(f"{name} must have {len(self.layers)} entries, one per layer, got {len(state)}")
        for k, (layer, entry) in enumerate(zip(self.layers, state, strict=True)):
            if entry is not None and isinstance(layer, StatelessLayer):
                raise ValueError(f"{name}[{k}] must be None ({layer!r} has no state), got {type(entry).__name__}")
        return list(state)

    def _mask(self, lengths: Any, N: int, T: int) -> Array | None:
        """(T, N) true on valid steps; None when all are."""
        return None if lengths is None else np.arange(T)[:, None] < as_lengths(lengths, N, T)

    def _checked(self, x: Any, time_major: bool) -> Array:
        """x as a time-major array."""
        outer = ("T", "N") if time_major else ("N", "T")
        if self.input_size is not None:
            x = as_shape("x", x, self.dtype, (*outer, self.input_size))
        elif np.ndim(x) != 2:
            raise ValueError(f"x must have shape ({', '.join(outer)}), got {np.shape(x)}")
        x = np.asarray(x)
        return x if time_major else x.swapaxes(0, 1)

    def _run(self, x: Any, state: Any, call: Call, keep: bool) -> tuple[Array, Any, Any]:
        lengths, time_major = call.lengths, call.time_major
        states = self._entries("state", state)
        y = self._checked(x, time_major)
        T, N = y.shape[:2]
        mask = self._mask(lengths, N, T)
        if isinstance(self.layers[0], StatelessLayer):
            y = _masked(y, mask)
        records: list[Any] = []
        for k, layer in enumerate(self.layers):
            if isinstance(layer, StatelessLayer):
                y, record = layer._run(y)
            else:
                y, states[k], record = layer._run(y, states[k], replace(call, time_major=True), keep)
            if keep:
                records.append(record)
        if isinstance(self.layers[-1], StatelessLayer):
            y = _masked(y, mask)
        return (y if time_major else y.swapaxes(0, 1)), states, (records, mask, time_major, (T, N))

    def _adjoint(
        self, record: Any, dy: Any, dstate: Any, grads: Params, input_gradient: bool
    ) -> tuple[Array | None, Any]:
        records, mask, time_major, (T, N) = record
        states = self._entries("dstate", dstate)
        if dy is None:
            d = None if isinstance(self.layers[-1], StatefulLayer) else np.zeros((T, N, self.output_size), self.dtype)
        else:
            outer = (T, N) if time_major else (N, T)
            d = as_shape("dy", dy, self.dtype, (*outer, self.output_size))
            d = d if time_major else d.swapaxes(0, 1)
        if d is not None and isinstance(self.layers[-1], StatelessLayer):
            d = _masked(d, mask)
        places = grads.places(self._parts())
        for k in reversed(range(len(self.layers))):
            layer, wanted = self.layers[k], input_gradient or k > 0
            own_grads = layer.params.over(places[k])
            if isinstance(layer, StatelessLayer):
                d = layer._adjoint(records[k], d, own_grads, wanted)
            else:
                d, states[k] = layer._adjoint(records[k], d, states[k], own_grads, wanted)
        return (d if d is None or time_major else d.swapaxes(0, 1)), states

    def step(self, x_t: Any, state: Any = None) -> tuple[Array, list[Any]]:
        """Advance by one time step: the streaming form of a call.

        Parameters
        ----------
        x_t : array (N, D); integers (N,) where the first layer is an `Embedding`
        state : list with one entry per layer, optional
            Zeros when None.

        Returns
        -------
        y_t : array (N, output_size)
        state : list with one entry per layer
        """
        states = self._entries("state", state)
        if self.input_size is not None:
            y = as_shape("x_t", x_t, self.dtype, ("N", self.input_size))
        elif np.ndim(x_t) != 1:
            raise ValueError(f"x_t must have shape (N,), got {np.shape(x_t)}")
        else:
            y = np.asarray(x_t)
        for k, layer in enumerate(self.layers):
            if isinstance(layer, StatelessLayer):
                y = layer(y)
            elif isinstance(layer, Sequential):
                y, states[k] = layer.step(y, states[k])
            else:
                states[k] = layer.step(y, states[k])
                y = states[k][0] if isinstance(states[k], tuple) else states[k]
        return y, states

    def __repr__(self) -> str:
        return f"Sequential([{', '.join(map(repr, self.layers))}])"
