"""Worlds with a known truth, calibrated to real score tables.

A score is level(fold) + truth(λ) + noise(λ, fold), rounded to whole images. In the tables of ``tests/score_tables``
differences of two λ's within a fold have sd 0.4–1.1 pp, levels of folds 1–1.6 pp; where λ helps it does so by up to
1 pp, and every curve falls off a cliff on its right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LOW, HIGH = np.log10(1e-6), np.log10(3e-2)
N_VAL = 360
LEARNING = 0.15
"""Share of the epochs in which e times fewer errors remain."""
FAMILIES = ("null", "bump at cliff", "bump away", "ramp", "harm")


@dataclass(frozen=True, kw_only=True)
class World:
    """``height`` (of the bump) and all sds are in accuracy. ``paired_sd``: of the difference of two λ's in a fold.

    ``shared``: share of a λ's noise variance that all its folds have in common (training sets overlap).
    ``uneven``: noise grows to (1 + ``uneven``) times at the cliff. ``levels`` (cells,), ``noise`` (slots + 1, cells).
    """

    family: str
    height: float
    centre: float
    width: float
    cliff: float
    steepness: float
    paired_sd: float
    uneven: float
    levels: NDArray[np.float64]
    noise: NDArray[np.float64]

    def truth(self, decades: NDArray[np.float64]) -> NDArray[np.float64]:
        """Expected score relative to that of tiny λ; −inf decades (the baseline) give 0 or, in "ramp", less."""
        place = np.where(np.isfinite(decades), decades, -12.0)
        over = np.maximum(0.0, place - self.cliff)
        value = -self.steepness * over**2
        if self.family.startswith("bump"):
            value = value + self.height * np.exp(-0.5 * ((place - self.centre) / self.width) ** 2)
        if self.family == "ramp":
            value = value + self.height * np.clip((place - LOW) / (self.cliff - LOW), 0.0, 1.0)
        if self.family == "harm":
            value = value - self.height * np.clip((place - LOW) / (self.cliff - LOW), -0.2, 1.0)
        return np.asarray(np.maximum(value, -0.7))

    def scores(self, decades: NDArray[np.float64], first: int = 0) -> NDArray[np.float64]:
        """Scores (n, cells) of λ's at ``decades`` that stand in slots ``first``, ``first`` + 1, …; slot −1 is row 0."""
        return self.after(decades, first, share=1.0, noise=self.noise)

    def after(
        self, decades: NDArray[np.float64], first: int, *, share: float, noise: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Scores (n, cells) after ``share`` of the epochs; ``noise`` (slots + 1, cells).

        What a penalty does grows with λ · steps, so that few epochs favour larger λ's; all λ's learn alike otherwise.
        """
        over = np.clip(np.where(np.isfinite(decades), decades, -12.0) - self.cliff + 1.0, 0.0, 1.0)
        scale = self.paired_sd / np.sqrt(2.0) * (1.0 + self.uneven * over)
        rows = slice(first + 1, first + 1 + len(decades))
        unlearnt = 0.5 * (np.exp(-share / LEARNING) - np.exp(-1.0 / LEARNING))
        level = 0.95 + self.levels + self.truth(decades + np.log10(share))[:, None] - unlearnt
        value = level + scale[:, None] * noise[rows]
        return np.asarray(np.clip(np.round(value * N_VAL) / N_VAL, 0.1, 1.0))

    @property
    def best(self) -> float:
        """The greatest expected score of any λ in the range, or of λ = 0."""
        return float(max(self.truth(np.linspace(LOW, HIGH, 2000)).max(), self.truth(np.array([-np.inf]))[0]))


def draw(
    seed: int, *, family: str, n_slots: int, n_folds: int, replicates: int = 1, shared: float | None = None
) -> World:
    """One world. ``shared`` None: 0, or 1/k in every second world."""
    rng = np.random.default_rng([seed, FAMILIES.index(family)])
    cells = n_folds * replicates
    part = (0.0 if seed % 2 else 1.0 / n_folds) if shared is None else shared
    own, common = rng.standard_normal((n_slots + 1, cells)), rng.standard_normal((n_slots + 1, 1))
    cliff = rng.uniform(-3.0, -2.0)
    return World(
        family=family,
        height=rng.uniform(0.002, 0.01),
        centre=cliff if family == "bump at cliff" else rng.uniform(-5.0, -3.5),
        width=rng.uniform(0.25, 0.6),
        cliff=cliff,
        steepness=rng.choice([0.03, 0.1, 1.0]),
        paired_sd=rng.uniform(0.004, 0.011),
        uneven=rng.choice([0.0, 0.0, 1.0]),
        levels=rng.normal(0.0, rng.uniform(0.01, 0.016), cells),
        noise=np.sqrt(1.0 - part) * own + np.sqrt(part) * common,
    )
