"""Where study files are: a path, or the bare name of one that travels with lamsearch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamsearch.config import StudyConfig, merge, nearest, parse_study, read_toml
from lamsearch.errors import InputError

DEFAULT = "digits"


def packaged() -> dict[str, Path]:
    """Name → path of the study files that travel with lamsearch."""
    here = Path(__file__).parent
    # In an installed package the folder lies inside it; in a checkout beside it.
    for folder in (here / "studies", here.parent / "studies"):
        found = {path.stem: path for path in sorted(folder.glob("*.toml"))}
        if found:
            return found
    return {}


def find(name: str) -> Path:
    """The file behind a bare name or a path. Raises InputError."""
    if name.endswith(".toml") or "/" in name:
        return Path(name)
    known = packaged()
    if name not in known:
        raise InputError(
            f"no packaged study named {name!r}{nearest(name, known)} (there are {', '.join(known)}; "
            "or give the path of a .toml file)"
        )
    return known[name]


def load(name: str, overrides: Mapping[str, Any]) -> StudyConfig:
    """The validated study of file or bare name ``name`` with dotted keys laid over it. Raises InputError."""
    path = find(name)
    raw = read_toml(path)
    return parse_study(merge(raw, overrides), where=str(path) if name != path.stem else f"study {name}")
