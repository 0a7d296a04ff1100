"""What `fastrnn.fit` shows while it runs."""

from __future__ import annotations

import sys
import time
from typing import Any

_BY_TIME = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:g} s{postfix}"


class Progress:
    """A bar on stderr: where the run is, the time left, loss, validation, and how many steps a second it goes through.

    Parameters
    ----------
    shown : bool
        Nothing is where the program has no stderr.
    updates : int or None
        Of the whole run, where they are known beforehand.
    done : int
        Updates that were made before.
    began : float
        The `time.perf_counter` of when the run began.
    seconds : float or None
        How long the run takes, where time ends it: then the bar shows time.
    """

    def __init__(self, shown: bool, updates: int | None, done: int, began: float, seconds: float | None = None):
        self._bar: Any = None
        self._is_timed = seconds is not None
        if shown and sys.stderr is not None:
            from tqdm import tqdm

            kind: dict[str, Any] = {"total": updates, "initial": done, "unit": "update"}
            if self._is_timed:
                kind = {"total": seconds, "bar_format": _BY_TIME}
            self._bar = tqdm(file=sys.stderr, mininterval=0.2, leave=True, **kind)
        self._began, self._steps, self._validation = began, 0, ""

    def update(self, epoch: str, loss: float, steps: int) -> None:
        """One more update, of so many steps of sequences; ``loss`` is the mean of the epoch so far."""
        if self._bar is None:
            return
        self._steps += steps
        self._bar.set_description_str(f"epoch {epoch}", refresh=False)
        rate = self._steps / max(time.perf_counter() - self._began, 1e-9)
        self._bar.set_postfix_str(f"loss {loss:.4g}{self._validation}, {rate:,.0f} steps/s", refresh=False)
        self._bar.update(self._passed() if self._is_timed else 1)

    def _passed(self) -> float:
        """Seconds that a bar over time does not show yet."""
        return max(0.0, min(time.perf_counter() - self._began, self._bar.total) - self._bar.n)

    def validated(self, values: dict[str, float]) -> None:
        """Measures of the epoch that has ended."""
        found = "".join(f", {name} {value:.4g}" for name, value in values.items() if name.startswith("val_"))
        self._validation = found

    def close(self, why: str = "") -> None:
        """The run has ended; ``why`` says what stopped it before the bar was full."""
        if self._bar is None:
            return
        if self._is_timed:
            self._bar.update(self._passed())
        if why and (self._bar.total is None or self._bar.n < self._bar.total):
            self._bar.set_postfix_str(f"{self._bar.postfix}; {why}", refresh=False)
        self._bar.close()
