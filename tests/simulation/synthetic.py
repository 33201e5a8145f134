"""Every sampler and pruner on worlds with a known truth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.special import stdtrit

from lamsearch.pairs import PRIOR_FREEDOM
from lamsearch.rules import EPOCH_PRUNERS
from tests.simulation import epochs
from tests.simulation.markdown import progress, rate, row
from tests.simulation.runs import Outcome, model_based, outcome, places, race, rules_for
from tests.simulation.worlds import FAMILIES, World, draw

FIRST_SEED = 100_000
"""Worlds of the published table. The race was tuned on seeds 0 … 999."""

COLUMNS = (
    *("share of fits", "regret, pp", "regret over full, pp", "pick in full E", "lam_1se as full"),
    *("loss at lam_1se, pp", "best λ in E", "plateau λ in E (null)", "false helps (null)"),
)


def row_of(world: World, run: Outcome, full: Outcome) -> tuple[float, ...]:
    """One world's entries of ``COLUMNS``; NaN where the family does not define it."""
    truth = world.truth(run.decades)
    best = 1 + int(np.argmax(truth[1:]))
    null = world.family == "null"
    plateau = 1 + int(np.argmin(np.abs(run.decades[1:] + 5.0)))
    at_full = np.argmin(np.abs(full.decades[1:] - run.decades[run.chosen])) + 1
    regret = world.best - truth[run.chosen]
    full_regret = full_regret_of(world, full)
    return (
        run.share,
        100 * regret,
        100 * (regret - full_regret),
        float(full.versus.inside[at_full]),
        float(abs(run.decades[run.one_se] - full.decades[full.one_se]) <= 0.5),
        100 * (world.best - truth[run.one_se]),
        float(run.versus.inside[best]),
        float(run.versus.inside[plateau]) if null else math.nan,
        float(run.helps) if null else math.nan,
    )


def full_regret_of(world: World, full: Outcome) -> float:
    return world.best - float(world.truth(full.decades)[full.chosen])


def synthetic(
    n: int, k: int, worlds: int, *, samplers: Sequence[str], pruners: Sequence[str], shared: float = 0.0, name: str = ""
) -> list[str]:
    """Markdown rows. Every sampler × pruner on the same worlds; "full" is the even grid without pruning."""
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    cases = [(family, FIRST_SEED + seed) for family in FAMILIES for seed in range(worlds)]
    for family, seed in progress(cases, name or f"{n} λ's, k = {k}"):
        world = draw(seed, family=family, n_slots=n, n_folds=k, shared=shared)
        grid = places("grid", n, 0)
        scores = world.scores(grid, -1)
        full = outcome(grid, scores, rules_for("none", k), scores.size)
        for sampler in samplers:
            for pruner in pruners:
                rules = rules_for(pruner, k)
                if pruner in EPOCH_PRUNERS:
                    run = epochs.study(world, sampler, n, seed, rules)
                elif sampler in ("tpe", "gp"):
                    run = model_based(world, sampler, n, seed, rules)
                else:
                    decades = places(sampler, n, seed)
                    run = race(decades, world.scores(decades, -1), rules)
                found.setdefault((sampler, pruner), []).append(row_of(world, run, full))
    return [line((f"{n}", f"{k}", *key), rows) for key, rows in found.items()]


def line(head: Iterable[str], rows: Sequence[tuple[float, ...]]) -> str:
    table = np.array(rows)
    means, n = np.nanmean(table, axis=0), len(table)
    error = table[:, 2].std() / np.sqrt(n)
    cells = [f"{value:.3f}" for value in means]
    cells[2] = f"{means[2]:+.3f} ± {error:.3f}"
    return "| " + " | ".join([*head, *cells]) + " |"


