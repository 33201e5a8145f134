"""The answer in plain words. Terminal, report and dashboard say the same sentences, made here and nowhere else.

Nothing is computed here: every number is one of the answer's. λ is printed to three digits, accuracies as
percentages, differences of accuracy in percentage points (pp).
"""

from __future__ import annotations

import math

from lamsearch.answer import Answer, CurvePoint
from lamsearch.numerals import change, count, duration, lam, level, metric_name, percent, size, span
from lamsearch.records import BASELINE, Parked

CONFIDENCE = "95 %"


def both(answer: Answer, value: float) -> str:
    """``62.3 (λ/m = 1.18e-3)``."""
    return f"{lam(value)} (λ/m = {lam(value / answer.m)})"


def zero_in_range(answer: Answer) -> bool:
    """True if λ = 0 cannot be told from λ̂."""
    return any(point.in_range for point in answer.curve if point.slot == BASELINE)


def headline(answer: Answer) -> str:
    """Does λ matter, and what to use: the verdict in one or two sentences."""
    learnt = answer.lam not in answer.collapsed
    verdict = _verdict(answer) if learnt else "Nothing was learnt: training collapsed even at the best λ > 0 found."
    return ("So far: " if answer.status == "provisional" else "") + verdict


def _verdict(answer: Answer) -> str:
    name = lam(answer.lam)
    if answer.gain is None:
        return f"λ = {name} is best. Whether it beats no regularisation is unknown: λ = 0 has no score yet."
    if answer.verdict == "hurts":
        return f"Regularisation hurts here. Use λ = 0; even the best λ > 0 found, {name}, does worse."
    if not answer.matters:
        most, least = change(answer.metric, answer.gain.high), change(answer.metric, answer.gain.low)
        return f"λ does not matter here. λ = {name} changes the score by {most} at the very best, {least} at worst."
    if answer.verdict == "helps":
        return f"Regularisation helps. Use λ = {name}."
    if answer.gain.mean <= 0:
        return f"A gain over λ = 0 is not shown. λ = 0 scores at least as well as the best λ > 0 found, {name}."
    return f"A gain over λ = 0 is not shown. λ = {name} scores best, but λ = 0 cannot be told from it."


def measured_range(answer: Answer) -> tuple[float, float]:
    """Ends of E among the λ's > 0 measured on all folds; of all of E as long as λ̂ itself lacks folds."""
    members = set(answer.indistinguishable) - set(answer.indistinguishable_partial) - {0.0}
    return (min(members), max(members)) if answer.lam in members else (answer.range_low, answer.range_high)


def how_sure(answer: Answer) -> str:
    """Which other λ's would do: the range E in words."""
    low, high = measured_range(answer)
    others = [value for value in answer.indistinguishable_partial if not low <= value <= high]
    measured = sum(point.status == "complete" and point.slot != BASELINE for point in answer.curve)
    if not measured:
        text = "No λ > 0 has been measured on all folds yet."
    elif measured == 1:
        text = f"λ = {lam(answer.lam)} alone was measured on all folds."
    elif high > low:
        precise = (
            f"known to within a factor of {float(f'{high / low:.2g}'):g}"
            if high <= 1000 * low
            else "hardly pinned down"
        )
        text = f"{count(answer.n_folds, 'fold')} cannot tell λ's from {lam(low)} to {lam(high)} apart "
        text += f"({CONFIDENCE} confidence){'' if others else f': λ is {precise}'}."
    else:
        text = f"None of the other {measured - 1} λ's measured on all folds does as well ({CONFIDENCE} confidence)."
    if zero_in_range(answer):
        text += (
            " λ = 0 is better still."
            if answer.verdict == "hurts"
            else f" λ = 0 cannot be told from {'it' if low == high else 'them'} either."
        )
    if others:
        why = "not measured on all folds yet" if answer.budget.unfinished else "dropped early as unlikely to do better"
        where = f"from {lam(min(others))} to {lam(max(others))}" if len(others) > 1 else f"λ = {lam(others[0])}"
        text += f" {count(len(others), 'other λ')}, {where}, {why}, cannot be ruled out."
    return text


