"""One study, served by real worker processes that are killed, paused and told to stop while its database restarts.

The faults follow from a seed: the same kinds, after the same pauses, for workers drawn in the same way. What a fault
meets (a fit, a claim, a beat) depends on the machine; the printed history tells what was done to whom, and when.
"""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from end_state import EndState, check, end_state
from server import Server

from lamsearch import preparation
from lamsearch.config import ServiceConfig, StudyConfig, parse_study
from lamsearch.store import Store

Kind = Literal["kill", "kill all", "pause", "terminate", "restart", "immediate restart", "crash"]

WORKER_FAULTS: tuple[Kind, ...] = ("kill", "pause", "terminate", "kill", "pause", "terminate", "kill all")
SERVER_FAULTS: tuple[Kind, ...] = ("restart", "immediate restart", "crash")

SERVICE = ServiceConfig(beat_s=0.2, retry_s=1.0, grace_s=2.5, poll_s=0.05, max_attempts=10_000, max_crashes=10_000)
"""Leases that run out while a test watches, and attempts enough for any number of faults."""

PAUSE_S = SERVICE.grace_s + 1.0
"""A paused worker sleeps through its lease."""

OUTAGE_S = 1.5 * SERVICE.retry_s
"""The longest time that the server stays away between its stop and its start: some workers give up, some do not."""

LEAVES_S = 60.0
"""A lot, for a busy machine."""

STORAGE_AWAY = 75
STOPPED = (143, -15)
"""The second: told to stop before it could listen."""


def linear(name: str, *, epochs: int, **search: object) -> StudyConfig:
    """A study of a linear model on few digits: a fold fit takes two or three milliseconds per epoch."""
    tables = {"data": {"n": 800}, "model": {"kind": "linear"}, "training": {"epochs": epochs}, "search": search}
    return parse_study({"name": name, **tables}, where="test")


SMALL = linear("small", epochs=60, trials=12, folds=4)
"""About 26 fold fits of a sixth of a second."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``after_s``: since the fault before. ``share``: which worker, as a share of those there are; how long away."""

    after_s: float
    kind: Kind
    share: float


def drawn(seed: int, n: int, kinds: Sequence[Kind], *, every_s: float) -> list[Fault]:
    """``n`` faults, each of ``kinds`` about equally often, ``every_s`` apart on average."""
    draw = random.Random(seed)
    order = [kinds[i % len(kinds)] for i in range(n)]
    draw.shuffle(order)
    return [Fault(after_s=every_s * draw.uniform(0.2, 1.8), kind=kind, share=draw.random()) for kind in order]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How it went. ``executed``: fold fits started. ``faults``: those that happened before the study was over."""

    end: EndState
    executed: int
    faults: Counter[str]
    seconds: float

    @property
    def unique(self) -> int:
        """Fold fits recorded."""
        return len(self.end.cells)

    def __str__(self) -> str:
        n = self.faults.total()
        return f"{n} faults, {self.executed} fold fits executed, {self.unique} recorded, {self.seconds:.0f} s"


class Process(Protocol):
    """A started ``lamsearch`` process: a ``programs.Program``, or a ``Command``."""

    pid: int

    @property
    def code(self) -> int | None: ...
    def send(self, signum: signal.Signals) -> None: ...
    def wait(self, within_s: float) -> int: ...
    @property
    def said(self) -> str: ...


class Command:
    """``python -m lamsearch`` with its arguments, output into a file: as somebody would start it, imports and all."""

    def __init__(self, arguments: str, folder: Path, **environ: str) -> None:
        handle, path = tempfile.mkstemp(dir=folder, prefix="output-")
        self._output = Path(path)
        with os.fdopen(handle, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lamsearch", *shlex.split(arguments)],
                env={**os.environ, "OMP_NUM_THREADS": "1", **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.pid = self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code, once it has left."""
        return self._process.poll()

    def send(self, signum: signal.Signals) -> None:
        """A signal, unless it has left."""
        self._process.send_signal(signum)

    def wait(self, within_s: float) -> int:
        """The exit code. Raises TimeoutExpired."""
        return self._process.wait(within_s)

    @property
    def said(self) -> str:
        """What it has printed."""
        return self._output.read_text(encoding="utf-8", errors="replace")


Start = Callable[..., Process]
"""``start(arguments, folder, **environ)``: ``Command``, or the ``start`` of the fixture ``programs``."""


@dataclass
class Worker:
    """A worker process, and what has been done to it."""

    process: Process
    asked: bool = False
    wakes_at: float | None = None

    @property
    def untouched(self) -> bool:
        """Neither paused nor told to stop."""
        return self.wakes_at is None and not self.asked

    def pause(self) -> None:
        """SIGSTOP, for ``PAUSE_S``."""
        self.process.send(signal.SIGSTOP)
        self.wakes_at = time.monotonic() + PAUSE_S

    def wake(self) -> None:
        """SIGCONT, if it is paused."""
        if self.wakes_at is not None and self.process.code is None:
            self.process.send(signal.SIGCONT)
        self.wakes_at = None

    def ask(self) -> None:
        """SIGTERM."""
        self.process.send(signal.SIGTERM)
        self.asked = True

    def kill(self) -> None:
        """SIGKILL, if it lives."""
        if self.process.code is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send(signal.SIGKILL)
            self.process.wait(LEAVES_S)


