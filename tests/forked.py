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
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
        """``lamsearch`` with these arguments, in this folder, where its output goes to a file too."""
        output = folder / f"output-{next(self._numbers)}.txt"
        return self._start(arguments, folder, sabotage, environ, output, output)

    def run(self, arguments: str, folder: Path, *sabotage: Sabotage, **environ: str) -> Program:
        """``start``, and wait for its end."""
        program = self.start(arguments, folder, *sabotage, **environ)
        program.wait()
        return program

    def completed(
        self, arguments: str, folder: Path, *, within_s: float = 120.0, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """``lamsearch`` with these arguments, run to its end in this folder, which it finds as the caller left it."""
        with tempfile.TemporaryDirectory() as own:
            output, errors = Path(own, "stdout"), Path(own, "stderr")
            program = self._start(arguments, folder, (), environ, output, errors)
            if not program.ended.wait(within_s):
                program.kill()
                program.ended.wait(within_s)
            said = [path.read_text(encoding="utf-8") for path in (output, errors)]
            return subprocess.CompletedProcess(shlex.split(arguments), program.wait(), *said)

    def worker(self, url: str, folder: Path, *sabotage: Sabotage, flags: str = "") -> Program:
        """A worker on that database that leaves when no study is open."""
        arguments = f"worker --exit-when-done --device cpu {HASTY} {flags}"
        return self.start(arguments, folder, *sabotage, LAMSEARCH_STORAGE=url)

    def _start(
        self,
        arguments: str,
        folder: Path,
        sabotage: Sequence[Sabotage],
        environ: Mapping[str, str],
        output: Path,
        errors: Path,
    ) -> Program:
        order = {
            "arguments": shlex.split(arguments),
            "folder": str(folder),
            "environ": environ,
            "sabotage": sabotage,
            "output": str(output),
            "errors": str(errors),
        }
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(json.dumps(order) + "\n")
        self._nursery.stdin.flush()
        pid = self._starts.get(timeout=60)
        self._all[pid]._output = output
        return self._all[pid]

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
