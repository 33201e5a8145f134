"""The tables of a report: every λ that was tried, and every fold score, on the page and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from io import StringIO

from lamsearch import fates, numerals, wording
from lamsearch.answer import Answer, CurvePoint
from lamsearch.records import BASELINE, FoldResult
from lamsearch.report.averages import Averages
from lamsearch.report.markup import Markup, el, joined

COLUMNS = ("λ", "trial", "λ/m", "folds", "score", "to λ̂", "95 % interval", "differs", "time")
DIFFERS = ("better", "no", "worse")
Trials = Mapping[int, int]
"""Slot → Optuna's trial number."""


def trials(answer: Answer, averages: Mapping[int, Averages], numbers: Trials) -> Markup:
    """One row per λ, rising; sortable where scripts run."""
    head = el(
        "tr",
        *(el("th", label, scope="col") for label in COLUMNS),
        el("th", "what became of it", scope="col", class_="words"),
    )
    rows = [
        _trial(answer, point, averages.get(point.slot), numbers)
        for point in sorted(answer.curve, key=lambda point: point.lam)
    ]
    note = (
        f"{_all(answer)}. “trial”: its number in Optuna. “score”: mean over the folds; with folds "
        "missing, corrected for how easy the others are (the smoothed curve's fold effects). “to λ̂”: difference of "
        "the scores, paired fold by fold where all folds were measured. “differs”: worse or better than λ̂ where "
        "the interval excludes 0. “time”: training, all folds together."
        f"{wording.sign(answer)}"
    )
    if any(point.parked is not None and point.parked.basis for point in answer.curve):
        note += (
            " Margins “on the smoothed curve” are those that dropped a λ then, after scores far below the others had "
            "been raised: no difference of scores."
        )
    table = el("table", el("thead", head), el("tbody", *rows), class_="sortable", aria_label="Every λ that was tried")
    region = el(
        "div", table, class_="scroll broad", tabindex="0", role="region", aria_label="Every λ that was tried, a table"
    )
    return joined(el("p", note, class_="note"), region)


def _all(answer: Answer) -> str:
    search = sum(point.slot != BASELINE for point in answer.curve)
    lams = f"all {search} λ's" if search > 1 else "the one λ"
    zero = len(answer.curve) > search
    return f"λ = 0, then {lams}" if zero else f"{lams[0].upper()}{lams[1:]}"


def _trial(answer: Answer, point: CurvePoint, row: Averages | None, numbers: Trials) -> Markup:
    metric = answer.metric
    chosen = point.slot == answer.slot
    bounds = "–"
    if not chosen and point.difference_low is not None and point.difference_high is not None:
        low, high = (numerals.change(metric, end) for end in (point.difference_low, point.difference_high))
        bounds = f"{low.removesuffix(' pp')} to {high}"
    differs = fates.differs(answer, point)
    seconds = None if row is None else row.seconds
    marks = [label for label, lam in (("chosen", answer.lam), ("within 1 SE", answer.lam_1se)) if lam == point.lam]
    cells = (
        _cell(numerals.lam(point.lam), point.lam, head=True, marks=marks if point.slot != BASELINE else []),
        _cell(_number(point.slot, numbers), numbers.get(point.slot)),
        _cell(numerals.lam(point.lam_over_m), point.lam_over_m),
        _cell(str(point.n_cells), point.n_cells),
        _cell(numerals.level(metric, point.mean), point.mean),
        _cell("–" if chosen else numerals.change(metric, point.difference), point.difference),
        _cell(bounds, point.difference_high),
        _cell(differs, DIFFERS.index(differs) if differs in DIFFERS else None),
        _cell("–" if seconds is None else numerals.duration(seconds), seconds),
        el("td", _fate(answer, point, numbers), class_="words"),
    )
    faded = "faded" if point.status != "complete" else None
    return el("tr", *cells, id=anchor(point.slot, numbers), class_="chosen" if chosen else faded)


def _cell(text: str, value: float | None, *, head: bool = False, marks: Iterable[str] = ()) -> Markup:
    tags = [el("span", f"{', ' if number else ' '}{mark}", class_="tag") for number, mark in enumerate(marks)]
    sort = "" if value is None else f"{float(value):.12g}"
    return el("th" if head else "td", text, *tags, data_v=sort, scope="row" if head else None)


def anchor(slot: int, numbers: Trials) -> str:
    """Where the row of a λ is found on the page: ``#trial-7``, ``#baseline``."""
    if slot == BASELINE:
        return "baseline"
    return f"trial-{numbers[slot]}" if slot in numbers else f"slot-{slot}"


def _number(slot: int, numbers: Trials) -> str:
    return "baseline" if slot == BASELINE else str(numbers.get(slot, "–"))


