"""Does the answer reach the end of what was measured?"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lamsearch.answer import Edge, Side
from lamsearch.numerals import lam

FURTHER = 10.0
"""A proposed range goes one decade on."""
WHICH: dict[Side, str] = {"low": "smallest", "high": "largest"}
WHERE: dict[Side, str] = {"low": "down", "high": "up"}


def edges(
    measured: Sequence[float],
    *,
    chosen: float,
    alike: Collection[float],
    better: Collection[float],
    whole: Collection[float],
    searched: tuple[float, float],
) -> tuple[Edge, ...]:
    """Ends of what was ``measured`` that are not shown to be worse than the ``chosen`` λ. One λ has one edge.

    All values are λ/m; ``measured`` is above 0 and rising. ``alike``: those, and 0, that cannot be told from the chosen
    one; ``better``: shown to be better; ``whole``: measured on all folds. ``searched``: the range asked for.
    """
    low, high = min(searched[0], measured[0]), max(searched[1], measured[-1])
    further: dict[Side, tuple[float, float]] = {"low": (low / FURTHER, high), "high": (low, high * FURTHER)}
    if len(measured) == 1:
        message = f"only one λ has been measured (λ/m = {lam(chosen)}): search on both sides"
        return (Edge(side="high", message=message, low=further["low"][0], high=further["high"][1]),)
    if 0.0 in better:
        if measured[0] in better:
            return ()  # something small does as well as 0
        least = min(place for place in whole if place > 0)
        message = f"λ = 0 is better than every λ measured on all folds (λ/m from {lam(least)} on): search further down"
        return (Edge(side="low", message=message, low=further["low"][0], high=further["low"][1]),)
    found = []
    ends: tuple[tuple[Side, float], ...] = (("low", measured[0]), ("high", measured[-1]))
    for side, place in ends:
        if place not in alike and place not in better:
            continue
        verb = "scores better than" if place in better else "cannot be told from"
        few = "" if place in whole else "lacks folds, but "
        message = f"the {WHICH[side]} λ measured (λ/m = {lam(place)}) {few}{verb} the best λ"
        zero = "neither can λ = 0"
        if place == chosen:
            message = f"the best λ is the {WHICH[side]} measured (λ/m = {lam(place)})"
            zero = "λ = 0 cannot be told from it"
        if side == "low" and 0.0 in alike:
            found.append(Edge(side=side, message=f"{message}, and {zero}"))
        elif few:  # a fold or two: no reason to go further
            found.append(Edge(side=side, message=message))
        else:
            ends_at = further[side]
            message = f"{message}: search further {WHERE[side]}"
            found.append(Edge(side=side, message=message, low=ends_at[0], high=ends_at[1]))
    return tuple(found)
