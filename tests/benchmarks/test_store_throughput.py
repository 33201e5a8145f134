"""How much of many workers' time the store takes, with fits that only sleep. `pytest -m benchmark -s`."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "store"))

from worlds import FACTS, config, register, result, service

from lamsearch.store import Claim, Store

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

FIT_S = 1.0
FITS_EACH = 20
MIRROR_SHARE = 50
processes = multiprocessing.get_context("fork")

Reports = SimpleQueue[tuple[float, float]]


def sleeper(url: str, barrier: Barrier, reports: Reports) -> None:
    """One worker: as ``lamsearch.worker``, with sleep in place of training."""
    store = Store(url, service=service(beat_s=60, grace_s=600))
    study = store.study("s")
    worker_id = register(store)
    while not store.mirror(study.id, worker_id):  # start-up (Optuna's import) is not timed
        time.sleep(0.05)
    barrier.wait()
    started, next_mirror = time.monotonic(), 0.0
    for _ in range(FITS_EACH):
        claim = store.claim(study.id, worker_id)
        assert isinstance(claim, Claim)
        time.sleep(FIT_S)
        assert store.record(claim, result(claim, seconds=600.0))
        began = time.monotonic()
        if began >= next_mirror:
            store.mirror(study.id, worker_id)
            next_mirror = time.monotonic() + MIRROR_SHARE * (time.monotonic() - began)
    reports.put((time.monotonic() - started, psutil.Process().memory_info().rss / 2**20))


@pytest.mark.parametrize("n_workers", [1, 8, 16])
def test_workers_spend_their_time_on_fits(url: str, n_workers: int) -> None:
    store = Store(url, service=service())
    store.submit(config(trials=n_workers * FITS_EACH // 3 + 1, folds=3), FACTS)
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
    seconds = statistics.fmean(took for took, _ in told)
    lost = 1 - FITS_EACH * FIT_S / seconds
    print(
        f"\n{kind}, {n_workers} workers, fits of {FIT_S:g} s, n = {FITS_EACH * n_workers}: "
        f"{n_workers * FITS_EACH / seconds:.2f} fits/s, {100 * lost:.1f} % lost to the store; "
        f"{max(memory for _, memory in told):.0f} MiB per worker without torch; {os.cpu_count()} cores"
    )
    # SQLite has one writer at a time, and those that wait sleep up to 0.1 s between looks: use PostgreSQL for many.
    assert lost < (0.10 if kind == "postgresql" else 0.25)
