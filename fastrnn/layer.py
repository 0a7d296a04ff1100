"""What all layers share: parameters, and calls that take a caller's arrays to a scan and back.

A layer holds parameters and nothing else. What a backward pass needs of its forward pass is on the tape that
``forward`` returns, so one layer can be used from many threads at a time. Two kinds of layers: those that carry a
state through time (`StatefulLayer`) and those that treat every position alike (`StatelessLayer`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arrays import as_shape
from .params import Params

Array = np.ndarray


@dataclass(frozen=True)
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
    """

    lengths: Any = None
    mask: Any = None
    time_major: bool = False
    rng: np.random.Generator | None = None


@dataclass(frozen=True)
class LayerTape:
    """What a layer's ``backward`` needs of one ``forward``. It refers to x and to the parameters: change neither
    between the two calls. It may be used more than once."""

    layer: Layer
    record: Any
    single: bool = False


class Layer:
    """What all layers share: parameters in one flat buffer, and tapes that know whose they are.

    Attributes
    ----------
    params : Params
        Name -> array; views into ``params.flat``.
    dtype : numpy.dtype
        float32 or float64.
    input_size : int or None
        Features that x must have; None where x holds integers.
    output_size : int
        Features of y.
    """

    input_size: int | None
    output_size: int
    _params: Params

    @property
    def params(self) -> Params:
        return self._params

    @property
    def dtype(self) -> np.dtype:
        return self._params.dtype

    def _move(self, flat: Array) -> None:
        """Keep the parameters in ``flat``, a piece of a larger model's buffer that already has their values."""
        self._params = self._params.over(flat, is_part=True)

    def _own(self, tape: Any) -> LayerTape:
        if not isinstance(tape, LayerTape):
            raise TypeError(f"tape must come from this layer's forward, got {type(tape).__name__}")
        if tape.layer is not self:
            raise ValueError(f"tape must come from this layer's forward, got one of another layer, {tape.layer!r}")
        return tape


class StatefulLayer(Layer):
    """A layer that scans time and carries a state. Subclasses say how one batch is run; the calls live here."""

    def _run(self, x: Any, state: Any, call: Call, keep: bool) -> tuple[Array, Any, Any]:  # y, final state, record
        raise NotImplementedError

    def _adjoint(
        self, record: Any, dy: Any, dstate: Any, grads: Params, input_gradient: bool
    ) -> tuple[Array | None, Any]:  # dx, dstate; gradients are added to grads
        raise NotImplementedError

    def _batch(self, x: Any, time_major: bool) -> tuple[Any, bool]:
        """x with its batch axis, and whether it came as a single sequence without one."""
        single = np.ndim(x) == (1 if self.input_size is None else 2)
        if not single:
            return x, False
        x = np.asarray(x) if self.input_size is None else as_shape("x", x, self.dtype, ("T", self.input_size))
        return (x[:, None] if time_major else x[None]), True

    def __call__(
        self, x: Any, state: Any = None, lengths: Any = None, *, time_major: bool = False
    ) -> tuple[Array, Any]:
        """Run the layer and keep nothing for a backward pass.

        Parameters
        ----------
        x : array (N, T, D), or (T, D) for one sequence; (T, N, D) with ``time_major``
            Integers (N, T) or (T,) where the first layer of a stack is an `Embedding`.
        state : initial state, optional
            h (N, H) for SimpleRNN and GRU, a tuple (h, c) for LSTM, a list with one entry per layer for Sequential
            (None for a layer without state). Zeros when None. A single sequence has states of one row.
        lengths : array of int (N,), optional
            Valid steps of every row, 0..T; all T when None. What lies beyond them is never read.
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
            An argument has the wrong dtype or shape; the message names it.
        """
        x, single = self._batch(x, time_major)
        y, state, _ = self._run(x, state, Call(lengths, time_major=time_major), False)
        return (_unbatch(y, time_major) if single else y), state

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, *, time_major: bool = False
    ) -> tuple[Array, Any, LayerTape]:
        """Run the layer as a call does, and keep a tape for `backward`: returns (y, state, tape)."""
        x, single = self._batch(x, time_major)
        y, state, record = self._run(x, state, Call(lengths, time_major=time_major), True)
        return (_unbatch(y, time_major) if single else y), state, LayerTape(self, (record, time_major), single)

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
        own = self._own(tape)
        record, time_major = own.record
        if own.single and dy is not None:
            dy = as_shape("dy", dy, self.dtype, ("T", self.output_size))
            dy = dy[:, None] if time_major else dy[None]
        grads = self.params.zeros_like()
        dx, dstate = self._adjoint(record, dy, dstate, grads, input_gradient)
        if own.single and dx is not None:
            dx = _unbatch(dx, time_major)
        return dx, dstate, grads


def _unbatch(y: Array, time_major: bool) -> Array:
    return y[:, 0] if time_major else y[0]


class StatelessLayer(Layer):
    """A layer that treats every position of its input alike."""

    def __call__(self, x: Any) -> Array:
        """Run the layer; x as the class says."""
        return self._run(x)[0]

    def forward(self, x: Any) -> tuple[Array, LayerTape]:
        """Run the layer and keep a tape for `backward`: returns (y, tape)."""
        y, record = self._run(x)
        return y, LayerTape(self, record)

    def backward(self, tape: LayerTape, dy: Any, *, input_gradient: bool = True) -> tuple[Array | None, Params]:
        """Gradients of a loss from dy, its gradient with respect to y: returns (dx, grads).

        dx is None without ``input_gradient`` and where x holds integers; grads is laid out like `params`. A tape of
        another layer, or a dy that is not like y, is a ValueError.
        """
        record = self._own(tape).record
        grads = self.params.zeros_like()
        return self._adjoint(record, dy, grads, input_gradient), grads

    def _run(self, x: Any) -> tuple[Array, Any]:  # y, record
        raise NotImplementedError

    def _adjoint(self, record: Any, dy: Any, grads: Params, input_gradient: bool) -> Array | None:  # dx
        raise NotImplementedError
