"""The database: short transactions, and the retry loop around every one of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from lamsearch.config import ServiceConfig
from lamsearch.errors import InputError, StorageFull, StorageUnavailable
from lamsearch.store import urls
from lamsearch.store.faults import Fault, classify, damaged, in_words, unreachable_host
from lamsearch.store.holders import lock_holder
from lamsearch.store.sessions import READ_ONLY, READING, engine_kwargs
from lamsearch.store.watch import Watch

LEAVING_S = 2.0  # patience with the database once this process has been asked to stop

SILENT_S = 5.0  # failures that pass sooner are not spoken of

_PASSING = (Fault.RETRY, Fault.READ_ONLY)

T = TypeVar("T")


class Database:
    """One database, reached by short transactions that are tried again until ``service.retry_s`` has passed.

    A transaction may have been committed although its acknowledgement was lost, so everything passed to ``write`` must
    find out by itself that it has already happened.
    """

    def __init__(
        self,
        url: URL,
        service: ServiceConfig,
        *,
        read_only: bool,
        stop: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.url, self.service, self.read_only, self.stop, self.say = url, service, read_only, stop, say
        if urls.is_sqlite(url):
            urls.check_file(url, read_only=read_only)
        kwargs = engine_kwargs(url, read_only=read_only)
        if read_only and urls.is_sqlite(url):
            url = urls.reading(url)
            kwargs[READ_ONLY] = True
        try:
            self.engine = create_engine(url, **kwargs)
        except ImportError:
            raise InputError(
                "PostgreSQL needs the psycopg driver; install it with `pip install 'lamsearch[postgres]'`"
            ) from None
        except (SQLAlchemyError, ValueError, TypeError):
            raise InputError(f"storage {self.masked}: a URL that cannot be used") from None
        self.watch = Watch(stop, leaving_s=LEAVING_S)
        if not urls.is_sqlite(url):
            self.watch.over(self.engine)

    @property
    def masked(self) -> str:
        """The URL without secrets."""
        return urls.masked(self.url)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work``, which only reads: on SQLite in one transaction, on PostgreSQL each statement by itself."""
        return self.retrying(lambda: self._transaction(work, reading=True))

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction that may write. ``work`` may be run several times (see the class)."""
        if self.read_only:
            raise InputError(f"storage {self.masked} was opened read-only")
        return self.retrying(lambda: self._transaction(work, reading=False))

    def write_once(self, work: Callable[[Connection], T]) -> T | None:
        """As ``write``, but a passing failure is not tried again: None, and ``work`` may have been committed or not."""
        try:
            return self._transaction(work, reading=False)
        except Exception as error:
            fault = self._classify(error)
            if fault is Fault.OURS:
                raise
            if fault in _PASSING:
                return None
            raise self.raised(fault, error) from error

    def retrying(self, call: Callable[[], T]) -> T:
        """``call()``, again after each passing failure, with growing pauses; the last time when the deadline has come.

        Raises StorageUnavailable ``service.retry_s`` after the first failure (sooner once asked to stop), StorageFull,
        or InputError for what waiting cannot mend.
        """
        failed_at, pause_s, said = 0.0, 0.05, False
        while True:
            try:
                return call()
            except Exception as error:
                fault = self._classify(error)
                if fault is Fault.OURS:
                    raise
                if fault not in _PASSING:
                    raise self.raised(fault, error) from error
                patience_s = min(LEAVING_S, self.service.retry_s) if self.stop() else self.service.retry_s
                # Not since the call began: a process may have been paused in it, for hours.
                failed_at = failed_at or time.monotonic()
                left_s = failed_at + patience_s - time.monotonic()
                if fault is Fault.READ_ONLY:
                    self.engine.dispose()  # new connections may find the server that takes writes
                    if left_s <= 0:
                        raise self.raised(fault, error) from error
                if left_s <= 0:
                    raise StorageUnavailable(self._unavailable(error, patience_s)) from error
                if not said and patience_s - left_s > SILENT_S:
                    said = True
                    self.say(f"storage {self.masked}: {in_words(error)}; waiting for it, up to {patience_s:.0f} s")
            time.sleep(min(pause_s * random.uniform(0.5, 1.0), left_s))
            pause_s = min(2 * pause_s, 3.0)

    def connect_once(self) -> None:
        """Fail clearly on a wrong password, host or database; wait for a server that is still starting."""

        def probe() -> None:
            try:
                with self.engine.connect() as connection:
                    connection.execute(text("SELECT 1"))
            except SQLAlchemyError as error:
                if unreachable_host(error):
                    raise InputError(f"storage {self.masked}: no such host: {in_words(error)}") from None
                raise

        self.retrying(probe)

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _transaction(self, work: Callable[[Connection], T], *, reading: bool) -> T:
        with self.engine.connect() as raw:
            connection = raw.execution_options(**{READING: reading})
            if reading and connection.dialect.name == "postgresql":
                # A transaction costs two round trips, and at READ COMMITTED each statement reads anew all the same.
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            with connection.begin():
                return work(connection)

    def _classify(self, error: BaseException) -> Fault:
        """SQLite "cannot open" a file in WAL mode on a read-only disk: no waiting mends that."""
        fault = classify(error)
        if fault is not Fault.RETRY or self.read_only or not urls.is_sqlite(self.url):
            return fault
        return fault if urls.may_write(self.url) or not urls.path_of(self.url).exists() else Fault.FULL

    def raised(self, fault: Fault, error: BaseException) -> Exception:
        """The error of ours that says ``fault``."""
        words = in_words(error)
        if fault in (Fault.FULL, Fault.READ_ONLY):
            return StorageFull(
                f"storage {self.masked}: {words}; make room or allow writing, then run the same command again to resume"
            )
        if fault is Fault.NO_TABLES:
            return NoTables(f"storage {self.masked}: a database without lamsearch's tables")
        rescue = f"; {urls.rescue(self.url)}" if damaged(error) else ""
        return InputError(f"storage {self.masked}: {words}{rescue}")

    def _unavailable(self, error: BaseException, patience_s: float) -> str:
        holder = lock_holder(urls.path_of(self.url)) if urls.is_sqlite(self.url) else None
        locked = f", locked by {holder}" if holder else ""
        return (
            f"storage {self.masked}: no answer for {patience_s:g} s ({in_words(error)}{locked}); "
            "nothing is lost, run the same command again to resume"
        )


class NoTables(InputError):
    """A database that no study has ever been submitted to."""
