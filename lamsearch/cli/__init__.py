"""``lamsearch``: which λ? Commands import what they need when they run, so that ``--help`` stays fast."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from lamsearch import __version__
from lamsearch.cli import managing, reading, running
from lamsearch.errors import LamsearchError

app = typer.Typer(
    name="lamsearch",
    help="Which λ? Regularisation strength for CNNs by cross-validation, with honest error bars.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"lamsearch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


for module in (running, reading, managing):
    for command in module.COMMANDS:
        app.command()(command)


def main() -> None:
    """Run a command; what lamsearch raises on purpose becomes one line and its exit code."""
    try:
        app()
    except LamsearchError as error:
        typer.echo(f"lamsearch: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of a pipe has left (`lamsearch trials | head`): nothing to report to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
