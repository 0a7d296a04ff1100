"""First values of weights. Numbers are drawn in float64 and rounded, so a seed gives the same weights in any dtype."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ._arrays import as_size, dtype_of

Array = np.ndarray

_IS_SKIPPED: ContextVar[bool] = ContextVar("is_skipped", default=False)


@contextmanager
def skipped() -> Iterator[None]:
    """Within ``with``, all functions here give zeros at once: for layers whose weights come from a file.

    Examples
    --------
    >>> from fastrnn import init
    >>> with init.skipped():
    ...     float(init.orthogonal((2, 2))[0, 0])
    0.0
    """
    token = _IS_SKIPPED.set(True)
    try:
        yield
    finally:
        _IS_SKIPPED.reset(token)


def as_generator(seed: Any) -> np.random.Generator:
    """A generator for ``seed``: itself, a new one for an integer, an unpredictable one for None."""
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng(None if seed is None else as_size("seed", seed, 0))


def _fans(shape: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"shape must be (inputs, outputs), got {shape!r}")
    if len(shape) != 2:
        raise ValueError(f"shape must be (inputs, outputs), got {shape!r}")
    return as_size("shape[0]", shape[0]), as_size("shape[1]", shape[1])


def _uniform(shape: tuple[int, int], limit: float, rng: Any, dtype: Any) -> Array:
    rng, dtype = as_generator(rng), dtype_of(dtype)
    return np.zeros(shape, dtype) if _IS_SKIPPED.get() else rng.uniform(-limit, limit, shape).astype(dtype)


def _normal(shape: tuple[int, int], deviation: float, rng: Any, dtype: Any) -> Array:
    rng, dtype = as_generator(rng), dtype_of(dtype)
    return np.zeros(shape, dtype) if _IS_SKIPPED.get() else (deviation * rng.standard_normal(shape)).astype(dtype)


def xavier_uniform(shape: tuple[int, int], rng: Any = None, dtype: Any = "float32") -> Array:
    """Uniform in +-sqrt(6 / (inputs + outputs)): keeps the variance of signals and of gradients about level.

    Parameters
    ----------
    shape : (inputs, outputs)
    rng : numpy.random.Generator, int or None
    dtype : "float32" or "float64"

    Returns
    -------
    array (inputs, outputs)

    References
    ----------
    Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks".

    Examples
    --------
    >>> from fastrnn.init import xavier_uniform
    >>> bool(abs(xavier_uniform((3, 3), 0)).max() <= 1)
    True
    """
    D, H = _fans(shape)
    return _uniform((D, H), np.sqrt(6 / (D + H)), rng, dtype)


def xavier_normal(shape: tuple[int, int], rng: Any = None, dtype: Any = "float32") -> Array:
    """Normal with variance 2 / (inputs + outputs). Arguments, result and source as `xavier_uniform`.

    Examples
    --------
    >>> from fastrnn.init import xavier_normal
    >>> xavier_normal((4, 2), 0).shape
    (4, 2)
    """
    D, H = _fans(shape)
    return _normal((D, H), np.sqrt(2 / (D + H)), rng, dtype)


def he_uniform(shape: tuple[int, int], rng: Any = None, dtype: Any = "float32") -> Array:
    """Uniform in +-sqrt(6 / inputs), for units with relu. Arguments and result as `xavier_uniform`.

    References
    ----------
    He et al. 2015, "Delving deep into rectifiers".

    Examples
    --------
    >>> from fastrnn.init import he_uniform
    >>> bool(abs(he_uniform((6, 9), 0)).max() <= 1)
    True
    """
    D, H = _fans(shape)
    return _uniform((D, H), np.sqrt(6 / D), rng, dtype)


def he_normal(shape: tuple[int, int], rng: Any = None, dtype: Any = "float32") -> Array:
    """Normal with variance 2 / inputs, for units with relu. Arguments, result and source as `he_uniform`.

    Examples
    --------
    >>> from fastrnn.init import he_normal
    >>> he_normal((4, 2), 0, "float64").dtype
    dtype('float64')
    """
    D, H = _fans(shape)
    return _normal((D, H), np.sqrt(2 / D), rng, dtype)


def orthogonal(shape: tuple[int, int], rng: Any = None, dtype: Any = "float32") -> Array:
    """Uniformly distributed matrix with orthonormal rows or columns (whichever are fewer).

    Arguments and result as `xavier_uniform`.

    References
    ----------
    Saxe et al. 2014, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.init import orthogonal
    >>> U = orthogonal((4, 4), 0, "float64")
    >>> bool(np.allclose(U @ U.T, np.eye(4)))
    True
    """
    D, H = _fans(shape)
    rng = as_generator(rng)
    if _IS_SKIPPED.get():
        return np.zeros((D, H), dtype_of(dtype))
    Q, R = np.linalg.qr(rng.standard_normal((max(D, H), min(D, H))))
    # QR alone favours some signs of R's diagonal; with them divided out Q is uniform
    Q *= np.sign(np.diagonal(R))
    return np.ascontiguousarray(Q if D >= H else Q.T, dtype_of(dtype))
