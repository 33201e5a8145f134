"""Plain averages over the folds of each λ: the only arithmetic that a report does by itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lamsearch.records import EpochScore, FoldResult


@dataclass(frozen=True, kw_only=True)
class Averages:
    """The evidence of one λ. ``n`` fold fits, ``collapsed`` of them; ``seconds`` is their sum, the rest are means."""

    lam_over_m: float
    n: int
    collapsed: int
    train_acc: float
    val_acc: float
    train_loss: float
    val_loss: float
    weight_norm: float
    near_zero: float
    seconds: float
    grad_norms: dict[str, float]
    epochs: tuple[EpochScore, ...]
    results: tuple[FoldResult, ...] = ()

    def score(self, metric: str, *, training: bool) -> float:
        """Training or validation score, higher is better."""
        if metric == "accuracy":
            return self.train_acc if training else self.val_acc
        return -(self.train_loss if training else self.val_loss)

    def gap(self, metric: str) -> float:
        """Training minus validation score of the same networks: above zero where they overfit."""
        return self.score(metric, training=True) - self.score(metric, training=False)


def by_slot(results: Iterable[FoldResult]) -> dict[int, Averages]:
    """Slot → averages over its finished fold fits, slots rising."""
    groups: dict[int, list[FoldResult]] = defaultdict(list)
    for result in results:
        groups[result.key.slot].append(result)
    return {slot: _average(group) for slot, group in sorted(groups.items())}


def on_folds_of(row: Averages, other: Averages) -> Averages | None:
    """``row`` averaged over the folds that ``other`` has too; None if there is none.

    A mean over one fold and a mean over five differ by what is easy about that fold.
    """
    cells = {result.key.cell for result in other.results}
    common = [result for result in row.results if result.key.cell in cells]
    return row if len(common) == len(row.results) else _average(common) if common else None


def _average(group: Sequence[FoldResult]) -> Averages:
    layers = list(group[0].grad_norms)
    shortest = min(len(result.epochs) for result in group)
    return Averages(
        lam_over_m=group[0].lam_over_m,
        n=len(group),
        collapsed=sum(result.collapsed for result in group),
        train_acc=_mean([result.train_acc for result in group]),
        val_acc=_mean([result.val_acc for result in group]),
        train_loss=_mean([result.train_loss for result in group]),
        val_loss=_mean([result.val_loss for result in group]),
        weight_norm=_mean([result.weight_norm for result in group]),
        near_zero=_mean([result.near_zero for result in group]),
        seconds=sum(result.seconds for result in group),
        grad_norms={name: _mean([result.grad_norms.get(name, 0.0) for result in group]) for name in layers},
        epochs=tuple(_epoch([result.epochs[index] for result in group]) for index in range(shortest)),
        results=tuple(group),
    )


def _epoch(scores: Sequence[EpochScore]) -> EpochScore:
    return EpochScore(
        epoch=scores[0].epoch,
        train_loss=_mean([score.train_loss for score in scores]),
        train_acc=_mean([score.train_acc for score in scores]),
        val_loss=_mean([score.val_loss for score in scores]),
        val_acc=_mean([score.val_acc for score in scores]),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
