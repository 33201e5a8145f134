"""What surrounds the training: how long `--help` takes, when a default run's first fit begins, the store's share.

    python -m tests.benchmarks.around [--rounds 5]

The first fit's begin is what the database says, after the moment of the command. The store's share is the time that
the workers of a default run spend in calls of the store, of all the time from their first call to their last.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from lamsearch import environment
from lamsearch.store import Store
from tests.benchmarks.common import LIMIT_S, save, shown, summary


def asked(*arguments: str) -> float:
    """Seconds of a command."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "lamsearch", *arguments], check=True, capture_output=True)
    return time.perf_counter() - begun


def default_run() -> dict[str, float]:
    """{first_fit_s, first_result_s, search_s, all_s} of `lamsearch run` in a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        begun, clock = time.time(), time.perf_counter()
        command = [sys.executable, "-m", "lamsearch", "run"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
        seconds = time.perf_counter() - clock
        store = Store(f"{folder}/lamsearch.db", read_only=True)
        results = store.results(store.study("digits").id)
        answer = json.loads((Path(folder) / "lamsearch-out/digits/answer.json").read_text(encoding="utf-8"))
    return {
        "first_fit_s": min(result.started_at for result in results) - begun,
        "first_result_s": min(result.started_at + result.seconds for result in results) - begun,
        "search_s": answer["budget"]["seconds"],
        "all_s": seconds,
    }


KINDS = ("work", "mirror", "meanwhile", "publish")


class Timed:
    """A store whose calls are timed: claims and results, Optuna's copy, and publishing for the dashboard.

    ``meanwhile``: Optuna's copy, made by a worker that has nothing else to do while another one refits.
    The beat's calls come from a thread of its own and are not the worker's time.
    """

    def __init__(self, store: Store) -> None:
        self._store, self.seconds = store, dict.fromkeys(KINDS, 0.0)
        self.first = self.last = 0.0

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        return partial(self._timed, "work", value) if callable(value) and name != "beat" else value

    def mirror(self, *given: Any, then: Callable[..., None] | None = None, **more: Any) -> Any:
        timed = then and partial(self._timed, "publish", then)
        before = self.seconds["publish"]
        kind = "mirror" if then or more.get("in_turn") else "meanwhile"
        found = self._timed(kind, partial(self._store.mirror, then=timed), *given, **more)
        self.seconds[kind] -= self.seconds["publish"] - before
        return found

    def _timed(self, kind: str, call: Callable[..., Any], *given: Any, **more: Any) -> Any:
        begun = time.perf_counter()
        self.first = self.first or begun
        try:
            return call(*given, **more)
        finally:
            self.last = time.perf_counter()
            self.seconds[kind] += self.last - begun


def _serve(url: str, queue: Any) -> None:
    from lamsearch.stopping import Stop
    from lamsearch.worker import Options, Worker

    store = Timed(Store(url))
    Worker(store, Options(exit_when_done=True), Stop()).run()  # type: ignore[arg-type]
    queue.put((store.seconds, store.last - store.first))


def store_share() -> dict[str, float]:
    """Shares of the workers' time by kind (see ``Timed``); ``store``: claims, results, and the copy that takes time."""
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        url = f"{folder}/lamsearch.db"
        command = [sys.executable, "-m", "lamsearch", "submit", "digits", "--storage", url]
        subprocess.run(command, check=True, capture_output=True)
        queue = context.Queue()
        workers = [context.Process(target=_serve, args=(url, queue)) for _ in range(environment.cores())]
        for worker in workers:
            worker.start()
        told = [queue.get(timeout=LIMIT_S) for _ in workers]
        for worker in workers:
            worker.join()
    whole = sum(seconds for _, seconds in told)
    shares = {kind: sum(spent[kind] for spent, _ in told) / whole for kind in KINDS}
    return {**shares, "store": shares["work"] + shares["mirror"]}


def run(rounds: int) -> dict[str, Any]:
    """All figures."""
    asked("--help")  # warms the disk's cache
    found: dict[str, list[float]] = {"help_s": [asked("--help") for _ in range(4 * rounds)]}
    for _ in range(rounds):
        for name, value in default_run().items():
            found.setdefault(name, []).append(value)
        for name, value in store_share().items():
            found.setdefault(f"share_{name}", []).append(value)
    for name, values in found.items():
        print(f"{name}: {shown(values)}", flush=True)
    return {name: summary(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    save("around", **run(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
