"""Intervals that hold what they promise: predicted quantiles, moved by how far they were off where nothing was learned.

References
----------
Romano, Patterson & Candès 2019, "Conformalized quantile regression"; for the median, Clements & Hendry 1996, "Intercept
corrections and structural change".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

Array = np.ndarray


def moves(off: Array, levels: Sequence[float]) -> Array:
    """By how much to move predicted quantiles.

    The median moves to the middle of what came, and all others with it. Then each two that enclose an interval move
    apart, or together, by the same, so that the interval would have held the share of M forecasts that it promises, and
    more by one in as many as `effective_count` says they are worth: forecasts that began one after another were wrong
    together.

    Parameters
    ----------
    off : array (M, Q)
        What came, less each of the predicted quantiles.
    levels : sequence of Q numbers
        Which quantiles these are: rising, 0.5 among them. The outermost two enclose an interval, the next two the next;
        one that has no other on the far side of the median is moved alone.

    Returns
    -------
    array (Q,)

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models.conformal import moves
    >>> came = np.random.default_rng(0).standard_normal(1000)
    >>> moves(came[:, None] - [-0.5, 0.0, 0.5], (0.1, 0.5, 0.9)).round(1).tolist()  # they are -1.28, 0 and 1.28
    [-0.8, -0.1, 0.7]
    """
    middle = list(levels).index(0.5)
    centre = np.median(off[:, middle])
    left, more = off - centre, 1 + 1 / effective_count(off[:, middle])
    found = np.full(len(levels), centre)
    for low, high in _pairs(middle, len(levels)):
        below = -np.inf if low is None else -left[:, low]
        above = -np.inf if high is None else left[:, high]
        share = (1 if high is None else levels[high]) - (0 if low is None else levels[low])
        distance = np.quantile(np.maximum(below, above), min(1.0, share * more), method="inverted_cdf")
        if low is not None:
            found[low] -= distance
        if high is not None:
            found[high] += distance
    return found


def _pairs(middle: int, Q: int) -> Iterator[tuple[int | None, int | None]]:
    """The two ends of every interval, from the outermost to the innermost; None for an end that there is not."""
    lows, highs = list(range(middle)), list(range(Q - 1, middle, -1))
    for k in range(max(len(lows), len(highs))):
        yield lows[k] if k < len(lows) else None, highs[k] if k < len(highs) else None


def effective_count(errors: Array) -> float:
    """How many independent errors M errors (M,), one after another, are worth: from 1 to M.

    M / (1 + 2 Σ r_k), where r_k is the autocorrelation at a distance of k, as long as it is positive. It is taken about
    0, not about the mean: errors on one side of 0 tell little of those to come.

    References
    ----------
    Bayley & Hammersley 1946, "The effective number of independent observations in an autocorrelated time series".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models.conformal import effective_count
    >>> errors = np.random.default_rng(0).standard_normal(200)
    >>> effective_count(errors) > 100, effective_count(errors.cumsum()) < 10
    (True, True)
    """
    M, total, square = len(errors), 1.0, float(errors @ errors)
    for k in range(1, M // 2):
        product = float(errors[k:] @ errors[:-k])
        if product <= 0:
            break
        total += 2 * product / square
    return max(1.0, M / total)
