"""Streaming: weights packed once, states kept from call to call."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import backend, flat, ops, reference, reference_session
from ._arrays import as_shape, as_size
from .dropout import Dropout
from .layer import Layer, StatefulLayer, StatelessLayer
from .layers import Dense, Embedding, as_indices
from .norms import BatchNorm, LayerNorm
from .recurrent import RecurrentLayer
from .sequential import Sequential

Array = np.ndarray


def _sigmoid(a: Array, out: Array) -> None:
    """`fastrnn.activations.sigmoid`, in place and in the same order."""
    np.negative(a, out=out)
    with np.errstate(over="ignore"):
        np.exp(out, out=out)
    out += 1
    np.divide(1, out, out=out)


_ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "tanh": np.tanh,
    "relu": lambda a, out: np.maximum(a, 0, out=out),
    "sigmoid": _sigmoid,
}


class _DensePart:
    """A copy of a `Dense`, writing into arrays that it is given."""

    def __init__(self, layer: Dense):
        self.affine = flat.kernels().Affine(layer.params["W"].copy(), layer.params["b"].copy())
        self.activation = None if layer.activation is None else _ACTIVATIONS[layer.activation]

    def run(self, x: Array, y: Array) -> None:
        """(R, D) -> y (R, O)."""
        self.affine.run(x, y)
        if self.activation is not None:
            self.activation(y, out=y)


class _EmbeddingPart:
    """A copy of an `Embedding`, writing into arrays that it is given."""

    def __init__(self, layer: Embedding):
        self.W = layer.params["W"].copy()

    def run(self, x: Array, y: Array) -> None:
        """Checked indices (R,) -> y (R, O)."""
        # any mode but "raise" writes to y without a buffer between
        np.take(self.W, x, axis=0, out=y, mode="clip")


class _LayerNormPart:
    """A copy of a `LayerNorm` for N rows at a time, writing into arrays that it is given."""

    def __init__(self, layer: LayerNorm, N: int):
        self.gain, self.b, self.eps = layer.params["gain"].copy(), layer.params["b"].copy(), layer.eps
        self.room = self._room(N)

    def _room(self, R: int) -> tuple[Array, Array]:
        D, dtype = len(self.b), self.b.dtype
        return np.empty((R, D), dtype), np.empty((R, 1), dtype)

    @reference.silent
    def run(self, x: Array, y: Array) -> None:
        """(R, D) -> y (R, D), in the order of `LayerNorm`."""
        D = len(self.b)
        square, column = self.room if len(x) == len(self.room[0]) else self._room(len(x))
        np.add.reduce(x, axis=-1, keepdims=True, out=column)
        column /= D
        np.subtract(x, column, out=y)
        np.multiply(y, y, out=square)
        np.add.reduce(square, axis=-1, keepdims=True, out=column)
        column /= D
        column += self.eps
        np.sqrt(column, out=column)
        np.divide(1, column, out=column)
        y *= column
        y *= self.gain
        y += self.b


class _BatchNormPart:
    """A copy of a `BatchNorm` and its running statistics, writing into arrays that it is given."""

    def __init__(self, layer: BatchNorm):
        self.mean, self.scale, self.b = layer.buffers["mean"].copy(), layer._scale(), layer.params["b"].copy()

    def run(self, x: Array, y: Array) -> None:
        """(R, D) -> y (R, D)."""
        np.subtract(x, self.mean, out=y)
        y *= self.scale
        y += self.b


class _LayerPart:
    """A copy of any other layer without a state."""

    def __init__(self, layer: StatelessLayer):
        self.layer = copy.deepcopy(layer)

    def run(self, x: Array, y: Array) -> None:
        """(R, D) -> y (R, O)."""
        y[...] = self.layer(x)


def _backend() -> Any:
    """The current backend's module with `Stream` and `Steps`."""
    module = backend.current()
    return reference_session if module is reference else module


