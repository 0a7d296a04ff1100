"""The recurrent layers: `SimpleRNN`, `LSTM` and `GRU`, each one cell scanned over time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import init, ops
from ._arrays import as_choice, as_flag, as_rate, as_shape, as_size, dtype_of
from .activations import SIGMOID, TANH, as_function
from .cells import Cell, unique
from .layer import Call, LayerTape, StatefulLayer
from .lookup import Lookup
from .params import Params
from .scan import SILENT, Noise

Array = np.ndarray


def _zoneout(value: Any, states: tuple[str, ...]) -> tuple[float, ...]:
    """A rate for every state."""
    if not isinstance(value, (tuple, list)):
        return (as_rate("zoneout", value),) * len(states)
    if len(value) != len(states):
        raise ValueError(f"zoneout must be a number or a tuple ({', '.join(states)}), got {value!r}")
    return tuple(as_rate("zoneout", part) for part in value)


def _clip(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"clip must be a positive number or None, got {value!r}")
    if not 0 < value < math.inf:
        raise ValueError(f"clip must be a positive number or None, got {value!r}")
    return float(value)


@dataclass(slots=True, eq=False)
class _Record:
    """What a layer's adjoint needs besides the scan's tape."""

    tape: ops.Tape
    dropped: Array | None  # factors of U
    from_params: bool  # the initial state was the layer's own
    dcells: Any = None


class RecurrentLayer(StatefulLayer):
    """One cell scanned over time; see `SimpleRNN`, `LSTM`, `GRU`, which all have these options.

    Parameters
    ----------
    clip : float, optional
        Limit of what the gates' functions are given, -clip..clip; no gradient passes beyond.
    layer_norm : bool
        Normalise x_t W and h U [1]_; `fastrnn.cells` has the equations. Adds the parameters gain_W and gain_U (G*H,),
        and gain_c and bias_c (H,) for the LSTM's c.
    recurrent_dropout : float
        Share of h that training hides from the products with U, the same units at all steps [2]_.
    weight_drop : float
        Share of U that training sets to zero for one run [3]_.
    zoneout : float, or a tuple (for h, for c) for the LSTM
        Probability that a unit keeps its state at a step of training; inference takes the mean [4]_.
    trainable_state : bool
        Learn the initial state, what a call without a state starts from: parameters h0 (H,), and c0 (H,).
    reverse : bool
        Scan from each row's last valid step to its first.
    dtype : "float32" or "float64"
    seed : int, numpy.random.Generator or None
        Of the first weights: W Glorot-uniform and U orthogonal per gate.

    Attributes
    ----------
    cell : Cell
    hidden_size : int
        H.

    References
    ----------
    .. [1] Ba, Kiros & Hinton 2016, "Layer normalization".
    .. [2] Gal & Ghahramani 2016, "A theoretically grounded application of dropout in recurrent neural networks".
    .. [3] Merity, Keskar & Socher 2018, "Regularizing and optimizing LSTM language models".
    .. [4] Krueger et al. 2017, "Zoneout: regularizing RNNs by randomly preserving hidden activations".
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        rates: tuple[Any, Any, Any],
        trainable_state: Any,
        reverse: Any,
        dtype: Any,
        seed: Any,
    ):
        recurrent_dropout, weight_drop, zoneout = rates
        self.input_size: int = as_size("input_size", input_size)
        self.hidden_size = as_size("hidden_size", hidden_size)
        self.recurrent_dropout = as_rate("recurrent_dropout", recurrent_dropout)
        self.weight_drop = as_rate("weight_drop", weight_drop)
        self.zoneout = _zoneout(zoneout, cell.states)
        self.trainable_state = as_flag("trainable_state", trainable_state)
        self.reverse = as_flag("reverse", reverse)
        self.cell = unique(replace(cell, zoneout=any(self.zoneout)))
        self.output_size = cell.output_size(self.hidden_size)
        self.takes_lookup = not cell.layer_norm
        self._is_plain = not (any(self.zoneout) or self.recurrent_dropout or self.weight_drop or self.trainable_state)
        shapes = self.cell.shapes(self.input_size, self.hidden_size)
        if self.trainable_state:
            shapes |= {f"{name}0": (width,) for name, width in zip(cell.states, self._widths(), strict=True)}
        self._params = Params.zeros(shapes, dtype_of(dtype))
        self._initialise(init.as_generator(seed))

    def _widths(self) -> tuple[int, ...]:
        """Of every state."""
        return ops._widths(self.cell, self.hidden_size)

    def _initialise(self, rng: np.random.Generator) -> None:
        """Each gate's block of W Glorot-uniform, of U orthogonal; other matrices Glorot-uniform; gains 1; other
        vectors 0, but for a forget gate's bias of 1."""
        D, H, P, gates = self.input_size, self.hidden_size, self.output_size, self.cell.gates
        params = self.params
        params["W"] = np.hstack([init.xavier_uniform((D, H), rng, self.dtype) for _ in gates])
        params["U"] = np.hstack([init.orthogonal((P, H), rng, self.dtype) for _ in gates])
        if "f" in gates:
            f = gates.index("f")
            params["b"][f * H : (f + 1) * H] = 1
        if "P" in params:
            params["P"] = np.hstack([init.xavier_uniform((H, H), rng, self.dtype) for _ in self.cell.peeping])
        if "W_proj" in params:
            params["W_proj"] = init.xavier_uniform((H, P), rng, self.dtype)
        for name in ("gain_W", "gain_U", "gain_c"):
            if name in params:
                params[name][...] = 1

    # -----------------------------------------------------------------------------------------------------------------
    # Runs

    def initial_state(self, N: int) -> Any:
        """The state that a call without one starts from: zeros, or the layer's own with ``trainable_state``."""
        return ops._as_state(self._initial(N))

    def _initial(self, N: int) -> list[Array]:
        if not self.trainable_state:
            return [np.zeros((N, width), self.dtype) for width in self._widths()]
        return [np.repeat(self.params[f"{name}0"][None], N, axis=0) for name in self.cell.states]

    def _noise(self, call: Call, N: int, T: int) -> Noise:
        """What dropouts draw for one training run."""
        if not (self.recurrent_dropout or any(self.zoneout)):
            return SILENT
        rng = call.generator(self)
        mask = None
        if self.recurrent_dropout:
            keep = 1 - self.recurrent_dropout
            mask = ((rng.random((N, self.output_size)) < keep) / keep).astype(self.dtype)
        shares: list[Array | None] = []
        for rate, width in zip(self.zoneout, self._widths(), strict=True):
            new = (rng.random((N, T, width)) >= rate).astype(self.dtype) if rate else None
            shares.append(new.swapaxes(0, 1) if new is not None and call.time_major else new)
        return Noise(mask, *shares)

    def _expected_noise(self) -> Noise:
        """Zoneout's mean, which inference takes."""
        if not any(self.zoneout):
            return SILENT
        shares = zip(self.zoneout, self._widths(), strict=True)
        return Noise(None, *(np.full((1, width), 1 - rate, self.dtype) if rate else None for rate, width in shares))

    def _dropped(self, call: Call) -> Array | None:
        """Factors of U in one training run."""
        if not self.weight_drop:
            return None
        keep = 1 - self.weight_drop
        return ((call.generator(self).random(self.params["U"].shape) < keep) / keep).astype(self.dtype)

    def _run(self, x: Any, state: Any, call: Call, keep: bool) -> tuple[Array, Any, Any]:
        params: Mapping[str, Array] = self._params
        dropped, noise, own = None, SILENT, False
        if not self._is_plain:
            if not isinstance(x, Lookup):
                x = as_shape("x", x, self.dtype, (*(("T", "N") if call.time_major else ("N", "T")), self.input_size))
            T, N = x.shape[:2] if call.time_major else x.shape[1::-1]
            noise = self._noise(call, N, T) if keep else self._expected_noise()
            dropped = self._dropped(call) if keep else None
            if dropped is not None:
                params = {**self.params, "U": self.params["U"] * dropped}
            own = self.trainable_state and state is None
            if own:
                state = self.initial_state(N)
        y, final, tape = ops.rnn_forward(
            self.cell,
            params,
            x,
            state,
            call.lengths,
            mask=call.mask,
            reverse=self.reverse,
            time_major=call.time_major,
            keep=keep,
            noise=noise,
            checkpoint=self._checkpoint(call, x) if keep and call.checkpoint else 0,
        )
        return y, final, None if tape is None else _Record(tape, dropped, own)

    def _checkpoint(self, call: Call, x: Any) -> int:
        """Steps between two checkpoints: the square root of T where the caller leaves it to us."""
        if call.checkpoint is True:
            return math.isqrt(max(np.shape(x)[0 if call.time_major else 1] - 1, 0)) + 1
        return call.checkpoint

    def _prepare(self, grads: Array) -> None:
        self._params.clear_padding(grads)

    def _adjoint(
        self, record: _Record, dy: Any, dstate: Any, grads: Params, input_gradient: bool
    ) -> tuple[Array | None, Any]:
        """dx, dstate; ``grads`` are written over, whatever they hold."""
        dx, dstate = ops.rnn_backward(
            record.tape, dy, dstate, grads=grads, input_gradient=input_gradient, dcells=record.dcells, add=False
        )
        if record.dropped is not None:
            grads["U"][...] *= record.dropped
        if self.trainable_state:
            for name, part in zip(self.cell.states, ops._parts(dstate), strict=True):
                grads[f"{name}0"][...] = part.sum(axis=0) if record.from_params else 0
        return dx, dstate

    def step(self, x_t: Any, state: Any = None) -> Any:
        """Advance by one time step: the streaming form of a call.

        Parameters
        ----------
        x_t : array (N, D)
        state : like the state of a call, optional
            That of a call without one when None.

        Returns
        -------
        state : like ``state``
            The new state; its h is the layer's output.
        """
        x_t = as_shape("x_t", x_t, self.dtype, ("N", self.input_size))
        return self._run(x_t[None], state, Call(time_major=True), False)[1]

    # -----------------------------------------------------------------------------------------------------------------
    # Architecture

    def _options(self) -> dict[str, Any]:
        """The constructor's options that are not at their defaults."""
        zoneout = self.zoneout[0] if len(set(self.zoneout)) == 1 else self.zoneout
        options = {
            "clip": (self.cell.clip, None),
            "layer_norm": (self.cell.layer_norm, False),
            "recurrent_dropout": (self.recurrent_dropout, 0.0),
            "weight_drop": (self.weight_drop, 0.0),
            "zoneout": (zoneout, 0.0),
            "trainable_state": (self.trainable_state, False),
            "reverse": (self.reverse, False),
        }
        return {name: value for name, (value, default) in options.items() if value != default}

    def _functions(self) -> dict[str, Any]:
        """Options for the functions of the gates, where they are not the usual ones."""
        functions = {
            "activation": (self.cell.activation, TANH),
            "recurrent_activation": (self.cell.recurrent_activation, SIGMOID),
        }
        return {name: found.option for name, (found, usual) in functions.items() if found != usual}

    def _config(self) -> dict[str, Any]:
        sizes = {"input_size": self.input_size, "hidden_size": self.hidden_size}
        return {**sizes, **self._options(), "dtype": self.dtype.name}

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self._options().items())
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}{options})"


