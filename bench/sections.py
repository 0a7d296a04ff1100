"""The sections of the benchmark by name; each is a module with SHAPES, TINY, THREADS, OPTIONS and ``measure``."""

from __future__ import annotations

from types import ModuleType

from . import grid, imports, memory, ragged, scaling, step

SECTIONS: dict[str, ModuleType] = {
    "grid": grid,
    "threads": scaling,
    "step": step,
    "ragged": ragged,
    "memory": memory,
    "import": imports,
}
