"""Studies: creating, resuming, growing, refusing, deleting, and reading without writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, text
from worlds import FACTS, claimed, config, mirrored, register, service, work

from lamsearch.config import SearchConfig, parse_study
from lamsearch.errors import InputError, StorageFull, StudyConflict, UnknownStudy
from lamsearch.records import BASELINE
from lamsearch.store import Store
from lamsearch.store.tables import SCHEMA_VERSION
from lamsearch.store.urls import parse


@pytest.fixture
def store(url: str) -> Store:
    return Store(url, service=service())


def plain(url: str) -> str:
    return parse(url).render_as_string(hide_password=False)


def test_a_new_study_holds_its_slots_and_the_baseline(store: Store) -> None:
    study = store.submit(config(trials=5), FACTS)
    slots = store.table(study.id).slots
    assert [row.slot for row in slots] == [BASELINE, 0, 1, 2, 3, 4]
    assert [row.cohort for row in slots] == [0] * 6
    assert slots[0].lam_over_m == 0.0
    assert (slots[1].lam_over_m, slots[2].lam_over_m) == (1e-6, 3e-2)
    assert (study.state, study.deadline, study.answered, study.facts) == ("open", None, False, FACTS)


def test_a_worker_needs_nothing_but_the_database(store: Store, url: str) -> None:
    given = parse_study({"name": "s", "data": {"n": 300}, "loss": {"data": "mse"}, "search": {"seed": 7}}, where="test")
    store.submit(given, FACTS)
    assert Store(url).study("s").config == given


def test_submitting_again_adds_nothing(store: Store, url: str) -> None:
    study = store.submit(config(), FACTS)
    again = Store(url, service=service()).submit(config(), FACTS)
    assert again == study
    assert len(store.table(study.id).slots) == 5


def test_more_trials_are_new_cohorts_and_fewer_change_nothing(store: Store) -> None:
    study = store.submit(config(trials=3), FACTS)
    before = store.table(study.id).slots
    store.submit(config(trials=70), FACTS)
    after = store.table(study.id).slots
    assert after[:4] == before
    assert [row.slot for row in after[1:]] == list(range(70))
    assert [sum(row.cohort == cohort for row in after[1:]) for cohort in range(4)] == [3, 34, 33, 0]
    assert len({row.lam_over_m for row in after}) == 71
    store.submit(config(trials=10), FACTS)
    assert store.table(study.id).slots == after
    assert store.study("s").config.search.trials == 70


def test_a_grown_study_has_the_same_lambdas_as_one_that_was_large_from_the_start(store: Store) -> None:
    for name, steps in (("grown", (3, 9, 20)), ("large", (20,))):
        for trials in steps:
            store.submit(config(name, trials=trials), FACTS)
    lams = [[row.lam_over_m for row in store.table(store.study(name).id).slots] for name in ("grown", "large")]
    assert lams[0] == lams[1]


def test_extended_values_are_extra_slots(store: Store) -> None:
    study = store.submit(config(trials=3), FACTS)
    store.submit(config(trials=3, extend=[0.1, 0.2]), FACTS)
    store.submit(config(trials=5, extend=[0.2]), FACTS)
    lams = [row.lam_over_m for row in store.table(study.id).slots[1:]]
    assert lams[3:5] == [0.1, 0.2]
    assert len(lams) == 7
    assert lams[:3] + lams[5:] == [row.lam_over_m for row in _slots(store, config("other", trials=5))[1:]]
    assert store.study("s").config.search.extend == (0.1, 0.2)


def _slots(store: Store, given: Any) -> Any:
    return store.table(store.submit(given, FACTS).id).slots


def test_a_done_study_is_opened_again_by_growth_only(store: Store) -> None:
    study = store.submit(config(), FACTS)
    work(store, study, register(store))
    store.store_answer(study.id, {"lam": 1.0})
    assert store.submit(config(), FACTS).state == "done"
    grown = store.submit(config(trials=5), FACTS)
    assert (grown.state, grown.answered) == ("open", False)


def test_a_study_that_was_ended_by_time_is_opened_again(store: Store) -> None:
    study = store.submit(config(), FACTS)
    work(store, study, register(store), fits=9)
    store.store_answer(study.id, {"lam": 1.0})
    assert store.study("s").state == "done"
    assert store.submit(config(), FACTS).state == "open"


CHANGES = {
    "search.folds": {"search": {"folds": 4}},
    "search.seed": {"search": {"seed": 1}},
    "search.low": {"search": {"low": 1e-5}},
    "search.high": {"search": {"high": 1e-2}},
    "search.sampler": {"search": {"sampler": "qmc"}},
    "search.pruner": {"search": {"pruner": "none"}},
    "search.metric": {"search": {"metric": "log_loss"}},
    "data.n": {"data": {"n": 100}},
    "data.source": {"data": {"source": "noisy"}},
    "model.kind": {"model": {"kind": "linear"}},
    "loss.data": {"loss": {"data": "mse"}},
    "training.epochs": {"training": {"epochs": 3}},
}


def test_each_identity_key_is_refused_with_both_values(store: Store) -> None:
    """FAULTS 19."""
    store.submit(parse_study({"name": "s"}, where="test"), FACTS)
    for key, change in CHANGES.items():
        table, _, leaf = key.partition(".")
        with pytest.raises(StudyConflict, match="--name s-2") as caught:
            store.submit(parse_study({"name": "s", **change}, where="test"), FACTS)
        assert set(caught.value.differences) == {key}
        assert caught.value.differences[key][1] == change[table][leaf]  # type: ignore[index]
        assert key in str(caught.value)
    with pytest.raises(StudyConflict, match=f"data fingerprint: stored {'f' * 12}…, asked {'e' * 12}…") as caught:
        store.submit(parse_study({"name": "s"}, where="test"), {**FACTS, "fingerprint": "e" * 64})
    assert caught.value.differences == {"data fingerprint": ("f" * 64, "e" * 64)}
    for fact, value in (("fingerprint", "other"), ("m", 7)):
        with pytest.raises(StudyConflict, match="f" * 10 if fact == "fingerprint" else "1000"):
            store.submit(parse_study({"name": "s"}, where="test"), {**FACTS, fact: value})
    assert len(store.table(store.study("s").id).slots) == 1 + SearchConfig().trials


def test_replicates_and_until_may_change(store: Store) -> None:
    study = store.submit(config(), FACTS)
    store.submit(config(replicates=2, until="sure"), FACTS)
    assert store.study("s").config.search.replicates == 2
    worker = register(store)
    work(store, study, worker)
    assert {key.replicate for key in store.table(study.id).scores} == {0, 1}


def test_unknown_studies_are_refused_with_the_known_ones(store: Store) -> None:
    for call in (store.study, store.delete, lambda name: store.set_state(name, "open")):
        with pytest.raises(UnknownStudy, match=r"studies there: none yet"):
            call("x")
    store.submit(config("here"), FACTS)
    with pytest.raises(UnknownStudy, match=r"'x' in this database \(studies there: here\)"):
        store.study("x")


def test_deleting_removes_everything_of_that_study_only(store: Store, url: str) -> None:
    keep, gone = store.submit(config("keep"), FACTS), store.submit(config("gone"), FACTS)
    worker = register(store)
    for study in (keep, gone):
        work(store, study, worker, fits=5)
        claimed(store, study, worker)
        mirrored(store, study)
    store.delete("gone")
    assert [row.name for row in store.studies()] == ["keep"]
    assert optuna.get_all_study_names(plain(url)) == ["keep", "keep/baseline"]
    with create_engine(parse(url)).connect() as connection:
        for table in ("slots", "fold_results", "leases"):
            query = text(f"SELECT count(*) FROM lamsearch_{table} WHERE study_id = {gone.id}")
            assert connection.scalar(query) == 0
    again = store.submit(config("gone"), FACTS)
    assert again.id != gone.id
    assert store.results(again.id) == ()
    assert isinstance(work(store, keep, worker, fits=1), type(None))


def test_a_foreign_optuna_study_is_left_alone(store: Store, url: str) -> None:
    theirs = optuna.create_study(study_name="s", storage=plain(url))
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(InputError, match="choose another --name"):
        store.submit(config("s"), FACTS)
    assert store.studies() == []
    study = store.submit(config("t"), FACTS)
    work(store, study, register(store))
    mirrored(store, study)
    assert len(theirs.trials) == 1


def test_model_based_samplers_propose_by_cohort_and_everybody_the_same(
    store: Store, new_postgres: Any, tmp_path: Path
) -> None:
    given = config(trials=15, sampler="tpe", folds=2)
    study = store.submit(given, FACTS)
    assert [row.lam_over_m is None for row in store.table(study.id).slots] == [False] * 9 + [True] * 7
    work(store, study, register(store))
    other = Store(f"{tmp_path}/other.db", service=service())
    twin = other.submit(given, FACTS)
    workers = [register(other), register(other)]
    for n in range(32):
        work(other, twin, workers[n % 2], fits=1)
    assert store.table(study.id) == other.table(twin.id)
    assert all(row.lam_over_m is not None for row in store.table(study.id).slots)


def test_states_of_an_empty_database(store: Store) -> None:
    assert store.studies() == []
    assert store.workers() == []


def test_reading_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such database"):
        Store(f"{tmp_path}/absent.db", read_only=True)
    absent = Store(f"{tmp_path}/absent.db")
    assert (absent.studies(), absent.workers()) == ([], [])
    with pytest.raises(UnknownStudy, match="none yet"):
        absent.study("s")
    assert list(tmp_path.iterdir()) == []
    writer = Store(f"{tmp_path}/a.db", service=service())
    study = writer.submit(config(), FACTS)
    work(writer, study, register(writer), fits=4)
    writer.close()
    before = (tmp_path / "a.db").read_bytes()
    reader = Store(f"{tmp_path}/a.db", read_only=True)
    assert len(reader.results(study.id)) == len(reader.table(study.id).scores) == 4
    assert (reader.answer(study.id), reader.executed(study.id), len(reader.workers())) == (None, 4, 1)
    assert not reader.plan(study.id).done
    for write in (
        lambda: reader.submit(config(), FACTS),
        lambda: register(reader),
        lambda: reader.set_state("s", "open"),
        lambda: reader.claim(study.id, 1),
        lambda: reader.mirror(study.id),
    ):
        with pytest.raises(InputError, match="read-only"):
            write()
    reader.close()
    assert (tmp_path / "a.db").read_bytes() == before


def test_a_folder_that_may_only_be_read(tmp_path: Path) -> None:
    import os

    writer = Store(f"{tmp_path}/a.db", service=service())
    writer.submit(config(), FACTS)
    writer.close()
    os.chmod(tmp_path / "a.db", 0o444)
    os.chmod(tmp_path, 0o555)
    try:
        assert Store(f"{tmp_path}/a.db", read_only=True).study("s").state == "open"
        if os.geteuid() != 0:  # root may write anywhere
            with pytest.raises(StorageFull, match=r"readonly.*resume"):
                Store(f"{tmp_path}/a.db", service=service()).set_state("s", "stopped")
    finally:
        os.chmod(tmp_path, 0o755)


@pytest.mark.postgres
def test_a_role_that_may_only_select(postgres_url: str) -> None:
    """FAULTS, security: enough for status, best, report and the dashboard."""
    store = Store(postgres_url, service=service())
    study = store.submit(config(), FACTS)
    work(store, study, register(store), fits=4)
    role, url = f"reader_{study.name}_{id(store)}", parse(postgres_url)
    with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'p/w @'"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
    try:
        reader = Store(url.set(username=role, password="p/w @").render_as_string(hide_password=False), read_only=True)
        assert [row.name for row in reader.studies()] == ["s"]
        assert len(reader.results(study.id)) == len(reader.table(study.id).scores) == 4
        assert (reader.answer(study.id), reader.executed(study.id), len(reader.workers())) == (None, 4, 1)
        assert "p/w" not in reader.url
        reader.close()
        writer = Store(url.set(username=role, password="p/w @").render_as_string(hide_password=False))
        with pytest.raises(InputError, match="permission denied"):
            writer.set_state("s", "stopped")
        writer.close()
    finally:
        store.close()
        with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))


def test_tables_of_another_release_are_refused(store: Store, url: str) -> None:
    store.submit(config(), FACTS)
    for version, advice in ((99, "upgrade lamsearch here"), (0, "use a new database")):
        with create_engine(parse(url)).begin() as connection:
            connection.execute(text(f"UPDATE lamsearch_studies SET schema_version = {version}"))
        for read_only in (False, True):
            with pytest.raises(
                InputError, match=rf"schema {version}, this lamsearch knows {SCHEMA_VERSION}; .*{advice}"
            ):
                Store(url, read_only=read_only)


def test_optuna_tables_of_another_release_are_refused(store: Store, url: str) -> None:
    """FAULTS 21."""
    optuna.create_study(study_name="theirs", storage=plain(url))
    with create_engine(parse(url)).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v2.6.0.a'"))
    with pytest.raises(InputError, match="optuna storage upgrade --storage"):
        store.submit(config(), FACTS)
    assert store.studies() == []


def test_results_are_readable_in_any_state(store: Store) -> None:
    study = store.submit(config(), FACTS)
    work(store, study, register(store), fits=4)
    states: tuple[Any, ...] = ("open", "closing", "stopped", "done", "failed")
    for state in states:
        store.set_state("s", state, "because")
        assert len(store.results(study.id)) == 4
        assert (store.study("s").state, store.study("s").reason) == (state, "because")


def test_a_study_that_another_process_makes_meanwhile_is_not_taken_for_a_foreign_one(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has made Optuna's study and not yet marked it; its first trials come while this one looks."""
    other, looks = Store(url, service=service()), list[str]()
    optuna.create_study(study_name="s", storage=plain(url), direction="maximize")

    def interrupted(name: str) -> None:
        look = getattr(RDBStorage, name)

        def looking(self: RDBStorage, study_id: int) -> Any:
            seen = look(self, study_id)
            looks.append(name)
            if len(looks) == 1:
                study = other.submit(config(), FACTS)
                work(other, study, register(other), fits=4)
                mirrored(other, study)
            return seen

        monkeypatch.setattr(RDBStorage, name, looking)

    interrupted("get_n_trials")
    interrupted("get_study_user_attrs")
    study = store.submit(config(), FACTS)
    assert len(store.table(study.id).scores) == 4
    assert len(optuna.load_study(study_name="s", storage=plain(url)).trials) > 0
