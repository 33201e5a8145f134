"""How much of many workers' time goes into anything but the fits, which only sleep. `pytest -m benchmark -s`."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "store"))

from worlds import FACTS, config, result

from lamsearch.config import ServiceConfig
from lamsearch.problem import Member
from lamsearch.records import FoldResult
from lamsearch.stopping import Stop
from lamsearch.store import Claim, Store, StudyRow
from lamsearch.worker import Options, Ready, Worker
from tests.benchmarks.common import save, summary

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

FIT_S = 1.0
FITS_EACH = 20
SERVICE = ServiceConfig(grace_s=600)
processes = multiprocessing.get_context("fork")

Report = tuple[float, float, str]
"""Seconds for ``FITS_EACH`` fits and all that lies between them; CPU seconds of the process meanwhile; what it said."""


class Sleep:
    """An executor that sleeps. All workers begin their first fit together; then each goes its way."""

    members = 1
    description = "sleep"

    def __init__(self, barrier: Barrier, tell: Callable[[float, float], None]) -> None:
        self.barrier, self.tell = barrier, tell
        self.begun = 0
        self.started = self.cpu = 0.0

    def train(self, members: Sequence[Member], *, stop: Callable[[], bool]) -> list[FoldResult]:
        if self.begun == 0:
            self.barrier.wait()
            self.started, self.cpu = time.monotonic(), self._cpu()
        if self.begun == FITS_EACH:
            self.tell(time.monotonic() - self.started, self._cpu() - self.cpu)
            self.barrier.wait()
            os._exit(0)  # to leave in order is not measured
        self.begun += 1
        time.sleep(FIT_S)
        (member,) = members
        claim = Claim(study_id=0, worker_id=0, token="", keys=(member.key,), lam_over_m=member.lam_over_m)
        return [result(claim, seconds=600.0)]  # so long that no fit is late

    @staticmethod
    def _cpu() -> float:
        return sum(psutil.Process().cpu_times()[:2])


class Sleeper(Worker):
    """``lamsearch.worker`` as it is, with ``Sleep`` in place of a trainer."""

    sleep: Any

    def _made_ready(self, study: StudyRow) -> Ready:
        return Ready(problem=None, executor=self.sleep, test=None)  # type: ignore[arg-type]


def sleeper(url: str, barrier: Barrier, reports: SimpleQueue[Report]) -> None:
    """One worker's process."""
    said: list[str] = []
    worker = Sleeper(Store(url, service=SERVICE), Options(say=said.append), Stop())
    worker.sleep = Sleep(barrier, lambda took, cpu: reports.put((took, cpu, "\n".join(said))))
    worker.run()


@pytest.mark.parametrize("n_workers", [1, 8, 16])
def test_workers_spend_their_time_on_fits(url: str, n_workers: int) -> None:
    store = Store(url, service=SERVICE)
    study = store.submit(config(trials=n_workers * (FITS_EACH + 1) // 3 + 1, folds=3), FACTS)
    store.plan(study.id)  # scipy, and by submitting Optuna: imported before the workers' processes are made
    kind = store.database.engine.dialect.name
    store.close()
    barrier, reports = processes.Barrier(n_workers), processes.SimpleQueue()
    running = [processes.Process(target=sleeper, args=(url, barrier, reports)) for _ in range(n_workers)]
    for process in running:
        process.start()
    told = [reports.get() for _ in running]
    for process in running:
        process.join()
        assert process.exitcode == 0
    assert [said for _, _, said in told if said] == []
    seconds = statistics.fmean(took for took, _, _ in told)
    lost = 1 - FITS_EACH * FIT_S / seconds
    cpu_ms = 1e3 * sum(cpu for _, cpu, _ in told) / (n_workers * FITS_EACH)
    print(
        f"\n{kind}, {n_workers} workers, fits of {FIT_S:g} s, n = {FITS_EACH * n_workers}: "
        f"{n_workers * FITS_EACH / seconds:.2f} fits/s, {100 * lost:.1f} % lost to the store; "
        f"a worker's CPU {cpu_ms:.1f} ms per fit; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    took = summary([took for took, _, _ in told])
    save(
        f"store_throughput-{kind}-{n_workers}", fits_each=FITS_EACH, fit_s=FIT_S, took_s=took, lost=lost, cpu_ms=cpu_ms
    )
    # SQLite has one writer at a time, and those that wait sleep up to 0.1 s between looks: use PostgreSQL for many.
    assert lost < (0.10 if kind == "postgresql" else 0.25)
