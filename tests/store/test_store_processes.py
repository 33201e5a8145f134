"""Many processes on one database: nobody holds what another holds, and all can start on an empty one."""

from __future__ import annotations

import importlib
import multiprocessing
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import optuna
from test_store_mirror import trials
from worlds import FACTS, config, mirrored, register, result, service

from lamsearch.records import FitKey
from lamsearch.store import Claim, Done, Store

PROCESSES = 8
# Forked: they begin within milliseconds of each other, which is the point. The parent holds no connection, and has
# imported what each would import at its first claim.
for module in ("alembic.command", "lamsearch.plan", "lamsearch.pruner", "lamsearch.store.mirror"):
    importlib.import_module(module)
processes = multiprocessing.get_context("fork")

PATIENCE_S = 150.0


def worker(url: str, n_trials: int, mirror: bool, barrier: Barrier, claims: Queue[list[FitKey] | str]) -> None:
    """One process: submit, then claim and record until nothing is left. Tells what it claimed, or why it failed."""
    try:
        barrier.wait()
        claims.put(served(url, n_trials, mirror))
    except BaseException:
        claims.put(traceback.format_exc())  # else the parent would wait for it in vain
        raise


def served(url: str, n_trials: int, mirror: bool) -> list[FitKey]:
    """What this process has claimed."""
    store = Store(url, service=service(beat_s=60.0, retry_s=30.0, grace_s=600.0))
    study = store.submit(config(trials=n_trials), FACTS)
    worker_id = register(store)
    mine = []
    while not isinstance(found := store.claim(study.id, worker_id), Done):
        if isinstance(found, Claim):
            mine.append(found.keys[0])
            assert store.record(found, result(found, seconds=600.0))  # so long that no fit is late
            if mirror:
                store.mirror(study.id, worker_id)
    return mine


def swarm(url: str, n_trials: int, *, mirror: bool = False) -> list[FitKey]:
    """What all processes have claimed."""
    barrier, claims = processes.Barrier(PROCESSES), processes.Queue()
    running = [
        processes.Process(target=worker, args=(url, n_trials, mirror, barrier, claims)) for _ in range(PROCESSES)
    ]
    for process in running:
        process.start()
    answers = [claims.get(timeout=PATIENCE_S) for _ in running]
    assert all(isinstance(answer, list) for answer in answers), next(a for a in answers if isinstance(a, str))
    for process in running:
        process.join(timeout=100)
        assert process.exitcode == 0
    return [key for answer in answers for key in answer]


def test_eight_processes_start_on_an_empty_database_and_claim_nothing_twice(url: str) -> None:
    """FAULTS 10, 11: plain Optuna loses 30 of 40 processes on the first, and claims a third twice on the second."""
    claimed = swarm(url, 30)
    assert max(Counter(claimed).values()) == 1
    assert len(claimed) == 31 * 3
    store = Store(url, service=service(), read_only=True)
    study = store.study("s")
    assert len(store.results(study.id)) == store.executed(study.id) == 31 * 3


def test_eight_processes_mirror_as_one(url: str) -> None:
    swarm(url, PROCESSES, mirror=True)
    store = Store(url, service=service())
    mirrored(store, store.study("s"))
    found = trials(url)
    assert [trial.user_attrs["slot"] for trial in found] == list(range(PROCESSES))
    assert {trial.state for trial in found} == {optuna.trial.TrialState.COMPLETE}
    assert all(len(trial.user_attrs["fold_scores"]) == 3 for trial in found)


def test_starting_together_again_and_again(sqlite_url: str, new_postgres: Callable[[], str]) -> None:
    for url in (f"{sqlite_url}1", f"{sqlite_url}2", new_postgres()):
        assert len(swarm(url, 1)) == 6
