"""Commands that change, check or serve: ``stop``, ``resume``, ``delete``, ``doctor``, ``publish``, ``dashboard``."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from lamsearch.cli.options import (
    AllowCode,
    AsJson,
    Device,
    Set,
    Storage,
    StudyFile,
    StudyName,
    open_store,
    parse_set,
    pick_study,
    storage_url,
)
from lamsearch.errors import InputError, LamsearchError

Named = Annotated[str, typer.Argument(metavar="STUDY", help="Name in the database.")]


def stop(study: Named, *, storage: Storage = None) -> None:
    """Stop a study: workers leave it at their next epoch; nothing finished is lost."""
    store = open_store(storage)
    if store.study(study).state == "done":
        typer.echo(f"study {study} is done; there is nothing to stop")
        return
    store.set_state(study, "stopped", reason="by request")
    typer.echo(f"study {study} is stopped; `lamsearch resume {study}` goes on")


def resume(study: Named, *, storage: Storage = None) -> None:
    """Let workers go on with a stopped study."""
    store = open_store(storage)
    row = store.study(study)
    if row.state == "done":
        typer.echo(f"study {study} is done; a larger --trials adds to it")
        return
    store.set_state(row.name, "open")
    typer.echo(f"study {study} is open")


def delete(
    study: Named,
    *,
    storage: Storage = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a study with all its results."""
    store = open_store(storage)
    row = store.study(study)
    if not yes and not sys.stdin.isatty():
        raise InputError(f"delete {row.name}: there is nobody to ask; say --yes")
    if not yes and not typer.confirm(f"delete study {row.name} with all its results?"):
        raise typer.Exit(1)
    store.delete(row.name)
    typer.echo(f"study {study} is deleted")


def publish(study: StudyName = None, *, storage: Storage = None) -> None:
    """Write the verdict, its numbers and the CV curve into optuna-dashboard (again after a rename)."""
    from lamsearch import dashboard, dossier

    store = open_store(storage)
    row = pick_study(store, study)
    answer = dossier.current_answer(store, row)
    if answer is None:
        raise LamsearchError(f"study {row.name}: nothing to publish yet, too few fold fits have finished")
    if not store.mirror(row.id, then=lambda optuna: dashboard.publish(optuna, row.name, answer)):
        raise LamsearchError(f"study {row.name}: a worker is publishing it just now; try again in a moment")
    typer.echo(f"published {row.name}; `lamsearch dashboard` shows it")


def serve_dashboard(
    *,
    storage: Storage = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.", min=0, max=65535)] = 8080,
    allow_remote: Annotated[bool, typer.Option(help="Listen beyond this machine; there is no login.")] = False,
) -> None:
    """Serve optuna-dashboard on this database."""
    from lamsearch import dashboard

    dashboard.serve(storage_url(storage), host=host, port=port, allow_remote=allow_remote)


serve_dashboard.__name__ = "dashboard"


def doctor(
    study: Annotated[str | None, typer.Argument(help="Also check this study's data.")] = None,
    *,
    storage: Storage = None,
    allow_code: AllowCode = False,
) -> None:
    """Check database, clock, versions, data and devices, and say what to do."""
    from lamsearch.cli.checks import checks

    bad = 0
    for check in checks(storage_url(storage), study, allow_code=allow_code):
        advice = f" → {check.advice}" if check.advice else ""
        typer.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.finding}{advice}")
        bad += not check.ok
    raise typer.Exit(1 if bad else 0)


def bench(
    study: StudyFile = "digits",
    *,
    device: Device = "auto",
    allow_code: AllowCode = False,
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Time the trainers on this machine for a study's images: ms per step, models per second, share of the peak."""
    from lamsearch import study_files
    from lamsearch.bench import bench as measure
    from lamsearch.preparation import check_code

    config = study_files.load(study, parse_set(set_))
    check_code(config, allow_code=allow_code)
    found = measure(config, device)
    typer.echo(json.dumps(found.to_json(), indent=2) if as_json else "\n".join(found.lines()))


COMMANDS = (stop, resume, delete, publish, serve_dashboard, doctor, bench)
