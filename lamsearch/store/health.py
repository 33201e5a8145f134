"""Is this database fit for use? What ``lamsearch doctor`` asks it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text

from lamsearch.store import tables, urls
from lamsearch.store.engine import Database


@dataclass(frozen=True, kw_only=True)
class Health:
    """``skew_s``: the database's clock less this machine's. ``round_trip_s``: the quickest of a few empty queries.

    ``may_write``: whether this user may do more than read (without asking for a change). ``damage``: the first that
    SQLite finds in its file, going through all of it; None if there is none, or if a server looks after that.
    """

    product: str
    skew_s: float
    round_trip_s: float
    has_tables: bool
    may_write: bool
    damage: str | None = None


def health(database: Database) -> Health:
    """Ask the database. Raises InputError or StorageUnavailable."""
    postgres = database.engine.dialect.name == "postgresql"
    version = text("SHOW server_version") if postgres else select(func.sqlite_version())
    product = str(database.read(lambda connection: connection.scalar(version)))
    has_tables = database.read(lambda connection: tables.check_version(connection, database.masked))
    trips, skews = [], []
    for _ in range(5):
        began = time.time()
        clock = float(database.read(lambda connection: connection.scalar(select(tables.now()))) or 0.0)
        ended = time.time()
        trips.append(ended - began)
        skews.append(clock - (began + ended) / 2)
    return Health(
        product=f"{'PostgreSQL' if postgres else 'SQLite'} {product}",
        skew_s=skews[trips.index(min(trips))],
        round_trip_s=min(trips),
        has_tables=has_tables,
        may_write=database.read(lambda connection: _may_write(connection, database, has_tables)),
        damage=None if postgres else database.read(_damage),
    )


def _damage(connection: Connection) -> str | None:
    """https://sqlite.org/pragma.html#pragma_quick_check"""
    found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
    return None if found == "ok" else found.splitlines()[-1]


def _may_write(connection: Connection, database: Database, has_tables: bool) -> bool:
    if connection.dialect.name == "sqlite":
        return urls.may_write(database.url)
    if not has_tables:
        return bool(connection.scalar(text("SELECT has_schema_privilege(current_schema(), 'CREATE')")))
    names = [table.name for table in tables.metadata.sorted_tables]
    allowed = text("SELECT has_table_privilege(:name, 'INSERT') AND has_table_privilege(:name, 'UPDATE')")
    return all(connection.scalar(allowed, {"name": name}) for name in names)
