"""What is measured: the shapes of the grid, and the arrays of one problem."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from fastrnn.cells import CELLS, Cell

Array = np.ndarray

GRID_CELLS = ("rnn_tanh", "lstm", "gru")


@dataclass(frozen=True, order=True)
class Shape:
    """N rows, T steps, D inputs, H units.

    Examples
    --------
    >>> Shape.parse("N16T50D64H32")
    Shape(N=16, T=50, D=64, H=32)
    >>> print(Shape(1, 100, 32, 32))
    N1 T100 D32 H32
    """

    N: int
    T: int
    D: int
    H: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Read ``N1T100D32H32``; raise ValueError for anything else."""
        match = re.fullmatch(r"N(\d+)T(\d+)D(\d+)H(\d+)", text.replace(" ", ""))
        if match is None or "0" in match.groups():
            raise ValueError(f"shape must look like N1T100D32H32 with positive numbers, got {text!r}")
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"N{self.N} T{self.T} D{self.D} H{self.H}"


GRID_SHAPES = (
    Shape(1, 100, 32, 32),
    Shape(1, 100, 128, 128),
    Shape(1, 100, 256, 256),
    Shape(1, 100, 512, 512),
    Shape(16, 50, 64, 64),
    Shape(16, 50, 128, 128),
    Shape(32, 50, 256, 256),
    Shape(64, 50, 512, 512),
    Shape(128, 50, 128, 128),
    Shape(64, 25, 1024, 1024),
)
QUICK_SHAPES = (Shape(1, 10, 16, 16), Shape(4, 6, 8, 24))


@dataclass(frozen=True)
class Problem:
    """One cell with weights, input, initial state and output gradient, float32 and time-major.

    Attributes
    ----------
    cell : Cell
    shape : Shape
    params : dict
        W (D, G*H), U (H, G*H), b (G*H,) and, for the GRU, b_rec (H,).
    x : array (T, N, D)
    state : tuple of arrays (N, H)
        One per state of the cell.
    dy : array (T, N, H)
        Zero past a row's end.
    lengths : array of int64 (N,), or None for a full batch
        In falling order, the order in which a peer's packed sequences need no permutation.
    """

    cell: Cell
    shape: Shape
    params: dict[str, Array]
    x: Array
    state: tuple[Array, ...]
    dy: Array
    lengths: Array | None = None

    def flops(self, mode: str) -> float:
        """Floating-point operations of the matrix products: 2·N·T·(D+H)·G·H forward, three times that in training."""
        N, T, D, H = self.shape.N, self.shape.T, self.shape.D, self.shape.H
        steps = N * T if self.lengths is None else int(self.lengths.sum())
        return 2.0 * steps * (D + H) * len(self.cell.gates) * H * (3 if mode == "training" else 1)


def make_problem(cell: str, shape: Shape, *, ragged: bool = False, seed: int = 0) -> Problem:
    """Draw a problem: weights uniform in ±1/√H, the rest normal; with ``ragged``, lengths evenly over 1..T.

    A draw of few lengths would have a mean of its own, up to a tenth off, and that is what would be timed.
    """
    rng = np.random.default_rng(seed)
    N, T, D, H = shape.N, shape.T, shape.D, shape.H
    bound = H**-0.5
    params = {
        name: rng.uniform(-bound, bound, size).astype(np.float32) for name, size in CELLS[cell].shapes(D, H).items()
    }
    x = rng.standard_normal((T, N, D), np.float32)
    state = tuple(0.5 * rng.standard_normal((N, H), np.float32) for _ in CELLS[cell].states)
    dy = rng.standard_normal((T, N, H), np.float32)
    lengths = None
    if ragged:
        lengths = np.linspace(T, 1, N).round().astype(int)
        dy[np.arange(T)[:, None] >= lengths] = 0
    return Problem(CELLS[cell], shape, params, x, state, dy, lengths)
