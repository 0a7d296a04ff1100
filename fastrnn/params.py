"""Parameters: names for pieces of one flat buffer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import accumulate
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

from ._arrays import as_shape, dtype_of

Array = np.ndarray
Shape = tuple[int, ...]

Place = tuple[str, int, int, Shape]  # name, first and last element in the buffer, shape

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


_LIMIT: ContextVar[int | None] = ContextVar("limit", default=None)


@contextmanager
def at_most(nbytes: int) -> Iterator[None]:
    """Within ``with``, parameters of more than so many bytes are a ValueError: for what a file says is to be built."""
    token = _LIMIT.set(nbytes)
    try:
        yield
    finally:
        _LIMIT.reset(token)


def _aligned_zeros(size: int, dtype: np.dtype) -> Array:
    """``size`` zeros that begin on a 64-byte boundary."""
    limit = _LIMIT.get()
    if limit is not None and size * dtype.itemsize > limit:
        raise ValueError(f"parameters must fit into {limit} bytes, got {size * dtype.itemsize}")
    raw = np.zeros(size + ALIGNMENT // dtype.itemsize, dtype)
    skip = -raw.__array_interface__["data"][0] % ALIGNMENT // dtype.itemsize
    return raw[skip : skip + size]


def _padded(size: int, dtype: np.dtype) -> int:
    """``size`` rounded up to whole 64-byte blocks."""
    block = ALIGNMENT // dtype.itemsize
    return -(-size // block) * block


def parts_of(flat: Array, places: list[Place]) -> dict[str, Array]:
    """The views into a buffer that a layout's places are."""
    return {name: flat[first:last].reshape(shape) for name, first, last, shape in places}


