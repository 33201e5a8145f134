"""What a database error means for us: try again, full, unusable, or a mistake of ours.

SQLite's codes: https://sqlite.org/rescode.html. PostgreSQL's: appendix A of its manual.
"""

from __future__ import annotations

import sqlite3
from enum import Enum

from sqlalchemy.exc import DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class Fault(Enum):
    """The classes that the retry loop tells apart."""

    RETRY = "retry"
    READ_ONLY = "read-only"
    FULL = "full"
    REFUSED = "refused"
    NO_TABLES = "no tables"
    OURS = "ours"


_SQLITE_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}
_SQLITE_RETRY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
_SQLITE_REFUSED = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}

_PG_FULL = {"53100"}  # disk full
_PG_READ_ONLY = {"25006"}  # a standby, perhaps for the moment of a failover, or default_transaction_read_only
_PG_REFUSED = {"28P01", "28000", "3D000", "42501"}  # password, role, database, privilege
_PG_RETRY_CLASSES = {"08", "40", "53", "55", "57", "58"}  # connection, rollback, resources, locks, operator, system
_PG_RETRY = {"25P03"}  # idle in transaction too long: the server freed what a paused process held
_PG_SETTINGS = (
    *("server does not support SSL", "invalid port number", "invalid connection option", "embedded null"),
    *("unrecognized configuration parameter", "invalid sslmode", "invalid URI query parameter"),
)
"""What libpq says of a URL that no waiting mends."""
_PG_UNREACHABLE = ("could not translate host name", "failed to resolve host", "name or service not known")


def classify(error: BaseException) -> Fault:
    """The class of an error raised by SQLAlchemy, or by Optuna around one."""
    if isinstance(error, PoolTimeout):
        return Fault.RETRY
    cause = _dbapi(error)
    if cause is None:
        # "Can't reconnect until invalid transaction is rolled back": a connection lost in mid-transaction.
        return Fault.RETRY if isinstance(error, InvalidRequestError) and "rolled back" in str(error) else Fault.OURS
    if isinstance(cause, sqlite3.Error):
        return _sqlite(cause)
    return _postgres(cause)


def in_words(error: BaseException) -> str:
    """The first line of the database's own message, without SQL, parameters or connection strings."""
    cause = _dbapi(error) or error
    return next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)


def damaged(error: BaseException) -> bool:
    """True if the database is a SQLite file with damage in it."""
    return getattr(_dbapi(error), "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT


def unreachable_host(error: BaseException) -> bool:
    """True if the host name does not resolve: at the start a typing error, later a network failure."""
    text = str(_dbapi(error) or error).lower()
    return any(sign in text for sign in _PG_UNREACHABLE)


def _dbapi(error: BaseException) -> BaseException | None:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, DBAPIError):
        if isinstance(seen, SQLAlchemyError) and seen.__cause__ is None:
            return None
        seen = seen.__cause__
    if isinstance(seen, DBAPIError):
        return seen.orig
    return error if isinstance(error, sqlite3.Error) else None  # raised by a PRAGMA while connecting


def _sqlite(cause: sqlite3.Error) -> Fault:
    # The low byte is the primary code. Errors of the Python module itself carry none.
    code = getattr(cause, "sqlite_errorcode", None)
    if code is None:
        return Fault.RETRY if isinstance(cause, sqlite3.OperationalError) else Fault.OURS
    code &= 0xFF
    if code in _SQLITE_FULL:
        return Fault.FULL
    if code in _SQLITE_RETRY:
        return Fault.RETRY
    if code in _SQLITE_REFUSED:
        return Fault.REFUSED
    return Fault.NO_TABLES if "no such table" in str(cause) else Fault.OURS


def _postgres(cause: BaseException) -> Fault:
    state = getattr(cause, "sqlstate", None)
    if state is None:
        return _libpq({kind.__name__ for kind in type(cause).__mro__}, str(cause))
    if state in _PG_FULL:
        return Fault.FULL
    if state in _PG_READ_ONLY:
        return Fault.READ_ONLY
    if state in _PG_REFUSED:
        return Fault.REFUSED
    if state == "42P01":
        return Fault.NO_TABLES
    return Fault.RETRY if state in _PG_RETRY or state[:2] in _PG_RETRY_CLASSES else Fault.OURS


def _libpq(kinds: set[str], words: str) -> Fault:
    # libpq gives connection failures no SQLSTATE, only its (English, or the server's) words.
    if "password authentication failed" in words or "no password supplied" in words:
        return Fault.REFUSED
    if any(sign in words for sign in _PG_SETTINGS):
        return Fault.REFUSED
    if "FATAL" in words and ("does not exist" in words or "no pg_hba.conf entry" in words):
        return Fault.REFUSED
    # Its subclasses too: a server that does not answer is a ConnectionTimeout.
    return Fault.RETRY if kinds & {"OperationalError", "InterfaceError"} else Fault.OURS
