"""Claims and results: who works on what, and what happens when somebody dies. On SQLite and on PostgreSQL."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import pytest
from failpoints import Commits, failing
from sqlalchemy import Connection
from worlds import FACTS, claimed, config, hasty, register, result, service, work

from lamsearch.records import BASELINE, FitKey, Stopped
from lamsearch.store import Claim, Done, Store, Wait
from lamsearch.store.studies import lock


@pytest.fixture
def store(url: str) -> Store:
    return Store(url, service=service())


def test_a_study_is_worked_off_once(store: Store) -> None:
    study = store.submit(config(), FACTS)
    assert work(store, study, register(store)) == Done(state="open")
    results = store.results(study.id)
    assert Counter(found.key.slot for found in results) == dict.fromkeys(range(BASELINE, 4), 3)
    assert store.executed(study.id) == len(results) == 15
    table = store.table(study.id)
    assert dict(table.scores) == {found.key: found.score for found in results}


def test_a_result_is_read_as_it_was_written(store: Store) -> None:
    study = store.submit(config(), FACTS)
    claim = claimed(store, study, register(store))
    given = result(claim, collapsed=True, score=0.1 + 0.2, val_loss=1e-300)
    assert store.record(claim, given)
    assert store.results(study.id) == (given,)


def test_a_number_that_is_not_finite_is_refused(store: Store) -> None:
    study = store.submit(config(), FACTS)
    claim = claimed(store, study, register(store))
    with pytest.raises(ValueError, match="val_loss must be finite"):
        store.record(claim, result(claim, val_loss=float("nan")))
    assert store.results(study.id) == ()


def test_workers_get_different_fits(store: Store) -> None:
    study = store.submit(config(), FACTS)
    first, second = register(store), register(store)
    keys = [claimed(store, study, worker).keys for worker in (first, second) * 4]
    assert len(set(keys)) == 8


def test_registering_again_is_the_same_worker(store: Store) -> None:
    from lamsearch.store import WorkerInfo

    info = WorkerInfo(host="here", pid=1, device="cpu")
    assert store.register(info) == store.register(info)
    assert [row.host for row in store.workers()] == ["here"]


def test_a_released_fit_goes_to_the_next_worker_without_costing_an_attempt(store: Store) -> None:
    study = store.submit(config(), FACTS)
    first, second = register(store), register(store)
    claim = claimed(store, study, first)
    store.release(claim)
    again = claimed(store, study, second)
    assert (again.keys, again.attempt) == (claim.keys, 1)
    assert not store.record(claim, result(claim)), "it had been given back"


def test_an_expired_lease_is_taken_over_and_the_loser_notices(url: str) -> None:
    store, other = Store(url, service=hasty()), Store(url, service=hasty())
    study = store.submit(config(), FACTS)
    paused, living = register(store), register(other)
    claim = claimed(store, study, paused)
    time.sleep(0.5)
    taken = claimed(other, study, living)
    assert taken.keys == claim.keys
    assert store.beat(paused) == {claim.token}
    assert not store.record(claim, result(claim))
    assert other.record(taken, result(taken))
    assert len(store.results(study.id)) == 1


def test_a_beat_keeps_leases(url: str) -> None:
    store = Store(url, service=hasty(grace_s=1.0))
    study = store.submit(config(), FACTS)
    worker = register(store)
    claim = claimed(store, study, worker)
    for _ in range(8):
        time.sleep(0.2)
        assert store.beat(worker) == frozenset()
    assert claimed(store, study, register(store)).keys != claim.keys
    assert store.record(claim, result(claim))


def test_a_beat_does_not_keep_what_was_forgotten(url: str) -> None:
    """A claim whose acknowledgement never came belongs to nobody: no beat may prolong it for ever."""
    store = Store(url, service=hasty())
    study = store.submit(config(), FACTS)
    worker = register(store)
    claim = claimed(store, study, worker)
    twin = Store(url, service=hasty())
    for _ in range(6):
        time.sleep(0.1)
        twin.beat(worker)
    assert claimed(store, study, register(store)).keys == claim.keys


def test_a_worker_that_was_only_paused_gets_its_attempt_back(url: str) -> None:
    store, other = Store(url, service=hasty()), Store(url, service=hasty())
    study = store.submit(config(), FACTS)
    paused, living = register(store), register(other)
    claimed(store, study, paused)
    time.sleep(0.5)
    taken = claimed(other, study, living)
    assert taken.attempt == 2
    store.beat(paused)
    other.release(taken)
    assert claimed(other, study, living).attempt == 1


def test_a_dead_worker_is_freed_at_once_and_costs_an_attempt(store: Store, url: str) -> None:
    study = store.submit(config(), FACTS)
    dead, living = register(store), register(store)
    parent = Store(url, service=service())
    claim = claimed(store, study, dead)
    assert parent.free_worker(dead) == 1
    again = claimed(store, study, living)
    assert (again.keys, again.attempt) == (claim.keys, 2)
    assert parent.free_worker(dead) == 0
    assert [row.alive for row in store.workers()] == [True, False]


def test_a_worker_that_leaves_in_order_costs_nothing(store: Store) -> None:
    study = store.submit(config(), FACTS)
    leaving = register(store)
    claimed(store, study, leaving)
    assert store.free_worker(leaving) == 1
    assert claimed(store, study, register(store)).attempt == 1


def test_attempts_are_used_up_then_the_slot_fails_with_the_reason(url: str) -> None:
    store = Store(url, service=service(max_attempts=2, max_crashes=100))
    study = store.submit(config(), FACTS)
    worker = register(store)
    claim = claimed(store, study, worker)
    store.crashed([claim], "ValueError: no such thing")
    claim = claimed(store, study, worker)
    assert claim.attempt == 2
    store.crashed([claim], "ValueError: no such thing")
    store.crashed([claim], "told twice, counted once")
    failed = [row for row in store.table(study.id).slots if row.failed]
    assert [(row.slot, row.failed) for row in failed] == [
        (claim.keys[0].slot, "2 attempts at fold 1, the last: ValueError: no such thing")
    ]
    assert work(store, study, worker) == Done(state="open")
    assert len(store.results(study.id)) == 12
    assert store.retry_failed(study.id) == 1
    assert work(store, study, worker) == Done(state="open")
    assert len(store.results(study.id)) == 15


def test_retrying_forgives_a_dead_workers_other_fold_too(url: str) -> None:
    """A worker that died over another fold of a failed λ, and whose lease runs out only after the retry."""
    store = Store(url, service=hasty(max_attempts=1))
    study = store.submit(config(trials=1), FACTS)
    dead, living = register(store), register(store)
    held = claimed(store, study, dead)
    while (claim := claimed(store, study, living)).keys[0].slot != held.keys[0].slot:
        assert store.record(claim, result(claim))
    store.crashed([claim], "boom")
    assert store.retry_failed(study.id) == 1
    time.sleep(0.5)
    assert work(store, study, living) == Done(state="open")
    assert [row.failed for row in store.table(study.id).slots] == [None, None]
    assert not store.record(held, result(held))


def test_many_crashes_in_a_row_end_the_study(url: str) -> None:
    store = Store(url, service=service(max_crashes=3))
    study = store.submit(config(), FACTS)
    worker = register(store)
    for _ in range(2):
        store.crashed([claimed(store, study, worker)], "boom")
    claim = claimed(store, study, worker)
    store.record(claim, result(claim))
    for _ in range(3):
        assert store.study("s").state == "open"
        store.crashed([claimed(store, study, worker)], "boom")
    assert store.claim(study.id, worker) == Done(state="failed")
    assert store.study("s").reason == "3 crashes in a row, the last: boom"


def test_fits_that_crash_together_are_one_crash_and_an_attempt_of_each(url: str) -> None:
    store = Store(url, service=service(max_crashes=3))
    study = store.submit(config(), FACTS)
    worker = register(store)
    for crashes in range(1, 4):
        batch = [claimed(store, study, worker) for _ in range(4)]
        assert {claim.attempt for claim in batch} == {crashes}
        assert store.study("s").state == "open"
        store.crashed(batch, "boom")
        store.crashed(batch, "the acknowledgement was lost")
    assert store.study("s").reason == "3 crashes in a row, the last: boom"
    assert [bool(row.failed) for row in store.table(study.id).slots].count(True) == 4


def test_an_idle_worker_duplicates_a_late_fit_and_the_first_result_counts(url: str) -> None:
    store = Store(url, service=service())
    study = store.submit(config(trials=1, folds=2), FACTS)
    slow, quick = register(store), register(store)
    late = claimed(store, study, slow)
    work(store, study, quick, fits=3)
    assert isinstance(store.claim(study.id, quick), Wait), "not late yet"
    assert isinstance(store.claim(study.id, slow), Wait)
    time.sleep(1.2)
    double = claimed(store, study, quick)
    assert (double.keys, double.copy) == (late.keys, 1)
    assert isinstance(store.claim(study.id, register(store)), Wait), "two are enough"
    assert store.record(double, result(double))
    assert not store.record(late, result(late))
    assert store.beat(slow) == frozenset()
    assert (len(store.results(study.id)), store.executed(study.id)) == (4, 5)


def test_a_worker_that_waits_takes_no_lock(url: str) -> None:
    """There may be many of them, and they ask again and again while others need it."""
    store = Store(url, service=service(retry_s=0.5))
    study = store.submit(config(trials=1, folds=2), FACTS)
    slow, idle = register(store), register(store)
    held = claimed(store, study, slow)
    work(store, study, idle, fits=3)
    assert isinstance(store.claim(study.id, idle), Wait)
    other = Store(url, service=service())
    asked: list[object] = []

    def busy(connection: Connection) -> None:
        lock(connection, study.id)
        asked.extend(store.claim(study.id, idle) for _ in range(2))

    other.database.write(busy)
    assert [type(found) for found in asked] == [Wait, Wait]
    store.release(held)
    assert claimed(store, study, idle).keys == held.keys, "it looks up as soon as there is something"


def test_whole_trials_are_leased_for_epoch_pruners(store: Store) -> None:
    study = store.submit(config(pruner="median"), FACTS)
    worker = register(store)
    claim = claimed(store, study, worker)
    assert claim.whole
    assert claim.keys == tuple(FitKey(claim.keys[0].slot, 0, fold) for fold in range(3))
    assert store.record(claim, *(result(claim, key) for key in claim.keys))
    claim = claimed(store, study, worker)
    end = Stopped(reason="median after epoch 2", epochs=2, seconds=1.5, started_at=7.0)
    assert store.prune(claim, end)
    assert store.prune(claim, end), "an acknowledgement was lost"
    (row,) = [row for row in store.table(study.id).slots if row.stopped]
    assert (row.slot, row.stopped) == (claim.keys[0].slot, "median after epoch 2")
    assert (row.stopped_epochs, row.stopped_seconds, row.stopped_started) == (2, 1.5, 7.0)
    assert work(store, study, worker) == Done(state="open")
    assert len(store.results(study.id)) == 12


def test_a_recorded_result_may_be_handed_in_again(store: Store) -> None:
    study = store.submit(config(), FACTS)
    claim = claimed(store, study, register(store))
    assert store.record(claim, result(claim))
    assert store.record(claim, result(claim)), "the first acknowledgement was lost"
    assert len(store.results(study.id)) == 1


def test_a_result_and_the_next_claim_are_one_transaction(store: Store) -> None:
    study = store.submit(config(), FACTS)
    worker = register(store)
    batch = [claimed(store, study, worker) for _ in range(3)]
    with failing(Commits()) as commits:
        kept, ahead = store.record_and_claim([(claim, [result(claim)]) for claim in batch], 4)
    assert (kept, len(ahead), commits.n) == ([True] * 3, 4, 1)
    keys = [claim.keys[0] for claim in (*batch, *ahead)]
    assert len(set(keys)) == 7
    assert [found.key for found in store.results(study.id)] == sorted(keys[:3])
    assert store.executed(study.id) == 3
    assert store.beat(worker) == frozenset(), "the new ones are this worker's, the old ones nobody's"


def test_what_is_handed_in_too_late_is_discarded_and_work_goes_on(store: Store) -> None:
    study = store.submit(config(), FACTS)
    worker = register(store)
    late, good = claimed(store, study, worker), claimed(store, study, worker)
    store.release(late)
    kept, ahead = store.record_and_claim([(late, [result(late)]), (good, [result(good)])], 1)
    assert kept == [False, True]
    assert ahead[0].keys == late.keys
    assert [found.key for found in store.results(study.id)] == [good.keys[0]]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hiccup_of_both_loses_nothing_and_gives_nothing_twice(store: Store, when: str) -> None:
    study = store.submit(config(), FACTS)
    worker = register(store)
    claim = claimed(store, study, worker)
    with failing(Commits(at=1, when=when)):
        kept, (ahead,) = store.record_and_claim([(claim, [result(claim)])], 1)
    assert kept == [True]
    assert store.executed(study.id) == len(store.results(study.id)) == 1
    assert store.free_worker(worker) == 1, "one lease, and no other that nobody knows of"
    assert not store.record(ahead, result(ahead))
    assert work(store, study, worker) == Done(state="open")


def test_a_result_that_was_not_kept_is_not_seen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction fails, and before it is tried again the lease is gone."""
    study = store.submit(config(), FACTS)
    worker = register(store)
    claim = claimed(store, study, worker)

    def fails(work: Callable[[Connection], object]) -> None:
        with store.database.engine.connect() as connection, connection.begin() as transaction:
            work(connection)
            transaction.rollback()
        store.release(claim)

    monkeypatch.setattr(store.database, "write_once", fails)
    kept, (ahead,) = store.record_and_claim([(claim, [result(claim)])], 1)
    assert (kept, ahead.keys) == ([False], claim.keys)
    assert store.table(study.id).scores == {}


