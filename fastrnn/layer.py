"""What all layers share: parameters, and calls that take a caller's arrays to a layer and back.

What a backward pass needs of its forward pass is on the tape that ``forward`` returns, so one layer can be used from
many threads at a time. Two kinds of layers: those that carry a state through time (`StatefulLayer`) and those that do
not (`StatelessLayer`). Subclasses say how one batch is run, in ``_run`` and ``_adjoint``; the calls live here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from . import backend
from ._arrays import as_array, as_checkpoint, as_flag, as_float, as_integers, as_lengths, as_mask, as_shape
from .params import Params

Array = np.ndarray


@dataclass(slots=True, eq=False)  # frozen ones are slow to make
class Call:
    """How a layer is to be run, as its caller said: passed on through stacks.

    Attributes
    ----------
    lengths : array of int (N,), or None
    mask : array of bool (N, T), (T, N) with ``time_major``, or None
        False where a step is to be skipped.
    time_major : bool
        x and y are (T, N, .).
    rng : numpy.random.Generator or None
        What dropouts draw from in training.
    checkpoint : bool or int
        Recurrent layers keep the state of every so many steps only (True: of as many as suit them).
    """

    lengths: Any = None
    mask: Any = None
    time_major: bool = False
    rng: np.random.Generator | None = None
    checkpoint: bool | int = False

    def __post_init__(self) -> None:
        self.time_major = as_flag("time_major", self.time_major)
        self.checkpoint = as_checkpoint(self.checkpoint)
        if isinstance(self.mask, (list, tuple)):
            self.mask = as_array("mask", self.mask)
        if self.lengths is not None and self.mask is not None:
            raise ValueError("lengths and mask must not both be given: a mask says all that lengths say")
        if self.rng is not None and not isinstance(self.rng, np.random.Generator):
            raise TypeError(f"rng must be a numpy.random.Generator, got {self.rng!r}")

    def valid(self, N: int, T: int) -> Array | None:
        """(T, N) true on the steps that count; None when all do. Raises where lengths or mask do not fit.

        It is kept for the backward pass, and not the caller's mask, which may have changed by then.
        """
        if self.mask is not None:
            mask = as_mask(self.mask, N, T, self.time_major).copy()
            return mask if self.time_major else mask.T
        return None if self.lengths is None else np.arange(T)[:, None] < as_lengths(self.lengths, N, T)

    def inside(self) -> Call:
        """This call, as time-major layers within a stack get it."""
        if self.time_major:
            return self
        return replace(self, mask=None if self.mask is None else np.asarray(self.mask).T, time_major=True)

    def generator(self, layer: Layer) -> np.random.Generator:
        """The rng, or a ValueError that names it."""
        if self.rng is None:
            raise ValueError(f"rng must be a numpy.random.Generator: {layer!r} draws from it in training, got None")
        return self.rng


_PLAIN, _PLAIN_TIME_MAJOR = Call(), Call(time_major=True)


def _call(lengths: Any, mask: Any, time_major: bool) -> Call:
    if lengths is None and mask is None:
        if time_major is True:
            return _PLAIN_TIME_MAJOR
        if time_major is False:
            return _PLAIN
    return Call(lengths, mask, time_major)


@dataclass(slots=True, eq=False)
class LayerTape:
    """What a layer's ``backward`` needs of one ``forward``. It refers to x, to the state that was given, to the y that
    was returned and to the parameters: change none of them in place between the two calls. It may be used more than
    once."""

    layer: Layer
    record: Any
    time_major: bool = False
    single: bool = False


class Layer:
    """What all layers share: parameters in one flat buffer, and tapes that know whose they are.

    Attributes
    ----------
    params : Params
        Name -> array; views into ``params.flat``.
    buffers : mapping
        Name -> array that training changes without a gradient, as the running statistics of a `BatchNorm`. They belong
        to the model like its parameters; write to them in place.
    dtype : numpy.dtype
        float32 or float64.
    input_size : int or None
        Features that x must have; None where x holds integers, and where any number will do.
    output_size : int
        Features of y; 0 where they are those of x, whatever they are.
    takes_integers : bool
        x holds integers (N, T).
    pools : bool
        y is one vector per sequence, (N, H).
    gives_pair : bool
        y is a tuple of two arrays.
    takes_lookup : bool
        Within a stack, x may be a `Lookup`; dx is then the gradient of its table.
    """

    input_size: int | None
    output_size: int
    takes_integers = False
    pools = False
    gives_pair = False
    takes_lookup = False
    _params: Params

    @property
    def params(self) -> Params:
        """Name -> array; views into ``params.flat``."""
        return self._params

    @property
    def buffers(self) -> Mapping[str, Array]:
        """Name -> array that training changes without a gradient."""
        return MappingProxyType({})

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64."""
        return self._params.dtype

    def _config(self) -> dict[str, Any]:
        """Keyword arguments of the constructor that make a layer of this architecture; layers among them are parts."""
        raise NotImplementedError

    def _move(self, flat: Array) -> None:
        """Keep the parameters in ``flat``, a piece of a larger model's buffer that already has their values."""
        self._params = self._params.over(flat, is_part=True)

    def _prepare(self, grads: Array) -> None:
        """Make a piece of memory, laid out like ``params.flat``, ready for what ``_adjoint`` is to add to it."""
        grads.fill(0)

    def _blank_gradients(self) -> Params:
        """Memory that is ready for ``_adjoint``."""
        grads = self._params.blank(backend.current())
        self._prepare(grads.flat)
        return grads

    def _settle(self, record: Any) -> None:
        """Take over into `buffers` what a training run found; called once the whole run has gone well."""

    def _as_given(self, x: Any) -> Array:
        """x as an array, which may be the caller's own; lists take the layer's dtype."""
        if self.takes_integers:
            return as_integers("x", x)
        if self.input_size is None or hasattr(x, "dtype"):
            return as_array("x", x)
        return as_float("x", x, self.dtype)

    def _own(self, tape: Any) -> LayerTape:
        if not isinstance(tape, LayerTape):
            raise TypeError(f"tape must come from this layer's forward, got {type(tape).__name__}")
        if tape.layer is not self:
            raise ValueError(f"tape must come from this layer's forward, got one of another layer, {tape.layer!r}")
        return tape

    def _as_output(self, name: str, value: Any, outer: tuple[int | str, ...]) -> Any:
        """``value``, which is to be like y, checked."""
        shape = (*outer, self.output_size)
        if not self.gives_pair:
            return as_shape(name, value, self.dtype, shape)
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            got = f"{len(value)} values" if isinstance(value, (tuple, list)) else type(value).__name__
            raise ValueError(f"{name} must be a pair of arrays, got {got}")
        return tuple(as_shape(f"{name}[{k}]", part, self.dtype, shape) for k, part in enumerate(value))


