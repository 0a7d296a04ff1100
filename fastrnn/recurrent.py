"""The recurrent layers: `SimpleRNN`, `LSTM` and `GRU`, each one cell scanned over time."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import init, ops
from ._arrays import as_choice, as_flag, as_shape, as_size, dtype_of
from .cells import CELLS, Cell
from .layer import Call, StatefulLayer
from .params import Params

Array = np.ndarray


class RecurrentLayer(StatefulLayer):
    """One cell scanned over time; see `SimpleRNN`, `LSTM`, `GRU`."""

    def __init__(self, cell: Cell, input_size: int, hidden_size: int, reverse: bool, dtype: Any, seed: Any):
        self.cell = cell
        self.input_size: int = as_size("input_size", input_size)
        self.hidden_size = self.output_size = as_size("hidden_size", hidden_size)
        self.reverse = as_flag("reverse", reverse)
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

    def _run(self, x: Any, state: Any, call: Call, keep: bool) -> tuple[Array, Any, Any]:
        return ops.rnn_forward(
            self.cell,
            self.params,
            x,
            state,
            call.lengths,
            reverse=self.reverse,
            time_major=call.time_major,
            keep=keep,
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

    def _config(self) -> dict[str, Any]:
        sizes = {"input_size": self.input_size, "hidden_size": self.hidden_size}
        return {**sizes, "reverse": self.reverse, "dtype": self.dtype.name}

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
        self.activation = as_choice("activation", activation, ("tanh", "relu"))
        super().__init__(CELLS[f"rnn_{activation}"], input_size, hidden_size, reverse, dtype, seed)

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "activation": self.activation}

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
        self.reset_after = as_flag("reset_after", reset_after)
        cell = CELLS["gru" if self.reset_after else "gru_before"]
        super().__init__(cell, input_size, hidden_size, reverse, dtype, seed)

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "reset_after": self.reset_after}

    def _options(self) -> str:
        return "" if self.reset_after else ", reset_after=False"
