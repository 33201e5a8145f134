"""What Optuna shows: one trial per λ, whoever died while it was being written."""

from __future__ import annotations

import math
import random
import threading
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from worlds import FACTS, claimed, config, mirrored, register, result, score, service, work

from lamsearch.records import BASELINE, FitKey, Stopped
from lamsearch.store import Store
from lamsearch.store.urls import parse


@pytest.fixture
def store(url: str) -> Store:
    return Store(url, service=service())


def trials(url: str, name: str = "s") -> list[optuna.trial.FrozenTrial]:
    """As any Optuna tool reads them."""
    return optuna.load_study(study_name=name, storage=parse(url).render_as_string(hide_password=False)).trials


def picture(url: str) -> list[tuple[object, ...]]:
    """Everything that must not depend on how the mirror got there."""
    return [
        (trial.number, trial.state, trial.params, trial.value, trial.intermediate_values, trial.user_attrs)
        for name in ("s", "s/baseline")
        for trial in trials(url, name)
    ]


def test_a_finished_study_as_optuna_sees_it(store: Store, url: str) -> None:
    study = store.submit(config(trials=6, pruner="paired", folds=5), FACTS)
    worker = register(store)
    work(store, study, worker, after=lambda: store.mirror(study.id))
    mirrored(store, study)
    found = trials(url)
    assert [trial.number for trial in found] == [trial.user_attrs["slot"] for trial in found] == list(range(6))
    states = Counter(trial.state for trial in found)
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    rows = {row.slot: row for row in store.table(study.id).slots}
    for trial in found:
        lam_over_m = rows[trial.number].lam_over_m
        assert lam_over_m is not None
        folds = len(trial.user_attrs["fold_scores"])
        expected = [score(lam_over_m, FitKey(trial.number, 0, fold)) for fold in range(folds)]
        assert trial.params["lam"] == pytest.approx(lam_over_m * 1000)
        assert isinstance(trial.distributions["lam"], optuna.distributions.FloatDistribution)
        assert trial.distributions["lam"].log
        assert trial.user_attrs["fold_scores"] == expected
        assert trial.intermediate_values[folds] == pytest.approx(math.fsum(expected) / folds)
        assert (
            trial.value == trial.intermediate_values[folds] == trial.intermediate_values[max(trial.intermediate_values)]
        )
        assert (folds == 5) == (trial.state is TrialState.COMPLETE)
        if trial.state is TrialState.PRUNED:
            assert trial.user_attrs["parked_after"] == folds
        assert {"train_acc", "val_loss", "weight_norm", "near_zero", "seconds", "worker"} <= set(trial.user_attrs)
        assert ("sem" in trial.user_attrs) == (folds > 1)
        assert trial.user_attrs["grad_norm conv1"] == pytest.approx(0.1)
    (baseline,) = trials(url, "s/baseline")
    assert (baseline.params, baseline.state, len(baseline.intermediate_values)) == ({}, TrialState.COMPLETE, 5)
    study_there = optuna.load_study(study_name="s", storage=parse(url).render_as_string(hide_password=False))
    assert study_there.direction is optuna.study.StudyDirection.MAXIMIZE
    assert study_there.metric_names == ["validation accuracy"]


def test_a_submitted_study_is_there_for_the_dashboard(store: Store, url: str) -> None:
    store.submit(config(), FACTS)
    assert optuna.get_all_study_names(parse(url).render_as_string(hide_password=False)) == ["s", "s/baseline"]
    assert trials(url) == []


def test_trials_run_while_they_have_folds_to_come(store: Store, url: str) -> None:
    study = store.submit(config(trials=3), FACTS)
    work(store, study, register(store), fits=4)
    mirrored(store, study)
    found = [*trials(url), *trials(url, "s/baseline")]
    assert [trial.state for trial in found] == [TrialState.RUNNING] * 4
    assert [len(trial.intermediate_values) for trial in found] == [1] * 4


