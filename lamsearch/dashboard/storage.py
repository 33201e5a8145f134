"""Optuna's storage of a database that lamsearch has made."""

from __future__ import annotations

from optuna.storages import RDBStorage

from lamsearch.config import ServiceConfig
from lamsearch.errors import InputError
from lamsearch.store import urls
from lamsearch.store.engine import Database, NoTables
from lamsearch.store.optuna_study import open_storage


def open_url(url: str) -> RDBStorage:
    """Optuna's storage behind ``url``. Raises InputError for a database without studies: nothing is created."""
    database = Database(urls.parse(url), ServiceConfig(), read_only=True)
    try:
        return open_storage(database, create=False)
    except NoTables:
        raise InputError(f"storage {database.masked} holds no study yet; `lamsearch run` makes one") from None
    finally:
        database.dispose()
