"""One ``lamsearch run`` from the first fit to the printed answer."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lamsearch import dossier, wording
from lamsearch.answer import Answer, Dossier, to_json
from lamsearch.cli.live import View, counting
from lamsearch.cli.options import print_no_more
from lamsearch.errors import LamsearchError, NoAnswerYet, StorageFull, StorageUnavailable
from lamsearch.progress import Clock, progress

if TYPE_CHECKING:
    from lamsearch.cli.local import LocalWorkers
    from lamsearch.stopping import Stop
    from lamsearch.store import Store, StudyRow

POLL_S = 0.5
COPY_S = 35.0
"""How long the files wait for Optuna's copy at most: they name its trial numbers, and do without if need be."""
VALUES_AT = 23
"""Column at which the values of ``wording.terminal`` begin."""
_LEFT = {error.exit_code: error for error in (StorageFull, StorageUnavailable)}


def follow(store: Store, row: StudyRow, local: LocalWorkers, stop: Stop, *, seconds: float | None) -> int:
    """Show progress until the workers have left or somebody says stop. Returns the exit code."""
    started, clock, closing = time.monotonic(), Clock(), False
    with View() as view:
        while True:
            running = local.tend(store)
            for line in local.messages():
                view.say(line)
            now, state = progress(store, row, clock), store.study(row.name).state
            if state not in ("open", "closing") or not running:
                view.show(now, final=True)
                if state in ("stopped", "failed"):
                    view.say(f"study {row.name} is {state}: {store.study(row.name).reason or 'no reason given'}")
                break
            view.show(now)
            if stop():
                view.say("stopping: the running fold fits end at their next epoch; finished folds are kept")
                return stop.exit_code
            if now.fits_done == now.fits_expected:
                import lamsearch.report  # noqa: F401 - matplotlib: while the refit is under way, and only it
            if seconds and not closing and time.monotonic() - started + now.closing_s >= seconds:
                view.say("time is up: finishing only what the answer needs")
                store.set_state(row.name, "closing")
                closing = True
            stop.wait(POLL_S)
    codes = [code for code in local.failed() if code in (StorageFull.exit_code, StorageUnavailable.exit_code)]
    if state in ("open", "closing"):
        raise (_LEFT.get(codes[0], LamsearchError) if codes else LamsearchError)(
            f"the workers left before the study was done (exit codes {local.failed()}); "
            "everything finished is kept: run the same command again to resume"
        )
    return 0 if state == "done" else LamsearchError.exit_code


def conclude(store: Store, row: StudyRow, folder: Path, *, as_json: bool) -> None:
    """Print the answer (provisional if need be), then write its files: figures take a while."""
    try:
        case = dossier.dossier(store, row)
    except NoAnswerYet:
        why = f"study {row.name} is {row.state}: {row.reason}" if row.reason else "too few fold fits have finished"
        again = "" if row.state == "failed" else f"; run the same command again to resume {row.name}"
        typer.echo(f"no answer yet: {why}{again}", err=as_json)
        return
    try:
        typer.echo(printed(case.answer, as_json=as_json))
    except BrokenPipeError:  # the reader has left; the files are written all the same
        print_no_more()
    if row.state == "done":
        _number_trials(store, row)
        case = dossier.dossier(store, row)
    write_files(case, folder)
    if not as_json:
        typer.echo(f"files: {folder}/ (report.html, answer.json, curve.png, …)")


def _number_trials(store: Store, row: StudyRow) -> None:
    """Wait until every λ has its Optuna trial; if nobody is at it (its writer died), make them here."""
    deadline = time.monotonic() + COPY_S
    # An error of Optuna's has been said by the worker that met it, and costs no answer.
    with contextlib.suppress(Exception):
        while any(row.id == behind.id for behind in store.behind()) and time.monotonic() < deadline:
            if store.mirror(row.id):
                break
            time.sleep(0.1)


def fitted(text: str) -> str:
    """``text`` as it is in a pipe; on a terminal broken between words, under the column where its value begins."""
    if not sys.stdout.isatty():
        return text
    width = max(40, shutil.get_terminal_size().columns)
    lines = []
    for line in text.splitlines():
        margin = " " * VALUES_AT if line.startswith("  ") and width >= 2 * VALUES_AT else ""
        lines.append(textwrap.fill(line, width, subsequent_indent=margin, drop_whitespace=True, break_on_hyphens=False))
    return "\n".join(lines)


def printed(answer: Answer, *, as_json: bool) -> str:
    """The answer as it goes to standard output."""
    return json.dumps(to_json(answer), indent=2, ensure_ascii=False) if as_json else fitted(wording.terminal(answer))


def write_files(case: Dossier, folder: Path) -> list[Path]:
    """``answer.json`` and the report with its figures. Raises LamsearchError for an unwritable folder."""
    from lamsearch.report import N_FILES, write_report  # matplotlib: only here

    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "answer.json"
        path.write_text(json.dumps(to_json(case.answer), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        with counting("figures", N_FILES) as step:
            return [path, *write_report(case, folder, wrote=lambda _: step())]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise StorageFull(f"{folder}: cannot write the results ({error.strerror}); the answer is kept") from None
        raise LamsearchError(f"{folder}: cannot write the results ({error.strerror}); choose another --out") from None
