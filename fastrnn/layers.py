"""The layers: `SimpleRNN`, `LSTM` and `GRU`, which scan time, and `Dense` and `Embedding`, which do not.

`fastrnn.sequential` stacks them; `fastrnn.layer` says what they share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import init, ops
from ._arrays import as_shape, as_size, dtype_of
from .cells import CELLS, Cell
from .layer import StatefulLayer, StatelessLayer
from .params import Params
from .reference import sigmoid

Array = np.ndarray


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def _choice(name: str, value: Any, choices: Sequence[str | None]) -> Any:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


class RecurrentLayer(StatefulLayer):
    """One cell scanned over time; see `SimpleRNN`, `LSTM`, `GRU`."""

    def __init__(self, cell: Cell, input_size: int, hidden_size: int, reverse: bool, dtype: Any, seed: Any):
        self.cell = cell
        self.input_size: int = as_size("input_size", input_size)
        self.hidden_size = self.output_size = as_size("hidden_size", hidden_size)
        self.reverse = _flag("reverse", reverse)
        self._params = Params.zeros(cell.shapes(self.input_size, self.hidden_size), dtype_of(dtype))
        self._initialise(init.as_generator(seed))

    def _initialise(self, rng: np.random.Generator) -> None:
        """Each gate's block of W Glorot-uniform, of U orthogonal; biases 0, but 1 for a forget gate."""
        D, H, gates = self.input_size, self.hidden_size, self.cell.gates
        self.params["W"] = np.hstack([init.xavier_uniform((D, H), rng, self.dtype) for _ in gates])
        self.params["U"] = np.hstack([init.orthogonal((H, H), rng, self.dtype) for _ in gates])
        if "f" in gates:
            f = gates.index("f")
            self.params["b"][f * H : (f + 1) * H] = 1

    def _run(self, x: Any, state: Any, lengths: Any, time_major: bool, keep: bool) -> tuple[Array, Any, Any]:
        return ops.rnn_forward(
            self.cell, self.params, x, state, lengths, reverse=self.reverse, time_major=time_major, keep=keep
        )

    def _adjoint(
        self, record: ops.Tape, dy: Any, dstate: Any, grads: Params, input_gradient: bool
    ) -> tuple[Array | None, Any]:
        return ops.rnn_backward(record, dy, dstate, grads=grads, input_gradient=input_gradient)

    def step(self, x_t: Any, state: Any = None) -> Any:
        """Advance by one time step: the streaming form of a call.

        Parameters
        ----------
        x_t : array (N, D)
        state : like the state of a call, optional
            Zeros when None.

        Returns
        -------
        state : like ``state``
            The new state; its h is the layer's output.
        """
        x_t = as_shape("x_t", x_t, self.dtype, ("N", self.input_size))
        return ops.rnn_forward(self.cell, self.params, x_t[None], state, time_major=True)[1]

    def __repr__(self) -> str:
        reverse = ", reverse=True" if self.reverse else ""
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}{self._options()}{reverse})"

    def _options(self) -> str:
        return ""


class SimpleRNN(RecurrentLayer):
    """Simple recurrent network: h_t = activation(x_t W + h_{t-1} U + b).

    Parameters
    ----------
    input_size : int
        D, the features of x.
    hidden_size : int
        H, the units.
    activation : "tanh" or "relu"
    reverse : bool
        Scan from each row's last valid step to its first.
    dtype : "float32" or "float64"
    seed : int, numpy.random.Generator or None
        Of the first weights: W Glorot-uniform, U orthogonal, b zero.

    Notes
    -----
    Parameters: W (D, H), U (H, H), b (H,). State: h (N, H).

    References
    ----------
    Elman 1990, "Finding structure in time"; relu: Le, Jaitly & Hinton 2015, "A simple way to initialize recurrent
    networks of rectified linear units".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import SimpleRNN
    >>> layer = SimpleRNN(3, 5, seed=0)
    >>> y, h = layer(np.ones((2, 7, 3), "float32"))
    >>> y.shape, h.shape
    ((2, 7, 5), (2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        activation: str = "tanh",
        reverse: bool = False,
        dtype: Any = "float32",
        seed: Any = None,
    ):
        self.activation = _choice("activation", activation, ("tanh", "relu"))
        super().__init__(CELLS[f"rnn_{activation}"], input_size, hidden_size, reverse, dtype, seed)

    def _options(self) -> str:
        return "" if self.activation == "tanh" else f", activation={self.activation!r}"


class LSTM(RecurrentLayer):
    """Long short-term memory.

    i, f, o = sigmoid(x_t W + h_{t-1} U + b), g = tanh(...); c_t = f*c_{t-1} + i*g; h_t = o*tanh(c_t).

    Parameters
    ----------
    input_size : int
        D, the features of x.
    hidden_size : int
        H, the units.
    reverse : bool
        Scan from each row's last valid step to its first.
    dtype : "float32" or "float64"
    seed : int, numpy.random.Generator or None
        Of the first weights: W Glorot-uniform and U orthogonal per gate, b zero with the forget block at 1
        (Jozefowicz et al. 2015).

    Notes
    -----
    Parameters: W (D, 4H), U (H, 4H), b (4H,), gate blocks in the order i f g o. State: the tuple (h, c), each (N, H).

    References
    ----------
    Hochreiter & Schmidhuber 1997, "Long short-term memory"; forget gate: Gers, Schmidhuber & Cummins 2000.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import LSTM
    >>> layer = LSTM(3, 5, seed=0)
    >>> x = np.ones((2, 7, 3), "float32")
    >>> y, (h, c), tape = layer.forward(x)
    >>> dx, dstate, grads = layer.backward(tape, np.ones_like(y))
    >>> dx.shape, grads["U"].shape
    ((2, 7, 3), (5, 20))
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, reverse: bool = False, dtype: Any = "float32", seed: Any = None
    ):
        super().__init__(CELLS["lstm"], input_size, hidden_size, reverse, dtype, seed)


