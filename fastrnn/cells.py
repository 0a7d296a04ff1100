"""What a cell is: a line of a table, and options that may be added to it.

Every recurrent layer is the same scan over time. Cells differ in their gates, their states and what the backward
pass needs to remember of a step; that is what this file says, and all that the layers, the operators and the two
backends know about a cell besides its elementwise step.

Notation: x_t (N, D) the input, h and c (N, H) the states, s(.) the logistic sigmoid, * the elementwise product.
W (D, G*H), U (H, G*H) and b (G*H,) hold the G gate blocks side by side in the order of ``gates``. With
a = x_t W + b and u = h U, both cut into gate blocks:

=============  ======================================================================================
rnn            h' = tanh(a + u)                                                    [Elman 1990]
               or h' = max(0, a + u)                                               [Le et al. 2015]
lstm           i, f, o = s(a + u);  g = tanh(a + u);  c' = f*c + i*g;  h' = o*tanh(c')
               [Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000]
gru            r, z = s(a + u);  m = u_n + b_rec;  n = tanh(a_n + r*m);  h' = (1-z)*n + z*h
               [Cho et al. 2014, version 3 of the preprint: reset after the product, as in cuDNN]
gru_before     r, z = s(a + u);  n = tanh(a_n + (r*h) U_n);  h' = (1-z)*n + z*h
               [Cho et al. 2014, version 1: reset before the product]
=============  ======================================================================================

Options
-------
activation, recurrent_activation, output_activation
    Functions in the place of tanh, of s, and of the LSTM's tanh(c'); `fastrnn.activations` has them.
clip
    What the functions of the gates are given lies in -clip..clip; no gradient passes where it was cut [ONNX].
peephole
    "diagonal", p (3, H): i and f get p_i*c and p_f*c, o gets p_o*c' [Gers & Schmidhuber 2000].
    "full", P (H, 3H): c P_i, c P_f, c' P_o.
coupled
    f = 1 - i, and no block f anywhere [Greff et al. 2017: CIFG].
proj_size
    h' = (o*tanh c') W_proj of that size; U is (proj_size, G*H) [Sak et al. 2014].
layer_norm
    a = LN(x_t W)*gain_W + b and u = LN(h U)*gain_U, and in the LSTM tanh(LN(c')*gain_c + bias_c). LN takes the mean
    off a row and divides by its standard deviation, over all blocks at once; the GRU's n block apart from r and z
    [Ba et al. 2016, supplement].
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from .activations import RELU, SIGMOID, TANH, Function


@dataclass(frozen=True)
class Cell:
    """One cell with its options.

    Attributes
    ----------
    kind : "rnn", "lstm", "gru" or "gru_before"
        Line of the table above, and the name under which each backend keeps the elementwise step.
    zoneout : bool
        Whether a step may keep parts of the states: what the tape holds depends on it.
    gates : tuple of str
        Gate blocks of W, U and b, in order.
    states : tuple of str
        ``("h",)`` or ``("h", "c")``.
    saved : tuple of str
        Blocks of width H that the tape keeps of every step besides y and c.
    norms : tuple of (int, int)
        Gate blocks first..last that layer normalisation takes together.
    """

    kind: str
    activation: Function = TANH
    recurrent_activation: Function = SIGMOID
    output_activation: Function = TANH
    clip: float | None = None
    peephole: str | None = None
    coupled: bool = False
    proj_size: int | None = None
    layer_norm: bool = False
    zoneout: bool = False

    @property
    def name(self) -> str:
        """Key of `CELLS` for a cell without options."""
        return f"rnn_{self.activation.name}" if self.kind == "rnn" else self.kind

    @cached_property
    def gates(self) -> tuple[str, ...]:
        if self.kind == "rnn":
            return ("h",)
        if self.kind == "lstm":
            return ("i", "g", "o") if self.coupled else ("i", "f", "g", "o")
        return ("r", "z", "n")

    @cached_property
    def states(self) -> tuple[str, ...]:
        return ("h", "c") if self.kind == "lstm" else ("h",)

    @cached_property
    def saved(self) -> tuple[str, ...]:
        if self.kind == "rnn":  # y is the function's value, but where a step may keep the old one
            return ("h",) if self.zoneout else ()
        if self.kind == "gru":
            return ("r", "z", "m", "n")
        return self.gates

    @cached_property
    def norms(self) -> tuple[tuple[int, int], ...]:
        if not self.layer_norm:
            return ()
        G = len(self.gates)
        return ((0, 2), (2, 3)) if self.kind in ("gru", "gru_before") else ((0, G),)

    @cached_property
    def peeping(self) -> tuple[str, ...]:
        """Gates that see the state c."""
        return tuple(gate for gate in self.gates if gate != "g") if self.peephole else ()

    def __reduce__(self) -> Any:
        return _restored, tuple(getattr(self, field.name) for field in fields(self))

    def output_size(self, hidden_size: int) -> int:
        """Width of h."""
        return self.proj_size or hidden_size

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every parameter."""
        D, H, P = input_size, hidden_size, self.output_size(hidden_size)
        width = len(self.gates) * H
        shapes: dict[str, tuple[int, ...]] = {"W": (D, width), "U": (P, width), "b": (width,)}
        if self.kind == "gru":
            shapes["b_rec"] = (H,)
        if self.peephole == "diagonal":
            shapes["p"] = (len(self.peeping), H)
        if self.peephole == "full":
            shapes["P"] = (H, len(self.peeping) * H)
        if self.proj_size:
            shapes["W_proj"] = (H, P)
        if self.layer_norm:
            shapes |= {"gain_W": (width,), "gain_U": (width,)}
            if self.kind == "lstm":
                shapes |= {"gain_c": (H,), "bias_c": (H,)}
        return shapes


CELLS = {
    "rnn_tanh": Cell("rnn"),
    "rnn_relu": Cell("rnn", activation=RELU),
    "lstm": Cell("lstm"),
    "gru": Cell("gru"),
    "gru_before": Cell("gru_before"),
}
_unique = {cell: cell for cell in CELLS.values()}


def unique(cell: Cell) -> Cell:
    """The one object that stands for this cell: a backend may know it by its identity."""
    return _unique.setdefault(cell, cell)


def _restored(*options: Any) -> Cell:
    """A cell that has been copied or pickled."""
    return unique(Cell(*options))