def each(function: Callable[[Array], Array], y: Any) -> Any:
    """``function`` of y, or of both arrays where y is a pair."""
    return tuple(map(function, y)) if isinstance(y, tuple) else function(y)


def swapped(y: Any) -> Any:
    """(T, N, .) <-> (N, T, .), of y or of both arrays where y is a pair."""
    return each(lambda part: part.swapaxes(0, 1), y)


def masked(x: Array, valid: Array | None) -> Array:
    """x (T, N, ...), or a copy of it with zeros where ``valid`` (T, N) is false."""
    if valid is None:
        return x
    x = x.copy("K")
    x[~valid] = 0
    return x


class StatefulLayer(Layer):
    """A layer that scans time and carries a state."""

    def _run(self, x: Any, state: Any, call: Call, keep: bool) -> tuple[Any, Any, Any]:
        """y, final state, record; ``keep``: train, and record what `_adjoint` needs."""
        raise NotImplementedError

    def _adjoint(
        self, record: Any, dy: Any, dstate: Any, grads: Params, input_gradient: bool
    ) -> tuple[Array | None, Any]:
        """dx, dstate; the gradients of parameters are added to ``grads``."""
        raise NotImplementedError

    def _batch(self, x: Any, time_major: bool) -> tuple[Any, bool]:
        """x with its batch axis, and whether it came as a single sequence without one."""
        single = np.ndim(x) == (1 if self.takes_integers else 2)
        if not single:
            return x, False
        if self.takes_integers:
            x = as_integers("x", x)
        elif self.input_size is not None:
            x = as_shape("x", x, self.dtype, ("T", self.input_size))
        return np.expand_dims(x, 1 if time_major else 0), True

    def _axis(self, time_major: bool) -> int:
        """Where y's batch axis is."""
        return 1 if time_major and not self.pools else 0

    def _invoke(self, x: Any, state: Any, call: Call, keep: bool) -> tuple[Any, Any, Any, bool]:
        """Run x, a batch or a single sequence: y, final state, record, and whether it was a single one."""
        single = False
        if type(x) is not np.ndarray or x.ndim != 3:
            x, single = self._batch(self._as_given(x), call.time_major)
        if single and np.ndim(call.mask) == 1:
            call = replace(call, mask=np.expand_dims(call.mask, 1 if call.time_major else 0))
        y, state, record = self._run(x, state, call, keep)
        if keep:
            self._settle(record)
        if single:
            y = each(lambda part: np.squeeze(part, self._axis(call.time_major)), y)
        return y, state, record, single

    def __call__(
        self, x: Any, state: Any = None, lengths: Any = None, *, mask: Any = None, time_major: bool = False
    ) -> tuple[Any, Any]:
        """Run the layer for inference, and keep nothing for a backward pass.

        Parameters
        ----------
        x : array (N, T, D), or (T, D) for one sequence; (T, N, D) with ``time_major``
            Integers (N, T) or (T,) where the first layer of a stack is an `Embedding`.
        state : initial state, optional
            h (N, H) for SimpleRNN and GRU, a tuple (h, c) for LSTM, a tuple (forward state, backward state) for
            Bidirectional, a list with one entry per layer for Sequential (None for a layer without state). When None:
            zeros, or what a layer with ``trainable_state`` has learned. A single sequence has states of one row.
        lengths : array of int (N,), optional
            Valid steps of every row, 0..T; all T when None. What lies beyond them is never read.
        mask : array of bool (N, T), optional
            Instead of lengths, where there are holes: False on steps to skip. A skipped step keeps the state, its
            output is that of the step before (zero before the first), and its x is never read. (T,) for one sequence,
            (T, N) with ``time_major``.
        time_major : bool
            Take and return (T, N, .).

        Returns
        -------
        y : array (N, T, H), a transposed view of time-major memory; (T, H) for one sequence
            Zero beyond a row's length.
        state : like ``state``
            Final state, each row's at its own length.

        Raises
        ------
        TypeError, ValueError
            An argument has the wrong dtype or shape, or lengths come together with a mask; the message names it.
        """
        y, state, _, _ = self._invoke(x, state, _call(lengths, mask, time_major), False)
        return y, state

    def forward(
        self,
        x: Any,
        state: Any = None,
        lengths: Any = None,
        *,
        mask: Any = None,
        time_major: bool = False,
        rng: np.random.Generator | None = None,
        checkpoint: bool | int = False,
    ) -> tuple[Any, Any, LayerTape]:
        """Run the layer for training, and keep a tape for `backward`: returns (y, state, tape).

        Arguments and results as those of a call, and

        rng : numpy.random.Generator, optional
            What dropouts draw from, in the order of the layers; needed where there are any. The same state of the
            generator gives the same bits, on any backend and number of threads.
        checkpoint : bool or int
            Save memory on long sequences: recurrent layers keep y and the state of every so many steps, about the
            square root of T for True, and `backward` computes the rest again. The compiled backend rounds the number
            up to what it sums at a time, and gives the same bits as without.
        """
        plain = rng is None and checkpoint is False
        call = _call(lengths, mask, time_major) if plain else Call(lengths, mask, time_major, rng, checkpoint)
        y, state, record, single = self._invoke(x, state, call, True)
        return y, state, LayerTape(self, record, call.time_major, single)

    def backward(
        self, tape: LayerTape, dy: Any = None, dstate: Any = None, *, input_gradient: bool = True
    ) -> tuple[Array | None, Any, Params]:
        """Gradients of a loss, from its gradients with respect to y and to the final state.

        Parameters
        ----------
        tape : LayerTape
            From this layer's `forward`.
        dy : array like y, optional
            Zeros when None. What lies beyond a row's length is not read.
        dstate : like the state, optional
            Zeros when None.
        input_gradient : bool
            False saves the work for dx where nobody needs it.

        Returns
        -------
        dx : array like x, or None without ``input_gradient`` and where x holds integers
        dstate : like the state
            Gradient with respect to the initial state.
        grads : Params
            Gradient of every parameter, laid out like `params`.

        Raises
        ------
        TypeError, ValueError
            An argument has the wrong dtype or shape, or the tape is another layer's.
        """
        own, input_gradient = self._own(tape), as_flag("input_gradient", input_gradient)
        if own.single and dy is not None:
            dy = self._as_output("dy", dy, () if self.pools else ("T",))
            dy = each(lambda part: np.expand_dims(part, self._axis(own.time_major)), dy)
        grads = self._blank_gradients()
        dx, dstate = self._adjoint(own.record, dy, dstate, grads, input_gradient)
        if own.single and dx is not None:
            dx = np.squeeze(dx, 1 if own.time_major else 0)
        return dx, dstate, grads