def _leaves(layer: Layer) -> list[Any]:
    """The layers of a stack that do something to what they are given, those of stacks within it included."""
    if isinstance(layer, Sequential):
        return [leaf for inner in layer.layers for leaf in _leaves(inner)]
    return [] if isinstance(layer, Dropout) else [layer]


def _part(layer: Any, N: int, make_stream: Callable[..., Any]) -> Any:
    """What a session keeps of one layer."""
    if isinstance(layer, Dense):
        return _DensePart(layer)
    if isinstance(layer, Embedding):
        return _EmbeddingPart(layer)
    if isinstance(layer, LayerNorm):
        return _LayerNormPart(layer, N)
    if isinstance(layer, BatchNorm):
        return _BatchNormPart(layer)
    if isinstance(layer, StatelessLayer) and not layer.pools:
        return _LayerPart(layer)
    if not isinstance(layer, RecurrentLayer) or layer.reverse:
        raise ValueError(f"model must scan forwards in time to be streamed, got {layer!r}")
    return make_stream(layer.cell, layer.params, layer._expected_noise(), N)


def _state_of(layer: Any, states: Iterator[Array]) -> Any:
    """Copies of the streams' states, every array of them, in the form in which the layer gives its state."""
    if isinstance(layer, Sequential):
        return [_state_of(inner, states) for inner in layer.layers]
    if isinstance(layer, StatelessLayer):
        return None
    return ops._as_state([next(states).copy() for _ in layer.cell.states])


def _starts(layer: Any, N: int) -> list[Array]:
    """The state that N streams of a layer start from, every array of it."""
    return layer._initial(N) if isinstance(layer, RecurrentLayer) else []


def _state_parts(layer: Any, name: str, state: Any, N: int, starts: Iterator[Array]) -> list[Array]:
    """Every array of a state of the form that the layer takes, checked; of ``starts`` for None."""
    if isinstance(layer, Sequential):
        entries = enumerate(zip(layer.layers, layer._entries(name, state), strict=True))
        return [part for k, (inner, entry) in entries for part in _state_parts(inner, f"{name}[{k}]", entry, N, starts)]
    if isinstance(layer, StatelessLayer):
        return []
    own = [next(starts) for _ in layer.cell.states]
    return own if state is None else ops._states(layer.cell, name, state, N, layer.hidden_size, layer.dtype)


@dataclass(frozen=True)
class _Door:
    """What a session takes.

    Attributes
    ----------
    batch : int
    input_size : int or None
        None: indices below ``vocab``.
    vocab : int
    output_size : int
    dtype : dtype
    """

    batch: int
    input_size: int | None
    vocab: int
    output_size: int
    dtype: np.dtype

    def checked(self, name: str, x: Any, outer: tuple[int | str, ...] | None = None) -> Array:
        """x as a contiguous array of the model's dtype, or as indices, of shape (*outer, D) or ``outer``, which is
        (batch,) where it is None."""
        outer = (self.batch,) if outer is None else outer
        if self.input_size is not None:
            return np.ascontiguousarray(as_shape(name, x, self.dtype, (*outer, self.input_size)))
        x = as_indices(name, x, self.vocab)
        if x.ndim != len(outer) or any(w not in ("T", n) for w, n in zip(outer, x.shape, strict=True)):
            wanted = ", ".join(map(str, outer)) + ("," if len(outer) == 1 else "")
            raise ValueError(f"{name} must have shape ({wanted}), got {x.shape}")
        return x

    def check_out(self, out: Any) -> None:
        """Raise where a step's result cannot be put into ``out``."""
        shape = (self.batch, self.output_size)
        if not isinstance(out, np.ndarray) or out.dtype != self.dtype:
            raise TypeError(f"out must be an array of {self.dtype}, got {getattr(out, 'dtype', type(out).__name__)}")
        if out.shape != shape or not out.flags.writeable:
            kind = "" if out.flags.writeable else "a read-only one of "
            raise ValueError(f"out must be a writeable array of shape {shape}, got {kind}{out.shape}")


