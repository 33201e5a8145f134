"""What has to be known besides an answer's numbers: what was not measured, failed or did not learn."""

from __future__ import annotations

from lamsearch.answer import CurvePoint, Interval
from lamsearch.curve import Case
from lamsearch.numerals import count
from lamsearch.records import BASELINE


def notes(case: Case, points: tuple[CurvePoint, ...], gain: Interval | None) -> tuple[str, ...]:
    """Notes on a case, most important first. ``points``: its curve."""
    return (*_collapsed(points, case.rows[case.chosen].slot, gain), *_unmeasured(case, gain))


def _collapsed(points: tuple[CurvePoint, ...], chosen: int, gain: Interval | None) -> list[str]:
    found = {point.slot: point for point in points if point.collapsed}
    said = []
    if (best := found.get(chosen)) is not None:
        zero = found.get(BASELINE)
        learns = zero is None and gain is not None and best.collapsed == best.n_cells
        what = "λ is too strong there, for λ = 0 learns" if learns else "try a lower learning rate, or more epochs"
        said.append(f"Training collapsed {_share(best)} at the chosen λ: {what}.")
    if (zero := found.get(BASELINE)) is not None:
        learnt = "did not learn" if zero.collapsed == zero.n_cells else "did not learn there"
        said.append(f"Training collapsed {_share(zero)} at λ = 0: the gain is over networks that {learnt}.")
    return said


def _share(point: CurvePoint) -> str:
    """How many of a λ's folds collapsed."""
    if point.n_cells == 1:
        return "on the only fold measured"
    return f"on {'all' if point.collapsed == point.n_cells else f'{point.collapsed} of'} {point.n_cells} folds"


def _unmeasured(case: Case, gain: Interval | None) -> list[str]:
    said = []
    if not case.grid.complete[case.chosen]:
        said.append("No λ has all its folds yet: the choice rests on a smoothed curve through partial folds.")
    if gain is None:
        failed = next((row.failed for row in case.rows if row.slot == BASELINE), None)
        said.append(f"λ = 0 has no score{f' ({failed})' if failed else ' yet'}, so no gain can be stated.")
    search = [(row, whole) for row, whole in zip(case.rows, case.grid.complete, strict=True) if row.slot != BASELINE]
    if lost := sum(row.failed is not None and not whole for row, whole in search):
        said.append(f"{lost} of {count(len(search), 'λ')} failed and cannot be chosen.")
    if stopped := sum(row.stopped is not None for row, _ in search):
        share = f"{stopped} of {count(len(search), 'λ')} {'was' if stopped == 1 else 'were'}"
        said.append(
            f"{share} stopped between epochs, without a fold score: {'it' if stopped == 1 else 'they'} may be as good."
        )
    return said
