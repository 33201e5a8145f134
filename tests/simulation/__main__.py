"""``python -m tests.simulation [--worlds N] [--out RESULTS.md]``: error rates of every sampler and pruner.

One process, seeded. Synthetic worlds with a known truth: races over folds, epoch pruners on learning curves, folds that
share noise, stopping early, replicates. Then real score tables in all fold orders.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from lamsearch.rules import EPOCH_PRUNERS
from tests.simulation import real
from tests.simulation.early import REPEATED, SURE, repeated, sure
from tests.simulation.markdown import header
from tests.simulation.synthetic import COLUMNS, COSTS, FIRST_SEED, WIDTHS, costs, null_worlds, synthetic, widths
from tests.simulation.worlds import FAMILIES

EPOCHS = tuple(sorted(EPOCH_PRUNERS))


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
        f"{given.worlds} worlds of each of {len(FAMILIES)} families ({few} with 33 or 50 λ's or k = 10; "
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
        *synthetic(33, 5, few, samplers=fast, pruners=races),
        *synthetic(50, 5, few, samplers=("grid",), pruners=races),
        *synthetic(17, 10, few, samplers=("grid",), pruners=races),
        *(
            synthetic(17, 5, given.model_worlds, samplers=("tpe", "gp"), pruners=races, name="tpe and gp")
            if given.model_worlds
            else ()
        ),
        "",
        f"## What more λ's or folds buy: {given.worlds} worlds of each family",
        "",
        *header(COSTS),
        *costs([(n, 5, "paired") for n in (9, 13, 17, 25, 33, 50)], given.worlds),
        *costs([(17, 10, "paired"), (17, 5, "none")], given.worlds),
        "",
        "## Epoch pruners: learning curves of 10 epochs, all folds in lockstep, one trial after the other",
        "",
        "A λ that is stopped has no fold score, so it cannot be in E. Few epochs favour larger λ's (a penalty "
        "works with λ · steps).",
        "",
        *header(columns),
        *synthetic(17, 5, few, samplers=fast, pruners=EPOCHS, name="17 λ's, epoch pruners"),
        *synthetic(33, 5, few // 2, samplers=("grid",), pruners=EPOCHS, name="33 λ's, epoch pruners"),
        *(
            synthetic(17, 5, given.model_worlds, samplers=("tpe", "gp"), pruners=EPOCHS, name="tpe and gp, epochs")
            if given.model_worlds
            else ()
        ),
        "",
        "## The same, each λ's noise with correlation 1/k between folds (what Nadeau & Bengio allow for)",
        "",
        *header(columns),
        *synthetic(17, 5, given.worlds, samplers=("grid",), pruners=("none", "paired"), shared=0.2, name="correlated"),
        *synthetic(33, 5, few, samplers=("grid",), pruners=("none", "paired"), shared=0.2, name="correlated, 33"),
        "",
        f"## Worlds where no λ helps ({5 * given.worlds} of each kind; {2 * given.worlds} with 50 λ's or k = 10)",
        "",
        *header(("λ's", "k", "correlation between folds", "pruner", 'false "helps"', "fixed plateau λ in E")),
        *null_worlds(17, 5, 5 * given.worlds, shared=0.0),
        *null_worlds(33, 5, 5 * given.worlds, shared=0.0),
        *null_worlds(50, 5, 2 * given.worlds, shared=0.0),
        *null_worlds(17, 10, 2 * given.worlds, shared=0.0),
        *null_worlds(17, 5, 5 * given.worlds, shared=0.2),
        *null_worlds(33, 5, 5 * given.worlds, shared=0.2),
        *null_worlds(17, 5, 5 * given.worlds, shared=0.0, automatic=True),
        *null_worlds(17, 5, 5 * given.worlds, shared=0.2, automatic=True),
        "",
        f"## Wider intervals against the choice of the best of many: {2 * given.worlds} worlds "
        "of each of three families",
        "",
        "The intervals in use have the quantile 0.975.",
        "",
        *header(WIDTHS),
        *widths(17, 5, 2 * given.worlds, shared=0.0),
        *widths(17, 5, 2 * given.worlds, shared=0.2),
        "",
        f'## Stopping when sure (`until = "sure"`): {given.worlds} worlds of each family',
        "",
        *header(SURE),
        *sure(17, given.worlds),
        *sure(33, few),
        *sure(100, few),
        *sure(100, few, pruner="none"),
        "",
        f"## Finalists measured again with new folds: {few} worlds of each family",
        "",
        *header(REPEATED),
        *repeated(17, few, replicates=(1, 2, 3, 0), shared=0.0),
        *repeated(33, few, replicates=(1, 2, 0), shared=0.0),
        *repeated(17, few, replicates=(1, 3, 0), shared=0.2),
        "",
        "## Correlation between folds in real tables",
        "",
        *header(("table", "replicates", "paired sd, pp", "correlation of a λ's noise between folds")),
        *real.correlation(),
        "",
        "## Real tables, all fold orders, every replicate",
        "",
        *header(real.COLUMNS),
        *real.real(("wilcoxon", "paired")),
    ]
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    body = "\n".join(text) + "\n"
    if given.out:
        given.out.write_text(body, encoding="utf-8")
    else:
        print(body)


if __name__ == "__main__":
    main()
