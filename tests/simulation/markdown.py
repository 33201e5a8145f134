"""Tables, and a progress bar while they are made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

_Item = TypeVar("_Item")


def progress(items: Sequence[_Item], name: str) -> Iterable[_Item]:
    """``items`` with a progress bar on stderr."""
    return track(items, description=name, console=Console(stderr=True))


def header(names: Sequence[str]) -> list[str]:
    """The head of a table."""
    return ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]


def row(cells: Iterable[object]) -> str:
    """One line of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def rate(seen: Sequence[float]) -> str:
    """A rate with its standard error; a dash if nothing was to be seen."""
    known = np.array([value for value in seen if np.isfinite(value)], dtype=float)
    if not len(known):
        return "–"
    return f"{known.mean():.3f} ± {known.std() / np.sqrt(len(known)):.3f}"
