"""Training that crashes, kills its process, or goes to infinity. Rows: see README.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import Programs
from programs import finished, submitted

from lamsearch import worker
from lamsearch.candidates import Candidate
from lamsearch.executor import Choice, Executor
from lamsearch.problem import Member
from lamsearch.stopping import Stop
from lamsearch.store import Store
from lamsearch.worker import Options, Worker


def test_one_fit_that_crashes_a_whole_batch_is_found_and_fails_alone(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve members on a GPU crash as one, then each goes alone; the study does not end."""
    store = submitted(sqlite_url, model={"kind": "linear"}, search={"trials": 12, "folds": 2, "pruner": "none"})
    train, batches = Executor.train, []

    def poisoned(self: Executor, members: Sequence[Member], **options: Any) -> Any:
        batches.append(len(members))
        if 3 in {member.slot for member in members}:
            raise RuntimeError("misaligned address")
        return train(self, members, **options)

    monkeypatch.setattr(Executor, "train", poisoned)
    monkeypatch.setattr(worker, "choose", lambda problem: Choice(candidate=Candidate(trainer="fused", members=12)))
    threads = torch.get_num_threads()
    try:
        assert Worker(store, Options(exit_when_done=True, say=lambda line: None), Stop()).run() == 0
    finally:
        torch.set_num_threads(threads)
    assert store.study("s").state == "done"
    assert batches[0] == 12
    failed = {row.slot: row.failed for row in store.table(store.study("s").id).slots if row.failed}
    assert set(failed) == {3}
    assert "3 attempts" in (failed[3] or "")
    assert "RuntimeError: misaligned address" in (failed[3] or "")


DEADLY = """
import os
import torch

class Net(torch.nn.Module):
    def __init__(self, shape, n_classes):
        super().__init__()
        self.dense = torch.nn.Linear(shape[0] * shape[1] * shape[2], n_classes)
        torch.nn.init.uniform_(self.dense.weight, -1, 1)

    def forward(self, images):
        if DIES and self.dense.weight.detach().abs().mean() < 0.2:
            os._exit(3)  # only the strongest regularisation comes here
        return self.dense(images.flatten(1))
"""
RUN = (
    "--allow-code --name s --trials 3 --folds 2 --epochs 6 --set data.n=200 --set model.kind=deadly:Net "
    "--set training.lr=0.05 --set search.high=30 --set search.pruner=none"
)


def test_a_fit_that_always_kills_its_process_fails_alone(programs: Programs, sqlite_url: str, tmp_path: Path) -> None:
    """Row 17: its attempts used up it is FAIL with the reason, and counts; --retry-failed (row 12) reopens it."""
    model = tmp_path / "deadly.py"
    model.write_text(DEADLY.replace("DIES", "True"))
    environ = {"LAMSEARCH_STORAGE": sqlite_url}
    assert programs.run(f"submit {RUN}", tmp_path, **environ).code == 0
    flags, codes = "--allow-code --set service.max_attempts=2", list[int]()
    while 0 not in codes and len(codes) < 8:
        codes.append(programs.worker(sqlite_url, tmp_path, flags=flags).wait())
    assert set(codes[:-1]) == {3}
    assert 2 <= len(codes[:-1]) <= 4, "two attempts at one of its two folds"
    store = Store(sqlite_url)
    end = finished(store)
    assert {key: end.answer["budget"][key] for key in ("trials", "complete", "pruned", "failed")} == {
        **{"trials": 3, "complete": 2, "pruned": 0, "failed": 1}
    }
    (failed,) = [trial for trial in end.trials.values() if trial["state"] == "failed"]
    assert failed["lam_over_m"] == pytest.approx(30)
    assert "2 attempts at fold" in failed["reason"]
    assert "gave no sign of life" in failed["reason"]
    model.write_text(DEADLY.replace("DIES", "False"))
    assert programs.run(f"submit {RUN} --retry-failed", tmp_path, **environ).code == 0
    assert programs.worker(sqlite_url, tmp_path, flags=flags).wait() == 0
    again = finished(store)
    assert again.answer["budget"]["failed"] == 0
    assert end.cells.items() <= again.cells.items()


VALUES = ("nan", "inf", "-inf")


@pytest.mark.parametrize("shift", range(3))
def test_a_loss_that_is_not_finite_is_evidence_on_every_fold(
    programs: Programs, sqlite_url: str, tmp_path: Path, shift: int
) -> None:
    """Row 18: NaN, +inf and -inf, each on each of the three folds: chance, collapsed, never best, never FAIL."""
    store = submitted(sqlite_url, model={"kind": "linear"}, search={"pruner": "none"})
    poisons = {(slot, (slot + shift) % 3): VALUES[slot] for slot in range(3)}
    sabotage = ("losses_become", *[(*cell, value) for cell, value in poisons.items()])
    assert programs.worker(sqlite_url, tmp_path, sabotage).wait() == 0
    end = finished(store)
    collapsed = {(key.slot, key.fold): cell for key, cell in end.cells.items() if cell.collapsed}
    assert set(collapsed) == set(poisons)
    for cell in collapsed.values():
        assert 0 < cell.score < 0.2, "what the most frequent of ten classes gets"
        assert all(np.isfinite([epoch.train_loss, epoch.val_loss]).all() for epoch in cell.epochs)
    assert {point["slot"]: point["collapsed"] for point in end.answer["curve"] if point["collapsed"]} == {
        0: 1,
        1: 1,
        2: 1,
    }
    assert end.answer["slot"] == 3
    assert end.answer["budget"]["failed"] == 0


def test_the_race_parks_what_collapsed(programs: Programs, sqlite_url: str, tmp_path: Path) -> None:
    """Row 18: after the fold it collapsed on, no other is trained."""
    store = submitted(sqlite_url, model={"kind": "linear"}, search={"trials": 6, "folds": 5})
    assert programs.worker(sqlite_url, tmp_path, ("losses_become", (2, 0, "nan"))).wait() == 0
    end = finished(store)
    assert (end.trials[2]["state"], end.trials[2]["folds"]) == ("pruned", 1)
    assert end.answer["slot"] != 2


@pytest.mark.soak
def test_run_survives_a_fit_that_kills_its_children(programs: Programs, sqlite_url: str, tmp_path: Path) -> None:
    """Row 17: `run` replaces each child that dies, and answers."""
    (tmp_path / "deadly.py").write_text(DEADLY.replace("DIES", "True"))
    environ = {"LAMSEARCH_STORAGE": sqlite_url}
    done = programs.start(f"run {RUN} --workers 2 --json", tmp_path, **environ)
    assert done.wait(150) == 0
    assert "died (exit code 3); another takes its place" in done.said
    end = finished(Store(sqlite_url))
    assert end.answer["budget"]["failed"] == 1
    (failed,) = [trial for trial in end.trials.values() if trial["state"] == "failed"]
    assert "3 attempts at fold" in failed["reason"]
    assert "its worker died (3)" in failed["reason"]
