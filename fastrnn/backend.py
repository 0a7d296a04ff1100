"""Which backend runs the scans, with how many threads, and what this machine offers.

Environment, read at import; an explicit choice that cannot be had raises, nothing falls back silently:

=======================  ===================================================================================
FASTRNN_BACKEND          auto (default: cython where it imports), cython or numpy
FASTRNN_ISA              instruction set of the compiled kernels: baseline, avx2, avx512 or amx (default: the best)
FASTRNN_GEMM             auto (default), simd or blas: what the compiled kernels multiply with
FASTRNN_NUM_THREADS      threads (default: OMP_NUM_THREADS, else the CPUs that this process may run on)
=======================  ===================================================================================
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import numpy

from . import _blas, reference
from ._arrays import as_size

_MODULES: dict[str, ModuleType] = {"numpy": reference}
_missing: dict[str, ImportError] = {}
try:
    _MODULES["cython"] = importlib.import_module("fastrnn.kernels")
except ImportError as error:
    _missing["cython"] = error

_NAMES = ("cython", "numpy")
_MOST_THREADS = 1024
_override: ContextVar[str | None] = ContextVar("fastrnn_backend", default=None)


def available_backends() -> list[str]:
    """Names of the backends that can be used here, the preferred one first.

    Examples
    --------
    >>> import fastrnn
    >>> fastrnn.available_backends()[-1]  # which is always there
    'numpy'
    """
    return [name for name in _NAMES if name in _MODULES]


def _resolve(name: str) -> str:
    if name == "auto":
        return available_backends()[0]
    if name not in _NAMES:
        raise ValueError(f"backend must be one of 'auto', 'cython', 'numpy', got {name!r}")
    if name not in _MODULES:
        raise ImportError(f"backend {name!r} is not available: {_missing[name]}") from _missing[name]
    return name


def set_backend(name: str) -> None:
    """Choose the backend of the whole process: "auto", "cython" or "numpy".

    Raises
    ------
    ValueError
        No such backend.
    ImportError
        It cannot be had here; the original error is chained.

    Examples
    --------
    >>> import fastrnn
    >>> before = fastrnn.get_backend()
    >>> fastrnn.set_backend("numpy")
    >>> fastrnn.get_backend()
    'numpy'
    >>> fastrnn.set_backend(before)
    """
    global _default
    _default = _resolve(name)


def get_backend() -> str:
    """Name of the backend that the next call uses, in this thread and task.

    Examples
    --------
    >>> import fastrnn
    >>> fastrnn.get_backend() in fastrnn.available_backends()
    True
    """
    return _override.get() or _default


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Use a backend inside a ``with`` block, in this thread and async task only; blocks nest.

    Examples
    --------
    >>> import fastrnn
    >>> with fastrnn.use_backend("numpy"):
    ...     fastrnn.get_backend()
    'numpy'
    """
    token = _override.set(_resolve(name))
    try:
        yield
    finally:
        _override.reset(token)


def current() -> ModuleType:
    """Module of the current backend."""
    return _MODULES[_override.get() or _default]


def _kernels(wanted: str) -> Any:
    """The compiled module, which alone knows instruction sets and ways to multiply."""
    if "cython" not in _MODULES:
        raise ImportError(f"{wanted} needs the cython backend: {_missing['cython']}") from _missing["cython"]
    return _MODULES["cython"]


def available_isas() -> list[str]:
    """Instruction sets that this build holds and this CPU can run, the best first; empty without the extension.

    Examples
    --------
    >>> import fastrnn
    >>> bool(fastrnn.available_isas()) == ("cython" in fastrnn.available_backends())
    True
    """
    return _MODULES["cython"].available_isas() if "cython" in _MODULES else []


def get_isa() -> str | None:
    """Instruction set that the compiled kernels use; None without the extension.

    Examples
    --------
    >>> import fastrnn
    >>> fastrnn.get_isa() in [*fastrnn.available_isas(), None]
    True
    """
    return _MODULES["cython"].get_isa() if "cython" in _MODULES else None


def set_isa(name: str) -> None:
    """Choose the instruction set of the compiled kernels, for the whole process: one of `available_isas`.

    "avx2" and "avx512" give the same bits. "amx" does but for float32 gradients of inputs and matrices, which are sums
    in another order; those of large products alone.

    Raises
    ------
    ValueError
        This build or this CPU does not have it.
    ImportError
        There are no compiled kernels; the original error is chained.

    Examples
    --------
    >>> import fastrnn
    >>> before = fastrnn.get_isa()
    >>> for name in fastrnn.available_isas():
    ...     fastrnn.set_isa(name)
    ...     assert fastrnn.get_isa() == name
    >>> if before is not None:
    ...     fastrnn.set_isa(before)
    """
    kernels = _kernels(f"instruction set {name!r}")
    if name not in kernels.available_isas():
        raise ValueError(f"isa must be one of {', '.join(map(repr, kernels.available_isas()))} here, got {name!r}")
    kernels.set_isa(name)
    kernels.set_blas(_multiplies_by_blas())


def get_gemm() -> str:
    """What `set_gemm` chose: "auto", "simd" or "blas".

    Examples
    --------
    >>> import fastrnn
    >>> fastrnn.get_gemm() in ("auto", "simd", "blas")
    True
    """
    return _gemm


