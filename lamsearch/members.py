"""The λ's of an answer by what is known of them: measured, chosen from, in E, worse."""

from __future__ import annotations

from collections.abc import Iterable

from lamsearch.answer import Answer, CurvePoint
from lamsearch.records import BASELINE


def chosen(answer: Answer) -> CurvePoint | None:
    """λ̂ on the curve."""
    return next((point for point in answer.curve if point.slot == answer.slot), None)


def whole(answer: Answer) -> bool:
    """True if λ̂ has been measured on all folds."""
    best = chosen(answer)
    return best is not None and best.status == "complete"


def learnt(answer: Answer) -> bool:
    """False if λ̂ is not shown to be better than chance, or training collapsed on every fold of it."""
    return answer.above_chance and not collapsed(answer)


def collapsed(answer: Answer) -> bool:
    """True if training collapsed on every fold of λ̂."""
    best = chosen(answer)
    return best is not None and 0 < best.n_cells == best.collapsed


def zero_in_range(answer: Answer) -> bool:
    """True if λ = 0 cannot be told from λ̂."""
    return any(point.in_range for point in answer.curve if point.slot == BASELINE)


def better(point: CurvePoint) -> bool:
    """True if a λ can be told to be better than λ̂: λ = 0, or one that could not be chosen."""
    return point.difference_low is not None and point.difference_low > 0


def worse(point: CurvePoint) -> bool:
    """True if a λ can be told to be worse than λ̂."""
    return point.difference_high is not None and point.difference_high < 0


def runs(answer: Answer) -> list[tuple[float, float]]:
    """E as it lies on the curve: the ends of each run of neighbouring λ's > 0 that cannot be told from λ̂."""
    shown = [point for point in answer.curve if point.slot != BASELINE and point.mean is not None]
    return runs_of((point.lam, point.in_range or point.slot == answer.slot) for point in shown)


def runs_of(places: Iterable[tuple[float, bool]]) -> list[tuple[float, float]]:
    """The ends of each run of neighbours that are inside, of (λ, inside) in any order."""
    found: list[tuple[float, float]] = []
    before = False
    for lam, inside in sorted(places):
        if inside:
            found.append((found.pop()[0] if before else lam, lam))
        before = inside
    return found


def harmful(answer: Answer) -> bool:
    """True if a λ above λ̂ was measured, and can be told to be worse."""
    return any(point.lam > answer.lam and worse(point) for point in answer.curve)


def measured(answer: Answer) -> int:
    """λ's > 0 that were measured on all folds: those that could be chosen."""
    return sum(point.status == "complete" and point.slot != BASELINE for point in answer.curve)
