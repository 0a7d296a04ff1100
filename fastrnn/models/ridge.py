"""Linear regression with a penalty, for many targets and penalties at once."""

from __future__ import annotations

import numpy as np

Array = np.ndarray

PENALTIES = 10.0 ** np.arange(-4, 5)  # times the mean squared singular value


class Ridge:
    """Least squares with a penalty on the weights: argmin |y - x A - a|² + penalty |A|².

    Parameters
    ----------
    x : array (M, P)
    y : array (M, R)

    References
    ----------
    Hoerl & Kennard 1970, "Ridge regression: biased estimation for nonorthogonal problems".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models.ridge import Ridge
    >>> x = np.arange(6.0)[:, None]
    >>> A, a = Ridge(x, 2 * x + 1).weights(0.0)
    >>> A.round(6).tolist(), a.round(6).tolist()
    ([[2.0]], [1.0])
    """

    def __init__(self, x: Array, y: Array):
        self._x, self._y = x.mean(axis=0), y.mean(axis=0)
        u, s, self._vt = np.linalg.svd(x - self._x, full_matrices=False)
        self._s, self._uy = s, u.T @ (y - self._y)
        self._unit = float(np.mean(s * s)) if s.size else 0.0

    def weights(self, penalty: float) -> tuple[Array, Array]:
        """A (P, R) and a (R,); the penalty counts in mean squared singular values of x."""
        squares = self._s * self._s
        kept = squares > 1e-20 * squares.max(initial=0.0)
        shrunk = (self._s[kept] / (squares[kept] + penalty * self._unit))[:, None] * self._uy[kept]
        A = self._vt[kept].T @ shrunk
        return A, self._y - self._x @ A
