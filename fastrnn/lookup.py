"""`Lookup`: an input of which many rows are the same, kept as a table and numbers.

A recurrent layer multiplies its input row by row. Where the rows are those of a small table, as the characters of a
text are, it multiplies the table's rows instead, once each, and looks their products up; backwards it sums gradients by
row before it multiplies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from . import flat

Array = np.ndarray
ROW_USES = (
    8  # on average; with 2 a lookup of 32 features takes up to 1.2 times as long, with 30 it is 1.1 times as fast
)


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """The array ``table[codes]``, not made yet.

    Attributes
    ----------
    table : array (V, D)
    codes : array of int64, each 0..V-1
    """

    table: Array
    codes: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.codes.shape, self.table.shape[1])

    @property
    def dtype(self) -> np.dtype:
        return self.table.dtype

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, steps: slice) -> Lookup:
        return Lookup(self.table, self.codes[steps])

    def rows(self) -> Array:
        """The array: (*codes.shape, D), in C order."""
        return np.take(self.table, self.codes, axis=0)

    def pays(self) -> bool:
        """Whether each row of the table is wanted so often that products saved outweigh rows copied and added up."""
        return ROW_USES * len(self.table) <= self.codes.size

    def projected(self, params: Mapping[str, Array], module: ModuleType) -> Lookup:
        """x W + b in the place of x, by the kernels of a backend."""
        products = np.empty((len(self.table), params["W"].shape[1]), self.dtype)
        flat.kernels(module).affine(np.ascontiguousarray(self.table), params["W"], params["b"], products)
        return Lookup(products, self.codes)


def table_gradient(
    table: Array, sums: Array, params: Mapping[str, Array], grads: Mapping[str, Array], module: ModuleType
) -> Array:
    """Gradient of a table from ``sums`` (V, G*H), those of its rows' products; that of W is added to ``grads``."""
    kernels = flat.kernels(module)
    kernels.add_outer(np.ascontiguousarray(table), sums, grads["W"], None)
    dtable = np.empty_like(table, order="C")
    kernels.affine(sums, params["W"], None, dtable, transposed=True)
    return dtable
