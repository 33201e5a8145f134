"""The answer in plain words. Terminal, report and dashboard say the same sentences, made here and nowhere else.

Nothing is computed here: every number is one of the answer's. λ is printed to three digits, accuracies as
percentages, differences of accuracy in percentage points (pp).
"""

from __future__ import annotations

import math

from lamsearch import members
from lamsearch.answer import Answer
from lamsearch.numerals import change, count, duration, lam, level, metric_name, percent, size, span

CONFIDENCE = "95 %"


def both(answer: Answer, value: float) -> str:
    """``62.3 (λ/m = 1.18e-3)``."""
    return f"{lam(value)} (λ/m = {lam(value / answer.m)})"


def headline(answer: Answer) -> str:
    """Does λ matter, and what to use: the verdict in one or two sentences."""
    verdict = _verdict(answer) if members.learnt(answer) else _collapsed(answer)
    return ("So far: " if answer.status == "provisional" else "") + verdict


def _collapsed(answer: Answer) -> str:
    which = "Regularisation hurts here. Use λ = 0;" if answer.verdict == "hurts" else "Nothing was learnt:"
    return f"{which} training collapsed even at the best λ > 0 found, {lam(answer.lam)}."


def _verdict(answer: Answer) -> str:
    name = lam(answer.lam)
    if answer.gain is None:
        return f"λ = {name} is chosen. Whether it beats no regularisation is unknown: λ = 0 has no score."
    if answer.verdict == "hurts":
        return f"Regularisation hurts here. Use λ = 0; even the best λ > 0 found, {name}, does worse."
    if not answer.matters:
        limit = "unless it is too large" if members.harmful(answer) else ""
        return (
            f"λ does not matter here{f', {limit}' if limit else ''}. λ = {name} instead of 0 changes the score by "
            f"{span(answer.metric, answer.gain)} ({CONFIDENCE} interval): less than {margin(answer)} either way."
        )
    if answer.verdict == "helps":
        return f"Regularisation helps. Use λ = {name}."
    if answer.gain.mean <= 0:
        return f"A gain over λ = 0 is not shown. λ = 0 scores at least as well as the best λ > 0 found, {name}."
    return f"A gain over λ = 0 is not shown. λ = {name} is chosen, but λ = 0 cannot be told from it."


def margin(answer: Answer) -> str:
    """A gain that would not matter: ``1 pp``, ``0.03``."""
    return f"{100 * answer.margin:g} pp" if answer.metric == "accuracy" else f"{answer.margin:g}"


def how_sure(answer: Answer) -> str:
    """Which other λ's would do: the range E in words."""
    low, high = answer.range_low, answer.range_high
    found = [value for value in answer.indistinguishable if value > 0]
    text = "" if members.measured(answer) else "No λ > 0 has been measured on all folds yet. "
    if len(found) > 1:
        precise = f"they span a factor of {float(f'{high / low:.2g}'):g}"
        between = sum(point.mean is not None and low <= point.lam <= high for point in answer.curve) - 1
        rest = len(found) - 1
        which = f"the {count(rest, 'other')}" if rest == between else f"{rest} of the {count(between, 'other')}"
        text += f"These data cannot tell λ = {lam(answer.lam)} from {which} between {lam(low)} and "
        text += f"{lam(high)} ({CONFIDENCE} confidence): {precise if high <= 100 * low else 'λ is hardly pinned down'}."
    else:
        others = sum(point.mean is not None and point.lam > 0 for point in answer.curve) - 1
        text += f"None of the other {others} λ's does as well ({CONFIDENCE} confidence)."
    if answer.verdict == "hurts":
        text += " λ = 0 is better."
    elif members.zero_in_range(answer):
        text += f" λ = 0 cannot be told from {'it' if low == high else 'them'} either."
    if (partial := len(answer.indistinguishable_partial)) and members.measured(answer):
        text += f" {partial} of these " + ("lack folds yet." if answer.budget.unfinished else _dropped(partial))
    return text


def _dropped(number: int) -> str:
    were = "was" if number == 1 else "were"
    return f"{were} dropped before the last fold: less likely to be best, and less well known."


def gain(answer: Answer) -> str:
    """The gain over λ = 0 with its interval, and what could have been seen."""
    if answer.gain is None:
        return "unknown: λ = 0 has no score"
    interval = f"{CONFIDENCE} interval {span(answer.metric, answer.gain)}"
    words = {"helps": "it helps", "hurts": "it hurts", "not_shown": "not shown"}[answer.verdict]
    text = f"{change(answer.metric, answer.gain.mean)} ({interval}): {words}"
    if answer.verdict == "not_shown" and answer.detectable_gain is not None:
        text += f"; a true gain of {size(answer.metric, answer.detectable_gain)} is shown in four of five such studies"
    return text


def cross_validation(answer: Answer) -> str:
    """The CV score of λ̂: plain, and corrected for having been the best of many."""
    text = f"{level(answer.metric, answer.cv.mean)} ± {size(answer.metric, answer.cv_sem)} (sem)"
    best = members.chosen(answer)
    if best is not None and best.n_cells < answer.n_folds:
        text += f", from {best.n_cells} of {count(answer.n_folds, 'fold')}"
    if answer.corrected is not None:
        text += f"; {level(answer.metric, answer.corrected.mean)} once corrected for picking the best of the "
        text += f"{members.measured(answer)} measured on all folds"
    return text