def gain(answer: Answer) -> str:
    """The gain over λ = 0 with its interval, and what could have been seen."""
    if answer.gain is None:
        return "unknown: λ = 0 has no score yet"
    interval = f"{CONFIDENCE} interval {span(answer.metric, answer.gain)}"
    words = {"helps": "it helps", "hurts": "it hurts", "not_shown": "not shown"}[answer.verdict]
    text = f"{change(answer.metric, answer.gain.mean)} ({interval}): {words}"
    if answer.verdict == "not_shown" and answer.detectable_gain is not None:
        text += f"; a gain of {size(answer.metric, answer.detectable_gain)} would have been seen"
    return text


def cross_validation(answer: Answer) -> str:
    """The CV score of λ̂: plain, and corrected for having been the best of many."""
    text = f"{level(answer.metric, answer.cv.mean)} ± {size(answer.metric, answer.cv_sem)} (sem)"
    cells = next((point.n_cells for point in answer.curve if point.slot == answer.slot), answer.n_folds)
    if cells < answer.n_folds:
        text += f", from {cells} of {count(answer.n_folds, 'fold')}"
    if answer.corrected is not None:
        text += f"; {level(answer.metric, answer.corrected.mean)} once corrected for picking the best of many"
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
    same = answer.lam_1se == answer.lam
    return f"{both(answer, answer.lam_1se)}{', the same' if same else ''}"


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


def parked(metric: str, why: Parked, rival: str) -> str:
    """When a λ was dropped, and behind whom or why. ``rival``: how to name the λ that it lost to."""
    text = f"dropped after {count(why.after, 'fold')}" if why.after else "dropped"
    if why.rival is not None and why.margin is not None:
        return f"{text}, {size(metric, why.margin)} behind {rival}"
    return f"{text}: {why.reason}" if why.reason else text


def fate(answer: Answer, point: CurvePoint) -> str:
    """What became of one λ."""
    if point.failed is not None:
        return f"failed: {point.failed}"
    if point.parked is not None and point.status == "pruned":
        rival = next((p for p in answer.curve if p.slot == point.parked.rival), None)
        return parked(answer.metric, point.parked, f"λ = {lam(rival.lam)}" if rival else "the best")
    return f"{point.status} ({count(point.n_cells, 'fold')})"


def would_change(answer: Answer) -> tuple[str, ...]:
    """What would change this answer, most important first."""
    said: list[str] = []
    if answer.status == "provisional":
        said.append("The search is not over: this is what is known so far, without a test score.")
    for edge in answer.edges:
        offer = ""
        if edge.low is not None and edge.high is not None:
            offer = f" Proposed range of λ/m: {edge.low:.2g} to {edge.high:.2g}."
        said.append(_sentence(edge.message) + offer)
    if answer.verdict == "not_shown" and answer.gain is not None and answer.detectable_gain is not None:
        smallest = size(answer.metric, answer.detectable_gain)
        said.append(f"More images, folds or replicates: a true gain below {smallest} is too small for this study.")
    else:
        said.append("More images, folds or replicates: they would narrow the range of λ's that do as well.")
    if (partial := len(answer.indistinguishable_partial)) and answer.status == "final":
        said.append(
            f"{count(partial, 'λ')} dropped early cannot be ruled out either; only a λ measured on all folds can be "
            "chosen. Running without a pruner would measure them all."
        )
    if answer.other_metric_lam is not None:
        other = both(answer, answer.other_metric_lam)
        same = math.isclose(answer.other_metric_lam, answer.lam)
        said.append(
            f"Judging by {metric_name(answer.other_metric)} instead of {metric_name(answer.metric)} would choose "
            + ("the same λ." if same else f"λ = {other}.")
        )
    said.append(
        "Other training: the best λ moves with the number of epochs and images, the learning rate and the network. "
        "λ/m carries over better than λ."
    )
    return (*said, *map(_sentence, answer.notes))


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
    notes = [*(edge.message for edge in answer.edges), *answer.notes]
    return "\n".join([*lines, *(f"  note: {note}" for note in notes)])
