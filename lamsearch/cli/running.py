"""Commands that make progress: ``run``, ``submit``, ``extend``, ``worker``."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lamsearch.cli.options import (
    FLAG_KEYS,
    AllowCode,
    AsJson,
    Device,
    Epochs,
    Folds,
    Name,
    Out,
    Pruner,
    Replicates,
    Sampler,
    Seed,
    Set,
    Storage,
    StudyFile,
    Trials,
    Until,
    open_store,
    parse_duration,
    parse_set,
    pick_study,
    renamed,
    results_folder,
    split_service,
    storage_url,
)
from lamsearch.errors import InputError, StorageUnavailable, StudyConflict
from lamsearch.records import BASELINE

if TYPE_CHECKING:
    from lamsearch.config import ServiceConfig, StudyConfig
    from lamsearch.stopping import Stop
    from lamsearch.store import Store, StudyRow

PATIENCE_S = 30.0
"""How long a child may take to stop when asked: half a second of training steps, and a last look at the database."""


def run(
    study: StudyFile = "digits",
    *,
    trials: Trials = None,
    folds: Folds = None,
    epochs: Epochs = None,
    sampler: Sampler = None,
    pruner: Pruner = None,
    seed: Seed = None,
    replicates: Replicates = None,
    until: Until = None,
    name: Name = None,
    storage: Storage = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one per core, or per GPU.")] = None,
    device: Device = "auto",
    time: Annotated[str | None, typer.Option(help="Stop after this long with what is known: 90s, 2m, 1h30m.")] = None,
    out: Out = None,
    retry_failed: Annotated[bool, typer.Option(help="Reopen λ's whose attempts were used up.")] = False,
    allow_code: AllowCode = False,
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Search λ for a study and answer: submit, work with local processes, refit, report."""
    from lamsearch.cli.local import LocalWorkers
    from lamsearch.stopping import on_signals

    config, service, pairs = _configured(study, locals(), set_)
    seconds = parse_duration(time) if time else None
    folder = results_folder(out, config.name)
    url = storage_url(storage)
    with on_signals() as stop, _leaving(stop):
        local = LocalWorkers(
            url=url, study=config.name, device=device, count=workers, service=pairs, allow_code=allow_code
        )
        store = open_store(storage, service, stop=stop)
        reachable: Store | None = store
        try:
            if not any(row.name == config.name and row.state == "done" for row in store.studies()):
                local.start()  # they import torch while we look at the data and make the study
            row = submitted(store, config, retry_failed=retry_failed, allow_code=allow_code)
            if trials is not None and trials < row.config.search.trials:
                has = f"study {row.name} has {row.config.search.trials} λ's already"
                typer.echo(f"{has}; --trials {trials} takes none away", err=True)
            code = 0
            if row.state != "done":  # else nothing is left to do: the stored answer stands
                local.go()
            from lamsearch.cli import session

            if row.state != "done":
                code = session.follow(store, row, local, stop, seconds=seconds)
                local.ask_to_stop()
            session.conclude(store, store.study(row.name), folder, as_json=as_json)
        except StorageUnavailable:
            reachable = None
            raise
        finally:
            local.stop(reachable, within_s=PATIENCE_S)
    raise typer.Exit(code)


def submit(
    study: StudyFile = "digits",
    *,
    trials: Trials = None,
    folds: Folds = None,
    epochs: Epochs = None,
    sampler: Sampler = None,
    pruner: Pruner = None,
    seed: Seed = None,
    replicates: Replicates = None,
    until: Until = None,
    name: Name = None,
    storage: Storage = None,
    retry_failed: Annotated[bool, typer.Option(help="Reopen λ's whose attempts were used up.")] = False,
    allow_code: AllowCode = False,
    set_: Set = None,
) -> None:
    """Create or extend a study and return at once; `lamsearch worker` does the work."""
    config, service, _ = _configured(study, locals(), set_)
    store = open_store(storage, service)
    row = submitted(store, config, retry_failed=retry_failed, allow_code=allow_code)
    n = sum(slot.slot != BASELINE for slot in store.table(row.id).slots)
    typer.echo(f"study {row.name} is {row.state}: {n} λ's and the baseline λ = 0")