def test_replicates_are_shown_beside_the_first_set_of_folds(store: Store, url: str) -> None:
    study = store.submit(config(trials=4, pruner="paired", folds=3, replicates=2), FACTS)
    work(store, study, register(store), after=lambda: store.mirror(study.id))
    mirrored(store, study)
    scores = store.table(study.id).scores
    found = trials(url)
    assert len(found) == 4
    replicated = [trial for trial in found if "replicate_scores" in trial.user_attrs]
    assert replicated
    for trial in replicated:
        more = [value for key, value in sorted(scores.items()) if key.slot == trial.number and key.replicate > 0]
        attrs = trial.user_attrs
        assert attrs["replicate_scores"] == more
        assert len(attrs["fold_scores"]) == 3
        assert trial.value == pytest.approx(math.fsum(attrs["fold_scores"]) / 3)
        assert attrs["mean_of_all"] == pytest.approx(math.fsum([*attrs["fold_scores"], *more]) / (3 + len(more)))
    assert all(trial.state.is_finished() for trial in found)


def test_what_waits_for_replicates_ends_with_its_study(store: Store, url: str) -> None:
    study = store.submit(config(trials=2, folds=2, replicates=2), FACTS)
    work(store, study, register(store), fits=6)
    mirrored(store, study)
    assert {trial.state for trial in trials(url)} == {TrialState.RUNNING}
    store.set_state("s", "stopped")
    mirrored(store, study)
    assert {trial.state for trial in trials(url)} == {TrialState.COMPLETE}


def test_log_loss_is_shown_as_itself(store: Store, url: str) -> None:
    study = store.submit(config(metric="log_loss", trials=1, folds=2), FACTS)
    worker = register(store)
    for _ in range(4):
        claim = claimed(store, study, worker)
        store.record(claim, result(claim, score=-0.5 - claim.keys[0].fold))
    mirrored(store, study)
    assert trials(url)[0].value == pytest.approx(1.0)
    assert trials(url)[0].intermediate_values == {1: 0.5, 2: 1.0}


def test_folds_are_shown_in_order_even_if_they_finish_in_another(store: Store, url: str) -> None:
    study = store.submit(config(trials=2, folds=4), FACTS)
    worker = register(store)
    claims = [claimed(store, study, worker) for _ in range(12)]
    random.Random(0).shuffle(claims)
    for claim in claims:
        store.record(claim, result(claim))
        mirrored(store, study)
        for trial in trials(url):
            folds = list(range(len(trial.intermediate_values)))
            slot = trial.number
            lam = trial.user_attrs["lam_over_m"]
            assert trial.user_attrs.get("fold_scores", []) == [score(lam, FitKey(slot, 0, fold)) for fold in folds]
    assert {trial.state for trial in trials(url)} == {TrialState.COMPLETE}


def test_mirroring_twice_changes_nothing(store: Store, url: str) -> None:
    study = store.submit(config(trials=5, pruner="paired", folds=5), FACTS)
    work(store, study, register(store))
    mirrored(store, study)
    before = picture(url)
    mirrored(store, study)
    mirrored(Store(url, service=service()), study)
    assert picture(url) == before


def test_one_pass_shows_the_same_as_many_by_different_processes(store: Store, url: str, tmp_path: Path) -> None:
    study = store.submit(config(trials=5, pruner="paired", folds=5), FACTS)
    worker = register(store)
    work(store, study, worker, after=lambda: Store(url, service=service()).mirror(study.id))
    mirrored(store, study)
    other_url = f"sqlite:///{tmp_path}/other.db"
    other = Store(other_url, service=service())
    twin = other.submit(config(trials=5, pruner="paired", folds=5), FACTS)
    work(other, twin, register(other))
    mirrored(other, twin)
    assert picture(url) == picture(other_url)


