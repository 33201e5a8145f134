"""Does the answer reach the end of the searched range?"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lamsearch.answer import Edge

FURTHER = 10.0
"""A proposed range goes one decade on."""


def edges(
    measured: Sequence[float],
    inside: Sequence[float],
    *,
    partial: Collection[float],
    zero_inside: bool,
    searched: tuple[float, float],
) -> tuple[Edge, ...]:
    """Edges of E. All values are λ/m > 0, rising: ``measured`` ones, those ``inside`` E, its ``partial`` members.

    ``zero_inside``: the baseline is in E as well. ``searched``: the range asked for.
    """

    def end(which: str, place: float) -> str:
        few = ", dropped early," if place in partial else ""
        return f"the {which} end of the range (λ/m = {place:.2g}){few} cannot be told from the best λ"

    low, high = min(searched[0], measured[0]), max(searched[1], measured[-1])
    found = []
    if inside[0] == measured[0]:
        if zero_inside:
            found.append(Edge(side="low", message=f"{end('low', measured[0])}, and neither can λ = 0"))
        else:
            message = f"{end('low', measured[0])}: search further down"
            found.append(Edge(side="low", message=message, low=low / FURTHER, high=high))
    if inside[-1] == measured[-1]:
        message = f"{end('high', measured[-1])}: search further up"
        found.append(Edge(side="high", message=message, low=low, high=high * FURTHER))
    return tuple(found)