def test_the_last_result_gives_no_claim(store: Store) -> None:
    study = store.submit(config(), FACTS)
    worker = register(store)
    work(store, study, worker, fits=14)
    claim = claimed(store, study, worker)
    assert store.record_and_claim([(claim, [result(claim)])], 1) == ([True], [])
    assert store.claim(study.id, worker) == Done(state="open")


def test_time_is_up(store: Store) -> None:
    study = store.submit(config(trials=20, pruner="paired"), FACTS)
    worker = register(store)
    work(store, study, worker, fits=22)
    store.set_deadline("s", 0.0)
    assert isinstance(work(store, study, worker), Done)
    fitted = Counter(key.slot for key in store.table(study.id).scores)
    assert fitted[BASELINE] == 3
    assert sum(fitted.values()) < 30
    store.set_state("s", "open")
    assert store.study("s").deadline is None
    work(store, study, worker)
    assert len(store.table(study.id).scores) > sum(fitted.values())


@pytest.mark.parametrize("state", ["stopped", "failed", "done"])
def test_a_study_that_has_ended_gives_no_work(store: Store, state: str) -> None:
    study = store.submit(config(), FACTS)
    worker = register(store)
    claim = claimed(store, study, worker)
    store.set_state("s", state, "why not")  # type: ignore[arg-type]
    assert store.claim(study.id, worker) == Done(state=state)  # type: ignore[arg-type]
    assert store.record(claim, result(claim)), "finished work is kept all the same"


