"""What λ does to a network: overfitting, the size of its weights, its gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lamsearch import numerals
from lamsearch.answer import Answer
from lamsearch.records import BASELINE
from lamsearch.report import plots
from lamsearch.report.averages import Averages, on_folds_of
from lamsearch.report.axes import Panel, ValueAxis, padded
from lamsearch.report.figures import BEST
from lamsearch.report.scene import Scene

VANISHED = 0.1
"""A layer's gradient has vanished if this share of what it is without a penalty is all that is left."""


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A λ to talk about: its averages, and those of λ = 0 on the same folds (None if that has none of them)."""

    name: str
    row: Averages
    zero: Averages | None
    n_folds: int

    @property
    def where(self) -> str:
        """Which folds the numbers are from, unless they are from all."""
        n = self.row.n
        return "" if n >= self.n_folds else f"on {numerals.count(n, 'fold')}"


def stops(answer: Answer, averages: Mapping[int, Averages]) -> list[Stop]:
    """The λ's whose numbers tell most: 0, λ̂ and the largest that was trained."""
    trained = [point for point in answer.curve if point.slot in averages]
    largest = max(trained, key=lambda point: point.lam, default=None)
    found = {BASELINE: "λ = 0", answer.slot: f"{BEST} = {numerals.lam(answer.lam)}"}
    if largest is not None:
        found.setdefault(largest.slot, f"λ = {numerals.lam(largest.lam)} (the largest)")
    zero = averages.get(BASELINE)
    return [
        Stop(name=name, row=averages[slot], zero=zero and on_folds_of(zero, averages[slot]), n_folds=answer.n_folds)
        for slot, name in found.items()
        if slot in averages
    ]


def levels(answer: Answer, averages: Mapping[int, Averages]) -> dict[int, tuple[float, float]]:
    """Slot → (training, validation) score, higher is better, on the curve's scale: it corrects for missing folds.

    So is the gap between them: less what λ = 0 has on the same folds, plus what it has on all.
    """
    means = {point.slot: point.mean for point in answer.curve if point.mean is not None}
    metric, zero = answer.metric, averages.get(BASELINE)
    found = {}
    for slot, row in averages.items():
        if slot in means:
            there = on_folds_of(zero, row) if zero else None
            ease = there.gap(metric) - zero.gap(metric) if zero and there else 0.0
            found[slot] = (means[slot] + row.gap(metric) - ease, means[slot])
    return found


def gaps(answer: Answer, averages: Mapping[int, Averages]) -> str:
    """The overfitting in numbers: how much better the training images are scored than the others."""
    metric = answer.metric
    said = []
    for stop in stops(answer, averages):
        text = f"{numerals.change(metric, stop.row.gap(metric))} at {stop.name}"
        if stop.where:
            beside = f", where λ = 0 has {numerals.change(metric, stop.zero.gap(metric))}" if stop.zero else ""
            text += f" ({stop.where}{beside})"
        said.append(text)
    what = "Training minus validation accuracy" if metric == "accuracy" else "Validation minus training log loss"
    return f"{what}: {'; '.join(said)}." if said else ""


def shrinking(answer: Answer, averages: Mapping[int, Averages]) -> str:
    """Size of the weights and share near zero in numbers."""
    said = [
        f"{plots.plain(stop.row.weight_norm)} with {numerals.percent(stop.row.near_zero)} near zero at {stop.name}"
        + (f" ({stop.where})" if stop.where else "")
        for stop in stops(answer, averages)
    ]
    return f"‖w‖ is {'; '.join(said)}." if said else ""


def vanishing(answer: Answer, averages: Mapping[int, Averages]) -> str:
    """Whether the penalty makes gradients vanish: each layer's gradient against that without a penalty."""
    said = []
    for stop in stops(answer, averages):
        base = stop.zero.grad_norms if stop.zero else {}
        layers = [name for name, norm in base.items() if norm > 0]
        if stop.row is averages.get(BASELINE) or not layers:
            continue
        left = {layer: stop.row.grad_norms.get(layer, 0.0) / base[layer] for layer in layers}
        least = min(left, key=lambda layer: left[layer])
        if stop.row.collapsed == stop.row.n:
            text = f"At {stop.name} the networks have collapsed, with no gradient left"
        elif left[least] < VANISHED:
            text = f"Yes at {stop.name}: {least} keeps {100 * left[least]:.1f} % of its gradient at λ = 0"
        elif left[least] >= 1:
            text = f"No at {stop.name}: no layer's gradient is smaller than at λ = 0"
        else:
            text = f"No at {stop.name}: every layer keeps {100 * left[least]:.0f} % or more of its gradient at λ = 0"
        said.append(f"{text}{f' ({stop.where})' if stop.where else ''}.")
    return " ".join(said) or "Whether gradients vanish cannot be said without a gradient at λ = 0 to compare with."


