"""Time to the same answer: `lamsearch run` against the peer, on the same images, folds, epochs and range of λ/m.

    python -m tests.benchmarks.answer_time [--kind fashion] [--n 2500] [--epochs 10] [--seeds 3]

Runs the peer (50 trials × 5 folds), lamsearch with its default number of λ's and lamsearch with 50, in turn for
each seed. Wall-clock times are of the whole command, start-up, refit, test and report included. Three factors make up
how many times faster it is, each reported apart: fewer fold fits (the race, and fewer λ's); cheaper fold fits (the
peer's search time per fit against our fits' own seconds, shared by the workers that run at once); and all else, below 1
where start-up, refit, report and waiting weigh more with us than with the peer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from lamsearch import environment
from lamsearch.config import StudyConfig
from lamsearch.store import Store
from tests.benchmarks.common import arrays, save, study, summary


def peer(config: StudyConfig, trials: int) -> dict[str, float]:
    """{seconds, search_s, test_acc, fold_fits, lam_over_m}."""
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
        store = Store(f"{folder}/lamsearch.db", read_only=True)
        fits = [result.seconds for result in store.results(store.study(answer["study"]).id)]
        store.close()
    return {
        "seconds": seconds,
        "fit_s": fmean(fits),
        "test_acc": answer["test"]["accuracy"],
        "fold_fits": answer["budget"]["fold_fits"],
        "trials": answer["budget"]["trials"],
        "lam_over_m": answer["lam_over_m"],
    }


def run(kind: str, *, n: int, epochs: int, seeds: int, trials: int = 50) -> dict[str, Any]:
    """All runs and the ratios between them."""
    runs: dict[str, list[dict[str, float]]] = {"peer": [], "default": [], "same_trials": []}
    result: dict[str, Any] = {"kind": kind, "n_images": n, "epochs": epochs, "runs": runs}
    for seed in range(seeds):
        config = study(kind, n, epochs=epochs, seed=seed)
        runs["peer"].append(peer(config, trials))
        runs["default"].append(ours(config, None))
        runs["same_trials"].append(ours(config, trials))
        for name, found in runs.items():
            print(f"seed {seed} {name}: {found[-1]}", flush=True)
        result["ratios"] = {name: _ratios(runs["peer"], runs[name]) for name in ("default", "same_trials")}
        save(f"answer_time-{kind}", **result)  # after each seed: a run of hours that is cut short has told something
    return result


def _ratios(peers: list[dict[str, float]], owns: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    found: dict[str, list[float]] = {}
    for peer, own in zip(peers, owns, strict=True):
        times = peer["seconds"] / own["seconds"]
        fewer = peer["fold_fits"] / own["fold_fits"]
        cheaper = peer["search_s"] / peer["fold_fits"] / (own["fit_s"] / environment.cores())
        for name, value in {
            "times_faster": times,
            "fewer_fold_fits": fewer,
            "cheaper_fold_fit": cheaper,
            "all_else": times / (fewer * cheaper),
            "test_acc_minus_peers": own["test_acc"] - peer["test_acc"],
        }.items():
            found.setdefault(name, []).append(value)
    return {name: summary(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", default="fashion", choices=["digits", "fashion", "colour"])
    parser.add_argument("--n", type=int, default=2500)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    n = min(options.n, 1400) if options.kind == "digits" else options.n
    for name, ratios in run(options.kind, n=n, epochs=options.epochs, seeds=options.seeds)["ratios"].items():
        for figure, value in ratios.items():
            spread = f"[{value['min']:.3g} … {value['max']:.3g}], n = {value['n']}"
            print(f"{name}: {figure.replace('_', ' ')} {value['median']:.3g} {spread}")


if __name__ == "__main__":
    main()
