"""The answer in numbers: everything that it states, in one table. Sentences come from ``wording``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lamsearch import changes, fates, members, numerals, others, wording
from lamsearch.answer import Answer
from lamsearch.records import BASELINE
from lamsearch.report import figures
from lamsearch.report.markup import Markup, el, unbroken

Row = tuple[str, str, str]
"""Label, text, aside. Rows without a text are left out."""
LISTED = 40
"""λ's that are listed one by one."""
CORRECTIONS = {"bbc-cv": "BBC-CV", "tibshirani": "Tibshirani & Tibshirani"}


def numbers(answer: Answer, settings: Mapping[str, object]) -> Markup:
    """Everything that the answer states. ``settings``: the study's, flat."""
    found = [*_lams(answer), *_scores(answer), *_evidence(answer, settings)]
    rows = [_row(name, unbroken(text), unbroken(aside)) for name, text, aside in found if text]
    table = el("table", el("tbody", *rows), class_="facts", aria_label="The answer in numbers")
    return el("section", el("h2", "The answer in numbers"), table, id="numbers")


def _row(name: str, text: str, aside: str) -> Markup:
    beside = [el("div", aside, class_="aside")] if aside else []
    return el("tr", el("th", name, scope="row"), el("td", text, *beside))


def _lams(answer: Answer) -> Iterable[Row]:
    best = "Best λ > 0" if answer.verdict == "hurts" else "Chosen"
    yield f"{best}, {figures.BEST}", wording.both(answer, answer.lam), f"by the {answer.chosen_by}"
    carried = (
        "would keep the penalty's weight against the sum of all images' losses in the refit; not used: the refit takes "
        "the chosen λ unchanged, as is the convention"
    )
    yield f"{figures.BEST}·(k − 1)/k", wording.both(answer, answer.lam_carried), carried
    number = members.measured(answer)
    same = f"of the {number} measured on all folds: d̄ ≥ −s/√r, with the gain's s and its paired differences d"
    same = same if number > 1 else ""
    yield f"Largest λ within one standard error, {figures.ONE_SE}", wording.one_se(answer), same
    classical = "glmnet's unpaired rule: it judges a difference by the error of the level, and over-shrinks"
    yield "… by the classical rule", wording.both(answer, answer.lam_1se_classical), classical
    yield "Cannot be told from the best", _alike(answer), _who(answer)
    yield "Ends of what was measured", _edges(answer), ""
    if answer.other_metric_lam is not None:
        yield f"By {numerals.metric_name(answer.other_metric)}", changes.other_pick(answer), ""


def _scores(answer: Answer) -> Iterable[Row]:
    metric = answer.metric
    error = (
        "paired over the r folds of both. Interval: ± t·s·√(1/r + 1/(k − 1)) (Nadeau & Bengio 2003), where s is the "
        "larger of the r differences' own standard deviation and one shared with the λ's near the best, and t has "
        "r + 7 degrees of freedom. Not widened for λ having been picked"
    )
    yield "Gain over λ = 0", wording.gain(answer), error
    if answer.detectable_gain is not None:
        seen = "a true gain of this size is shown in four of five such studies"
        yield "Smallest detectable gain", numerals.size(metric, answer.detectable_gain), seen
    cv = f"95 % interval of the level {numerals.levels(metric, answer.cv.low, answer.cv.high)}"
    best = f"{numerals.level(metric, answer.cv.mean)} ± {numerals.size(metric, answer.cv_sem)} (sem)"
    of = members.measured(answer)
    picked = f"; optimistic: the best of {of}" if of > 1 else ""
    yield f"CV {numerals.metric_name(metric)} of the best", best, f"{cv}{picked}"
    if (fixed := answer.corrected) is not None:
        ends = ""
        if fixed.low is not None and fixed.high is not None:
            ends = f" (95 % interval {numerals.levels(metric, fixed.low, fixed.high)})"
        how = CORRECTIONS.get(fixed.method, fixed.method)
        aside = f"{how}: {fixed.rule}; the race before it is not repeated"
        yield "… corrected for choosing", f"{numerals.level(metric, fixed.mean)}{ends}", aside
    else:
        yield "… corrected for choosing", "not corrected", "fewer than two λ's were measured on all folds"
    yield "Test", wording.test(answer), _test(answer)


def _evidence(answer: Answer, settings: Mapping[str, object]) -> Iterable[Row]:
    sets = f", {answer.n_replicates} sets of folds for the finalists" if answer.n_replicates > 1 else ""
    folds = f"{answer.n_folds}{sets}; {answer.n_images:,} images, each validated once per set"
    seed = settings.get("search.seed")
    yield "Folds", folds, "" if seed is None else f"splits, initial weights and batches follow from seed {seed}"
    paired, unpaired = (numerals.size(answer.metric, sd) for sd in (answer.paired_sd, answer.unpaired_sd))
    ratio = f"; variance ratio {answer.variance_ratio:.1f}" if answer.variance_ratio is not None else ""
    spread = f"standard deviation of a difference {paired} paired, {unpaired} unpaired{ratio}"
    yield "Paired against unpaired", spread, "what sharing folds, seeds and batches between λ's saves"
    yield "Cost", wording.cost(answer), epochs(answer)


def epochs(answer: Answer) -> str:
    """Epochs trained against the full cost."""
    spent = answer.budget
    if not spent.epochs_full:
        return ""
    if answer.n_replicates > 1:
        return f"{spent.epochs:,} epochs, replicates among them"
    share = numerals.percent(spent.epochs / spent.epochs_full, 0)
    lost = f", {spent.stopped_epochs:,} of them in λ's dropped between epochs" if spent.stopped_epochs else ""
    return f"{spent.epochs:,} of {spent.epochs_full:,} epochs ({share}){lost}"


def _edges(answer: Answer) -> str:
    if not members.whole(answer):
        return ""  # one fold says nothing about ends
    if answer.edges:
        return "; ".join(edge.message for edge in answer.edges)
    return "neither the smallest nor the largest λ measured does as well as the best"


def _alike(answer: Answer) -> str:
    zero = ", and λ = 0" if members.zero_in_range(answer) else ""
    return f"{others.spread(answer)}{zero}" if len(answer.indistinguishable) > 1 else "no other λ"


def _who(answer: Answer) -> str:
    """Who of E has all folds, and how many have not."""
    alike = [point for point in answer.curve if point.in_range and point.slot not in (BASELINE, answer.slot)]
    whole = [point.lam for point in alike if point.status == "complete"]
    names = others.listed(whole) if 0 < len(whole) <= LISTED else str(len(whole))
    said = [f"besides {figures.BEST} measured on all folds: {names}"] if whole else []
    if len(alike) > len(whole):
        said.append(f"without all folds ({fates.lacking(answer)}): {len(alike) - len(whole)}")
    return "; ".join(said)


def _test(answer: Answer) -> str:
    if answer.test is None:
        return ""
    looks = "looked at once" if answer.test.looks == 1 else f"looked at {answer.test.looks} times"
    return f"{looks}; data loss {answer.test.loss:.4f}; Wilson interval"
