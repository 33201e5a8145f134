"""Connections that are safe for many processes.

SQLite: WAL, a busy timeout, and BEGIN IMMEDIATE, because a deferred transaction that turns from reading to
writing fails at once when another process has written in between. PostgreSQL: sessions in UTC with server-side
timeouts, so that a process which vanishes while it holds a lock is cut off. The same settings reach the engine that
Optuna makes for itself, through SQLAlchemy's plugin hook: they must hold while its constructor runs.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.dialects import plugins
from sqlalchemy.engine import URL, CreateEnginePlugin

from lamsearch.store import urls

PLUGIN = "lamsearch_safe"
READING = "lamsearch_reading"
"""Execution option of a connection that only reads: on SQLite it takes no write lock."""

SQLITE_BUSY_S = 2
"""How long SQLite itself waits for a lock, deaf to signals; the retry loop waits on, and is not."""

READ_ONLY = "lamsearch_read_only"
LAZY = "lamsearch_lazy"
_PG_SESSION = {
    "idle_in_transaction_session_timeout": "60s",
    "lock_timeout": "30s",
    "statement_timeout": "60s",
}
_PG_CONNECT = {
    "connect_timeout": 10,
    "application_name": "lamsearch",
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


class SafeEngine(CreateEnginePlugin):
    """Makes an engine safe from its first connection on."""

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        self.read_only = bool(kwargs.pop(READ_ONLY, False))
        self.made = bool(kwargs.pop(LAZY, False))  # Optuna's tables come after ours
        self.synchronous = "NORMAL" if self.made else "FULL"
        self.file: tuple[Path, int] | None = None

    def update_url(self, url: URL) -> URL:
        """Our argument came beside the URL, not in it."""
        return url

    def engine_created(self, engine: Engine) -> None:
        """Attach the listeners. https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#pysqlite-serializable"""
        if engine.dialect.name == "sqlite":
            event.listen(engine, "do_connect", self._before)
            event.listen(engine, "connect", self._on_connect)
            event.listen(engine, "begin", self._on_begin)
        else:
            event.listen(engine, "connect", _pin_time_zone)

    def _before(self, _dialect: Any, _record: Any, arguments: Any, _options: Any) -> None:
        """A file that was there and has gone is not made anew, empty."""
        path = str(arguments[0])
        if self.made and not path.startswith("file:") and not Path(path).exists():
            raise _gone(path)
        self.made = True

    def _on_connect(self, connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        connection.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_S * 1000}")
        connection.execute("PRAGMA foreign_keys = ON")
        if self.read_only:
            connection.execute("PRAGMA query_only = ON")
            return
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self.synchronous}")
        if self.file is None:
            path = Path(connection.execute("PRAGMA database_list").fetchone()[2])
            self.file = path, path.stat().st_ino

    def _on_begin(self, connection: Connection) -> None:
        """What goes into a file that has lost its name is lost, and another file knows nothing of what we do."""
        if self.file is not None:
            path, inode = self.file
            try:
                if path.stat().st_ino != inode:
                    raise sqlite3.OperationalError(f"another file has come in the place of {path}: was it replaced?")
            except FileNotFoundError:
                raise _gone(path) from None
        reading = connection.get_execution_options().get(READING, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _gone(path: str | Path) -> sqlite3.OperationalError:
    return sqlite3.OperationalError(f"the file {path} has gone: was it moved or deleted?")


plugins.register(PLUGIN, __name__, SafeEngine.__name__)


def _pin_time_zone(connection: Any, _record: Any) -> None:
    # PGTZ in somebody's environment is stronger than the connection's options.
    connection.execute("SET TIME ZONE 'UTC'")
    connection.commit()


def engine_kwargs(url: URL, *, for_optuna: bool = False, read_only: bool = False) -> dict[str, Any]:
    """Arguments of ``create_engine``. ``for_optuna``: of the engine that writes its copy.

    On SQLite its commits need not be on disk at once. Our own do; they follow Optuna's in the same log, so a copy noted
    as made is on the disk. On PostgreSQL its connections are tried before each use. Ours are not: a transaction that
    finds its connection dead is tried again anyhow, and a round trip for each one is a tenth of what they cost.
    """
    if urls.is_sqlite(url):
        connect = {"timeout": SQLITE_BUSY_S}
        return {"plugins": [PLUGIN], LAZY: for_optuna, "hide_parameters": True, "connect_args": connect}
    # Not lazy here: a server may crash and come back under a pass that goes on, and would never repeat what was lost.
    # Somebody who only wants to look does not wait long for a lock.
    session = _PG_SESSION | ({"lock_timeout": "5s"} if read_only else {})
    options = " ".join(f"-c {key}={value}" for key, value in session.items())
    given = url.query.get("options", "")
    return {
        "plugins": [PLUGIN],
        "hide_parameters": True,
        "pool_pre_ping": for_optuna,
        "pool_size": 3,
        "connect_args": {**_PG_CONNECT, "options": f"{given} {options}".strip()},
    }
