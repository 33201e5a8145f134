"""Studies that look repeatedly: ``--until sure``, which may stop early, and replicates of the finalists."""

from __future__ import annotations

import math

import numpy as np

from tests.simulation.markdown import progress, rate, row
from tests.simulation.runs import cohorts_of, outcome, places, race, rules_for
from tests.simulation.worlds import FAMILIES, draw

FIRST_SEED = 300_000
SURE = ("λ's", "cohorts", "pruner", "until", "share of fits", "stopped early", "behind full by more than the tolerance")
SURE += ("truly worse than full by more than it", "regret, pp", 'false "helps" (null)')
REPEATED = ("λ's", "correlation between folds", "replicates", "fold fits", "regret, pp", "best λ in E")
REPEATED += ('false "helps" (null)', '"helps" where λ does')


def sure(n: int, worlds: int, *, pruner: str = "paired") -> list[str]:
    """Markdown rows: the search that stops when it is sure, beside the one that spends all."""
    rules = {until: rules_for(pruner, 5, until=until) for until in ("spent", "sure")}
    grid, cohorts = places("grid", n, 0), cohorts_of("grid", n, 0)
    found: dict[str, list[tuple[float, ...]]] = {until: [] for until in rules}
    tolerance = rules["sure"].scale.tolerance
    for family in FAMILIES:
        for seed in progress(range(FIRST_SEED, FIRST_SEED + worlds), f"until sure, {n} λ's, {family}"):
            world = draw(seed, family=family, n_slots=n, n_folds=5, shared=0.0)
            scores, truth = world.scores(grid, -1), world.truth(grid)
            full = outcome(grid, scores, rules_for("none", 5), scores.size)
            spent = 0.0
            for until, given in rules.items():
                run = race(grid, scores, given, cohorts=cohorts)
                spent = spent or run.fits
                found[until].append(
                    (
                        run.share,
                        float(run.fits < spent),
                        float(scores[full.chosen].mean() - scores[run.chosen].mean() > tolerance),
                        float(truth[full.chosen] - truth[run.chosen] > tolerance),
                        100 * (world.best - truth[run.chosen]),
                        float(run.helps) if family == "null" else math.nan,
                    )
                )
    return [
        row((n, 1 + max(cohorts), pruner, until, *(rate(column) for column in np.array(rows).T)))
        for until, rows in found.items()
    ]


def repeated(n: int, worlds: int, *, replicates: tuple[int, ...], shared: float) -> list[str]:
    """Markdown rows: finalists measured again with new folds; 0 replicates is the automatic mode."""
    grid = places("grid", n, 0)
    found: dict[int, list[tuple[float, ...]]] = {number: [] for number in replicates}
    for family in FAMILIES:
        name = f"replicates, {n} λ's, correlation {shared:.1f}, {family}"
        for seed in progress(range(FIRST_SEED, FIRST_SEED + worlds), name):
            world = draw(seed, family=family, n_slots=n, n_folds=5, replicates=21, shared=shared)
            scores, truth = world.scores(grid, -1), world.truth(grid)
            best = 1 + int(np.argmax(truth[1:]))
            for number, rows in found.items():
                run = race(grid, scores, rules_for("paired", 5, n_replicates=number))
                rows.append(
                    (
                        float(run.fits),
                        100 * (world.best - truth[run.chosen]),
                        float(run.versus.inside[best]),
                        float(run.helps) if family == "null" else math.nan,
                        float(run.helps) if truth[best] - truth[0] > 0.002 else math.nan,
                    )
                )
    lines = []
    for number, rows in found.items():
        fits, *others = np.array(rows).T
        cells = (f"{fits.mean():.0f}", *(rate(column) for column in others))
        lines.append(row((n, f"{shared:.1f}", number or "automatic", *cells)))
    return lines
