"""Attention pooling: a sequence as one weighted mean of its steps. `Attention`, and `AttentionLSTM` that ends in it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import flat, init
from ._arrays import as_flag, as_size
from .composite import Composite
from .layer import Array, Call, LayerTape
from .params import Params
from .pooling import Layout, PoolingLayer, PoolingRecord
from .recurrent import LSTM
from .reference import silent


class _Looked(NamedTuple):
    """What the backward pass needs: x (T, N, H), u = tanh(x W + b) (T*N, A), weights (T, N)."""

    x: Array
    u: Array
    weights: Array


def _given_weights(record: PoolingRecord) -> Array:
    """The weights, laid out like the x that was given; a copy."""
    return record.layout.as_given(record.kept.weights).copy()


def _softmax(e: Array, valid: Array | None) -> Array:
    """Softmax of (T, N) over the valid T of each column; zeros in a column that has none."""
    if e.shape[0] == 0:
        return e
    if valid is not None:
        e = np.where(valid, e, -np.inf)
    top = e.max(axis=0)
    e = np.exp(e - np.where(np.isneginf(top), 0, top))
    total = e.sum(axis=0)
    return e / np.where(total == 0, 1, total)


class Attention(PoolingLayer):
    """Additive attention over time: the mean of a sequence's steps, weighted by what they hold.

    e_t = v . tanh(x_t W + b); a = softmax of e over the valid steps; context = sum of a_t x_t.

    Parameters
    ----------
    hidden_size : int
        H, the features of x: the hidden size of the layer that gives it.
    attention_size : int
        A, the units that look at them.
    dtype : "float32" or "float64"
    seed : int, numpy.random.Generator or None
        Of the first weights: W and v Glorot-uniform, b zero.

    Notes
    -----
    Parameters: W (H, A), b (A,), v (A,). A sequence without a valid step has weights and context zero.

    References
    ----------
    Bahdanau, Cho & Bengio 2015, "Neural machine translation by jointly learning to align and translate"; as pooling:
    Yang et al. 2016, "Hierarchical attention networks for document classification".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import Attention
    >>> attention = Attention(4, 3, seed=0)
    >>> h = np.random.default_rng(0).standard_normal((2, 5, 4), "float32")
    >>> context, weights = attention(h, lengths=[5, 2], return_weights=True)
    >>> context.shape, weights.sum(axis=1).round(5).tolist(), weights[1, 2:].tolist()
    ((2, 4), [1.0, 1.0], [0.0, 0.0, 0.0])
    """

    def __init__(self, hidden_size: int, attention_size: int, *, dtype: Any = "float32", seed: Any = None):
        self.input_size = self.output_size = as_size("hidden_size", hidden_size)
        self.attention_size = as_size("attention_size", attention_size)
        H, A = self.input_size, self.attention_size
        self._params = Params.zeros({"W": (H, A), "b": (A,), "v": (A,)}, dtype)
        rng = init.as_generator(seed)
        self.params["W"] = init.xavier_uniform((H, A), rng, dtype)
        self.params["v"] = init.xavier_uniform((A, 1), rng, dtype)[:, 0]

    def _config(self) -> dict[str, Any]:
        return {
            "hidden_size": self.input_size,
            "attention_size": self.attention_size,
            "dtype": self.dtype.name,
        }

    def __call__(
        self, x: Any, lengths: Any = None, *, mask: Any = None, time_major: bool = False, return_weights: bool = False
    ) -> Any:
        """Pool each sequence into one vector.

        Parameters
        ----------
        x : array (N, T, H), or (T, H) for one sequence; (T, N, H) with ``time_major``
            Such as the y of a recurrent layer.
        lengths : array of int (N,), optional
            Valid steps of every row; what lies beyond them is never read.
        mask : array of bool (N, T), optional
            Instead of lengths: False on steps to leave out, which are never read.
        time_major : bool
            x and mask are time-major, and so are the weights.
        return_weights : bool
            Give the weights too.

        Returns
        -------
        context : array (N, H); (H,) for one sequence
        weights : array (N, T), with ``return_weights``; (T,) for one sequence
            Each row's sum is 1, or 0 where no step is valid.

        Raises
        ------
        TypeError, ValueError
            An argument has the wrong dtype or shape, or lengths come together with a mask; the message names it.
        """
        context, kept = self._invoke(x, Call(lengths, mask, time_major), False)
        return (context, _given_weights(kept[0])) if as_flag("return_weights", return_weights) else context

    def forward(
        self,
        x: Any,
        lengths: Any = None,
        *,
        mask: Any = None,
        time_major: bool = False,
        rng: np.random.Generator | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Pool as a call does, and keep a tape for `backward`: (context, tape), or (context, weights, tape).

        No gradient goes back from the weights that are returned. ``rng`` is not drawn from.
        """
        context, kept = self._invoke(x, Call(lengths, mask, time_major, rng), True)
        tape = LayerTape(self, kept)
        if as_flag("return_weights", return_weights):
            return context, _given_weights(kept[0]), tape
        return context, tape

    @silent
    def _pooled(self, x: Array, valid: Array | None) -> tuple[Array, _Looked]:
        x = np.ascontiguousarray(x)
        (T, N, H), (W, b, v) = x.shape, (self.params[name] for name in "Wbv")
        u = np.empty((T * N, len(b)), self.dtype)
        flat.kernels().affine(x.reshape(T * N, H), W, b, u)
        np.tanh(u, out=u)
        weights = _softmax((u @ v).reshape(T, N), valid)
        return np.einsum("tn,tnh->nh", weights, x), _Looked(x, u, weights)

    @silent
    def _spread(self, kept: _Looked, dy: Array, grads: Params, input_gradient: bool) -> Array | None:
        x, u, weights = kept
        T, N, H = x.shape
        dweights = np.einsum("nh,tnh->tn", dy, x)
        de = weights * (dweights - (weights * dweights).sum(axis=0))
        da = de.reshape(T * N, 1) * self.params["v"]
        da *= 1 - u * u
        grads["v"] += de.reshape(T * N) @ u
        kernels = flat.kernels()
        kernels.add_outer(x.reshape(T * N, H), da, grads["W"], grads["b"])
        if not input_gradient:
            return None
        dx = np.empty((T * N, H), self.dtype)
        kernels.affine(da, self.params["W"], None, dx, transposed=True)
        dx = dx.reshape(T, N, H)
        dx += weights[:, :, None] * dy
        return dx

    def __repr__(self) -> str:
        return f"Attention({self.input_size}, {self.attention_size})"


