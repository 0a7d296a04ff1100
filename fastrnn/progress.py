"""What `fastrnn.fit` shows while it runs."""

from __future__ import annotations

import sys
import time
from typing import Any


class Progress:
    """A bar on stderr: where the run is, the time left, loss, validation, and how many steps a second it goes through.

    Parameters
    ----------
    shown : bool
    total : int or None
        Updates of the whole run, where they are known beforehand.
    done : int
        Updates that were made before.
    """

    def __init__(self, shown: bool, total: int | None, done: int):
        self._bar: Any = None
        if shown:
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, unit="update", file=sys.stderr, mininterval=0.2, leave=True)
        self._began, self._steps, self._validation = time.perf_counter(), 0, ""

    def update(self, epoch: str, loss: float, steps: int) -> None:
        """One more update, of so many steps of sequences; ``loss`` is the mean of the epoch so far."""
        if self._bar is None:
            return
        self._steps += steps
        rate = self._steps / max(time.perf_counter() - self._began, 1e-9)
        self._bar.set_description_str(f"epoch {epoch}", refresh=False)
        self._bar.set_postfix_str(f"loss {loss:.4g}{self._validation}, {rate:,.0f} steps/s", refresh=False)
        self._bar.update()

    def validated(self, values: dict[str, float]) -> None:
        """Measures of the epoch that has ended."""
        found = "".join(f", {name} {value:.4g}" for name, value in values.items() if name.startswith("val_"))
        self._validation = found

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
