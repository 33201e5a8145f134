"""``lamsearch doctor``: is everything here that a worker needs? Each finding with what to do about it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lamsearch import environment
from lamsearch.config import ServiceConfig
from lamsearch.errors import LamsearchError
from lamsearch.store import Store, urls
from lamsearch.store.tables import SCHEMA_VERSION

SKEW_S = 60.0
"""Leases run on the database's clock alone; a larger difference only makes times in reports hard to read."""
SLOW_S = 0.05
FREE_GIB = 2.0


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding. ``advice``: what to do, empty if nothing."""

    name: str
    ok: bool
    finding: str
    advice: str = ""


def checks(url: str, study: str | None, *, allow_code: bool) -> Iterator[Check]:
    """All checks, in order; each is made when it is asked for. ``study``: also a study that is not open."""
    yield _versions()
    names: list[str] = []
    try:
        store = Store(url, service=ServiceConfig(beat_s=1, retry_s=5, grace_s=10), read_only=_exists(url))
        yield from _database(store)
        names = [study] if study else [row.name for row in store.studies() if row.state in ("open", "closing")]
    except LamsearchError as error:
        yield Check(name="database", ok=False, finding=str(error))
    yield _guarded("devices", _devices)
    yield from _disks(url)
    for name in names:
        yield _guarded(f"data of {name}", partial(_data, store, name, allow_code=allow_code))


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except LamsearchError as error:
        return Check(name=name, ok=False, finding=str(error))


def _versions() -> Check:
    found = environment.versions()
    missing = [name for name, version in found.items() if version == "not installed"]
    listed = ", ".join(f"{name} {version}" for name, version in found.items() if name != "hardware")
    advice = f"reinstall lamsearch: pip install --force-reinstall lamsearch ({', '.join(missing)} missing)"
    return Check(name="versions", ok=not missing, finding=listed, advice=advice if missing else "")


def _exists(url: str) -> bool:
    """False for a SQLite file that is still to be made: that is no fault, and looking must not make it."""
    parsed = urls.parse(url)
    return not urls.is_sqlite(parsed) or urls.path_of(parsed).exists()


def _database(store: Store) -> Iterator[Check]:
    for warning in store.warnings:
        yield Check(name="database", ok=False, finding=warning, advice="use PostgreSQL for more than one machine")
    if not store.database.read_only:
        may = os.access(urls.path_of(store.database.url).absolute().parent, os.W_OK)
        advice = "" if may else "this folder cannot be written to: choose another with --storage"
        yield Check(name="database", ok=may, finding=f"{store.url}: not there yet", advice=advice)
        return
    health = store.health()
    what = f"schema {SCHEMA_VERSION}" if health.has_tables else "no study yet"
    yield Check(name="database", ok=True, finding=f"{store.url}: {health.product}, {what}")
    sound = "none" if urls.is_sqlite(store.database.url) else "checked by the server itself"
    advice = urls.rescue(store.database.url) if health.damage else ""
    yield Check(name="damage", ok=not health.damage, finding=health.damage or sound, advice=advice)
    reading = "read only: enough for status, best, trials, report and dashboard; run, submit and worker need to write"
    yield Check(name="rights", ok=True, finding="read and write" if health.may_write else reading)
    slow = health.round_trip_s > SLOW_S
    advice = "workers wait for it at every claim: bring them nearer" if slow else ""
    yield Check(name="round trip", ok=not slow, finding=f"{1000 * health.round_trip_s:.1f} ms", advice=advice)
    skewed = abs(health.skew_s) > SKEW_S
    yield Check(
        name="clock",
        ok=not skewed,
        finding=f"the database's differs from this machine's by {health.skew_s:+.1f} s",
        advice="let NTP set both clocks" if skewed else "",
    )


def _devices() -> Check:
    from lamsearch.executor import devices, name_of

    found = devices("auto")
    names = ", ".join(f"{device} ({name_of(device)})" for device in found)
    return Check(name="devices", ok=True, finding=f"{names}; {environment.cores()} cores")


def _disks(url: str) -> Iterator[Check]:
    """Results go here; a SQLite database may lie on another disk."""
    yield _disk("disk", Path.cwd(), "here")
    with contextlib.suppress(LamsearchError, OSError):  # said above
        parsed = urls.parse(url)
        folder = urls.path_of(parsed).absolute().parent
        if urls.is_sqlite(parsed) and folder.stat().st_dev != Path.cwd().stat().st_dev:
            yield _disk("disk of the database", folder, f"in {folder}")


def _disk(name: str, folder: Path, where: str) -> Check:
    free = shutil.disk_usage(folder).free / 2**30
    advice = "" if free >= FREE_GIB else "make room: a full disk stops the study (exit code 74), resumable"
    return Check(name=name, ok=free >= FREE_GIB, finding=f"{free:.1f} GiB free {where}", advice=advice)


def _data(store: Store, name: str, *, allow_code: bool) -> Check:
    from lamsearch import preparation

    study = store.study(name)
    _, found = preparation.facts(study.config, allow_code=allow_code)
    preparation.check_same(name, study.facts, found)
    size = f"{found['n_images']:,} images to search, {found['n_test']:,} to test, m = {found['m']:,}"
    return Check(name=f"data of {name}", ok=True, finding=f"the study's own ({size})")
