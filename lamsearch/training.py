"""Training: the ``Trainer`` protocol, and one call for a fold fit or the refit.

``Problem`` and ``Member`` say what is trained; ``LoopTrainer`` (fast, CPUs), ``ReferenceTrainer`` (plain, the
oracle) and ``fused.FusedTrainer`` (GPUs) are three ways to do it, with the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lamsearch.loop import LoopTrainer
from lamsearch.problem import Interrupted, Member, Problem, problem, whole
from lamsearch.records import BASELINE, EpochScore, FitKey, FoldResult
from lamsearch.reference import ReferenceTrainer
from lamsearch.splits import Indices

__all__ = [
    "Interrupted",
    "LoopTrainer",
    "Member",
    "Problem",
    "ReferenceTrainer",
    "Refit",
    "Trainer",
    "fit",
    "problem",
    "refit",
]

Stop = Callable[[], bool]


class Trainer(Protocol):
    """Trains members in lockstep, epoch by epoch. The same member gets the same result in any company."""

    members: tuple[Member, ...]

    def train_epoch(self) -> Mapping[Member, EpochScore]:
        """One epoch of every live member. A collapsed one keeps the constant predictor's score, untrained."""

    def drop(self, members: Collection[Member]) -> None:
        """Give up some members: they get no further epochs and no result."""

    def result(self, member: Member) -> FoldResult:
        """After the last epoch. The caller adds worker, hardware and executor."""


class TrainerType(Protocol):
    """How trainers are made."""

    def __call__(self, problem: Problem, members: Sequence[Member], *, stop: Stop | None = None) -> Trainer:
        """A trainer whose members have their initial weights."""


@dataclass(frozen=True, kw_only=True)
class Refit:
    """The final model on the test images: accuracy in [0, 1], mean data loss."""

    accuracy: float
    loss: float
    n: int
    collapsed: bool
    seconds: float


def fit(
    problem: Problem, member: Member, *, trainer: TrainerType = LoopTrainer, stop: Stop | None = None
) -> FoldResult:
    """One fold fit, from initial weights to score. Raises Interrupted when ``stop()`` turns true on the way."""
    run = trainer(problem, (member,), stop=stop)
    for _ in range(problem.training.epochs):
        if stop is not None and stop():
            raise Interrupted
        run.train_epoch()
    return run.result(member)


def refit(
    problem: Problem,
    lam_over_m: float,
    train_idx: Indices,
    test_idx: Indices,
    seed: int,
    *,
    trainer: TrainerType = LoopTrainer,
    stop: Stop | None = None,
) -> Refit:
    """Train at one λ on all of ``train_idx`` and score ``test_idx`` by its true labels. Raises Interrupted."""
    member = Member(*FitKey(BASELINE, 0, 0), lam_over_m)
    result = fit(whole(problem, train_idx, test_idx, seed), member, trainer=trainer, stop=stop)
    return Refit(
        accuracy=result.val_acc,
        loss=result.val_loss,
        n=result.n_val,
        collapsed=result.collapsed,
        seconds=result.seconds,
    )