class _LSTMRecord(NamedTuple):
    """What the backward pass of an `AttentionLSTM` needs."""

    lstm: Any
    attention: PoolingRecord
    time_major: bool


class AttentionLSTM(Composite):
    """An LSTM, and the attention-weighted mean of its steps: a sequence as one vector.

    Parameters
    ----------
    input_size : int
        D, the features of x.
    hidden_size : int
        H, the units.
    attention_size : int
        A, the units of the attention, as `Attention` says.
    dtype : "float32" or "float64"
    seed : int, numpy.random.Generator or None
        Of the first weights, the LSTM's before the attention's.
    **options
        As `LSTM` takes them.

    Attributes
    ----------
    lstm : LSTM
    attention : Attention

    Notes
    -----
    Parameters: ``"lstm.W"``, ``"lstm.U"``, ``"lstm.b"``, ..., ``"attention.W"``, ``"attention.b"``, ``"attention.v"``.
    State: the tuple (h, c) of the LSTM.

    References
    ----------
    Bahdanau, Cho & Bengio 2015, "Neural machine translation by jointly learning to align and translate"; over an LSTM
    as here: Zhou et al. 2016, "Attention-based bidirectional long short-term memory networks for relation
    classification".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import AttentionLSTM
    >>> layer = AttentionLSTM(3, 5, 4, seed=0)
    >>> context, (h, c) = layer(np.ones((2, 7, 3), "float32"), lengths=[7, 4])
    >>> context.shape, h.shape
    ((2, 5), (2, 5))
    """

    pools = True
    input_size: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        attention_size: int,
        *,
        dtype: Any = "float32",
        seed: Any = None,
        **options: Any,
    ):
        rng = init.as_generator(seed)
        self.lstm = LSTM(input_size, hidden_size, dtype=dtype, seed=rng, **options)
        self.attention = Attention(self.lstm.output_size, attention_size, dtype=dtype, seed=rng)
        self.input_size, self.output_size = self.lstm.input_size, self.lstm.output_size
        self.hidden_size = self.lstm.hidden_size
        self._join({"lstm": self.lstm, "attention": self.attention}, self.lstm.dtype)

    def _config(self) -> dict[str, Any]:
        return {"attention_size": self.attention.attention_size, **self.lstm._config()}

    def __call__(
        self,
        x: Any,
        state: Any = None,
        lengths: Any = None,
        *,
        mask: Any = None,
        time_major: bool = False,
        return_weights: bool = False,
    ) -> Any:
        """Run the LSTM, and pool its steps.

        Parameters
        ----------
        x, state, lengths, mask, time_major
            As `LSTM` takes them.
        return_weights : bool
            Give the weights too.

        Returns
        -------
        context : array (N, H); (H,) for one sequence
        state : tuple (h, c)
            Final state of the LSTM.
        weights : array (N, T), with ``return_weights``; (T, N) with ``time_major``, (T,) for one sequence

        Raises
        ------
        TypeError, ValueError
            An argument has the wrong dtype or shape, or lengths come together with a mask; the message names it.
        """
        context, state, record, single = self._invoke(x, state, Call(lengths, mask, time_major), False)
        if not as_flag("return_weights", return_weights):
            return context, state
        return context, state, _weights(LayerTape(self, record, time_major, single))

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, *, return_weights: bool = False, **options: Any
    ) -> tuple[Any, ...]:
        """Run as a call does but for training: (context, state, tape), or (context, state, weights, tape).

        ``options`` as `LSTM` takes them: mask, time_major, rng and checkpoint. No gradient goes back from the weights
        that are returned.
        """
        context, final, tape = super().forward(x, state, lengths, **options)
        if as_flag("return_weights", return_weights):
            return context, final, _weights(tape), tape
        return context, final, tape

    def _run(self, x: Any, state: Any, call: Call, keep: bool) -> tuple[Array, Any, _LSTMRecord]:
        x, valid = self._time_first(x, call)
        inside = call.inside()
        y, state, lstm_record = self.lstm._run(x, state, inside, keep)
        context, record = self.attention._run(y, inside, keep, valid)
        return context, state, _LSTMRecord(lstm_record, record, call.time_major)

    def _adjoint(
        self, record: _LSTMRecord, dy: Any, dstate: Any, grads: Params, input_gradient: bool
    ) -> tuple[Array | None, Any]:
        lstm_grads, attention_grads = self._grads(grads)
        d = None if dy is None else self.attention._adjoint(record.attention, dy, attention_grads, True)
        dx, dstate = self.lstm._adjoint(record.lstm, d, dstate, lstm_grads, input_gradient)
        return (dx if dx is None or record.time_major else dx.swapaxes(0, 1)), dstate

    def __repr__(self) -> str:
        sizes = f"{self.input_size}, {self.hidden_size}"
        options = repr(self.lstm).removeprefix(f"LSTM({sizes}")
        return f"AttentionLSTM({sizes}, {self.attention.attention_size}{options}"


def _weights(tape: LayerTape) -> Array:
    """The attention's weights, laid out like the caller's x."""
    layout = Layout(tape.single, tape.time_major)
    return layout.as_given(tape.record.attention.kept.weights).copy()