def null_worlds(n: int, k: int, worlds: int, *, shared: float, automatic: bool = False) -> list[str]:
    """Markdown rows: how often a useless λ is said to help, and a plateau λ to be worse, with their errors.

    ``automatic``: with replicates as the race's finalists need them, on worlds of their own.
    """
    grid = places("grid", n, 0)
    plateau = 1 + int(np.argmin(np.abs(grid[1:] + 5.0)))
    names = ("paired, automatic replicates",) if automatic else ("none", "paired")
    found: dict[str, list[tuple[bool, bool]]] = {name: [] for name in names}
    for seed in progress(range(worlds), f"null, {n} λ's, k = {k}"):
        replicates = 21 if automatic else 1
        world = draw(2 * FIRST_SEED + seed, family="null", n_slots=n, n_folds=k, replicates=replicates, shared=shared)
        scores = world.scores(grid, -1)
        for name, seen in found.items():
            rules = rules_for("paired", k, n_replicates=0) if automatic else rules_for(name, k)
            run = race(grid, scores, rules)
            seen.append((run.helps, bool(run.versus.inside[plateau])))
    lines = []
    for name, seen in found.items():
        rates = np.array(seen, dtype=float).mean(axis=0)
        errors = np.sqrt(rates * (1 - rates) / worlds)
        cells = [f"{rate:.3f} ± {error:.3f}" for rate, error in zip(rates, errors, strict=True)]
        lines.append("| " + " | ".join([f"{n}", f"{k}", f"{shared:.1f}", name, *cells]) + " |")
    return lines


COSTS = ("λ's", "k", "pruner", "fold fits", "regret, pp", "loss at lam_1se, pp", "best λ in E", '"helps" where λ does')


def costs(cases: Sequence[tuple[int, int, str]], worlds: int) -> list[str]:
    """Markdown rows: what more λ's, or more folds, buy. Cases: (λ's, k, pruner)."""
    lines = []
    for n, k, pruner in cases:
        grid, rows = places("grid", n, 0), []
        for seed in progress(range(3 * FIRST_SEED, 3 * FIRST_SEED + worlds), f"costs, {n} λ's, k = {k}, {pruner}"):
            for family in FAMILIES:
                world = draw(seed, family=family, n_slots=n, n_folds=k, shared=0.0)
                run, truth = race(grid, world.scores(grid, -1), rules_for(pruner, k)), world.truth(grid)
                best = 1 + int(np.argmax(truth[1:]))
                rows.append(
                    (
                        float(run.fits),
                        100 * (world.best - truth[run.chosen]),
                        100 * (world.best - truth[run.one_se]),
                        float(run.versus.inside[best]),
                        float(run.helps) if truth[best] - truth[0] > 0.002 else math.nan,
                    )
                )
        fits, *others = np.array(rows).T
        lines.append(row((n, k, pruner, f"{fits.mean():.0f}", *(rate(column) for column in others))))
    return lines


WIDTHS = ("λ's", "k", "correlation between folds", "pruner", "quantile of t", 'false "helps" (null)', '"helps" (bumps)')


def widths(n: int, k: int, worlds: int, *, shared: float) -> list[str]:
    """Markdown rows: the verdict with wider intervals, where no λ helps and where a bump does."""
    grid, lines = places("grid", n, 0), []
    found: dict[tuple[str, float], dict[bool, list[float]]] = {}
    for seed in progress(range(4 * FIRST_SEED, 4 * FIRST_SEED + worlds), f"wider intervals, correlation {shared:.1f}"):
        for family in ("null", "bump at cliff", "bump away"):
            scores = draw(seed, family=family, n_slots=n, n_folds=k, shared=shared).scores(grid, -1)
            for pruner in ("none", "paired"):
                versus = race(grid, scores, rules_for(pruner, k)).versus
                for quantile in (0.975, 0.9875, 0.995):
                    high = versus.mean[0] + stdtrit(versus.shared[0] - 1 + PRIOR_FREEDOM, quantile) * versus.se[0]
                    rows = found.setdefault((pruner, quantile), {True: [], False: []})
                    rows[family == "null"].append(float(high < 0))
    for (pruner, quantile), rows in sorted(found.items()):
        lines.append(row((n, k, f"{shared:.1f}", pruner, quantile, rate(rows[True]), rate(rows[False]))))
    return lines
