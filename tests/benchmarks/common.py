"""What every benchmark prints beside its figures: n, spread, versions, hardware; and where its JSON goes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from lamsearch import datasets, environment
from lamsearch.config import StudyConfig, parse_study

RESULTS = Path("benchmark-results")
DATA = RESULTS / "data"
BUSY = 0.7
LIMIT_S = 1800.0
"""How long a process of a benchmark may take to tell its figures: one that died never does."""
LOAD = os.getloadavg()
"""Before anything was measured: what others do with the machine."""


def summary(values: Sequence[float]) -> dict[str, float]:
    """n, median, smallest and largest."""
    return {"n": len(values), "median": median(values), "min": min(values), "max": max(values)}


def shown(values: Sequence[float], unit: str = "") -> str:
    """``12.3 ms [11.9 … 13.0], n = 5``."""
    found = summary(values)
    return f"{found['median']:.3g}{unit} [{found['min']:.3g} … {found['max']:.3g}], n = {found['n']}"


def save(name: str, **result: Any) -> Path:
    """Write ``benchmark-results/NAME.json`` with versions, hardware, load and date, and print the header."""
    load = os.getloadavg()
    record = {
        "versions": environment.versions(),
        "load_before": LOAD,
        "load": load,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        **result,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1, default=str), encoding="utf-8")
    versions = environment.versions()
    print(
        f"{name}: {environment.cpu()}; Python {versions['python']}, torch {versions['torch']}, "
        f"optuna {versions['optuna']}; load {LOAD[0]:.1f} before, {load[0]:.1f} now; {path}"
    )
    if LOAD[0] > BUSY:
        print(
            "others used this machine: that slows two threads of one process more than two processes, which flatters us"
        )
    return path


def colour_images(n: int = 6000) -> Path:
    """CIFAR-shaped images (32×32×3, uint8) with ten real classes: Fashion-MNIST, padded, each in two random colours.

    CIFAR-10 itself cannot be had without a network; for the cost of a step only the shape matters.
    """
    path = DATA / f"colour-{n}.npz"
    if not path.exists():
        source = datasets.load(parse_study({"data": {"source": "fashion-mnist"}}, where="benchmark").data, seed=0)
        rng = np.random.default_rng(0)
        chosen = np.sort(rng.choice(source.search, n, replace=False))
        grey = np.pad((np.asarray(source.images)[chosen, 0] + 1) / 2, ((0, 0), (2, 2), (2, 2)))[..., None]
        front, back = rng.uniform(0.3, 1, (n, 1, 1, 3)), rng.uniform(0, 0.5, (n, 1, 1, 3))
        DATA.mkdir(parents=True, exist_ok=True)
        images = np.round(255 * (grey * front + (1 - grey) * back)).astype(np.uint8)
        np.savez(path, images=images, labels=source.labels[chosen])
    return path


def study(kind: str, n: int, *, epochs: int, seed: int = 0, **search: Any) -> StudyConfig:
    """``fashion`` (28×28×1), ``colour`` (32×32×3) or ``digits`` (16×16×1) with n search images, 5 folds, batch 32."""
    source = {"fashion": "fashion-mnist", "digits": "digits"}.get(kind) or f"npz:{colour_images().resolve()}"
    raw = {
        "name": f"{kind}-{n}-{seed}",
        "data": {"source": source, "n": n},
        "training": {"epochs": epochs},
        "search": {"seed": seed, **search},
    }
    return parse_study(raw, where="benchmark")


def arrays(config: StudyConfig) -> Path:
    """The study's search and test images as an .npz file for the peer: x, y, x_test, y_test."""
    path = DATA / f"{config.name}.npz"
    if not path.exists():
        data = datasets.load(config.data, seed=config.search.seed)
        DATA.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            x=data.images[data.search],
            y=data.labels[data.search],
            x_test=data.images[data.test],
            y_test=data.labels[data.test],
        )
    return path
