"""A stack of layers, each one's y the next one's x."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ._arrays import as_integers, as_shape
from .composite import Composite, check_part, members
from .layer import Array, Call, Layer, StatefulLayer, StatelessLayer, masked, swapped
from .layers import Embedding
from .params import Params
from .recurrent import RecurrentLayer


def _is_layer(layer: Any) -> bool:
    return isinstance(layer, (StatefulLayer, StatelessLayer))


def _takes_any(layer: Layer) -> bool:
    """Whether the layer takes and gives any number of features, of either dtype."""
    return layer.input_size is None and not layer.takes_integers


def check_stack(layers: Any) -> tuple[tuple[Any, ...], list[Layer]]:
    """The layers as a tuple, and those of them that say what they take; raises unless the layers can be stacked."""
    if not isinstance(layers, Iterable):
        raise TypeError(f"layers must be a sequence of layers, got {layers!r}")
    layers = tuple(layers)
    seen: set[int] = set()
    for k, layer in enumerate(layers):
        if not _is_layer(layer):
            raise TypeError(f"layers[{k}] must be a layer, got {layer!r}")
        check_part(f"layers[{k}]", layer, "stack")
        own = set(map(id, members(layer)))
        if own & seen:
            raise ValueError(f"layers[{k}] must not be in the stack twice: stack a copy.deepcopy of it")
        seen |= own
    definite = [(k, layer) for k, layer in enumerate(layers) if not _takes_any(layer)]
    if not definite:
        raise ValueError(f"layers must hold at least one layer with a size of its own, got {list(layers) or 'none'}")
    first = definite[0][1]
    if first is not layers[0] and first.takes_integers:
        raise ValueError(f"layers[{definite[0][0]}] must come first, since it takes integers")
    for (_, before), (k, layer) in pairwise(definite):
        if layer.dtype != first.dtype:
            raise ValueError(f"layers[{k}] must have the dtype of the others, {first.dtype}, got {layer.dtype}")
        if layer.input_size != before.output_size:
            takes = "integers" if layer.takes_integers else layer.input_size
            raise ValueError(f"layers[{k}] must take {before.output_size} features, got one that takes {takes}")
    _check_order(layers)
    return layers, [layer for _, layer in definite]


def _check_order(layers: tuple[Any, ...]) -> None:
    """Raise where a layer follows one whose y is not a sequence of vectors, and cannot take that."""
    pooled = False
    for k, (before, layer) in enumerate(pairwise(layers), 1):
        if before.gives_pair:
            raise ValueError(f"layers[{k}] must not follow {before!r}, whose y is a pair")
        pooled = pooled or before.pools
        if pooled and (layer.pools or isinstance(layer, StatefulLayer)):
            raise ValueError(f"layers[{k}] must not need a sequence where one before has pooled it, got {layer!r}")


class _Record(NamedTuple):
    """What a stack's backward pass needs: what each layer's does, and how the call came."""

    layers: list[Any]
    valid: Array | None
    ends: Array | None
    outer: tuple[int, int]
    time_major: bool


class Sequential(Composite):
    """A stack: each layer's y is the next one's x.

    Parameters
    ----------
    layers : sequence of layers
        All of one dtype, each taking as many features as the one before gives. They become parts of the stack: their
        parameters move into the stack's buffer, and stay reachable through ``layer.params``. After a layer that pools
        a sequence into one vector (`Attention`, `AttentionLSTM`) only layers without a state can follow, and nothing
        after a `Bidirectional` with ``merge=None``.

    Notes
    -----
    Parameters: ``"0.W"``, ``"1.U"``, ``"2.fwd.U"``, ...: the number of the layer, a dot, its own name. State: a list
    with one entry per layer, None for a layer without state. Between the layers everything stays time-major and
    nothing is copied. With ``lengths``, y is zero beyond a row's length whatever the last layer is; with a ``mask``,
    layers without a state treat skipped steps like any others, but for statistics and attention, and a first one among
    them sees zeros there.

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

    def __init__(self, layers: Sequence[Layer]):
        self.layers, definite = check_stack(layers)
        self.input_size, self.output_size = definite[0].input_size, definite[-1].output_size
        self.takes_integers = definite[0].takes_integers
        self.pools = any(layer.pools for layer in self.layers)
        self.gives_pair = self.layers[-1].gives_pair
        self.takes_lookup = self.layers[0].takes_lookup
        pairs = pairwise(self.layers)
        self._lookups = [*(isinstance(layer, Embedding) and reader.takes_lookup for layer, reader in pairs), False]
        self._join({str(k): layer for k, layer in enumerate(self.layers)}, definite[0].dtype)

    def _config(self) -> dict[str, Any]:
        return {"layers": self.layers}

    def _settle(self, record: _Record) -> None:
        for layer, kept in zip(self.layers, record.layers, strict=True):
            layer._settle(kept)

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

    def _run(self, x: Any, state: Any, call: Call, keep: bool) -> tuple[Any, Any, _Record]:
        states = self._entries("state", state)
        y: Any
        y, valid = self._time_first(x, call)
        T, N = y.shape[:2]
        ends = valid if call.lengths is not None and not self.pools else None
        if isinstance(self.layers[0], StatelessLayer):
            y = masked(y, valid)
        records: list[Any] = []
        inside, left = call.inside(), valid
        for k, layer in enumerate(self.layers):
            if self._lookups[k]:
                y, record = layer.look_up(y, True)
            elif isinstance(layer, StatelessLayer):
                y, record = layer._run(y, inside, keep, left)
            else:
                y, states[k], record = layer._run(y, states[k], inside, keep)
            if layer.pools:
                left = None
            if keep:
                records.append(record)
        if isinstance(self.layers[-1], StatelessLayer):
            y = masked(y, ends)
        if not (call.time_major or self.pools):
            y = swapped(y)
        y = self._apart(y, x)
        return y, states, _Record(records, valid, ends, (T, N), call.time_major)

    def _apart(self, result: Any, given: Any) -> Any:
        """``result``, in memory of its own: layers without a state may hand on what they are given."""
        passes = hasattr(given, "dtype") and all(isinstance(layer, StatelessLayer) for layer in self.layers)
        return result.copy() if passes and np.may_share_memory(result, np.asarray(given)) else result

    def _output_gradient(self, dy: Any, record: _Record) -> Any:
        """dy as the last layer's adjoint takes it."""
        (T, N), is_stateful = record.outer, isinstance(self.layers[-1], StatefulLayer)
        if dy is None:
            outer = (N,) if self.pools else (T, N)
            return None if is_stateful else np.zeros((*outer, self.output_size), self.dtype)
        if self.pools:
            return self._as_output("dy", dy, (N,))
        dy = self._as_output("dy", dy, (T, N) if record.time_major else (N, T))
        dy = dy if record.time_major else swapped(dy)
        return dy if is_stateful else masked(dy, record.ends)

    def _adjoint(
        self, record: _Record, dy: Any, dstate: Any, grads: Params, input_gradient: bool
    ) -> tuple[Array | None, Any]:
        states = self._entries("dstate", dstate)
        d = self._output_gradient(dy, record)
        for k, own_grads in reversed(list(enumerate(self._grads(grads)))):
            layer, wanted = self.layers[k], input_gradient or k > 0
            if isinstance(layer, StatelessLayer):
                d = layer._adjoint(record.layers[k], d, own_grads, wanted)
            else:
                d, states[k] = layer._adjoint(record.layers[k], d, states[k], own_grads, wanted)
        if d is None:
            return None, states
        if isinstance(self.layers[0], StatelessLayer):
            d = masked(d, record.valid)
        return self._apart(d if record.time_major else d.swapaxes(0, 1), dy), states

    def step(self, x_t: Any, state: Any = None) -> tuple[Array, list[Any]]:
        """Advance by one time step: the streaming form of a call.

        Parameters
        ----------
        x_t : array (N, D); integers (N,) where the first layer is an `Embedding`
        state : list with one entry per layer, optional
            That of a call without one when None.

        Returns
        -------
        y_t : array (N, output_size)
        state : list with one entry per layer

        Raises
        ------
        TypeError, ValueError
            An argument has the wrong dtype or shape, or a layer needs whole sequences.
        """
        states = self._entries("state", state)
        if self.input_size is not None:
            y = as_shape("x_t", x_t, self.dtype, ("N", self.input_size))
        else:
            y = as_integers("x_t", x_t)
            if y.ndim != 1:
                raise ValueError(f"x_t must have shape (N,), got {y.shape}")
        for k, layer in enumerate(self.layers):
            if isinstance(layer, StatelessLayer) and not layer.pools:
                y = layer(y)
            elif isinstance(layer, Sequential):
                y, states[k] = layer.step(y, states[k])
            elif isinstance(layer, RecurrentLayer) and not layer.reverse:
                states[k] = layer.step(y, states[k])
                y = states[k][0] if isinstance(states[k], tuple) else states[k]
            else:
                raise ValueError(f"layers[{k}] must run step by step, got {layer!r}, which needs whole sequences")
        return (y.copy() if isinstance(self.layers[-1], RecurrentLayer) else y), states

    def __repr__(self) -> str:
        return f"Sequential([{', '.join(map(repr, self.layers))}])"
