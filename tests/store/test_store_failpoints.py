"""The storage fails, or the worker dies, at every single commit of a small run: the end state is always the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from failpoints import Commits, Killed, failing
from optuna.trial import TrialState
from worlds import FACTS, config, mirrored, register, result, service

from lamsearch.store import Claim, Done, Store
from lamsearch.store.urls import parse

STUDY = config(trials=2, folds=2)


def small_run(url: str, commits: Commits) -> None:
    """A whole study, by a worker that is replaced whenever it dies; its parent frees what it held."""
    dead: list[int] = []
    for _ in range(3):
        store = Store(url, service=service())
        try:
            study = store.submit(STUDY, FACTS)
            for worker_id in dead:
                store.free_worker(worker_id)
            worker = register(store)
            dead.append(worker)
            found = store.claim(study.id, worker)
            while not isinstance(found, Done):
                assert isinstance(found, Claim), found
                made, ahead = [result(found, key) for key in found.keys], list[Claim]()
                if found.keys[0].fold == 1:
                    assert store.record(found, *made)
                    store.mirror(study.id, worker)
                else:
                    kept, ahead = store.record_and_claim([(found, made)], 1)
                    assert kept == [True]
                found = ahead[0] if ahead else store.claim(study.id, worker)
            if (refit := store.claim_refit(study.id, worker)) is not None:
                assert store.store_answer(study.id, {"lam": 1.0}, refit)
            mirrored(store, study, worker)
            return
        except Killed:
            commits.revive()
        finally:
            store.close()
    raise AssertionError("died more than once")


def end_state(url: str) -> dict[str, object]:
    """All that must not depend on what went wrong on the way."""
    store = Store(url, service=service(), read_only=True)
    row = store.study("s")
    found: dict[str, object] = {
        "study": (row.state, row.answered, store.answer(row.id)),
        "results": store.results(row.id),
        "slots": [(slot.slot, slot.cohort, slot.lam_over_m, slot.failed) for slot in store.table(row.id).slots],
        "executed": store.executed(row.id) - len(store.results(row.id)) <= 1,
    }
    store.close()
    for name in ("s", "s/baseline"):
        trials = optuna.load_study(study_name=name, storage=parse(url).render_as_string(hide_password=False)).trials
        duplicates = [trial for trial in trials if trial.state is TrialState.FAIL]
        assert all(trial.user_attrs["reason"].startswith("duplicate") for trial in duplicates)
        assert len(duplicates) <= 1
        found[name] = [
            (trial.user_attrs, trial.state, trial.params, trial.value, trial.intermediate_values)
            for trial in trials
            if trial not in duplicates
        ]
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, object]]:
    """(number of commits, end state) of a run in which nothing happens."""
    url = f"sqlite:///{tmp_path_factory.mktemp('undisturbed')}/lamsearch.db"
    with failing(Commits()) as commits:
        small_run(url, commits)
    return commits.n, end_state(url)


@pytest.fixture
def new_sqlite(tmp_path: Path) -> Iterator[Callable[[], str]]:
    folders = (tmp_path / str(number) for number in range(10_000))

    def make() -> str:
        folder = next(folders)
        folder.mkdir()
        return f"sqlite:///{folder}/lamsearch.db"

    yield make
    shutil.rmtree(tmp_path, ignore_errors=True)


WAYS = [("before", False), ("before", True), ("after", False), ("after", True)]
NAMES = ["hiccup before", "kill before", "hiccup after", "kill after"]


def points(n_commits: int, share: int, way: int) -> list[int]:
    """Every commit in the long pass (LAMSEARCH_ALL_FAILPOINTS=1), else every ``share``-th, others in each way."""
    return list(range(1 + way, n_commits + 1, 1 if os.environ.get("LAMSEARCH_ALL_FAILPOINTS") else share))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", range(4), ids=NAMES)
def test_any_commit_on_sqlite(
    way: int, new_sqlite: Callable[[], str], undisturbed: tuple[int, dict[str, object]]
) -> None:
    n_commits, expected = undisturbed
    when, kill = WAYS[way]
    for at in points(n_commits, 24, way):
        url = new_sqlite()
        with failing(Commits(at=at, when=when, kill=kill)) as commits:
            small_run(url, commits)
        assert commits.n >= at
        assert end_state(url) == expected, f"{NAMES[way]} commit {at} of {n_commits}"


@pytest.mark.soak
@pytest.mark.postgres
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", range(4), ids=NAMES)
def test_any_commit_on_postgres(
    way: int, new_postgres: Callable[[], str], undisturbed: tuple[int, dict[str, object]]
) -> None:
    n_commits, expected = undisturbed
    when, kill = WAYS[way]
    for at in points(n_commits, 12, way):
        url = new_postgres()
        with failing(Commits(at=at, when=when, kill=kill)) as commits:
            small_run(url, commits)
        assert end_state(url) == expected, f"{NAMES[way]} commit {at} of about {n_commits}"
