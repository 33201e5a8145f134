"""Other settings, and databases of other releases: refused before anything is written. Rows: see README.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from forked import Programs
from programs import submitted
from sqlalchemy import text

from lamsearch.config import GROWABLE, flatten, known_keys, merge, parse_study
from lamsearch.errors import StudyConflict
from lamsearch.store import Store
from lamsearch.store.tables import SCHEMA_VERSION

CHANGES: dict[str, Any] = {
    **{"data.source": "noisy-digits", "data.n": 200, "data.test_share": 0.3, "data.label_noise": 0.1},
    **{"model.kind": "linear", "loss.data": "mse", "loss.penalty": "l1", "loss.l1_ratio": 0.25},
    **{"loss.penalise_biases": True, "training.optimiser": "sgd", "training.lr": 0.01, "training.momentum": 0.8},
    **{"training.batch": 16, "training.epochs": 7, "search.folds": 4, "search.low": 1e-5, "search.high": 1e-2},
    **{"search.sampler": "qmc", "search.pruner": "none", "search.metric": "log_loss", "search.seed": 1},
}
DIFFERENT = "submit --name s --set data.n=300 --epochs 3 --trials 4 --folds 3 --seed 5"


def test_every_key_that_is_not_growable_is_tried() -> None:
    """Row 19."""
    assert set(CHANGES) == set(known_keys()) - GROWABLE - {"name"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The small study, submitted."""
    return submitted(f"sqlite:///{tmp_path_factory.mktemp('identity')}/a.db")


@pytest.mark.parametrize("key", CHANGES)
def test_each_change_is_refused_with_both_values_side_by_side(store: Store, key: str) -> None:
    """Row 19."""
    stored = store.study("s")
    asked = parse_study(merge(stored.config.model_dump(), {key: CHANGES[key]}), where="test")
    with pytest.raises(StudyConflict) as caught:
        store.submit(asked, stored.facts)
    old, new = flatten(stored.config)[key], flatten(asked)[key]
    assert caught.value.differences[key] == (old, new)
    assert f"{key}: stored {old!r}, asked {new!r}" in str(caught.value)
    assert store.study("s") == stored
    assert len(store.studies()) == 1


def test_the_command_that_it_proposes_keeps_both(programs: Programs, sqlite_url: str, tmp_path: Path) -> None:
    """Row 19: exit 2 and one line; the command in it goes through as it stands; growable keys grow."""
    store = submitted(sqlite_url)
    environ = {"LAMSEARCH_STORAGE": sqlite_url}
    refused = programs.run(DIFFERENT, tmp_path, **environ)
    assert (refused.code, refused.said.count("\n")) == (2, 1)
    assert "search.seed: stored 0, asked 5" in refused.said
    (proposed,) = re.findall("`lamsearch (.*)`", refused.said)
    assert proposed == DIFFERENT.replace("--name s ", "") + " --name s-2"
    assert programs.run(proposed, tmp_path, **environ).code == 0
    again = programs.run(DIFFERENT.replace("--name s", "--name=s").replace("--seed 5", "--seed 6"), tmp_path, **environ)
    assert "--seed 6 --name s-3`" in again.said, "s-2 is taken"
    secret = programs.run(f"{DIFFERENT} --storage {sqlite_url}", tmp_path)
    assert f"--storage {sqlite_url}" in secret.said
    assert programs.run(DIFFERENT.replace("--seed 5", "--trials 6"), tmp_path, **environ).code == 0
    assert {row.name: row.config.search.trials for row in store.studies()} == {"s": 6, "s-2": 4}


COMMANDS = {
    "submit": DIFFERENT,
    "worker": "worker --exit-when-done",
    "status": "status",
    "best": "best",
    "stop": "stop s",
}


@pytest.mark.parametrize(
    ("change", "words", "refusing"),
    [
        (
            "UPDATE lamsearch_studies SET schema_version = 0",
            f"schema 0, this lamsearch knows {SCHEMA_VERSION}; finish",
            COMMANDS,
        ),
        (
            "UPDATE lamsearch_studies SET schema_version = 9",
            f"schema 9, this lamsearch knows {SCHEMA_VERSION}; upgrade",
            COMMANDS,
        ),
        (
            "UPDATE alembic_version SET version_num = 'v2.6.0.a'",
            "run `optuna storage upgrade --storage sqlite",
            ("submit", "worker"),
        ),
    ],
    ids=["older schema", "newer schema", "older Optuna"],
)
def test_a_database_of_another_release_is_refused_with_what_to_do(
    programs: Programs, sqlite_url: str, tmp_path: Path, change: str, words: str, refusing: list[str]
) -> None:
    """Row 21: exit 2, one line, nothing written."""
    store = submitted(sqlite_url)
    store.database.write(lambda connection: connection.execute(text(change)))
    store.close()
    before = (tmp_path / "lamsearch.db").read_bytes()
    for name in refusing:
        refused = programs.run(COMMANDS[name], tmp_path, LAMSEARCH_STORAGE=sqlite_url)
        assert (refused.code, refused.said.count("\n")) == (2, 1), refused.said
        assert words in refused.said
    assert (tmp_path / "lamsearch.db").read_bytes() == before
