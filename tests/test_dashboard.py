"""Publishing into optuna-dashboard, and serving it to this machine only."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from dossiers import dossier
from optuna.storages import RDBStorage
from optuna_dashboard import get_note, save_note

from lamsearch import dashboard, wording
from lamsearch.dashboard import publishing
from lamsearch.dashboard.curve import TITLE_WIDTH, figure
from lamsearch.dashboard.server import is_loopback, server
from lamsearch.errors import InputError, UnknownStudy

ANSWER = dossier().answer


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the study in it, made once: Optuna takes seconds for its tables."""
    path = tmp_path_factory.mktemp("template") / "lam.db"
    storage = RDBStorage(f"sqlite:///{path}")
    study = optuna.create_study(study_name=ANSWER.study, storage=storage, direction="maximize")
    space = {"lam": optuna.distributions.FloatDistribution(1e-3, 1e5, log=True)}
    for point in ANSWER.curve[1::10]:
        study.add_trial(optuna.create_trial(params={"lam": point.lam}, distributions=space, value=point.mean))
    storage.engine.dispose()
    return path


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'lam.db'}"


@pytest.fixture
def storage(url: str, tmp_path: Path, template: Path) -> RDBStorage:
    shutil.copy(template, tmp_path / "lam.db")
    return RDBStorage(url)


def loaded(storage: RDBStorage, name: str = ANSWER.study) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=storage)


def graphs(storage: RDBStorage, name: str = ANSWER.study) -> set[str]:
    attrs = storage.get_study_system_attrs(storage.get_study_id_from_name(name))
    return {key.split(":")[2] for key in attrs if key.startswith("dashboard:plot_data:")}


def test_the_note_holds_the_verdict_and_what_would_change_it(storage: RDBStorage) -> None:
    dashboard.publish(storage, ANSWER.study, ANSWER)
    body = get_note(loaded(storage))
    assert wording.headline(ANSWER) in body
    for label, text in wording.facts(ANSWER):
        assert publishing._plain(label) in body
        assert publishing._plain(text) in body
    assert "$" not in body


def test_lambdas_without_all_folds_are_called_what_they_are() -> None:
    names = {trace.name for trace in figure(ANSWER).data}
    assert names == {"measured on all folds", "dropped early", "λ = 0"}
    failed = tuple(replace(p, status="failed") if p.status == "pruned" else p for p in ANSWER.curve)
    assert "failed" in {trace.name for trace in figure(replace(ANSWER, curve=failed)).data}


def test_attributes_are_numbers_and_short_texts(storage: RDBStorage) -> None:
    dashboard.publish(storage, ANSWER.study, ANSWER)
    attrs = loaded(storage).user_attrs
    assert attrs["lam_best"] == ANSWER.lam
    assert ANSWER.gain is not None
    assert attrs["gain_low"] == ANSWER.gain.low
    assert attrs["verdict"] == "helps"
    assert all(isinstance(value, float | int) or len(value) < 1024 for value in attrs.values())


def test_the_curve_is_saved_under_one_fixed_id(storage: RDBStorage) -> None:
    dashboard.publish(storage, ANSWER.study, ANSWER)
    dashboard.publish(storage, ANSWER.study, replace(ANSWER, status="provisional"))
    assert graphs(storage) == {publishing.GRAPH_ID}
    assert loaded(storage).metric_names == ["validation accuracy"]


def test_publishing_again_refreshes_and_keeps_the_version_of_an_unchanged_note(storage: RDBStorage) -> None:
    study_id = storage.get_study_id_from_name(ANSWER.study)
    dashboard.publish(storage, ANSWER.study, ANSWER)
    version = storage.get_study_system_attrs(study_id)["dashboard:note_ver"]
    dashboard.publish(storage, ANSWER.study, ANSWER)
    assert storage.get_study_system_attrs(study_id)["dashboard:note_ver"] == version
    save_note(loaded(storage), "somebody wrote over it")
    dashboard.publish(storage, ANSWER.study, ANSWER)
    assert wording.headline(ANSWER) in get_note(loaded(storage))


def test_a_study_renamed_in_the_page_is_found_again(url: str, storage: RDBStorage) -> None:
    dashboard.publish(storage, ANSWER.study, ANSWER)
    with served(url) as base:
        study_id = storage.get_study_id_from_name(ANSWER.study)
        body = json.dumps({"study_name": "renamed"}).encode()
        assert ask(f"{base}/api/studies/{study_id}/rename", body=body)[0] == 201
    assert graphs(storage, "renamed") == set()  # what the dashboard loses on the way
    dashboard.publish(storage, ANSWER.study, ANSWER)
    assert graphs(storage, "renamed") == {publishing.GRAPH_ID}
    dashboard.publish(storage, "renamed", ANSWER)
    assert loaded(storage, "renamed").metric_names == ["validation accuracy"]


def test_a_url_serves_as_well_as_a_storage(url: str, storage: RDBStorage) -> None:
    dashboard.publish(url, ANSWER.study, ANSWER)
    assert wording.headline(ANSWER) in get_note(loaded(storage))