class SimpleRNN(RecurrentLayer):
    """Simple recurrent network: h_t = activation(x_t W + h_{t-1} U + b).

    Parameters
    ----------
    input_size : int
        D, the features of x.
    hidden_size : int
        H, the units.
    activation : str, or a tuple of a name and its numbers
        `fastrnn.activations` has the names; tanh and relu are the fastest.
    clip, layer_norm, recurrent_dropout, weight_drop, zoneout, trainable_state, reverse, dtype, seed
        See `RecurrentLayer`.

    Notes
    -----
    Parameters: W (D, H), U (H, H), b (H,), zero at first. State: h (N, H).

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
        activation: Any = "tanh",
        clip: float | None = None,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        zoneout: float = 0.0,
        trainable_state: bool = False,
        reverse: bool = False,
        dtype: Any = "float32",
        seed: Any = None,
    ):
        function = as_function("activation", activation)
        cell = Cell("rnn", activation=function, clip=_clip(clip), layer_norm=as_flag("layer_norm", layer_norm))
        rates = recurrent_dropout, weight_drop, zoneout
        super().__init__(cell, input_size, hidden_size, rates, trainable_state, reverse, dtype, seed)

    def _options(self) -> dict[str, Any]:
        return {**self._functions(), **super()._options()}


class LSTM(RecurrentLayer):
    """Long short-term memory.

    i, f, o = sigmoid(x_t W + h_{t-1} U + b), g = tanh(...); c_t = f*c_{t-1} + i*g; h_t = o*tanh(c_t).

    Parameters
    ----------
    input_size : int
        D, the features of x.
    hidden_size : int
        H, the units.
    peephole : None, "diagonal" or "full"
        Let the gates see the state: i and f c_{t-1}, o c_t, through p (3, H) or P (H, 3H).
    coupled : bool
        f = 1 - i. There are then three gate blocks, i g o, and two peepholes, i and o.
    proj_size : int, optional
        P < H: h_t = (o*tanh(c_t)) W_proj of P features.
    activation, recurrent_activation, output_activation : str, or a tuple of a name and its numbers
        In the place of tanh, of sigmoid and of tanh(c_t); `fastrnn.activations` has the names. None for the last: the
        same as ``activation``.
    clip, layer_norm, recurrent_dropout, weight_drop, zoneout, trainable_state, reverse, dtype, seed
        See `RecurrentLayer`.

    Notes
    -----
    Parameters: W (D, 4H), U (H, 4H), b (4H,), gate blocks in the order i f g o; b zero at first but for f, which is 1
    (Jozefowicz et al. 2015). p (3, H), rows i f o, or P (H, 3H); W_proj (H, P), and then U (P, 4H). State: the tuple
    (h, c), (N, P) and (N, H), P = H without a projection.

    References
    ----------
    Hochreiter & Schmidhuber 1997, "Long short-term memory"; forget gate: Gers, Schmidhuber & Cummins 2000; peepholes:
    Gers & Schmidhuber 2000, "Recurrent nets that time and count"; coupled gates: Greff et al. 2017, "LSTM: a search
    space odyssey"; projection: Sak, Senior & Beaufays 2014.

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
    >>> LSTM(3, 5, peephole="diagonal", proj_size=2)(x)[0].shape
    (2, 7, 2)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        peephole: str | None = None,
        coupled: bool = False,
        proj_size: int | None = None,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        output_activation: Any = None,
        clip: float | None = None,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        trainable_state: bool = False,
        reverse: bool = False,
        dtype: Any = "float32",
        seed: Any = None,
    ):
        if proj_size is not None and as_size("proj_size", proj_size) >= as_size("hidden_size", hidden_size):
            raise ValueError(f"proj_size must be less than hidden_size, {hidden_size}, got {proj_size}")
        function = as_function("activation", activation)
        cell = Cell(
            "lstm",
            activation=function,
            recurrent_activation=as_function("recurrent_activation", recurrent_activation),
            output_activation=(
                function if output_activation is None else as_function("output_activation", output_activation)
            ),
            clip=_clip(clip),
            peephole=as_choice("peephole", peephole, (None, "diagonal", "full")),
            coupled=as_flag("coupled", coupled),
            proj_size=None if proj_size is None else as_size("proj_size", proj_size),
            layer_norm=as_flag("layer_norm", layer_norm),
        )
        rates = recurrent_dropout, weight_drop, zoneout
        super().__init__(cell, input_size, hidden_size, rates, trainable_state, reverse, dtype, seed)

    def _options(self) -> dict[str, Any]:
        shape: dict[str, Any] = {
            "peephole": self.cell.peephole,
            "coupled": self.cell.coupled,
            "proj_size": self.cell.proj_size,
        }
        if self.cell.output_activation != self.cell.activation:
            shape["output_activation"] = self.cell.output_activation.option
        return {**{name: value for name, value in shape.items() if value}, **self._functions(), **super()._options()}

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
        return_cells: bool = False,
    ) -> tuple[Any, ...]:
        """Run the layer for training: (y, state, tape), and with ``return_cells`` (y, state, cells, tape).

        cells (N, T, H), laid out like y, holds every c_t; its gradient is ``dcells`` of `backward`. Not to be had
        together with ``checkpoint``, which does not keep them. All else is as in the other layers.
        """
        if return_cells is not False and as_flag("return_cells", return_cells) and checkpoint:
            raise ValueError("return_cells must be False with checkpoint, which does not keep the cells, got True")
        y, final, tape = super().forward(
            x, state, lengths, mask=mask, time_major=time_major, rng=rng, checkpoint=checkpoint
        )
        if not return_cells:
            return y, final, tape
        cells = ops.cells_of(tape.record.tape)
        if tape.single:
            cells = np.squeeze(cells, 1 if time_major else 0)
        return y, final, cells, tape

    def backward(
        self, tape: LayerTape, dy: Any = None, dstate: Any = None, *, dcells: Any = None, input_gradient: bool = True
    ) -> tuple[Array | None, Any, Params]:
        """Gradients of a loss; see `RecurrentLayer`. ``dcells``, like the cells, is its gradient in them."""
        if dcells is not None:
            own = self._own(tape)
            if own.single:
                dcells = as_shape("dcells", dcells, self.dtype, ("T", self.hidden_size))
                dcells = np.expand_dims(dcells, 1 if own.time_major else 0)
            tape = replace(own, record=replace(own.record, dcells=dcells))
        return super().backward(tape, dy, dstate, input_gradient=input_gradient)


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
    activation, recurrent_activation : str, or a tuple of a name and its numbers
        In the place of tanh and of sigmoid; `fastrnn.activations` has the names.
    clip, layer_norm, recurrent_dropout, weight_drop, zoneout, trainable_state, reverse, dtype, seed
        See `RecurrentLayer`.

    Notes
    -----
    Parameters: W (D, 3H), U (H, 3H), b (3H,), gate blocks in the order r z n, and b_rec (H,) with ``reset_after``;
    biases zero at first. State: h (N, H).

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
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        clip: float | None = None,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        zoneout: float = 0.0,
        trainable_state: bool = False,
        reverse: bool = False,
        dtype: Any = "float32",
        seed: Any = None,
    ):
        self.reset_after = as_flag("reset_after", reset_after)
        cell = Cell(
            "gru" if self.reset_after else "gru_before",
            activation=as_function("activation", activation),
            recurrent_activation=as_function("recurrent_activation", recurrent_activation),
            clip=_clip(clip),
            layer_norm=as_flag("layer_norm", layer_norm),
        )
        rates = recurrent_dropout, weight_drop, zoneout
        super().__init__(cell, input_size, hidden_size, rates, trainable_state, reverse, dtype, seed)

    def _options(self) -> dict[str, Any]:
        reset = {} if self.reset_after else {"reset_after": False}
        return {**reset, **self._functions(), **super()._options()}
