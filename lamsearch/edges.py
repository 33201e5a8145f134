"""Does the answer reach the end of the searched range?"""

from __future__ import annotations

from collections.abc import Sequence

from lamsearch.answer import Edge

FURTHER = 10.0
"""A proposed range goes one decade on."""


def edges(
    measured: Sequence[float], inside: Sequence[float], *, zero_inside: bool, searched: tuple[float, float]
) -> tuple[Edge, ...]:
    """Edges of E. All values are λ/m > 0, rising: ``measured`` ones, and those ``inside`` E.

    ``zero_inside``: the baseline is in E as well. ``searched``: the range asked for.
    """
    low, high = min(searched[0], measured[0]), max(searched[1], measured[-1])
    found = []
    if inside[0] == measured[0]:
        if zero_inside:
            found.append(Edge(side="low", message="the low end of the range is as good as the best λ, and so is λ = 0"))
        else:
            message = (
                f"the low end of the range (λ/m = {measured[0]:.2g}) is as good as the best λ: search further down"
            )
            found.append(Edge(side="low", message=message, low=low / FURTHER, high=high))
    if inside[-1] == measured[-1]:
        message = f"the high end of the range (λ/m = {measured[-1]:.2g}) is as good as the best λ: search further up"
        found.append(Edge(side="high", message=message, low=low, high=high * FURTHER))
    return tuple(found)