def overfitting(answer: Answer, averages: Mapping[int, Averages], *, wide: bool = True) -> Scene:
    """Score on the training and on the validation images by λ: the gap is the overfitting.

    Validation scores are the curve's own, so that a λ with few folds stands at the level of the others; training
    scores are these plus the gap of the same networks, corrected in the same way.
    Collapsed λ's are held at the rim: they would flatten everything else.
    """
    accuracy = answer.metric == "accuracy"
    sign = 1 if accuracy else -1
    what, write = ("accuracy", plots.percents) if accuracy else ("log loss", plots.plain)
    series = {
        "training": {slot: sign * pair[0] for slot, pair in levels(answer, averages).items()},
        "validation": {point.slot: sign * point.mean for point in answer.curve if point.mean is not None},
    }
    scene = plots.scene("overfitting", f"training and validation {what} by λ", wide=wide, height=300)
    scene.description = f"{gaps(answer, averages)} {plots.ends_in_words(answer, series, write)}"
    panel = Panel(left=56, right=scene.width - 82, top=36, bottom=scene.height - 42)
    alive = {slot for slot, row in averages.items() if not row.collapsed} or set(averages)
    axis = plots.value_axis(panel, [v for values in series.values() for slot, v in values.items() if slot in alive])
    plots.plot(scene, answer, axis, series, label=what, write=write, inks=("c2", "c1"))
    return scene


def weights(answer: Answer, averages: Mapping[int, Averages], *, wide: bool = True) -> Scene:
    """‖w‖ and the share of weights near zero by λ: L2 shrinks, L1 empties."""
    scene = plots.scene(
        "weights", "size of the weights and share near zero by λ", wide=wide, height=266 if wide else 524
    )
    norm = {slot: row.weight_norm for slot, row in averages.items()}
    share = {slot: row.near_zero for slot, row in averages.items()}
    scene.description = shrinking(answer, averages)
    half = scene.width / 2 if wide else scene.width
    first = Panel(left=56, right=half - 14, top=36, bottom=224)
    second = Panel(left=half + 66, right=scene.width - 14, top=36, bottom=224)
    if not wide:
        second = Panel(left=56, right=half - 14, top=294, bottom=482)
    for panel, values, write, label in (
        (first, norm, plots.plain, "size of the weights ‖w‖"),
        (second, share, plots.percents, "share with |w| < 0.001"),
    ):
        axis = ValueAxis(panel=panel, low=0, high=padded([0, *values.values()])[1])
        plots.plot(scene, answer, axis, {"": values}, label=label, write=write)
    return scene


def gradients(answer: Answer, averages: Mapping[int, Averages], *, wide: bool = True) -> Scene:
    """Norm of the weight gradient of each layer by λ: whether the penalty makes gradients vanish."""
    scene = plots.scene("gradients", "gradient norm per layer by λ", wide=wide, height=310)
    names = list(dict.fromkeys(name for row in averages.values() for name in row.grad_norms))[: len(plots.SERIES)]
    series = {name: {slot: row.grad_norms.get(name, 0.0) for slot, row in averages.items()} for name in names}
    scene.description = f"{vanishing(answer, averages)} {plots.ends_in_words(answer, series, plots.plain)}"
    positive = [value for values in series.values() for value in values.values() if value > 0]
    low, high = min(positive, default=0.1), max(positive, default=1.0)
    panel = Panel(left=56, right=scene.width - 66, top=36, bottom=scene.height - 42)
    axis = ValueAxis(panel=panel, low=max(low, high * 1e-6) / 1.6, high=high * 1.6, log=True)
    alive = {name: {slot: v for slot, v in values.items() if v > 0} for name, values in series.items()}
    label = "gradient norm, last epoch"
    plots.plot(scene, answer, axis, alive, label=label, write=plots.plain, inks=plots.SERIES)
    return scene
