"""Workers that die, sleep, or are told to stop: real processes and signals on one SQLite file. Numbers: README.md."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from end_state import EndState
from forked import Programs
from programs import alive, busy, finished, results, submitted, wait_until
from sqlalchemy import select, update

from lamsearch.store import Store
from lamsearch.store.tables import leases


def expire(store: Store) -> None:
    """All leases run out: the grace period has passed."""
    store.database.write(lambda connection: connection.execute(update(leases).values(expires=0.0)))


def attempts(store: Store) -> list[int]:
    """Used-up attempts of the fits that are under way."""
    return store.database.read(lambda connection: list(connection.scalars(select(leases.c.attempts))))


@pytest.fixture(scope="module")
def undisturbed(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> EndState:
    """What the study ends as when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    store = submitted(f"sqlite:///{folder}/a.db")
    assert programs.worker(store.database.url.render_as_string(), folder).wait() == 0
    return finished(store)


def test_workers_killed_at_any_moment_change_nothing(
    programs: Programs, sqlite_url: str, tmp_path: Path, undisturbed: EndState
) -> None:
    """Row 1: found within the grace period, trained again with the same λ, and the table is the same."""
    store = submitted(sqlite_url)
    kills = 0
    workers = [programs.worker(sqlite_url, tmp_path) for _ in range(2)]
    for pause_s in (0.0, 0.13, 0.31):
        victim = workers.pop(0)
        wait_until(lambda victim=victim: busy(store, victim) or victim.ended.is_set())
        time.sleep(pause_s)
        victim.kill()
        kills += victim.wait() == -signal.SIGKILL
        workers.append(programs.worker(sqlite_url, tmp_path))
    assert [worker.wait() for worker in workers] == [0, 0]
    assert kills >= 2
    assert finished(store) == undisturbed
    assert store.executed(store.study("s").id) <= len(undisturbed.cells) + kills


def test_a_file_that_is_moved_away_is_missed_and_not_made_anew(
    programs: Programs, sqlite_url: str, tmp_path: Path
) -> None:
    """As if it were locked for ever: exit 75 and one line, and back in its place nothing is lost."""
    file, away = tmp_path / "lamsearch.db", tmp_path / "away"
    store = submitted(sqlite_url, training={"epochs": 20})
    worker = programs.worker(sqlite_url, tmp_path)
    wait_until(lambda: results(store) >= 1)
    store.close()
    away.mkdir()
    for path in tmp_path.glob("lamsearch.db*"):
        path.rename(away / path.name)
    assert worker.wait() == 75
    assert not file.exists()
    assert "has gone: was it moved or deleted?" in worker.said
    assert worker.said.count("\n") == 1
    for path in away.glob("lamsearch.db*"):
        path.rename(tmp_path / path.name)
    assert programs.worker(sqlite_url, tmp_path).wait() == 0
    assert finished(Store(sqlite_url)).cells


def test_a_file_that_another_takes_the_place_of_gets_nothing(
    programs: Programs, sqlite_url: str, tmp_path: Path
) -> None:
    """Somebody puts a database of other studies there while a worker works."""
    file, other = tmp_path / "lamsearch.db", tmp_path / "other.db"
    store = submitted(sqlite_url, training={"epochs": 20})
    submitted(f"sqlite:///{other}", training={"epochs": 21}).close()
    worker = programs.worker(sqlite_url, tmp_path)
    wait_until(lambda: results(store) >= 1)
    store.close()
    for log in tmp_path.glob("lamsearch.db-*"):
        log.unlink()  # SQLite would take it for the other file's
    other.replace(file)
    assert worker.wait() == 75
    assert f"another file has come in the place of {file}: was it replaced?" in worker.said
    assert worker.said.count("\n") == 1
    assert results(Store(sqlite_url)) == 0