class Params(dict[str, Array]):
    """Name -> array, every array a view into one flat buffer.

    Make one with `zeros`. Each array begins on a 64-byte boundary of the buffer; the padding between them is zero, and
    stays zero under any optimiser that leaves a zero parameter with a zero gradient alone. Whatever works on all
    parameters at once (a norm, an optimiser, an all-reduce) is one pass over `flat`.

    The set of names is fixed. ``params["W"] = a`` copies ``a`` into the view, after a check of shape and dtype.

    Attributes
    ----------
    flat : array (size,)
        The buffer, padding included.
    dtype : numpy.dtype
    is_part : bool
        The buffer is a piece of a larger model's buffer.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.params import Params
    >>> params = Params.zeros({"W": (2, 3), "b": (3,)}, "float32")
    >>> params["b"] = np.ones(3, "float32")
    >>> params.flat.shape, float(params.flat.sum())
    ((32,), 3.0)
    """

    __slots__ = ("_flat", "_gaps", "_is_part", "_layout", "_places")

    def __init__(self, layout: Mapping[str, tuple[int, Shape]], flat: Array, *, is_part: bool = False):
        places = [(name, first, first + math.prod(shape), shape) for name, (first, shape) in layout.items()]
        ends = ((last, _padded(last, flat.dtype)) for _, _, last, _ in places)
        self._layout, self._places = dict(layout), places
        self._gaps = [slice(last, padded) for last, padded in ends if last < padded]
        self._flat, self._is_part = flat, is_part
        dict.update(self, parts_of(flat, places))

    @classmethod
    def zeros(cls, shapes: Mapping[str, Shape], dtype: Any = "float32") -> Params:
        """Zeros of these shapes, in the order of ``shapes``."""
        dtype = dtype_of(dtype)
        layout, size = {}, 0
        for name, shape in shapes.items():
            layout[name] = (size, tuple(shape))
            size += _padded(math.prod(shape), dtype)
        return cls(layout, _aligned_zeros(size, dtype))

    @classmethod
    def join(cls, parts: Mapping[str, Params], dtype: Any) -> Params:
        """One buffer with a copy of every part's, side by side; W of the part ``"fwd"`` is named ``"fwd.W"``."""
        layout, size = {}, 0
        for prefix, part in parts.items():
            layout.update({f"{prefix}.{name}": (size + first, shape) for name, (first, shape) in part._layout.items()})
            size += part.flat.size
        joined = cls(layout, _aligned_zeros(size, dtype_of(dtype)))
        for piece, part in zip(pieces_of(joined.flat, list(parts.values())), parts.values(), strict=True):
            piece[...] = part.flat
        return joined

    @property
    def flat(self) -> Array:
        return self._flat

    @property
    def dtype(self) -> np.dtype:
        return self._flat.dtype

    @property
    def is_part(self) -> bool:
        return self._is_part

    def zeros_like(self) -> Params:
        """Zeros with the same names and layout."""
        return self.over(_aligned_zeros(self.flat.size, self.dtype))

    def clear_padding(self, flat: Array) -> None:
        """Zero what lies between the arrays in another buffer of this layout."""
        for gap in self._gaps:
            flat[gap] = 0

    def copy(self) -> Params:
        """The same names and values over a buffer of its own."""
        return _rebuild(self._layout, self.flat)

    def over(self, flat: Array, *, is_part: bool = False) -> Params:
        """The same names and layout over another buffer, whose values stay."""
        if flat.shape != self.flat.shape:
            raise ValueError(f"flat must have shape {self.flat.shape}, got {flat.shape}")
        same = self._bare()
        same._flat, same._is_part = flat, is_part
        dict.update(same, parts_of(flat, self._places))
        return same

    def blank(self, module: ModuleType) -> Params:
        """The same names and layout over a buffer of a backend's, which holds anything."""
        same = self._bare()
        same._flat = module.new_parts(self._flat.size, self._flat.dtype, self._places, same)
        return same

    def _bare(self) -> Params:
        """The same layout, without a buffer yet."""
        same = Params.__new__(Params)  # every backward pass makes one
        same._layout, same._places, same._gaps, same._is_part = self._layout, self._places, self._gaps, False
        return same

    def same_layout(self, other: Any) -> bool:
        """Whether ``other`` is a `Params` with the same names, shapes, order and dtype."""
        return isinstance(other, Params) and other.dtype == self.dtype and other._layout == self._layout

    def _checked(self, name: str, value: Any) -> Array:
        if name not in self:
            raise KeyError(f"no parameter {name!r}: the names are {', '.join(self)}")
        return as_shape(name, value, self.dtype, self[name].shape)

    def __setitem__(self, name: str, value: Any) -> None:
        self[name][...] = self._checked(name, value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Copy values into several parameters; all are checked, and read, before the first is written."""
        checked = {name: self._checked(name, value) for name, value in dict(*args, **kwargs).items()}
        for name, value in checked.items():
            if np.may_share_memory(value, self.flat):
                checked[name] = value.copy()
        for name, value in checked.items():
            self[name][...] = value

    def __ior__(self, other: Any) -> Params:  # type: ignore[override,misc]
        self.update(other)
        return self

    def setdefault(self, name: str, default: Any = None) -> Array:
        if name not in self:
            self._checked(name, default)
        return self[name]

    def _fixed(self, *args: Any) -> NoReturn:
        raise TypeError("the names of a Params are fixed: nothing can be removed")

    __delitem__ = pop = popitem = clear = _fixed

    def __reduce__(self) -> Any:
        return _rebuild, (self._layout, np.array(self.flat))


def pieces_of(flat: Array, parts: list[Params]) -> list[Array]:
    """The pieces of the buffer of joined parts that belong to each of them."""
    ends = list(accumulate(part.flat.size for part in parts))
    return [flat[first:last] for first, last in zip([0, *ends], ends, strict=False)]


def _rebuild(layout: Mapping[str, tuple[int, Shape]], flat: Array) -> Params:
    buffer = _aligned_zeros(flat.size, flat.dtype)
    buffer[...] = flat
    return Params(layout, buffer)
