"""Workers that are told to stop, and beats that fail: real signals. Rows: see README.md."""

from __future__ import annotations

import itertools
import signal
import time
from pathlib import Path

import pytest
from forked import Program, Programs
from programs import alive, busy, finished, submitted, wait_until
from sqlalchemy import func, select

from lamsearch.store import Store
from lamsearch.store.tables import leases

ENDLESS = {"model": {"kind": "linear"}, "training": {"epochs": 1_000_000}}
"""Fold fits that do not end by themselves while a test runs."""


def held(store: Store) -> int:
    """Lease rows, held or with attempts on them."""
    query = select(func.count()).select_from(leases)
    return int(store.database.read(lambda connection: connection.scalar(query)) or 0)


def working(programs: Programs, store: Store, url: str, folder: Path, *sabotage: tuple[str, ...]) -> Program:
    """A worker in the middle of a fold fit."""
    worker = programs.worker(url, folder, *sabotage)
    wait_until(lambda: busy(store, worker))
    return worker


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_told_to_stop_leaves_within_an_epoch_and_its_fit_goes_to_the_next(
    programs: Programs, sqlite_url: str, tmp_path: Path, signum: signal.Signals
) -> None:
    """Row 13: the lease is released, no attempt counted; somebody else has the fit long before the grace is over."""
    store = submitted(sqlite_url, **ENDLESS)
    worker = working(programs, store, sqlite_url, tmp_path)
    fit, began = busy(store, worker), time.monotonic()
    worker.send(signum)
    assert worker.wait() == 128 + signum
    assert time.monotonic() - began < 10, "docker's own patience"
    assert (held(store), alive(store, worker), worker.said) == (0, None, "")
    following = working(programs, store, sqlite_url, tmp_path)
    assert busy(store, following) == fit
    assert time.monotonic() - began < 15
    following.kill()


def test_the_second_signal_ends_a_worker_that_does_not_listen(
    programs: Programs, sqlite_url: str, tmp_path: Path
) -> None:
    """Row 13."""
    store = submitted(sqlite_url, **ENDLESS)
    worker = working(programs, store, sqlite_url, tmp_path, ("never_looks_up",))
    worker.send(signal.SIGTERM)
    assert not worker.ended.wait(0.5)
    began = time.monotonic()
    worker.send(signal.SIGTERM)
    assert worker.wait() == 143
    assert time.monotonic() - began < 5


def test_failed_beats_are_tried_again_and_the_lease_is_kept(
    programs: Programs, sqlite_url: str, tmp_path: Path
) -> None:
    """Row 8: three beats in a row fail, a fourth comes."""
    store = submitted(sqlite_url, model={"kind": "linear"}, search={"trials": 1})
    worker = working(programs, store, sqlite_url, tmp_path, ("nth_beat_fails", 2, 3, 4), ("naps_in_training", 2.0))
    fit, beats = busy(store, worker), set()
    while busy(store, worker) == fit:
        beats.add(next(row.last_beat for row in store.workers()))
    assert worker.wait() == 0
    beats_in_order = sorted(beats)
    gaps = [later - earlier for earlier, later in itertools.pairwise(beats_in_order)]
    assert max(gaps) > 0.75, "the sabotage"
    assert gaps.index(max(gaps)) < len(gaps) - 1, "beats came after it"
    assert store.executed(store.study("s").id) == len(finished(store).cells)


def test_a_worker_whose_lease_is_lost_stops_at_the_next_epoch_and_goes_on(
    programs: Programs, sqlite_url: str, tmp_path: Path
) -> None:
    """Row 8: it hears of it at a beat; an attempt that was held against it is taken back."""
    store = submitted(sqlite_url, **ENDLESS)
    worker = working(programs, store, sqlite_url, tmp_path)
    row = alive(store, worker)
    assert row is not None
    assert store.free_worker(row.id, reason="somebody thought it dead") == 1
    took_s = wait_until(lambda: "superseded by another worker, discarded" in worker.said)
    assert took_s < 15, "one beat and half a second of training, on a busy machine"
    wait_until(lambda: busy(store, worker))
    query = select(leases.c.attempts)
    assert set(store.database.read(lambda connection: list(connection.scalars(query)))) == {0}
    worker.kill()
