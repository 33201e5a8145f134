"""What the machine offers, as its files say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamsearch.environment import free_memory

GROUP = {"memory.max": "1000000\n", "memory.current": "700000\n", "memory.stat": "anon 5\ninactive_file 100000\n"}


def machine(root: Path, available_kib: int, **group: str) -> Path:
    """A machine's files: memory that is free, and its container's limits."""
    for name, text in {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable:   {available_kib} kB\n"}.items():
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "sys/fs/cgroup").mkdir(parents=True)
    for name, text in group.items():
        (root / "sys/fs/cgroup" / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("available_kib", "group", "free"),
    [
        (300, {}, 307_200),
        (300, {**GROUP, "memory.max": "max\n"}, 307_200),
        (300, GROUP, 307_200),
        (500, GROUP, 400_000),
        (500, {**GROUP, "memory.current": "2000000\n"}, 0),
    ],
)
def test_free_memory_is_the_machines_or_its_containers(
    tmp_path: Path, available_kib: int, group: dict[str, str], free: int
) -> None:
    assert free_memory(machine(tmp_path, available_kib, **group)) == free


def test_free_memory_is_unknown_without_those_files(tmp_path: Path) -> None:
    assert free_memory(tmp_path) is None
