"""What the numbers were made with: library versions and the machine, for the record beside every result."""

from __future__ import annotations

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


def cores() -> int:
    """Cores this process may use (containers and taskset honoured)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
