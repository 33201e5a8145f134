"""The answer does not depend on who did the work: real workers, real signals, a real server that crashes."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos import SERVER_FAULTS, SMALL, WORKER_FAULTS, Chaos, drawn
from end_state import EndState
from forked import Programs
from server import Server


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> EndState:
    """One worker, SQLite, no fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return Chaos(f"sqlite:///{folder}/a.db", SMALL, folder, n_workers=1, start=programs.start).run().end


def test_workers_that_die_pause_and_leave_on_sqlite(tmp_path: Path, programs: Programs, undisturbed: EndState) -> None:
    chaos = Chaos(f"sqlite:///{tmp_path}/a.db", SMALL, tmp_path, n_workers=2, start=programs.start, seed=1)
    outcome = chaos.run(drawn(1, 7, WORKER_FAULTS, every_s=0.5))
    assert outcome.end.unlike(undisturbed) == []
    assert outcome.faults.total() >= 4


@pytest.mark.postgres
def test_a_server_that_restarts_and_crashes_under_workers_that_die(
    tmp_path: Path, programs: Programs, own_server: Server, undisturbed: EndState
) -> None:
    url = own_server.create_database()
    chaos = Chaos(url, SMALL, tmp_path, n_workers=2, start=programs.start, seed=2, server=own_server)
    outcome = chaos.run(drawn(2, 6, (*SERVER_FAULTS, "kill", "pause", "terminate"), every_s=0.5))
    assert outcome.end.unlike(undisturbed) == []
    assert outcome.faults.total() >= 4


@pytest.mark.soak
@pytest.mark.parametrize("n_workers", [1, 2, 8])
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_any_number_of_workers(
    kind: str, n_workers: int, tmp_path: Path, request: pytest.FixtureRequest, programs: Programs, undisturbed: EndState
) -> None:
    url = f"sqlite:///{tmp_path}/a.db" if kind == "sqlite" else request.getfixturevalue("own_server").create_database()
    chaos = Chaos(url, SMALL, tmp_path, n_workers=n_workers, start=programs.start)
    assert chaos.run().end.unlike(undisturbed) == []