def test(answer: Answer) -> str:
    """The refit model on images that nothing had seen."""
    if answer.test is None:
        return "not measured yet: the final model is trained and tested once, when the search is over"
    score = answer.test
    text = (
        f"{percent(score.accuracy, 2)} accuracy ({CONFIDENCE} interval {100 * score.low:.2f} to "
        f"{percent(score.high, 2)}, {count(score.n, 'image')})"
    )
    if answer.verdict == "hurts":
        text += f", of the refit at λ = {lam(score.lam_over_m * answer.m)}, not of λ = 0"
    return text if score.looks <= 1 else f"{text}; look no. {score.looks} at these images"


def one_se(answer: Answer) -> str:
    """The largest λ within one standard error, paired."""
    if answer.lam_1se != answer.lam:
        return both(answer, answer.lam_1se)
    larger = any(point.lam > answer.lam and point.status == "complete" for point in answer.curve)
    return f"{both(answer, answer.lam_1se)}, the same{'' if larger else ': no larger λ was measured on all folds'}"


def cost(answer: Answer) -> str:
    """Fold fits spent against the full cost, and what became of the λ's."""
    spent = answer.budget
    share = percent(spent.fold_fits / spent.fold_fits_full, 0) if spent.fold_fits_full else "–"
    later = spent.not_started
    rest = f", {spent.pruned if spent.unfinished else spent.pruned - later} dropped early"
    rest += f", {spent.unfinished - later} not finished" if spent.unfinished > later else ""
    rest += f", {later} not started" if later else ""
    rest += f", {spent.failed} failed" if spent.failed else ""
    if spent.stopped_epochs:
        rest += f"; {percent(spent.epochs / spent.epochs_full, 0)} of the epochs, with those of λ's dropped on the way"
    fits = f"{spent.fold_fits:,} of {count(spent.fold_fits_full, 'fold fit')} ({share})"
    if answer.n_replicates > 1:
        fits = f"{count(spent.fold_fits, 'fold fit')}, replicates among them (every λ on one set of folds would take "
        fits += f"{spent.fold_fits_full:,})"
    return (
        f"{fits} in {duration(spent.seconds)}; "
        f"of {count(spent.trials, 'λ')} {spent.complete} measured on all folds{rest}"
    )


def would_change(answer: Answer) -> tuple[str, ...]:
    """What would change this answer, most important first."""
    said: list[str] = []
    if answer.status == "provisional":
        said.append("The search is not over: this is what is known so far, without a test score.")
    for edge in answer.edges:
        offer = ""
        if edge.low is not None and edge.high is not None:
            offer = f" Proposed range of λ/m: {lam(edge.low)} to {lam(edge.high)}."
        said.append(_sentence(edge.message) + offer)
    if answer.verdict == "not_shown" and answer.gain is not None and answer.detectable_gain is not None:
        smallest = size(answer.metric, answer.detectable_gain)
        said.append(
            f"More images, folds or replicates: a true gain below {smallest} would be missed in more than one of five "
            "such studies."
        )
    else:
        said.append("More images, folds or replicates: they would narrow the range of λ's that do as well.")
    if (partial := len(answer.indistinguishable_partial)) and answer.status == "final":
        said.append(
            f"Measuring on all folds the {count(partial, 'λ')} that were dropped early and cannot be told from λ̂ "
            "(`--pruner none` does): only a λ measured on all folds can be chosen."
        )
    if answer.other_metric_lam is not None:
        instead = f"{metric_name(answer.other_metric)} instead of {metric_name(answer.metric)}"
        said.append(f"Judging by {instead}: {other_pick(answer)}.")
    said.append(
        "Other training: the best λ moves with the number of epochs and images, the learning rate and the network. "
        "λ/m carries over better than λ."
    )
    return (*said, *map(_sentence, answer.notes))


def other_pick(answer: Answer) -> str:
    """What the other metric would choose, among the λ's that the race has left, and how that compares with λ = 0."""
    assert answer.other_metric_lam is not None
    number = members.measured(answer)
    name = "the same λ" if math.isclose(answer.other_metric_lam, answer.lam) else both(answer, answer.other_metric_lam)
    text = (
        f"{name}, the best of the {number} measured on all folds"
        if number > 1
        else f"{name}, the only one measured on all folds"
    )
    if answer.other_metric_gain is None:
        return text
    better = "better" if answer.other_metric_gain >= 0 else "worse"
    return f"{text}; {size(answer.other_metric, answer.other_metric_gain)} {better} than λ = 0"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def facts(answer: Answer) -> tuple[tuple[str, str], ...]:
    """(label, text) of everything that a short answer says, in order."""
    return (
        (
            "best λ > 0" if answer.verdict == "hurts" else "λ",
            f"{lam(answer.lam)} (λ/m = {lam(answer.lam_over_m)}, m = {answer.m:,})",
        ),
        ("gain over λ = 0", gain(answer)),
        ("how sure", how_sure(answer)),
        ("CV " + metric_name(answer.metric), cross_validation(answer)),
        ("largest within 1 SE", one_se(answer)),
        ("test", test(answer)),
        ("cost", cost(answer)),
    )


def terminal(answer: Answer) -> str:
    """The answer as a few lines of plain text."""
    rows = facts(answer)
    width = max(len(label) for label, _ in rows)
    lines = [f"{answer.study}: {headline(answer)}", *(f"  {label:<{width}}  {text}" for label, text in rows)]
    notes = [*(edge.message for edge in answer.edges if edge.low is not None), *answer.notes]
    return "\n".join([*lines, *(f"  note: {note}" for note in notes)])
