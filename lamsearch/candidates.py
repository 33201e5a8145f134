"""Timing trainers on a device: a moment of real training on a cut of the study's own images."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch

from lamsearch.errors import InputError
from lamsearch.fused import FusedTrainer
from lamsearch.loop import LoopTrainer
from lamsearch.problem import Member, Problem
from lamsearch.reference import ReferenceTrainer
from lamsearch.training import TrainerType

Name = Literal["loop", "fused", "reference"]
TRAINERS: dict[str, TrainerType] = {"loop": LoopTrainer, "fused": FusedTrainer, "reference": ReferenceTrainer}
STEPS, IMAGES = 16, 4096
"""Steps of one timed epoch, and about how many images they may have together: fewer steps of large batches."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A trainer with so many members at once."""

    trainer: Name
    members: int

    def __str__(self) -> str:
        return self.trainer if self.members == 1 else f"{self.trainer} × {self.members}"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Milliseconds per step and model (lower is better), its spread over repeats, bytes of memory taken."""

    candidate: Candidate
    ms_per_model_step: float
    ms_worst: float
    n: int
    memory_bytes: int

    @property
    def model_steps_per_second(self) -> float:
        """Steps of single models per second."""
        return 1000 / self.ms_per_model_step


def out_of_memory(error: BaseException) -> bool:
    """True for CUDA's, MPS's and the CPU's own ways of saying so."""
    said = str(error).lower()
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "out of memory" in said or "can't allocate memory" in said


def measure(problem: Problem, candidate: Candidate, *, seconds: float = 0.5) -> Timing | None:
    """Train for about ``seconds`` after a warm-up; None if memory does not suffice or the model cannot be stacked."""
    cut, steps = _cut(problem)
    members = [Member(slot, 0, 0, 1e-4) for slot in range(candidate.members)]
    _free(problem.device)
    before = _memory(problem.device, peak=False)
    try:
        trainer = TRAINERS[candidate.trainer](cut, members)
        times = _timed(trainer.train_epoch, problem.device, seconds)
        taken = _memory(problem.device, peak=True) - before
    except InputError:
        if candidate.trainer != "fused":
            raise
        return None
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return None
    finally:
        _free(problem.device)
    scale = 1000 / (steps * candidate.members)
    return Timing(
        candidate=candidate,
        ms_per_model_step=sorted(times)[len(times) // 2] * scale,
        ms_worst=max(times) * scale,
        n=len(times),
        memory_bytes=max(taken, 0),
    )


def batch_of(problem: Problem) -> int:
    """Images of one step: all that a fold trains on for gradient descent, and never more than these."""
    n_train = len(problem.search) * (problem.n_folds - 1) // problem.n_folds
    return n_train if problem.training.optimiser == "gd" else min(problem.training.batch, n_train)


def _cut(problem: Problem) -> tuple[Problem, int]:
    """The problem on so few images that an epoch has a few full batches, and next to no validation; and how many.

    Images are repeated where there are too few.
    """
    batch = batch_of(problem)
    steps = 1 if problem.training.optimiser == "gd" else max(1, min(STEPS, IMAGES // batch))
    n_folds = min(max(problem.n_folds, 50), steps * batch + 1)
    wanted = -(-steps * batch * n_folds // (n_folds - 1))
    repeated = problem.search.repeat(-(-wanted // len(problem.search)))[:wanted]
    training = problem.training.model_copy(update={"batch": batch, "epochs": 10_000})
    return replace(problem, search=repeated, n_folds=n_folds, training=training), steps


def _timed(epoch: Callable[[], object], device: torch.device, seconds: float) -> list[float]:
    for _ in range(2):  # kernels are chosen, graphs captured, memory taken
        epoch()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        epoch()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return times


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _memory(device: torch.device, *, peak: bool) -> int:
    """Bytes in use: on CUDA now, or at most since ``_free``; of this process on a CPU (0 where that is not known)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) if peak else torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    if not sys.platform.startswith("linux"):
        return 0
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "mps":
        torch.mps.empty_cache()