class Session:
    """A model that runs on streams: it keeps its state from call to call, and its weights packed for good.

    A call of a layer packs the weights anew, or reads them as they lie where it is too short to repay that; a session
    packs them once, and after that a step allocates no memory. It runs ``batch`` streams side by side.

    Parameters
    ----------
    model : recurrent layer, or Sequential of recurrent layers and layers without a state
        None of them needs whole sequences, as ``reverse``, `Bidirectional` and `Attention` do. Dropout does nothing,
        BatchNorm takes its running statistics. The session keeps copies of the weights: what changes in
        ``model.params`` afterwards does not reach it.
    batch : int
        N, the number of streams.

    Attributes
    ----------
    batch : int
    state : like the state of a call of the model
        What the streams have reached. At first, and again after setting None: what a call without a state starts from,
        zeros or what a layer with ``trainable_state`` has learned. Reading it gives copies.

    Raises
    ------
    TypeError, ValueError
        The model holds a layer that cannot be streamed, or batch is not a positive integer.

    Notes
    -----
    Results of recurrent layers have the same bits as one call of the layer over the whole sequence, where that call's
    have the same bits for any chunks of time: with the compiled backend's packed kernels. Those of Dense have the bits
    of a Dense called with as many rows.

    Backend, instruction set and way to multiply are those in use when the session was made; the number of threads is
    that of the call. Threads share a step that is wide enough, from an LSTM of about 100 units on, once steps have
    followed one another for some milliseconds without a pause, and for as long as that makes them quicker: a stream
    that steps at the pace of a sensor has one thread, since to wake another would take longer than the step.

    Sessions are independent of each other and may be used at the same time, those of one model too. One session is for
    one thread at a time: a call during another thread's call is a RuntimeError, and changes nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import GRU, Session
    >>> layer = GRU(3, 5, seed=0)
    >>> session = Session(layer)
    >>> x = np.random.default_rng(0).normal(size=(7, 3)).astype("float32")
    >>> y = np.concatenate([session.step(x_t[None]).copy() for x_t in x])
    >>> bool(np.allclose(y, layer(x)[0], atol=1e-6)), bool((session.state == y[-1]).all())
    (True, True)
    """

    def __init__(self, model: Any, batch: int = 1):
        if isinstance(model, StatefulLayer) and not isinstance(model, (RecurrentLayer, Sequential)):
            raise ValueError(f"model must scan forwards in time to be streamed, got {model!r}")
        if not isinstance(model, StatefulLayer):
            raise TypeError(f"model must be a recurrent layer or a Sequential, got {model!r}")
        self.batch = N = as_size("batch", batch)
        module = _backend()
        layers = _leaves(model)
        self._model = model
        self._parts = [_part(layer, N, module.Stream) for layer in layers]
        self._widths = [layer.output_size for layer in layers]
        self._states = [state for part in self._parts if isinstance(part, module.Stream) for state in part.states]
        self._start = [start for layer in layers for start in _starts(layer, N)]
        self._take_over(self._start)
        self._empty = backend.current().empty
        vocab = layers[0].vocab if isinstance(layers[0], Embedding) else 0
        self._door = _Door(N, model.input_size, vocab, self._widths[-1], model.dtype)
        inner = [self._empty((N, width), model.dtype) for width in self._widths[:-1]]
        results = [[*inner, self._empty((N, self._widths[-1]), model.dtype)] for _ in range(2)]
        # indices always need a look, at their range
        like = None if model.input_size is None else np.empty((N, model.input_size), model.dtype)
        self._steps = module.Steps(self._parts, results, like, self._door)
        if type(self).step is Session.step:
            self.step = self._steps.step  # type: ignore[method-assign]  # one call less

    def __reduce__(self) -> Any:
        raise TypeError("a Session cannot be copied or pickled: copy its model, and take its state over")

    def step(self, x_t: Any, *, out: Array | None = None) -> Array:
        """Advance every stream by one time step.

        Parameters
        ----------
        x_t : array (N, D); integers (N,) where the first layer is an `Embedding`
            Read in place where it is C-contiguous and of the model's dtype.
        out : array (N, output_size) of the model's dtype, optional
            Where to put y_t.

        Returns
        -------
        y_t : array (N, output_size)
            ``out``; without it one of two arrays that take turns: valid until the next but one step.

        Raises
        ------
        TypeError, ValueError
            An argument has the wrong dtype or shape; the message names it. The streams stay where they were.
        RuntimeError
            Another thread is using this session.
        """
        y: Array = self._steps.step(x_t, out=out)
        return y

    def __call__(self, x: Any, *, time_major: bool = False) -> Array:
        """Advance every stream by T time steps.

        Parameters
        ----------
        x : array (N, T, D), or (T, N, D) with ``time_major``; (T, D) where the session has one stream
            Integers (N, T) or (T,) where the first layer is an `Embedding`.
        time_major : bool
            Take and return (T, N, .).

        Returns
        -------
        y : array (N, T, output_size), a transposed view of time-major memory; (T, output_size) for x (T, D)

        Raises
        ------
        TypeError, ValueError
            x has the wrong dtype or shape.
        MemoryError
            There is no memory for y, or for what a layer gives the next.
        RuntimeError
            Another thread is using this session.

        After any of them the streams are where they were.
        """
        single = False
        if self.batch == 1:
            x, single = self._model._batch(x, time_major)
        x = self._door.checked("x", x, ("T", self.batch) if time_major else (self.batch, "T"))
        time_first = x if time_major else x.swapaxes(0, 1)
        (T, N), dtype = time_first.shape[:2], self._door.dtype
        y = np.ascontiguousarray(time_first).reshape(T * N, *x.shape[2:])
        with self._steps:
            before = [state.copy() for state in self._states] if len(self._parts) > 1 else self._states
            try:
                for part, width in zip(self._parts, self._widths, strict=True):
                    y, x = self._empty((T * N, width), dtype), y
                    part.run(x, y)
            except BaseException:  # where layers before have reached the end
                self._take_over(before)
                raise
        y = y.reshape(T, N, self._widths[-1])
        if single:
            return y[:, 0]
        return y if time_major else y.swapaxes(0, 1)

    @property
    def state(self) -> Any:
        """The streams' state, copied, as the model's calls take and give it; assign one to go on from there.

        Examples
        --------
        >>> import numpy as np
        >>> from fastrnn import GRU, Session
        >>> session = Session(GRU(3, 5, seed=0), batch=2)
        >>> y = session.step(np.ones((2, 3), "float32"))
        >>> kept = session.state
        >>> later = session.step(np.ones((2, 3), "float32")).copy()
        >>> session.state = kept
        >>> bool((session.step(np.ones((2, 3), "float32")) == later).all())
        True
        """
        with self._steps:
            return _state_of(self._model, iter(self._states))

    @state.setter
    def state(self, state: Any) -> None:
        parts = _state_parts(self._model, "state", state, self.batch, iter(self._start))
        with self._steps:
            self._take_over(parts)

    def _take_over(self, parts: list[Array]) -> None:
        for mine, part in zip(self._states, parts, strict=True):
            mine[...] = part

    def reset(self, rows: Any = None) -> None:
        """Let streams start anew: all of them, or those whose numbers are in ``rows``.

        Raises
        ------
        TypeError, ValueError
            rows does not hold integers, or not in 0..batch-1.
        RuntimeError
            Another thread is using this session.
        """
        chosen = slice(None) if rows is None else as_indices("rows", rows, self.batch)
        with self._steps:
            for mine, start in zip(self._states, self._start, strict=True):
                mine[chosen] = start[chosen]

    def __repr__(self) -> str:
        return f"Session({self._model!r}, batch={self.batch})"
