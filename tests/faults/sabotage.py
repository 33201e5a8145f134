"""Faults from within, for processes under test: each function prepares one in the process that calls it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any


def die() -> None:
    """As `kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)


def nth_beat_fails(*numbers: int) -> None:
    """The beats with these numbers (from 1) raise, as if the database were away."""
    from lamsearch.errors import StorageUnavailable
    from lamsearch.store import Store

    beat, done = Store.beat, [0]

    def failing(self: Store, worker_id: int) -> frozenset[str]:
        done[0] += 1
        if done[0] in numbers:
            raise StorageUnavailable("sabotaged beat")
        return beat(self, worker_id)

    Store.beat = failing  # type: ignore[method-assign]


def leaves_after(fits: int) -> None:
    """SIGTERM once so many fold fits are recorded."""
    from lamsearch.store import Store

    record, done = Store.record_and_claim, [0]

    def counting(self: Store, *given: Any) -> Any:
        kept, ahead = record(self, *given)
        done[0] += sum(kept)
        if done[0] == fits:
            os.kill(os.getpid(), signal.SIGTERM)
        return kept, ahead

    Store.record_and_claim = counting  # type: ignore[method-assign]


def sleeps_in_training() -> None:
    """SIGSTOP in the middle of the first fold fit."""
    _in_training(0, lambda: os.kill(os.getpid(), signal.SIGSTOP))


def dies_in_training(after: int = 0) -> None:
    """SIGKILL in the middle of the fold fit that follows ``after`` whole ones."""
    _in_training(after, die)


def _in_training(after: int, happen: Callable[[], None]) -> None:
    from lamsearch.evidence import Ledger

    record, seen = Ledger.record, [0]

    def dying(self: Ledger, **epoch: Any) -> Any:
        if self.epoch == 1:
            seen[0] += 1
            if seen[0] == after + 1:
                happen()
        return record(self, **epoch)

    Ledger.record = dying  # type: ignore[method-assign]


def dies_in_takeover(when: str) -> None:
    """SIGKILL in the transaction that takes an expired lease, ``before`` or ``after`` its commit."""
    from lamsearch.store import claims

    take_over = claims._take_over
    taking = [False]

    def dying(*arguments: Any) -> None:
        take_over(*arguments)
        taking[0] = True

    claims._take_over = dying
    _at_commit(lambda: taking[0], when)


def dies_at_commit(number: int, when: str) -> None:
    """SIGKILL ``before`` or ``after`` the commit with this number (from 1), ours or Optuna's."""
    done = [0]

    def due() -> bool:
        done[0] += 1
        return done[0] == number

    _at_commit(due, when)


def sleeps_with_the_lock() -> None:
    """SIGSTOP before the first claim is committed, while its transaction holds the study's lock."""
    from lamsearch.store import claims

    claim, claimed = claims.claim, [0]

    def claiming(*arguments: Any, **options: Any) -> Any:
        found = claim(*arguments, **options)
        claimed[0] += isinstance(found, claims.Claim)
        return found

    def sleep() -> None:
        claimed[0] += 1
        os.kill(os.getpid(), signal.SIGSTOP)

    claims.claim = claiming
    _at_commit(lambda: claimed[0] == 1, "before", sleep)


def _at_commit(due: Callable[[], bool], when: str, happen: Callable[[], None] = die) -> None:
    from sqlalchemy.engine.default import DefaultDialect

    commit = DefaultDialect.do_commit

    def dying(self: DefaultDialect, connection: Any) -> None:
        now = due()
        if now and when == "before":
            happen()
        commit(self, connection)
        if now and when == "after":
            happen()

    DefaultDialect.do_commit = dying  # type: ignore[method-assign]


def never_looks_up() -> None:
    """A training step that takes a minute: nobody hears that the process is asked to stop."""
    from lamsearch.executor import Executor

    def train(self: Executor, members: Any, *, stop: Any = None) -> Any:
        time.sleep(60)
        raise AssertionError("asleep for a minute")

    Executor.train = train  # type: ignore[method-assign]


def naps_in_training(seconds: float) -> None:
    """The first fold fit takes so much longer."""
    _in_training(0, lambda: time.sleep(seconds))


def losses_become(*poisons: tuple[int, int, str]) -> None:
    """(slot, fold, value): the data loss of that fold fit is nan, inf or -inf."""
    from lamsearch import loop
    from lamsearch.executor import Executor

    train, with_gradient = Executor.train, loop.losses.with_gradient
    values = {(slot, fold): float(value) for slot, fold, value in poisons}
    poison = [0.0]

    def training(self: Executor, members: Any, **options: Any) -> Any:
        poison[0] = values.get((members[0].slot, members[0].fold), 0.0)
        return train(self, members, **options)

    def poisoned(*arguments: Any) -> Any:
        each, gradient = with_gradient(*arguments)
        return each + poison[0], gradient

    Executor.train = training  # type: ignore[method-assign]
    loop.losses.with_gradient = poisoned


def may_not_grow() -> None:
    """SQLite may use no more pages than the file has."""
    from sqlalchemy import Engine, event

    @event.listens_for(Engine, "connect")
    def limit(connection: Any, _record: Any) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