def test_the_refit_is_leased_and_the_answer_ends_the_study(store: Store) -> None:
    study = store.submit(config(), FACTS)
    first, second = register(store), register(store)
    assert store.claim_refit(study.id, first) is None
    work(store, study, first)
    claim = store.claim_refit(study.id, first)
    assert isinstance(claim, Claim)
    assert store.claim_refit(study.id, second) is None
    store.release(claim)
    claim = store.claim_refit(study.id, second)
    assert claim is not None
    assert store.store_answer(study.id, {"lam": 1.0}, claim)
    assert store.store_answer(study.id, {"lam": 1.0}, claim)
    assert store.answer(study.id) == {"lam": 1.0}
    row = store.study("s")
    assert (row.state, row.answered) == ("done", True)
    assert store.claim_refit(study.id, first) is None


def test_a_refit_that_always_crashes_ends_the_study(store: Store) -> None:
    study = store.submit(config(), FACTS)
    worker = register(store)
    work(store, study, worker)
    for _ in range(3):
        claim = store.claim_refit(study.id, worker)
        assert claim is not None
        store.crashed([claim], "boom")
    assert store.claim_refit(study.id, worker) is None
    assert (store.study("s").state, store.study("s").reason) == ("failed", "refit: 3 attempts, the last: boom")


