"""No secret is shown, readers cannot write, containers are locked down: what is promised under "Security"."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from forked import Programs
from programs import finished, submitted, wait_until
from server import Server, free_port
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url

from lamsearch.store import Store

SECRET = "p@ss w/o:rd%?#é&{}'\\"
DOCKER = Path(__file__).parents[2] / "docker"


@pytest.fixture
def guarded(own_server: Server) -> Iterator[URL]:
    """A database whose owner needs a password: unlike most test servers, this one asks for it."""
    rules = own_server.data / "pg_hba.conf"
    before = rules.read_text(encoding="utf-8")
    rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{before}", encoding="utf-8")
    url = make_url(own_server.create_database())
    admin = create_engine(own_server.url(), isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    quoted = SECRET.replace("'", "''")
    with admin.connect() as connection:
        connection.execute(text("SELECT pg_reload_conf()"))
        connection.exec_driver_sql(f"CREATE ROLE guarded LOGIN PASSWORD '{quoted}'".replace("%", "%%"))
        connection.execute(text(f"ALTER DATABASE {url.database} OWNER TO guarded"))
    yield url.set(username="guarded", password=SECRET)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {url.database} WITH (FORCE)"))
        connection.execute(text("DROP ROLE guarded"))
        rules.write_text(before, encoding="utf-8")
        connection.execute(text("SELECT pg_reload_conf()"))
    admin.dispose()


def shown(url: URL) -> str:
    return url.render_as_string(hide_password=False)


@pytest.mark.postgres
def test_a_password_of_odd_characters_opens_everything_and_is_shown_nowhere(
    programs: Programs, guarded: URL, own_server: Server, tmp_path: Path
) -> None:
    """From a file, through a study to its report, and through a failure."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "url").write_text(shown(guarded) + "\n", encoding="utf-8")
    environ = {"LAMSEARCH_STORAGE_FILE": str(secrets / "url")}
    small = "submit --name s --trials 3 --folds 2 --epochs 1 --set data.n=150 --set model.kind=linear"
    assert programs.run(small, tmp_path, **environ).code == 0
    for command in ("worker --exit-when-done", "best --json", "status", "report"):
        done = programs.run(command, tmp_path, **environ)
        assert done.code == 0, done.said
    own_server.stop("immediate")
    failed = programs.run("worker --set service.retry_s=0.5", tmp_path, **environ, LAMSEARCH_DEBUG="1")
    assert failed.code == 75
    own_server.start()
    encoded = shown(guarded).split(":")[2].partition("@")[0]
    texts = [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    leaks = [text for text in texts if SECRET in text or encoded in text]
    assert leaks == [(secrets / "url").read_text(encoding="utf-8")]
    assert sum(len(text) for text in texts) > 100_000, "the report is among them"


@pytest.mark.postgres
def test_a_wrong_password_is_one_line_without_it(programs: Programs, guarded: URL, tmp_path: Path) -> None:
    for command in ("run", "submit", "worker", "status", "best"):
        refused = programs.run(command, tmp_path, LAMSEARCH_STORAGE=shown(guarded.set(password="hunter2")))
        assert (refused.code, refused.said.count("\n")) == (2, 1), refused.said
        assert 'password authentication failed for user "guarded"' in refused.said
        assert "guarded:***@" in refused.said
        assert "hunter2" not in refused.said


@pytest.mark.postgres
def test_postgresqls_own_password_file_is_honoured(programs: Programs, guarded: URL, tmp_path: Path) -> None:
    escaped = SECRET.replace("\\", "\\\\").replace(":", "\\:")
    (tmp_path / "pgpass").write_text(f"127.0.0.1:{guarded.port}:*:guarded:{escaped}\n", encoding="utf-8")
    (tmp_path / "pgpass").chmod(0o600)
    environ = {"LAMSEARCH_STORAGE": shown(guarded._replace(password=None)), "PGPASSFILE": str(tmp_path / "pgpass")}
    done = programs.run("status", tmp_path, **environ)
    assert (done.code, done.said) == (0, "no study yet; `lamsearch run` makes one\n")


@pytest.fixture
def reader(own_server: Server) -> Iterator[tuple[Store, str]]:
    """A study with a few results, and the URL of a role that may only SELECT."""
    url = make_url(own_server.create_database())
    store = submitted(shown(url), model={"kind": "linear"}, training={"epochs": 1})
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE ROLE only_reader LOGIN"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO only_reader"))
    yield store, shown(url.set(username="only_reader"))
    with engine.connect() as connection:
        connection.execute(text("DROP OWNED BY only_reader"))
        connection.execute(text("DROP ROLE only_reader"))
    engine.dispose()


@pytest.mark.postgres
def test_a_role_that_may_only_select_reads_everything_and_writes_nothing(
    programs: Programs, reader: tuple[Store, str], tmp_path: Path
) -> None:
    store, url = reader
    assert programs.worker(shown(store.database.url), tmp_path).wait() == 0
    environ = {"LAMSEARCH_STORAGE": url}
    for command in ("status", "best", "trials", "report"):
        done = programs.run(command, tmp_path, **environ)
        assert done.code == 0, done.said
    store.set_state("s", "open")
    for command in ("run --name other", "submit --name other", "worker", "stop s"):
        refused = programs.run(command, tmp_path, **environ)
        assert (refused.code, refused.said.count("\n")) == (2, 1), f"{command}: {refused.said}"
        assert "permission denied" in refused.said
    port = free_port()
    served = programs.start(f"dashboard --port {port}", tmp_path, **environ)
    wait_until(lambda: not served.ended.is_set() and socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=20) as answer:
        assert b'"s"' in answer.read()
    served.kill()
    finished(store)


def test_the_containers_are_locked_down() -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    for name, service in services.items():
        assert "no-new-privileges:true" in service["security_opt"]
        if name != "db":
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "published to this machine only"
    assert "ports" not in services["db"]
    assert "POSTGRES_PASSWORD" not in services["db"]["environment"], "a secret, with no default"
    assert "healthcheck" in services["db"]
    assert "healthcheck" in services["worker"]
    assert services["worker"]["stop_grace_period"] == "2m"
    assert all("PASSWORD" not in key for key in services["worker"]["environment"])
    lines = (DOCKER / "Dockerfile").read_text(encoding="utf-8").splitlines()
    (user,) = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert user not in ("root", "0")


def test_nothing_foreign_is_unpickled() -> None:
    """torch.load and pickle are not used; torchvision unpickles CIFAR only after its checksum."""
    package = DOCKER.parent / "lamsearch"
    sources = {path: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    assert len(sources) > 80
    for path, source in sources.items():
        for call in ("torch.load(", "pickle.load", "joblib", "allow_pickle=True", "eval(", "exec("):
            assert call not in source.replace(".eval(", "").replace("model.exec(", ""), f"{path}: {call}"
