"""Storage that fails at its Nth commit: SQLite's own testing method (https://sqlite.org/testing.html, section 3)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.engine.default import DefaultDialect


class Killed(BaseException):
    """Stands for SIGKILL: nothing of this process reaches the database any more."""


class Commits:
    """Counts the commits of all engines; disturbs the ``at``-th, ``before`` or ``after`` it took effect.

    ``kill``: from there on every commit fails, until ``revive``; otherwise only that one does, as if the network had
    hiccupped.
    """

    def __init__(self, *, at: int = 0, when: str = "before", kill: bool = False) -> None:
        self.at, self.when, self.kill = at, when, kill
        self.n = 0
        self.dead = False

    def revive(self) -> None:
        """A new process starts."""
        self.dead = False

    def commit(self, original: Any, dialect: DefaultDialect, connection: Any) -> None:
        """In place of ``Dialect.do_commit``."""
        self.n += 1
        if self.dead:
            raise Killed
        hit = self.n == self.at
        if hit and self.when == "before":
            self._fail(dialect)
        original(dialect, connection)
        if hit:
            self._fail(dialect)

    def _fail(self, dialect: DefaultDialect) -> None:
        if self.kill:
            self.dead = True
            raise Killed
        if dialect.name == "sqlite":
            raise sqlite3.OperationalError("injected: the disk hiccupped")
        import psycopg

        raise psycopg.OperationalError("injected: the server closed the connection unexpectedly")


@contextmanager
def failing(commits: Commits) -> Iterator[Commits]:
    """Apply ``commits`` to everything that SQLAlchemy commits."""
    original = DefaultDialect.do_commit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DefaultDialect, "do_commit", lambda self, connection: commits.commit(original, self, connection))
        yield commits