def test_an_unknown_study_is_named_with_those_that_exist(storage: RDBStorage) -> None:
    with pytest.raises(UnknownStudy, match=r"'other'.*noisy-digits"):
        dashboard.publish(storage, "other", replace(ANSWER, study="other"))


def test_markup_in_a_name_stays_text(storage: RDBStorage) -> None:
    answer = replace(ANSWER, notes=("<script>alert(1)</script> | **bold** `code`",))
    body = publishing.note(answer)
    assert "<script>" not in body
    assert r"&lt;script&gt;alert(1)&lt;/script&gt; \| \*\*bold\*\* \`code\`" in body


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_the_interactive_curve_has_the_paired_intervals(metric: str) -> None:
    answer = dossier(metric=metric, n_lams=17).answer
    lopsided = tuple(replace(p, difference_high=(p.difference or 0) + 0.03, difference_low=-1.0) for p in answer.curve)
    answer = replace(answer, curve=lopsided)
    sign = 1 if metric == "accuracy" else -1
    points = {point.lam: point for point in answer.curve}
    seen = 0
    for trace in figure(answer).data:
        for x, y, up, down in zip(trace.x, trace.y, trace.error_y.array, trace.error_y.arrayminus, strict=True):
            point = points[x]
            assert point.mean is not None
            assert point.difference is not None
            assert point.difference_high is not None
            assert y == pytest.approx(sign * point.mean)
            better = up if sign > 0 else down
            assert better == pytest.approx(point.difference_high - point.difference)
            assert up >= 0
            assert down >= 0
            seen += 1
    assert seen == len(answer.curve)


def test_the_title_of_the_interactive_curve_is_broken_and_not_cut() -> None:
    title = figure(ANSWER).layout.title.text
    assert title.replace("<br>", " ") == wording.headline(ANSWER).replace("<", "&lt;")
    assert max(map(len, title.split("<br>"))) <= TITLE_WIDTH


def test_the_interactive_curve_is_small() -> None:
    assert len(figure(ANSWER).to_json()) < 20_000


@contextmanager
def served(url: str) -> Iterator[str]:
    with server(url, port=0) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


def ask(address: str, *, body: bytes | None = None, method: str | None = None, **headers: str) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(
        address, data=body, headers={"Content-Type": "application/json", **named}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_served_dashboard_lists_the_study(url: str, storage: RDBStorage) -> None:
    dashboard.publish(storage, ANSWER.study, ANSWER)
    with served(url) as base:
        status, text = ask(f"{base}/api/studies")
        assert (status, ANSWER.study in text) == (200, True)
        study_id = storage.get_study_id_from_name(ANSWER.study)
        assert publishing.GRAPH_ID in ask(f"{base}/api/studies/{study_id}")[1]


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[::1", "192.0.2.7"]
)
def test_requests_for_another_host_are_refused(url: str, host: str) -> None:
    with served(url) as base:
        assert ask(f"{base}/api/studies", Host=host)[0] == 403


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize("host", ["localhost:1234", "127.0.0.1", "[::1]:8080"])
def test_requests_for_this_machine_are_answered(url: str, host: str) -> None:
    with served(url) as base:
        assert ask(f"{base}/api/studies", Host=host)[0] == 200


def test_a_page_of_another_host_cannot_delete_a_study(url: str, storage: RDBStorage) -> None:
    study_id = storage.get_study_id_from_name(ANSWER.study)
    with served(url) as base:
        address = f"{base}/api/studies/{study_id}"
        assert ask(address, body=b"{}", method="DELETE", Origin="https://evil.example")[0] == 403
        assert ask(address, body=b"{}", method="DELETE", Origin="null")[0] == 403
        assert storage.get_study_name_from_id(study_id) == ANSWER.study


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "example.org", "::"])
def test_addresses_beyond_this_machine_need_the_flag(url: str, host: str) -> None:
    with pytest.raises(InputError, match=r"no login.*--allow-remote"):
        dashboard.serve(url, host=host, port=0)


def test_with_the_flag_any_host_name_is_answered(url: str, storage: RDBStorage) -> None:
    with server(url, host="0.0.0.0", port=0, allow_remote=True) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{running.server_port}/api/studies"
        assert ask(address, Host="dashboard.example")[0] == 200
        running.shutdown()


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.8.9.1", True), ("::1", True), ("[::1]", True), ("10.0.0.1", False), ("", False)],
)
def test_loopback_addresses(host: str, *, local: bool) -> None:
    assert is_loopback(host) is local


def test_a_taken_port_is_one_clear_line(url: str, storage: RDBStorage) -> None:
    with (
        server(url, port=0) as running,
        pytest.raises(InputError, match=f"--port {running.server_port}.*choose another --port"),
    ):
        server(url, port=running.server_port)


def test_a_database_without_studies_is_one_clear_line(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="no such database"):
        server(url, port=0)
    (tmp_path / "lam.db").touch()
    with pytest.raises(InputError, match="holds no study yet"):
        server(url, port=0)
    with closing(sqlite3.connect(tmp_path / "lam.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
