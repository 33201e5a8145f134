"""`lamsearch run` under signals and deaths: real processes. No child outlives its parent, nothing finished is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from forked import Programs
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

LONG = ("--trials", "40", "--epochs", "6", "--set", "data.n=500")
SHORT = ("--trials", "4", "--epochs", "2", "--folds", "3", "--set", "data.n=300", "--set", "model.kind=linear")
ONE = ("--workers", "1")
"""Where a second child, which takes seconds to import torch, adds nothing to what is tested."""

Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """Starts ``lamsearch run …`` in the test's folder; whatever is left of it is killed at the end."""
    made: list[subprocess.Popen[str]] = []

    def start(*flags: str, **environ: str) -> subprocess.Popen[str]:
        made.append(
            subprocess.Popen(
                [sys.executable, "-m", "lamsearch", "run", *flags],
                cwd=tmp_path,
                env={**os.environ, **environ},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return made[-1]

    yield start
    for process in made:
        if process.poll() is None:
            process.kill()
        process.communicate()


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children() if child.status() != psutil.STATUS_ZOMBIE]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [found for found in processes if found.is_running() and found.status() != psutil.STATUS_ZOMBIE]


def status(folder: Path) -> dict[str, object]:
    from lamsearch.progress import Clock, progress
    from lamsearch.store import Store

    store = Store(str(folder / "lamsearch.db"), read_only=True)
    try:
        rows = store.studies()
        seen = progress(store, rows[0], Clock()) if rows else None
        busy = [worker.pid for worker in store.workers() if worker.alive]
        return {"fits": seen.fits_done if seen else 0, "state": rows[0].state if rows else "", "busy": busy}
    finally:
        store.close()


def wait_for_fits(folder: Path, n: int, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if (folder / "lamsearch.db").exists() and int(str(status(folder)["fits"])) >= n:
            return
        time.sleep(0.1)
    raise AssertionError(f"fewer than {n} fold fits in {within_s:g} s")


def wait_until_gone(processes: list[psutil.Process], within_s: float) -> None:
    _, left = psutil.wait_procs(processes, timeout=within_s)
    assert alive(left) == []


def test_sigterm_releases_everything_and_leaves_no_process(started: Started, tmp_path: Path) -> None:
    process = started(*LONG, "--json")
    wait_for_fits(tmp_path, 2)
    workers = children(process)
    process.terminate()
    output, said = process.communicate(timeout=45)
    assert process.returncode == 143, said
    assert json.loads(output)["status"] == "provisional"
    assert len(workers) >= 1
    wait_until_gone(workers, 1)
    assert status(tmp_path)["busy"] == []
    assert (tmp_path / "lamsearch-out" / "digits" / "report.html").exists()


def test_a_second_ctrl_c_leaves_at_once_and_the_children_follow(started: Started, tmp_path: Path) -> None:
    process = started(*LONG, *ONE)
    wait_for_fits(tmp_path, 1)
    workers = children(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    wait_until_gone(workers, 15)


def test_children_stop_when_their_parent_is_killed_and_the_next_run_goes_on(started: Started, tmp_path: Path) -> None:
    process = started(*LONG)
    wait_for_fits(tmp_path, 1)
    workers = children(process)
    process.kill()
    wait_until_gone(workers, 15)
    after = status(tmp_path)
    assert (after["state"], after["busy"]) == ("open", [])
    again = started(*LONG, *ONE)
    wait_for_fits(tmp_path, int(str(after["fits"])) + 1)
    again.terminate()
    assert again.wait(timeout=45) == 143


def test_a_child_that_is_killed_is_replaced_at_once_and_costs_no_trial(started: Started, tmp_path: Path) -> None:
    process = started("--trials", "5", "--epochs", "3", "--set", "data.n=400", *ONE, "--json")
    for n in (1, 4):
        wait_for_fits(tmp_path, n)
        killed = children(process)[0]
        killed.kill()
    output, said = process.communicate(timeout=90)
    assert process.returncode == 0, said
    assert said.count("died (SIGKILL, perhaps for want of memory); another takes its place") == 2
    spent = json.loads(output)["budget"]
    assert (spent["trials"], spent["failed"]) == (5, 0)
    assert spent["fold_fits"] <= spent["fold_fits_executed"] <= spent["fold_fits"] + 2


def test_time_that_is_up_still_gives_a_tested_answer(started: Started) -> None:
    process = started("--trials", "300", "--epochs", "3", "--set", "data.n=300", "--time", "10s", *ONE, "--json")
    output, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "time is up" in said
    answer = json.loads(output)
    assert answer["status"] == "final"
    assert answer["test"]["n"] > 0
    assert answer["budget"]["unfinished"] > 100
    assert any("Time was up" in note for note in answer["notes"])


@pytest.mark.postgres
def test_the_password_is_nowhere(started: Started, programs: Programs, tmp_path: Path, postgres_url: str) -> None:
    secret = "p@ss/w:rd%?#é&"
    admin = create_engine(make_url(postgres_url), isolation_level="AUTOCOMMIT")
    name = f"odd{os.getpid()}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{secret}'"))
    url = make_url(postgres_url).set(username=name, password=secret).render_as_string(hide_password=False)
    try:
        process = started(*SHORT, *ONE, LAMSEARCH_STORAGE=url)
        commands: set[str] = set()
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            for found in [psutil.Process(process.pid), *children(process)] if process.poll() is None else []:
                try:
                    commands.add(" ".join(found.cmdline()))
                except psutil.Error:
                    continue
            time.sleep(0.05)
        output, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        doctor = programs.completed("doctor", tmp_path, LAMSEARCH_STORAGE=url)
        assert doctor.returncode == 0, doctor.stdout
        written = [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
        encoded = make_url(url).render_as_string(hide_password=False).split(":")[2].split("@")[0]
        assert any("worker" in line for line in commands)
        assert written
        for where in [*commands, output, said, doctor.stdout, doctor.stderr, *written]:
            assert secret not in where
            assert encoded not in where
    finally:
        admin.dispose()
