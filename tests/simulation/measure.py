"""Make a real score table: ``python -m tests.simulation.measure NAME OUT.json --replicates R --set table.key=value …``.

The table holds 17 λ's of the default range and λ = 0, on all folds of R replicates, columns replicate by replicate.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path

import torch

from lamsearch import preparation
from lamsearch.config import merge, parse_study
from lamsearch.problem import Member, problem
from lamsearch.store.proposals import propose
from lamsearch.training import fit

N_LAMS = 17


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("out", type=Path)
    parser.add_argument("--replicates", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="table.key=value")
    given = parser.parse_args()
    torch.set_num_threads(1)
    pairs = (entry.split("=", 1) for entry in given.set)
    settings = {key: tomllib.loads(f"value = {value}")["value"] for key, value in pairs}
    config = parse_study(merge({"name": given.name}, settings), where="--set")
    data, facts = preparation.facts(config)
    ready = problem(config, data)
    lams = [0.0, *sorted(propose(config.search, position) for position in range(N_LAMS))]
    scores: dict[str, list[float]] = {str(lam): [] for lam in lams}
    for replicate in range(given.replicates):
        for fold in range(config.search.folds):
            for lam in lams:
                result = fit(ready, Member(0, replicate, fold, lam), stop=lambda: False)
                scores[str(lam)].append(round(result.score, 6))
            print(f"{given.name}: replicate {replicate + 1}/{given.replicates}, fold {fold + 1}", flush=True)
    body = {
        "name": given.name,
        "m": facts["m"],
        "k": config.search.folds,
        "replicates": given.replicates,
        "n_images": facts["n_images"],
        "settings": settings,
        "scores": scores,
    }
    given.out.write_text(json.dumps(body) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
