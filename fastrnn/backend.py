"""Which backend runs the scans, with how many threads, and what this machine offers.

Environment, read at import: ``FASTRNN_BACKEND`` = auto (default: cython where it imports), cython or numpy;
``FASTRNN_NUM_THREADS``. An explicit choice that cannot be had raises; nothing falls back silently.
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
import scipy

from . import _blas, reference

_MODULES: dict[str, ModuleType] = {"numpy": reference}
_missing: dict[str, ImportError] = {}
try:
    _MODULES["cython"] = importlib.import_module("fastrnn.kernels")
except ImportError as error:
    _missing["cython"] = error

_NAMES = ("cython", "numpy")
_override: ContextVar[str | None] = ContextVar("fastrnn_backend", default=None)


def available_backends() -> list[str]:
    """Names of the backends that can be used here, the preferred one first."""
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
    """
    global _default
    _default = _resolve(name)


def get_backend() -> str:
    """Name of the backend that the next call uses, in this thread and task."""
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
    return _MODULES[get_backend()]


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads_from_environment() -> int | None:
    text = os.environ.get("FASTRNN_NUM_THREADS")
    if text is None:
        return None
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"FASTRNN_NUM_THREADS must be a positive integer, got {text!r}")
    return int(text)


def set_num_threads(n: int) -> None:
    """Use at most ``n`` threads: in the kernels and in the BLAS libraries of NumPy and SciPy."""
    from ._arrays import as_size

    global _threads
    _threads = as_size("n", n)
    _blas.set_threads(_threads)


def get_num_threads() -> int:
    """Threads that a call may use: what was set, else OMP_NUM_THREADS, else the CPUs this process may run on."""
    if _threads is not None:
        return _threads
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdigit() and int(first) > 0 else _cpus()


def show_config() -> dict[str, Any]:
    """Print, and return, what fastrnn runs on: versions, backend (and why one is missing), BLAS and its kernel,
    threads."""
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
        "blas": _blas.describe(),
        "blas_threads": _blas.get_threads(),
        "threads": get_num_threads(),
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
set_backend(os.environ.get("FASTRNN_BACKEND", "auto"))
_threads: int | None = _threads_from_environment()
if _threads is not None:
    _blas.set_threads(_threads)
