"""What the tests of sessions share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from stacks import EMBEDDED, D, with_random_parameters

from fastrnn import GRU, LSTM, Sequential, Session, SimpleRNN

Array = np.ndarray

WITH_DENSE = ("dense ends", "dense between", "nested", "norms", *EMBEDDED)


def _walk(got: Any, expected: Any, compare: Callable[[Array, Array], None]) -> None:
    """The same structure; ``compare`` for every array in it."""
    if isinstance(expected, (list, tuple)):
        assert type(got) is type(expected) and len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            _walk(one, other, compare)
    elif expected is None:
        assert got is None
    else:
        assert got.dtype == expected.dtype and got.shape == expected.shape
        compare(got, expected)


def _same_bits(got: Array, expected: Array) -> None:
    assert np.array_equal(got, expected)


def _close(got: Array, expected: Array) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 if expected.dtype == np.float32 else 1e-12)


def assert_equal(got: Any, expected: Any) -> None:
    """The same structure, shapes and bits."""
    _walk(got, expected, _same_bits)


def assert_near(got: Any, expected: Any) -> None:
    """The same structure and shapes, and numbers within the rounding of products in another order."""
    _walk(got, expected, _close)


def stepped(session: Session, x: Array) -> Array:
    """y (N, T, O), one step at a time; every y_t copied, since its array is used again."""
    return np.stack([session.step(np.ascontiguousarray(x[:, t])).copy() for t in range(x.shape[1])], axis=1)


def stepped_model(model: Any, x: Array, state: Any = None) -> tuple[Array, Any]:
    """The same through ``model.step``."""
    y = []
    for t in range(x.shape[1]):
        if isinstance(model, Sequential):
            y_t, state = model.step(x[:, t], state)
        else:
            state = model.step(x[:, t], state)
            y_t = state[0] if isinstance(state, tuple) else state
        y.append(y_t)
    return np.stack(y, axis=1), state


def wide(name: str, dtype: str, size: int) -> Any:
    """A recurrent layer (D, size) with random parameters."""
    classes = {"SimpleRNN": SimpleRNN, "LSTM": LSTM, "GRU": GRU}
    options: dict[str, Any] = {"SimpleRNN relu": {"activation": "relu"}, "GRU reset before": {"reset_after": False}}
    layer = classes[name.split()[0]](D, size, dtype=dtype, **options.get(name, {}))
    layer = with_random_parameters(layer)
    layer.params["U"] /= np.sqrt(size)
    return layer
