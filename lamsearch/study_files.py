"""Where study files are: a path, or the bare name of one that travels with lamsearch."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamsearch.config import StudyConfig, merge, nearest, parse_study
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
    """The validated study of file or bare name ``name`` with dotted keys laid over it. Raises InputError.

    A study whose file gives it no name is called as the file is.
    """
    path = find(name)
    raw = {"name": re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).lstrip("._-") or DEFAULT, **read_toml(path)}
    return parse_study(merge(raw, overrides), where=str(path) if name != path.stem else f"study {name}")


def read_toml(path: Path) -> dict[str, Any]:
    """A study file as nested dictionaries. Raises InputError if it is absent or no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such study file; `lamsearch studies` lists the packaged ones") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a readable study file: {error}") from None
