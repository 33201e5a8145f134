"""A PostgreSQL server that restarts, goes away, or is blocked: real workers on a real server. Rows: see README.md."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest
from end_state import EndState
from forked import Program, Programs
from programs import alive, busy, finished, results, submitted, wait_until
from server import Mode, Server
from sqlalchemy import create_engine, text

from lamsearch.store import Store

pytestmark = pytest.mark.postgres

PATIENT = "--set service.beat_s=0.3 --set service.retry_s=8 --set service.grace_s=9 --set service.max_attempts=1"
"""Patient enough for a restart. One attempt: a fit that is blamed for the database fails."""
STUDY = {"training": {"epochs": 4}, "search": {"trials": 6, "folds": 4}}


@pytest.fixture(scope="module")
def undisturbed(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> EndState:
    """What the study ends as when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    store = submitted(f"sqlite:///{folder}/a.db", **STUDY)
    assert programs.worker(f"sqlite:///{folder}/a.db", folder).wait() == 0
    return finished(store)


def reopened(url: str) -> Store:
    """A store whose connections are new."""
    return Store(url)


@pytest.mark.parametrize("mode", [pytest.param("fast", marks=pytest.mark.soak), "immediate"])
def test_a_restart_under_four_workers_costs_nothing(
    programs: Programs, own_server: Server, tmp_path: Path, undisturbed: EndState, mode: Mode
) -> None:
    """Row 6: nobody leaves, nobody complains, nothing is counted against a fit; the table is the same."""
    url = own_server.create_database()
    store = submitted(url, **STUDY)
    workers = [programs.worker(url, tmp_path, flags=PATIENT) for _ in range(4)]
    wait_until(lambda: results(store) >= 3)
    store.close()
    own_server.restart(mode)
    assert [worker.wait() for worker in workers] == [0, 0, 0, 0]
    assert all(only_waited(worker) for worker in workers)
    store = reopened(url)
    assert finished(store) == undisturbed
    assert store.executed(store.study("s").id) <= len(undisturbed.cells) + 4


def only_waited(worker: Program) -> bool:
    """It said nothing, or (on a slow machine) that it waits for the server."""
    return all("; waiting for it, up to 8 s" in line for line in worker.said.splitlines())


def test_a_server_that_is_away_is_waited_for_then_left_and_found_again(
    programs: Programs, own_server: Server, tmp_path: Path, undisturbed: EndState
) -> None:
    """Row 7: less than the retry deadline is ridden out; more is exit 75 and one line; the same command resumes."""
    url = own_server.create_database()
    store = submitted(url, **STUDY)
    patient = programs.worker(url, tmp_path, flags=PATIENT)
    hasty = programs.worker(url, tmp_path)
    wait_until(lambda: results(store) >= 3)
    store.close()
    own_server.stop("fast")
    assert hasty.wait() == 75
    assert hasty.said.count("\n") == 1
    assert hasty.said.startswith("lamsearch: storage postgresql+psycopg://")
    assert "no answer for 0.5 s" in hasty.said
    assert "run the same command again to resume" in hasty.said
    refused = programs.run("worker --set service.retry_s=0.5", tmp_path, LAMSEARCH_STORAGE=url)
    assert (refused.code, refused.said.count("\n")) == (75, 1)
    own_server.start()
    assert patient.wait() == 0
    assert only_waited(patient)
    resumed = programs.worker(url, tmp_path)
    assert resumed.wait() == 0
    assert "no study is open" in resumed.said, "the patient one has finished it"
    assert finished(reopened(url)) == undisturbed


def test_a_worker_told_to_stop_while_the_database_is_away_does_not_wait_for_it(
    programs: Programs, own_server: Server, tmp_path: Path
) -> None:
    """Rows 7 and 13: as patient as it may be otherwise."""
    url = own_server.create_database()
    store = submitted(url, model={"kind": "linear"}, training={"epochs": 1_000_000})
    workers = [programs.start("worker", tmp_path, LAMSEARCH_STORAGE=url) for _ in range(2)]
    wait_until(lambda: all(busy(store, worker) for worker in workers))
    store.close()
    own_server.stop("fast")
    began = time.monotonic()
    for worker in workers:
        worker.send(signal.SIGINT)
    assert [worker.wait() for worker in workers] == [130, 130]
    assert time.monotonic() - began < 20
    assert all(worker.said.count("\n") == 1 and "no answer for 2 s" in worker.said for worker in workers)


