"""``lamsearch``: which λ? Commands import what they need when they run, so that ``--help`` stays fast."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def command() -> NoReturn:
    """``main``, then the end of the process, without Python's taking torch and matplotlib apart: up to a second."""
    code = 0
    # A daemon's closed streams: what goes there goes nowhere.
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    try:
        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


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
