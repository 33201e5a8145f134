"""`lamsearch doctor`: each finding says whether it is fine and, if not, what to do; no secret is printed."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from lamsearch import preparation
from lamsearch.cli.checks import Check, checks
from lamsearch.config import parse_study
from lamsearch.store import Store
from lamsearch.store.health import Health
from lamsearch.store.tables import SCHEMA_VERSION

STUDY = parse_study({"name": "small", "data": {"n": 200}, "search": {"folds": 2, "trials": 2}}, where="test")


def made(url: str) -> str:
    store = Store(url)
    _, facts = preparation.facts(STUDY)
    store.submit(STUDY, facts)
    store.close()
    return url


def found(url: str, study: str | None = None) -> dict[str, Check]:
    return {check.name: check for check in checks(url, study, allow_code=False)}


def test_a_machine_in_order_passes_every_check(url: str) -> None:
    seen = found(made(url))
    assert [name for name, check in seen.items() if not check.ok] == []
    assert list(seen) == [
        *("versions", "database", "damage", "rights", "round trip", "clock", "devices", "disk"),
        "data of small",
    ]
    assert seen["damage"].finding == ("none" if url.startswith("sqlite") else "checked by the server itself")
    assert f"schema {SCHEMA_VERSION}" in seen["database"].finding
    assert "200 images to search" in seen["data of small"].finding


def test_a_database_still_to_be_made_is_no_fault_and_is_not_made(tmp_path: Path) -> None:
    assert found(f"sqlite:///{tmp_path}/new.db")["database"] == Check(
        name="database", ok=True, finding=f"sqlite:///{tmp_path}/new.db: not there yet"
    )
    assert list(tmp_path.iterdir()) == []


def test_no_other_check_is_lost_when_the_database_is_away() -> None:
    seen = found("postgresql://u:hunter2@nosuchhost.invalid/d")
    assert not seen["database"].ok
    assert "no such host" in seen["database"].finding
    assert "hunter2" not in str(seen)
    assert seen["devices"].ok


def test_a_clock_apart_and_a_slow_line_are_found_with_advice(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sick = Health(product="SQLite 3", skew_s=-90.0, round_trip_s=0.3, has_tables=True, may_write=True)
    made(sqlite_url)
    monkeypatch.setattr(Store, "health", lambda self: sick)
    seen = found(sqlite_url)
    assert not seen["clock"].ok
    assert "by -90.0 s" in seen["clock"].finding
    assert "NTP" in seen["clock"].advice
    assert not seen["round trip"].ok


@pytest.mark.parametrize("where", ["middle", "first pages"])
def test_a_damaged_file_is_found_with_what_to_do(sqlite_url: str, tmp_path: Path, where: str) -> None:
    path = Path(made(sqlite_url).removeprefix("sqlite:///"))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE nobody_reads_it (what BLOB)")
        connection.executemany("INSERT INTO nobody_reads_it VALUES (?)", [(b"!marker!" * 100,)] * 50)
    content = bytearray(path.read_bytes())
    pages = [
        page for page in range(1, len(content) // 4096) if b"!marker!" in content[4096 * page : 4096 * page + 4096]
    ]
    for page in pages if where == "middle" else range(1, 6):
        content[4096 * page : 4096 * page + 64] = b"\xa5" * 64
    path.write_bytes(bytes(content))
    wrong = [check for check in checks(sqlite_url, "small", allow_code=False) if not check.ok]
    line = f"{wrong[0].finding} → {wrong[0].advice}"
    assert wrong[0].name == ("damage" if where == "middle" else "database")
    assert "\n" not in line
    (command,) = re.findall("`(.*)`", line)
    assert command.startswith(f"sqlite3 {path} ")
    if where == "middle" and shutil.which("sqlite3"):
        subprocess.run(command, shell=True, check=True, cwd=tmp_path, stderr=subprocess.DEVNULL)
        assert found(f"sqlite:///{tmp_path}/rescued.db")["damage"].ok
        assert [row.name for row in Store(f"sqlite:///{tmp_path}/rescued.db").studies()] == ["small"]


def test_other_images_than_the_studys_are_found(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made(sqlite_url)
    facts = preparation.facts

    def other(*args: object, **more: object) -> object:
        data, known = facts(*args, **more)  # type: ignore[arg-type]
        return data, {**known, "fingerprint": "another"}

    monkeypatch.setattr(preparation, "facts", other)
    check = found(sqlite_url)["data of small"]
    assert not check.ok
    assert "the data here differ from those of study 'small'" in check.finding


@pytest.mark.postgres
def test_a_role_that_may_only_read_is_told_so(new_postgres: Callable[[], str]) -> None:
    url = made(new_postgres())
    admin = create_engine(make_url(url), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP ROLE IF EXISTS lam_reader"))
        connection.execute(text("CREATE ROLE lam_reader LOGIN PASSWORD 'x'"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO lam_reader"))
    reading = make_url(url).set(username="lam_reader", password="x").render_as_string(hide_password=False)
    seen = found(reading)
    assert seen["database"].ok
    assert seen["rights"].ok
    assert seen["rights"].finding.startswith("read only: enough for status, best, trials, report and dashboard")
    with admin.connect() as connection:
        connection.execute(text("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM lam_reader"))
        connection.execute(text("DROP ROLE lam_reader"))
    admin.dispose()