def test_a_server_that_hangs_is_waited_for_and_keeps_nobody_from_stopping(
    programs: Programs, own_server: Server, tmp_path: Path
) -> None:
    """Rows 7 and 13: its processes are paused, so that connections stay and nothing answers."""
    url = own_server.create_database()
    store = submitted(url, model={"kind": "linear"}, training={"epochs": 1_000_000})
    worker = programs.worker(url, tmp_path)
    wait_until(lambda: busy(store, worker))
    store.close()
    own_server.pause()
    try:
        time.sleep(1.0)
        asked = programs.start("status", tmp_path, LAMSEARCH_STORAGE=url)
        time.sleep(1.0)
        worker.send(signal.SIGTERM)
        began = time.monotonic()
        assert worker.wait() == 143
        assert time.monotonic() - began < 30
        assert "unexpected" not in worker.said
    finally:
        own_server.go_on()
    assert asked.wait() == 0, asked.said
    assert "1000000" not in asked.said
    assert "\ns " in asked.said


@pytest.mark.soak
def test_run_told_to_stop_while_the_database_is_away_does_not_wait_for_it(
    programs: Programs, own_server: Server, tmp_path: Path
) -> None:
    """Rows 7 and 13: nor do its children."""
    url = own_server.create_database()
    running = programs.start("run --set data.n=300 --epochs 10000 --workers 1", tmp_path, LAMSEARCH_STORAGE=url)
    store = Store(url)
    wait_until(lambda: any(row.doing for row in store.workers()))
    (child,) = psutil.Process(running.pid).children()
    store.close()
    own_server.stop("fast")
    running.send(signal.SIGINT)
    began = time.monotonic()
    assert running.wait() == 130
    assert time.monotonic() - began < 15
    assert "no answer for 2 s" in running.said
    assert "Traceback" not in running.said
    assert not child.is_running()


def test_the_server_cuts_off_who_holds_a_lock_too_long(own_server: Server) -> None:
    """Row 15: the settings of our sessions and of Optuna's, as the server knows them."""
    store = submitted(own_server.create_database())
    assert store._mirror is not None
    wanted = {
        "idle_in_transaction_session_timeout": "1min",
        "lock_timeout": "30s",
        "statement_timeout": "1min",
        "TimeZone": "UTC",
        "application_name": "lamsearch",
    }
    for engine in (store.database.engine, store._mirror.storage.engine):
        with engine.connect() as connection:
            assert {name: connection.scalar(text(f"SHOW {name}")) for name in wanted} == wanted
        assert engine.pool.size() == 3  # type: ignore[attr-defined]
        assert engine.hide_parameters


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_lock_holder_that_vanishes_is_cut_off_within_a_minute(
    programs: Programs, own_server: Server, tmp_path: Path
) -> None:
    """Row 15: a worker stopped in the middle of a transaction; the others get on, and so does it."""
    url = own_server.create_database()
    store = submitted(url, search={"trials": 2, "folds": 2})
    stuck = programs.worker(url, tmp_path, ("sleeps_with_the_lock",))
    wait_until(lambda: psutil.Process(stuck.pid).status() == psutil.STATUS_STOPPED)
    other = programs.start(
        "worker --exit-when-done --set service.beat_s=1 --set service.poll_s=0.1", tmp_path, LAMSEARCH_STORAGE=url
    )
    began = time.monotonic()
    wait_until(lambda: results(store) > 0, within_s=100)
    assert 20 < time.monotonic() - began < 75, "it was cut off, and not much later than promised"
    assert other.wait(240) == 0
    stuck.send(signal.SIGCONT)
    assert stuck.wait() == 0
    finished(store)


def test_an_idle_transaction_is_cut_off(programs: Programs, own_server: Server, tmp_path: Path) -> None:
    """Row 15, with a second instead of a minute: what our sessions ask of the server is what frees the lock."""
    url = own_server.create_database()
    store = submitted(url, search={"trials": 2, "folds": 2})
    engine = create_engine(url, connect_args={"options": "-c idle_in_transaction_session_timeout=1s"})
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(7214306, :study)"), {"study": store.study("s").id})
        worker = programs.worker(url, tmp_path, flags=PATIENT)
        assert worker.wait() == 0
        connection.invalidate()
    engine.dispose()
    assert alive(store, worker) is None
    finished(store)
