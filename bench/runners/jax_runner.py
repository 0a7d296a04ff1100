"""JAX: a jitted lax.scan with the input projection hoisted out of it."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import numpy as np

from ..problem import Problem
from .base import Outputs, Runner, Task


def _steps(jax: Any) -> dict[str, Any]:
    """Cell name -> step (U, b_rec, state, a) -> state; a = x_t W + b."""
    jnp, sigmoid = jax.numpy, jax.nn.sigmoid

    def rnn_tanh(U: Any, b_rec: Any, state: Any, a: Any) -> Any:
        return (jnp.tanh(a + state[0] @ U),)

    def lstm(U: Any, b_rec: Any, state: Any, a: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(a + h @ U, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        return sigmoid(o) * jnp.tanh(c), c

    def gru(U: Any, b_rec: Any, state: Any, a: Any) -> Any:
        h = state[0]
        u_r, u_z, u_n = jnp.split(h @ U, 3, axis=-1)
        a_r, a_z, a_n = jnp.split(a, 3, axis=-1)
        z = sigmoid(a_z + u_z)
        n = jnp.tanh(a_n + sigmoid(a_r + u_r) * (u_n + b_rec))
        return ((1 - z) * n + z * h,)

    return {"rnn_tanh": rnn_tanh, "lstm": lstm, "gru": gru}


def _scan(jax: Any, cell: str, params: Any, x: Any, state: Any, unroll: int = 1) -> Any:
    """(y, final state) of one layer."""
    step = partial(_steps(jax)[cell], params["U"], params.get("b_rec"))

    def body(carry: Any, a: Any) -> Any:
        carry = step(carry, a)
        return carry, carry[0]

    final, y = jax.lax.scan(body, state, x @ params["W"] + params["b"], unroll=unroll)
    return y, final


class Jax(Runner):
    """JAX (XLA) on the CPU; compiled before the timing starts."""

    name = "jax"
    packages = ("jax",)
    modes = ("forward", "training")

    def _arrays(self, jax: Any, problem: Problem) -> Any:
        return jax.tree.map(jax.numpy.asarray, (problem.params, problem.x, problem.state))

    def forward(self, problem: Problem, threads: int) -> Task:
        """The jitted scan."""
        jax: Any = importlib.import_module("jax")
        arrays = self._arrays(jax, problem)
        run = jax.jit(partial(_scan, jax, problem.cell.name)).lower(*arrays).compile()

        def call() -> Any:
            return jax.block_until_ready(run(*arrays))

        def read(result: Any) -> Outputs:
            y, final = result
            return {"y": np.asarray(y), **_named(problem, "{}", final)}

        return Task(call, read)

    def training(self, problem: Problem, threads: int) -> Task:
        """``jax.vjp`` of the scan with dy for its gradient, jitted as one program.

        Unrolling by 4 makes the training of one row 10 to 30 % faster and that of batches slower, so each gets what
        is best for it; inference gains nothing from it.
        """
        jax: Any = importlib.import_module("jax")
        arrays, dy = self._arrays(jax, problem), jax.numpy.asarray(problem.dy)
        scan = partial(_scan, jax, problem.cell.name, unroll=4 if problem.shape.N == 1 else 1)

        def gradients(params: Any, x: Any, state: Any, dy: Any) -> Any:
            y, pullback, final = jax.vjp(scan, params, x, state, has_aux=True)
            return y, final, pullback(dy)

        run = jax.jit(gradients).lower(*arrays, dy).compile()

        def call() -> Any:
            return jax.block_until_ready(run(*arrays, dy))

        def read(result: Any) -> Outputs:
            y, final, (dparams, dx, dstate) = result
            outputs = {"y": np.asarray(y), "dx": np.asarray(dx), **_named(problem, "{}", final)}
            outputs.update(_named(problem, "d{}0", dstate))
            outputs.update({f"d{name}": np.asarray(grad) for name, grad in dparams.items()})
            return outputs

        return Task(call, read)


def _named(problem: Problem, pattern: str, parts: Any) -> Outputs:
    return {pattern.format(name): np.asarray(part) for name, part in zip(problem.cell.states, parts, strict=True)}
