"""URLs, what errors mean, and what a person is told."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError
from worlds import FACTS, config, register, service

from lamsearch.config import ServiceConfig
from lamsearch.errors import InputError, StorageFull, StorageUnavailable
from lamsearch.store import Store, urls
from lamsearch.store.engine import Database
from lamsearch.store.faults import Fault, classify
from lamsearch.store.holders import lock_holder
from lamsearch.store.watch import Watch


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("lamsearch.db", "sqlite:///lamsearch.db"),
        ("/data/a b.db", "sqlite:////data/a b.db"),
        ("sqlite:///x.db", "sqlite:///x.db"),
        ("postgresql://u:secret@h/d", "postgresql+psycopg://u:***@h/d"),
        ("postgres://u@h:5433/d", "postgresql+psycopg://u@h:5433/d"),
        ("postgresql+psycopg://u:p%40%7B%2Fss@h/d", "postgresql+psycopg://u:***@h/d"),
        ("postgresql+psycopg://h/d?user=u&password=secret", "postgresql+psycopg://h/d?user=u"),
    ],
)
def test_urls_are_normalised_and_masked(given: str, normal: str) -> None:
    assert urls.masked(urls.parse(given)) == normal


@pytest.mark.parametrize(
    "given",
    [
        "",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///x.db?odd=1",
        "mysql://u:secret@h/d",
        "postgresql+psycopg2://u:secret@h/d",
        "a://:b:c@:x",
    ],
)
def test_other_urls_are_refused_without_the_secret(given: str) -> None:
    with pytest.raises(InputError, match="storage") as caught:
        urls.parse(given)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_databases(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello, this is some text")
    for path, words in (("a.txt", "not a SQLite database"), (".", "a folder"), ("no/such/x.db", "does not exist")):
        with pytest.raises(InputError, match=words):
            Store(f"{tmp_path}/{path}")
    (tmp_path / "torn.db").write_bytes(b"SQLite format 3\x00" + b"\x01" * 3000)
    with pytest.raises(InputError, match=r"torn\.db"):
        Store(f"{tmp_path}/torn.db").studies()


def test_network_disks_are_warned_about(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/a / ext4 rw 0 0\nserver:/x /mnt/my\\040disk nfs4 rw 0 0\n")
    (line,) = urls.warnings(urls.parse("/mnt/my disk/a.db"), mounts)
    assert "network disk (nfs4)" in line
    assert urls.warnings(urls.parse("/home/a.db"), mounts) == ()
    assert urls.warnings(urls.parse("postgresql://h/d"), mounts) == ()


@pytest.mark.postgres
def test_wrong_databases_hosts_and_passwords_are_one_line(postgres_server: URL) -> None:
    def refused(url: URL) -> str:
        with pytest.raises(InputError) as caught:
            Store(url.render_as_string(hide_password=False), service=service())
        message = str(caught.value)
        assert "\n" not in message
        assert "s3cret" not in message
        return message

    assert 'database "no_such" does not exist' in refused(postgres_server.set(database="no_such"))
    assert "no such host" in refused(URL.create("postgresql", "u", "s3cret", "no-such-host.invalid", database="d"))
    assert "does not exist" in refused(postgres_server.set(username="no_such_role", password="s3cret"))


@pytest.mark.postgres
def test_odd_characters_in_a_password(postgres_server: URL, postgres_url: str) -> None:
    odd = "a b%c{d}/e@f:g'h"
    admin = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    role = f"odd_{os.getpid()}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{odd.replace(chr(39), chr(39) * 2)}'"))
    try:
        url = urls.parse(postgres_url).set(username=role, password=odd)
        store = Store(url.render_as_string(hide_password=False), service=service())
        study = store.submit(config(), FACTS)
        register(store)
        assert store.mirror(study.id)
        assert odd not in store.url
        store.close()
        assert store._mirror is not None
        store._mirror.storage.engine.dispose()
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"REASSIGN OWNED BY {role} TO CURRENT_USER"))
        own = create_engine(urls.parse(postgres_url), isolation_level="AUTOCOMMIT")
        with own.connect() as connection:
            connection.execute(text(f"REASSIGN OWNED BY {role} TO CURRENT_USER"))
            connection.execute(text(f"DROP ROLE {role}"))
        own.dispose()
        admin.dispose()


def test_a_server_that_is_not_there_is_unavailable_after_the_deadline() -> None:
    started = time.monotonic()
    with pytest.raises(StorageUnavailable, match=r"no answer for 0.5 s.*nothing is lost") as caught:
        Store("postgresql://u:s3cret@127.0.0.1:1/d", service=ServiceConfig(retry_s=0.5, beat_s=1, grace_s=5))
    assert 0.5 <= time.monotonic() - started < 5
    assert "s3cret" not in str(caught.value)


def test_a_server_that_is_back_just_before_the_deadline_is_found(sqlite_url: str) -> None:
    database = Database(urls.parse(sqlite_url), service(retry_s=2.0), read_only=False)
    back = time.monotonic() + 1.8

    def away() -> str:
        if time.monotonic() < back:
            raise sqlite3.OperationalError("injected: away")
        return "back"

    assert database.retrying(away) == "back"


def test_waiting_for_a_database_is_said_once_and_not_for_moments(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamsearch.store.engine.SILENT_S", 0.4)
    said: list[str] = []
    database = Database(urls.parse(sqlite_url), service(retry_s=5.0), read_only=False, say=said.append)
    for away_s, lines in ((0.1, 0), (1.5, 1)):
        back = time.monotonic() + away_s

        def away(back: float = back) -> None:
            if time.monotonic() < back:
                raise sqlite3.OperationalError("injected: away")

        database.retrying(away)
        assert len(said) == lines
    assert said[0].endswith("injected: away; waiting for it, up to 5 s")


def test_a_full_disk_is_said_and_resumable(sqlite_url: str) -> None:
    """FAULTS 16."""
    store = Store(sqlite_url, service=service())
    study = store.submit(config(), FACTS)
    pages = store.database.read(lambda connection: connection.exec_driver_sql("PRAGMA page_count").scalar())

    def limit(connection: sqlite3.Connection, _record: object, _proxy: object = None) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(store.database.engine, "checkout", limit)
    with pytest.raises(StorageFull, match=r"full; make room.*resume"):
        store.submit(config("large", trials=5000), FACTS)
    event.remove(store.database.engine, "checkout", limit)
    store.close()
    assert [row.name for row in Store(sqlite_url).studies()] == ["s"]
    assert Store(sqlite_url, service=service()).submit(config(), FACTS) == study


@pytest.mark.postgres
def set_read_only(url: str, value: str) -> None:
    """Whether new sessions of a PostgreSQL database may write."""
    parsed = urls.parse(url)
    may_write = {"options": "-c default_transaction_read_only=off"}
    with create_engine(parsed, isolation_level="AUTOCOMMIT", connect_args=may_write).connect() as connection:
        connection.execute(text(f"ALTER DATABASE {parsed.database} SET default_transaction_read_only = {value}"))


def test_a_read_only_server_is_said(postgres_url: str) -> None:
    store = Store(postgres_url, service=service())
    store.submit(config(), FACTS)
    store.close()
    set_read_only(postgres_url, "on")
    with pytest.raises(StorageFull, match="read-only transaction"):
        Store(postgres_url, service=service(retry_s=0.5)).set_state("s", "stopped")


def test_a_server_that_takes_no_writes_for_a_moment_is_waited_for(postgres_url: str) -> None:
    """A standby that is about to take over: sessions that could not write are replaced."""
    store = Store(postgres_url, service=service())
    store.submit(config(), FACTS)
    store.close()
    set_read_only(postgres_url, "on")
    writable = threading.Timer(0.7, set_read_only, (postgres_url, "off"))
    writable.start()
    store = Store(postgres_url, service=service(retry_s=20.0))
    store.set_state("s", "stopped")
    writable.join()
    assert store.study("s").state == "stopped"


def test_a_reader_holds_up_nobody(sqlite_url: str) -> None:
    """FAULTS 14: plain Optuna crashes after five seconds."""
    store = Store(sqlite_url, service=service())
    study = store.submit(config(), FACTS)
    reader = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM lamsearch_studies").fetchall()
    started = time.monotonic()
    register(store)
    store.mirror(study.id)
    assert time.monotonic() - started < 5
    reader.close()


def test_a_writer_is_waited_for(sqlite_url: str) -> None:
    store = Store(sqlite_url, service=service())
    store.submit(config(), FACTS)
    writer = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    threading.Timer(1.0, writer.rollback).start()
    started = time.monotonic()
    register(store)
    assert time.monotonic() - started > 0.8


def test_the_holder_of_a_lock_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.touch()
    (tmp_path / "a.db-shm").touch()
    inode = (tmp_path / "a.db-shm").stat().st_ino
    (tmp_path / "4242").mkdir()
    (tmp_path / "4242" / "cmdline").write_bytes(b"python\0-m\0lamsearch\0worker\0--secret\0")
    (tmp_path / "locks").write_text(
        f"1: POSIX  ADVISORY  READ 77 08:01:{inode} 124 124\n2: POSIX  ADVISORY  WRITE 4242 08:01:{inode} 120 120\n"
    )
    assert lock_holder(path, tmp_path) == "process 4242 (python -m lamsearch worker)"
    (tmp_path / "locks").write_text("")
    assert lock_holder(path, tmp_path) is None


def test_mistakes_of_ours_are_not_retried(sqlite_url: str) -> None:
    database = Database(urls.parse(sqlite_url), service(), read_only=False)
    calls: list[int] = []

    def wrong(connection: object) -> None:
        calls.append(1)
        raise KeyError("ours")

    with pytest.raises(KeyError):
        database.write(wrong)
    with pytest.raises(Exception, match="syntax error"):
        database.write(lambda connection: connection.exec_driver_sql("SELEC 1"))
    assert len(calls) == 1


@pytest.mark.postgres
def test_sessions_are_pinned_to_utc(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 9: times do not depend on who asks."""
    monkeypatch.setenv("PGTZ", "America/St_Johns")
    first = Store(postgres_url, service=service())
    first.submit(config(), FACTS)
    register(first)
    monkeypatch.setenv("PGTZ", "Pacific/Chatham")
    second = Store(postgres_url, service=service())
    zone = second.database.read(lambda connection: connection.exec_driver_sql("SHOW timezone").scalar())
    assert zone == "UTC"
    assert [row.alive for row in second.workers()] == [True]
    assert abs(second.study("s").created_at - time.time()) < 60


