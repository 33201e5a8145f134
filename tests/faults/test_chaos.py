"""The answer does not depend on who did the work: real workers, real signals, a real server that crashes."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos import SERVER_FAULTS, WORKER_FAULTS, Chaos, drawn
from end_state import EndState
from programs import Programs
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
def undisturbed(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> EndState:
    """One worker, SQLite, no fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return Chaos(f"sqlite:///{folder}/a.db", small(), folder, n_workers=1, start=programs.start).run().end


def test_workers_that_die_pause_and_leave_on_sqlite(tmp_path: Path, programs: Programs, undisturbed: EndState) -> None:
    chaos = Chaos(f"sqlite:///{tmp_path}/a.db", small(), tmp_path, n_workers=2, start=programs.start, seed=1)
    outcome = chaos.run(drawn(1, 7, WORKER_FAULTS, every_s=0.7))
    assert outcome.end == undisturbed
    assert outcome.faults.total() >= 4


@pytest.mark.postgres
def test_a_server_that_restarts_and_crashes_under_workers_that_die(
    tmp_path: Path, programs: Programs, own_server: Server, undisturbed: EndState
) -> None:
    url = own_server.create_database()
    chaos = Chaos(url, small(), tmp_path, n_workers=2, start=programs.start, seed=2, server=own_server)
    outcome = chaos.run(drawn(2, 6, (*SERVER_FAULTS, "kill", "pause", "terminate"), every_s=0.7))
    assert outcome.end == undisturbed
    assert outcome.faults.total() >= 4
