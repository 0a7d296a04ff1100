"""The cases that the tests walk over, the numbers put into them, and the tolerances. All in one place."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from fastrnn.activations import as_function
from fastrnn.cells import CELLS, Cell
from fastrnn.ops import cells_of, rnn_backward, rnn_forward
from fastrnn.scan import SILENT, Noise

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


# What may be added to a cell, by the name under which `make_problem` takes it: fields of Cell, and what is drawn for a
# scan. Kinks of functions lie at 0, 3 and -3, where `_keep_off_the_kinks` wants them.
_ALWAYS = {
    "functions": {"activation": ("scaled_tanh", 1.25, 0.75), "recurrent_activation": ("scaled_tanh", 0.75, 0.5)},
    "kinked": {"activation": "leaky_relu", "recurrent_activation": "hard_sigmoid"},
    "clip": {"clip": 3.0},
    "layer_norm": {"layer_norm": True},  # for difference quotients: of 8 units at least
    "recurrent_dropout": {"drawn": "mask"},
    "zoneout": {"zoneout": True, "drawn": "new_h new_c"},
    "mean zoneout": {"zoneout": True, "drawn": "mean"},
}
_OF_LSTM = {
    "diagonal": {"peephole": "diagonal"},
    "full": {"peephole": "full"},
    "coupled": {"coupled": True},
    "projection": {"proj_size": "half"},
    "output": {"output_activation": "sigmoid"},
    "zoneout of h": {"zoneout": True, "drawn": "new_h"},
    "zoneout of c": {"zoneout": True, "drawn": "new_c"},
    "cells": {"drawn": "dcells"},
}
_OF_RNN = {
    option: {name: value for name, value in fields.items() if name != "recurrent_activation"}
    for option, fields in _ALWAYS.items()
}
OPTIONS = {"lstm": _OF_LSTM | _ALWAYS, "gru": _ALWAYS, "gru_before": _ALWAYS, "rnn_tanh": _OF_RNN}


def _clash(cell: str, *names: str) -> bool:
    """Whether two options want different things of one field."""
    first, second = (OPTIONS[cell][name].keys() for name in names)
    return bool(first & second - {"drawn"})


VARIANTS = tuple(f"{cell} + {name}" for cell in OPTIONS for name in OPTIONS[cell])
PAIRS = tuple(
    f"{cell} + {one} + {other}"
    for cell in OPTIONS
    for one, other in combinations(OPTIONS[cell], 2)
    if not _clash(cell, one, other)
)


def make_cell(name: str, H: int) -> Cell:
    """The cell of a name such as "lstm + full + clip"."""
    kind, *names = name.split(" + ")
    fields: dict[str, Any] = {}
    for option in names:
        fields |= OPTIONS[kind][option]
    fields.pop("drawn", None)
    if "proj_size" in fields:
        fields["proj_size"] = (H + 1) // 2
    functions = {key: as_function(key, value) for key, value in fields.items() if key.endswith("activation")}
    return replace(CELLS[kind], **fields | functions) if fields else CELLS[kind]


@dataclass(frozen=True)
class Case:
    """Sizes of one scan; without ``lengths`` a full batch, with ``holes`` a mask instead."""

    name: str
    N: int
    T: int
    D: int
    H: int
    lengths: tuple[int, ...] | None = None
    reverse: bool = False
    holes: bool = False

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
    Case("holes", 5, 6, 3, 7, holes=True),
    Case("reverse, holes", 5, 6, 3, 17, holes=True, reverse=True),
)

# large enough to cross register tiles, packed panels and chunks of time
LARGE_CASES = (
    Case("N9 T70 D3 H65", 9, 70, 3, 65),
    Case("N20 T12 D40 H130", 20, 12, 40, 130),
    Case("N9 T20 D150 H65", 9, 20, 150, 65),
    Case("N1 T70 D40 H130", 1, 70, 40, 130),
    Case("N50 T3 D200 H200", 50, 3, 200, 200),
    Case("N9 T3 D5 H210", 9, 3, 5, 210),  # too few rows for matrices to be packed
    Case("N1 T9 D210 H150", 1, 9, 210, 150),
    Case("N45 T3 D5 H33", 45, 3, 5, 33),  # rows enough
    Case("N45 T3 D17 H7", 45, 3, 17, 7),
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
    Case("holes", 4, 5, 2, 3, holes=True),
)


@dataclass(frozen=True)
class Problem:
    """One scan with numbers in it, and the gradients that its loss sends back.

    The loss is sum(dy * y) + sum(dstate * final state) + sum(dcells * cells): linear in the results, so that its
    gradients are exactly what `rnn_backward` is given.
    """

    cell: Cell
    params: dict[str, Array]
    x: Array
    state: tuple[Array, ...]
    dy: Array
    dstate: tuple[Array, ...]
    lengths: Array | None
    reverse: bool
    mask: Array | None = None
    noise: Noise = SILENT
    dcells: Array | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of `rnn_forward` besides the cell, the parameters, x and the state."""
        return {"lengths": self.lengths, "mask": self.mask, "reverse": self.reverse, "noise": self.noise}

    def cast(self, dtype: str) -> Problem:
        """The same numbers in another dtype."""
        return replace(
            self,
            noise=map_noise(lambda part: part.astype(dtype), self.noise),
            dcells=None if self.dcells is None else self.dcells.astype(dtype),
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


def map_noise(function: Any, noise: Noise) -> Noise:
    """The noise with the function applied to what there is of it."""
    if noise is SILENT:
        return noise
    return Noise(*(None if part is None else function(part) for part in (noise.mask, noise.new_h, noise.new_c)))


def make_problem(name: str, case: Case) -> Problem:
    """Random non-zero parameters, biases, inputs, states and gradients, exact in float32, as float64.

    ``name`` is a cell's, or that and options: "lstm + full + clip".
    """
    cell, drawn = make_cell(name, case.H), _drawn(name)
    rng = np.random.default_rng(zlib.crc32(f"{name} {case.name}".encode()))
    N, T, D, H = case.N, case.T, case.D, case.H
    P = cell.output_size(H)
    widths = (P, H)[: len(cell.states)]
    params = {name: rng.normal(size=shape) / np.sqrt(H) for name, shape in cell.shapes(D, H).items()}
    x = rng.normal(size=(N, T, D))
    state = tuple(rng.uniform(-1, 1, (N, width)) for width in widths)
    if name == "rnn_relu":
        _avoid_the_kink(params, x, rng)
    elif "clip" in name or "kinked" in name:
        _keep_off_the_kinks(params, x, rng)
    dy = rng.normal(size=(N, T, P))
    dstate = tuple(rng.normal(size=(N, width)) for width in widths)
    lengths = None if case.lengths is None else np.array(case.lengths)
    mask = _holes(N, T, rng) if case.holes else None
    dcells = rng.normal(size=(N, T, H)) if "dcells" in drawn else None
    noise = _noise(drawn, N, T, widths, rng)
    problem = Problem(cell, params, x, state, dy, dstate, lengths, case.reverse, mask, noise, dcells)
    return problem.cast("float32").cast("float64")


def _drawn(name: str) -> set[str]:
    kind, *names = name.split(" + ")
    return {part for option in names for part in OPTIONS[kind][option].get("drawn", "").split()}


def _holes(N: int, T: int, rng: np.random.Generator) -> Array:
    """A mask of which the last row skips everything and the first nothing."""
    mask = rng.random((N, T)) < 0.6
    mask[:1], mask[1:][-1:] = True, False
    return mask


def _noise(drawn: set[str], N: int, T: int, widths: tuple[int, ...], rng: np.random.Generator) -> Noise:
    mask = 2.0 * (rng.random((N, widths[0])) < 0.5) if "mask" in drawn else None
    shares: list[Array | None] = []
    for key, width in zip(("new_h", "new_c"), widths, strict=False):
        share = np.full((1, width), 0.75) if "mean" in drawn else None
        shares.append(1.0 * (rng.random((N, T, width)) < 0.6) if key in drawn else share)
    return Noise(mask, *shares) if drawn - {"dcells"} else SILENT


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


def _keep_off_the_kinks(params: dict[str, Array], x: Array, rng: np.random.Generator) -> None:
    """Keep what the gates' functions are given, or their clip, at least 0.2 away from 0, 3 and -3, on changing sides.

    The first input and its weights, or those and the gains, put it near 1.5, 4.5, -1.5 or -4.5. All else together stays
    below 1.3: the other inputs 0.1 (0.3 behind a gain of 4.5), biases 0.3, peepholes 0.01 of a c below 8 in few steps,
    recurrence 0.05 of an h below 6, twice that with dropout.
    """
    params["b"][...] = rng.uniform(-0.2, 0.2, params["b"].shape)
    if "b_rec" in params:
        params["b_rec"][...] = rng.uniform(-0.1, 0.1, params["b_rec"].shape)
    for name, most in {"W": 0.1, "U": 0.05, "P": 0.01, "W_proj": 1.0}.items():
        if name in params:
            params[name] *= most / np.abs(params[name]).sum(axis=0)
    if "p" in params:
        params["p"][...] = rng.uniform(0.005, 0.01, params["p"].shape)
    columns = len(params["b"])
    x[...] = rng.uniform(-1, 1, x.shape)
    x[..., 0] = rng.choice([-1.0, -1 / 3, 1 / 3, 1.0], x.shape[:2])
    params["W"][0] = 4.5 * (-1.0) ** np.arange(columns)  # as many of either sign in every block, for the normalisation
    if "gain_W" in params:
        params["gain_W"][...] = rng.choice([-4.5, -1.5, 1.5, 4.5], columns)
        params["gain_U"][...] = rng.uniform(0.1, 0.2, columns) / np.sqrt(columns)


def as_state(parts: tuple[Array, ...]) -> Any:
    """The states in the form that users pass: an array, or a tuple where there are several."""
    return parts[0] if len(parts) == 1 else parts


def as_parts(state: Any) -> tuple[Array, ...]:
    """The opposite of `as_state`."""
    return state if isinstance(state, tuple) else (state,)


def outputs(problem: Problem) -> dict[str, Array]:
    """Run forward without and with a tape, and backward, on the current backend; every array that comes out.

    Keys: inferred_y, inferred_h (inferred_c), y, h (c), dx, dh0 (dc0), d + the name of every parameter; cells.
    """
    p = problem
    y, state, tape = rnn_forward(p.cell, p.params, p.x, as_state(p.state), **p.options)
    assert tape is None
    found = {"inferred_y": y, **_named("inferred_{}", p.cell, state)}
    y, state, tape = rnn_forward(p.cell, p.params, p.x, as_state(p.state), **p.options, keep=True)
    if p.dcells is not None:
        found["cells"] = cells_of(tape)
    grads = {name: np.zeros_like(value) for name, value in p.params.items()}
    dx, dstate = rnn_backward(tape, p.dy, as_state(p.dstate), grads=grads, dcells=p.dcells)
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
