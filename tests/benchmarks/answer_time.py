"""Time to the same answer: `lamsearch run` against the peer, on the same images, folds, epochs and range of λ/m.

    python -m tests.benchmarks.answer_time [--kind fashion] [--n 2500] [--epochs 10] [--seeds 3]

Runs the peer (50 trials × 5 folds), lamsearch with its default number of λ's and lamsearch with 50, in turn for
each seed. Wall-clock times are of the whole command, start-up, refit, test and report included. The engine's
factor (time of a fold fit) and the pruning's (number of fold fits) are reported apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lamsearch import environment
from lamsearch.config import StudyConfig
from tests.benchmarks.common import arrays, save, shown, study, summary


def peer(config: StudyConfig, trials: int) -> dict[str, float]:
    """{seconds, test_acc, fold_fits, lam_over_m}."""
    command = [sys.executable, "-m", "tests.benchmarks.peer", str(arrays(config)), "--trials", str(trials)]
    command += ["--epochs", str(config.training.epochs), "--folds", str(config.search.folds)]
    command += ["--seed", str(config.search.seed), "--threads", str(environment.cores())]
    begun = time.perf_counter()
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {**found, "seconds": time.perf_counter() - begun}


def ours(config: StudyConfig, trials: int | None) -> dict[str, float]:
    """The same of `lamsearch run` in a folder of its own."""
    command = [sys.executable, "-m", "lamsearch", "run", "--epochs", str(config.training.epochs)]
    command += ["--seed", str(config.search.seed), "--set", f"data.source={config.data.source}"]
    command += ["--set", f"data.n={config.data.n}", "--folds", str(config.search.folds), "--out", "out"]
    command += ["--trials", str(trials)] if trials else []
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
        seconds = time.perf_counter() - begun
        answer = json.loads((Path(folder) / "out" / "answer.json").read_text(encoding="utf-8"))
    return {
        "seconds": seconds,
        "test_acc": answer["test"]["accuracy"],
        "fold_fits": answer["budget"]["fold_fits"],
        "trials": answer["budget"]["trials"],
        "lam_over_m": answer["lam_over_m"],
    }


def run(kind: str, *, n: int, epochs: int, seeds: int, trials: int = 50) -> dict[str, Any]:
    """All runs and the ratios between them."""
    runs: dict[str, list[dict[str, float]]] = {"peer": [], "default": [], "same_trials": []}
    for seed in range(seeds):
        config = study(kind, n, epochs=epochs, seed=seed)
        runs["peer"].append(peer(config, trials))
        runs["default"].append(ours(config, None))
        runs["same_trials"].append(ours(config, trials))
        for name, found in runs.items():
            print(f"seed {seed} {name}: {found[-1]}", flush=True)
    ratios: dict[str, Any] = {}
    for name in ("default", "same_trials"):
        pairs = list(zip(runs["peer"], runs[name], strict=True))
        ratios[name] = {
            "times_faster": [theirs["seconds"] / own["seconds"] for theirs, own in pairs],
            "fewer_fold_fits": [theirs["fold_fits"] / own["fold_fits"] for theirs, own in pairs],
            "cheaper_fold_fit": [
                (theirs["seconds"] / theirs["fold_fits"]) / (own["seconds"] / own["fold_fits"]) for theirs, own in pairs
            ],
            "test_acc_minus_peers": [own["test_acc"] - theirs["test_acc"] for theirs, own in pairs],
        }
        for figure, values in ratios[name].items():
            print(f"{name}: {figure.replace('_', ' ')} {shown(values)}")
            ratios[name][figure] = summary(values)
    return {"kind": kind, "n_images": n, "epochs": epochs, "runs": runs, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", default="fashion", choices=["digits", "fashion", "colour"])
    parser.add_argument("--n", type=int, default=2500)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    n = min(options.n, 1400) if options.kind == "digits" else options.n
    result = run(options.kind, n=n, epochs=options.epochs, seeds=options.seeds)
    save(f"answer_time-{options.kind}", **result)


if __name__ == "__main__":
    main()
