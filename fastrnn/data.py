"""Data: sequences of unequal length as arrays, mini-batches, standardised columns, windows of a series, text streams.

What is for a training loop gives `Batch`: ``(x, y, lengths, mask, carry)``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ._arrays import as_array, as_choice, as_flag, as_integers, as_lengths, as_rate, as_size
from .init import as_generator
from .standardizer import Standardizer as Standardizer

Array = np.ndarray

POOL = 50  # batches whose examples are sorted by length together: near-equal lengths, and still a random order


class Batch(NamedTuple):
    """What one update is made from; all but x and y may be left out.

    Attributes
    ----------
    x : array (N, T, D), or integers (N, T)
    y : array
        Targets.
    lengths : array of int (N,), or None
        Valid steps of every row.
    mask : array of bool (N, T), or None
        False where a step is to be skipped.
    carry : bool
        The model's state goes on from the end of the batch before, instead of zero.
    """

    x: Any
    y: Any
    lengths: Any = None
    mask: Any = None
    carry: bool = False


def as_batch(item: Any) -> Batch:
    """``item``, a tuple that begins with x and y, as a `Batch`."""
    if isinstance(item, Batch):
        return item
    if not isinstance(item, (tuple, list)) or not 2 <= len(item) <= len(Batch._fields):
        got = f"{len(item)} values" if isinstance(item, (tuple, list)) else type(item).__name__
        raise TypeError(f"a batch must be a tuple ({', '.join(Batch._fields)}), of which x and y are needed, got {got}")
    return Batch(*item)


def _arrays(name: str, sequences: Any) -> list[Array]:
    """Every sequence as an array, all alike but for their steps; an empty one has features and dtype of the others."""
    if isinstance(sequences, str) or not hasattr(sequences, "__len__"):
        raise TypeError(f"{name} must be a list of arrays, got {type(sequences).__name__}")
    arrays = [as_array(f"{name}[{k}]", sequence) for k, sequence in enumerate(sequences)]
    for k, array in enumerate(arrays):
        if not array.ndim or array.dtype == object:
            raise ValueError(f"{name}[{k}] must be an array with a row per step, got {sequences[k]!r}")
    of = max(range(len(arrays)), key=lambda k: (arrays[k].size > 0, arrays[k].ndim > 1), default=0)
    for k, array in enumerate(arrays):
        if array.shape[1:] != arrays[of].shape[1:] and array.shape != (0,):
            wanted = f"features of shape {arrays[of].shape[1:]} like {name}[{of}]"
            raise ValueError(f"{name}[{k}] must have {wanted}, got {array.shape[1:]}")
    return [array if len(array) else arrays[of][:0] for array in arrays]


def _filling(value: Any, dtype: np.dtype) -> Array:
    """The number ``value`` as an array of this dtype holds it."""
    number = np.asarray(value)
    if number.ndim or number.dtype.kind not in "biuf":
        raise TypeError(f"value must be a number, got {value!r}")
    with np.errstate(over="ignore", invalid="ignore"):
        found = number.astype(dtype)
    if found != number and not (dtype.kind == "f" and np.isfinite(found) == np.isfinite(number)):
        raise ValueError(f"value must be a number that {dtype} can hold, as the sequences are, got {value!r}")
    return found


def pad(sequences: Any, T: int | None = None, *, at: str = "end", value: float = 0) -> tuple[Array, Array]:
    """Put sequences of unequal length into one array.

    Parameters
    ----------
    sequences : list of arrays (T_n, ...), or of lists
    T : int, optional
        Steps of the result; the longest sequence's when None.
    at : "end" or "start"
        Where the padding goes. Layers take ``lengths`` for padding at the end, and a mask for padding at the start.
    value : number
        What the padding holds; one that the sequences' dtype can hold.

    Returns
    -------
    x : array (N, T, ...)
    lengths : array of int (N,)

    Raises
    ------
    TypeError, ValueError
        The sequences are not alike, one is longer than ``T``, or their dtype cannot hold ``value``.

    Examples
    --------
    >>> from fastrnn.data import pad
    >>> x, lengths = pad([[1, 2, 3], [4]])
    >>> x.tolist(), lengths.tolist()
    ([[1, 2, 3], [4, 0, 0]], [3, 1])
    >>> pad([[1, 2, 3], [4]], at="start")[0].tolist()
    [[1, 2, 3], [0, 0, 4]]
    """
    as_choice("at", at, ("end", "start"))
    arrays = _arrays("sequences", sequences)
    lengths = np.array([len(array) for array in arrays], np.int64)
    longest = int(lengths.max(initial=0))
    T = longest if T is None else as_size("T", T, 0)
    if longest > T:
        k = int(lengths.argmax())
        raise ValueError(f"sequences[{k}] must have at most {T} steps, got {longest}: truncate them first")
    dtype = np.result_type(*arrays) if arrays else np.dtype(np.float64)
    filling = _filling(value, dtype) if dtype.kind in "biuf" else value
    x = np.full((len(arrays), T, *(arrays[0].shape[1:] if arrays else ())), filling, dtype)
    for row, array in zip(x, arrays, strict=True):
        row[T - len(array) if at == "start" else 0 :][: len(array)] = array
    return x, lengths


def truncate(sequences: Any, T: int, *, at: str = "end") -> list[Array]:
    """The first T steps of every sequence, or with ``at="start"`` the last ones; views.

    Examples
    --------
    >>> from fastrnn.data import truncate
    >>> [a.tolist() for a in truncate([[1, 2, 3], [4]], 2)], truncate([[1, 2, 3]], 2, at="start")[0].tolist()
    ([[1, 2], [4]], [2, 3])
    """
    as_choice("at", at, ("end", "start"))
    T = as_size("T", T, 0)
    return [a[:T] if at == "end" else a[max(len(a) - T, 0) :] for a in _arrays("sequences", sequences)]


class Batches:
    """Mini-batches of arrays or of ragged lists; made by `batches`.

    Every epoch has every example exactly once (but for those that ``drop_last`` leaves out). Iterating goes through
    one epoch in the next order of the instance's own generator; ``batches(rng)`` through one in the order that
    ``rng`` gives, which is what `fastrnn.fit` does.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        lengths: Any,
        size: int,
        shuffle: bool,
        bucket: bool,
        drop_last: bool,
        per_step: bool | None,
        seed: Any,
    ):
        self._x, found = _rows("x", x)
        if found is not None and lengths is not None:
            raise ValueError("lengths must be None where x is a list: they are those of its sequences")
        self._N = len(self._x)
        self._T: int | None = None
        if found is not None:
            self._T = int(found.max(initial=0))
        elif self._x.ndim > 1:
            self._T = self._x.shape[1]
        if found is None and lengths is not None:
            if self._T is None:
                raise ValueError(f"lengths must go with x (N, T, ...), got shape {np.shape(x)}")
            found = as_lengths(lengths, self._N, self._T)
        self.lengths: Array | None = found
        self._y, steps = _rows("y", y)
        if len(self._y) != self._N:
            raise ValueError(f"y must have as many rows as x, {self._N}, got {len(self._y)}")
        if steps is not None and (found is None or not np.array_equal(steps, found)):
            wanted = "as many steps as x in every sequence, where it is a list"
            raise ValueError(f"y must have {wanted}: make it an array for one target per row")
        if not self._N:
            raise ValueError("x must have at least one row, got none")
        self.per_step = self._is_per_step() if per_step is None else as_flag("per_step", per_step)
        self.size = as_size("size", size)
        self.shuffle, self.bucket = as_flag("shuffle", shuffle), as_flag("bucket", bucket)
        self.drop_last = as_flag("drop_last", drop_last)
        if self.bucket and found is None:
            raise ValueError("bucket must go with lengths, or with x as a list")
        if not len(self):
            raise ValueError(f"size must be at most the number of rows, {self._N}, with drop_last, got {self.size}")
        self._rng = as_generator(seed)

    def _is_per_step(self) -> bool:
        """Whether y has an entry for every step: a list, (N, T, ...), or integers (N, T)."""
        if isinstance(self._y, list):
            return True
        return self._y.shape[1:2] == (self._T,) and (self._y.ndim > 2 or self._y.dtype.kind in "iu")

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self._N // self.size if self.drop_last else -(-self._N // self.size)

    def __iter__(self) -> Iterator[Batch]:
        return self(self._rng)

    def __call__(self, rng: np.random.Generator) -> Iterator[Batch]:
        """One epoch, in the order that ``rng`` gives."""
        for rows in self._split(rng):
            yield self._batch(rows)

    def _split(self, rng: np.random.Generator) -> list[Array]:
        """The rows of every batch."""
        order = rng.permutation(self._N) if self.shuffle else np.arange(self._N)
        if self.drop_last:  # before they are sorted, or it would always be the longest ones
            order = order[: len(self) * self.size]
        if not self.bucket or self.lengths is None:
            return [order[first : first + self.size] for first in range(0, len(order), self.size)]
        pool, split = POOL * self.size, []
        for first in range(0, len(order), pool):
            rows = order[first : first + pool]
            rows = rows[np.argsort(self.lengths[rows], kind="stable")]
            split += [rows[k : k + self.size] for k in range(0, len(rows), self.size)]
        return [split[k] for k in rng.permutation(len(split))] if self.shuffle else split

    def _batch(self, rows: Array) -> Batch:
        lengths: Array | None
        if isinstance(self._x, list):
            x, lengths = pad([self._x[k] for k in rows])
        else:
            lengths = None if self.lengths is None else self.lengths[rows]
            x = self._x[rows]
        y = pad([self._y[k] for k in rows])[0] if isinstance(self._y, list) else self._y[rows]
        if lengths is None:
            return Batch(x, y)
        T = int(lengths.max(initial=0))
        return Batch(x[:, :T], y[:, :T] if self.per_step else y, lengths)


