"""``lamsearch``: which λ? Commands import what they need when they run, so that ``--help`` stays fast."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command of ``sys.argv``. Ctrl-C is a quiet exit 130 from the first import on."""
    asked_for = signal.getsignal(signal.SIGINT)
    if asked_for is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    # Before NumPy is imported: its threads slow small matrices down (five times, with two workers), and a decision
    # must not depend on how many cores summed it up.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from lamsearch.cli.app import run

    try:
        signal.signal(signal.SIGINT, asked_for)  # what was begun is now ended in order
        run()
    except KeyboardInterrupt:
        sys.exit(130)


def _leave(signum: int, _frame: FrameType | None) -> None:
    os._exit(128 + signum)
