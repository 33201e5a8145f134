"""What a person sees while a study runs: a live view on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lamsearch.progress import Progress

PLAIN_EVERY_S = 10.0
BLOCKS = " ▁▂▃▄▅▆▇█"


class View:
    """Shows ``Progress``. Writes to standard error, so that standard output holds the answer alone."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(file=sys.stderr, highlight=False, quiet=quiet)
        self.live = Live(console=self.console, transient=True, auto_refresh=False) if self.console.is_terminal else None
        self._last_plain = -PLAIN_EVERY_S

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
            self.live.update(_panel(progress), refresh=True)
        elif final or time.monotonic() - self._last_plain >= PLAIN_EVERY_S:
            self._last_plain = time.monotonic()
            self.say(sentence(progress))


def sentence(progress: Progress) -> str:
    """One line: what is done, what it says, how long it will take."""
    parts = [
        f"{progress.fits_done}/{progress.fits_expected} fold fits",
        f"{progress.slots} λ's: {progress.complete} complete, {progress.parked} dropped, {progress.failed} failed",
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


def sparkline(values: list[float | None]) -> str:
    """One block per value, scaled between the lowest and the highest; a dot where there is none."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return ""
    # A collapsed λ would flatten all others: the scale starts at the lower quartile's distance below the median.
    floor = max(known[0], known[len(known) // 2] - 3 * (known[-1] - known[len(known) // 2] + 1e-3))
    span = max(known[-1] - floor, 1e-9)
    return "".join(
        "·" if value is None else BLOCKS[max(1, round(8 * max(0.0, value - floor) / span))] for value in values
    )


def _score(mean: float | None) -> str:
    return "–" if mean is None else f"{mean:.4f}"


def _panel(progress: Progress) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_row(
        Text(progress.study, style="bold"),
        ProgressBar(total=max(1, progress.fits_expected), completed=progress.fits_done, width=36),
        Text(f"{progress.fits_done}/{progress.fits_expected} fold fits"),
        Text("" if progress.eta_s is None else f"~{duration(progress.eta_s)} left", style="dim"),
    )
    lines: list[RenderableType] = [table]
    counts = f"{progress.slots} λ's: {progress.complete} complete, {progress.parked} dropped, {progress.failed} failed"
    if progress.best is not None:
        counts += f"; best so far λ/m = {progress.best:.2e} ({_score(progress.best_mean)})"
    lines.append(Text(counts))
    if any(value is not None for value in progress.curve):
        low, high = progress.range
        lines.append(
            Text(f"λ/m {low:.0e} {sparkline(list(progress.curve))} {high:.0e}   λ = 0: {_score(progress.baseline)}")
        )
    return Group(*lines)