def test_a_study_that_grew_during_the_refit_is_not_done(store: Store) -> None:
    study = store.submit(config(), FACTS)
    worker = register(store)
    work(store, study, worker)
    claim = store.claim_refit(study.id, worker)
    store.submit(config(trials=6), FACTS)
    assert not store.store_answer(study.id, {"lam": 1.0}, claim)
    row = store.study("s")
    assert (row.state, row.answered, store.answer(study.id)) == ("open", False, {"lam": 1.0})
    work(store, study, worker)
    assert len(store.results(study.id)) == 21


def test_looks_at_the_test_set_are_counted_once_each(store: Store) -> None:
    study = store.submit(config(), FACTS)
    look = {"lam_over_m": 0.001, "protocol": "p", "accuracy": 0.9}
    assert store.add_look(study.id, look) == [look]
    assert store.add_look(study.id, {**look, "accuracy": 0.1}) == [look]
    assert len(store.add_look(study.id, {**look, "lam_over_m": 0.002})) == 2
    assert len(store.looks(study.id)) == 2


def test_a_claim_on_a_deleted_study_is_superseded(store: Store, url: str) -> None:
    study = store.submit(config(), FACTS)
    worker = register(store)
    claim = claimed(store, study, worker)
    store.delete("s")
    assert store.beat(worker) == {claim.token}
    assert not store.record(claim, result(claim))
    assert store.record_and_claim([(claim, [result(claim)])], 1) == ([False], [])
    store.crashed([claim], "boom")
    store.release(claim)
    for process in (store, Store(url, service=service())):
        assert process.claim(study.id, worker) == Done(state="stopped")
        assert process.claim_refit(study.id, worker) is None
        assert process.mirror(study.id, worker)
