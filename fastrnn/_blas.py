"""The BLAS libraries that NumPy and SciPy brought: which kernel they picked, how many threads they use.

Found through the dynamic linker (a symbol looked up on an extension module is searched in the libraries it is linked
to), under the names that OpenBLAS has in the wheels of NumPy and SciPy and in plain builds.
"""

from __future__ import annotations

import ctypes
from typing import Any

_PREFIXES = ("scipy_openblas", "openblas")
_SUFFIXES = ("", "64_", "_64")


def _libraries() -> dict[str, ctypes.CDLL]:
    import numpy.linalg._umath_linalg as numpy_linalg
    import scipy.linalg.cython_blas as scipy_blas

    modules = {"numpy": numpy_linalg.__file__, "scipy": scipy_blas.__file__}
    return {name: ctypes.CDLL(path) for name, path in modules.items()}


def _function(library: ctypes.CDLL, name: str, restype: Any = None) -> Any:
    """The library's OpenBLAS function of this name, or None."""
    for prefix in _PREFIXES:
        for suffix in _SUFFIXES:
            function = getattr(library, f"{prefix}_{name}{suffix}", None)
            if function is not None:
                function.restype = restype
                return function
    return None


def describe() -> dict[str, str]:
    """``{"numpy": ..., "scipy": ...}``: each library's version and the kernel it picked for this CPU."""
    about = {}
    for name, library in _libraries().items():
        config = _function(library, "get_config", ctypes.c_char_p)
        core = _function(library, "get_corename", ctypes.c_char_p)
        if config is None or core is None:
            about[name] = "not OpenBLAS"
        else:
            version = " ".join(config().decode().split()[:2])
            about[name] = f"{version}, kernel {core().decode()}"
    return about


def set_threads(n: int) -> None:
    """Let NumPy's and SciPy's BLAS use ``n`` threads, where they are OpenBLAS."""
    for library in _libraries().values():
        function = _function(library, "set_num_threads")
        if function is not None:
            function(ctypes.c_int(n))


def get_threads() -> dict[str, int]:
    """Threads each OpenBLAS may use."""
    threads = {}
    for name, library in _libraries().items():
        function = _function(library, "get_num_threads", ctypes.c_int)
        if function is not None:
            threads[name] = int(function())
    return threads
