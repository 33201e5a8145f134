"""The server that the other tests here rely on: its data outlive stops and crashes."""

from __future__ import annotations

import pytest
from server import Server
from sqlalchemy import create_engine, text


@pytest.mark.postgres
def test_the_server_keeps_what_was_committed_over_restarts_and_crashes(own_server: Server) -> None:
    engine = create_engine(own_server.create_database())
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE numbers (n integer)"))
    for n in range(3):
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO numbers VALUES (:n)"), {"n": n})
        engine.dispose()
        pid = own_server.pid
        if n == 0:
            own_server.restart("fast")
        elif n == 1:
            own_server.restart("immediate")
        else:
            own_server.crash()
            assert not own_server.running
            own_server.start()
        assert own_server.pid != pid
    with engine.begin() as connection:
        assert list(connection.scalars(text("SELECT n FROM numbers ORDER BY n"))) == [0, 1, 2]
    engine.dispose()
