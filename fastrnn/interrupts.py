"""Ctrl-C at a moment when everything is in order."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Interrupts:
    """Within ``with``, the first Ctrl-C is kept until `check` raises it as KeyboardInterrupt; a second one strikes.

    What is still kept at the end is raised there. Works in the main thread, where Python's own handler is in place, or
    that of another ``with`` around this one, which then checks for the same Ctrl-C; elsewhere signals are left alone.

    Examples
    --------
    >>> import signal
    >>> from fastrnn.interrupts import Interrupts
    >>> with Interrupts() as interrupts:
    ...     signal.raise_signal(signal.SIGINT)
    ...     try:
    ...         interrupts.check()
    ...     except KeyboardInterrupt:
    ...         print("in order")
    in order
    """

    def __init__(self) -> None:
        self.pending = self._installed = False
        self._keeper = self  # who keeps the Ctrl-C: this one, or one around it

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            keeper = getattr(handler, "__self__", None)
            if isinstance(keeper, Interrupts):
                self._keeper = keeper
            elif handler is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._keep)
                self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._installed = False
        if kind is None:
            self.check()

    def _keep(self, number: int, frame: FrameType | None) -> None:
        if self.pending:
            signal.default_int_handler(number, frame)
        self.pending = True

    def check(self) -> None:
        """Raise the KeyboardInterrupt that was kept, if there is one."""
        if self._keeper.pending:
            self._keeper.pending = False
            raise KeyboardInterrupt
