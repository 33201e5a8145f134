"""Cost of a fold fit: lamsearch against the peer on the same cores, in turn; and its share of the SGEMM peak.

    python -m tests.benchmarks.fit_cost [--kinds digits fashion colour] [--n 2500] [--epochs 2] [--rounds 5]

Both sides keep all cores busy: the peer as one process with a thread per core, lamsearch as it runs, one process
per core with one thread. Reported is the time of all cores together per fold fit; every round runs both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from multiprocessing import get_context
from typing import Any

import torch

from lamsearch import datasets, environment
from lamsearch.bench import sgemm_peak, step_flops
from lamsearch.candidates import Candidate, measure
from lamsearch.config import StudyConfig
from lamsearch.executor import LOOP
from lamsearch.training import Member, fit, problem
from tests.benchmarks.common import LIMIT_S, arrays, save, shown, study, summary


def busy(config: StudyConfig, fits: int, n: int) -> float:
    """Seconds per fold fit of ``n`` processes with one thread each, all of them busy."""
    context = get_context("spawn")
    barrier, queue = context.Barrier(n), context.Queue()
    workers = [context.Process(target=_worker, args=(config, fits, barrier, queue)) for _ in range(n)]
    for worker in workers:
        worker.start()
    seconds = [queue.get(timeout=LIMIT_S) for _ in workers]
    for worker in workers:
        worker.join()
    return max(seconds) / (n * fits)


def _worker(config: StudyConfig, fits: int, barrier: Any, queue: Any) -> None:
    torch.set_num_threads(1)
    ready = problem(config, datasets.load(config.data, seed=0))
    fit(ready, Member(0, 0, 0, 1e-3))
    barrier.wait()
    begun = time.perf_counter()
    for number in range(fits):
        fit(ready, Member(number, 0, number % config.search.folds, 1e-3))
    queue.put(time.perf_counter() - begun)


def peers(config: StudyConfig, fits: int) -> float:
    """Seconds per fold fit of the peer with a thread per core."""
    command = [sys.executable, "-m", "tests.benchmarks.peer", str(arrays(config)), "--fits", str(fits)]
    command += ["--epochs", str(config.training.epochs), "--threads", str(environment.cores())]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds: list[float] = json.loads(done.stdout)["seconds"]
    return sum(seconds) / len(seconds)


def share_of_peak(config: StudyConfig, rounds: int) -> dict[str, list[float]]:
    """The loop's step against the SGEMM peak of the same core in the same moment, one thread, in turn."""
    torch.set_num_threads(1)
    ready = problem(config, datasets.load(config.data, seed=0))
    layers = ready.layers or ()
    found: dict[str, list[float]] = {"ms_per_step": [], "peak_gflops": [], "nominal": [], "needed": []}
    for _ in range(rounds):
        timing = measure(ready, Candidate(trainer=LOOP.trainer, members=1), seconds=1.0)
        peak = sgemm_peak(torch.device("cpu"))
        assert timing is not None
        seconds = timing.ms_per_model_step / 1000
        found["ms_per_step"].append(timing.ms_per_model_step)
        found["peak_gflops"].append(peak / 1e9)
        found["nominal"].append(step_flops(layers, ready.shape, ready.training.batch) / seconds / peak)
        found["needed"].append(step_flops(layers, ready.seen, ready.training.batch) / seconds / peak)
    return found


def run(kinds: list[str], *, n: int, epochs: int, rounds: int, fits: int = 1) -> dict[str, Any]:
    """All figures, per kind of images."""
    result: dict[str, Any] = {}
    for kind in kinds:
        config = study(kind, min(n, 1400) if kind == "digits" else n, epochs=epochs)
        share = share_of_peak(config, rounds)
        pairs = [(peers(config, fits), busy(config, fits, environment.cores())) for _ in range(rounds)]
        ratios = [peer / own for peer, own in pairs]
        result[kind] = {
            "n_images": config.data.n,
            "epochs": epochs,
            "peer_s": summary([peer for peer, _ in pairs]),
            "ours_s": summary([own for _, own in pairs]),
            "times_cheaper": summary(ratios),
            **{name: summary(values) for name, values in share.items()},
        }
        print(f"{kind}: fold fit {shown([peer for peer, _ in pairs], ' s')} by the peer")
        print(f"{kind}: fold fit {shown([own for _, own in pairs], ' s')} by lamsearch, {shown(ratios)} times cheaper")
        print(f"{kind}: step of 32 images {shown(share['ms_per_step'], ' ms')} on one core")
        print(f"{kind}: share of SGEMM peak {shown(share['needed'])} (nominal work: {shown(share['nominal'])})")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=["digits", "fashion", "colour"])
    parser.add_argument("--n", type=int, default=2500)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    result = run(options.kinds, n=options.n, epochs=options.epochs, rounds=options.rounds)
    save("fit_cost", **result)


if __name__ == "__main__":
    main()
