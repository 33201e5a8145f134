"""Scales and axes: from values to pixels, with ticks. λ's axis is logarithmic, with λ = 0 beyond a break."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lamsearch.report.scene import Line, Scene, Text

ZERO_WIDTH = 46.0
"""Pixels of the column of λ = 0, left of the break."""
GAP = 9.0
"""Half the width of the break."""
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Where a plot's data go, in pixels."""

    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True, kw_only=True)
class LamAxis:
    """λ → x. ``zero``: whether λ = 0 has its column."""

    panel: Panel
    low: float
    high: float
    zero: bool

    @property
    def start(self) -> float:
        """Where the logarithmic part begins."""
        return self.panel.left + (ZERO_WIDTH if self.zero else 0)

    def __call__(self, lam: float) -> float:
        """The x of λ; half the column of zero for λ = 0."""
        if lam <= 0:
            return self.panel.left + ZERO_WIDTH / 2 - GAP / 2
        width = self.panel.right - self.start
        span = math.log(self.high / self.low)
        return self.start + width * (math.log(lam / self.low) / span if span else 0.5)

    def draw(self, scene: Scene, label: str = "λ") -> None:
        """The axis line with its break, ticks at decades, and its label."""
        y = self.panel.bottom
        scene.add(Line(points=[(self.start, y), (self.panel.right, y)], ink="faint", width=1))
        if self.zero:
            scene.add(Line(points=[(self.panel.left, y), (self.start - 2 * GAP, y)], ink="faint", width=1))
            for x in (self.start - 2 * GAP, self.start):
                scene.add(Line(points=[(x - 3, y + 5), (x + 3, y - 5)], ink="faint", width=1))
            scene.add(Text(x=self(0), y=y + 19, text="0", anchor="middle"))
        decades = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
        room = (self.panel.right - self.start) / max(1e-9, math.log10(self.high / self.low))
        step = max(1, math.ceil(34 / room))
        for exponent in decades:
            x = self(10.0**exponent)
            scene.add(Line(points=[(x, y), (x, y + (5 if exponent % step == 0 else 3))], ink="faint", width=1))
            if exponent % step == 0:
                scene.add(Text(x=x, y=y + 19, text=power(exponent), anchor="middle"))
        scene.add(Text(x=self.panel.right, y=y + 38, text=label, anchor="end"))


def power(exponent: int) -> str:
    """``0.01`` … ``1,000`` in full, else ``10⁻⁵``."""
    if -2 <= exponent <= 4:
        return f"{10.0**exponent:,.{max(0, -exponent)}f}"
    return "10" + str(exponent).translate(SUPERSCRIPTS)


@dataclass(frozen=True, kw_only=True)
class ValueAxis:
    """A value → y, linear or logarithmic. Values outside are held at the rim."""

    panel: Panel
    low: float
    high: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The y of a value."""
        place = self._place(min(max(value, self.low), self.high))
        return self.panel.bottom - (self.panel.bottom - self.panel.top) * place

    def _place(self, value: float) -> float:
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values inside the range."""
        if self.log:
            exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if self.high < 100 * self.low else (1,)
            every = [step * 10.0**exponent for exponent in exponents for step in steps]
            return [value for value in every if self.low <= value <= self.high]
        step = nice_step((self.high - self.low) / about)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def draw(self, scene: Scene, write: Callable[[float], str], label: str = "", about: int = 5) -> None:
        """Faint rules across the panel with their values, and the axis' name above them."""
        for value in self.ticks(about):
            y = self(value)
            scene.add(
                Line(points=[(self.panel.left, y), (self.panel.right, y)], ink="rule", width=1),
                Text(x=self.panel.left - 8, y=y + 4, text=write(value), anchor="end"),
            )
        if label:
            scene.add(Text(x=0, y=self.panel.top - 14, text=label, ink="ink", bold=True))


def nice_step(rough: float) -> float:
    """The least of 1, 2, 2.5, 5 × 10ⁿ that is not below ``rough``."""
    base = 10.0 ** math.floor(math.log10(rough))
    return next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= rough * (1 - 1e-9))


def padded(values: Iterable[float], share: float = 0.06) -> tuple[float, float]:
    """(lowest, highest) with some air; never equal."""
    found = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(found), max(found)
    air = (high - low) * share or max(abs(high) * share, 1e-3)
    return low - air, high + air
