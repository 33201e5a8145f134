"""The answer does not depend on who did the work: real workers, real signals, a real server that crashes."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos import SERVER_FAULTS, WORKER_FAULTS, Chaos, drawn
from end_state import EndState
from server import Server

from lamsearch.config import StudyConfig, parse_study


def small(**search: object) -> StudyConfig:
    """About thirty fold fits of a tenth of a second."""
    return parse_study(
        {
            "name": "chaos",
            "data": {"n": 800},
            "model": {"kind": "linear"},
            "training": {"epochs": 40},
            "search": {"trials": 12, "folds": 4, **search},
        },
        where="test",
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> EndState:
    """One worker, SQLite, no fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return Chaos(f"sqlite:///{folder}/a.db", small(), n_workers=1, seed=0).run().end


def test_workers_that_die_pause_and_leave_on_sqlite(tmp_path: Path, undisturbed: EndState) -> None:
    schedule = drawn(1, 6, WORKER_FAULTS[:6], every_s=1.0)
    outcome = Chaos(f"sqlite:///{tmp_path}/a.db", small(), n_workers=2, seed=1).run(schedule)
    assert outcome.end == undisturbed
    assert outcome.faults.total() >= 4


@pytest.mark.postgres
def test_a_server_that_restarts_and_crashes_under_workers_that_die(own_server: Server, undisturbed: EndState) -> None:
    schedule = drawn(2, 6, (*SERVER_FAULTS, "kill", "pause", "terminate"), every_s=1.0)
    chaos = Chaos(own_server.create_database(), small(), n_workers=2, seed=2, server=own_server)
    outcome = chaos.run(schedule)
    assert outcome.end == undisturbed
    assert outcome.faults.total() >= 4
