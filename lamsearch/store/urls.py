"""Storage URLs: what is accepted, how it is normalised, and how it is printed without its password."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from lamsearch.errors import InputError

NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "ceph", "lustre"),
        *("glusterfs", "fuse.glusterfs", "afs", "gpfs"),
    }
)
"""Where SQLite's locks cannot be relied on: https://sqlite.org/howtocorrupt.html, section 2.1."""

_SQLITE_MAGIC = b"SQLite format 3\x00"


def parse(text: str) -> URL:
    """``sqlite:///PATH``, a plain file path, or ``postgresql+psycopg://…`` as a URL. Raises InputError.

    Bare ``postgresql://`` and ``postgres://`` are taken to mean psycopg 3, whatever SQLAlchemy's own default is.
    """
    text = text.strip()
    if not text:
        raise InputError(
            "no storage given; use a file such as lamsearch.db, or postgresql+psycopg://USER@HOST/DATABASE"
        )
    if "://" not in text:
        if "@" in text or "password" in text.lower() or text.lower().startswith(("postgres", "sqlite:", "file:")):
            raise _unreadable()  # a slip in a URL, which may hold a password: not repeated, and no file's name
        url = URL.create("sqlite", database=str(Path(text).expanduser()))
        return _on_disk(url)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # The parser's own message repeats the URL, password included.
        raise _unreadable() from None
    if "@" in (url.host or ""):
        raise _unreadable()  # an @ in the password: what follows it would be printed as the host
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise InputError(
            f"storage {masked(url)}: {url.drivername!r} is not supported; use sqlite:///PATH or postgresql+psycopg://…"
        )
    return _on_disk(url)


def _on_disk(url: URL) -> URL:
    if url.drivername == "sqlite" and url.query:
        raise InputError(
            f"storage {masked(url)}: a SQLite file takes no options here ({', '.join(url.query)}); "
            "leave out what follows the ?"
        )
    if url.drivername == "sqlite" and url.database in (None, "", ":memory:"):
        raise InputError(
            "storage: SQLite in memory cannot be shared by processes; name a file, such as sqlite:///lamsearch.db"
        )
    return url


def _unreadable() -> InputError:
    return InputError(
        "the storage URL cannot be read; write sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, "
        "with odd characters of the password percent-encoded"
    )


def masked(url: URL) -> str:
    """The URL for people and logs: the password as ``***``, secrets in the query left out."""
    secret = [key for key in url.query if "pass" in key or key == "sslkey"]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def is_sqlite(url: URL) -> bool:
    """True for a SQLite file."""
    return url.get_backend_name() == "sqlite"


def path_of(url: URL) -> Path:
    """The file of a SQLite URL."""
    return Path(url.database or "")


def rescue(url: URL) -> str:
    """What to do about a damaged SQLite file.

    Not ``.recover``, which Debian's sqlite3 cannot do ("SQL logic error"). A dump goes on behind a bad page, but ends
    with a ROLLBACK.
    """
    save = f"sqlite3 {shlex.quote(str(path_of(url)))} .dump | sed 's/^ROLLBACK.*/COMMIT;/' | sqlite3 rescued.db"
    return (
        f"stop its workers and go back to a copy of the file, or save what can still be read with `{save}` "
        "and go on with --storage rescued.db: what is missing there is fitted again"
    )


def check_file(url: URL, *, read_only: bool) -> None:
    """Refuse a SQLite path that cannot be a database, before anything is written. Raises InputError."""
    path = path_of(url)
    if path.is_dir():
        raise InputError(f"storage {path}: a folder, not a database file")
    if not path.exists():
        if read_only:
            raise InputError(f"storage {path}: no such database; `lamsearch run` or `lamsearch submit` creates it")
        if not path.absolute().parent.is_dir():
            raise InputError(f"storage {path}: the folder {path.absolute().parent} does not exist")
        return
    try:
        with path.open("rb") as file:
            head = file.read(len(_SQLITE_MAGIC))
    except OSError as error:
        raise InputError(f"storage {path}: cannot be read: {error.strerror}") from None
    if head and head != _SQLITE_MAGIC:
        raise InputError(f"storage {path}: not a SQLite database")


def reading(url: URL) -> URL:
    """The URL with which to read a SQLite file without leaving files beside it.

    Even a reader of a file in WAL mode makes ``-wal`` and ``-shm``; only one that may write removes them at its end.
    Where nothing can be written: without a ``-wal`` nobody writes, and the file is read as it lies
    (https://sqlite.org/wal.html#readonly).
    """
    path = path_of(url).absolute()
    log = path.with_name(f"{path.name}-wal")
    if may_write(url):
        query = {"mode": "rw"}
    elif log.exists():
        query = {"mode": "ro"}
    else:
        query = {"mode": "ro", "immutable": "1"}
    return URL.create("sqlite", database=f"file:{quote(str(path))}", query={**query, "uri": "true"})


def may_write(url: URL) -> bool:
    """True if a SQLite file that exists, and the folder where its log belongs, may be written to."""
    path = path_of(url).absolute()
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def warnings(url: URL, mounts: Path = Path("/proc/self/mounts")) -> tuple[str, ...]:
    """What a person should know about this place: SQLite on a network disk."""
    if not is_sqlite(url):
        return ()
    kind = file_system(path_of(url).absolute(), mounts)
    if kind not in NETWORK_FILE_SYSTEMS:
        return ()
    return (
        f"{path_of(url)} lies on a network disk ({kind}), where SQLite's locks cannot be relied on; "
        "use a local disk, or PostgreSQL for several machines",
    )


def file_system(path: Path, mounts: Path) -> str:
    """The type of the file system that holds ``path``, from a Linux mount table; empty elsewhere."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    held = [(point, kind) for _, point, kind, *_ in (line.split() for line in lines) if _below(path, point)]
    return max(held, key=lambda item: len(item[0]), default=("", ""))[1]


def _below(path: Path, point: str) -> bool:
    return path.is_relative_to(point.replace("\\040", " "))
