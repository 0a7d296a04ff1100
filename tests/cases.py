"""The cases that the tests walk over, the numbers put into them, and the tolerances. All in one place."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastrnn.cells import CELLS, Cell
from fastrnn.ops import rnn_backward, rnn_forward

Array = np.ndarray

CELL_NAMES = tuple(CELLS)

# scaled_error below is what these bound
TOLERANCES = {
    ("agreement", "float64"): 1e-12,  # a backend against the reference in float64
    ("agreement", "float32"): 5e-5,  # a backend in float32 against the reference in float64
    ("golden", "float64"): 1e-10,
    ("golden", "float32"): 5e-5,
    ("gradient", "float64"): 1e-8,  # relative to the largest entry, not to 1
}


@dataclass(frozen=True)
class Case:
    """Sizes of one scan; ``lengths`` None is a full batch."""

    name: str
    N: int
    T: int
    D: int
    H: int
    lengths: tuple[int, ...] | None = None
    reverse: bool = False

    def __str__(self) -> str:
        return self.name


CASES = (
    Case("one step", 3, 1, 4, 5),
    Case("one row", 1, 6, 4, 5),
    Case("one unit", 3, 5, 2, 1),
    Case("one of all", 1, 1, 1, 1),
    Case("H7", 4, 5, 3, 7),
    Case("H17", 5, 4, 7, 17),
    Case("H33", 7, 3, 17, 33),
    Case("H64", 6, 4, 5, 64),
    Case("no rows", 0, 4, 3, 7),
    Case("no steps", 3, 0, 3, 7),
    Case("nothing", 0, 0, 3, 7),
    Case("reverse", 4, 5, 3, 7, reverse=True),
    Case("reverse, one row", 1, 6, 3, 17, reverse=True),
    Case("ragged", 5, 6, 3, 7, lengths=(4, 6, 1, 6, 3)),
    Case("ragged, short of T", 3, 6, 3, 7, lengths=(2, 4, 3)),
    Case("zero lengths", 5, 4, 3, 17, lengths=(0, 4, 2, 0, 1)),
    Case("only zero lengths", 2, 3, 3, 7, lengths=(0, 0)),
    Case("reverse, ragged", 5, 6, 3, 7, lengths=(4, 6, 0, 2, 3), reverse=True),
)

# large enough to cross register tiles, packed panels and chunks of time
LARGE_CASES = (
    Case("N9 T70 D3 H65", 9, 70, 3, 65),
    Case("N20 T12 D40 H130", 20, 12, 40, 130),
    Case("N9 T20 D150 H65", 9, 20, 150, 65),
    Case("N1 T70 D40 H130", 1, 70, 40, 130),
    Case("N20 T70 D40 H65, reverse", 20, 70, 40, 65, reverse=True),
    Case("N20 T70 D3 H65, ragged", 20, 70, 3, 65, lengths=tuple(0 if n == 7 else 70 - 3 * n for n in range(20))),
)

# small enough for a difference quotient of every single number
GRADIENT_CASES = (
    Case("full", 2, 4, 3, 3),
    Case("one step", 2, 1, 2, 3),
    Case("reverse", 2, 3, 2, 3, reverse=True),
    Case("ragged", 4, 4, 2, 3, lengths=(2, 4, 0, 3)),
    Case("reverse, ragged", 3, 4, 2, 3, lengths=(2, 4, 1), reverse=True),
)


@dataclass(frozen=True)
class Problem:
    """One scan with numbers in it, and the gradients that its loss sends back.

    The loss is sum(dy * y) + sum(dstate * final state): linear in the results, so that its gradients are exactly what
    `rnn_backward` is given.
    """

    cell: Cell
    params: dict[str, Array]
    x: Array
    state: tuple[Array, ...]
    dy: Array
    dstate: tuple[Array, ...]
    lengths: Array | None
    reverse: bool

    def cast(self, dtype: str) -> Problem:
        """The same numbers in another dtype."""
        return replace(
            self,
            params={name: value.astype(dtype) for name, value in self.params.items()},
            x=self.x.astype(dtype),
            state=tuple(part.astype(dtype) for part in self.state),
            dy=self.dy.astype(dtype),
            dstate=tuple(part.astype(dtype) for part in self.dstate),
        )

    def arrays(self) -> dict[str, Array]:
        """Everything that a gradient is taken of, by the name under which `outputs` has that gradient."""
        states = {f"d{name}0": part for name, part in zip(self.cell.states, self.state, strict=True)}
        return {"dx": self.x, **states, **{f"d{name}": value for name, value in self.params.items()}}


def make_problem(cell_name: str, case: Case) -> Problem:
    """Random non-zero parameters, biases, inputs, states and gradients, exact in float32, as float64."""
    cell = CELLS[cell_name]
    rng = np.random.default_rng(zlib.crc32(f"{cell_name} {case.name}".encode()))
    N, T, D, H = case.N, case.T, case.D, case.H
    params = {name: rng.normal(size=shape) / np.sqrt(H) for name, shape in cell.shapes(D, H).items()}
    x = rng.normal(size=(N, T, D))
    state = tuple(rng.uniform(-1, 1, (N, H)) for _ in cell.states)
    if cell_name == "rnn_relu":
        _avoid_the_kink(params, x, rng)
    dy = rng.normal(size=(N, T, H))
    dstate = tuple(rng.normal(size=(N, H)) for _ in cell.states)
    lengths = None if case.lengths is None else np.array(case.lengths)
    return Problem(cell, params, x, state, dy, dstate, lengths, case.reverse).cast("float32").cast("float64")


def _avoid_the_kink(params: dict[str, Array], x: Array, rng: np.random.Generator) -> None:
    """Keep every pre-activation of a relu at least 0.1 away from 0, on changing sides.

    Its gradient jumps there: no difference quotient holds, and rounding decides which side counts. The first input is
    +1 or -1 and reaches every unit with a weight of +3 or -3; bias, other inputs and recurrence together stay below
    0.2 + 0.3 + 0.4 * max(h), where h stays below 3.5 / (1 - 0.4).
    """
    W, U, b = params["W"], params["U"], params["b"]
    x[...] = rng.uniform(-1, 1, x.shape)
    x[..., 0] = rng.choice([-1.0, 1.0], x.shape[:2])
    W *= 0.3 / np.abs(W).sum(axis=0)
    W[0] = rng.choice([-3.0, 3.0], W.shape[1])
    U *= 0.4 / np.abs(U).sum(axis=0)
    b[...] = rng.uniform(-0.2, 0.2, b.shape)


def as_state(parts: tuple[Array, ...]) -> Any:
    """The states in the form that users pass: an array, or a tuple where there are several."""
    return parts[0] if len(parts) == 1 else parts


def as_parts(state: Any) -> tuple[Array, ...]:
    """The opposite of `as_state`."""
    return state if isinstance(state, tuple) else (state,)


def outputs(problem: Problem) -> dict[str, Array]:
    """Run forward without and with a tape, and backward, on the current backend; every array that comes out.

    Keys: inferred_y, inferred_h (inferred_c), y, h (c), dx, dh0 (dc0), and d + the name of every parameter.
    """
    p = problem
    options = {"lengths": p.lengths, "reverse": p.reverse}
    y, state, tape = rnn_forward(p.cell, p.params, p.x, as_state(p.state), **options)
    assert tape is None
    found = {"inferred_y": y, **_named("inferred_{}", p.cell, state)}
    y, state, tape = rnn_forward(p.cell, p.params, p.x, as_state(p.state), **options, keep=True)
    grads = {name: np.zeros_like(value) for name, value in p.params.items()}
    dx, dstate = rnn_backward(tape, p.dy, as_state(p.dstate), grads=grads)
    found |= {"y": y, **_named("{}", p.cell, state), "dx": dx, **_named("d{}0", p.cell, dstate)}
    return found | {f"d{name}": value for name, value in grads.items()}


def _named(pattern: str, cell: Cell, state: Any) -> dict[str, Array]:
    return {pattern.format(name): part for name, part in zip(cell.states, as_parts(state), strict=True)}


def scaled_error(got: Array, reference: Array) -> float:
    """max |got - reference| / max(1, max |reference|); NaN where either holds one."""
    assert got.shape == reference.shape
    if not got.size:
        return 0.0
    difference = np.abs(got.astype(np.float64) - reference.astype(np.float64))
    return float(difference.max() / max(1.0, np.abs(reference).max()))


def assert_agree(got: dict[str, Array], reference: dict[str, Array], tolerance: float) -> None:
    """Fail unless the two have the same names, and every array agrees within the tolerance."""
    assert got.keys() == reference.keys()
    errors = {name: scaled_error(got[name], reference[name]) for name in got}
    wrong = {name: error for name, error in errors.items() if not error <= tolerance}
    assert not wrong, f"beyond {tolerance}: {wrong}"