def test_what_a_dead_worker_held_is_taken_over_within_the_grace_period(
    programs: Programs, sqlite_url: str, tmp_path: Path
) -> None:
    """Row 1: the same fold of the same λ, by the worker that lives."""
    store = submitted(sqlite_url, model={"kind": "linear"}, training={"epochs": 300})
    dead = programs.worker(sqlite_url, tmp_path, ("dies_in_training",))
    wait_until(lambda: busy(store, dead))
    living = programs.worker(sqlite_url, tmp_path)
    assert dead.wait() == -signal.SIGKILL
    held = next(row.doing for row in store.workers() if row.pid == dead.pid)
    took_s = wait_until(lambda: busy(store, living) == held)
    assert took_s < 15, "the grace period of 1.2 s and one fold fit, on a busy machine"
    living.kill()


def test_when_all_workers_have_died_the_next_one_goes_on(
    programs: Programs, sqlite_url: str, tmp_path: Path, undisturbed: EndState
) -> None:
    """Row 2."""
    store = submitted(sqlite_url)
    dead = [programs.worker(sqlite_url, tmp_path, ("dies_in_training", after)) for after in (1, 2)]
    assert [worker.wait() for worker in dead] == [-signal.SIGKILL] * 2
    kept = results(store)
    assert kept >= 2
    assert programs.worker(sqlite_url, tmp_path).wait() == 0
    assert finished(store) == undisturbed
    assert store.executed(store.study("s").id) == len(undisturbed.cells) + 2


def test_a_worker_that_slept_through_its_lease_discards_and_goes_on(
    programs: Programs, sqlite_url: str, tmp_path: Path, undisturbed: EndState
) -> None:
    """Row 5: SIGSTOP for longer than the grace period, then SIGCONT; nothing is recorded twice or held against it."""
    store = submitted(sqlite_url)
    sleeper = programs.worker(sqlite_url, tmp_path, ("sleeps_in_training",))
    wait_until(lambda: busy(store, sleeper))
    wait_until(lambda: alive(store, sleeper) is None)
    other = programs.worker(sqlite_url, tmp_path, ("leaves_after", 1))
    assert other.wait() == 128 + signal.SIGTERM
    (taken,) = store.results(store.study("s").id)
    sleeper.send(signal.SIGCONT)
    assert sleeper.wait() == 0
    fit = "λ = 0" if taken.key.slot < 0 else f"λ/m = {taken.lam_over_m:.3g}"
    assert f"s {fit}, fold {taken.key.fold}: superseded by another worker, discarded" in sleeper.said
    assert sleeper.said.count("\n") == 1
    assert finished(store) == undisturbed
    assert store.executed(store.study("s").id) == len(undisturbed.cells) + 1
    assert taken in store.results(store.study("s").id), "the first result stands"


@pytest.mark.parametrize("when", ["before", "after"])
def test_death_in_the_takeover_is_repaired_by_the_next(
    programs: Programs, sqlite_url: str, tmp_path: Path, undisturbed: EndState, when: str
) -> None:
    """Row 4: twice in a row, before or after the commit that takes the lease of the dead; an attempt counts once."""
    store = submitted(sqlite_url)
    for deaths in range(2):
        if when == "after" or deaths == 0:
            assert programs.worker(sqlite_url, tmp_path, ("dies_in_training",)).wait() == -signal.SIGKILL
        expire(store)
        assert programs.worker(sqlite_url, tmp_path, ("dies_in_takeover", when)).wait() == -signal.SIGKILL
    assert attempts(store) == [2 if when == "after" else 0]
    assert programs.worker(sqlite_url, tmp_path).wait() == 0
    assert finished(store) == undisturbed


def test_death_at_any_commit_is_repaired_by_the_next(
    programs: Programs, sqlite_url: str, tmp_path: Path, undisturbed: EndState
) -> None:
    """Row 3: claim, result, Optuna's copy, answer: real deaths, one after the other, in one study."""
    store = submitted(sqlite_url)
    for number, when in [(1, "after"), (2, "before"), (2, "after"), (3, "after"), (4, "before"), (5, "after")]:
        died = programs.worker(
            sqlite_url,
            tmp_path,
            ("dies_at_commit", number, when),
            flags="--set service.beat_s=9 --set service.grace_s=20 --set service.max_attempts=99",
        )
        assert died.wait() == -signal.SIGKILL
        expire(store)
    assert programs.worker(sqlite_url, tmp_path, flags="--set service.max_attempts=99").wait() == 0
    assert finished(store) == undisturbed