def test_a_failed_slot_is_a_failed_trial_with_its_reason(url: str) -> None:
    store = Store(url, service=service(max_attempts=1))
    study = store.submit(config(trials=2), FACTS)
    worker = register(store)
    while (claim := claimed(store, study, worker)).keys[0].slot != 1:
        store.record(claim, result(claim))
    store.crashed([claim], "MemoryError")
    work(store, study, worker)
    mirrored(store, study)
    assert [trial.state for trial in trials(url)] == [TrialState.COMPLETE, TrialState.FAIL]
    assert trials(url)[1].user_attrs["reason"] == "1 attempts at fold 1, the last: MemoryError"
    assert trials(url)[1].value is None
    store.retry_failed(study.id)
    work(store, study, worker)
    mirrored(store, study)
    assert [trial.state for trial in trials(url)] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert {row.slot: row.trial_number for row in store.table(study.id).slots} == {BASELINE: 0, 0: 0, 1: 2}


def test_a_trial_made_but_never_noted_is_found_again(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lamsearch.store import backlog

    study = store.submit(config(trials=4), FACTS)
    work(store, study, register(store), fits=3)
    with monkeypatch.context() as patch:
        patch.setattr(backlog, "note_trials", lambda *_: (_ for _ in ()).throw(SystemExit("killed")))
        with pytest.raises(SystemExit):
            store.mirror(study.id)
    assert len(trials(url)) == 4
    mirrored(Store(url, service=service()), study)
    assert [trial.user_attrs["slot"] for trial in trials(url)] == [0, 1, 2, 3]


def test_a_trial_made_twice_is_told_so(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study = store.submit(config(trials=4), FACTS)
    worker = register(store)
    work(store, study, worker, fits=3)
    original, calls = RDBStorage.create_new_trial, []

    def twice(self: RDBStorage, study_id: int, template_trial: optuna.trial.FrozenTrial | None = None) -> int:
        calls.append(study_id)
        if len(calls) == 3:
            original(self, study_id, template_trial)
        return original(self, study_id, template_trial)

    with monkeypatch.context() as patch:
        patch.setattr(RDBStorage, "create_new_trial", twice)
        mirrored(store, study)
    work(store, study, worker)
    mirrored(store, study)
    states = Counter(trial.state for trial in trials(url))
    assert states == {TrialState.COMPLETE: 4, TrialState.FAIL: 1}
    failed = next(trial for trial in trials(url) if trial.state is TrialState.FAIL)
    assert failed.user_attrs["reason"].startswith("duplicate")
    numbers = {row.slot: row.trial_number for row in store.table(study.id).slots if row.slot != BASELINE}
    assert len(set(numbers.values())) == 4
    assert failed.number not in numbers.values()


def test_one_mirror_at_a_time_and_a_dead_one_is_followed(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lamsearch.store.mirror import Mirror

    study = store.submit(config(trials=2), FACTS)
    worker = register(store)
    work(store, study, worker, fits=3)
    other = Store(url, service=service())
    seen: list[bool] = []
    original = Mirror.run

    def run(self: Mirror, held: object, then: object = None) -> bool:
        seen.append(other.mirror(study.id))
        return original(self, held)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "run", run)
        assert store.mirror(study.id)
    assert seen == [False]
    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "run", lambda *_: True)  # dies holding the lease
        store.mirror(study.id)
    assert not other.mirror(study.id)
    other.database.write(lambda connection: connection.exec_driver_sql("UPDATE lamsearch_leases SET expires = 0"))
    assert other.mirror(study.id)


def test_trials_deleted_in_the_dashboard_are_made_anew(store: Store, url: str) -> None:
    study = store.submit(config(trials=3), FACTS)
    worker = register(store)
    work(store, study, worker, fits=4)
    mirrored(store, study)
    optuna.delete_study(study_name="s", storage=parse(url).render_as_string(hide_password=False))
    work(store, study, worker)
    mirrored(store, study)
    assert [trial.state for trial in trials(url)] == [TrialState.COMPLETE] * 3
    assert [trial.state for trial in trials(url, "s/baseline")] == [TrialState.COMPLETE]


def test_a_trial_that_optuna_has_lost_is_made_anew(store: Store, url: str) -> None:
    study = store.submit(config(trials=3), FACTS)
    worker = register(store)
    work(store, study, worker, fits=4)
    mirrored(store, study)
    last = trials(url)[-1]._trial_id
    parts = ("params", "values", "intermediate_values", "user_attributes", "system_attributes")
    for table in (*(f"trial_{part}" for part in parts), "trials"):
        delete = f"DELETE FROM {table} WHERE trial_id = {last}"
        store.database.write(lambda connection, delete=delete: connection.exec_driver_sql(delete))  # type: ignore[misc]
    work(store, study, worker)
    mirrored(store, study)
    assert [trial.user_attrs["slot"] for trial in trials(url)] == [0, 1, 2]
    assert [trial.state for trial in trials(url)] == [TrialState.COMPLETE] * 3


def test_growing_adds_trials(store: Store, url: str) -> None:
    study = store.submit(config(trials=4, pruner="paired", folds=5), FACTS)
    worker = register(store)
    work(store, study, worker)
    mirrored(store, study)
    store.submit(config(trials=7, pruner="paired", folds=5), FACTS)
    work(store, study, worker)
    mirrored(store, study)
    found = trials(url)
    assert len([trial for trial in found if trial.state.is_finished()]) == len(found) >= 7
    assert sorted({trial.user_attrs["slot"] for trial in found}) == list(range(7))


def test_epoch_pruners_judge_epochs(store: Store, url: str) -> None:
    study = store.submit(config(trials=12, pruner="median", folds=2, sampler="qmc"), FACTS)
    worker = register(store)
    for _ in range(13):
        claim = claimed(store, study, worker)
        mean = math.fsum(score(claim.lam_over_m, key) for key in claim.keys) / 2
        reasons = (store.judge(claim, epoch, mean * epoch / 10) for epoch in range(1, 11))
        reason = next((reason for reason in reasons if reason), None)
        if reason:
            assert store.prune(claim, Stopped(reason=reason, epochs=3, seconds=0.1, started_at=1.0))
        else:
            assert store.record(claim, *(result(claim, key) for key in claim.keys))
        mirrored(store, study)
    found = trials(url)
    pruned = [trial for trial in found if trial.state is TrialState.PRUNED]
    assert 0 < len(pruned) < 12
    assert len(found) == 12
    assert all(trial.value == trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned)
    assert all(trial.user_attrs["reason"].startswith("median after epoch") for trial in pruned)
    complete = [trial for trial in found if trial.state is TrialState.COMPLETE]
    assert all(len(trial.intermediate_values) == 10 and len(trial.user_attrs["fold_scores"]) == 2 for trial in complete)


def test_workers_take_turns_and_leave_the_copy_to_the_one_that_has_optuna_loaded(url: str) -> None:
    store = Store(url, service=service())
    study = store.submit(config(), FACTS)
    first, second = register(store), register(store)
    assert store.mirror(study.id, first, in_turn=True)
    assert not store.mirror(study.id, second, in_turn=True)
    assert store.mirror(study.id, first, in_turn=True)
    assert store.mirror(study.id, second)
    assert not store.mirror(study.id, first, in_turn=True)
    store.free_worker(second)
    assert store.mirror(study.id, first, in_turn=True), "the other has left"


def test_one_of_many_workers_that_begin_together_opens_optuna(url: str) -> None:
    """To import it takes a second of a core's time, and its tables another."""
    Store(url, service=service()).submit(config(), FACTS)
    stores = [Store(url, service=service()) for _ in range(8)]
    workers = [register(store) for store in stores]
    barrier = threading.Barrier(8)

    def begin(store: Store, worker: int) -> None:
        study = store.study("s")
        barrier.wait()
        store.mirror(study.id, worker, in_turn=True)

    threads = [threading.Thread(target=begin, args=pair) for pair in zip(stores, workers, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store._mirror is not None for store in stores].count(True) == 1