class GRU(RecurrentLayer):
    """Gated recurrent unit.

    r, z = sigmoid(x_t W + h_{t-1} U + b); h_t = (1 - z)*n + z*h_{t-1} with
    n = tanh(x_t W_n + b_n + r*(h_{t-1} U_n + b_rec)), or, with ``reset_after=False``,
    n = tanh(x_t W_n + b_n + (r*h_{t-1}) U_n).

    Parameters
    ----------
    input_size : int
        D, the features of x.
    hidden_size : int
        H, the units.
    reset_after : bool
        Apply the reset gate after the product with U_n (True: PyTorch, cuDNN, Keras) or before it (False: the first
        paper, ONNX's default).
    reverse : bool
        Scan from each row's last valid step to its first.
    dtype : "float32" or "float64"
    seed : int, numpy.random.Generator or None
        Of the first weights: W Glorot-uniform and U orthogonal per gate, biases zero.

    Notes
    -----
    Parameters: W (D, 3H), U (H, 3H), b (3H,), gate blocks in the order r z n, and b_rec (H,) with ``reset_after``.
    State: h (N, H).

    References
    ----------
    Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder" (version 1 of the preprint: reset
    before the product; version 3: after).

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import GRU
    >>> layer = GRU(3, 5, seed=0)
    >>> y, h = layer(np.ones((2, 7, 3), "float32"), lengths=[7, 4])
    >>> bool((y[1, 3] == h[1]).all()), float(abs(y[1, 4:]).max())
    (True, 0.0)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset_after: bool = True,
        reverse: bool = False,
        dtype: Any = "float32",
        seed: Any = None,
    ):
        self.reset_after = _flag("reset_after", reset_after)
        cell = CELLS["gru" if self.reset_after else "gru_before"]
        super().__init__(cell, input_size, hidden_size, reverse, dtype, seed)

    def _options(self) -> str:
        return "" if self.reset_after else ", reset_after=False"


def is_time_major_view(x: Array) -> bool:
    """Whether x is (N, T, D) over contiguous time-major memory, as the y of a recurrent layer is."""
    return x.ndim == 3 and not x.flags.c_contiguous and x.swapaxes(0, 1).flags.c_contiguous


def to_rows(x: Array, swapped: bool) -> Array:
    """(..., D) -> (R, D); ``swapped``: rows in time-major order."""
    ordered = x.swapaxes(0, 1) if swapped else x
    return ordered.reshape(-1, x.shape[-1])


def from_rows(rows: Array, outer: tuple[int, ...], swapped: bool) -> Array:
    """(R, D) -> (*outer, D), the inverse of `to_rows`."""
    if not swapped:
        return rows.reshape(*outer, rows.shape[-1])
    N, T = outer
    return rows.reshape(T, N, rows.shape[-1]).swapaxes(0, 1)


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": sigmoid,
}
_DERIVATIVES: dict[str, Callable[[Array], Array]] = {  # as functions of y
    "tanh": lambda y: 1 - y * y,
    "relu": lambda y: (y > 0).astype(y.dtype),
    "sigmoid": lambda y: y * (1 - y),
}


class Dense(StatelessLayer):
    """Affine layer: y = activation(x W + b), for x of any shape (..., D).

    Parameters
    ----------
    input_size : int
        D, the features of x.
    output_size : int
        Features of y.
    activation : None, "tanh", "relu" or "sigmoid"
    dtype : "float32" or "float64"
    seed : int, numpy.random.Generator or None
        Of the first weights: W Glorot-uniform, b zero.

    Notes
    -----
    Parameters: W (D, output_size), b (output_size,). All positions are one product, in the order in which they lie in
    memory: the transposed view that a recurrent layer returns is not copied.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import Dense
    >>> layer = Dense(3, 2, seed=0)
    >>> y, tape = layer.forward(np.ones((4, 5, 3), "float32"))
    >>> dx, grads = layer.backward(tape, np.ones_like(y))
    >>> y.shape, grads["b"].tolist()
    ((4, 5, 2), [20.0, 20.0])
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        activation: str | None = None,
        *,
        dtype: Any = "float32",
        seed: Any = None,
    ):
        self.input_size: int = as_size("input_size", input_size)
        self.output_size = as_size("output_size", output_size)
        self.activation = _choice("activation", activation, (None, *_ACTIVATIONS))
        shape = (self.input_size, self.output_size)
        self._params = Params.zeros({"W": shape, "b": (self.output_size,)}, dtype)
        self.params["W"] = init.xavier_uniform(shape, seed, dtype)

    def _run(self, x: Any) -> tuple[Array, Any]:
        outer = tuple("..." for _ in range(max(np.ndim(x), 1) - 1))
        x = as_shape("x", x, self.dtype, (*outer, self.input_size))
        swapped = is_time_major_view(x)
        rows = to_rows(x, swapped)
        y = rows @ self.params["W"]
        y += self.params["b"]
        if self.activation is not None:
            y = _ACTIVATIONS[self.activation](y)
        kept = None if self.activation is None else y
        return from_rows(y, x.shape[:-1], swapped), (rows, kept, x.shape[:-1], swapped)

    def _adjoint(self, record: Any, dy: Any, grads: Params, input_gradient: bool) -> Array | None:
        x, y, outer, swapped = record
        da = to_rows(as_shape("dy", dy, self.dtype, (*outer, self.output_size)), swapped)
        if self.activation is not None:
            da = da * _DERIVATIVES[self.activation](y)
        grads["W"] += x.T @ da
        grads["b"] += da.sum(axis=0)
        return from_rows(da @ self.params["W"].T, outer, swapped) if input_gradient else None

    def __repr__(self) -> str:
        activation = "" if self.activation is None else f", {self.activation!r}"
        return f"Dense({self.input_size}, {self.output_size}{activation})"


