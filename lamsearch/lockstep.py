"""A whole trial under an epoch pruner: all its folds advance together, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import fmean

from lamsearch.problem import Member, Problem
from lamsearch.records import EpochScore, FoldResult, Stopped
from lamsearch.training import LoopTrainer

Judge = Callable[[int, float], str | None]
"""(epochs done, mean score over the folds) → the reason to prune, or None to go on."""


def train(
    problem: Problem, members: Sequence[Member], judge: Judge, *, stop: Callable[[], bool]
) -> tuple[FoldResult, ...] | Stopped:
    """The results of all folds, or why and when the pruner ended them. Raises Interrupted."""
    trainer = LoopTrainer(problem, members, stop=stop)
    for epoch in range(problem.training.epochs):
        scores = trainer.train_epoch()
        mean = fmean(score_of(scores[member], problem.metric) for member in trainer.members)
        reason = judge(epoch + 1, mean)
        if reason is not None and epoch + 1 < problem.training.epochs:
            return Stopped(reason=reason, epochs=epoch + 1, seconds=trainer.seconds, started_at=trainer.started_at)
    return tuple(_in_turn(trainer.result(member) for member in trainer.members))


def _in_turn(results: Iterable[FoldResult]) -> Iterator[FoldResult]:
    """Started one after the other, as their time adds up: the epochs of the folds took turns on one processor."""
    before = 0.0
    for result in results:
        yield replace(result, started_at=result.started_at + before)
        before += result.seconds


def score_of(epoch: EpochScore, metric: str) -> float:
    """One member's validation score after an epoch; higher is better."""
    return epoch.val_acc if metric == "accuracy" else -epoch.val_loss