def _fate(answer: Answer, point: CurvePoint, numbers: Trials) -> Markup:
    """What became of a λ, with a link to the λ that it lost to."""
    said = fates.fate(answer, point)
    rival = next((p for p in answer.curve if point.parked is not None and p.slot == point.parked.rival), None)
    name = f"λ = {numerals.lam(rival.lam)}" if rival is not None else ""
    before, found, after = said.partition(name) if name else (said, "", "")
    if rival is None or not found:
        return joined(said)
    return joined(before, el("a", name, href=f"#{anchor(rival.slot, numbers)}"), after)


def evidence(answer: Answer, averages: Mapping[int, Averages]) -> Markup:
    """What every λ did to its networks: the numbers behind the figures."""
    metric = answer.metric
    layers = list(dict.fromkeys(name for row in averages.values() for name in row.grad_norms))
    names = ("λ", "folds", "training", "validation", "gap", "‖w‖", "near 0", *(f"∇ {name}" for name in layers))
    rows = []
    for point in sorted(answer.curve, key=lambda point: point.lam):
        if (row := averages.get(point.slot)) is None or point.mean is None:
            continue
        validation, training = point.mean, point.mean + row.gap(metric)
        norms = [row.grad_norms.get(name, 0.0) for name in layers]
        cells = (
            _cell(numerals.lam(point.lam), point.lam, head=True),
            _cell(str(row.n), row.n),
            _cell(numerals.level(metric, training), training),
            _cell(numerals.level(metric, validation), validation),
            _cell(numerals.change(metric, row.gap(metric)), row.gap(metric)),
            _cell(f"{row.weight_norm:.2f}", row.weight_norm),
            _cell(numerals.percent(row.near_zero), row.near_zero),
            *(_cell(f"{norm:.3g}", norm) for norm in norms),
        )
        rows.append(el("tr", *cells, class_="chosen" if point.slot == answer.slot else None))
    caption = el(
        "caption",
        f"Means over the folds measured. Validation {numerals.metric_name(metric)}: the score of the table of all λ's, "
        "corrected for missing folds. Gap: training minus validation score of the same networks; training: the sum of "
        "both. Near 0: share of the penalised weights with |w| < 0.001; ∇: norm of a layer's weight gradient in "
        "the last epoch.",
    )
    head = el("tr", *(el("th", name, scope="col") for name in names))
    body = el("table", caption, el("thead", head), el("tbody", *rows), class_="sortable")
    return el("div", body, class_="scroll", tabindex="0", role="region", aria_label="What every λ did, a table")


def folds(answer: Answer, results: Iterable[FoldResult]) -> Markup:
    """λ × fold: the raw scores that everything rests on."""
    table = {(result.key.slot, *result.key.cell): result.score for result in results}
    cells = sorted({key[1:] for key in table})
    replicated = len({replicate for replicate, _ in cells}) > 1
    names = [f"{f'set {r + 1}, ' if replicated else ''}fold {f + 1}" for r, f in cells]
    head = el("tr", el("th", "λ", scope="col"), *(el("th", name, scope="col") for name in names))
    rows = []
    for point in sorted(answer.curve, key=lambda point: point.lam):
        found = [table.get((point.slot, *cell)) for cell in cells]
        scores = [_cell("" if score is None else numerals.level(answer.metric, score), score) for score in found]
        rows.append(el("tr", _cell(numerals.lam(point.lam), point.lam, head=True), *scores))
    caption = el("caption", f"{numerals.metric_name(answer.metric).capitalize()} on each fold; empty: not measured.")
    body = el("table", caption, el("thead", head), el("tbody", *rows), class_="sortable")
    return el("div", body, class_="scroll", tabindex="0", role="region", aria_label="Score of every fold fit")


def folds_csv(answer: Answer, results: Iterable[FoldResult], numbers: Trials) -> str:
    """One line per fold fit, everything but the learning curve and the bits per image."""
    found = sorted(results, key=lambda result: result.key)
    layers = list(dict.fromkeys(name for result in found for name in result.grad_norms))
    plain = ("score", "val_acc", "val_loss", "train_acc", "train_loss", "collapsed", "weight_norm", "near_zero")
    last = ("n_val", "seconds", "worker", "executor", "hardware", "started_at")
    target = StringIO()
    writer = csv.writer(target, lineterminator="\n")
    norms = [f"{kind}_norm_{name}" for kind in ("grad", "layer") for name in layers]
    writer.writerow(["trial", "slot", "replicate", "fold", "lam", "lam_over_m", *plain, *norms, "epochs", *last])
    for result in found:
        lam = result.lam_over_m * answer.m
        per_layer = [values.get(name, "") for values in (result.grad_norms, result.layer_norms) for name in layers]
        values = [getattr(result, name) for name in plain]
        rest = [getattr(result, name) for name in last]
        writer.writerow(
            [
                numbers.get(result.key.slot, ""),
                *result.key,
                lam,
                result.lam_over_m,
                *values,
                *per_layer,
                len(result.epochs),
                *rest,
            ]
        )
    return target.getvalue()