class Embedding(StatelessLayer):
    """Table of vectors: y = W[x], for integers x of any shape.

    Parameters
    ----------
    vocab : int
        V: x holds 0..V-1.
    dim : int
        Features of y.
    dtype : "float32" or "float64"
    seed : int, numpy.random.Generator or None
        Of the first vectors, uniform in +-0.05.

    Notes
    -----
    Parameters: W (vocab, dim). There is no gradient with respect to x: ``backward`` gives None for dx.

    Examples
    --------
    >>> from fastrnn import Embedding
    >>> layer = Embedding(10, 4, seed=0)
    >>> layer([[1, 2, 3], [3, 2, 1]]).shape
    (2, 3, 4)
    """

    input_size = None

    def __init__(self, vocab: int, dim: int, *, dtype: Any = "float32", seed: Any = None):
        self.vocab, self.output_size = as_size("vocab", vocab), as_size("dim", dim)
        self._params = Params.zeros({"W": (self.vocab, self.output_size)}, dtype)
        self.params["W"] = init.as_generator(seed).uniform(-0.05, 0.05, self.params["W"].shape).astype(self.dtype)

    def _run(self, x: Any) -> tuple[Array, Any]:
        x = as_indices("x", x, self.vocab)
        # take, unlike indexing, gives C order whatever the order of x
        return np.take(self.params["W"], x, axis=0), x

    def _adjoint(self, record: Any, dy: Any, grads: Params, input_gradient: bool) -> None:
        rows = as_shape("dy", dy, self.dtype, (*record.shape, self.output_size)).reshape(-1, self.output_size)
        indices = record.reshape(-1)
        if not indices.size:
            return
        order = np.argsort(indices, kind="stable")
        used, first = np.unique(indices[order], return_index=True)
        grads["W"][used] += np.add.reduceat(rows[order], first, axis=0)

    def __repr__(self) -> str:
        return f"Embedding({self.vocab}, {self.output_size})"


def as_indices(name: str, value: Any, size: int) -> Array:
    """Return ``value`` as an array of integers, each 0..size-1, or raise."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got {array.dtype}")
    if array.size and (array.min() < 0 or array.max() >= size):
        wrong = array[(array < 0) | (array >= size)].flat[0]
        raise ValueError(f"{name} must lie in 0..{size - 1}, got {wrong}")
    return array.astype(np.intp, copy=False)