def test_a_process_paused_in_a_call_is_as_patient_as_any(sqlite_url: str) -> None:
    """Its first failure may come long after the call began: only then does its patience begin."""
    database = Database(urls.parse(sqlite_url), service(retry_s=0.5), read_only=False)
    calls: list[int] = []

    def cut_off() -> str:
        calls.append(1)
        if len(calls) == 1:
            time.sleep(0.8)
            raise sqlite3.OperationalError("injected: cut off while it slept")
        return "back"

    assert database.retrying(cut_off) == "back"


def test_a_server_that_does_not_answer_is_waited_for() -> None:
    silent = psycopg.errors.ConnectionTimeout("connection timeout expired")
    assert classify(OperationalError("", None, silent)) is Fault.RETRY


@pytest.mark.postgres
@pytest.mark.parametrize("told_to_stop", [False, True])
def test_a_connection_that_hangs_is_cut(postgres_url: str, told_to_stop: bool) -> None:
    limits = {"leaving_s": 0.3, "limit_s": 60.0} if told_to_stop else {"leaving_s": 60.0, "limit_s": 0.3}
    engine = create_engine(postgres_url)
    Watch(lambda: told_to_stop, **limits).over(engine)
    with engine.connect() as idle_again:
        idle_again.execute(text("SELECT 1"))
    time.sleep(1.0)  # what is back in the pool is left alone
    started = time.monotonic()
    with pytest.raises(OperationalError) as caught, engine.connect() as connection:
        connection.execute(text("SELECT pg_sleep(30)"))
    assert time.monotonic() - started < 20
    assert classify(caught.value) is Fault.RETRY
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()
