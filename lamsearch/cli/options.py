"""What the commands share: flags, where the database is, and values given with ``--set``."""

from __future__ import annotations

import atexit
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from lamsearch.errors import InputError

if TYPE_CHECKING:
    from lamsearch.config import ServiceConfig
    from lamsearch.store import Store, StudyRow

DEFAULT_STORAGE = "sqlite:///lamsearch.db"

StudyFile = Annotated[str, typer.Argument(metavar="STUDY", help="Packaged study by name, or a .toml file.")]
OneStudy = Annotated[str | None, typer.Argument(metavar="[STUDY]", help="Name in the database; default: all.")]
StudyName = Annotated[str | None, typer.Argument(metavar="[STUDY]", help="Name in the database; default: the newest.")]
Storage = Annotated[
    str | None,
    typer.Option(
        help="Database: a file, sqlite:///… or postgresql+psycopg://… (better in LAMSEARCH_STORAGE, "
        "or in a file named by LAMSEARCH_STORAGE_FILE). Default: lamsearch.db here.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other key, such as data.n=2000.")
]
Name = Annotated[str | None, typer.Option(help="Name of the study in the database.")]
Trials = Annotated[int | None, typer.Option(help="Number of λ's; λ = 0 comes on top.")]
Folds = Annotated[int | None, typer.Option(help="Folds of the cross-validation.")]
Epochs = Annotated[int | None, typer.Option(help="Epochs of each fold fit.")]
Sampler = Annotated[str | None, typer.Option(help="grid, qmc, random, tpe or gp.")]
Pruner = Annotated[str | None, typer.Option(help="paired, wilcoxon, median, percentile, halving, hyperband or none.")]
Seed = Annotated[int | None, typer.Option(help="Seed of splits, weights, batches and λ's.")]
Replicates = Annotated[int | None, typer.Option(help="Sets of folds for the finalists; 0 decides by itself.")]
Until = Annotated[str | None, typer.Option(help="spent, or sure: stop when the answer can no longer change.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the results; default lamsearch-out/STUDY.")]
AllowCode = Annotated[bool, typer.Option(help="Run a model of your own (model.kind = module:function): foreign code.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

FLAG_KEYS = {
    "name": "name",
    "trials": "search.trials",
    "folds": "search.folds",
    "sampler": "search.sampler",
    "pruner": "search.pruner",
    "seed": "search.seed",
    "replicates": "search.replicates",
    "until": "search.until",
    "epochs": "training.epochs",
}


def storage_url(flag: str | None) -> str:
    """The database: flag, LAMSEARCH_STORAGE, the file named by LAMSEARCH_STORAGE_FILE, or a file here."""
    if flag is not None:
        return flag
    if url := os.environ.get("LAMSEARCH_STORAGE"):
        return url
    if path := os.environ.get("LAMSEARCH_STORAGE_FILE"):
        return _url_in(path)
    return DEFAULT_STORAGE


def _url_in(path: str) -> str:
    from lamsearch.store import urls

    try:
        url = Path(path).read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a text file"
        raise InputError(f"LAMSEARCH_STORAGE_FILE = {path}: {why}; put the database URL there") from None
    if not url.isprintable():
        raise InputError(f"LAMSEARCH_STORAGE_FILE = {path}: expected one line of text, the database URL")
    try:
        urls.parse(url)
    except InputError as error:
        raise InputError(f"LAMSEARCH_STORAGE_FILE = {path}: {error}") from None
    return url


def parse_set(pairs: list[str] | None) -> dict[str, Any]:
    """``["data.n=2000"]`` → ``{"data.n": 2000}``. Values are TOML; what is no TOML is text."""
    parsed: dict[str, Any] = {}
    for pair in pairs or []:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {pair!r}: expected KEY=VALUE, such as data.n=2000")
        try:
            parsed[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            parsed[key.strip()] = text.strip()
    return parsed


READING_S = 10.0
"""How long commands that only read wait for a database."""


def split_service(values: dict[str, Any]) -> tuple[dict[str, Any], ServiceConfig]:
    """(study keys, validated service settings): ``service.*`` belongs to this process, not to the study."""
    from lamsearch.config import parse_service

    service = {key.removeprefix("service."): value for key, value in values.items() if key.startswith("service.")}
    study = {key: value for key, value in values.items() if not key.startswith("service.")}
    return study, parse_service(service, where="--set service")


def open_store(
    storage: str | None,
    service: ServiceConfig | None = None,
    *,
    read_only: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Store:
    """The database, opened. Raises InputError."""
    from lamsearch.config import ServiceConfig
    from lamsearch.store import Store

    # Somebody who only wants to look waits at the terminal; workers have the time.
    service = service or (ServiceConfig(retry_s=READING_S) if read_only else ServiceConfig())

    def say(line: str) -> None:
        typer.echo(f"lamsearch: {line}", err=True)

    store = Store(storage_url(storage), service=service, read_only=read_only, stop=stop, say=say)
    atexit.register(store.close)  # the last to close a SQLite file takes its log away
    return store


def print_no_more(stream: TextIO | None = None) -> None:
    """What is still to be printed (to standard output, unless told) goes nowhere, instead of failing once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())


def results_folder(out: Path | None, study: str) -> Path:
    """Where results go. Raises InputError for a path that cannot become a folder, or one that nobody may write to."""
    folder = out or Path("lamsearch-out") / study
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.parent == path)
    if not there.is_dir():
        raise InputError(f"--out {folder}: {there} is a file; choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"--out {folder}: {there} cannot be written to; choose another folder")
    return folder


def renamed(arguments: Sequence[str], name: str) -> str:
    """The command of these arguments with ``--name NAME`` in place of its own. A password in it is not repeated."""
    from lamsearch.store import urls

    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if flag == "--name":
            value = value if equals else next(rest, "")
        elif flag == "--storage":
            kept += [flag, urls.masked(urls.parse(value if equals else next(rest, "")))]
        else:
            kept.append(argument)
    return shlex.join(["lamsearch", *kept, "--name", name])


def pick_study(store: Store, name: str | None) -> StudyRow:
    """The named study, or the newest. Raises UnknownStudy, or InputError when there is none."""
    if name is not None:
        return store.study(name)
    rows = store.studies()
    if not rows:
        raise InputError("this database holds no study yet; `lamsearch run` makes one")
    return max(rows, key=lambda row: row.created_at)


_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?$")


def parse_duration(text: str) -> float:
    """``"90"``, ``"90s"``, ``"2m"``, ``"1h30m"`` in seconds. Raises InputError."""
    match = _DURATION.match(text.strip())
    if not match or not any(match.groups()):
        raise InputError(f"--time {text!r}: expected a duration such as 90s, 2m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    total = 3600 * hours + 60 * minutes + seconds
    if total <= 0:
        raise InputError(f"--time {text!r}: expected more than 0 seconds")
    return total
