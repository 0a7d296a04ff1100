"""What a cell is: one line of a table.

Every recurrent layer is the same scan over time. Cells differ in their gates, their states and what the backward
pass needs to remember of a step; that is what this table says, and all that the layers, the operators and the two
backends know about a cell besides its elementwise step.

Notation: x_t (N, D) the input, h and c (N, H) the states, s(.) the logistic sigmoid, * the elementwise product.
W (D, G*H), U (H, G*H) and b (G*H,) hold the G gate blocks side by side in the order of ``gates``. With
a = x_t W + b and u = h U, both cut into gate blocks:

=============  ======================================================================================
rnn_tanh       h' = tanh(a + u)                                                    [Elman 1990]
rnn_relu       h' = max(0, a + u)                                                  [Le et al. 2015]
lstm           i, f, o = s(a + u);  g = tanh(a + u);  c' = f*c + i*g;  h' = o*tanh(c')
               [Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000]
gru            r, z = s(a + u);  m = u_n + b_rec;  n = tanh(a_n + r*m);  h' = (1-z)*n + z*h
               [Cho et al. 2014, version 3 of the preprint: reset after the product, as in cuDNN]
gru_before     r, z = s(a + u);  n = tanh(a_n + (r*h) U_n);  h' = (1-z)*n + z*h
               [Cho et al. 2014, version 1: reset before the product]
=============  ======================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes
    ----------
    name : str
        Key of the table, and the name under which each backend keeps the cell's elementwise step.
    gates : tuple of str
        Gate blocks of W, U and b, in order.
    states : tuple of str
        ``("h",)`` or ``("h", "c")``.
    saved : tuple of str
        Blocks of width H that the tape keeps of every step besides y and c.
    optional : tuple of str
        Parameters beyond W, U and b.
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...] = ("h",)
    saved: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every parameter."""
        width = len(self.gates) * hidden_size
        shapes: dict[str, tuple[int, ...]] = {"W": (input_size, width), "U": (hidden_size, width), "b": (width,)}
        if "b_rec" in self.optional:
            shapes["b_rec"] = (hidden_size,)
        return shapes


CELLS = {
    cell.name: cell
    for cell in (
        Cell("rnn_tanh", ("h",)),
        Cell("rnn_relu", ("h",)),
        Cell("lstm", ("i", "f", "g", "o"), states=("h", "c"), saved=("i", "f", "g", "o")),
        Cell("gru", ("r", "z", "n"), saved=("r", "z", "m", "n"), optional=("b_rec",)),
        Cell("gru_before", ("r", "z", "n"), saved=("r", "z", "n")),
    )
}
