"""The answer in plain words. Terminal, report and dashboard say the same sentences, made here and nowhere else.

Nothing is computed here: every number is one of the answer's. λ is printed to three digits, accuracies as
percentages, differences of accuracy in percentage points (pp).
"""

from __future__ import annotations

from lamsearch import members, others
from lamsearch.answer import Answer, Interval, Verdict
from lamsearch.numerals import CONFIDENCE, change, count, duration, lam, level, metric_name, percent, size, span


def both(answer: Answer, value: float) -> str:
    """``62.3 (λ/m = 1.18e-3)``."""
    return f"{lam(value)} (λ/m = {lam(value / answer.m)})"


def headline(answer: Answer) -> str:
    """Does λ matter, and what to use: the verdict in one or two sentences."""
    verdict = _verdict(answer) if members.learnt(answer) else _not_learnt(answer)
    return _standing(answer) + verdict


def _standing(answer: Answer) -> str:
    """Says in front of a verdict that the search was not over."""
    if answer.status == "provisional":
        return "So far: "
    left = answer.budget.unfinished
    return f"Time was up, with {left} of {count(answer.budget.trials, 'λ')} unfinished. So far: " if left else ""


def _not_learnt(answer: Answer) -> str:
    if answer.verdict == "hurts" and any(members.better(point) for point in answer.curve if point.lam > 0):
        which = f"the best λ > 0 measured on all folds, {lam(answer.lam)}"
        return f"Regularisation hurts here. Use λ = 0; even at {which}, nothing was learnt."
    if answer.verdict == "hurts":
        least = min(point.lam_over_m for point in answer.curve if point.lam > 0 and point.mean is not None)
        return f"Regularisation hurts here: every λ tried (λ/m from {lam(least)} on) is too strong to learn. Use λ = 0."
    what = f"even at the best λ > 0 found, {lam(answer.lam)}"
    if members.collapsed(answer) or answer.chance is None:
        return f"Nothing was learnt: training collapsed {what}."
    chance = level(answer.metric, answer.chance)
    return (
        f"Nothing was learnt: the {metric_name(answer.metric)} is not shown to be better than chance ({chance}) {what}."
    )


def _verdict(answer: Answer) -> str:
    name = lam(answer.lam)
    if answer.gain is None:
        return f"λ = {name} is chosen. Whether it beats no regularisation is unknown: λ = 0 has no score."
    if answer.verdict == "hurts":
        return f"Regularisation hurts here. Use λ = 0; even the best λ > 0 found, {name}, does worse."
    if not answer.matters:
        limit = ", unless it is too large" if members.harmful(answer) else ""
        claim = "" if answer.budget.unfinished else f"λ does not matter here{limit}. "
        plus = "" if answer.metric == "accuracy" else "; + is better"
        return (
            f"{claim}λ = {name} instead of 0 changes the {metric_name(answer.metric)} by "
            f"{span(answer.metric, answer.gain)} ({CONFIDENCE} interval{plus}): less than {margin(answer)} either way."
        )
    if answer.verdict == "helps":
        return f"Regularisation helps. Use λ = {name}."
    if answer.gain.mean <= 0:
        return f"A gain over λ = 0 is not shown. Use λ = 0: it scores at least as well as the best λ > 0 found, {name}."
    return f"A gain over λ = 0 is not shown. Use λ = {name}, which scores best, or 0: they cannot be told apart."


def margin(answer: Answer) -> str:
    """A gain that would not matter: ``1 pp``, ``0.03``."""
    return f"{100 * answer.margin:g} pp" if answer.metric == "accuracy" else f"{answer.margin:g}"


def gain(answer: Answer) -> str:
    """The gain over λ = 0 with its interval, and what could have been seen."""
    if answer.gain is None:
        return "unknown: λ = 0 has no score"
    text = gained(answer.metric, answer.gain)
    if answer.verdict == "not_shown" and answer.detectable_gain is not None:
        text += f"; a true gain of {size(answer.metric, answer.detectable_gain)} is shown in four of five such studies"
    return text


def verdict_of(gain: Interval) -> Verdict:
    """What a gain over λ = 0 shows."""
    return "helps" if gain.low > 0 else "hurts" if gain.high < 0 else "not_shown"


def gained(metric: str, gain: Interval) -> str:
    """A gain with its interval and what that shows."""
    words = {"helps": "it helps", "hurts": "it hurts", "not_shown": "not shown"}[verdict_of(gain)]
    sign = "" if metric == "accuracy" else "; + is better"
    return f"{change(metric, gain.mean)} ({CONFIDENCE} interval {span(metric, gain)}{sign}): {words}"


def sign(answer: Answer) -> str:
    """Which way differences count, where that is not what their sign suggests."""
    return "" if answer.metric == "accuracy" else " Differences of log loss: + is better."


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
        before = f" (they have been looked at {answer.looked} times before)" if answer.looked > 1 else ""
        before = " (they have been looked at once before)" if answer.looked == 1 else before
        return f"not measured yet: the final model is tested on images set apart, when the search is over{before}"
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
    text = both(answer, answer.lam_1se)
    if answer.lam_1se == answer.lam:
        larger = any(point.lam > answer.lam and point.status == "complete" for point in answer.curve)
        text += f", the same{'' if larger else ': no larger λ was measured on all folds'}"
    return f"{text}; of the best λ > 0, not of λ = 0" if answer.verdict == "hurts" else text


def cost(answer: Answer) -> str:
    """Fold fits spent against the full cost, and what became of the λ's."""
    spent = answer.budget
    share = percent(spent.fold_fits / spent.fold_fits_full, 0) if spent.fold_fits_full else "–"
    later = spent.not_started
    dropped = spent.pruned if spent.unfinished else spent.pruned - later
    rest = f", {dropped} dropped early" if dropped else ""
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


def facts(answer: Answer) -> tuple[tuple[str, str], ...]:
    """(label, text) of everything that a short answer says, in order."""
    return (
        (
            "best λ > 0" if answer.verdict == "hurts" else "λ",
            f"{lam(answer.lam)} (λ/m = {lam(answer.lam_over_m)}, m = {answer.m:,})",
        ),
        ("gain over λ = 0", gain(answer)),
        ("how sure", others.how_sure(answer)),
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
