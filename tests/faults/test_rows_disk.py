"""A SQLite file that is locked, full or read-only: real workers, a real small disk. Rows: see README.md."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from forked import Program, Programs
from programs import busy, finished, submitted, wait_until
from server import Server
from sqlalchemy import create_engine, text

from lamsearch.store import Store

HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
connection.execute("SELECT count(*) FROM lamsearch_studies").fetchall()
print("ready", flush=True)
time.sleep(600)
"""
STUDY = {"model": {"kind": "linear"}}


@contextmanager
def holding(url: str, begin: str) -> Iterator[subprocess.Popen[str]]:
    """Another program in the middle of a transaction."""
    command = [sys.executable, "-c", HOLDER, url.removeprefix("sqlite:///"), begin]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        yield holder
    finally:
        holder.kill()
        holder.communicate()


def only_line(program: Program) -> str:
    """The one line that it said."""
    assert program.said.count("\n") == 1, program.said
    return program.said


def test_a_reader_that_never_ends_holds_up_nobody(programs: Programs, sqlite_url: str, tmp_path: Path) -> None:
    """Row 14: not for its thirty seconds, not for a whole study."""
    store = submitted(sqlite_url, **STUDY)
    with holding(sqlite_url, "BEGIN"):
        worker = programs.worker(sqlite_url, tmp_path)
        assert (worker.wait(), worker.said) == (0, "")
    finished(store)


def test_who_holds_the_lock_for_ever_is_named(programs: Programs, sqlite_url: str, tmp_path: Path) -> None:
    """Row 15: exit 75 after the deadline; soon after a stop; once the holder is gone the same command resumes."""
    store = submitted(sqlite_url, **STUDY)
    with holding(sqlite_url, "BEGIN IMMEDIATE") as holder:
        holder.send_signal(signal.SIGSTOP)
        patient = programs.start("worker", tmp_path, LAMSEARCH_STORAGE=sqlite_url)
        worker = programs.worker(sqlite_url, tmp_path)
        assert worker.wait() == 75
        assert f"locked by process {holder.pid} ({sys.executable}" in only_line(worker)
        assert "run the same command again to resume" in worker.said
        began = time.monotonic()
        patient.send(signal.SIGTERM)
        assert patient.wait() == 143
        assert time.monotonic() - began < 10
        *waiting, left = patient.said.splitlines()
        assert all("database is locked; waiting for it, up to 120 s" in line for line in waiting)
        assert "run the same command again to resume" in left
    assert programs.worker(sqlite_url, tmp_path).wait() == 0
    finished(store)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of sixteen megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs a disk that can be filled: run as root, in a place that may mount a tmpfs")
        pytest.skip("only root may mount a disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return ballast


def test_a_full_disk_is_said_and_room_resumes(programs: Programs, small_disk: Path, tmp_path: Path) -> None:
    """Row 16: exit 74 in the middle of the study; what was finished is kept, and status can still be asked."""
    url = f"sqlite:///{small_disk}/a.db"
    store = submitted(url, **STUDY)
    worker = programs.worker(url, tmp_path, ("naps_in_training", 1.0))
    wait_until(lambda: busy(store, worker))
    store.close()
    ballast = fill(small_disk)
    assert worker.wait() == 74
    assert only_line(worker) == (
        f"lamsearch: storage sqlite:///{small_disk}/a.db: database or disk is full; "
        "make room or allow writing, then run the same command again to resume\n"
    )
    status = programs.run("status", tmp_path, LAMSEARCH_STORAGE=url)
    assert (status.code, "open" in status.said) == (0, True)
    ballast.unlink()
    assert programs.worker(url, tmp_path).wait() == 0
    finished(Store(url))


def test_a_database_that_may_not_grow_is_full(programs: Programs, sqlite_url: str, tmp_path: Path) -> None:
    """Row 16: SQLite's max_page_count."""
    store = submitted(sqlite_url, **STUDY)
    worker = programs.worker(sqlite_url, tmp_path, ("may_not_grow",))
    assert worker.wait() == 74
    assert "full; make room" in only_line(worker)
    assert programs.worker(sqlite_url, tmp_path).wait() == 0
    finished(store)


def test_a_read_only_disk_is_said(programs: Programs, small_disk: Path, tmp_path: Path) -> None:
    """Row 16: exit 74; reading goes on."""
    url = f"sqlite:///{small_disk}/a.db"
    store = submitted(url, **STUDY)
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    worker = programs.worker(url, tmp_path)
    assert worker.wait() == 74
    assert "make room or allow writing" in only_line(worker)
    assert programs.run("status", tmp_path, LAMSEARCH_STORAGE=url).code == 0
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert programs.worker(url, tmp_path).wait() == 0
    finished(Store(url))


FULL = """
CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER disk_full BEFORE INSERT ON lamsearch_fold_results FOR EACH ROW EXECUTE FUNCTION disk_full();
"""


@pytest.mark.postgres
def test_a_server_whose_disk_is_full_is_said(programs: Programs, own_server: Server, tmp_path: Path) -> None:
    """Row 16: PostgreSQL's own error, raised by a trigger."""
    url = own_server.create_database()
    store = submitted(url, **STUDY)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(FULL))
    worker = programs.worker(url, tmp_path)
    assert worker.wait() == 74
    assert "No space left on device; make room" in only_line(worker)
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER disk_full ON lamsearch_fold_results"))
    engine.dispose()
    assert programs.worker(url, tmp_path).wait() == 0
    finished(store)
