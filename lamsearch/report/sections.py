"""The sections of the page, verdict first. Sentences come from ``wording``, numbers from the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from lamsearch import numerals, wording
from lamsearch.answer import Answer
from lamsearch.records import BASELINE, FoldResult
from lamsearch.report import course, evidence, figures, tables
from lamsearch.report.averages import Averages
from lamsearch.report.markup import Markup, el, joined
from lamsearch.report.scene import Scene, svg


def figure(draw: Callable[..., Scene], *inputs: object, caption: Markup | str) -> Markup:
    """A figure twice, for a desk and for a phone; the style sheet shows one of them, also to screen readers."""
    wide, narrow = (draw(*inputs, wide=wide) for wide in (True, False))
    drawings = Markup(svg(wide, key="wide") + svg(narrow, key="narrow"))
    return el("figure", drawings, el("figcaption", caption), id=f"figure-{wide.name}")


def verdict(answer: Answer) -> Markup:
    """Which λ, and how sure: headline, four numbers, and the curve."""
    metric = numerals.metric_name(answer.metric)
    caption = joined(
        f"Mean {metric} over the folds by λ, with λ = 0 left of the break. ",
        f"A bar is the paired 95 % interval of the difference to {figures.BEST}: where it reaches the dotted line, "
        f"that λ cannot be told from {figures.BEST} (blue; shaded as far as all folds were measured). Open circles "
        "were dropped early and could not be chosen; a digit is the number of folds they had, a grey triangle a score "
        "below the frame. The thin line is the smoothed curve, in which very low scores are capped.",
    )
    return el(
        "section",
        el("h1", _unbroken(wording.headline(answer))),
        el("p", _unbroken(wording.how_sure(answer)), class_="lede"),
        _tiles(answer),
        figure(figures.curve, answer, caption=caption),
        aria_label="The answer",
    )


def _unbroken(text: str) -> str:
    """No line break inside ``λ = 83.2``."""
    return text.replace("λ = ", "λ\u00a0=\u00a0").replace("λ > 0", "λ\u00a0>\u00a00")


def _tiles(answer: Answer) -> Markup:
    low, high = map(numerals.lam, wording.measured_range(answer))
    gain = answer.gain
    score = answer.test
    rows = (
        (
            "Best λ > 0" if answer.verdict == "hurts" else "λ",
            numerals.lam(answer.lam),
            f"λ/m = {numerals.lam(answer.lam_over_m)}",
        ),
        ("As good (95 %)", low if low == high else f"{low} – {high}", _zero(answer)),
        (
            "Gain over λ = 0",
            "unknown" if gain is None else numerals.change(answer.metric, gain.mean),
            "λ = 0 has no score yet" if gain is None else numerals.span(answer.metric, gain),
        ),
        (
            "Test accuracy",
            "not yet" if score is None else numerals.percent(score.accuracy, 2),
            "once the search is over"
            if score is None
            else f"{numerals.percent(score.low, 2).removesuffix(' %')} to {numerals.percent(score.high, 2)}",
        ),
    )
    return el(
        "dl",
        *(
            el("div", el("dt", name), el("dd", big, class_="big"), el("dd", small, class_="small"))
            for name, big, small in rows
        ),
        class_="tiles",
    )


def _zero(answer: Answer) -> str:
    if answer.verdict == "hurts":
        return "and λ = 0 is better"
    return "and so is λ = 0" if wording.zero_in_range(answer) else "λ = 0 is not"


def would_change(answer: Answer) -> Markup:
    """What would change this answer."""
    return el(
        "section",
        el("h2", "What would change this answer"),
        el("ul", *(el("li", text) for text in wording.would_change(answer))),
        id="change",
    )


def numbers(answer: Answer) -> Markup:
    """Everything that the answer states, in one table."""
    rows = [row for row in _numbers(answer) if row[1]]
    body = [
        el("tr", el("th", name, scope="row"), el("td", text, *([el("div", aside, class_="aside")] if aside else [])))
        for name, text, aside in rows
    ]
    return el(
        "section", el("h2", "The answer in numbers"), el("table", el("tbody", *body), class_="facts"), id="numbers"
    )


def _numbers(answer: Answer) -> Iterable[tuple[str, str, str]]:
    metric = answer.metric
    yield f"Chosen, {figures.BEST}", wording.both(answer, answer.lam), f"by the {answer.chosen_by}"
    carried = "for the refit, which has k/(k − 1) times the images of a fold; used unchanged, as is the convention"
    yield f"{figures.BEST}·(k − 1)/k", wording.both(answer, answer.lam_carried), carried
    same = "measured on all folds, paired differences"
    yield "Largest λ within one standard error", wording.one_se(answer), same
    classical = "glmnet's unpaired rule: it judges a difference by the error of the level, and over-shrinks"
    yield "… by the classical rule", wording.both(answer, answer.lam_1se_classical), classical
    partial = set(answer.indistinguishable_partial)
    whole = ", ".join(numerals.lam(lam) for lam in answer.indistinguishable if lam not in partial)
    yield "Cannot be told from the best", whole, _partial(answer)
    yield "Gain over λ = 0", wording.gain(answer), ""
    low, high = numerals.level(metric, answer.cv.low), numerals.level(metric, answer.cv.high)
    cv = f"95 % interval of the level {low} to {high}"
    best = f"{numerals.level(metric, answer.cv.mean)} ± {numerals.size(metric, answer.cv_sem)} (sem)"
    yield f"CV {numerals.metric_name(metric)} of the best", best, f"{cv}; optimistic: the best of many"
    if (fixed := answer.corrected) is not None:
        ends = ""
        if fixed.low is not None and fixed.high is not None:
            ends = f" ({numerals.level(metric, fixed.low)} to {numerals.level(metric, fixed.high)})"
        how = {"bbc-cv": "BBC-CV", "tibshirani": "Tibshirani & Tibshirani, conservative"}.get(
            fixed.method, fixed.method
        )
        yield "… corrected for choosing", f"{numerals.level(metric, fixed.mean)}{ends}", f"{how}: {fixed.rule}"
    yield (
        "Test",
        wording.test(answer),
        "" if answer.test is None else f"data loss {answer.test.loss:.4f}; Wilson interval",
    )
    yield "Folds", _folds(answer), ""
    yield "Paired against unpaired", _ratio(answer), "what sharing folds, seeds and batches between λ's saves"
    if answer.other_metric_lam is not None:
        yield f"By {numerals.metric_name(answer.other_metric)}", wording.both(answer, answer.other_metric_lam), ""


def _partial(answer: Answer) -> str:
    partial = ", ".join(map(numerals.lam, answer.indistinguishable_partial))
    return f"dropped too early to be ruled out: {partial}" if partial else ""


def _folds(answer: Answer) -> str:
    sets = f", {answer.n_replicates} sets of folds for the finalists" if answer.n_replicates > 1 else ""
    return f"{answer.n_folds}{sets}; {answer.n_images:,} images, each validated once per set"


def _ratio(answer: Answer) -> str:
    paired, unpaired = (numerals.size(answer.metric, sd) for sd in (answer.paired_sd, answer.unpaired_sd))
    ratio = f"; variance ratio {answer.variance_ratio:.1f}" if answer.variance_ratio is not None else ""
    return f"standard deviation of a difference {paired} paired, {unpaired} unpaired{ratio}"


def effects(answer: Answer, averages: Mapping[int, Averages], *, label_noise: float = 0.0) -> Markup:
    """What λ does to the network. ``label_noise``: share of wrong training labels, which no score can reach."""
    gap = "The gap between the two lines is the overfitting. Small marks were dropped early."
    if label_noise:
        share = numerals.percent(label_noise, 0)
        gap += f" {share} of the training labels are wrong on purpose, so the training line may lie below the other."
    size = "L2 shrinks all weights, L1 empties most of them. Mean over the folds measured."
    epochs = "Mean over the folds measured; same scale in every panel."
    return el(
        "section",
        el("h2", "What λ does to the network"),
        el("h3", "Overfitting"),
        figure(evidence.overfitting, answer, averages, caption=gap),
        el("h3", "Size of the weights"),
        figure(evidence.weights, answer, averages, caption=size),
        el("h3", "Does the penalty make gradients vanish?"),
        figure(evidence.gradients, answer, averages, caption=_vanishing(answer, averages)),
        el("h3", "Learning curves"),
        figure(course.learning, answer, averages, caption=epochs),
        id="effects",
    )


def _vanishing(answer: Answer, averages: Mapping[int, Averages]) -> str:
    base, best = averages.get(BASELINE), averages.get(answer.slot)
    if base is None or best is None:
        return "Norm of each layer's weight gradient, mean over the last epoch's steps and the folds measured."
    moves = {name: (norm, best.grad_norms.get(name, 0.0)) for name, norm in base.grad_norms.items()}
    shrunk = [name for name, (before, after) in moves.items() if after < before / 10]
    said = ", ".join(
        f"{name} {numerals.lam(before)} → {numerals.lam(after)}" for name, (before, after) in moves.items()
    )
    verdict = f"Yes, in {', '.join(shrunk)}" if shrunk else "Not at the chosen λ"
    return f"{verdict}. Mean norm of the weight gradient in the last epoch, from λ = 0 to the chosen λ: {said}."


def budget(answer: Answer) -> Markup:
    """Where the fold fits went."""
    spent = answer.budget
    repeats = spent.fold_fits_executed - spent.fold_fits
    again = f" {numerals.count(repeats, 'fold fit')} ran twice after a fault." if repeats > 0 else ""
    caption = (
        "Blue: measured on all folds. Grey: dropped early; why, and behind which λ, stands in the next table. "
        f"Pale: what the full cost would have added. Training took {numerals.duration(spent.fit_seconds)}.{again}"
    )
    text = wording.cost(answer)
    dropped = [point.parked for point in answer.curve if point.parked is not None and point.status == "pruned"]
    when = sorted(Counter(parked.after for parked in dropped).items())
    why = Counter(parked.reason for parked in dropped).most_common()
    said = [f"Dropped after {numerals.count(after, 'fold')}: {number}." for after, number in when]
    said += [f"Why: {'; '.join(f'{reason} ({number})' for reason, number in why)}."] if why else []
    return el(
        "section",
        el("h2", "Where the budget went"),
        el("p", f"{text[0].upper()}{text[1:]}. {' '.join(said)}"),
        figure(course.budget, answer, caption=caption),
        id="budget",
    )


def trials(answer: Answer, averages: Mapping[int, Averages], results: Iterable[FoldResult]) -> Markup:
    """Every λ, and every fold score."""
    return el(
        "section",
        el("h2", "Every λ that was tried"),
        tables.trials(answer, averages),
        el("details", el("summary", "The score on every fold"), tables.folds(answer, results)),
        id="trials",
    )
