"""The commands, and what becomes of their errors."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from lamsearch import __version__
from lamsearch.cli import managing, reading, running
from lamsearch.cli.options import print_no_more
from lamsearch.errors import LamsearchError, StorageFull

_NO_MEMORY = ("failed to map segment", "cannot allocate memory", "can't allocate memory")
_MORE_MEMORY = "allow this process more (`ulimit -v`, the container's limit), or use fewer --workers"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

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


def run() -> None:
    """Run a command; what lamsearch raises on purpose becomes one line and its exit code."""
    try:
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except LamsearchError as error:
        _leave(f"lamsearch: {error}", error.exit_code)
    except SystemExit as left:
        if isinstance(left.__context__, BrokenPipeError):  # the library's own end of a command whose reader has left
            print_no_more()
            sys.exit(0)
        raise
    except BrokenPipeError:
        # The reader of a pipe has left (`lamsearch trials | head`): nothing to report to.
        print_no_more()
        sys.exit(0)
    except (typer.Abort, KeyboardInterrupt):
        _leave("lamsearch: interrupted", 130)
    except Exception as error:
        if os.environ.get("LAMSEARCH_DEBUG"):
            raise
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            print_no_more()
            where = f" ({error.filename})" if error.filename else ""
            line = f"lamsearch: {error.strerror}{where}; make room or allow writing, then run the same command again"
            _leave(line, StorageFull.exit_code)
        if hasattr(error, "format_message"):  # typer's own: an unknown command, flag or value
            _leave(f"lamsearch: {error.format_message()}{_way_out(error)}", 2)
        name, said = type(error).__name__, next(iter(str(error).splitlines()), "")
        if isinstance(error, MemoryError) or any(sign in said.lower() for sign in _NO_MEMORY):
            _leave(f"lamsearch: not enough memory ({said or name}); {_MORE_MEMORY}", 1)
        _leave(f"lamsearch: unexpected {name}: {said}; LAMSEARCH_DEBUG=1 shows where: please report it", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _way_out(error: Any) -> str:
    """What to do about an unknown command, flag or value."""
    context = getattr(error, "ctx", None)
    if not context or not context.parent:
        return " (`lamsearch --help` lists what there is)"
    command = f"lamsearch {context.info_name}"
    arguments = [each.name for each in context.command.params if each.param_type_name == "argument"]
    if getattr(error, "option_name", None) == "--name" and "study" in arguments:
        return f"; the study is named without it: `{command} NAME`"
    return f" (`{command} --help` lists what there is)"


def _leave(line: str, code: int) -> NoReturn:
    typer.echo(line, err=True)
    sys.exit(code)
