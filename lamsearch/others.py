"""The other λ's in words: which of them would do as well as λ̂, and which cannot be ruled out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lamsearch import members
from lamsearch.answer import Answer, CurvePoint, Interval
from lamsearch.numerals import CONFIDENCE, count, lam, span
from lamsearch.records import BASELINE

LISTED = 5
"""Runs that are named one by one."""


def lede(answer: Answer) -> str:
    """The gain over λ = 0, and how sure λ is: what stands below the headline."""
    if answer.gain is None or not answer.matters:  # unknown, or in the headline already
        return how_sure(answer)
    if answer.verdict == "hurts":
        loss = Interval(mean=-answer.gain.mean, low=-answer.gain.high, high=-answer.gain.low)
        return f"λ = 0 is better by {span(answer.metric, loss)} ({CONFIDENCE} interval). {how_sure(answer)}"
    return f"The gain over λ = 0 is {span(answer.metric, answer.gain)} ({CONFIDENCE} interval). {how_sure(answer)}"


def how_sure(answer: Answer) -> str:
    """Which other λ's would do, those measured on all folds first: the range E in words."""
    if not members.learnt(answer) and answer.verdict != "hurts":
        return "Where nothing is learnt, λ's cannot be compared: change the learning rate, or train longer."
    rest = [p for p in answer.curve if p.mean is not None and p.slot not in (BASELINE, answer.slot)]
    whole, few = ([p for p in rest if (p.status == "complete") == done] for done in (True, False))
    zero = f"λ = 0 cannot be told from λ = {lam(answer.lam)} either."
    said = [_whole(answer, whole), _partial(few), _precise(answer, few), _better(rest)]
    return " ".join(filter(None, [*said, zero if members.zero_in_range(answer) else ""]))


def _whole(answer: Answer, rest: Sequence[CurvePoint]) -> str:
    """``rest``: the λ's besides λ̂ that have been measured on all folds."""
    if not members.whole(answer):
        return "No λ > 0 has been measured on all folds yet."
    alike = [point for point in rest if not members.worse(point)]
    if not rest:
        return "No other λ has been measured on all folds."
    well = f"λ = {lam(answer.lam)}" if answer.verdict == "hurts" else "it"
    if len(rest) == 1:
        does = f"cannot be told from {well}" if alike else "does worse"
        return f"The other λ measured on all folds, {lam(rest[0].lam)}, {does} ({CONFIDENCE} confidence)."
    sure = f"({CONFIDENCE} confidence, λ by λ)"
    where = "other λ's measured on all folds"
    two = len(rest) == 2
    if not alike:
        return f"{'Both' if two else f'All {len(rest)}'} {where} do worse {sure}."
    names = listed([point.lam for point in alike])
    if len(alike) > LISTED:
        names = _named(members.runs_of((point.lam, point in alike) for point in rest))
    do = f"cannot be told from {well}: {names} {sure}."
    if len(alike) == len(rest):
        return f"{'Both' if two else f'All {len(rest)}'} {where} {do}"
    return f"Of the {len(rest)} {where}, {len(alike)} {do}"


def _partial(few: Sequence[CurvePoint]) -> str:
    """Those that lack folds, by what became of them."""
    groups: dict[str, list[CurvePoint]] = {"pruned": [], "failed": [], "": []}
    for point in few:
        if point.in_range:
            groups[point.status if point.status in groups else ""].append(point)
    said = []
    for status, points in groups.items():
        if points:
            why = {"pruned": f"dropped after {_folds(points)}", "failed": f"failed after {_folds(points)}"}
            said.append(f"{count(len(points), 'other')}, {why.get(status, 'not finished')},")
    if few and all(members.worse(point) for point in few):
        return (
            f"The {len(few)} without all folds do worse." if len(few) > 1 else "The one without all folds does worse."
        )
    return f"{' and '.join(said)} cannot be ruled out." if said else ""


def _folds(points: Sequence[CurvePoint]) -> str:
    """``1 fold``, ``1–3 folds``."""
    fewest, most = min(point.n_cells for point in points), max(point.n_cells for point in points)
    return count(most, "fold") if fewest == most else f"{fewest}–{most} folds"


def _precise(answer: Answer, few: Sequence[CurvePoint]) -> str:
    """How well λ is pinned down; and the range, if that is more than those measured on all folds."""
    low, high = answer.range_low, answer.range_high
    if low == high:
        return ""
    factor = float(f"{high / low:.2g}")
    if any(point.mean is None for point in answer.curve):  # what has no score may lie between
        return f"In all {spread(answer)}." if any(point.in_range for point in few) else ""
    known = f"they span a factor of {factor:g}" if high <= 100 * low else "this hardly pins λ down"
    if any(point.in_range for point in few):
        return f"In all {spread(answer)}: {known}."
    return f"{known[0].upper()}{known[1:]}."


def _better(rest: Iterable[CurvePoint]) -> str:
    """λ's that scored better than λ̂: they lack folds, or the smoothed curve chose and their neighbours are worse."""
    better = [point for point in rest if members.better(point)]
    few = [f"λ = {lam(p.lam)} ({count(p.n_cells, 'fold')})" for p in better if p.status != "complete"]
    whole = [f"λ = {lam(p.lam)}" for p in better if p.status == "complete"]
    said = [f"{_first(few)} even scored better, but could not be chosen."] if few else []
    said += [f"{_first(whole)} even scored better, which the smoothed curve does not bear out."] if whole else []
    return " ".join(f"By more than the error, {text}" for text in said)


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def spread(answer: Answer) -> str:
    """E above 0 as it lies on the curve, in runs of neighbours: ``0.0528–0.101, 4.80, 120–831``."""
    return _named(members.runs(answer))


def listed(lams: Sequence[float]) -> str:
    """``1.00, 4.80 and 120``."""
    *first, last = map(lam, lams)
    return f"{', '.join(first)} and {last}" if first else last


def _named(runs: Sequence[tuple[float, float]]) -> str:
    if len(runs) > LISTED:
        return f"{lam(runs[0][0])}–{lam(runs[-1][1])} with {len(runs) - 1} gaps"
    return ", ".join(lam(low) if low == high else f"{lam(low)}–{lam(high)}" for low, high in runs)
