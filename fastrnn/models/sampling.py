"""Drawing the next token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._arrays import as_number, as_size
from ..optim import as_number_in

Array = np.ndarray


@dataclass(frozen=True)
class Sampler:
    """Draws a token from logits.

    Parameters
    ----------
    temperature : float
        Divides the logits; 0 takes the likeliest token each time.
    top_k : int or None
        Draw from the likeliest so many only.
    top_p : float or None
        In (0, 1]: draw from the likeliest ones that together have at least this probability.

    References
    ----------
    Fan, Lewis & Dauphin 2018, "Hierarchical neural story generation" (top k); Holtzman et al. 2020, "The curious case
    of neural text degeneration" (top p).

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models.sampling import Sampler
    >>> logits, rng = np.log([0.5, 0.3, 0.2]), np.random.default_rng(0)
    >>> draws = [Sampler(top_k=2).draw(logits, rng) for _ in range(100)]
    >>> sorted(set(draws)), Sampler(temperature=0).draw(logits, rng)
    ([0, 1], 0)
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if as_number("temperature", self.temperature) < 0:
            raise ValueError(f"temperature must be at least 0, got {self.temperature!r}")
        if self.top_k is not None:
            as_size("top_k", self.top_k)
        if self.top_p is not None and as_number_in("top_p", self.top_p, 0, open_end=True) > 1:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p!r}")

    def draw(self, logits: Array, rng: np.random.Generator) -> int:
        """A token, 0..V-1, for logits (V,); a logit of -inf is never drawn."""
        logits = logits.astype(np.float64)
        if self.temperature == 0:
            return int(logits.argmax())
        with np.errstate(over="ignore"):  # next to 0 it leaves the likeliest only
            weights = np.exp((logits - logits.max()) / self.temperature)
        if self.top_k is None and self.top_p is None:
            total = weights.cumsum()
            return int(np.searchsorted(total, rng.random() * total[-1], side="right"))
        order = np.argsort(-weights, kind="stable")[: self.top_k]
        total = weights[order].cumsum()
        if self.top_p is not None:
            total = total[: np.searchsorted(total, self.top_p * total[-1]) + 1]
        return int(order[np.searchsorted(total, rng.random() * total[-1], side="right")])
