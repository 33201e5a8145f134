"""Stopping on request: the first signal asks, the second leaves at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Set once somebody has asked this process to end. Calling it tells whether that is so."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.signum: int | None = None

    def __call__(self) -> bool:
        """True once asked."""
        return self._event.is_set()

    def set(self, signum: int | None = None) -> None:
        """Ask for the end. ``signum``: the signal that asked, if one did."""
        self.signum = self.signum or signum
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """Sleep until asked or ``seconds`` have passed; True if asked."""
        return self._event.wait(seconds)

    @property
    def exit_code(self) -> int:
        """The shell's code for the signal (130, 143), or 0."""
        return 128 + self.signum if self.signum else 0


@contextmanager
def on_signals() -> Iterator[Stop]:
    """A ``Stop`` that SIGINT and SIGTERM set; the second of them ends the process without further ado."""
    stop = Stop()

    def handle(signum: int, _frame: FrameType | None) -> None:
        if stop.signum is not None:  # asked by a signal, not merely by a parent's pipe that ended
            os._exit(128 + signum)
        stop.set(signum)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
