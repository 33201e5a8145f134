"""Training that crashes, kills its process, or goes to infinity. Numbers: README.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from programs import submitted

from lamsearch import worker
from lamsearch.candidates import Candidate
from lamsearch.executor import Choice, Executor
from lamsearch.problem import Member
from lamsearch.stopping import Stop
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
