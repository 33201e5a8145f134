"""What a person sees while a study runs: a live view on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import Progress as Bar
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lamsearch.cli.options import print_no_more
from lamsearch.cli.sketch import sketch
from lamsearch.progress import Progress

PLAIN_EVERY_S = 10.0
ROWS, WIDEST = 7, 100
"""Size of the curve."""
ROOM = ROWS + 7
"""Lines that a terminal must have for the curve to be shown."""


class _Console(Console):
    """Standard error. Whoever reads it may leave: what is shown there is no part of the work."""

    def on_broken_pipe(self) -> None:
        """Show no more, where rich would end the process."""
        print_no_more(sys.stderr)


class View:
    """Shows ``Progress``. Writes to standard error, so that standard output holds the answer alone."""

    def __init__(self) -> None:
        self.console = _Console(file=sys.stderr, highlight=False)
        self.live = Live(console=self.console, transient=True, auto_refresh=False) if self.console.is_terminal else None
        self._last_plain, self._last_line = -PLAIN_EVERY_S, ""

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        self.console.print(Text(line), soft_wrap=True)

    def show(self, progress: Progress, *, final: bool = False) -> None:
        """The state of the study now."""
        if self.live:
            width, height = self.console.size
            self.live.update(panel(progress, width=width, height=height), refresh=True)
        elif final or time.monotonic() - self._last_plain >= PLAIN_EVERY_S:
            line = sentence(progress)
            if line != self._last_line:
                self.say(line)
            self._last_plain, self._last_line = time.monotonic(), line


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar for a task of ``total`` steps, gone when it ends; on a terminal only. Call what it yields after each."""
    with Bar(console=_Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def sentence(progress: Progress) -> str:
    """One line: what is done, what it says, how long it will take."""
    parts = [
        f"{progress.fits_done}/{progress.fits_expected} fold fits",
        f"{progress.slots} λ's: {progress.complete} complete, {progress.parked} set aside, {progress.failed} failed",
    ]
    if progress.best is not None:
        parts.append(f"best so far λ/m = {progress.best:.2e} ({_score(progress.best_mean)})")
    if progress.eta_s is not None:
        parts.append(f"about {duration(progress.eta_s)} left")
    return f"{progress.study}: " + ", ".join(parts)


def duration(seconds: float) -> str:
    """``75`` → ``1 min 15 s``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _score(mean: float | None) -> str:
    return "–" if mean is None else f"{mean:.4f}"


def panel(progress: Progress, *, width: int, height: int) -> RenderableType:
    """The live view: how far, what is known, and the curve if there is room for it."""
    table = Table.grid(padding=(0, 1))
    table.add_row(
        Text(progress.study, style="bold", overflow="ellipsis", no_wrap=True),
        ProgressBar(total=max(1, progress.fits_expected), completed=progress.fits_done, width=max(8, width // 3)),
        Text(f"{progress.fits_done}/{progress.fits_expected} fits", no_wrap=True),
        Text("" if progress.eta_s is None else f"~{duration(progress.eta_s)} left", style="dim", no_wrap=True),
    )
    lines = [
        f"{progress.slots} λ's: {progress.complete} complete, {progress.parked} set aside, {progress.failed} failed"
    ]
    if progress.best is not None:
        lines.append(f"best so far λ/m = {progress.best:.2e}: {_score(progress.best_mean)}")
    if height >= ROOM:
        curve = sketch(progress.curve, progress.baseline, progress.range, width=min(width, WIDEST), height=ROWS)
        lines += [*curve, "● all folds  ○ running  · set aside  ┄ λ = 0"] if curve else []
    return Group(table, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))
