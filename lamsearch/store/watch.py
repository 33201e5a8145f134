"""Cuts connections to a server that hangs: libpq waits for an answer for ever, deaf to signals and deadlines."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event

HANG_S = 70.0
"""Longer than ``statement_timeout``: a server that has not answered by then does not run."""
LOOK_S = 0.5


class Watch:
    """Shuts the sockets of connections in use for ``limit_s``, or for ``leaving_s`` once ``stop()`` is true.

    Whoever waits at one of them gets the driver's error for a lost connection.
    """

    def __init__(self, stop: Callable[[], bool], *, leaving_s: float, limit_s: float = HANG_S) -> None:
        self._stop, self._leaving_s, self._limit_s = stop, leaving_s, limit_s
        self._used: dict[int, tuple[float, Any]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def over(self, engine: Engine) -> None:
        """Watch all connections of ``engine``."""
        event.listen(engine, "do_connect", self._hasten)
        event.listen(engine, "checkout", self._begin)
        event.listen(engine, "checkin", self._end)
        event.listen(engine, "invalidate", lambda connection, record, _: self._end(connection, record))

    def _hasten(self, _dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
        """Who leaves does not wait long for a connection, several times over."""
        if self._stop():
            parameters["connect_timeout"] = max(2, round(self._leaving_s))

    def _begin(self, connection: Any, record: Any, _proxy: Any) -> None:
        with self._lock:
            self._used[id(record)] = time.monotonic(), connection
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, daemon=True)
                self._thread.start()

    def _end(self, _connection: Any, record: Any) -> None:
        with self._lock:
            self._used.pop(id(record), None)

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_S)
            limit_s = self._leaving_s if self._stop() else self._limit_s
            with self._lock:
                late = [key for key, (since, _) in self._used.items() if time.monotonic() - since > limit_s]
                for key in late:
                    _shut(self._used.pop(key)[1])


def _shut(connection: Any) -> None:
    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
