"""How the cost grows: with images, epochs, λ's, folds and workers; and what memory a worker takes.

    python -m tests.benchmarks.scaling [--rounds 3] [--only workers images]

Each row is `lamsearch run` on Fashion-MNIST, one setting away from the base (500 images, 1 epoch, 8 λ's, no
pruning, one worker), so its time includes start-up, refit and report. The row "workers" runs fold fits alone,
without a store, in one and in two processes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from lamsearch import environment
from lamsearch.bench import sgemm_peak
from tests.benchmarks.common import LIMIT_S, save, shown, study, summary
from tests.benchmarks.fit_cost import busy

BASE = {"n": 500, "epochs": 1, "trials": 8, "folds": 3, "workers": 1}
ROWS = {
    "images": [{"n": 500}, {"n": 1000}, {"n": 2000}],
    "epochs": [{"epochs": 1}, {"epochs": 2}, {"epochs": 4}],
    "trials": [{"trials": 8}, {"trials": 16}, {"trials": 32}],
    "folds": [{"folds": 3}, {"folds": 6}],
}


def run_once(setting: dict[str, int]) -> dict[str, float]:
    """Seconds and fold fits of one run, and the largest resident memory of a worker in MiB."""
    merged = BASE | setting
    command = [sys.executable, "-m", "lamsearch", "run", "fashion-mnist", "--out", "out", "--pruner", "none"]
    for flag in ("epochs", "trials", "folds", "workers"):
        command += [f"--{flag}", str(merged[flag])]
    command += ["--set", f"data.n={merged['n']}"]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        memory = _watch(process)
        seconds = time.perf_counter() - begun
        answer = json.loads((Path(folder) / "out" / "answer.json").read_text(encoding="utf-8"))
    return {"seconds": seconds, "fold_fits": answer["budget"]["fold_fits"], **memory}


def _watch(process: subprocess.Popen[bytes]) -> dict[str, float]:
    """Largest resident (rss) and unshared (uss) memory of any child, in MiB."""
    peak = {"worker_rss_mib": 0.0, "worker_uss_mib": 0.0}
    parent = psutil.Process(process.pid)
    while process.poll() is None:
        for child in parent.children(recursive=True):
            try:
                full = child.memory_full_info()
            except psutil.Error:
                continue
            peak["worker_rss_mib"] = max(peak["worker_rss_mib"], full.rss / 2**20)
            peak["worker_uss_mib"] = max(peak["worker_uss_mib"], full.uss / 2**20)
        time.sleep(0.2)
    return peak


def speed_up(rounds: int) -> dict[str, Any]:
    """Fold fits per second of as many processes as there are cores, over those of one; and the machine's own limit.

    That is the same ratio for processes which multiply matrices in their caches and share nothing at all.
    """
    config, cores = study("fashion", 1000, epochs=2), environment.cores()
    ratios, limits = [], []
    for _ in range(rounds):
        alone, together = busy(config, 4, 1), busy(config, 4, cores)
        ratios.append(alone / together)
        limits.append(_peaks(cores) / _peaks(1))
    print(f"workers: {cores} do {shown(ratios)} times the work of one; of SGEMM alone {shown(limits)} times")
    return {"cores": cores, "times": summary(ratios), "sgemm_times": summary(limits)}


def _peaks(n: int) -> float:
    """SGEMM operations per second of ``n`` processes together, each on one thread."""
    context = get_context("spawn")
    barrier, queue = context.Barrier(n), context.Queue()
    workers = [context.Process(target=_multiply, args=(barrier, queue)) for _ in range(n)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=LIMIT_S) for _ in workers]
    for worker in workers:
        worker.join()
    return float(sum(found))


def _multiply(barrier: Any, queue: Any) -> None:
    torch.set_num_threads(1)
    barrier.wait()
    queue.put(median(sgemm_peak(torch.device("cpu")) for _ in range(5)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=["workers", *ROWS])
    options = parser.parse_args()
    result: dict[str, Any] = {}
    for name in options.only:
        if name == "workers":
            result[name] = speed_up(options.rounds)
            continue
        result[name] = []
        for setting in ROWS[name]:
            runs = [run_once(setting) for _ in range(options.rounds)]
            seconds = [found["seconds"] for found in runs]
            memory = median(found["worker_rss_mib"] for found in runs)
            own = median(found["worker_uss_mib"] for found in runs)
            print(f"{name} {setting}: {shown(seconds, ' s')}, worker {memory:.0f} MiB ({own:.0f} its own)", flush=True)
            result[name].append({**setting, "seconds": summary(seconds), "rss_mib": memory, "uss_mib": own})
    save("scaling", base=BASE, pid=os.getpid(), **result)


if __name__ == "__main__":
    main()