class StatelessLayer(Layer):
    """A layer without a state, whose y at one position depends on x there; statistics and pooling look at all."""

    def _run(self, x: Any, call: Call, keep: bool, valid: Array | None) -> tuple[Array, Any]:
        """y, record; ``keep``: train. ``valid``: true where x counts, of the shape of x without its features."""
        raise NotImplementedError

    def _adjoint(self, record: Any, dy: Any, grads: Params, input_gradient: bool) -> Array | None:
        """dx; the gradients of parameters are added to ``grads``."""
        raise NotImplementedError

    def _valid(self, x: Any, call: Call) -> Array | None:
        """Which positions of x, as the caller gave it, count: (N, T), (T,), (T, N) with ``time_major``, or None."""
        if call.lengths is None and call.mask is None:
            return None
        outer = np.shape(x) if self.takes_integers else np.shape(x)[:-1]
        if len(outer) == 1:
            mask = np.expand_dims(call.mask, 0) if np.ndim(call.mask) == 1 else call.mask
            valid = replace(call, mask=mask, time_major=False).valid(1, *outer)
            return None if valid is None else valid[:, 0]
        if len(outer) != 2:
            features = "" if self.takes_integers else ", D"
            raise ValueError(f"x must have shape (N, T{features}) with lengths or a mask, got {np.shape(x)}")
        T, N = outer if call.time_major else outer[::-1]
        valid = call.valid(N, T)
        return valid if valid is None or call.time_major else valid.T

    def _invoke(self, x: Any, call: Call, keep: bool) -> tuple[Array, Any]:
        """y, and what `backward` needs."""
        x = self._as_given(x)
        valid = self._valid(x, call)
        x = masked(x, valid)
        y, record = self._run(x, call, keep, valid)
        if keep:
            self._settle(record)
        if y is x:
            y = x.copy()  # the caller may write to either
        ends = None if call.lengths is None or self.pools else valid
        return masked(y, ends), (record, valid, ends)

    def __call__(self, x: Any, lengths: Any = None, *, mask: Any = None, time_major: bool = False) -> Array:
        """Run the layer for inference.

        Parameters
        ----------
        x : array (..., D)
            (N, T, D), (T, D) for one sequence or (T, N, D) with ``time_major`` where lengths or a mask are given.
            `Embedding` takes integers, without D.
        lengths : array of int (N,), optional
            Valid steps of every row. What lies beyond them is never read, and y is zero there.
        mask : array of bool (N, T), optional
            Instead of lengths: False where x is never read, and counts as zero.
        time_major : bool
            The axes of x are (T, N, D).

        Returns
        -------
        y : array (..., output_size)

        Raises
        ------
        TypeError, ValueError
            An argument has the wrong dtype or shape, or lengths come together with a mask; the message names it.
        """
        return self._invoke(x, Call(lengths, mask, time_major), False)[0]

    def forward(
        self,
        x: Any,
        lengths: Any = None,
        *,
        mask: Any = None,
        time_major: bool = False,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, LayerTape]:
        """Run the layer for training, and keep a tape for `backward`: returns (y, tape).

        Arguments as those of a call, and ``rng``, a numpy.random.Generator for a layer that draws.
        """
        y, kept = self._invoke(x, Call(lengths, mask, time_major, rng), True)
        return y, LayerTape(self, kept)

    def backward(self, tape: LayerTape, dy: Any, *, input_gradient: bool = True) -> tuple[Array | None, Params]:
        """Gradients of a loss from dy, its gradient with respect to y: returns (dx, grads).

        dx is None without ``input_gradient`` and where x holds integers; grads is laid out like `params`. A tape of
        another layer, or a dy that is not like y, is a ValueError.
        """
        record, valid, ends = self._own(tape).record
        input_gradient = as_flag("input_gradient", input_gradient)
        if ends is not None:
            dy = masked(self._as_output("dy", dy, ends.shape), ends)
        elif hasattr(dy, "dtype"):
            dy = as_array("dy", dy)
        grads = self._blank_gradients()
        dx = self._adjoint(record, dy, grads, input_gradient)
        if dx is None:
            return None, grads
        dx = masked(dx, valid)
        return (dx.copy() if dx is dy else dx), grads
