"""What layers made of other layers share: their parameters side by side in one buffer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ._arrays import as_integers, as_shape
from .layer import Array, Call, Layer, StatefulLayer
from .lookup import Lookup
from .params import Params, pieces_of


def members(layer: Layer) -> Iterator[Layer]:
    """The layer, and all the layers that it is made of."""
    yield layer
    if isinstance(layer, Composite):
        for part in layer._parts.values():
            yield from members(part)


def check_part(name: str, layer: Layer, whole: str) -> None:
    """Raise where ``layer`` is part of a larger layer already, itself or, if it is a shallow copy of one that is, by
    its parts: their parameters have room in one buffer only."""
    if layer.params.is_part or (isinstance(layer, Composite) and not layer._has_its_parts()):
        raise ValueError(f"{name} must not be part of another {whole}: take a copy.deepcopy of it")


class Composite(StatefulLayer):
    """A layer made of named parts, whose parameters move into one buffer.

    A subclass calls `_join` once, in its constructor.
    """

    _parts: dict[str, Any]

    def _join(self, parts: Mapping[str, Layer], dtype: Any) -> None:
        """Make these the parts: their parameters become pieces of this layer's buffer, named ``"<part>.<name>"``."""
        self._parts = dict(parts)
        self._params = Params.join({name: part.params for name, part in parts.items()}, dtype)
        self._place()

    def _pieces(self, flat: Array) -> list[tuple[Any, Array]]:
        """Each part, and its piece of a buffer that is laid out like ``params.flat``."""
        parts = self._parts.values()
        return list(zip(parts, pieces_of(flat, [part.params for part in parts]), strict=True))

    def _place(self) -> None:
        for part, piece in self._pieces(self.params.flat):
            part._move(piece)

    def _has_its_parts(self) -> bool:
        """Whether the parts' parameters are the pieces of this layer's buffer."""
        pieces = self._pieces(self.params.flat)
        return all(np.may_share_memory(part.params.flat, piece) for part, piece in pieces if piece.size)

    def _move(self, flat: Array) -> None:
        super()._move(flat)
        self._place()

    def _prepare(self, grads: Array) -> None:
        for part, piece in self._pieces(grads):
            part._prepare(piece)

    def _grads(self, grads: Params) -> list[Params]:
        """``grads`` as one for each part."""
        return [part.params.over(piece) for part, piece in self._pieces(grads.flat)]

    def _time_first(self, x: Any, call: Call) -> tuple[Any, Array | None]:
        """x as (T, N, D), or as (T, N) where it holds integers, and which of its steps count; both checked."""
        if isinstance(x, Lookup):  # from a stack, which has done so
            return x, call.valid(*x.shape[1::-1])
        outer = ("T", "N") if call.time_major else ("N", "T")
        if self.input_size is not None:
            x = as_shape("x", x, self.dtype, (*outer, self.input_size))
        elif np.ndim(x) != 2:
            raise ValueError(f"x must have shape ({', '.join(outer)}), got {np.shape(x)}")
        x = as_integers("x", x) if self.takes_integers else np.asarray(x)
        x = x if call.time_major else x.swapaxes(0, 1)
        T, N = x.shape[:2]
        return x, call.valid(N, T)

    @property
    def buffers(self) -> Mapping[str, Array]:
        return MappingProxyType(
            {f"{name}.{key}": value for name, part in self._parts.items() for key, value in part.buffers.items()}
        )

    def __copy__(self) -> Any:
        """Another layer with the same parts and parameters, as `copy.copy` makes of any layer."""
        same = object.__new__(type(self))
        same.__dict__.update(self.__dict__)
        return same

    def __getstate__(self) -> Any:
        return {name: value for name, value in self.__dict__.items() if name != "_params"}, self.dtype

    def __setstate__(self, state: Any) -> None:
        attributes, dtype = state
        self.__dict__.update(attributes)
        # each part comes with a buffer of its own: join them again
        self._join(self._parts, dtype)
