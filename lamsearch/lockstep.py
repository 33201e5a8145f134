"""A whole trial under an epoch pruner: all its folds advance together, epoch by epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import fmean

from lamsearch.problem import Member, Problem
from lamsearch.records import EpochScore, FoldResult, Stopped
from lamsearch.training import LoopTrainer, TrainerType

Judge = Callable[[int, float], str | None]
"""(epochs done, mean score over the folds) → the reason to prune, or None to go on."""


def train(
    problem: Problem,
    members: Sequence[Member],
    judge: Judge,
    *,
    stop: Callable[[], bool],
    trainer: TrainerType = LoopTrainer,
) -> tuple[FoldResult, ...] | Stopped:
    """The results of all folds, or why and when the pruner ended them. Raises Interrupted."""
    started_at, begun = time.time(), time.perf_counter()
    run = trainer(problem, members, stop=stop)
    for epoch in range(problem.training.epochs):
        scores = run.train_epoch()
        mean = fmean(score_of(scores[member], problem.metric) for member in run.members)
        reason = judge(epoch + 1, mean)
        if reason is not None and epoch + 1 < problem.training.epochs:
            seconds = time.perf_counter() - begun
            return Stopped(reason=reason, epochs=epoch + 1, seconds=seconds, started_at=started_at)
    return tuple(_in_turn(run.result(member) for member in run.members))


def _in_turn(results: Iterable[FoldResult]) -> Iterator[FoldResult]:
    """Started one after the other, as their time adds up: the epochs of the folds took turns on one processor."""
    before = 0.0
    for result in results:
        yield replace(result, started_at=result.started_at + before)
        before += result.seconds


def score_of(epoch: EpochScore, metric: str) -> float:
    """One member's validation score after an epoch; higher is better."""
    return epoch.val_acc if metric == "accuracy" else -epoch.val_loss
