"""Stopping on request: the first signal asks, the second ends the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from lamsearch.stopping import Stop, on_signals


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_asks_and_the_exit_code_is_the_shells(signum: signal.Signals, code: int) -> None:
    before = signal.getsignal(signum)
    with on_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), signum)
        assert stop.wait(1.0)
        assert stop()
        assert stop.exit_code == code
    assert signal.getsignal(signum) is before


def test_asked_by_the_program_itself_the_exit_code_is_zero() -> None:
    stop = Stop()
    assert not stop.wait(0.0)
    stop.set()
    assert (stop(), stop.exit_code) == (True, 0)


def test_the_second_signal_leaves_at_once_whatever_is_going_on() -> None:
    code = "import time\nfrom lamsearch.stopping import on_signals\n"
    code += "with on_signals() as stop:\n    print('ready', flush=True)\n    time.sleep(60)\n    time.sleep(60)\n"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == 143
    process.stdout.close()


def test_a_signal_after_the_programs_own_request_is_the_first_and_leaves_in_order() -> None:
    """`run` closes a child's pipe and sends it SIGTERM, in either order: together they ask once."""
    with on_signals() as stop:
        stop.set()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        assert stop.exit_code == 143
        stop.set()
        assert stop.exit_code == 143, "asking again does not hide the signal"
