"""The table in README.md names tests that exist, and every row of the list of faults."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")


def functions(path: Path) -> set[str]:
    """Names of the test functions in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_table_names_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", TABLE)
    assert len(named) > 60
    assert [f"{file}::{name}" for file, name in named if name not in functions(TESTS / file)] == []


def test_every_fault_has_a_row_with_a_test() -> None:
    rows = re.findall(r"^\| (\d+) \|.*::test_", TABLE, re.M)
    assert [int(number) for number in rows] == list(range(1, 22))
