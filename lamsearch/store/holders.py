"""Who holds the lock of a SQLite file: what to tell somebody whose database stays locked."""

from __future__ import annotations

import os
from pathlib import Path


def lock_holder(path: Path, proc: Path = Path("/proc")) -> str | None:
    """``"process 123 (python -m lamsearch worker)"`` from Linux's lock table; None if unknown.

    In WAL mode writers lock a byte of the ``-shm`` file: https://sqlite.org/walformat.html#locks
    """
    inodes = {stat.st_ino for stat in map(_stat, (Path(f"{path}-shm"), path)) if stat is not None}
    try:
        lines = (proc / "locks").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        # "1: POSIX  ADVISORY  WRITE 1234 08:01:5678 120 120"
        words = line.replace("-> ", "").split()
        if len(words) < 8 or words[3] != "WRITE" or not words[4].isdigit():
            continue
        pid, inode = int(words[4]), int(words[5].rsplit(":", 1)[-1])
        if inode in inodes and pid != os.getpid():
            return f"process {pid} ({_command(proc, pid)})"
    return None


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _command(proc: Path, pid: int) -> str:
    try:
        words = (proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").split()
    except OSError:
        return "gone or another user's"
    # Arguments may hold secrets: the program and the module are enough to find it.
    return " ".join(words[:4])
