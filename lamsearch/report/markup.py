"""HTML from values: whatever is not markup already is escaped, so that no name can break out of the page."""

from __future__ import annotations

import re
from html import escape


class Markup(str):
    """Text that is HTML already. Only this package makes it."""

    __slots__ = ()


def unbroken(text: str) -> str:
    """``text`` in which no line breaks inside ``λ = 83.2`` or between a number and its unit."""
    text = text.replace("λ = ", "λ\u00a0=\u00a0").replace("λ > 0", "λ\u00a0>\u00a00")
    return re.sub(r"(?<=\d) (?=(%|pp|s|min|h)\b|%)", "\u00a0", text)


def el(name: str, *children: str, **attributes: str | float | bool | None) -> Markup:
    """One element. Plain strings are escaped. ``class_`` is class, ``data_v`` is data-v; None and False leave out."""
    return Markup(f"<{name}{_attributes(attributes)}>{joined(*children)}</{name}>")


def joined(*children: str) -> Markup:
    """Children one after the other, escaped where they are plain text."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children))


def _attributes(attributes: dict[str, str | float | bool | None]) -> str:
    found = []
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        key = name.rstrip("_").replace("_", "-")
        found.append(f" {key}" if value is True else f' {key}="{escape(str(value))}"')
    return "".join(found)
