"""What became of one λ, in words: see ``wording``."""

from __future__ import annotations

from lamsearch import members
from lamsearch.answer import Answer, CurvePoint
from lamsearch.numerals import count, lam, size
from lamsearch.records import BASELINE, Parked


def parked(metric: str, why: Parked, rival: str) -> str:
    """When a λ was dropped, and behind whom or why. ``rival``: how to name the λ that it lost to."""
    text = f"dropped after {count(why.after, 'fold')}" if why.after else "dropped"
    if why.rival is not None and why.margin is not None:
        return f"{text}, {size(metric, why.margin)} behind {rival} {why.basis}".rstrip()
    return f"{text}: {why.reason}" if why.reason else text


def lacking(answer: Answer) -> str:
    """What became of the scored λ's > 0 that lack folds: ``dropped early or failed``; empty if there is none."""
    names = {"pruned": "dropped early", "failed": "failed"}
    short = [p for p in answer.curve if p.slot != BASELINE and p.mean is not None and p.status != "complete"]
    there = {names.get(point.status, "not finished") for point in short}
    return " or ".join(sorted(there))


def differs(answer: Answer, point: CurvePoint) -> str:
    """Whether one λ can be told from λ̂: ``no``, ``worse``, ``better``, or a dash for λ̂ itself and what has no score."""
    if point.slot == answer.slot or point.difference_low is None:
        return "–"
    return "no" if point.in_range else "better" if members.better(point) else "worse"


def fate(answer: Answer, point: CurvePoint) -> str:
    """What became of one λ, and on how many folds its training collapsed."""
    fallen = f"; collapsed on {point.collapsed} of {count(point.n_cells, 'fold')}" if point.collapsed else ""
    return _fate(answer, point) + fallen


def _fate(answer: Answer, point: CurvePoint) -> str:
    if point.failed is not None:
        return f"failed: {point.failed}"
    if point.parked is not None and point.status == "pruned":
        rival = next((p for p in answer.curve if p.slot == point.parked.rival), None)
        return parked(answer.metric, point.parked, f"λ = {lam(rival.lam)}" if rival else "the best")
    return f"{point.status} ({count(point.n_cells, 'fold')})"