def _rows(name: str, value: Any) -> tuple[Any, Array | None]:
    """``value`` as an array, or as a list of arrays with their lengths where it is a list of sequences."""
    if isinstance(value, (list, tuple)) and any(as_array(f"{name}[0]", v).ndim for v in value[:1]):
        arrays = _arrays(name, value)
        dtype = np.result_type(*arrays)
        return [a.astype(dtype, copy=False) for a in arrays], np.array([len(a) for a in arrays], np.int64)
    array = as_array(name, value)
    if not array.ndim:
        raise TypeError(f"{name} must be an array or a list of arrays, got {type(value).__name__}")
    return array, None


def batches(
    x: Any,
    y: Any,
    lengths: Any = None,
    *,
    size: int = 32,
    shuffle: bool = True,
    bucket: bool = False,
    drop_last: bool = False,
    per_step: bool | None = None,
    seed: Any = None,
) -> Batches:
    """Mini-batches for a training loop or for `fastrnn.fit`.

    Parameters
    ----------
    x : array (N, T, ...), or a list of N arrays (T_n, ...)
        Lists are padded batch by batch, to the longest sequence in it.
    y : array (N, ...), or a list like x where there is a target for every step
    lengths : array of int (N,), optional
        Valid steps of every row of an array; a batch is cut to its longest row.
    size : int
        Examples of a batch.
    shuffle : bool
        A new order in every epoch.
    bucket : bool
        Put sequences of like length together: pools of 50 batches are sorted by length, and the order of the batches
        stays random.
    drop_last : bool
        Leave out what does not fill a batch: the last examples of the epoch's order.
    per_step : bool, optional
        Whether y has an entry for every step, and is to be cut like x. None: it has where it is a list, (N, T, K), or
        integers (N, T).
    seed : int, numpy.random.Generator or None
        Of the orders.

    Returns
    -------
    Batches
        Iterating, again and again, gives the `Batch` of an epoch; ``len`` is their number.

    Raises
    ------
    TypeError, ValueError
        What x, y and lengths are does not go together.

    References
    ----------
    Khomenko et al. 2016, "Accelerating recurrent neural network training using sequence bucketing and multi-GPU data
    parallelization".

    Examples
    --------
    >>> from fastrnn.data import batches
    >>> sequences, labels = [[1, 2, 3], [4], [5, 6], [7]], [0, 1, 0, 1]
    >>> for batch in batches(sequences, labels, size=2, bucket=True, shuffle=False):
    ...     print(batch.x.tolist(), batch.y.tolist(), batch.lengths.tolist())
    [[4], [7]] [1, 1] [1, 1]
    [[5, 6, 0], [1, 2, 3]] [0, 0] [2, 3]
    """
    return Batches(x, y, lengths, size, shuffle, bucket, drop_last, per_step, seed)


