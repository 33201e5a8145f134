"""Optuna's copy of a study is whole once its workers have left, whoever died over it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import optuna
import pytest
from sqlalchemy import insert, select
from test_worker import QUICK, opened, serve, study_config

from lamsearch.cli.session import conclude
from lamsearch.stopping import Stop
from lamsearch.store import Claim, Store, WorkerInfo, tables


def shown(tmp_path: Path, name: str) -> list[str]:
    """States of Optuna's trials, in order."""
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path}/study.db")
    return [trial.state.name for trial in study.trials]


def test_a_worker_that_died_while_it_wrote_the_copy_is_waited_out(tmp_path: Path) -> None:
    store, study = opened(tmp_path, study_config(search={"pruner": "none"}))
    values = {"study_id": study.id, "kind": "mirror", "slot": 0, "replicate": 0, "fold": 0, "copy": 0, "token": "dead"}
    until = {"started": tables.now(), "expires": tables.now() + 4.0}
    store.database.write(lambda connection: connection.execute(insert(tables.leases).values(**values, **until)))
    assert serve(store) == (0, [])
    assert shown(tmp_path, "small") == ["COMPLETE"] * 5
    assert shown(tmp_path, "small/baseline") == ["COMPLETE"]


def test_who_waits_for_anothers_refit_brings_the_copy_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it is not due: nothing else is to be done, and there is less to do once there is an answer."""
    monkeypatch.setattr("lamsearch.mirroring.MIRROR_SHARE", 1_000_000)
    patient = QUICK.model_copy(update={"grace_s": 120.0})
    store, _ = opened(tmp_path, study_config(search={"pruner": "none"}), patient)
    stop = Stop()
    ending = threading.Timer(20.0, stop.set)
    ending.start()
    refits: list[Claim | None] = []

    class Refitting(Store):
        def claim_refit(self, study_id: int, worker_id: int) -> Claim | None:
            if not refits:  # another worker is quicker
                refits.append(store.claim_refit(study_id, store.register(WorkerInfo(host="h", pid=1, device="cpu"))))
            if shown(tmp_path, "small").count("COMPLETE") == 5:
                stop.set()
            return super().claim_refit(study_id, worker_id)

    serve(Refitting(f"sqlite:///{tmp_path}/study.db", service=patient), stop)
    ending.cancel()
    assert isinstance(refits[0], Claim)
    assert shown(tmp_path, "small") == ["COMPLETE"] * 5
    assert store.study("small").state == "open"


def test_its_writer_may_be_silent_no_longer_than_a_worker(tmp_path: Path) -> None:
    store, study = opened(tmp_path, study_config())
    query = select(tables.leases.c.expires - tables.now()).where(tables.leases.c.kind == "mirror")
    left: list[float] = []
    store.mirror(study.id, then=lambda _: left.append(store.database.read(lambda c: c.execute(query).scalar_one())))
    assert 0 < left[0] <= QUICK.grace_s


def test_a_copy_that_nobody_lived_to_finish_is_finished_by_the_next_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = opened(tmp_path, study_config(search={"pruner": "none"}))
    stop = Stop()

    def dies(self: Store, *_arguments: object, **_options: object) -> bool:
        if self.study("small").state == "done":
            stop.set()
        return False

    monkeypatch.setattr(Store, "mirror", dies)
    serve(store, stop)
    monkeypatch.undo()
    assert store.study("small").state == "done"
    assert "COMPLETE" not in shown(tmp_path, "small")
    assert serve(store) == (0, [])
    assert shown(tmp_path, "small") == ["COMPLETE"] * 5


def test_a_copy_that_is_whole_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = opened(tmp_path, study_config())
    serve(store)
    calls: list[int] = []
    monkeypatch.setattr(Store, "mirror", lambda self, study_id, *_arguments, **_options: calls.append(study_id))
    serve(store)
    assert (calls, store.behind()) == ([], [])


def test_the_files_of_a_run_name_every_trial_though_the_copys_writer_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = opened(tmp_path, study_config(search={"pruner": "none"}))
    monkeypatch.setattr(Store, "mirror", lambda *_arguments, **_options: False)
    stop = Stop()
    ending = threading.Timer(20.0, stop.set)
    ending.start()
    worker = threading.Thread(target=serve, args=(store, stop))
    worker.start()
    while store.study("small").state != "done" and not stop():
        time.sleep(0.05)
    stop.set()
    worker.join()
    ending.cancel()
    monkeypatch.undo()
    conclude(store, store.study("small"), tmp_path / "out", as_json=False)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert [f'id="trial-{number}"' in page for number in range(6)] == [True] * 5 + [False]
