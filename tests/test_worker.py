"""The worker's loop, in this process, on a real database and real training (a linear model on few digits)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import Programs

from lamsearch import dossier, lockstep, preparation, refit
from lamsearch.answer import from_json, to_json
from lamsearch.config import ServiceConfig, StudyConfig, parse_study
from lamsearch.errors import InputError, NoAnswerYet
from lamsearch.executor import Executor
from lamsearch.fused import FusedTrainer
from lamsearch.problem import Interrupted
from lamsearch.records import BASELINE, FitKey, Stopped
from lamsearch.stopping import Stop
from lamsearch.store import Store, StudyRow
from lamsearch.training import LoopTrainer, TrainerType
from lamsearch.worker import Options, Worker

QUICK = ServiceConfig(beat_s=0.2, grace_s=2.0, retry_s=0.5, poll_s=0.05)


def study_config(**tables: dict[str, object]) -> StudyConfig:
    raw: dict[str, object] = {
        "name": "small",
        "data": {"n": 200},
        "model": {"kind": "linear"},
        "training": {"epochs": 3},
        "search": {"trials": 5, "folds": 3},
    }
    for table, values in tables.items():
        raw[table] = {**raw.get(table, {}), **values}  # type: ignore[dict-item]
    return parse_study(raw, where="test")


def opened(tmp_path: Path, config: StudyConfig, service: ServiceConfig = QUICK) -> tuple[Store, StudyRow]:
    store = Store(str(tmp_path / "study.db"), service=service)
    _, facts = preparation.facts(config)
    return store, store.submit(config, facts)


def serve(store: Store, stop: Stop | None = None, **options: object) -> tuple[int, list[str]]:
    said: list[str] = []
    threads = torch.get_num_threads()
    try:
        chosen = Options(exit_when_done=True, say=said.append, **options)  # type: ignore[arg-type]
        return Worker(store, chosen, stop or Stop()).run(), said
    finally:
        torch.set_num_threads(threads)


def test_a_study_is_served_to_its_answer(tmp_path: Path) -> None:
    store, study = opened(tmp_path, study_config())
    code, said = serve(store)
    row = store.study("small")
    assert (code, said, row.state, row.answered) == (0, [], "done", True)
    answer = dossier.current_answer(store, row)
    assert answer is not None
    assert answer.status == "final"
    assert answer.test is not None
    assert answer.test.n == study.facts["n_test"]
    assert answer.budget.trials == 5 == answer.budget.complete + answer.budget.pruned + answer.budget.failed
    assert answer.budget.fold_fits == answer.budget.fold_fits_executed == len(store.results(row.id))
    assert from_json(to_json(answer)) == answer
    for fold in range(3):
        assert FitKey(BASELINE, 0, fold) in store.table(row.id).scores


def test_resuming_a_finished_study_adds_nothing_and_growing_it_adds_the_difference(tmp_path: Path) -> None:
    store, study = opened(tmp_path, study_config())
    serve(store)
    before = store.table(study.id).scores
    _, facts = preparation.facts(study_config())
    store.submit(study_config(), facts)
    serve(store)
    assert store.table(study.id).scores == before
    store.submit(study_config(search={"trials": 7}), facts)
    serve(store)
    after = store.table(study.id)
    assert len([row for row in after.slots if not row.is_baseline]) == 7
    assert before.items() <= after.scores.items()
    assert store.study("small").state == "done"


def test_several_workers_and_one_make_the_same_table_and_answer(programs: Programs, tmp_path: Path) -> None:
    tables = []
    for n_workers in (1, 3):
        folder = tmp_path / str(n_workers)
        folder.mkdir()
        store, study = opened(folder, study_config(search={"trials": 9}))
        command = "worker --exit-when-done --storage study.db"
        workers = [programs.start(command, folder) for _ in range(n_workers)]
        assert [worker.wait(120) for worker in workers] == [0] * n_workers
        answer = dossier.current_answer(store, store.study("small"))
        assert answer is not None
        assert answer.test is not None
        tables.append((store.table(study.id).scores, answer.lam, answer.test.accuracy, answer.curve))
        executed = {result.worker for result in store.results(study.id)}
        assert len(executed) <= n_workers
    assert tables[0] == tables[1]


def test_a_crash_is_an_attempt_and_never_a_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = Executor.train

    def sometimes(self: Executor, members: list, **options: object) -> object:  # type: ignore[type-arg]
        if members[0].slot == 2:
            raise RuntimeError("cosmic ray")
        return train(self, members, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Executor, "train", sometimes)
    patient = QUICK.model_copy(update={"grace_s": 60.0})  # a late beat would lose the lease, and with it the attempt
    store, study = opened(tmp_path, study_config(), patient)
    code, said = serve(store)
    rows = {row.slot: row for row in store.table(study.id).slots}
    assert code == 0
    assert "RuntimeError: cosmic ray" in (rows[2].failed or "")
    assert sum("crashed: RuntimeError: cosmic ray" in line for line in said) == QUICK.max_attempts
    answer = dossier.current_answer(store, store.study("small"))
    assert answer is not None
    assert answer.budget.failed == 1
    assert {point.status for point in answer.curve if point.slot == 2} == {"failed"}


def test_a_stop_releases_the_lease_at_once_and_counts_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, study = opened(tmp_path, study_config(), ServiceConfig(poll_s=0.05))
    stop = Stop()

    def interrupted(self: Executor, members: object, *, stop: Callable[[], bool]) -> object:
        asked.set(15)
        assert stop()
        raise Interrupted

    asked = stop
    monkeypatch.setattr(Executor, "train", interrupted)
    code, _ = serve(store, stop)
    assert code == 143
    monkeypatch.undo()
    code, _ = serve(store)
    assert (code, store.study("small").state) == (0, "done")
    assert all(row.failed is None for row in store.table(study.id).slots)


@pytest.mark.parametrize("end", ["stop", "study"])
def test_a_claim_taken_ahead_is_given_back_if_it_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """The worker is told to stop, or its study is stopped, between a result with the next claim and the next fit."""
    store, study = opened(tmp_path, study_config(), ServiceConfig(poll_s=0.05))
    stop, record, taken = Stop(), Store.record_and_claim, list[object]()

    def ending(self: Store, *given: object) -> object:
        kept, ahead = record(self, *given)  # type: ignore[arg-type]
        taken.extend(ahead)
        if ahead and end == "stop":
            stop.set()
        elif ahead:
            store.set_state("small", "stopped")
        return kept, ahead

    monkeypatch.setattr(Store, "record_and_claim", ending)
    assert serve(store, stop)[0] == 0
    monkeypatch.undo()
    assert len(taken) == 1
    assert store.executed(study.id) == len(store.results(study.id))
    store.set_state("small", "open")
    serve(store)
    assert store.executed(study.id) == len(store.results(study.id)), "nothing was done twice"
    assert all(row.failed is None for row in store.table(study.id).slots)


def test_studies_take_turns_and_meanwhile_nothing_is_claimed_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, first = opened(tmp_path, study_config(search={"trials": 2}))
    config = study_config(search={"trials": 6}).model_copy(update={"name": "other"})
    second = store.submit(config, preparation.facts(config)[1])
    record, asked = Store.record_and_claim, list[int]()

    def asking(self: Store, done: object, n: int) -> object:
        asked.append(n)
        return record(self, done, n)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "record_and_claim", asking)
    serve(store)
    began = sorted((row.started_at, number) for number in (first.id, second.id) for row in store.results(number))
    order = [number for _, number in began]
    assert set(order[:2]) == set(order[2:4]) == {first.id, second.id}
    assert set(asked[:6]) == {0}
    assert 1 in asked


def test_a_worker_with_other_data_refuses_in_one_line(tmp_path: Path) -> None:
    config = study_config()
    store = Store(str(tmp_path / "study.db"), service=QUICK)
    _, facts = preparation.facts(config)
    store.submit(config, {**facts, "fingerprint": "0" * 64})
    code, said = serve(store)
    assert code == 2, "a batch system must not take it for done"
    assert len(said) == 1
    assert "not serving study small: the data here differ from those of study 'small' (fingerprint" in said[0]
    assert f"(fingerprint: stored {'0' * 12}…, here " in said[0]
    assert re.search("[0-9a-f]{13}", said[0]) is None, "a whole checksum tells a reader nothing more"
    assert store.table(store.study("small").id).scores == {}


def test_foreign_code_is_run_only_when_allowed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="allow it with --allow-code"):
        preparation.facts(study_config(model={"kind": "os:getcwd"}))


def test_epoch_pruners_end_whole_trials(tmp_path: Path) -> None:
    store, study = opened(tmp_path, study_config(search={"pruner": "halving", "trials": 6}, training={"epochs": 6}))
    serve(store)
    table = store.table(study.id)
    stopped = [row for row in table.slots if row.stopped]
    assert stopped
    assert all(key.slot not in {row.slot for row in stopped} for key in table.scores)
    answer = dossier.current_answer(store, store.study("small"))
    assert answer is not None
    assert answer.budget.pruned == len(stopped)
    results = store.results(study.id)
    finished = sum(len(result.epochs) for result in results)
    assert all(1 <= row.stopped_epochs < 6 for row in stopped)
    assert answer.budget.stopped_epochs == 3 * sum(row.stopped_epochs for row in stopped)
    assert answer.budget.epochs == finished + answer.budget.stopped_epochs < answer.budget.epochs_full == 7 * 3 * 6
    assert answer.budget.fold_fits_executed == len(results) + answer.budget.fold_fits_stopped == 7 * 3
    parked = {point.slot: point.parked for point in answer.curve}
    assert all(parked[row.slot].epochs == row.stopped_epochs for row in stopped)
    trained = sum(result.seconds for result in results) + sum(row.stopped_seconds for row in stopped)
    assert answer.budget.fit_seconds == pytest.approx(trained)
    assert answer.budget.seconds == pytest.approx(trained, rel=0.2), "the folds of a trial took turns"


@pytest.mark.parametrize("trainer", [LoopTrainer, FusedTrainer])
def test_lockstep_stops_at_the_epoch_the_judge_names(trainer: TrainerType) -> None:
    config = study_config()
    data, _ = preparation.facts(config)
    from lamsearch.problem import Member, problem

    ready = problem(config, data)
    members = [Member(0, 0, fold, 1e-4) for fold in range(3)]
    seen: list[int] = []

    def judge(epoch: int, mean: float) -> str | None:
        seen.append(epoch)
        return "enough" if epoch == 2 else None

    found = lockstep.train(ready, members, judge, trainer=trainer, stop=lambda: False)
    assert isinstance(found, Stopped)
    assert (found.reason, found.epochs) == ("enough", 2)
    assert 0 < found.seconds < time.time() - found.started_at + 0.1
    assert seen == [1, 2]
    results = lockstep.train(ready, members, lambda epoch, mean: None, trainer=trainer, stop=lambda: False)
    assert [result.key for result in results] == [FitKey(0, 0, fold) for fold in range(3)]  # type: ignore[union-attr]


def test_until_sure_the_answer_says_how_the_search_ended(tmp_path: Path) -> None:
    store, _ = opened(tmp_path, study_config(search={"until": "sure", "tolerance": 1e-6}))
    serve(store)
    answer = dossier.current_answer(store, store.study("small"))
    assert answer is not None
    assert answer.notes == ("The search did not end early for being sure within 0.00 pp: the race was over first.",)


def test_no_answer_before_the_first_score(tmp_path: Path) -> None:
    store, study = opened(tmp_path, study_config())
    assert dossier.current_answer(store, study) is None
    with pytest.raises(NoAnswerYet):
        dossier.decide(store, study)


def test_the_test_set_is_looked_at_once_per_lam_and_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, study = opened(tmp_path, study_config())
    serve(store)
    refits: list[float] = []
    train = refit.refit

    def counted(problem: object, lam_over_m: float, *args: object, **options: object) -> object:
        refits.append(lam_over_m)
        return train(problem, lam_over_m, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(refit, "refit", counted)
    _, facts = preparation.facts(study_config())
    store.submit(study_config(search={"trials": 6}), facts)
    serve(store)
    answer = dossier.current_answer(store, store.study("small"))
    assert answer is not None
    assert answer.test is not None
    assert answer.test.looks == 1 + len(refits) == len(store.looks(study.id))
    assert answer.test.lam_over_m == answer.lam_over_m


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (353, 359), (1, 3), (180, 359)])
def test_wilson_interval_is_scipys(correct: int, n: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert np.allclose(refit.wilson(correct, n), (expected.low, expected.high), atol=1e-12)


def test_the_command_of_a_dossier_repeats_the_study(tmp_path: Path) -> None:
    store, _ = opened(tmp_path, study_config())
    serve(store)
    case = dossier.dossier(store, store.study("small"))
    assert case.command.startswith("lamsearch run digits --name small ")
    for pair in ("data.n=200", "model.kind=linear", "training.epochs=3", "search.folds=3"):
        assert f"--set {pair}" in case.command
    assert case.answer.test is not None
    assert case.versions["torch"] == torch.__version__.partition("+")[0]


def serve_until(store: Store, fits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, record = Stop(), Store.record_and_claim

    def counted(self: Store, *given: object) -> object:
        done = record(self, *given)  # type: ignore[arg-type]
        if len(self.results(1)) == fits:
            stop.set()
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Store, "record_and_claim", counted)
        serve(store, stop)


@pytest.mark.parametrize("first", ["results", "table"])
def test_a_fit_that_ends_while_one_reads_is_in_all_of_a_dossier_or_in_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    store, row = opened(tmp_path, study_config(search={"trials": 9}))
    other = Store(str(tmp_path / "study.db"), service=QUICK)
    serve_until(other, 4, monkeypatch)
    read, reads = getattr(store, first), []

    def meanwhile(study_id: int) -> object:
        found = read(study_id)
        if not reads:
            serve_until(other, 7, monkeypatch)
        reads.append(study_id)
        return found

    monkeypatch.setattr(store, first, meanwhile)
    case = dossier.dossier(store, row)
    assert len(other.results(row.id)) == 7
    assert case.answer.budget.fold_fits == len(case.results)
    assert sum(point.n_cells for point in case.answer.curve) == len(case.results)


def test_a_study_ended_by_time_says_so_and_goes_on_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = opened(tmp_path, study_config(search={"trials": 9}))
    serve_until(store, 4, monkeypatch)
    store.set_state("small", "closing")
    serve(store)
    early = dossier.current_answer(store, store.study("small"))
    assert early is not None
    assert early.status == "final"
    assert any("Time was up" in note for note in early.notes)
    assert early.gain is not None
    store.set_state("small", "open")
    serve(store)
    late = dossier.current_answer(store, store.study("small"))
    assert late is not None
    assert not any("Time was up" in note for note in late.notes)
    assert late.budget.fold_fits > early.budget.fold_fits


def test_when_every_lambda_has_failed_the_reason_and_the_way_out_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: Executor, members: list, **options: object) -> object:  # type: ignore[type-arg]
        raise RuntimeError("cosmic ray")

    monkeypatch.setattr(Executor, "train", never)
    store, study = opened(tmp_path, study_config(search={"trials": 2}))
    serve(store)
    row = store.study("small")
    assert row.state == "failed"
    assert "cosmic ray" in row.reason
    assert {found.failed for found in store.table(study.id).slots if found.slot >= 0} != {None}


def test_time_that_is_up_before_the_first_fit_ends_without_an_answer(tmp_path: Path) -> None:
    store, _ = opened(tmp_path, study_config())
    store.set_state("small", "closing")
    code, _ = serve(store)
    row = store.study("small")
    assert (code, row.state) == (0, "stopped")
    assert "no score of any λ" in row.reason
