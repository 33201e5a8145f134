"""Small studies for `lamsearch` processes to work off (see ``forked``), and questions about both."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from end_state import EndState, end_state
from forked import Program

from lamsearch import preparation
from lamsearch.config import ServiceConfig, parse_study
from lamsearch.store import Store
from lamsearch.store.rows import WorkerRow


def wait_until(true: Callable[[], object], within_s: float = 30.0) -> float:
    """Seconds until ``true()`` was; AssertionError if it never was."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, f"not in {within_s:g} s: {true}"
        time.sleep(0.02)
    return time.monotonic() - began


def alive(store: Store, program: Program) -> WorkerRow | None:
    """Its row among the workers, while it is alive in the eyes of the database."""
    return next((row for row in store.workers() if row.pid == program.pid and row.alive), None)


def busy(store: Store, program: Program) -> str:
    """What it holds leases on, in words; empty if on nothing."""
    row = alive(store, program)
    return row.doing if row is not None else ""


def finished(store: Store) -> EndState:
    """All of the finished study ``s`` that must not depend on what went wrong on the way."""
    return end_state(store, store.study("s"))


def submitted(url: str, **tables: dict[str, Any]) -> Store:
    """A store with the small study ``s`` submitted; ``tables`` change it."""
    raw: dict[str, Any] = {
        "name": "s",
        "data": {"n": 300},
        "training": {"epochs": 3},
        "search": {"trials": 4, "folds": 3},
    }
    for table, values in tables.items():
        raw[table] = {**raw.get(table, {}), **values}
    config = parse_study(raw, where="test")
    store = Store(url, service=ServiceConfig(beat_s=0.2, retry_s=0.5, grace_s=1.2))
    _, facts = preparation.facts(config, allow_code=True)
    store.submit(config, facts)
    return store


def results(store: Store) -> int:
    """How many fold fits are recorded."""
    return len(store.table(store.study("s").id).scores)
