"""How the search went: learning curves of a few telling λ's, and where the fold fits went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from lamsearch import fates, numerals, wording
from lamsearch.answer import Answer, CurvePoint
from lamsearch.records import BASELINE, EpochScore
from lamsearch.report import plots
from lamsearch.report.averages import Averages
from lamsearch.report.axes import Panel, ValueAxis
from lamsearch.report.figures import BEST, ONE_SE, lam_axis
from lamsearch.report.scene import Anchor, Area, Ink, Line, Scene, Text, box

ROW = 200.0
"""Height of a row of panels."""
INKS: Mapping[str, Ink] = {"training": "c2", "validation": "c1"}


def learning(answer: Answer, averages: Mapping[int, Averages], *, wide: bool = True) -> Scene:
    """Training and validation score by epoch for a few λ's, in panels of one scale."""
    accuracy = answer.metric == "accuracy"
    what, write = ("accuracy", plots.percents) if accuracy else ("log loss", plots.plain)
    chosen = [(slot, name) for slot, name in telling(answer) if slot in averages and averages[slot].epochs]
    columns = max(1, len(chosen) if wide else min(2, len(chosen)))
    scene = plots.scene("learning", f"{what} by epoch", wide=wide, height=36 + ROW * max(1, -(-len(chosen) // columns)))
    lines = {slot: _lines(averages[slot].epochs, accuracy) for slot, _ in chosen}
    scene.description = "After the last epoch: " + "; ".join(
        f"{name}: " + ", ".join(f"{label} {write(line[-1][1])}" for label, line in lines[slot].items())
        for slot, name in chosen
    )
    scene.add(Text(x=0, y=16, text=f"{what} by epoch", ink="ink", bold=True))
    x = 140.0
    for label, ink in INKS.items():
        scene.add(Line(points=[(x, 12), (x + 18, 12)], ink=ink, width=2), Text(x=x + 23, y=16, text=label))
        x += 90
    alive = [slot for slot, _ in chosen if not averages[slot].collapsed] or list(lines)
    values = [value for slot in alive for line in lines[slot].values() for _, value in line]
    width = (scene.width - 56 - 14 - 18 * (columns - 1)) / columns
    for index, (slot, name) in enumerate(chosen):
        row, column = divmod(index, columns)
        left, top = 56 + column * (width + 18), 66 + ROW * row
        panel = Panel(left=left, right=left + width, top=top, bottom=top + ROW - 60)
        few = f" ({numerals.count(averages[slot].n, 'fold')})" if averages[slot].n < answer.n_folds else ""
        _panel(scene, plots.value_axis(panel, values), name + few, lines[slot], write if column == 0 else None)
    return scene


def telling(answer: Answer) -> list[tuple[int, str]]:
    """(slot, name) of the λ's whose learning curves tell most: 0, λ̂, lam_1se and the largest."""
    one_se = next((p.slot for p in answer.curve if p.lam == answer.lam_1se), answer.slot)
    largest = max((p for p in answer.curve if p.n_cells), key=lambda p: p.lam, default=None)
    found = {BASELINE: "λ = 0", answer.slot: f"{BEST} = {numerals.lam(answer.lam)}"}
    found.setdefault(one_se, f"{ONE_SE} = {numerals.lam(answer.lam_1se)}")
    if largest is not None:
        found.setdefault(largest.slot, f"λ = {numerals.lam(largest.lam)}")
    return list(found.items())


Points = Sequence[tuple[int, float]]


def _lines(epochs: Sequence[EpochScore], accuracy: bool) -> dict[str, Points]:
    return {
        "training": [(e.epoch, e.train_acc if accuracy else e.train_loss) for e in epochs],
        "validation": [(e.epoch, e.val_acc if accuracy else e.val_loss) for e in epochs],
    }


def _panel(scene: Scene, axis: ValueAxis, name: str, lines: Mapping[str, Points], write: plots.Write | None) -> None:
    panel = axis.panel
    axis.draw(scene, write or (lambda _: ""), about=4)
    scene.add(Text(x=panel.left, y=panel.top - 10, text=name, ink="ink"))
    first, last = lines["training"][0][0], lines["training"][-1][0]
    for label, line in lines.items():
        points = [
            (panel.left + (panel.right - panel.left) * (epoch - first) / max(1, last - first), axis(value))
            for epoch, value in line
        ]
        scene.add(Line(points=points, ink=INKS[label], width=2))
    for epoch, x, anchor in _epoch_ticks(panel, first, last):
        scene.add(Text(x=x, y=panel.bottom + 18, text=str(epoch), anchor=anchor))
    scene.add(Text(x=(panel.left + panel.right) / 2, y=panel.bottom + 18, text="epoch", anchor="middle"))


def _epoch_ticks(panel: Panel, first: int, last: int) -> Iterator[tuple[int, float, Anchor]]:
    yield first, panel.left, "start"
    if last > first:
        yield last, panel.right, "end"


def budget(answer: Answer, *, wide: bool = True) -> Scene:
    """Fold fits by λ against the full cost."""
    scene = plots.scene("budget", "folds measured by λ", wide=wide, height=216)
    scene.description = f"{wording.cost(answer)}. {legend(answer)}"
    panel = Panel(left=56, right=scene.width - 14, top=36, bottom=scene.height - 42)
    axis = lam_axis(answer, panel)
    most = max([answer.n_folds, *(point.n_cells for point in answer.curve)])
    value = ValueAxis(panel=panel, low=0, high=most)
    n_lams = sum(point.lam > 0 for point in answer.curve)
    half = max(1.2, min(9.0, 0.4 * (panel.right - axis.start) / max(1, n_lams)))
    whole: list[Area] = []
    spent: list[Area] = []
    for point in answer.curve:
        x, ink = axis(point.lam), INK_OF[state(point)]
        full, done = value(answer.n_folds), value(point.n_cells + _part(answer, point))
        said = f"λ = {numerals.lam(point.lam)}: {fates.fate(answer, point)}"
        lost = state(point) == "failed"
        pale: Ink = "c2" if lost else "rule"
        whole.append(Area(points=box(x - half, full, 2 * half, panel.bottom - full), ink=pale, opacity=0.6, tip=said))
        spent.append(Area(points=box(x - half, done, 2 * half, panel.bottom - done), ink=ink, tip=said))
    scene.add(*whole, *spent)
    for fold in range(1, most):
        scene.add(Line(points=[(panel.left, value(fold)), (panel.right, value(fold))], ink="paper", width=1))
    for fold in range(0, most + 1, max(1, most // 5)):
        scene.add(Text(x=panel.left - 8, y=value(fold) + 4, text=str(fold), anchor="end"))
    axis.draw(scene)
    total = f"{answer.budget.fold_fits:,} of {answer.budget.fold_fits_full:,} fold fits"
    scene.add(Text(x=0, y=16, text="folds measured", ink="ink", bold=True))
    scene.add(Text(x=panel.right, y=16, text=total, anchor="end"))
    return scene


def _part(answer: Answer, point: CurvePoint) -> float:
    """What the epochs of a trial that an epoch pruner ended amount to, in folds."""
    if point.parked is None or not point.parked.epochs or not answer.budget.epochs_full:
        return 0.0
    return point.parked.epochs * answer.budget.fold_fits_full / answer.budget.epochs_full * answer.n_folds


State = Literal["complete", "dropped", "failed", "open"]
INK_OF: Mapping[State, Ink] = {"complete": "c1", "dropped": "faint", "failed": "c2", "open": "c3"}
SAID: Mapping[State, str] = {
    "complete": "Blue: measured on all folds.",
    "dropped": "Grey: dropped early.",  # between epochs: all its folds, by the share of their epochs
    "failed": "Orange: failed.",
    "open": "Green: not finished yet.",
}


def state(point: CurvePoint) -> State:
    """How a bar of the budget is coloured."""
    found: Mapping[str, State] = {"complete": "complete", "pruned": "dropped", "failed": "failed"}
    return found.get(point.status, "open")


def legend(answer: Answer) -> str:
    """The colours that the budget's figure has, in words."""
    there = {state(point) for point in answer.curve}
    said = [text for name, text in SAID.items() if name in there]
    if any(point.parked is not None and point.parked.epochs for point in answer.curve):
        said.append("A λ dropped between epochs counts by the share of its epochs.")
    return " ".join([*said, "Pale: what the full cost would have added."])
