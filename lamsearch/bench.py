"""``lamsearch bench``: the trainers timed on this machine, against its own matrix-product peak."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from lamsearch import environment, executor
from lamsearch.architecture import Layer
from lamsearch.candidates import Candidate, Timing, batch_of, measure, synchronise
from lamsearch.config import StudyConfig
from lamsearch.datasets import load
from lamsearch.model import Shape
from lamsearch.problem import Problem

CANDIDATES = (
    Candidate(trainer="reference", members=1),
    Candidate(trainer="loop", members=1),
    *(Candidate(trainer="fused", members=count) for count in (1, 4, 16, 64)),
)
"""On a CPU without the largest, which loses there and takes long."""
GROWTH = "memory is what the process grew by: on a CPU a trainer uses again what those above it have left"
TF32 = "convolutions may use TF32, the SGEMM peak does not: a share may be above 100 %"
PEAK_SIZES = {"cpu": (768, 1024, 1536), "cuda": (2048, 4096, 8192), "mps": (1024, 2048, 4096)}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trainer. ``gflops`` and ``of_peak`` count the work that the outputs depend on (``needed_flops``).

    They are None for a user's model, whose work is not known.
    """

    trainer: str
    ms_per_model_step: float
    ms_worst: float
    n: int
    model_steps_per_second: float
    fits_per_hour: float
    gflops: float | None
    of_peak: float | None
    memory_mib: float


@dataclass(frozen=True, kw_only=True)
class Bench:
    """All rows for one device, study and batch. ``flops``: of one training step of one model, needed and nominal."""

    study: str
    device: str
    hardware: str
    versions: dict[str, str]
    shape: Shape
    batch: int
    tf32: bool
    threads: int
    peak_gflops: float
    needed_flops: float
    nominal_flops: float
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """As a table for the terminal."""
        table = [
            f"{'trainer':<14}{'ms/model-step':>14}{'worst':>9}{'models/s':>10}{'fits/hour':>11}{'of peak':>9}  memory"
        ]
        for row in self.rows:
            times = f"{row.ms_per_model_step:>14.3f}{row.ms_worst:>9.3f}{row.model_steps_per_second:>10.0f}"
            share = "–" if row.of_peak is None else f"{row.of_peak:.0%}"
            rest = f"{row.fits_per_hour:>11.0f}{share:>9}{row.memory_mib:>5.0f} MiB"
            table.append(f"{row.trainer:<14}{times}{rest}")
        return [
            f"{self.study}: {'×'.join(map(str, self.shape))} images, batch {self.batch}, on {self.hardware}",
            f"torch {self.versions['torch']}, {self.threads} thread(s), SGEMM peak {self.peak_gflops:.0f} GFLOP/s",
            *table,
            *([GROWTH] if self.device == "cpu" else [TF32] if self.tf32 else []),
        ]


def bench(config: StudyConfig, device_name: str = "auto", *, seconds: float = 1.0) -> Bench:
    """Time every trainer on the study's images. "models/s" are steps of single models per second. Raises InputError."""
    device = executor.devices(device_name)[0]
    if device.type == "cpu":
        torch.set_num_threads(1)  # as a worker runs: one process per core
    data = executor.resident(load(config.data, seed=config.search.seed), device)
    problem = executor.place(config, data, device)
    peak = sgemm_peak(device)
    tried = CANDIDATES[:-1] if device.type == "cpu" else CANDIDATES
    timings = [timing for candidate in tried if (timing := measure(problem, candidate, seconds=seconds))]
    layers = problem.layers or ()
    batch = batch_of(problem)
    flops = step_flops(layers, problem.seen, batch) if layers else 0.0
    return Bench(
        study=config.name,
        device=str(device),
        hardware=executor.name_of(device),
        versions=environment.versions(),
        shape=problem.shape,
        batch=batch,
        tf32=device.type == "cuda" and torch.backends.cudnn.allow_tf32,
        threads=torch.get_num_threads(),
        peak_gflops=peak / 1e9,
        needed_flops=flops,
        nominal_flops=step_flops(layers, problem.shape, batch) if layers else 0.0,
        rows=tuple(_row(timing, problem, flops, peak) for timing in timings),
    )


def _row(timing: Timing, problem: Problem, flops: float, peak: float) -> Row:
    n_train = len(problem.search) * (problem.n_folds - 1) / problem.n_folds
    steps = -(-n_train // batch_of(problem)) * problem.training.epochs
    rate = flops / (timing.ms_per_model_step / 1000)
    return Row(
        trainer=str(timing.candidate),
        ms_per_model_step=timing.ms_per_model_step,
        ms_worst=timing.ms_worst,
        n=timing.n,
        model_steps_per_second=timing.model_steps_per_second,
        fits_per_hour=3600 * timing.model_steps_per_second / steps,
        gflops=rate / 1e9 if flops else None,
        of_peak=rate / peak if flops else None,
        memory_mib=timing.memory_bytes / 2**20,
    )


def step_flops(layers: tuple[Layer, ...], shape: Shape, batch: int) -> float:
    """Floating-point operations of one training step: a multiplication and an addition per weight and position,
    forward, for the weights' gradient and (all layers but the first) for the inputs' gradient. Convolutions and
    dense layers only. With ``model.seen(...)`` as the shape: the work that the outputs depend on."""
    _, rows, columns = shape
    total = 0.0
    for number, layer in enumerate(layers):
        positions = 1
        if layer.kind == "conv":
            rows, columns = rows - layer.kernel + 1, columns - layer.kernel + 1
            positions = rows * columns
            if layer.pool:
                rows, columns = rows // 2, columns // 2
        per_pass = 2.0 * positions * layer.n_in * layer.n_out * max(layer.kernel, 1) ** 2
        total += per_pass * (2 if number == 0 else 3)
    return total * batch


def sgemm_peak(device: torch.device) -> float:
    """FLOP/s of the best square float32 matrix product, as this process runs (threads, TF32 setting)."""
    best = 0.0
    for size in PEAK_SIZES.get(device.type, PEAK_SIZES["cpu"]):
        left, right = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
        out = torch.empty(size, size, device=device)
        seconds = _fastest(partial(torch.mm, left, right, out=out), device)
        best = max(best, 2.0 * size**3 / seconds)
    return best


def _fastest(work: Callable[[], object], device: torch.device, repeats: int = 8) -> float:
    times = []
    for _ in range(repeats):
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return min(times)
