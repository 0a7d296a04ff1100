"""Gradients by difference quotients, and the check that every gradient test and every negative control uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cases import Array, Problem, as_parts, as_state, outputs

from fastrnn.layer import StatefulLayer
from fastrnn.ops import cells_of, rnn_forward

# five points, of fourth order: at this step rounding is near 1e-11, and truncation below that even for normalised
# layers of few units, whose higher derivatives are large
_STEP = 1e-4
_STENCIL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))


def derivative(f: Callable[[float], float]) -> float:
    """f'(0)."""
    return sum(weight * f(k * _STEP) for k, weight in _STENCIL) / _STEP


def gradient(f: Callable[[], float], at: Array) -> Array:
    """Gradient of f with respect to ``at``, which f reads, entry by entry."""
    found = np.empty_like(at)
    for index in np.ndindex(at.shape):
        value = at[index]

        def moved(step: float, index=index, value=value) -> float:
            at[index] = value + step
            return f()

        found[index] = derivative(moved)
        at[index] = value
    return found


def slope_error(f: Callable[[], float], got: Array, at: Array, rng: np.random.Generator) -> float:
    """How far ``got``, a gradient of f at ``at``, is from the difference quotients along three random directions.

    Relative to the gradient's root mean square. Of large arrays, where every entry by itself would take too long.
    """
    start, worst = at.copy(), 0.0
    for _ in range(3):
        direction = rng.normal(size=at.shape)
        direction /= np.linalg.norm(direction)

        def moved(step: float, direction=direction) -> float:
            at[...] = start + step * direction
            return f()

        worst = max(worst, abs(derivative(moved) - float(np.sum(got * direction))))
    at[...] = start
    return worst / (float(np.sqrt(np.mean(got * got))) or 1.0)


def loss(problem: Problem) -> float:
    """The loss whose gradients `rnn_backward` is given: linear in y, in the final states and in the cells."""
    p, keep = problem, problem.dcells is not None
    y, state, tape = rnn_forward(p.cell, p.params, p.x, as_state(p.state), **p.options, keep=keep)
    total = float(np.sum(p.dy * y))
    if keep:
        total += float(np.sum(p.dcells * cells_of(tape)))
    return total + sum(float(np.sum(d * part)) for d, part in zip(p.dstate, as_parts(state), strict=True))


def relative_error(got: Array, reference: Array) -> float:
    """max |got - reference| / max |reference|; absolute where the reference is zero but for rounding."""
    if not got.size:
        return 0.0
    largest = float(np.abs(reference).max())
    return float(np.abs(got - reference).max()) / (largest if largest > 1e-10 else 1.0)


def gradient_errors(problem: Problem, entries: int = 1_000_000) -> dict[str, float]:
    """For every gradient that the current backend returns: its error against difference quotients, entry by entry.

    Arrays of more than ``entries`` are checked along random directions instead.
    """
    got = outputs(problem)
    rng = np.random.default_rng(12)

    def total() -> float:
        return loss(problem)

    return {
        name: relative_error(got[name], gradient(total, array))
        if array.size <= entries
        else slope_error(total, got[name], array, rng)
        for name, array in problem.arrays().items()
    }


def layer_gradient_errors(
    layer: Any,
    x: Array,
    state: Any = None,
    lengths: Array | None = None,
    *,
    mask: Array | None = None,
    seed: int | None = None,
    entries: int = 1_000_000,
) -> dict[str, float]:
    """Like `gradient_errors` for any layer: its parameters, x (where x is floating) and the state (where it is given).

    Arrays of more than ``entries`` are checked along random directions instead of entry by entry. With a ``seed`` the
    loss is that of training passes, each with a generator of that seed; without, of inference.
    """
    options = {"lengths": lengths, "mask": mask}
    if isinstance(layer, StatefulLayer):
        options["state"] = state

    def results() -> list[Array]:
        if seed is None:
            return leaves([layer(x, **options)])
        return leaves(layer.forward(x, **options, rng=np.random.default_rng(seed))[:-1])

    *trained, tape = layer.forward(x, **options, rng=None if seed is None else np.random.default_rng(seed))
    rng = np.random.default_rng(11)
    gradients = map_state(lambda part: rng.normal(size=part.shape), trained)

    def total() -> float:
        return float(sum(np.sum(d * part) for d, part in zip(leaves(gradients), results(), strict=True)))

    dx, *dstate, grads = layer.backward(tape, *gradients)
    pairs = {name: (grads[name], layer.params[name]) for name in layer.params}
    if x.dtype.kind == "f":
        pairs["x"] = (dx, x)
    if state is not None:
        pairs |= {f"state {k}": pair for k, pair in enumerate(zip(leaves(dstate), leaves(state), strict=True))}
    return {
        name: relative_error(got, gradient(total, array))
        if array.size <= entries
        else slope_error(total, got, array, rng)
        for name, (got, array) in pairs.items()
    }


def map_state(function: Callable[[Array], Array], state: Any) -> Any:
    """A state of any layer with the function applied to every array in it."""
    if state is None:
        return None
    if isinstance(state, (list, tuple)):
        return type(state)(map_state(function, part) for part in state)
    return function(state)


def leaves(state: Any) -> list[Array]:
    """Every array in the state of any layer."""
    found: list[Array] = []
    map_state(lambda part: found.append(part) or part, state)
    return found
