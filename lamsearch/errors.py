"""Everything that lamsearch raises on purpose, and the exit code of each.

    LamsearchError            1   something a person must look at
    ├── InputError            2   a value that cannot be used: rule, value, next action
    │   ├── UnknownStudy      2   no study of that name; the existing ones are listed
    │   └── StudyConflict     2   same name, different identity keys, side by side
    ├── NoAnswerYet           1   no λ has a single score: nothing can be said
    ├── StudyStopped          1   the study was stopped (by a person, or by too many crashes)
    ├── StorageFull          74   disk or database full, or read-only (EX_IOERR)
    └── StorageUnavailable   75   the database could not be reached in time (EX_TEMPFAIL)

Exit codes follow sysexits.h where it has one. 130 and 143 are the shell's for SIGINT and SIGTERM.
"""

from __future__ import annotations

import re


class LamsearchError(Exception):
    """Root of the tree. ``str(error)`` is the one line that a user sees."""

    exit_code = 1


class InputError(LamsearchError):
    """Input that cannot be used. Nothing has been written."""

    exit_code = 2


class UnknownStudy(InputError):
    """A study name that the database does not hold."""

    def __init__(self, name: str, existing: list[str]) -> None:
        known = ", ".join(sorted(existing)) or "none yet"
        super().__init__(f"no study named {name!r} in this database (studies there: {known})")
        self.name = name


def short(value: object) -> str:
    """``value`` as Python shows it; a checksum by its first twelve digits, which tell two of them apart."""
    if isinstance(value, str) and _CHECKSUM.fullmatch(value):
        return f"{value[:12]}…"
    return repr(value)


_CHECKSUM = re.compile("[0-9a-f]{32,}")


class StudyConflict(InputError):
    """Resuming under the same name with other identity keys.

    ``differences`` maps a dotted key to (stored value, requested value). ``instead``: a command that keeps both.
    """

    def __init__(self, name: str, differences: dict[str, tuple[object, object]], instead: str = "") -> None:
        pairs = ((key, *(short(value) for value in values)) for key, values in differences.items())
        rows = "; ".join(f"{key}: stored {old}, asked {new}" for key, old, new in pairs)
        both = f"`{instead}`" if instead else f"--name {name}-2"
        super().__init__(
            f"study {name!r} exists with other settings ({rows}); "
            f"keep both with {both}, or repeat the stored settings to resume"
        )
        self.name, self.differences = name, differences


class NoAnswerYet(LamsearchError):
    """Not one λ > 0 has a fold score yet, so there is not even a provisional answer."""


class StudyStopped(LamsearchError):
    """Work on the study has ended before its plan was done."""


class StorageFull(LamsearchError):
    """No room (or no permission) to write. Resumable once there is."""

    exit_code = 74


class StorageUnavailable(LamsearchError):
    """The database did not answer before the retry deadline. Resumable."""

    exit_code = 75
