"""Ctrl-C as a wish to stop training and keep what was learned."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from ..callbacks import Callback
from .arguments import note

if TYPE_CHECKING:
    from ..fitting import Run


class StopOnCtrlC(Callback):
    """Within ``with``, Ctrl-C ends a training after the update under way, with its best weights.

    Before the first update and for a second Ctrl-C it is a KeyboardInterrupt as ever, with a remark that nothing was
    written. Works in the main thread.

    Parameters
    ----------
    command : str
        Whose work it is, for the remark.

    Attributes
    ----------
    struck : bool
        Whether a training was ended.
    """

    def __init__(self, command: str) -> None:
        self.command = command
        self.struck = self._trains = False
        self._before: Any = None

    def __enter__(self) -> StopOnCtrlC:
        self._before = signal.signal(signal.SIGINT, self._strike)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)
        if kind is KeyboardInterrupt:
            when = "at once" if self.struck else "before the first update"
            note(f"{self.command}: stopped {when}; nothing was written")

    def _strike(self, number: int, frame: FrameType | None) -> None:
        if self.struck or not self._trains:
            raise KeyboardInterrupt
        self.struck = True

    def begin(self, run: Run) -> None:
        self._trains = True

    def after_step(self, run: Run) -> None:
        if self.struck:
            run.stop("stopped by Ctrl-C")

    def end(self, run: Run) -> None:
        self._trains = False