class Chaos:
    """The course of one study in an empty database. ``server`` is needed for its faults only.

    ``folder``: for the output of the workers that ``start`` starts.
    """

    def __init__(
        self,
        url: str,
        study: StudyConfig,
        folder: Path,
        *,
        n_workers: int,
        start: Start = Command,
        seed: int = 0,
        server: Server | None = None,
    ) -> None:
        self.url, self.study, self.folder, self.n_workers = url, study, folder, n_workers
        self.start, self.seed, self.server = start, seed, server
        self.workers: list[Worker] = []
        self.faults: Counter[str] = Counter()
        self.began = time.monotonic()

    def run(self, schedule: Sequence[Fault] = (), *, limit_s: float = 200.0) -> Outcome:
        """Submit, serve, disturb, wait for the answer. Raises AssertionError for whatever must not happen.

        The first fault comes after the first result.
        """
        self._note(f"study {self.study.name}, seed {self.seed}, {len(schedule)} faults for {self.n_workers} workers")
        store = Store(self.url)  # patient: the server goes away at times
        try:
            _, facts = preparation.facts(self.study)
            study = store.submit(self.study, facts)
            for _ in range(self.n_workers):
                self._start()
            self._serve(store, deque(schedule), time.monotonic() + limit_s)
            self._note("done")
            self._see_off()
            study = store.study(self.study.name)
            check(store, study, self.url)
            end, executed = end_state(store, study), store.executed(study.id)
            # A restart, or a pause while holding a lock, may cost every worker the fit it is at. And on a busy machine
            # a fit may take so long that an idle worker begins it too.
            repeats = executed - len(end.cells)
            assert 0 <= repeats <= self.n_workers * (self.faults.total() + 1), f"{repeats} repeats, {self.faults}"
        finally:
            store.close()
            for worker in self.workers:
                worker.kill()
        return Outcome(end=end, executed=executed, faults=self.faults, seconds=time.monotonic() - self.began)

    def _serve(self, store: Store, schedule: deque[Fault], deadline: float) -> None:
        due: float | None = None
        while (state := store.study(self.study.name).state) != "done":
            assert state == "open", f"the study is {state}: {store.study(self.study.name).reason}"
            assert time.monotonic() < deadline, "the study does not end"
            self._tend(store)
            if due is None and store.executed(1) > 0:
                due = time.monotonic()
            if due is not None and schedule and time.monotonic() >= due + schedule[0].after_s:
                serving = self._serving(store)
                if serving:
                    self._strike(schedule.popleft(), serving)
                    due = time.monotonic()
            time.sleep(0.05)

    def _tend(self, store: Store) -> None:
        """Wake who has slept enough, and replace who has left for a reason."""
        for worker in list(self.workers):
            if worker.wakes_at is not None and time.monotonic() >= worker.wakes_at:
                worker.wake()
                self._note("SIGCONT", worker)
            code = worker.process.code
            if code is None or (code == 0 and store.study(self.study.name).state == "done"):
                continue
            self._note(f"left with {code}", worker)
            self._check_code(worker)
            self.workers.remove(worker)
            self._start()

    def _check_code(self, worker: Worker) -> None:
        """The server was away; or a worker paused while it held SQLite's lock; or somebody asked."""
        code = worker.process.code
        fine = code == STORAGE_AWAY and (self.server is not None or self.faults["pause"] > 0)
        fine = fine or (worker.asked and code in STOPPED)
        assert fine, f"worker {worker.process.pid} left with {code}, and said:\n{worker.process.said}"

    def _serving(self, store: Store) -> list[Worker]:
        """Those that have come up, and that no earlier fault has got hold of."""
        registered = {row.pid for row in store.workers() if row.alive}
        return [worker for worker in self.workers if worker.process.pid in registered and worker.untouched]

    def _strike(self, fault: Fault, serving: Sequence[Worker]) -> None:
        self.faults[fault.kind] += 1
        worker = serving[int(fault.share * len(serving))]
        match fault.kind:
            case "kill":
                self._replace([worker])
            case "kill all":
                self._replace(list(self.workers))
            case "pause":
                self._note("SIGSTOP", worker)
                worker.pause()
            case "terminate":
                self._note("SIGTERM", worker)
                worker.ask()
            case "restart" | "immediate restart" | "crash":
                self._restart(fault)

    def _replace(self, workers: Sequence[Worker]) -> None:
        for worker in workers:
            self._note("SIGKILL", worker)
            worker.kill()
            self.workers.remove(worker)
        for _ in workers:
            self._start()

    def _restart(self, fault: Fault) -> None:
        assert self.server is not None
        away_s = fault.share * OUTAGE_S
        self._note(f"server: {fault.kind}, away for {away_s:.1f} s")
        if fault.kind == "crash":
            self.server.crash()
        else:
            self.server.stop("fast" if fault.kind == "restart" else "immediate")
        time.sleep(away_s)
        self.server.start()
        self._note("server: up")

    def _start(self) -> None:
        flags = " ".join(f"--set service.{key}={value}" for key, value in SERVICE.model_dump().items())
        arguments = f"worker --exit-when-done --device cpu {flags}"
        self.workers.append(Worker(self.start(arguments, self.folder, LAMSEARCH_STORAGE=self.url)))
        self._note("started", self.workers[-1])

    def _see_off(self) -> None:
        """All leave by themselves, now that the study is done."""
        deadline = time.monotonic() + LEAVES_S
        for worker in self.workers:
            worker.wake()
        for worker in self.workers:
            code = worker.process.wait(max(0.1, deadline - time.monotonic()))
            self._note(f"left with {code}", worker)
            if code != 0:
                self._check_code(worker)

    def _note(self, event: str, worker: Worker | None = None) -> None:
        pid = f" {worker.process.pid}" if worker else ""
        print(f"{time.monotonic() - self.began:7.2f} s  {event}{pid}", flush=True)
