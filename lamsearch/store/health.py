"""Is this database fit for use? What ``lamsearch doctor`` asks it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import func, select, text

from lamsearch.store import tables
from lamsearch.store.engine import Database


@dataclass(frozen=True, kw_only=True)
class Health:
    """``skew_s``: the database's clock less this machine's. ``round_trip_s``: the quickest of a few empty queries."""

    product: str
    skew_s: float
    round_trip_s: float
    has_tables: bool


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
    )
