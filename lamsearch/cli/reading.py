"""Commands that only read: ``best``, ``status``, ``trials``, ``report``, ``studies``. They import no torch."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from lamsearch.cli.options import AsJson, OneStudy, Out, Storage, StudyName, open_store, pick_study
from lamsearch.errors import LamsearchError


def best(study: StudyName = None, *, storage: Storage = None, as_json: AsJson = False, out: Out = None) -> None:
    """Print the answer: the stored one, or a provisional one while the study runs."""
    from lamsearch import dossier
    from lamsearch.cli.session import printed, write_files

    store = open_store(storage, read_only=True)
    row = pick_study(store, study)
    answer = dossier.current_answer(store, row)
    if answer is None:
        raise LamsearchError(f"study {row.name} ({row.state}): no answer yet, too few fold fits have finished")
    if out is not None:
        case = dossier.dossier(store, row)
        write_files(case, out)
        answer = case.answer
    typer.echo(printed(answer, as_json=as_json))


def status(study: OneStudy = None, *, storage: Storage = None, as_json: AsJson = False) -> None:
    """Studies with their progress, and the workers that are alive."""
    from lamsearch.cli.live import duration
    from lamsearch.progress import Clock, progress

    store = open_store(storage, read_only=True)
    rows = [store.study(study)] if study else sorted(store.studies(), key=lambda row: row.created_at)
    workers = [worker for worker in store.workers() if worker.alive]
    served = {row.id for row in rows if workers and row.state in ("open", "closing")}
    found = [(row, progress(store, row, Clock(known=store.rate(row.id) if row.id in served else None))) for row in rows]
    for place, (row, seen) in enumerate(found):
        if stored := store.answer(row.id) if row.state == "done" else None:  # its choice stands
            found[place] = row, dataclasses.replace(seen, best=stored["lam_over_m"], best_mean=stored["cv"]["mean"])
    if as_json:
        body = {
            "studies": [{"state": row.state, "reason": row.reason, **dataclasses.asdict(seen)} for row, seen in found],
            "workers": [dataclasses.asdict(worker) for worker in workers],
        }
        typer.echo(json.dumps(body, indent=2, ensure_ascii=False))
        return
    if not rows:
        typer.echo("no study yet; `lamsearch run` makes one")
    _table(
        ("study", "state", "fold fits", "λ's", "complete", "dropped", "failed", "best λ/m", "fits/min", "left"),
        [
            (
                *(row.name, row.state + (f" ({row.reason})" if row.reason else "")),
                *(f"{seen.fits_done}/{seen.fits_expected}", seen.slots, seen.complete, seen.parked, seen.failed),
                *(_shown(seen.best, ".2e"), _shown(seen.fits_per_minute, ".1f")),
                "–" if seen.eta_s is None else duration(seen.eta_s),
            )
            for row, seen in found
        ],
    )
    if workers:
        typer.echo("")
    elif any(row.state in ("open", "closing") for row in rows):
        typer.echo("no worker is alive; `lamsearch worker` serves what is open")
    _table(
        ("worker", "host", "pid", "device", "doing", "last beat"),
        [
            (
                worker.id,
                worker.host,
                worker.pid,
                worker.device,
                worker.doing or "waiting",
                f"{duration(worker.age_s)} ago",
            )
            for worker in workers
        ],
    )


def trials(
    study: StudyName = None,
    *,
    storage: Storage = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Every λ with its fold scores: complete, dropped (after which fold) or failed (why)."""
    from lamsearch import dossier

    store = open_store(storage, read_only=True)
    records = dossier.trial_records(store, pick_study(store, study))
    if as_json:
        typer.echo(json.dumps(records, indent=2, ensure_ascii=False))
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, fieldnames=list(records[0]) if records else [])
        writer.writeheader()
        lists = ("fold_scores", "replicate_scores")
        writer.writerows({**record, **{key: " ".join(map(repr, record[key])) for key in lists}} for record in records)
    else:
        _table(
            ("trial", "λ", "λ/m", "state", "score", "differs", "folds", "fold scores", "what became of it"),
            [
                (
                    "baseline" if record["slot"] < 0 else _shown(record["trial"], ""),
                    *(_shown(record["lam"], ".4g"), _shown(record["lam_over_m"], ".3e"), record["state"]),
                    *(_shown(record["score"], ".4f"), record["differs"]),
                    *(record["folds"], " ".join(f"{score:.4f}" for score in record["fold_scores"])),
                    record["fate"] or record["reason"] or "",
                )
                for record in records
            ],
        )


def report(study: StudyName = None, *, storage: Storage = None, out: Out = None) -> None:
    """Write report.html with its figures and tables."""
    from lamsearch import dossier
    from lamsearch.cli.session import write_files

    store = open_store(storage, read_only=True)
    row = pick_study(store, study)
    began = time.monotonic()
    paths = write_files(dossier.dossier(store, row), out or Path("lamsearch-out") / row.name)
    page = next(path for path in paths if path.name == "report.html")
    typer.echo(f"{page} ({len(paths)} files, {time.monotonic() - began:.1f} s)")


def studies() -> None:
    """The study files that travel with lamsearch."""
    from lamsearch import study_files

    for name, path in study_files.packaged().items():
        comment = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        typer.echo(f"{name:15} {comment}")


def _shown(value: object, spec: str) -> str:
    return "–" if value is None else format(value, spec)


def _table(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Aligned columns as plain text: the same in a terminal and in a pipe."""
    if not rows:
        return
    cells = [header, *[tuple(str(cell) for cell in row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


COMMANDS = (best, status, trials, report, studies)
