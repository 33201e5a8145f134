"""What would change an answer, in words."""

from __future__ import annotations

import math

from lamsearch import members
from lamsearch.answer import Answer, Interval
from lamsearch.numerals import count, lam, metric_name, size
from lamsearch.wording import both, gained, verdict_of


def would_change(answer: Answer) -> tuple[str, ...]:
    """What would change this answer, most important first."""
    said: list[str] = []
    if answer.status == "provisional":
        said.append("The search is not over: this is what is known so far, without a test score.")
    for edge in answer.edges:
        if edge.low is not None and edge.high is not None:
            offer = f" Proposed range of λ/m: {lam(edge.low)} to {lam(edge.high)}."
            said.append(_sentence(edge.message) + offer)
    said.append(_more_data(answer))
    dropped = sum(point.in_range and point.status == "pruned" for point in answer.curve)
    if dropped and answer.status == "final":
        said.append(
            f"Measuring on all folds the {count(dropped, 'λ')} dropped early that cannot be told from λ̂ "
            "(--pruner none does): only a λ measured on all folds can be chosen."
        )
    if answer.other_metric_lam is not None and not (_same_pick(answer) and _same_verdict(answer)):
        instead = f"{metric_name(answer.other_metric)} instead of {metric_name(answer.metric)}"
        said.append(f"Judging by {instead}: {other_pick(answer)}.")
    said.append(
        "Other training: the best λ moves with the number of epochs and images, the learning rate and the network. "
        "λ/m carries over better than λ."
    )
    return (*said, *map(_sentence, answer.notes))


def _more_data(answer: Answer) -> str:
    more = "More images, folds or replicates:"
    if answer.verdict == "not_shown" and answer.gain is not None and answer.detectable_gain is not None:
        smallest = size(answer.metric, answer.detectable_gain)
        return f"{more} as it is, a true gain below {smallest} would be missed in more than one of five such studies."
    if answer.range_low < answer.range_high:
        return f"{more} they would narrow the range of λ's that cannot be told apart."
    return f"{more} they would narrow the interval of the gain."


def other_pick(answer: Answer) -> str:
    """What the other metric would choose, among the λ's that the race has left, and its gain over λ = 0."""
    assert answer.other_metric_lam is not None
    number = members.measured(answer)
    name = "the same λ" if _same_pick(answer) else both(answer, answer.other_metric_lam)
    text = (
        f"{name}, the best of the {number} measured on all folds"
        if number > 1
        else f"{name}, the only one measured on all folds"
    )
    gain = _other_gain(answer)
    return text if gain is None else f"{text}; gain over λ = 0: {gained(answer.other_metric, gain)}"


def _other_gain(answer: Answer) -> Interval | None:
    mean, low, high = answer.other_metric_gain, answer.other_metric_gain_low, answer.other_metric_gain_high
    return None if mean is None or low is None or high is None else Interval(mean=mean, low=low, high=high)


def _same_verdict(answer: Answer) -> bool:
    gain = _other_gain(answer)
    return gain is None or verdict_of(gain) == answer.verdict


def _same_pick(answer: Answer) -> bool:
    return answer.other_metric_lam is not None and math.isclose(answer.other_metric_lam, answer.lam)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
