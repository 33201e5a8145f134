"""The sections of the page, verdict first. Sentences come from ``wording``, numbers from the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from lamsearch import changes, fates, members, numerals, others, wording
from lamsearch.answer import Answer, Dossier
from lamsearch.report import course, facts, figures, tables
from lamsearch.report.averages import Averages
from lamsearch.report.markup import Markup, el, unbroken
from lamsearch.report.scene import Scene, svg

ROOM = 15
"""Characters that fit into a tile in full size."""


def figure(draw: Callable[..., Scene], *inputs: object, caption: str) -> Markup:
    """A figure twice, for a desk and for a phone; the style sheet shows one of them, also to screen readers."""
    wide, narrow = (draw(*inputs, wide=wide) for wide in (True, False))
    drawings = Markup(svg(wide, key="wide") + svg(narrow, key="narrow"))
    return el("figure", drawings, el("figcaption", unbroken(caption)), id=f"figure-{wide.name}")


def verdict(answer: Answer) -> Markup:
    """Which λ, and how sure: headline, four numbers, and the curve."""
    metric = numerals.metric_name(answer.metric)
    lacking = fates.lacking(answer)
    few = (
        f"λ's with open circles ({lacking}) could not be chosen: a digit, where there is room, is the number of folds "
        "they had, and their height is corrected for how easy these were. "
    )
    caption = (
        f"Mean {metric} over the folds by λ, with λ = 0 left of the break. "
        f"A bar is the 95 % interval of the difference to {figures.BEST}: where it crosses the dotted line, "
        f"that λ cannot be told from {figures.BEST} (blue and shaded); above it, it is better, below it, worse. "
        "Differences are paired fold by fold where all folds were measured; otherwise levels are compared. "
        f"{few if lacking else ''}A grey triangle is a score "
        "below the frame. The thin line is the smoothed curve; it breaks where it leaves out very low scores."
        f"{wording.sign(answer)}"
    )
    return el(
        "section",
        el("h1", unbroken(wording.headline(answer))),
        el("p", unbroken(others.lede(answer)), class_="lede"),
        _tiles(answer),
        figure(figures.curve, answer, caption=caption),
        aria_label="The answer",
    )


def _tiles(answer: Answer) -> Markup:
    gain = answer.gain
    score = answer.test
    rows = (
        (
            "Best λ > 0" if answer.verdict == "hurts" else "λ",
            numerals.lam(answer.lam),
            f"λ/m = {numerals.lam(answer.lam_over_m)}",
        ),
        ("Cannot be told apart", others.spread(answer), _zero(answer)),
        (
            "Gain over λ = 0",
            "unknown" if gain is None else numerals.change(answer.metric, gain.mean),
            "λ = 0 has no score" if gain is None else numerals.span(answer.metric, gain),
        ),
        (
            "Test accuracy, λ > 0" if answer.verdict == "hurts" else "Test accuracy",
            "not yet" if score is None else numerals.percent(score.accuracy, 2),
            "once the search is over"
            if score is None
            else f"{numerals.percent(score.low, 2).removesuffix(' %')} to {numerals.percent(score.high, 2)}",
        ),
    )
    return el(
        "dl",
        *(el("div", el("dt", name), _big(big), el("dd", small, class_="small")) for name, big, small in rows),
        class_="tiles",
    )


def _big(text: str) -> Markup:
    """The number of a tile; a long one is smaller, and breaks between its parts."""
    if len(text) <= ROOM:
        return el("dd", text, class_="big")
    parts = text.replace(", ", ",\n").replace(" with ", "\nwith ").split("\n")
    return el("dd", Markup(" ".join(el("span", part) for part in parts)), class_="big several")


def _zero(answer: Answer) -> str:
    if answer.verdict == "hurts":
        return "and λ = 0 is better"
    if answer.gain is None:
        return "λ = 0: unknown"
    return "nor from λ = 0 (95 %)" if members.zero_in_range(answer) else "λ = 0 does worse (95 %)"


def would_change(answer: Answer) -> Markup:
    """What would change this answer."""
    return el(
        "section",
        el("h2", "What would change this answer"),
        el("ul", *(el("li", unbroken(text)) for text in changes.would_change(answer))),
        id="change",
    )


def budget(answer: Answer) -> Markup:
    """Where the fold fits went: spent on what, and what ended the rest."""
    spent = answer.budget
    said = [_sentence(wording.cost(answer)), _sentence(facts.epochs(answer)), *_dropped(answer)]
    repeats = spent.fold_fits_executed - spent.fold_fits - spent.fold_fits_stopped
    again = f" {numerals.count(repeats, 'fold fit')} ran twice after a fault." if repeats > 0 else ""
    caption = (
        f"{course.legend(answer)} Training took {numerals.duration(spent.fit_seconds)}, all workers together.{again}"
    )
    return el(
        "section",
        el("h2", "Where the budget went"),
        el("p", unbroken(" ".join(filter(None, said)))),
        figure(course.budget, answer, caption=caption),
        id="budget",
    )


def _dropped(answer: Answer) -> Iterator[str]:
    """When λ's were dropped, and by which comparison."""
    dropped = [point.parked for point in answer.curve if point.parked is not None and point.status == "pruned"]
    when = Counter((parked.epochs, parked.after) for parked in dropped)
    ends = [
        f"after {numerals.count(epochs, 'epoch') if epochs else numerals.count(after, 'fold')}: {number}"
        for (epochs, after), number in sorted(when.items())
    ]
    if ends:
        yield f"Dropped {'; '.join(ends)}."
    why = Counter(parked.reason for parked in dropped if not parked.epochs).most_common()
    if why:
        yield f"Why: {'; '.join(f'{reason} ({number})' for reason, number in why)}."
    behind = Counter(parked.rival for parked in dropped if parked.rival is not None)
    lams = {point.slot: numerals.lam(point.lam) for point in answer.curve}
    rivals = [f"λ = {lams[slot]} ({number})" for slot, number in behind.most_common(3) if slot in lams]
    if rivals:
        rest = f" and {len(behind) - len(rivals)} more" if len(behind) > len(rivals) else ""
        yield f"Behind: {', '.join(rivals)}{rest}; the margins are in the next table."


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""


def trials(dossier: Dossier, averages: Mapping[int, Averages]) -> Markup:
    """Every λ, and every fold score."""
    return el(
        "section",
        el("h2", "Every λ that was tried"),
        tables.trials(dossier.answer, averages, dossier.trials),
        el("details", el("summary", "The score on every fold"), tables.folds(dossier.answer, dossier.results)),
        id="trials",
    )
