"""Prepared images on disk: built once, then memory-mapped, so that local workers share one copy in memory.

A data set is three files, ``<stem>.images.npy``, ``<stem>.labels.npy`` and ``<stem>.json``, each replaced
atomically, the JSON last. The JSON holds checksums; whatever does not match them is built again. A cache is
never a reason to fail: without a writable folder the arrays simply stay in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamsearch import environment
from lamsearch.errors import InputError
from lamsearch.pixels import Images

FORMAT = 1
"""Part of every file name. Raise it whenever the preparation changes: old files are then simply not found."""


MAX_BYTES = 16 * 2**30
"""Limit of one data set in memory, so that a small hostile file cannot claim all of it."""


def room() -> int:
    """How many bytes one data set may take while it is prepared. Later its images are memory-mapped."""
    free = environment.free_memory()
    return MAX_BYTES if free is None else min(MAX_BYTES, free)


def too_large(name: str, n_bytes: int, limit: int) -> InputError:
    """What is said of a data set that takes more than ``room``."""
    more = "" if limit == MAX_BYTES else ", or a machine with more memory"
    return InputError(
        f"{name} takes {_size(n_bytes)} of memory while it is prepared, {_size(limit)} may be taken"
        f"{'' if limit == MAX_BYTES else ' here'}; use fewer or smaller images{more}"
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A whole data set. ``images`` (image, channel, row, column) and ``labels`` (image,) run in parallel.

    The first ``n_search`` images may be searched; the others are the data set's own test set, if it has one.
    """

    images: Images
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    n_search: int

    def content(self) -> dict[str, object]:
        """What identifies it, as JSON values: checksums, shape, names. Costs one pass over the images."""
        return {
            "images": hashlib.sha256(np.ascontiguousarray(self.images).data).hexdigest(),
            "labels": hashlib.sha256(np.ascontiguousarray(self.labels).data).hexdigest(),
            "shape": list(self.images.shape),
            "class_names": list(self.class_names),
            "n_search": self.n_search,
        }


def digest(content: object) -> str:
    """SHA-256 (hex) of JSON values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def cached(stem: str, build: Callable[[], Prepared], folders: Sequence[Path]) -> tuple[Prepared, dict[str, object]]:
    """(data set, its ``content()``): read from the first folder that has it intact, else built and written there.

    ``stem`` must name the content (and the way it is prepared) uniquely. Errors of ``build`` pass through.
    """
    stem = f"{stem}-v{FORMAT}"
    if (found := _first(stem, folders)) is not None:
        return found
    prepared = build()
    content = prepared.content()
    for folder in folders:
        if _write(prepared, content, folder, stem) and (found := _read(folder, stem)) is not None:
            return found
    return prepared, content


def cache_folders(given: Path | None = None) -> tuple[Path, ...]:
    """Where to look and write, in order: ``given``, else $LAMSEARCH_CACHE, else the XDG cache; then a temporary one."""
    named = given or os.environ.get("LAMSEARCH_CACHE")
    if named:
        first = [Path(named)]
    elif base := os.environ.get("XDG_CACHE_HOME"):
        first = [Path(base) / "lamsearch"]
    else:
        home = os.path.expanduser("~")
        first = [Path(home) / ".cache" / "lamsearch"] if os.path.isabs(home) else []
    user = os.getuid() if hasattr(os, "getuid") else 0
    return (*first, Path(tempfile.gettempdir()) / f"lamsearch-{user}")


def writable(folders: Sequence[Path]) -> Path | None:
    """The first folder that takes a file, created if need be; None if none does."""
    for folder in folders:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError:
            continue
        if _ours(folder):
            return folder
    return None


def _first(stem: str, folders: Sequence[Path]) -> tuple[Prepared, dict[str, object]] | None:
    return next((found for folder in folders if (found := _read(folder, stem)) is not None), None)


def _read(folder: Path, stem: str) -> tuple[Prepared, dict[str, object]] | None:
    """The data set, memory-mapped copy-on-write (torch wants writable memory), or None unless all is intact."""
    try:
        if not _ours(folder):
            return None
        stored = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
        prepared = Prepared(
            images=np.load(folder / f"{stem}.images.npy", mmap_mode="c", allow_pickle=False),
            labels=np.load(folder / f"{stem}.labels.npy", allow_pickle=False),
            class_names=tuple(stored["content"]["class_names"]),
            n_search=int(stored["content"]["n_search"]),
        )
        content = prepared.content()
        intact = content == stored["content"] and digest(content) == stored["digest"]
        right_types = prepared.images.dtype == np.float32 and prepared.labels.dtype == np.int64
        return (prepared, content) if intact and right_types else None
    except (OSError, ValueError, TypeError, KeyError, EOFError, AttributeError):
        return None


def _write(prepared: Prepared, content: dict[str, object], folder: Path, stem: str) -> bool:
    if writable([folder]) is None:
        return False
    sidecar = json.dumps({"content": content, "digest": digest(content)}).encode()
    try:
        _replace(folder / f"{stem}.images.npy", lambda file: np.save(file, prepared.images))
        _replace(folder / f"{stem}.labels.npy", lambda file: np.save(file, prepared.labels))
        _replace(folder / f"{stem}.json", lambda file: file.write(sidecar))
    except OSError:  # full or read-only: the next folder, or memory, will do
        return False
    return True


def _replace(path: Path, write: Callable[..., object]) -> None:
    """Write a file so that readers see the old one or the new one, whole."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _ours(folder: Path) -> bool:
    """False for a temporary folder that somebody else has put there: its name is easy to guess."""
    if folder.parent != Path(tempfile.gettempdir()) or not hasattr(os, "getuid"):
        return True
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process at a time download into ``folder``; the kernel frees the lock of one that dies."""
    with contextlib.ExitStack() as stack:
        # Windows has no fcntl, some network disks no locks, a read-only folder no lock file: then without.
        with contextlib.suppress(ImportError, OSError):
            import fcntl  # noqa: PLC0415

            folder.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context(open(folder / ".lock", "wb")), fcntl.LOCK_EX)
        yield
