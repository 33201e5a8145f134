"""Does the answer reach the end of the searched range?"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lamsearch.answer import Edge, Side

FURTHER = 10.0
"""A proposed range goes one decade on."""


def edges(
    measured: Sequence[float],
    inside: Sequence[float],
    *,
    partial: Collection[float],
    zero_alike: bool,
    zero_better: bool,
    searched: tuple[float, float],
) -> tuple[Edge, ...]:
    """Ends of what was ``measured`` that are not shown to be worse than λ̂: ``inside``, of which ``partial`` lack folds.

    All values are λ/m > 0, rising. ``zero_alike``: the baseline cannot be told from λ̂; ``zero_better``: it is better.
    ``searched``: the range asked for.
    """

    low, high = min(searched[0], measured[0]), max(searched[1], measured[-1])
    further: dict[Side, tuple[float, float]] = {"low": (low / FURTHER, high), "high": (low, high * FURTHER)}
    found = []
    ends_of: tuple[tuple[Side, int], ...] = (("low", 0), ("high", -1))
    for side, last in ends_of:
        place = measured[last]
        if inside[last] != place:
            continue
        few = " was dropped early, but" if place in partial else ""
        message = f"the {side} end of the range (λ/m = {place:.2g}){few} cannot be told from the best λ"
        if side == "low" and (zero_alike or zero_better):
            also = "λ = 0 is better" if zero_better else "neither can λ = 0"
            found.append(Edge(side=side, message=f"{message}, and {also}"))
        elif few:  # a fold or two: no reason to go further
            found.append(Edge(side=side, message=message))
        else:
            where = "down" if side == "low" else "up"
            ends = further[side]
            found.append(Edge(side=side, message=f"{message}: search further {where}", low=ends[0], high=ends[1]))
    return tuple(found)
