"""A whole trial under an epoch pruner: all its folds advance together, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from lamsearch.problem import Member, Problem
from lamsearch.records import EpochScore, FoldResult
from lamsearch.training import LoopTrainer

Judge = Callable[[int, float], str | None]
"""(epochs done, mean score over the folds) → the reason to prune, or None to go on."""


def train(
    problem: Problem, members: Sequence[Member], judge: Judge, *, stop: Callable[[], bool]
) -> tuple[FoldResult, ...] | str:
    """The results of all folds, or the pruner's reason. Raises Interrupted."""
    trainer = LoopTrainer(problem, members, stop=stop)
    for epoch in range(problem.training.epochs):
        scores = trainer.train_epoch()
        mean = fmean(score_of(scores[member], problem.metric) for member in trainer.members)
        reason = judge(epoch + 1, mean)
        if reason is not None and epoch + 1 < problem.training.epochs:
            return reason
    return tuple(trainer.result(member) for member in trainer.members)


def score_of(epoch: EpochScore, metric: str) -> float:
    """One member's validation score after an epoch; higher is better."""
    return epoch.val_acc if metric == "accuracy" else -epoch.val_loss