def worker(
    *,
    study: Annotated[list[str] | None, typer.Option(help="Serve only this study; may be repeated.")] = None,
    storage: Storage = None,
    device: Device = "auto",
    exit_when_done: Annotated[bool, typer.Option(help="Leave when no open study is left.")] = False,
    allow_code: AllowCode = False,
    with_parent: Annotated[bool, typer.Option(hidden=True)] = False,
    set_: Set = None,
) -> None:
    """Serve the open studies of the database until stopped."""
    from lamsearch.stopping import on_signals
    from lamsearch.worker import Options, Worker

    others, service = split_service(parse_set(set_))
    if others:
        raise InputError(f"--set {next(iter(others))}: a worker takes service.* keys alone; the study has the others")
    with on_signals() as stop, _leaving(stop):
        if with_parent:
            if sys.stdin.readline() != "go\n":
                raise typer.Exit(0)
            # The pipe ends with the parent: an orphan would go on using the machine unseen.
            threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()
        store = open_store(storage, service, stop=stop)
        for name in study or []:
            store.study(name)
        if not with_parent and not any(row.state in ("open", "closing") for row in store.studies()):
            then = "leaving" if exit_when_done else "waiting for one"
            typer.echo(f"lamsearch worker: no study is open in {store.url}: {then}", err=True)
        options = Options(
            studies=tuple(study or ()), device=device, exit_when_done=exit_when_done, allow_code=allow_code
        )
        raise typer.Exit(Worker(store, options, stop).run())


def extend(
    study: Annotated[str, typer.Argument(help="Name in the database.")],
    lam_over_m: Annotated[
        list[float] | None, typer.Argument(help="λ/m values; default: what the answer proposes.")
    ] = None,
    *,
    storage: Storage = None,
) -> None:
    """Add λ's beyond the end of the range; `lamsearch run` or a worker then measures them."""
    from lamsearch.dossier import proposed_extension

    store = open_store(storage)
    row = pick_study(store, study)
    values = tuple(lam_over_m or ()) or proposed_extension(store, row)
    if not values:
        raise InputError(f"study {row.name}: the answer touches no edge; name λ/m values to add them all the same")
    grown = row.config.search.model_copy(update={"extend": (*row.config.search.extend, *values)})
    config = type(row.config).model_validate({**row.config.model_dump(), "search": grown.model_dump()})
    store.submit(config, row.facts)
    typer.echo(f"study {row.name}: {len(values)} λ's added at λ/m = {', '.join(f'{value:.3g}' for value in values)}")


@contextmanager
def _leaving(stop: Stop) -> Iterator[None]:
    """Who was told to stop while the database was away has been stopped; the line still says what is amiss."""
    try:
        yield
    except StorageUnavailable as error:
        if stop.signum is None:
            raise
        typer.echo(f"lamsearch: {error}", err=True)
        raise typer.Exit(stop.exit_code) from None


def _stop_with_parent(stop: Stop) -> None:
    sys.stdin.read()
    stop.set()


def submitted(store: Store, config: StudyConfig, *, retry_failed: bool, allow_code: bool) -> StudyRow:
    """Create or grow the study after looking at its data. Raises InputError with nothing written."""
    from lamsearch.preparation import facts

    _, known = facts(config, allow_code=allow_code)
    try:
        row = store.submit(config, known)
    except StudyConflict as error:
        taken = {there.name for there in store.studies()}
        free = next(name for number in count(2) if (name := f"{error.name}-{number}") not in taken)
        raise StudyConflict(error.name, error.differences, renamed(sys.argv[1:], free)) from None
    if retry_failed:
        store.retry_failed(row.id)
    if row.state in ("stopped", "closing", "failed"):
        why = f" ({row.reason})" if row.reason else ""
        typer.echo(f"study {row.name} was {row.state}{why}; it is open again", err=True)
        store.set_state(row.name, "open")
    return store.study(row.name)


def _configured(
    study: str, flags: dict[str, Any], set_: list[str] | None
) -> tuple[StudyConfig, ServiceConfig, list[str]]:
    """(study, service settings, the service's own KEY=VALUE pairs) from a file, its flags and ``--set``."""
    from lamsearch import study_files

    given = {key: flags[flag] for flag, key in FLAG_KEYS.items() if flags.get(flag) is not None}
    values, service = split_service(parse_set(set_))
    pairs = [pair for pair in set_ or [] if pair.startswith("service.")]
    return study_files.load(study, {**values, **given}), service, pairs


COMMANDS = (run, submit, worker, extend)
