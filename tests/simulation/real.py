"""Real score tables in all orders of their folds, and what they say about correlation between folds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np

from lamsearch.rules import Rules
from tests.simulation.markdown import progress, row
from tests.simulation.runs import Floats, outcome, race, rules_for

TABLES = Path(__file__).parent.parent / "score_tables"


COLUMNS = (
    *("table", "pruner", "share", "same pick", "pick in full E", "behind full, pp", "the same on new folds, pp"),
    *("lam_1se as full", "same helps"),
)


def real(pruners: Sequence[str]) -> list[str]:
    """Markdown rows: each stored table, replicate by replicate, in all orders of its folds.

    "behind full" judges both picks by the scores that the full table picked by, so it can only be positive; "on new
    folds" by the scores of the table's other replicates.
    """
    lines = []
    for path in progress(sorted(TABLES.glob("*.json")), "real tables"):
        body = json.loads(path.read_text(encoding="utf-8"))
        order = sorted(body["scores"], key=float)
        k, n_images = body["k"], body.get("n_images", {"digits": 1797, "fashion": 2500}.get(body["name"], 1438))
        everything = np.array([body["scores"][lam] for lam in order])
        decades = np.array([-np.inf, *(np.log10(float(lam)) for lam in order[1:])])
        for pruner in pruners:
            rows: list[list[float]] = []
            for first in range(0, everything.shape[1], k):
                scores, others = (
                    everything[:, first : first + k],
                    np.delete(everything, range(first, first + k), axis=1),
                )
                rows += _orders(decades, scores, others, rules_for(pruner, k, n_images=n_images))
            means = np.array(rows).mean(axis=0)
            lines.append(row((path.stem, pruner, *("–" if np.isnan(value) else f"{value:.2f}" for value in means))))
    return lines


def _orders(decades: Floats, scores: Floats, others: Floats, rules: Rules) -> list[list[float]]:
    full = outcome(decades, scores, replace(rules, pruner="none"), scores.size)
    found = []
    for shuffled in permutations(range(scores.shape[1])):
        run = race(decades, scores[:, shuffled], rules)
        new = others[full.chosen].mean() - others[run.chosen].mean() if others.size else np.nan
        found.append(
            [
                run.share,
                float(run.chosen == full.chosen),
                float(full.versus.inside[run.chosen]),
                100 * float(scores[full.chosen].mean() - scores[run.chosen].mean()),
                100 * float(new),
                float(abs(decades[run.one_se] - decades[full.one_se]) <= 0.5),
                float(run.helps == full.helps),
            ]
        )
    return found


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
