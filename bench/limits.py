"""What the machine allows: a time below which no program gets that makes a problem's products in float32 on its cores.

Two things are counted, at speeds that are measured here: the multiply-adds of all products, at the peak of `fma_peak`;
and what the steps read of their weights, at the speed at which a core reads as many bytes again and again, to and fro,
so that its caches keep what they can. A step's product takes the longer of the two, and threads share both evenly.

Nothing else is: functions of gates, packing, tapes, barriers, calls from Python. AMX multiplies faster than that peak,
so it has no limit here.
"""

from __future__ import annotations

import importlib

import fastrnn

from .problem import Problem

SMALLEST = 4096
"""Bytes, of what is read to measure the speed."""

_fastest: dict[int, float] = {}


def reading_speed(size: int) -> float:
    """Bytes per second at which one core reads so many of them, to and fro: the best seen, of a few looks now and of
    those before. Needs the compiled backend."""
    measure = importlib.import_module("fastrnn.kernels").read_peak
    size = max(size, SMALLEST)
    _fastest[size] = max(_fastest.get(size, 0.0), *(1e9 * measure(size) for _ in range(5)))
    return _fastest[size]


def seconds(problem: Problem, mode: str, threads: int, peak: float | None) -> float | None:
    """The time that the machine allows for a full batch.

    Parameters
    ----------
    problem : Problem
    mode : {"forward", "training", "step"}
    threads : int
    peak : float or None
        GFLOP/s of fused multiply-adds of one core; None where it is unknown, and then the result is None.
    """
    if peak is None or fastrnn.get_isa() == "amx":
        return None
    shape = problem.shape
    N, T, D, H, width = shape.N, shape.T, shape.D, shape.H, len(problem.cell.gates) * shape.H

    def multiplying(rows: int, K: int, columns: int) -> float:
        return 2 * rows * K * columns / (threads * peak * 1e9)

    def stepping(K: int) -> float:
        """One step's product, whose weights no other step's product can share a register with."""
        size = 4 * K * width // threads
        return max(multiplying(N, K, width), size / reading_speed(size))

    if T == 1 and mode != "training":
        return stepping(D + H)
    projecting, scanning = multiplying(N * T, D, width), T * stepping(H)
    if mode != "training":
        return projecting + scanning
    return 2 * (projecting + scanning) + multiplying(N * T, D + H, width)
