"""``python -m tests.simulation [--worlds N] [--out RESULTS.md]``: error rates of every sampler and pruner.

One process, seeded. Three parts: synthetic worlds with a known truth, the same with folds that share noise, and real
score tables in all fold orders. Epoch pruners judge learning curves, which worlds of fold scores do not have.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
from rich.progress import track

from tests.simulation.runs import Outcome, model_based, outcome, places, race, rules_for
from tests.simulation.worlds import FAMILIES, World, draw

HERE = Path(__file__).parent
TABLES = HERE.parent / "score_tables"
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
    for family, seed in track(cases, description=name or f"{n} λ's, k = {k}", console=console()):
        world = draw(seed, family=family, n_slots=n, n_folds=k, shared=shared)
        grid = places("grid", n, 0)
        scores = world.scores(grid, -1)
        full = outcome(grid, scores, rules_for("none", k), scores.size)
        for sampler in samplers:
            for pruner in pruners:
                rules = rules_for(pruner, k)
                if sampler in ("tpe", "gp"):
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


def null_worlds(n: int, k: int, worlds: int, *, shared: float) -> list[str]:
    """Markdown rows: how often a useless λ is said to help, and a plateau λ to be worse, with their errors."""
    grid = places("grid", n, 0)
    plateau = 1 + int(np.argmin(np.abs(grid[1:] + 5.0)))
    found: dict[str, list[tuple[bool, bool]]] = {"none": [], "paired": []}
    for seed in track(range(worlds), description=f"null, {n} λ's, k = {k}", console=console()):
        world = draw(2 * FIRST_SEED + seed, family="null", n_slots=n, n_folds=k, shared=shared)
        scores = world.scores(grid, -1)
        for pruner, seen in found.items():
            run = race(grid, scores, rules_for(pruner, k))
            seen.append((run.helps, bool(run.versus.inside[plateau])))
    lines = []
    for pruner, seen in found.items():
        rates = np.array(seen, dtype=float).mean(axis=0)
        errors = np.sqrt(rates * (1 - rates) / worlds)
        cells = [f"{rate:.3f} ± {error:.3f}" for rate, error in zip(rates, errors, strict=True)]
        lines.append("| " + " | ".join([f"{n}", f"{k}", f"{shared:.1f}", pruner, *cells]) + " |")
    return lines


def real(pruners: Sequence[str]) -> list[str]:
    """Markdown rows: replicate 0 of each stored table in all orders of its folds."""
    lines = []
    for path in track(sorted(TABLES.glob("*.json")), description="real tables", console=console()):
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


def console():  # type: ignore[no-untyped-def]
    from rich.console import Console

    return Console(stderr=True)


def header(names: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--worlds", type=int, default=60, help="worlds per family (5 families)")
    parser.add_argument("--model-worlds", type=int, default=2, help="the same for tpe and gp, which are slow")
    parser.add_argument("--out", type=Path, help="write the Markdown here instead of to stdout")
    given = parser.parse_args()
    began = time.perf_counter()
    fast, races = ("grid", "qmc", "random"), ("none", "wilcoxon", "paired")
    columns = ("λ's", "k", "sampler", "pruner", *COLUMNS)
    few = max(1, given.worlds // 3)
    text = [
        "# What the decision rules get wrong, and how often",
        "",
        f"`python -m tests.simulation --worlds {given.worlds} --model-worlds {given.model_worlds}`: "
        f"{given.worlds} worlds of each of {len(FAMILIES)} families ({few} with 50 λ's or k = 10; "
        f"{given.model_worlds} for tpe and gp), seeds from {FIRST_SEED}.",
        'Regret is against the best λ of the whole range; "full" is an even grid of as many λ\'s on all folds. '
        "± is one standard error of the paired difference.",
        "",
        "## Synthetic worlds, noise independent between folds",
        "",
        *header(columns),
        *synthetic(17, 5, given.worlds, samplers=fast, pruners=races),
        *synthetic(13, 5, given.worlds, samplers=("grid",), pruners=("none", "paired")),
        *synthetic(25, 5, given.worlds, samplers=("grid",), pruners=("none", "paired")),
        *synthetic(50, 5, few, samplers=fast, pruners=races),
        *synthetic(17, 10, few, samplers=("grid",), pruners=races),
        *(
            synthetic(17, 5, given.model_worlds, samplers=("tpe", "gp"), pruners=races, name="tpe and gp")
            if given.model_worlds
            else ()
        ),
        "",
        "## The same, each λ's noise with correlation 1/k between folds (what Nadeau & Bengio allow for)",
        "",
        *header(columns),
        *synthetic(17, 5, given.worlds, samplers=("grid",), pruners=("none", "paired"), shared=0.2, name="correlated"),
        "",
        f"## Worlds where no λ helps ({5 * given.worlds} of each kind)",
        "",
        *header(("λ's", "k", "correlation between folds", "pruner", 'false "helps"', "fixed plateau λ in E")),
        *null_worlds(17, 5, 5 * given.worlds, shared=0.0),
        *null_worlds(50, 5, 5 * given.worlds, shared=0.0),
        *null_worlds(17, 10, 5 * given.worlds, shared=0.0),
        *null_worlds(17, 5, 5 * given.worlds, shared=0.2),
        "",
        "## Correlation between folds in real tables",
        "",
        *header(("table", "replicates", "paired sd, pp", "correlation of a λ's noise between folds")),
        *correlation(),
        "",
        "## Real tables, all fold orders",
        "",
        *header(
            (
                "table",
                "pruner",
                "share",
                "same pick",
                "pick in full E",
                "behind full, pp",
                "lam_1se as full",
                "same helps",
            )
        ),
        *real(("wilcoxon", "paired")),
    ]
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    body = "\n".join(text) + "\n"
    if given.out:
        given.out.write_text(body, encoding="utf-8")
    else:
        print(body)


if __name__ == "__main__":
    main()
