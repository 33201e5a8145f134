"""What the numbers were made with: library versions and the machine, for the record beside every result."""

from __future__ import annotations

import contextlib
import os
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

LIBRARIES = ("lamsearch", "torch", "torchvision", "optuna", "sqlalchemy", "numpy", "scipy", "scikit-learn")


@cache
def versions() -> dict[str, str]:
    """Library → version, Python and the hardware among them. Reads metadata only, imports nothing."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found | {"hardware": cpu()}


@cache
def cpu() -> str:
    """The processor's name and the number of cores this process may use."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux: the plain name serves
    return f"{model} ({platform.machine()}), {cores()} cores"


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still take, of the machine's memory and of its container's; None where unknown.

    Linux: MemAvailable, https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files.
    """
    found = []
    with contextlib.suppress(OSError, LookupError, ValueError):
        lines = (root / "proc/meminfo").read_text(encoding="utf-8").splitlines()
        found.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))))
    with contextlib.suppress(OSError, LookupError, ValueError):
        group = root / "sys/fs/cgroup"
        limit, used = (int((group / name).read_text(encoding="utf-8")) for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
        found.append(max(0, limit - used + int(stat["inactive_file"])))  # the kernel drops these pages when asked
    return min(found, default=None)


def cores() -> int:
    """Cores this process may use (containers and taskset honoured)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
