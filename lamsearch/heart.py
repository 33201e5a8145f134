"""The beat: one thread per worker tells the database that all its leases are alive."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class _Beats(Protocol):
    def beat(self, worker_id: int) -> frozenset[str]: ...


class Heart:
    """``lost`` holds the tokens of leases that another worker has taken over."""

    def __init__(self) -> None:
        self.lost: frozenset[str] = frozenset()
        self.failures = 0


@contextmanager
def beating(store: _Beats, worker_id: int, *, every_s: float) -> Iterator[Heart]:
    """Beat from a thread until the block ends. A failed beat is counted and tried again, never final."""
    heart, ended = Heart(), threading.Event()

    def run() -> None:
        while not ended.wait(every_s):
            try:
                heart.lost = store.beat(worker_id)
                heart.failures = 0
            except Exception:
                # Whatever it was, the next beat tries again: a thread that dies here loses a living worker's lease.
                heart.failures += 1

    thread = threading.Thread(target=run, name="lamsearch-beat", daemon=True)
    thread.start()
    try:
        yield heart
    finally:
        ended.set()
        thread.join(timeout=every_s)
