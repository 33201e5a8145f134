"""Numbers as people read them: λ to three digits, accuracies as percentages, their differences in percentage points."""

from __future__ import annotations

import math

from lamsearch.answer import Interval

MINUS = "\N{MINUS SIGN}"
CONFIDENCE = "95 %"


def lam(value: float) -> str:
    """λ or λ/m to three digits: ``0``, ``62.3``, ``1.18e-3``."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    if 1e-2 <= abs(value) < 1e5:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        return f"{value:,.{digits}f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def level(metric: str, score: float | None) -> str:
    """A score as people read it: accuracy in percent; log loss itself, not its negative."""
    if score is None or not math.isfinite(score):
        return "–"
    return f"{100 * score:.2f} %" if metric == "accuracy" else f"{0 - score:.4f}".replace("-", MINUS)


def levels(metric: str, low: float, high: float) -> str:
    """``94.20 % to 97.32 %``: the ends of an interval of levels, as numbers that rise, of log loss too."""
    ends = (low, high) if metric == "accuracy" else (high, low)
    return " to ".join(level(metric, end) for end in ends)


def size(metric: str, score: float | None) -> str:
    """The size of a difference between scores, without a sign."""
    if score is None or not math.isfinite(score):
        return "–"
    return f"{100 * abs(score):.2f} pp" if metric == "accuracy" else f"{abs(score):.4f}"


def change(metric: str, score: float | None) -> str:
    """A difference of scores with its sign; above zero is better, whatever the metric."""
    if score is None or not math.isfinite(score):
        return "–"
    text = size(metric, score)
    negative = score < 0 and any(digit in text for digit in "123456789")
    return (MINUS if negative else "+") + text


def span(metric: str, interval: Interval) -> str:
    """``+0.30 to +1.32 pp``: the ends of an interval of differences."""
    return f"{change(metric, interval.low).removesuffix(' pp')} to {change(metric, interval.high)}"


def percent(share: float | None, digits: int = 1) -> str:
    """A fraction as a percentage."""
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f} %"


def duration(seconds: float) -> str:
    """``8.4 s``, ``2 min 12 s``, ``3 h 05 min``."""
    if not math.isfinite(seconds) or seconds < 60:
        return "–" if not math.isfinite(seconds) else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def metric_name(metric: str) -> str:
    """``accuracy`` or ``log loss``."""
    return metric.replace("_", " ")


def count(number: int, noun: str) -> str:
    """``1 fold``, ``3 folds``, ``3 λ's``."""
    plural = "'s" if noun.endswith("λ") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"