def streams(codes: Any, N: int) -> tuple[Array, Array]:
    """Cut a text into N streams of equal length, side by side.

    Parameters
    ----------
    codes : array of int (M,)
        M at least N + 1.
    N : int

    Returns
    -------
    x, y : arrays of int (N, L), L = (M - 1) // N
        Row n holds characters n*L .. (n+1)*L - 1; y is the character that follows each one of x. At most N - 1
        characters at the end of the text are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.data import streams
    >>> x, y = streams(np.arange(8), 2)
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [3, 4, 5]], [[1, 2, 3], [4, 5, 6]])
    """
    codes, N = as_integers("codes", codes), as_size("N", N)
    if codes.ndim != 1:
        raise ValueError(f"codes must have shape (M,), got {codes.shape}")
    L = (len(codes) - 1) // N
    if L < 1:
        raise ValueError(f"codes must hold at least {N + 1} characters for {N} streams, got {len(codes)}")
    return codes[: N * L].reshape(N, L), codes[1 : N * L + 1].reshape(N, L)


class TextBatches:
    """Windows over text streams as batches whose state carries on from one to the next; made by `text_batches`.

    Iterating goes on from every window to the next. Called with a generator, as `fastrnn.fit` does for an epoch, it
    begins some of them anew.
    """

    def __init__(self, x: Any, y: Any, T: int, restart: float = 0.0):
        self.x, self.y = as_array("x", x), as_array("y", y)
        if self.x.ndim < 2:
            raise ValueError(f"x must have shape (N, L), got {self.x.shape}")
        if self.x.shape != self.y.shape:
            raise ValueError(f"y must have the shape of x, {self.x.shape}, got {self.y.shape}")
        self.T, self.restart = as_size("T", T), as_rate("restart", restart)

    def __len__(self) -> int:
        return -(-self.x.shape[1] // self.T)

    def __iter__(self) -> Iterator[Batch]:
        for first in range(0, self.x.shape[1], self.T):
            window = slice(first, first + self.T)
            yield Batch(self.x[:, window], self.y[:, window], carry=first > 0)

    def __call__(self, rng: np.random.Generator) -> Iterator[Batch]:
        """The batches of an epoch, of which a share ``restart`` begins with a new state."""
        for batch in self:
            is_anew = self.restart > 0 and rng.random() < self.restart
            yield batch._replace(carry=batch.carry and not is_anew)


def text_batches(codes: Any, N: int, T: int, *, restart: float = 0.0) -> TextBatches:
    """A text for truncated backpropagation: N streams side by side, T steps at a time, every character once an epoch.

    Parameters
    ----------
    codes : array of int (M,)
        M at least N + 1.
    N, T : int
        Rows and steps of a batch; the last one of an epoch may be shorter.
    restart : float
        In [0, 1): share of the batches, drawn anew in every epoch, that begin with a new state. At 0 a model sees a new
        state once an epoch: from there, where all use of it begins, it may then never find its way.

    Returns
    -------
    TextBatches
        Iterating gives the `Batch` of an epoch, y being the character that follows each one of x.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.data import text_batches
    >>> for batch in text_batches(np.arange(9), N=2, T=3):
    ...     print(batch.x.tolist(), batch.y.tolist(), batch.carry)
    [[0, 1, 2], [4, 5, 6]] [[1, 2, 3], [5, 6, 7]] False
    [[3], [7]] [[4], [8]] True
    """
    return TextBatches(*streams(codes, N), T, restart)


def windows(
    series: Any, inputs: int, horizon: int = 1, *, stride: int = 1, targets: Sequence[int] | None = None
) -> tuple[Array, Array]:
    """Cut a series into examples: ``inputs`` steps, and the ``horizon`` steps that follow them.

    Parameters
    ----------
    series : array (T,) or (T, D)
    inputs, horizon : int
        Steps of x and of y.
    stride : int
        Steps from one example to the next.
    targets : sequence of int, optional
        Columns of y; all when None.

    Returns
    -------
    x : array (M, inputs, D)
    y : array (M, horizon, K)
        Views that cannot be written to, but for y with ``targets``; M = (T - inputs - horizon) // stride + 1.

    Raises
    ------
    ValueError
        The series is shorter than one example, or has another shape; a target that is none of its columns.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.data import windows
    >>> x, y = windows(np.arange(6.0), inputs=3, horizon=1, stride=2)
    >>> x[:, :, 0].tolist(), y[:, :, 0].tolist()
    ([[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]], [[3.0], [5.0]])
    """
    array = as_array("series", series)
    if array.ndim not in (1, 2):
        raise ValueError(f"series must have shape (T,) or (T, D), got {array.shape}")
    array = array[:, None] if array.ndim == 1 else array
    inputs, horizon, stride = as_size("inputs", inputs), as_size("horizon", horizon), as_size("stride", stride)
    if len(array) < inputs + horizon:
        needed = f"{inputs + horizon} rows for {inputs} inputs and a horizon of {horizon}"
        raise ValueError(f"series must have at least {needed}, got {len(array)}")
    whole = np.lib.stride_tricks.sliding_window_view(array, inputs + horizon, axis=0)[::stride].swapaxes(1, 2)
    x, y = whole[:, :inputs], whole[:, inputs:]
    try:
        return x, (y if targets is None else y[:, :, list(targets)])
    except (IndexError, TypeError) as error:
        raise ValueError(f"targets must be columns of the series, 0..{array.shape[1] - 1}, got {targets!r}") from error
