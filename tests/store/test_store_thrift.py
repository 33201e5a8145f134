"""What a fold fit costs: round trips to a PostgreSQL server, as its own protocol counts them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from worlds import FACTS, claimed, config, register, result, service

from lamsearch.store import Claim, Store

pytestmark = pytest.mark.postgres


class Trips:
    """Counts the times a server was waited for. https://www.postgresql.org/docs/current/libpq-control.html"""

    def __init__(self, store: Store, path: Path) -> None:
        self.path = path
        self.file = path.open("wb")
        store.close()  # connections made from here on are traced
        event.listen(store.database.engine, "connect", self._trace)

    def _trace(self, connection: Any, _record: Any) -> None:
        connection.pgconn.trace(self.file.fileno())

    def of(self, call: Callable[[], object]) -> int:
        before = self._n()
        call()
        return self._n() - before

    def _n(self) -> int:
        return self.path.read_text(errors="replace").count("ReadyForQuery")


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    store = Store(postgres_url, service=service())
    yield store
    store.close()


def test_a_finished_fit_and_the_next_one_cost_a_dozen_round_trips(store: Store, tmp_path: Path) -> None:
    study = store.submit(config(trials=20), FACTS)
    workers = [register(store) for _ in range(5)]
    claims = [claimed(store, study, worker) for worker in workers]
    trips = Trips(store, tmp_path / "trace")
    mine, costs = claims[0], []

    def fit() -> None:
        nonlocal mine
        kept, (mine,) = store.record_and_claim([(mine, [result(mine)])], 1)
        assert kept == [True]

    for _ in range(9):
        costs.append(trips.of(fit))
    assert min(costs) > 5, "nothing was counted"
    assert statistics.median(costs) <= 12


def test_a_look_is_one_round_trip(store: Store, tmp_path: Path) -> None:
    study = store.submit(config(), FACTS)
    trips = Trips(store, tmp_path / "trace")
    store.studies()
    assert trips.of(store.studies) == 1
    assert trips.of(lambda: store.answer(study.id)) == 1


def test_a_claim_costs_no_more_with_many_workers(store: Store, tmp_path: Path) -> None:
    study = store.submit(config(trials=20), FACTS)
    trips = Trips(store, tmp_path / "trace")
    worker, costs = register(store), []
    for _ in range(12):
        costs.append(trips.of(lambda: claimed(store, study, worker)))
    assert isinstance(store.claim(study.id, worker), Claim)
    assert statistics.median(costs) <= 9