def set_gemm(name: str) -> None:
    """Choose what the compiled kernels multiply with, for the whole process.

    "simd" is the packed kernels, "blas" SciPy's BLAS; "auto" takes the packed kernels wherever the CPU has fused
    multiply-adds, which they need to win, and BLAS elsewhere.

    Raises
    ------
    ValueError
        No such choice.
    ImportError
        There are no compiled kernels, and the choice is not "auto"; the original error is chained.

    Examples
    --------
    >>> import fastrnn
    >>> before = fastrnn.get_gemm()
    >>> fastrnn.set_gemm("auto")
    >>> fastrnn.get_gemm()
    'auto'
    >>> fastrnn.set_gemm(before)
    """
    global _gemm
    if name not in ("auto", "simd", "blas"):
        raise ValueError(f"gemm must be one of 'auto', 'simd', 'blas', got {name!r}")
    if name != "auto":
        _kernels(f"gemm {name!r}")
    _gemm = name
    if "cython" in _MODULES:
        _MODULES["cython"].set_blas(_multiplies_by_blas())


def _multiplies_by_blas() -> bool:
    fused = get_isa() != "baseline" or platform.machine().lower() in ("aarch64", "arm64")
    return _gemm == "blas" or (_gemm == "auto" and not fused)


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads_in(text: str) -> int:
    """The positive integer that a text is, or one as much above any number of threads; 0 where it is none."""
    return int(text.lstrip("0")[:9] or 0) if text.isascii() and text.isdecimal() else 0


def _default_threads() -> int:
    first = _threads_in(os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip())
    return min(first, _MOST_THREADS) if first else _cpus()


def set_num_threads(n: int) -> None:
    """Use at most ``n`` threads, 1 to 1024: in the kernels and in the BLAS libraries of NumPy and SciPy.

    Raises
    ------
    TypeError, ValueError
        ``n`` is no such number.

    Examples
    --------
    >>> import fastrnn
    >>> before = fastrnn.get_num_threads()
    >>> fastrnn.set_num_threads(1)
    >>> fastrnn.get_num_threads()
    1
    >>> fastrnn.set_num_threads(before)
    """
    n = as_size("n", n)
    if n > _MOST_THREADS:
        raise ValueError(f"n must be at most {_MOST_THREADS}, got {n}")
    _use_threads(n)
    _blas.set_threads(n)


def _use_threads(n: int) -> None:
    global _threads
    _threads = n
    if "cython" in _MODULES:
        _MODULES["cython"].set_threads(n)


def get_num_threads() -> int:
    """Threads that a call may use: what was set, else OMP_NUM_THREADS, else the CPUs this process may run on.

    Examples
    --------
    >>> import fastrnn
    >>> fastrnn.get_num_threads() >= 1
    True
    """
    return _threads


def _start() -> None:
    """Take the environment's choices."""
    set_backend(os.environ.get("FASTRNN_BACKEND", "auto"))
    text = os.environ.get("FASTRNN_NUM_THREADS")
    if text is None:
        _use_threads(_default_threads())
    elif 0 < _threads_in(text) <= _MOST_THREADS:
        set_num_threads(_threads_in(text))
    else:
        raise ValueError(f"FASTRNN_NUM_THREADS must be an integer of 1 to {_MOST_THREADS}, got {text!r}")
    if "FASTRNN_ISA" in os.environ:
        set_isa(os.environ["FASTRNN_ISA"])
    set_gemm(os.environ.get("FASTRNN_GEMM", "auto"))
    if "cython" in _MODULES and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_MODULES["cython"].after_fork)


def show_config() -> dict[str, Any]:
    """Print, and return, what fastrnn runs on: versions, backend (and why one is missing), instruction sets, what
    multiplies, BLAS and its kernel, threads.

    Examples
    --------
    >>> import fastrnn
    >>> config = fastrnn.show_config()  # doctest: +ELLIPSIS
    fastrnn...
    >>> config["backend"] == fastrnn.get_backend()
    True
    """
    import scipy

    from . import __version__

    config: dict[str, Any] = {
        "fastrnn": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "platform": f"{sys.platform} {platform.machine()}",
        "backend": get_backend(),
        "available_backends": available_backends(),
        "missing_backends": {name: str(error) for name, error in _missing.items()},
        "isa": get_isa(),
        "available_isas": available_isas(),
        "gemm": f"{_gemm} ({'blas' if _multiplies_by_blas() else 'simd'})" if "cython" in _MODULES else None,
        "blas": _blas.describe(),
        "blas_threads": _blas.get_threads(),
        "threads": get_num_threads(),
        "openmp": _MODULES["cython"].has_openmp() if "cython" in _MODULES else None,
    }
    width = max(map(len, config))
    for key, value in config.items():
        if isinstance(value, dict):
            value = "; ".join(f"{k}: {v}" for k, v in value.items()) or "none"
        elif isinstance(value, list):
            value = ", ".join(value)
        print(f"{key:<{width}}  {value}")
    return config


_default = "numpy"
_gemm = "auto"
_threads = 1
_start()
