"""Where `lamsearch` processes come from: one that has imported torch and forks them, so that each starts in moments.

Reads one JSON object per line: ``arguments`` of the command, ``folder``, ``environ``, ``sabotage`` (names of functions
in ``faults/sabotage.py``, with their arguments), ``output`` and ``errors`` (files, or one file). Writes ``[pid, null]``
for each start and ``[pid, exit code]`` for each end. When its input ends, it kills what is left and leaves. Everything
in a forked process is as in ``python -m lamsearch``, but for the imports done.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

TICK_S = 0.02
PRELOADED = (
    *("lamsearch.cli.session", "lamsearch.worker", "lamsearch.store.mirror", "lamsearch.dashboard.curve"),
    *("lamsearch.datasets", "lamsearch.report.figures", "optuna_dashboard", "sklearn.utils"),
)
"""What takes long to import, and what brings it along."""


def become(order: dict[str, Any]) -> None:
    """In the forked process: the command. Does not return."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for name, number in (("output", 1), ("errors", 2)):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(order["folder"])
    os.environ.update(order["environ"])
    sys.argv = ["lamsearch", *order["arguments"]]
    sys.path[0] = order["folder"]
    if order["sabotage"]:
        sys.path.append(str(Path(__file__).parent / "faults"))
    for name, *arguments in order["sabotage"]:
        getattr(importlib.import_module("sabotage"), name)(*arguments)
    from lamsearch.cli import main

    code = 1
    try:
        main()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Fork on request and report who has ended."""
    for name in PRELOADED:
        importlib.import_module(name)
    living: set[int] = set()
    pending = b""
    while True:
        ready, _, _ = select.select([0], [], [], TICK_S)
        if ready:
            read = os.read(0, 65536)
            if not read:
                break
            *lines, pending = (pending + read).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    become(json.loads(line))
                living.add(pid)
                print(json.dumps([pid, None]), flush=True)
        for pid in list(living):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                living.remove(pid)
                print(json.dumps([pid, os.waitstatus_to_exitcode(status)]), flush=True)
    for pid in living:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    serve()
