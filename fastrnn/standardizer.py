"""`Standardizer`: columns to mean 0 and standard deviation 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._arrays import as_array, as_lengths

Array = np.ndarray


class Standardizer:
    """Columns to mean 0 and standard deviation 1: (x - mean_) / scale_.

    Fit it on training data only: what it knows of other data, a model that is tested on them knows too.

    Parameters
    ----------
    columns : sequence of str, optional
        Names that error messages use.

    Attributes
    ----------
    mean_, scale_ : array (D,) float64
        A column that never changes has scale 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.data import Standardizer
    >>> train, test = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[2.0, 6.0]])
    >>> scaler = Standardizer().fit(train)
    >>> scaler.transform(train).tolist(), scaler.transform(test).tolist()
    ([[-1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0]])
    >>> scaler.inverse_transform(scaler.transform(test)).tolist()
    [[2.0, 6.0]]
    """

    mean_: Array
    scale_: Array

    def __init__(self, columns: Sequence[str] | None = None):
        self.columns = None if columns is None else tuple(map(str, columns))

    def fit(self, x: Any, lengths: Any = None) -> Standardizer:
        """Learn means and deviations.

        Parameters
        ----------
        x : array (..., D), or a list of arrays (T_n, D)
        lengths : array of int (N,), optional
            Valid steps of every row of x (N, T, D); padding is not read.

        Raises
        ------
        ValueError
            NaN or infinity, with its column and row; numbers so large that their deviation is none; no rows.
        """
        rows = self._all_rows(x, lengths)
        if not len(rows):
            raise ValueError("x must have at least one row, got none")
        with np.errstate(over="ignore", invalid="ignore"):
            rough = rows.mean(axis=0)
            apart = rows - rough
            rest = apart.mean(axis=0)  # the sum of many rows is off by far more than one rounding
            apart -= rest
            largest = np.abs(apart).max(axis=0)
            unit = np.where((largest > 0) & (largest < 1), largest, 1.0)  # squares of small numbers would be none
            apart /= unit
            mean, deviation = rough + rest, unit * np.sqrt(np.square(apart, out=apart).mean(axis=0))
        if len(wrong := np.flatnonzero(~np.isfinite(mean + deviation))):
            got = f"up to {np.abs(rows[:, wrong[0]]).max():.3g} in column {self._label(wrong[0])}"
            raise ValueError(f"x must hold numbers whose deviation is finite, got {got}")
        # a constant column's deviation is rounding alone: 1 leaves it at 0 instead of blowing that up
        still = deviation <= 10 * np.finfo(np.float64).eps * np.abs(mean)
        self.mean_, self.scale_ = mean, np.where(still, 1.0, deviation)
        return self

    def transform(self, x: Any) -> Any:
        """Standardise an array (..., D), or a list of arrays; float32 stays float32, all else becomes float64."""
        return self._each("x", x, lambda a: (a - self.mean_) / self.scale_, check=True)

    def inverse_transform(self, x: Any) -> Any:
        """Undo `transform`."""
        return self._each("x", x, lambda a: a * self.scale_ + self.mean_, check=False)

    def fit_transform(self, x: Any, lengths: Any = None) -> Any:
        """`fit`, then `transform` of the same data; with lengths, padding becomes 0."""
        self.fit(x, lengths)
        if lengths is None:
            return self.transform(x)
        x = np.asarray(x)
        valid = np.arange(x.shape[1]) < as_lengths(lengths, *x.shape[:2])[:, None]
        return self.transform(np.where(valid[..., None], x, self.mean_.astype(x.dtype))) * valid[..., None]

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold, for a model's file."""
        self._check_fitted()
        return {"mean": self.mean_.tolist(), "scale": self.scale_.tolist(), "columns": self.columns}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Standardizer:
        """The standardizer that `to_dict` described."""
        scaler = cls(values.get("columns"))
        mean, scale = (np.array(values[key], np.float64) for key in ("mean", "scale"))
        if mean.ndim != 1 or mean.shape != scale.shape or not np.all(np.isfinite([mean, scale]) & (scale > 0)):
            raise ValueError("values must hold a mean and a scale above 0 for every column, all of them finite")
        if scaler.columns is not None and len(scaler.columns) != len(mean):
            raise ValueError(f"values must hold as many columns as means, {len(mean)}, got {len(scaler.columns)}")
        scaler.mean_, scaler.scale_ = mean, scale
        return scaler

    def _all_rows(self, x: Any, lengths: Any) -> Array:
        """(R, D) float64, all finite."""
        if _is_ragged("x", x):
            if lengths is not None:
                raise ValueError("lengths must be None where x is a list")
            parts = [self._finite(f"x[{k}]", a) for k, a in enumerate(x)]
            D = parts[0].shape[1]
            for k, part in enumerate(parts):
                if part.shape[1] != D:
                    raise ValueError(f"x[{k}] must have {D} columns like x[0], got {part.shape[1]}")
            return np.concatenate(parts)
        array = as_array("x", x)
        if lengths is not None:
            if array.ndim != 3:
                raise ValueError(f"x must have shape (N, T, D) with lengths, got {array.shape}")
            array = array[np.arange(array.shape[1]) < as_lengths(lengths, *array.shape[:2])[:, None]]
        return self._finite("x", array)

    def _each(self, name: str, x: Any, change: Callable[[Array], Array], check: bool) -> Any:
        self._check_fitted()
        if _is_ragged(name, x):
            return [self._each(f"{name}[{k}]", a, change, check) for k, a in enumerate(x)]
        array = np.asarray(x)
        rows = _matrix(name, array)
        if rows.shape[1] != len(self.mean_):
            raise ValueError(f"{name} must have {len(self.mean_)} columns, got {rows.shape[1]}")
        if check:
            self._check_finite(name, rows)
        dtype = np.float32 if array.dtype == np.float32 else np.float64
        return change(rows).astype(dtype).reshape(array.shape)

    def _finite(self, name: str, x: Any) -> Array:
        """(R, D) float64, with names for its columns where there are any."""
        rows = _matrix(name, x)
        if self.columns is not None and len(self.columns) != rows.shape[1]:
            wanted = f"{len(self.columns)} columns ({', '.join(self.columns)})"
            raise ValueError(f"{name} must have {wanted}, got {rows.shape[1]}")
        self._check_finite(name, rows)
        return rows

    def _check_fitted(self) -> None:
        if not hasattr(self, "mean_"):
            raise ValueError("this Standardizer has not been fitted: call fit with training data first")

    def _label(self, column: int) -> str:
        return str(column) if self.columns is None else repr(self.columns[column])

    def _check_finite(self, name: str, rows: Array) -> None:
        wrong = np.argwhere(~np.isfinite(rows))
        if len(wrong):
            row, column = map(int, wrong[0])
            where = f"column {self._label(column)}, row {row}"
            more = f", and {len(wrong) - 1} more like it" if len(wrong) > 1 else ""
            raise ValueError(f"{name} must hold finite numbers, got {rows[row, column]} in {where}{more}")


def _is_ragged(name: str, x: Any) -> bool:
    """Whether x is a list of arrays (T_n, D)."""
    return isinstance(x, (list, tuple)) and any(as_array(f"{name}[0]", v).ndim > 1 for v in x[:1])


def _matrix(name: str, x: Any) -> Array:
    """(..., D) -> (R, D) float64."""
    array = as_array(name, x)
    if array.ndim < 2 or not array.shape[-1] or array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must hold numbers, of shape (..., D), got {array.dtype} of shape {array.shape}")
    return array.reshape(-1, array.shape[-1]).astype(np.float64)
