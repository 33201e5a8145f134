"""`lamsearch` processes under test: started in moments (see ``nursery``), signalled, waited for, read."""

from __future__ import annotations

import itertools
import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from end_state import EndState, end_state

from lamsearch import preparation
from lamsearch.config import ServiceConfig, parse_study
from lamsearch.store import Store
from lamsearch.store.rows import WorkerRow

HASTY = "--set service.beat_s=0.2 --set service.retry_s=0.5 --set service.grace_s=1.2 --set service.poll_s=0.05"
"""Leases that run out while a test watches."""

Sabotage = tuple[Any, ...]


class Program:
    """One started process."""

    def __init__(self, pid: int, output: Path) -> None:
        self.pid, self._output = pid, output
        self.code: int | None = None
        self.ended = threading.Event()

    def send(self, signum: signal.Signals) -> None:
        """A signal."""
        os.kill(self.pid, signum)

    def kill(self) -> None:
        """SIGKILL."""
        self.send(signal.SIGKILL)

    def wait(self, within_s: float = 40.0) -> int:
        """The exit code; minus the signal if one killed it."""
        assert self.ended.wait(within_s), f"still running after {within_s:g} s: {self.said}"
        assert self.code is not None
        return self.code

    @property
    def said(self) -> str:
        """What it has printed, stdout and stderr together."""
        return self._output.read_text(encoding="utf-8") if self._output.exists() else ""


class Programs:
    """Starts processes."""

    def __init__(self, nursery: subprocess.Popen[str]) -> None:
        self._nursery = nursery
        self._starts: queue.Queue[int] = queue.Queue()
        self._all: dict[int, Program] = {}
        self._numbers = itertools.count()
        threading.Thread(target=self._read, daemon=True).start()

    def start(self, arguments: str, folder: Path, *sabotage: Sabotage, **environ: str) -> Program:
        """``lamsearch`` with these arguments, in this folder."""
        output = folder / f"output-{next(self._numbers)}.txt"
        order = {
            "arguments": shlex.split(arguments),
            "folder": str(folder),
            "environ": environ,
            "sabotage": sabotage,
            "output": str(output),
        }
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(json.dumps(order) + "\n")
        self._nursery.stdin.flush()
        pid = self._starts.get(timeout=60)
        self._all[pid] = self._all.get(pid) or Program(pid, output)
        self._all[pid]._output = output
        return self._all[pid]

    def run(self, arguments: str, folder: Path, *sabotage: Sabotage, **environ: str) -> Program:
        """``start``, and wait for its end."""
        program = self.start(arguments, folder, *sabotage, **environ)
        program.wait()
        return program

    def worker(self, url: str, folder: Path, *sabotage: Sabotage, flags: str = "") -> Program:
        """A worker on that database that leaves when no study is open."""
        arguments = f"worker --exit-when-done --device cpu {HASTY} {flags}"
        return self.start(arguments, folder, *sabotage, LAMSEARCH_STORAGE=url)

    def _read(self) -> None:
        assert self._nursery.stdout is not None
        for line in self._nursery.stdout:
            pid, code = json.loads(line)
            if code is None:
                self._all[pid] = Program(pid, Path(os.devnull))
                self._starts.put(pid)
            else:
                self._all[pid].code = code
                self._all[pid].ended.set()


@contextmanager
def nursery() -> Iterator[Programs]:
    """Programs that are all gone at the end."""
    command = [sys.executable, str(Path(__file__).with_name("nursery.py"))]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Programs(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=30)


def wait_until(true: Callable[[], object], within_s: float = 30.0) -> float:
    """Seconds until ``true()`` was; AssertionError if it never was."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, f"not in {within_s:g} s: {true}"
        time.sleep(0.02)
    return time.monotonic() - began


def alive(store: Store, program: Program) -> WorkerRow | None:
    """Its row among the workers, while it is alive in the eyes of the database."""
    return next((row for row in store.workers() if row.pid == program.pid and row.alive), None)


def busy(store: Store, program: Program) -> str:
    """What it holds leases on, in words; empty if on nothing."""
    row = alive(store, program)
    return row.doing if row is not None else ""


def finished(store: Store) -> EndState:
    """All of the finished study ``s`` that must not depend on what went wrong on the way."""
    return end_state(store, store.study("s"))


def submitted(url: str, **tables: dict[str, Any]) -> Store:
    """A store with the small study ``s`` submitted; ``tables`` change it."""
    raw: dict[str, Any] = {
        "name": "s",
        "data": {"n": 300},
        "training": {"epochs": 3},
        "search": {"trials": 4, "folds": 3},
    }
    for table, values in tables.items():
        raw[table] = {**raw.get(table, {}), **values}
    config = parse_study(raw, where="test")
    store = Store(url, service=ServiceConfig(beat_s=0.2, retry_s=0.5, grace_s=1.2))
    _, facts = preparation.facts(config, allow_code=True)
    store.submit(config, facts)
    return store


def results(store: Store) -> int:
    """How many fold fits are recorded."""
    return len(store.table(store.study("s").id).scores)
