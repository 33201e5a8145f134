"""What the store costs: time per claim, result and mirrored fold, by the number of trials. `pytest -m benchmark -s`."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

sys.path.insert(0, str(Path(__file__).parent.parent / "store"))

from worlds import FACTS, config, register, result, score, service

from lamsearch.records import FitKey
from lamsearch.store import Claim, Store, StudyRow, tables
from lamsearch.store.rows import result_values
from tests.benchmarks.common import save, summary

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

SAMPLES = 60


def fill(store: Store, study: StudyRow, worker_id: int, spare: int) -> None:
    """All folds of all slots but the last ``spare``, written at once."""
    slots = store.table(study.id).slots
    sample = Claim(study_id=study.id, worker_id=worker_id, token="filled")
    done = [row for row in slots if row.slot < len(slots) - 1 - spare and row.lam_over_m is not None]

    def values(slot: int, lam: float, fold: int) -> dict[str, Any]:
        key = FitKey(slot, 0, fold)
        made = result(sample, key, lam_over_m=lam, score=score(lam, key))
        return {"study_id": study.id, "token": "filled", "recorded_at": 0.0, **result_values(made)}

    rows = [values(row.slot, row.lam_over_m or 0.0, fold) for row in done for fold in range(5)]

    def body(connection: Any) -> None:
        connection.execute(insert(tables.fold_results), rows)
        connection.execute(
            update(tables.slots)
            .where(tables.slots.c.study_id == study.id, tables.slots.c.slot.in_([row.slot for row in done]))
            .values(n_results=5, n_mirrored=5, told="COMPLETE")
        )

    store.database.write(body)


def timed(samples: list[float], call: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    found = call()
    samples.append(1e3 * (time.perf_counter() - started))
    return found


@pytest.mark.parametrize("n_trials", [100, 1000, 5000])
def test_claims_do_not_get_slower_with_the_number_of_trials(url: str, n_trials: int) -> None:
    store = Store(url, service=service(beat_s=60, grace_s=600))
    study = store.submit(config(trials=n_trials, folds=5, pruner="paired"), FACTS)
    worker_id = register(store)
    fill(store, study, worker_id, spare=50)
    first, claims, records, both, mirrors = [], [], [], [], []
    timed(first, lambda: store.plan(study.id))
    for _ in range(SAMPLES):
        claim = timed(claims, lambda: store.claim(study.id, worker_id))
        if not isinstance(claim, Claim):
            break  # the race needed fewer
        _, ahead = timed(both, lambda claim=claim: store.record_and_claim([(claim, [result(claim)])], 1))
        for claim in ahead:
            timed(records, lambda claim=claim: store.record(claim, result(claim)))
        timed(mirrors, lambda: store.mirror(study.id, worker_id))
    assert len(records) >= 20
    kind = store.database.engine.dialect.name
    samples = {"claim": claims, "record": records, "both in one": both, "mirror": mirrors[1:]}
    line = ", ".join(
        f"{name} p50 {statistics.median(found):.1f} p90 {sorted(found)[int(0.9 * len(found))]:.1f}"
        for name, found in samples.items()
    )
    figures = {name: {**summary(found), "p90": sorted(found)[int(0.9 * len(found))]} for name, found in samples.items()}
    save(f"store_cost-{kind}-{n_trials}", first_plan_ms=first[0], milliseconds=figures)
    print(f"\n{kind}, {n_trials} trials, n = {len(records)}, ms: {line}; first plan {first[0]:.0f}")
    assert statistics.median(claims) < 20
