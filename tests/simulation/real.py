"""Real score tables in all orders of their folds, and what they say about correlation between folds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np

from tests.simulation.markdown import progress
from tests.simulation.runs import outcome, race, rules_for

TABLES = Path(__file__).parent.parent / "score_tables"


def real(pruners: Sequence[str]) -> list[str]:
    """Markdown rows: replicate 0 of each stored table in all orders of its folds."""
    lines = []
    for path in progress(sorted(TABLES.glob("*.json")), "real tables"):
        body = json.loads(path.read_text(encoding="utf-8"))
        order = sorted(body["scores"], key=float)
        k, n_images = body["k"], body.get("n_images", {"digits": 1797, "fashion": 2500}.get(body["name"], 1438))
        scores = np.array([body["scores"][lam][:k] for lam in order])
        decades = np.array([-np.inf, *(np.log10(float(lam)) for lam in order[1:])])
        full = outcome(decades, scores, rules_for("none", k, n_images=n_images), scores.size)
        for pruner in pruners:
            rows = []
            for shuffled in permutations(range(k)):
                run = race(decades, scores[:, shuffled], rules_for(pruner, k, n_images=n_images))
                behind = scores[full.chosen].mean() - scores[run.chosen].mean()
                near = abs(decades[run.one_se] - decades[full.one_se]) <= 0.5
                same = run.chosen == full.chosen
                entry = (run.share, same, full.versus.inside[run.chosen], 100 * behind, near, run.helps == full.helps)
                rows.append([float(value) for value in entry])
            cells = [f"{value:.2f}" for value in np.mean(rows, axis=0)]
            lines.append("| " + " | ".join([path.stem, pruner, *cells]) + " |")
    return lines


def correlation() -> list[str]:
    """Markdown rows: how much of a λ's noise the folds of a replicate share, where tables have replicates."""
    lines = []
    for path in sorted(TABLES.glob("*.json")):
        body = json.loads(path.read_text(encoding="utf-8"))
        k, replicates = body["k"], body.get("replicates", 1)
        if replicates < 2:
            continue
        scores = np.array([*body["scores"].values()])
        near = scores[scores.mean(axis=1) > scores.mean(axis=1).max() - 0.02]
        near = (near - near.mean(axis=0)).reshape(len(near), replicates, k)
        means = near.mean(axis=2)
        between = k * ((means - means.mean(axis=1, keepdims=True)) ** 2).sum() / ((len(near) - 1) * (replicates - 1))
        within = ((near - means[:, :, None]) ** 2).sum() / ((len(near) - 1) * replicates * (k - 1))
        rho = (between - within) / (between + (k - 1) * within)
        lines.append(f"| {path.stem} | {replicates} | {100 * np.sqrt(2 * within):.2f} | {rho:+.2f} |")
    return lines
