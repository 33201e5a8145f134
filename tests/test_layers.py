"""The map of the modules: imports only point down, and heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lamsearch"

LAYERS = [
    {"errors", "records", "config", "answer", "environment", "stopping", "study_files"},
    {
        *("architecture", "splits", "datasets", "archives", "cache", "folders", "npz", "pixels"),
        *("batches", "evidence", "loss", "model"),
        *("cohort", "curve", "edges", "finalists", "optimism", "pairs", "plan", "race", "rules", "selection"),
        *("certainty", "changes", "fates", "members", "notes", "numerals", "others", "smooth", "wilcoxon", "wording"),
    },
    {
        *("bench", "candidates", "chain", "engine", "executor", "fused", "lockstep", "loop", "optimiser"),
        *("preparation", "problem", "progress", "pruner", "reference", "stack", "stacked", "tables", "training"),
    },
    {"store", "report"},
    {"dossier", "heart", "mirroring", "worker", "refit", "dashboard"},
    {"cli", "__main__"},
]
HEAVY = {
    "torch": {
        *("batches", "bench", "candidates", "chain", "engine", "evidence", "executor", "fused", "loop", "loss"),
        *("model", "optimiser", "problem", "reference", "stack", "stacked", "tables", "training", "worker"),
    },
    "torchvision": {"archives"},
    "PIL": {"folders"},
    "sklearn": {"datasets"},
    "optuna": {"store", "dashboard", "pruner"},
    "optuna_dashboard": {"dashboard"},
    "sqlalchemy": {"store", "dashboard"},
    "matplotlib": {"report"},
    "plotly": {"dashboard"},
    "typer": {"cli"},
    "rich": {"cli"},
}
MAX_LINES = 250


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def noun(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = tuple((node.module or "").split("."))
            if base == ("lamsearch",):
                yield from ((*base, alias.name) for alias in node.names)
            else:
                yield base


def layer_of(name: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if name in names)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_point_down(path: Path) -> None:
    if noun(path) == "__init__":
        return
    own = layer_of(noun(path))
    for target in imports(path):
        if target[0] == "lamsearch" and len(target) > 1 and target[1] not in ("__version__", noun(path)):
            assert layer_of(target[1]) <= own, f"{noun(path)} (layer {own}) imports {'.'.join(target)}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_stay_where_they_belong(path: Path) -> None:
    for target in imports(path):
        allowed = HEAVY.get(target[0])
        assert allowed is None or noun(path) in allowed, f"{noun(path)} imports {target[0]}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_outgrows_its_noun(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_the_map_names_no_module_that_is_gone() -> None:
    here = {noun(path) for path in modules()}
    assert set().union(*LAYERS) - here - {"__main__"} == set()


def test_the_wheel_holds_every_package() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    found = {".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("__init__.py")}
    assert set(project["tool"]["setuptools"]["packages"]) == found | {"lamsearch.studies"}
