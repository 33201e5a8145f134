"""What the parts of ``Store`` share: the database, this process's pictures of the studies, Optuna's copy."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, select

from lamsearch.config import ServiceConfig
from lamsearch.errors import UnknownStudy
from lamsearch.store import studies, tables, urls
from lamsearch.store.engine import Database, NoTables
from lamsearch.store.rows import STUDY, StudyRow, study_row
from lamsearch.store.view import PlannerOf, View, lamsearch_planner

if TYPE_CHECKING:
    from lamsearch.store.mirror import Mirror

T = TypeVar("T")


class Base:
    """Opens the database. Nothing is written before ``submit`` or ``register``.

    ``stop()``: true once this process has been asked to end; it then waits no longer for a database that is away.
    """

    def __init__(
        self,
        url: str,
        *,
        service: ServiceConfig | None = None,
        read_only: bool = False,
        planner: PlannerOf = lamsearch_planner,
        stop: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.service = service or ServiceConfig()
        self.database = Database(urls.parse(url), self.service, read_only=read_only, stop=stop, say=say)
        self._planner = planner
        self._views: dict[int, tuple[View, StudyRow]] = {}
        self._view_lock = threading.RLock()
        self._mirror: Mirror | None = None
        self._mirror_lock = threading.Lock()
        self._tokens: set[str] = set()
        self._own: set[int] = set()
        self._waiting: set[int] = set()
        if not urls.is_sqlite(self.database.url):
            self.database.connect_once()
        with contextlib.suppress(NoTables):
            self._read(lambda connection: tables.check_version(connection, self.url))

    @property
    def url(self) -> str:
        """The storage URL with its password masked."""
        return self.database.masked

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about this storage."""
        return urls.warnings(self.database.url)

    def close(self) -> None:
        """Close all connections."""
        if self._mirror is not None:
            self._mirror.close()
        self.database.dispose()

    def _read(self, work: Callable[[Connection], T]) -> T:
        """``database.read``, but a SQLite file that does not exist is not created. Raises NoTables."""
        if urls.is_sqlite(self.database.url) and not urls.path_of(self.database.url).exists():
            raise NoTables(f"storage {self.url}: no such file yet")
        return self.database.read(work)

    def _optuna(self) -> Mirror:
        if self._mirror is None:
            from lamsearch.store.mirror import Mirror  # noqa: PLC0415 - Optuna: not for commands that only read

            self._mirror = Mirror(self.database)
        return self._mirror

    def _view(self, study_id: int) -> tuple[View, StudyRow]:
        if study_id not in self._views:
            query = select(*STUDY).where(tables.studies.c.id == study_id)
            row = self.database.read(lambda connection: connection.execute(query).one_or_none())
            if row is None:
                raise UnknownStudy(f"number {study_id}", self.database.read(studies.names))
            study = study_row(row)
            self._views[study_id] = View(study_id, self._planner(study)), study
        return self._views[study_id]

    def _warm(self, study_id: int) -> tuple[View, StudyRow]:
        """A picture with a plan. The first one takes seconds at thousands of λ's: not while holding a lock."""
        view, row = self._view(study_id)
        if view.is_cold:
            self._refreshed(study_id).plan(closing=False)
        return view, row

    def _refreshed(self, study_id: int) -> View:
        view, _ = self._view(study_id)
        query = select(tables.studies.c.slots_version).where(tables.studies.c.id == study_id)

        def body(connection: Connection) -> None:
            view.refresh(connection, connection.scalar(query) or 0)

        self.database.read(body)
        return view
