"""The worker processes of ``lamsearch run``: children that share nothing but the database."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lamsearch import environment
from lamsearch.errors import InputError, LamsearchError

if TYPE_CHECKING:
    from lamsearch.store import Store

MAX_RESTARTS = 10
"""Restarts of one child in a row; what kills a process every time is the study's attempts' business."""

SETTLED_S = 10.0
"""A child that lived as long has not died in a row."""


class Child:
    """One worker process. It imports torch at once and waits for a line before it looks at the database."""

    process: subprocess.Popen[str]

    def __init__(self, command: Sequence[str], environ: dict[str, str]) -> None:
        self.command, self.environ = command, environ
        self.restarts = 0
        self.told = False
        self.lines: deque[str] = deque(maxlen=50)

    def start(self) -> None:
        """Start the process. Its own session keeps the terminal's Ctrl-C away: the parent decides."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()

    def go(self) -> None:
        """Let it begin. The pipe stays open: its end tells the child that the parent has gone."""
        try:
            assert self.process.stdin is not None
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died already; tend() sees that

    def hang_up(self) -> None:
        """Close the pipe: a child that still waits for its line leaves."""
        with contextlib.suppress(OSError):
            if self.process.stdin is not None:
                self.process.stdin.close()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.lines.append(line.rstrip())


class LocalWorkers:
    """One process per core on a CPU, one per GPU; they are told to stop, and killed only if they do not.

    ``start`` lets them import torch, ``go`` lets them begin. Raises InputError for a device that is not here.
    """

    def __init__(
        self, *, url: str, study: str, device: str, count: int | None, service: Sequence[str], allow_code: bool
    ) -> None:
        devices = local_devices(device)
        count = count or len(devices)
        environ = {**os.environ, "LAMSEARCH_STORAGE": url}
        if all(name == "cpu" for name in devices):
            environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.children: list[Child] = []
        self._planned = [
            Child(
                [
                    *(sys.executable, "-m", "lamsearch", "worker", "--study", study),
                    *("--device", devices[number % len(devices)], "--exit-when-done", "--with-parent"),
                    *(("--allow-code",) if allow_code else ()),
                    *(part for pair in service for part in ("--set", pair)),
                ],
                environ,
            )
            for number in range(count)
        ]

    def start(self) -> None:
        """Start all processes, unless that has been done."""
        if not self.children:
            for child in self._planned:
                child.start()
                self.children.append(child)

    def go(self) -> None:
        """Let all begin."""
        self.start()
        for child in self.children:
            child.go()

    def tend(self, store: Store) -> bool:
        """Free what dead children held, restart them; False once all have left in order (or too often not)."""
        running = False
        for child in self.children:
            code = child.process.poll()
            if code is None:
                running = True
            elif code != 0 and code not in _FINAL:
                self._free(store, child)
                child.restarts = 0 if time.monotonic() - child.started > SETTLED_S else child.restarts + 1
                if child.restarts > MAX_RESTARTS:
                    continue
                child.lines.append(f"worker {child.process.pid} died ({_cause(code)}); another takes its place")
                child.start()
                child.go()
                running = True
        return running

    def failed(self) -> list[int]:
        """Exit codes of the children that did not leave in order."""
        return [code for child in self.children if (code := child.process.poll()) not in (None, 0)]

    def messages(self) -> list[str]:
        """Lines that the children wrote since the last call."""
        return [child.lines.popleft() for child in self.children for _ in range(len(child.lines))]

    def ask_to_stop(self) -> None:
        """Tell all, once: a second signal would have them leave without releasing what they hold."""
        for child in self.children:
            if not child.told and child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
            child.told = True
            child.hang_up()

    def stop(self, store: Store | None, *, within_s: float) -> None:
        """Ask all to stop, wait, kill those that do not, and free what they held. ``store``: None if it is away."""
        self.ask_to_stop()
        deadline = time.monotonic() + within_s
        for child in self.children:
            try:
                child.process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
        if store is not None:
            # A full or absent database has been reported by then, and leases expire by themselves.
            with contextlib.suppress(LamsearchError):
                for child in self.children:
                    self._free(store, child)

    @staticmethod
    def _free(store: Store, child: Child) -> None:
        """Take what a dead child held. That it was told to stop, or lost the database, counts as no attempt."""
        host, code = os.uname().nodename, child.process.returncode
        reason = "" if code in _NO_ATTEMPT else f"its worker died ({code})"
        for row in store.workers():
            if row.pid == child.process.pid and row.host == host and not row.left:
                store.free_worker(row.id, reason=reason)


def _cause(code: int) -> str:
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
    return f"{name}, perhaps for want of memory" if -code in (signal.SIGABRT, signal.SIGKILL) else name


_NO_ATTEMPT = {0, 2, 74, 75, 128 + signal.SIGINT, 128 + signal.SIGTERM}
"""Exit codes of children that did not die of the fit they were at."""

_FINAL = {2, 74, 75}
"""Exit codes that a restart cannot mend: bad input, disk full, database away."""


def local_devices(device: str) -> list[str]:
    """One name per worker to start: ``["cpu", "cpu"]`` on two cores, ``["cuda:0", "cuda:1"]`` with two GPUs."""
    gpus = Path("/proc/driver/nvidia/gpus")
    might_have = gpus.is_dir() or sys.platform == "darwin"
    if device == "cpu" or (device == "auto" and not might_have):
        return ["cpu"] * environment.cores()
    from lamsearch.executor import devices  # torch: only where there may be a GPU, or one was asked for

    found = devices(device)
    if not found:
        raise InputError(f"--device {device}: no such device here; use --device cpu")
    return [str(name) for name in found] if str(found[0]) != "cpu" else ["cpu"] * environment.cores()
